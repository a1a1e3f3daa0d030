"""The kernels by name."""

import math
from dataclasses import dataclass

from specdesc.preconditioners import kernels
from specdesc.preconditioners.kernels import Kernel
from specdesc.preconditioners.preconditioner import Preconditioner


@dataclass(frozen=True)
class Sign(Preconditioner):
    """pre(t) = 1 for t > 0: Muon (spectral), sign and normalized gradients.

    The limit of the bounded kernels for small `eps`, which does not matter here. It is not
    strongly convex. Singular values of at most max(m, n) eps s_1 count as zero.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import preconditioners
    >>> preconditioners.Sign(geometry="rows")(np.asarray([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """

    @property
    def kernel(self) -> Kernel:
        """The indicator of [0, 1]."""
        return kernels.Sign()


@dataclass(frozen=True)
class Kappa(Preconditioner):
    """pre(t) = t / (1 + t^kappa)^(1/kappa), between the soft sign and hard clipping.

    Parameters
    ----------
    kappa : float
        At least 1. The map is closer to the sign for larger ones; 4 models the polynomial
        iterations of Muon best, see `Polynomial.fit_kappa`.

    Notes
    -----
    The family is reported in secondary sources on arXiv:2605.11850. phi and its conjugate have
    closed forms for kappa 1 and 2; for others they are power series of 56 terms, accurate to a few
    eps (derived). They lose digits like 1 / (kappa - 1) just above 1.

    A spectral map costs one SVD. On accelerators, and where there is no SVD, the maps of kappa 2
    and 4 with `normalize` are polynomial products, equal up to rounding (derived): the polar factor
    of [X, eps I], and for kappa 4 a polynomial of one of its blocks.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import preconditioners
    >>> p = preconditioners.Kappa(2, eps=3.0)
    >>> p(np.diag([4.0, 0.0]))
    array([[0.8, 0. ],
           [0. , 0. ]])
    >>> float(p.conjugate(np.diag([4.0, 0.0])))
    2.0
    """

    kappa: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1.0 <= self.kappa < math.inf:
            msg = f"kappa must be a finite number of at least 1, got {self.kappa!r}"
            raise ValueError(msg)

    @property
    def kernel(self) -> Kernel:
        """The kernel of this kappa."""
        return kernels.Kappa(self.kappa)


@dataclass(frozen=True)
class SoftSign(Preconditioner):
    """pre(t) = t / (1 + t): kappa 1 by name."""

    @property
    def kernel(self) -> Kernel:
        """h(r) = -r - ln(1 - r)."""
        return kernels.Kappa(1)


@dataclass(frozen=True)
class Sqrt(Preconditioner):
    """pre(t) = t / sqrt(1 + t²): kappa 2 by name, X (eps² I + XᴴX)^(-1/2) for matrices."""

    @property
    def kernel(self) -> Kernel:
        """h(r) = 1 - sqrt(1 - r²)."""
        return kernels.Kappa(2)


@dataclass(frozen=True)
class Tanh(Preconditioner):
    """pre(t) = tanh t."""

    @property
    def kernel(self) -> Kernel:
        """h(r) = r artanh r + ln(1 - r²) / 2."""
        return kernels.Tanh()


@dataclass(frozen=True)
class Arctan(Preconditioner):
    """pre(t) = (2/pi) arctan(pi t / 2)."""

    @property
    def kernel(self) -> Kernel:
        """h(r) = -(4/pi²) ln cos(pi r / 2)."""
        return kernels.Arctan()


@dataclass(frozen=True)
class Arcsinh(Preconditioner):
    """pre(t) = arcsinh t, with h(r) = cosh r - 1. Not bounded."""

    @property
    def kernel(self) -> Kernel:
        """h(r) = cosh r - 1."""
        return kernels.Arcsinh()


@dataclass(frozen=True)
class Log(Preconditioner):
    """pre(t) = ln(1 + t), with h(r) = e^r - r - 1. Not bounded."""

    @property
    def kernel(self) -> Kernel:
        """h(r) = e^r - r - 1."""
        return kernels.Log()


@dataclass(frozen=True)
class Clip(Preconditioner):
    """pre(t) = min(t, 1): gradient clipping, the limit of `Kappa` for large kappa."""

    @property
    def kernel(self) -> Kernel:
        """h(r) = r² / 2 on [0, 1]."""
        return kernels.Clip()


@dataclass(frozen=True)
class Quadratic(Preconditioner):
    """pre(t) = t: gradient descent with the step divided by `eps`."""

    @property
    def kernel(self) -> Kernel:
        """h(r) = r² / 2."""
        return kernels.Quadratic()
