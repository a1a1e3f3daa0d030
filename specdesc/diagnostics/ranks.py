"""Soft ranks, and the test of one step that they make."""

from specdesc._lib.arrays import per_batch
from specdesc._lib.dtypes import working
from specdesc._lib.typing import Array
from specdesc._linalg.basic import balance, frobenius, restore
from specdesc.backends import Backend
from specdesc.backends.creation import zeros
from specdesc.backends.entry import check_supported, enter


def nuclear_rank(x: Array, /) -> Array:
    """Return (||x||_* / ||x||_F)², from 1 for rank one to min(m, n) for equal singular values.

    Parameters
    ----------
    x : array, shape (..., m, n)
        Such as a gradient; real or complex.

    Returns
    -------
    array, shape (...)
        Real, in float32 at least; 0 for a zero or empty matrix, NaN for one that is not finite.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As in the table of bad input.

    Notes
    -----
    How much longer, squared, the nuclear norm is than the Frobenius norm: a spectral step gains by
    that factor over a normalized gradient step where both see the same curvature. Named in
    arXiv:2512.04299 (abstract). Cost: one SVD without vectors.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import diagnostics
    >>> round(float(diagnostics.nuclear_rank(np.eye(3))), 12)
    3.0
    """
    backend = enter("diagnostics.nuclear_rank", x)
    with backend.guard(x):
        return _ratio(x, backend, of_gradient=True)


def stable_rank(x: Array, /) -> Array:
    """Return (||x||_F / ||x||_2)², from 1 to the rank.

    Parameters
    ----------
    x : array, shape (..., m, n)
        Such as the inputs of a layer, one row a sample; real or complex.

    Returns
    -------
    array, shape (...)
        Real, in float32 at least; 0 for a zero or empty matrix, NaN for one that is not finite.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As in the table of bad input.

    Notes
    -----
    Near 1 where one direction is much longer than all others. Cost: one SVD without vectors.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import diagnostics
    >>> round(float(diagnostics.stable_rank(np.diag([2.0, 1.0, 1.0]))), 12)
    1.5
    """
    backend = enter("diagnostics.stable_rank", x)
    with backend.guard(x):
        return _ratio(x, backend, of_gradient=False)


def spectral_gain(grad: Array, inputs: Array, /) -> Array:
    """Return nuclear_rank(grad) / stable_rank(inputs): above 1 a spectral step should win.

    Parameters
    ----------
    grad : array, shape (..., m, n)
        The gradient of the weights of a layer.
    inputs : array, shape (..., samples, n)
        What goes into that layer, or its transpose: the stable rank is the same. The batch shapes
        are the same.

    Returns
    -------
    array, shape (...)
        Real; 0 for a zero gradient, NaN where an array is not finite or the inputs are zero.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As in the table of bad input; other batch shapes.

    Notes
    -----
    The test of one step of arXiv:2512.04299 (abstract; the formula from a review of it). For a loss
    whose curvature in the weights is at most L ||D A||_F², with A the inputs: of the bound on its
    value after one step with the best length, a step along the gradient takes off ||G||_F² / (2 L
    ||A||_2²), as ||D A||_F <= ||D||_F ||A||_2, and one along the polar factor ||G||_*² / (2 L
    ||A||_F²), as ||D A||_F <= ||D||_2 ||A||_F. This is the quotient of the two. It compares bounds
    for one step, not runs, and says nothing about momentum.

    Cost: two SVDs without vectors.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import diagnostics
    >>> spiked = np.diag([10.0, 1.0, 1.0])
    >>> bool(diagnostics.spectral_gain(np.eye(3), spiked) > 2.0)
    True
    """
    backend = enter("diagnostics.spectral_gain", grad, inputs, names=("grad", "inputs"))
    if tuple(grad.shape[:-2]) != tuple(inputs.shape[:-2]):
        msg = (
            "grad and inputs must have one batch shape, got shapes "
            f"{tuple(grad.shape)} and {tuple(inputs.shape)}"
        )
        raise ValueError(msg)
    xp = backend.xp
    with backend.guard(grad):
        gained = _ratio(grad, backend, of_gradient=True)
        lost = _ratio(inputs, backend, of_gradient=False)
        positive = lost > 0
        gain = gained / xp.where(positive, lost, xp.ones_like(lost))
        return xp.where(positive, gain, xp.full_like(gain, float("nan")))


def _ratio(x: Array, backend: Backend, *, of_gradient: bool) -> Array:
    xp = backend.xp
    check_supported("norms.Nuclear", backend)
    balanced = balance(working(xp, x), backend=backend)
    if 0 in x.shape:
        return zeros(tuple(x.shape[:-2]), balanced.matrix, backend=backend, real=True)
    s = xp.linalg.svdvals(balanced.matrix)
    size = per_batch(frobenius(balanced.matrix, xp=xp))
    safe = xp.where(size > 0, size, xp.ones_like(size))
    first = s[..., 0]
    quotient = (
        xp.sum(s, axis=-1) / safe
        if of_gradient
        else size / xp.where(size > 0, first, xp.ones_like(first))
    )
    return restore(quotient * quotient, per_batch(balanced.finite), backend=backend)
