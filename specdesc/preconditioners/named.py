"""The kernels by name."""

import math
from dataclasses import dataclass
from typing import ClassVar

from specdesc.preconditioners import kernels
from specdesc.preconditioners.kernels import Kernel
from specdesc.preconditioners.preconditioner import Preconditioner


class _Fixed(Preconditioner):
    """A preconditioner of one kernel, which its class names."""

    _kernel: ClassVar[Kernel]

    @property
    def kernel(self) -> Kernel:
        """The kernel h of the class."""
        return self._kernel


@dataclass(frozen=True)
class Sign(_Fixed):
    r"""pre(t) = 1 for t > 0: Muon (spectral), sign and normalized gradients.

    .. math:: D = U S V^H \mapsto U V^H

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

    _kernel: ClassVar[Kernel] = kernels.Sign()


@dataclass(frozen=True)
class Kappa(Preconditioner):
    r"""pre(t) = t / (1 + t^kappa)^(1/kappa), between the soft sign and hard clipping.

    .. math:: t \mapsto \frac{t}{(1 + t^\kappa)^{1/\kappa}}

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
class SoftSign(_Fixed):
    r"""pre(t) = t / (1 + t): kappa 1 by name.

    .. math:: t \mapsto \frac{t}{1 + t}

    The kernel is h(r) = -r - ln(1 - r).

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import preconditioners
    >>> preconditioners.SoftSign(eps=1.0)(np.diag([2.0, 0.5])).round(3) + 0.0
    array([[0.667, 0.   ],
           [0.   , 0.333]])
    """

    _kernel: ClassVar[Kernel] = kernels.Kappa(1)


@dataclass(frozen=True)
class Sqrt(_Fixed):
    r"""pre(t) = t / sqrt(1 + t²): kappa 2 by name, X (eps² I + XᴴX)^(-1/2) for matrices.

    .. math::

        t \mapsto \frac{t}{\sqrt{1 + t^2}}, \qquad
        D \mapsto D\, (\varepsilon^2 I + D^H D)^{-1/2}

    The kernel is h(r) = 1 - sqrt(1 - r²).

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import preconditioners
    >>> preconditioners.Sqrt(eps=1.0)(np.diag([2.0, 0.5])).round(3) + 0.0
    array([[0.894, 0.   ],
           [0.   , 0.447]])
    """

    _kernel: ClassVar[Kernel] = kernels.Kappa(2)


@dataclass(frozen=True)
class Tanh(_Fixed):
    r"""pre(t) = tanh t.

    .. math:: t \mapsto \tanh t

    The kernel is h(r) = r artanh r + ln(1 - r²) / 2.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import preconditioners
    >>> preconditioners.Tanh(eps=1.0)(np.diag([2.0, 0.5])).round(3) + 0.0
    array([[0.964, 0.   ],
           [0.   , 0.462]])
    """

    _kernel: ClassVar[Kernel] = kernels.Tanh()


@dataclass(frozen=True)
class Arctan(_Fixed):
    r"""pre(t) = (2/pi) arctan(pi t / 2).

    .. math:: t \mapsto \frac2\pi \arctan\frac{\pi t}{2}

    The kernel is h(r) = -(4/pi²) ln cos(pi r / 2).

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import preconditioners
    >>> preconditioners.Arctan(eps=1.0)(np.diag([2.0, 0.5])).round(3) + 0.0
    array([[0.804, 0.   ],
           [0.   , 0.424]])
    """

    _kernel: ClassVar[Kernel] = kernels.Arctan()


@dataclass(frozen=True)
class Arcsinh(_Fixed):
    """pre(t) = arcsinh t, with h(r) = cosh r - 1. Not bounded.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import preconditioners
    >>> preconditioners.Arcsinh(eps=1.0)(np.diag([2.0, 0.5])).round(3) + 0.0
    array([[1.444, 0.   ],
           [0.   , 0.481]])
    """

    _kernel: ClassVar[Kernel] = kernels.Arcsinh()


@dataclass(frozen=True)
class Log(_Fixed):
    """pre(t) = ln(1 + t), with h(r) = e^r - r - 1. Not bounded.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import preconditioners
    >>> preconditioners.Log(eps=1.0)(np.diag([2.0, 0.5])).round(3) + 0.0
    array([[1.099, 0.   ],
           [0.   , 0.405]])
    """

    _kernel: ClassVar[Kernel] = kernels.Log()


@dataclass(frozen=True)
class Clip(_Fixed):
    """pre(t) = min(t, 1): gradient clipping, the limit of `Kappa` for large kappa.

    The kernel is h(r) = r² / 2 on [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import preconditioners
    >>> preconditioners.Clip(eps=1.0)(np.diag([2.0, 0.5])).round(3) + 0.0
    array([[1. , 0. ],
           [0. , 0.5]])
    """

    _kernel: ClassVar[Kernel] = kernels.Clip()


@dataclass(frozen=True)
class Quadratic(_Fixed):
    """pre(t) = t: gradient descent with the step divided by `eps`.

    The kernel is h(r) = r² / 2.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import preconditioners
    >>> preconditioners.Quadratic(eps=1.0)(np.diag([2.0, 0.5])).round(3) + 0.0
    array([[2. , 0. ],
           [0. , 0.5]])
    """

    _kernel: ClassVar[Kernel] = kernels.Quadratic()
