"""Every critical kernel over target, kernel, dtype, shape and tolerance.

Time, peak memory, true and certified error, products, launches and ATen calls. The classes named
`Full` are for ``make bench-full``, those named `Quick` are parts of them for ``make bench``.
"""

import numpy as np

from specdesc import orthogonalize, rules, spectral_clip, truncated_spectral_step
from specdesc.bench import accuracy, counts

from .common import SQUARE, TARGETS, Kernel

#: Square, tall, wide, and stacks of few and of many matrices.
SHAPES = (SQUARE, (1024, 256), (256, 1024), (16, 64, 64), (256, 32, 32))
TORCH = tuple(target for target in TARGETS if target.startswith("torch"))
HOST = ("numpy/cpu",)
DTYPES = ("float32", "float64", "bfloat16", "complex64")
#: None is working accuracy.
TOLERANCES = (0.3, 1e-3, None)


def _factor(x, tol, **options):
    return orthogonalize(x, tol=tol, floor=accuracy.FLOOR, **options)


def _step(x, tol, **options):
    return truncated_spectral_step(x, accuracy.RANK, tol=tol, **options)


def _clip(x, _):
    # The largest singular value of the matrices of `common` is 1.
    return spectral_clip(x, accuracy.RADIUS)


def _muon(x, tol):
    rule = rules.Muon(1.0, beta=0.0, nesterov=False, tol=tol, floor=accuracy.FLOOR)
    return rule.update(x, x, rule.init(x))[0]


CALLS = {"orthogonalize": _factor, "truncated": _step, "clip": _clip, "muon": _muon}
NEEDS = {
    "orthogonalize": ("orthogonalize",),
    "truncated": ("truncated_svd", "truncated_spectral_step"),
    "clip": ("spectral_clip",),
    "muon": ("rules", "orthogonalize"),
}
ERRORS = {
    "orthogonalize": accuracy.of_factor,
    "truncated": accuracy.of_step,
}


class Critical(Kernel):
    """One kernel of `CALLS`."""

    params = (TARGETS, DTYPES, SHAPES, tuple(CALLS), TOLERANCES)
    param_names = (*Kernel.param_names, "kernel", "tol")

    def setup(self, target, dtype, shape, kernel, tol):
        if kernel == "clip" and tol is not None:
            msg = "a clip has no tolerance"  # asv prints n/a
            raise NotImplementedError(msg)
        self.needs = NEEDS[kernel]
        super().setup(target, dtype, shape, kernel, tol)

    def prepare(self, kernel, tol):
        self.kernel, self.tol = kernel, tol
        return super().prepare()

    def array(self, values):
        if self.dtype != "bfloat16":
            return super().array(values)
        xp = self.leaf.xp
        x = self.leaf.from_host(values, dtype="float32", device=self.device)
        return xp.astype(x, xp.bfloat16)

    def call(self, x):
        return CALLS[self.kernel](x, self.tol)


class TimeFull(Critical):
    def time_call(self, *_):
        self.run()


class PeakmemFull(Critical):
    """Host memory alone; what a GPU takes is not in it."""

    warm = False

    def peakmem_call(self, *_):
        self.run()


class ErrorFull(Critical):
    """The true error of the worst matrix, from a float64 SVD, and the bound that the kernel gives.

    The bound is on the error of a factor, or on the share of the Ky Fan value that a step misses.
    """

    params = (TARGETS, DTYPES, SHAPES, ("orthogonalize", "truncated"), TOLERANCES)
    warm = False

    def track_error(self, *_):
        error = ERRORS[self.kernel]
        x, y = (self._wide(z) for z in (self.arguments[0], self.run()))
        pairs = zip(x.reshape(-1, *x.shape[-2:]), y.reshape(-1, *y.shape[-2:]), strict=True)
        return max(error(a, b) for a, b in pairs)

    def track_certified(self, *_):
        info = CALLS[self.kernel](self.arguments[0], self.tol, full_output=True)
        bound = info.error if self.kernel == "orthogonalize" else info.gap / info.value
        return float(np.max(self._wide(bound)).real)

    def _wide(self, x):
        """Return an array of the target on the host, wide enough for every dtype."""
        x = self.wait(x)
        if str(x.dtype).endswith("bfloat16"):
            x = self.leaf.xp.astype(x, self.leaf.xp.float32)
        host = x if isinstance(x, np.ndarray | np.generic) else self.leaf.to_host(x)
        return np.asarray(host, dtype=np.complex128 if np.iscomplexobj(host) else np.float64)


class CountFull(Critical):
    """Products, launches and ATen calls; torch alone can be watched."""

    params = (TORCH, DTYPES, SHAPES, tuple(CALLS), TOLERANCES)

    def track_products(self, *_):
        return counts.products(self.run)

    def track_launches(self, *_):
        return counts.launches(self.run)

    def track_aten_calls(self, *_):
        return counts.aten_calls(self.run)


class ErrorQuick(ErrorFull):
    params = (HOST, ("float32",), (SQUARE,), ("orthogonalize",), (1e-3,))


class CountQuick(CountFull):
    params = (TORCH, ("float32",), (SQUARE,), ("orthogonalize", "truncated"), (1e-3,))
