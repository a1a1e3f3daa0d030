"""Linear operators that are known by their products: linear, and adjoint to one another."""

from typing import Protocol

import numpy

from specdesc._lib.typing import Array
from specdesc.backends.entry import enter
from specdesc.testing.report import Report
from specdesc.testing.trial import Trial

#: Columns of a block, and up to how many columns the energy is checked.
COLUMNS, FEW = 3, 256


class Operator(Protocol):
    """What is checked: what `specdesc.LinearOperator` has."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        ...

    @property
    def like(self) -> Array:
        """An array of the library and dtype."""
        ...

    @property
    def energy(self) -> Array | None:
        """The squared Frobenius norm, where it is known."""
        ...

    def matmul(self, block: Array, /) -> Array:
        """Return the product with a block (n, b)."""
        ...

    def rmatmul(self, block: Array, /) -> Array:
        """Return the product of the conjugate transpose with a block (m, b)."""
        ...


def check_operator(x: Operator, /, *, seed: int = 0) -> Report:
    """Hold a matrix that is known by its products to be one.

    Parameters
    ----------
    x : LinearOperator
        With ``matmul``, ``rmatmul``, ``shape``, ``like`` and, if it is known, ``energy``.
    seed : int
        Of the blocks that are tried.

    Returns
    -------
    Report
        ``(passed, failures)``.

    Raises
    ------
    TypeError
        `like` is not an array of a library.

    Notes
    -----
    Both products have the right shapes, leave their argument alone, are linear, over the complex
    numbers where `like` is complex, and act on every column of a block alone; <c, X b> = <Xᴴ c, b>;
    with at most 256 columns `energy` is the sum of the squares of the image of the identity. A
    dozen products with blocks of three columns, and one with the identity.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import LinearOperator, testing
    >>> c = np.random.default_rng(0).standard_normal((6, 5)) * (1 + 2j)
    >>> right = LinearOperator(lambda b: c @ b, lambda b: c.conj().T @ b, c.shape, c)
    >>> wrong = LinearOperator(lambda b: c @ b, lambda b: c.T @ b, c.shape, c)
    >>> testing.check_operator(right).passed, testing.check_operator(wrong).passed
    (True, False)
    """
    backend = enter("truncated_svd", x.like, names=("like",), ndim=0)
    name = str(x.like.dtype).rsplit(".", 1)[-1]
    m, n = x.shape
    trial = Trial(seed, (m, n), name, backend)
    with trial.caught():
        if m and n:
            _check(trial, x)
    return trial.report()


def _check(trial: Trial, x: Operator) -> None:
    m, n = x.shape
    b, c = _block(trial, n), _block(trial, m)
    image, pulled = _product(trial, x, b, "matmul"), _product(trial, x, c, "rmatmul")
    if image is None or pulled is None:
        return
    size = trial.size(image) * trial.size(c) + trial.size(pulled) * trial.size(b)
    for i in range(COLUMNS):
        for phase in (1.0, 1j) if trial.is_complex else (1.0,):
            left = trial.inner(phase * c[:, i], image[:, i])
            right = trial.inner(phase * pulled[:, i], b[:, i])
            trial.same("adjoint: <c, X b> = <Xᴴ c, b>", left, right, size)
    factor = 2.0 - 0.5j if trial.is_complex else 2.0
    for name, one, result, rows in (("matmul", b, image, n), ("rmatmul", c, pulled, m)):
        other = _block(trial, rows)
        both = _product(trial, x, factor * one + other, name)
        rest = _product(trial, x, other, name)
        alone = _product(trial, x, one[:, 1:2], name)
        if both is None or rest is None or alone is None:
            return
        scale = 3.0 * trial.size(result) + trial.size(rest)
        trial.near(f"{name}: linear", trial.apart(both, factor * result + rest), 0.0, scale)
        apart = trial.apart(alone, result[:, 1:2])
        trial.near(f"{name}: column by column", apart, 0.0, trial.size(result))
    if x.energy is not None and n <= FEW:
        whole = x.matmul(trial.array(numpy.eye(n)))
        energy = trial.inner(whole, whole)
        trial.same("energy", trial.number(x.energy), energy, energy)


def _block(trial: Trial, rows: int) -> Array:
    values = trial.random.standard_normal((rows, COLUMNS))
    if trial.is_complex:
        values = values + 1j * trial.random.standard_normal((rows, COLUMNS))
    return trial.array(values)


def _product(trial: Trial, x: Operator, block: Array, name: str) -> Array | None:
    """Return a product, None where it is not of the right kind."""
    rows = x.shape[0 if name == "matmul" else 1]
    before = trial.host(block)
    y = x.matmul(block) if name == "matmul" else x.rmatmul(block)
    expected = (rows, block.shape[-1])
    if type(y) is not type(block) or y.dtype != block.dtype or tuple(y.shape) != expected:
        found = f"{type(y).__name__} {getattr(y, 'dtype', '')} {getattr(y, 'shape', '')}"
        trial.fail(name, f"must give an array of shape {expected} like its block, gave {found}")
        return None
    if not numpy.array_equal(trial.host(block), before):
        trial.fail("input", "it was written to")
    return y
