"""What every benchmark shares: targets, data from a seed, and a clock that waits for the device.

A *target* is a backend and one of its devices, such as ``"torch/cpu"`` or ``"torch/cuda:0"``. A
registered backend whose library is missing is a target without a device; its cases are skipped,
so that a report shows what was not measured.
"""

import json
import subprocess
import sys
from contextlib import suppress

import numpy as np

from specdesc import backends

# Few cases, so that a quick run over everything takes a minute; `critical` has the others.
SQUARE = (256, 256)
#: For peak memory, where what the interpreter takes anyway must not hide the arrays.
BIG = (768, 768)
RANK = 4

_LIST_TARGETS = """
import json
from specdesc import backends

found = []
for name in backends.registered():
    try:
        found += [f"{name}/{device}" for device in backends.load(name).devices()]
    except backends.BackendUnavailable:
        found.append(name)
print(json.dumps(found))
"""


def _targets():
    """Ask another process, so that this one is forked before any library has started threads."""
    listed = subprocess.run(
        [sys.executable, "-c", _LIST_TARGETS], check=True, capture_output=True, text=True
    )
    return tuple(json.loads(listed.stdout))


TARGETS = _targets()

for _name in backends.available():
    with suppress(backends.BackendUnavailable):  # imported once, for all forks
        backends.load(_name)


def matrix(shape, smallest=1e-2, seed=0):
    """Return stacks of matrices, float64, with singular values from 1 to `smallest`, geometric."""
    random = np.random.default_rng(seed)
    short = min(shape[-2:])
    left, right = (
        np.linalg.qr(random.standard_normal((*shape[:-2], size, short)))[0] for size in shape[-2:]
    )
    return (left * np.geomspace(1.0, smallest, short)) @ np.swapaxes(right, -1, -2)


class Kernel:
    """One function of one array on every target.

    A subclass says in `needs` which functions of the capability table it uses, makes its
    arguments in `prepare`, and is timed in `call`, a pure function of these arguments.
    """

    params = (TARGETS, ("float32",), (SQUARE,))
    param_names = ("target", "dtype", "shape")
    needs: tuple[str, ...] = ()
    timeout = 120.0
    #: Run once before the clock starts: threads are started and JAX compiles.
    warm = True

    def setup(self, target, dtype, shape, *options):
        self.leaf, self.device = self._leaf(target)
        self._skip_unless_supported(dtype)
        self.dtype, self.shape = dtype, shape
        if self.leaf.name == "jax":
            import jax

            jax.config.update("jax_enable_x64", dtype == "float64")
        self.arguments = self.prepare(*options)
        self.function = self._compiled(self.call)
        if self.warm:
            self._first_run()

    def prepare(self):
        """Return the arrays that `call` takes."""
        return (self.array(matrix(self.shape)),)

    def call(self, *arguments):
        raise NotImplementedError

    def array(self, values):
        """Move host data to the target."""
        return self.leaf.from_host(values, dtype=self.dtype, device=self.device)

    def run(self):
        """Call the function and wait: a clock that does not wait measures the launch."""
        return self.wait(self.function(*self.arguments))

    def wait(self, result):
        if self.leaf.name == "jax":
            import jax

            return jax.block_until_ready(result)
        if self.leaf.name == "dask":
            import dask

            return dask.compute(result)[0]
        self.leaf.synchronize()
        return result

    def _compiled(self, function):
        """Return what users of the library run: under JAX the jitted function."""
        if self.leaf.name != "jax":
            return function
        import jax

        return jax.jit(function)

    def _first_run(self):
        try:
            self.run()
        except NotImplementedError as error:
            # To asv this would be a skip; only the capability table may say so.
            msg = f"not declared in the capability table of {self.leaf.name}: {error}"
            raise RuntimeError(msg) from error

    def _skip_unless_supported(self, dtype):
        table = self.leaf.capabilities
        if dtype not in table.dtypes:
            msg = f"{self.leaf.name} has no {dtype}"
            raise NotImplementedError(msg)
        for function in self.needs:
            if function in table.unsupported:
                msg = f"{function} on {self.leaf.name}: {table.unsupported[function]}"
                raise NotImplementedError(msg)

    @staticmethod
    def _leaf(target):
        name, _, device = target.partition("/")
        try:
            leaf = backends.load(name)
        except backends.BackendUnavailable as error:
            raise NotImplementedError(str(error)) from error
        return leaf, device

    def host(self, x):
        """Return a result, already computed, as a float64 array of NumPy."""
        if not isinstance(x, np.ndarray):
            x = self.leaf.to_host(x)
        return x.astype(np.float64)
