"""A polynomial iteration as a nonlinear preconditioner."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from specdesc import minimax
from specdesc._lib.arrays import adjoint
from specdesc._lib.dtypes import working
from specdesc._lib.typing import Array
from specdesc._linalg import lift, magnitudes
from specdesc._linalg.basic import replace_broken, restore
from specdesc._polar_factor import newton_schulz
from specdesc._polar_factor.newton_schulz import Scaled
from specdesc.backends import Backend
from specdesc.backends.creation import zeros
from specdesc.minimax import Step
from specdesc.preconditioners import fit
from specdesc.preconditioners.fit import Fit
from specdesc.preconditioners.kernels import Kernel
from specdesc.preconditioners.preconditioner import Preconditioner, normalized


class Planned(Protocol):
    """Something with polynomial coefficients, such as the result of `plan_orthogonalization`."""

    @property
    def coefficients(self) -> tuple[tuple[float, ...], ...]:
        """Coefficients of x, x³, ... of each step."""
        ...


@dataclass(frozen=True)
class Polynomial(Preconditioner):
    """The odd polynomials of a schedule, one after the other, on the magnitudes.

    Parameters
    ----------
    schedule : plan or sequence of sequences of float
        What `plan_orthogonalization` returns, a `minimax.Schedule`, or the coefficients of x, x³,
        ... of each step, of degree 3, 5, 9 or 17.

    Notes
    -----
    The magnitudes must lie in [0, 1], which `normalize` makes sure of. Steps of finite degree are
    not monotone, so the map is no gradient: `conjugate`, `reference` and every prox that depends on
    a kernel raise `NotImplementedError`; `fit_kappa` gives the kernel that is closest. `eps` does
    not matter.

    In the spectral geometry the cost is that of the products: for m <= n, 4 m² n flops a step and
    2 m³ for each product of squares in it.

    Examples
    --------
    >>> from specdesc import minimax, preconditioners
    >>> p = preconditioners.Polynomial(minimax.NEWTON_SCHULZ, normalize=True)
    >>> round(p.slope, 1)
    484.9
    """

    schedule: "Planned | minimax.Schedule | Sequence[Sequence[float]]"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "schedule", _coefficients(self.schedule))
        if not self.steps:
            msg = "schedule must have at least one step"
            raise ValueError(msg)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps in the form that a matrix kernel evaluates."""
        return tuple(minimax.evaluation_step(each) for each in _coefficients(self.schedule))

    @property
    def kernel(self) -> Kernel:
        """There is none."""
        msg = (
            "a polynomial has no phi: it is not monotone; fit_kappa() gives kappa and eps of the "
            "Kappa that models it best"
        )
        raise NotImplementedError(msg)

    @property
    def reach(self) -> float:
        """The largest value on [0, 1]."""
        return minimax.composed_image(_coefficients(self.schedule), 0.0, 1.0)[1]

    @property
    def slope(self) -> float:
        """The slope at 0, the product of the leading coefficients."""
        return minimax.slope(_coefficients(self.schedule))

    def ripple(self, lower: float | None = None) -> tuple[float, float]:
        """Return the least and the largest value on [lower, 1]; both are 1 for the sign.

        None is 2 / slope, where the `Kappa` of that slope with kappa 4 has come within 2 % of 1.
        """
        start = min(2.0 / self.slope, 1.0) if lower is None else lower
        return minimax.composed_image(_coefficients(self.schedule), start, 1.0)

    def fit_kappa(self, kappa: float | None = None) -> Fit:
        """Return kappa and eps of the `Kappa` that is closest, and how close it is.

        Parameters
        ----------
        kappa : float, optional
            Fix it, and fit eps alone; ``math.inf`` is `Clip`.

        Returns
        -------
        Fit
            ``(kappa, eps, error, largest)``: the root mean square and the largest difference over
            20001 magnitudes, log-uniform in [1e-5, 1].

        Notes
        -----
        Least squares in eps, and in kappa over [1, 64] and inf. Relative to the magnitudes that
        the polynomial gets: where they are divided by the Frobenius norm, so is eps.
        """
        return fit.fit(_coefficients(self.schedule), kappa)

    def _way(self) -> str:
        return "polynomial" if self.geometry == "spectral" else self.geometry

    def _without_svd(self, x: Array, backend: Backend) -> bool:
        return False  # there is no kernel, and `_map` takes none either way

    def _map(self, x: Array, backend: Backend) -> Array:
        source = normalized(x, backend) if self.normalize else x
        if self.geometry == "spectral":
            safe, finite = replace_broken(working(backend.xp, source), backend=backend)
            rule = lift.of_each(self._response, backend=backend)
            y = backend.differentiable(lambda x: (self._by_products(x, backend),), rule)(safe)[0]
            return restore(y, finite, backend=backend)
        taken = magnitudes.take_apart(source, self.geometry, backend=backend)
        return taken.rebuild(self._response(taken.magnitudes), self._response)

    def _response(self, s: Array) -> Array:
        return fit.response(_coefficients(self.schedule), s)

    def _by_products(self, x: Array, backend: Backend) -> Array:
        wide = x.shape[-2] <= x.shape[-1]
        scaled = x if wide else adjoint(x, xp=backend.xp)
        gram = backend.primitives.gram(scaled)
        unit = zeros((*x.shape[:-2], 1, 1), scaled, backend=backend, real=True) + 1
        segments = [(step,) for step in self.steps]
        y = newton_schulz.run(Scaled(scaled, unit, gram, None), segments, backend=backend)
        return y if wide else adjoint(y, xp=backend.xp)


def _coefficients(schedule: Any) -> tuple[tuple[float, ...], ...]:
    """Return the coefficients of every step."""
    if isinstance(schedule, minimax.Schedule):
        return tuple(step.coefficients for step in schedule.steps)
    listed = getattr(schedule, "coefficients", schedule)
    return tuple(tuple(float(c) for c in step) for step in listed)
