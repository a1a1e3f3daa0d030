"""Robust recovery: a low-rank matrix under gross outliers and dense noise, by the l1 loss."""

from dataclasses import dataclass
from functools import cached_property

from specdesc import schedules
from specdesc._lib.arrays import per_batch
from specdesc._lib.checks import check_same_shape
from specdesc._lib.dtypes import is_complex, real_dtype
from specdesc._lib.typing import Array
from specdesc._linalg.basic import balance, frobenius
from specdesc.backends import Backend
from specdesc.backends.creation import scalar
from specdesc.backends.entry import enter
from specdesc.problems.observation import Entries, Measurements, Observation
from specdesc.problems.pursuit import check_mask
from specdesc.problems.scale import centred_spread, medians

#: First steps of `geometric_steps`, times sqrt(rank), relative to robust norms of the data. The
#: first was chosen on photographs and Gaussian factors (of steps from 0.1 to 1), the second
#: on Gaussian measurements (of steps 0.3 and 0.6).
FIRST_STEP_ENTRIES = 1.0
FIRST_STEP_MEASUREMENTS = 0.3

#: The last step of `geometric_steps` relative to the first: ratio 0.97 over 200 steps.
LAST_STEP = 2e-3


@dataclass(frozen=True)
class RobustRecovery:
    """The mean absolute residual, f(x) = (1 / p) sum_i |A_i(x) - b_i|.

    Make one with `from_entries` or `from_measurements`. The loss is convex; a bound on the rank
    belongs to the rule, as ``g=prox.Rank(r)``.

    Attributes
    ----------
    observation : Observation
        The linear map A.
    observed : array
        b.
    truth : array or None
        The matrix to be found, where it is known.
    backend : Backend
        That of the arrays.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc.problems import RobustRecovery
    >>> problem = RobustRecovery.from_entries(np.asarray([[1.0, 5.0], [np.nan, 1.0]]))
    >>> value, grad = problem.value_and_grad(np.ones((2, 2)))
    >>> round(float(value), 3)
    1.333
    >>> grad.round(3) + 0.0
    array([[ 0.   , -0.333],
           [ 0.   ,  0.   ]])
    """

    observation: Observation
    observed: Array
    truth: Array | None
    backend: Backend

    @classmethod
    def from_entries(
        cls, data: Array, /, *, mask: Array | None = None, truth: Array | None = None
    ) -> "RobustRecovery":
        """Observe the entries of a matrix, or of every matrix of a stack.

        Parameters
        ----------
        data : array, shape (..., m, n)
            The observed entries; NaN marks one that is missing.
        mask : array of bool, shape of `data`, optional
            False marks an entry that is missing although it has a value.
        truth : array, shape of `data`, optional
            Only for `error`.

        Raises
        ------
        TypeError, ValueError
            As in the table of bad input.
        """
        backend = enter("problems", data, names=("data",))
        xp = backend.xp
        _check_truth(data, truth)
        with backend.guard(data):
            present = ~xp.isnan(data)
            if mask is not None:
                check_mask(mask, data, backend=backend)
                present = present & mask
            size = data.shape[-2] * data.shape[-1]
            if backend.branches and bool(xp.all(present)):
                # Nothing to mask, and no pass over memory for it.
                return cls(Entries(None, backend, size), data, truth, backend)
            data = xp.where(present, data, scalar(backend, 0.0, data))
            return cls(Entries(present, backend, size), data, truth, backend)

    @classmethod
    def from_measurements(
        cls, matrices: Array, observed: Array, /, *, truth: Array | None = None
    ) -> "RobustRecovery":
        """Observe inner products with given matrices.

        Parameters
        ----------
        matrices : array, shape (p, m, n)
            The A_i. They take p m n numbers: 0.1 GB at m = n = 50 and p = 5 m n in float64.
        observed : array, shape (..., p)
            b.
        truth : array, shape (..., m, n), optional
            Only for `error`.

        Raises
        ------
        TypeError, ValueError
            As in the table of bad input, or if the two p differ.
        """
        # `observed` is to fit `matrices`, so that messages name it.
        backend = enter("problems", matrices, names=("matrices",))
        enter("problems", observed, matrices, names=("observed", "matrices"), ndim=1)
        if matrices.ndim != 3 or tuple(observed.shape[-1:]) != (matrices.shape[0],):
            msg = (
                "matrices must have shape (p, m, n) and observed (..., p), "
                f"got {tuple(matrices.shape)} and {tuple(observed.shape)}"
            )
            raise ValueError(msg)
        return cls(Measurements(matrices, backend), observed, truth, backend)

    def value_and_grad(self, x: Array, /) -> tuple[Array, Array]:
        """Return the loss, of the batch shape, and a subgradient, of the shape of `x`.

        The subgradient takes sign(0) = 0, and z / |z| for complex residuals. Cost: element-wise for
        entries, 4 p m n flops for measurements.
        """
        xp = self.backend.xp
        self._check_point(x)
        with self.backend.guard(x):
            residual = self.observation.apply(x) - self.observed
            weight = self._weight(x)
            value = self.observation.total(xp.abs(residual)) * weight
            residual = self._signs(residual)  # 0 where nothing is observed
            signs = self.observation.embed(residual)
            return value, signs * xp.astype(weight[..., None, None], x.dtype)

    def _check_point(self, x: Array) -> None:
        """Raise `ValueError` unless `x` is a point of the problem, or a stack of points."""
        own = tuple(self.observed.shape)
        if isinstance(self.observation, Measurements):
            own = tuple(self.observation.matrices.shape[1:])
        if tuple(x.shape)[-len(own) :] != own:
            msg = f"x must have the shape {own} of the problem, got {tuple(x.shape)}"
            raise ValueError(msg)

    def _signs(self, residual: Array) -> Array:
        xp = self.backend.xp
        if not is_complex(xp, residual.dtype):
            return xp.sign(residual)
        sizes = xp.abs(residual)
        # xp.sign of a complex zero warns on NumPy: 0 / 0 comes before its mask.
        nonzero = xp.where(sizes > 0, sizes, xp.ones_like(sizes))
        return residual / xp.astype(nonzero, residual.dtype)

    def error(self, x: Array, /) -> Array:
        """Return ||x - truth||_F / ||truth||_F for each matrix.

        Raises
        ------
        ValueError
            If the truth is not known.
        """
        if self.truth is None:
            msg = "the error needs truth=, which this problem does not have"
            raise ValueError(msg)
        with self.backend.guard(x):
            return self._norm(x - self.truth) / self._size_of_truth

    @cached_property
    def _size_of_truth(self) -> Array:
        return self._norm(self.truth)

    def start(self) -> Array:
        """Return where to begin: zeros, or for entries the median of each matrix everywhere.

        The median of complex entries is that of the real and of the imaginary parts.
        """
        if isinstance(self.observation, Measurements):
            shape = (*self.observed.shape[:-1], *self.observation.matrices.shape[1:])
            return self.backend.xp.zeros(
                shape, dtype=self.observed.dtype, device=self.backend.device(self.observed)
            )
        with self.backend.guard(self.observed):
            median = medians(self.observed, self._seen, backend=self.backend)
            return self.backend.xp.zeros_like(self.observed) + median

    @property
    def _seen(self) -> Array:
        """Which entries are observed, for a problem of entries."""
        return self.observation.apply(self.backend.xp.ones_like(self.observed)) != 0

    def geometric_steps(self, rank: int, steps: int, /) -> schedules.Schedule:
        """Return the default step sizes for spectral steps of this rank.

        For entries from ``sqrt(m n / rank) 1.4826 median|b - median b|``, each matrix by its
        own: a robust Frobenius norm, on which neither the size of outliers nor an offset has an
        influence. For measurements from ``0.3 * 1.4826 median|b| / sqrt(rank)``, where the median
        tells the Frobenius norm of the solution if the A_i are Gaussian, whatever the outliers.
        Down to 0.002 of it at the last step. Chosen by trial; no theorem prescribes it.
        """
        ratio = LAST_STEP ** (1.0 / max(1, steps))
        with self.backend.guard(self.observed):
            return schedules.geometric(self._first_step() / rank**0.5, ratio)

    def _first_step(self) -> Array:
        if isinstance(self.observation, Entries):
            size = self.observed.shape[-2] * self.observed.shape[-1]
            spread = centred_spread(self.observed, self._seen, backend=self.backend)
            return FIRST_STEP_ENTRIES * size**0.5 * spread
        ordered = self.backend.xp.sort(self.backend.xp.abs(self.observed), axis=-1)
        return FIRST_STEP_MEASUREMENTS * 1.4826 * ordered[..., self.observed.shape[-1] // 2]

    def _norm(self, x: Array) -> Array:
        balanced = balance(x, backend=self.backend)
        return per_batch(frobenius(balanced.matrix, xp=self.backend.xp) * balanced.scale)

    def _weight(self, x: Array) -> Array:
        xp = self.backend.xp
        count = xp.asarray(
            self.observation.count, dtype=real_dtype(xp, x.dtype), device=self.backend.device(x)
        )
        return 1.0 / count


def _check_truth(data: Array, truth: Array | None) -> None:
    if truth is not None:
        enter("problems", data, truth, names=("data", "truth"))
        check_same_shape(data, truth, "data", "truth")
