"""What the functions and sets of this package share: from matrices to magnitudes and back."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, overload, runtime_checkable

from specdesc._lib.checks import check_number
from specdesc._lib.dtypes import is_complex, real_dtype, working
from specdesc._lib.typing import Array
from specdesc._linalg import lift, magnitudes
from specdesc._linalg.basic import all_finite, restore
from specdesc._linalg.magnitudes import Map, Parts
from specdesc.backends import Backend
from specdesc.backends.creation import zeros
from specdesc.backends.entry import check_per_matrix, check_supported, enter
from specdesc.preconditioners import Preconditioner
from specdesc.preconditioners.kernels import Quadratic
from specdesc.prox import geometries, isotropic
from specdesc.prox.frames import NORM, SINGULAR_VALUES, Frame
from specdesc.prox.profile import Bounded, Penalty, Phi, SetProfile

#: Which axes of an array are one point.
Axes = tuple[Literal[-2], Literal[-1]] | tuple[Literal[-1]]


class Function(Protocol):
    """What a rule or a step expects of a function or a set.

    Two more attributes are optional. ``is_set`` says that the values are 0 and inf; without it a
    convex function counts as a penalty. ``agrees_with`` names the norms whose steps keep the normal
    cones of a convex set, ``"spectral"``, ``"elementwise"``, ``"global"`` or a number of singular
    pairs: a rule refuses a convex function that does not agree with its step.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> from specdesc import rules
    >>> class Positive:
    ...     is_convex = is_set = True
    ...     agrees_with = ("elementwise",)  # its cones are products over the entries
    ...     def value(self, x, /):
    ...         return np.where(np.all(x >= 0, axis=(-2, -1)), 0.0, np.inf)
    ...     def prox(self, y, step=1.0, /):
    ...         return np.maximum(y, 0.0)
    ...
    >>> rule = rules.SignDescent(1.0, g=Positive())
    >>> x = np.asarray([[0.5, -2.0]])
    >>> rule.update(x, x, rule.init(x))[0]
    array([[0., 0.]])
    """

    @property
    def is_convex(self) -> bool:
        """Whether the function is convex."""
        ...

    def value(self, x: Array, /) -> Array:
        """Return the value at each matrix of the stack."""
        ...

    def prox(self, y: Array, step: float | Array = 1.0, /) -> Array:
        """Return the proximal point of `y`."""
        ...


@runtime_checkable
class WarmStarted(Function, Protocol):
    """A function whose prox is cheaper for a matrix that has moved little."""

    def initial_start(self, x: Array, /) -> Array:
        """Return a first block for matrices like `x`."""
        ...

    def prox_from(
        self, y: Array, step: float | Array, start: Array, /, *, tol: float
    ) -> tuple[Array, Array]:
        """Return the proximal point within `tol`, and the block for the next call."""
        ...


class AnisotropicProx(NamedTuple):
    """The full output of `anisotropic_prox`.

    Attributes
    ----------
    point : array
        The proximal point.
    status : array of int32
        Of the batch shape. 0: optimal. 1: no point of the set lies within the reach of the kernel,
        and `point` is the Euclidean projection. 2: the input has a NaN or an inf.
    """

    point: Array
    status: Array


@dataclass(frozen=True)
class Operator:
    """A function or a set that depends on the magnitudes of a matrix in one frame.

    Examples
    --------
    >>> from specdesc import prox
    >>> isinstance(prox.Rank(2), prox.Operator), prox.Rank(2).is_set
    (True, True)
    """

    is_convex: ClassVar[bool] = True
    is_set: ClassVar[bool] = False
    #: Whether the points are Hermitian, so that of a gradient its Hermitian part counts.
    is_hermitian: ClassVar[bool] = False
    frame: ClassVar[Frame] = SINGULAR_VALUES

    @property
    def profile(self) -> Any:
        """The function of the magnitudes."""
        raise NotImplementedError

    # --- public ----------------------------------------------------------------------------------

    def value(self, x: Array, /) -> Array:
        """Return the value of every point, of the batch shape; 0 or inf for a set."""
        backend, matrix = self._enter(x)
        with backend.guard(x):
            if 0 in matrix.shape:
                return _none(matrix, backend)
            if backend.streams:
                return backend.per_matrix(self._value, matrix)
            return self._value(backend, matrix)

    def _value(self, backend: Backend, x: Array) -> Array:
        if 0 in x.shape:
            return _none(x, backend)
        xp, taken = backend.xp, self._take_apart(x, backend)
        slack = magnitudes.slack(x, xp=xp)
        if self.is_set:
            none = _none(x, backend)
            inside = self._inside(taken, slack, backend)
            value = xp.where(inside, none, xp.full_like(none, float("inf")))
        else:
            penalty: Penalty = self.profile
            value = penalty.value(taken.magnitudes, slack, xp=xp)
        return magnitudes.number(value, taken, backend=backend)

    def violation(self, x: Array, /) -> Array:
        """Return how far every point is from meeting the constraints, in the units of `x`.

        0 inside, of the batch shape; 0 everywhere for a function that is no set.
        """
        backend, matrix = self._enter(x)
        with backend.guard(x):
            if 0 in matrix.shape or not self.is_set:
                none = _none(matrix, backend)
                finite = all_finite(matrix, xp=backend.xp)[..., 0, 0]
                return restore(none, finite, backend=backend)
            if backend.streams:
                return backend.per_matrix(self._violation, matrix)
            return self._violation(backend, matrix)

    def _violation(self, backend: Backend, x: Array) -> Array:
        if 0 in x.shape:
            return _none(x, backend)
        taken = self._take_apart(x, backend)
        profile: SetProfile = self.profile
        violation = profile.violation(taken.magnitudes, xp=backend.xp)
        return magnitudes.number(violation, taken, backend=backend)

    def prox(self, y: Array, step: float | Array = 1.0, /) -> Array:
        """Return argmin over x of value(x) + ||x - y||² / (2 step); for a set the projection."""
        backend = self._door(y, "y")
        return self.proximal_point(y, step, backend=backend)

    def proximal_point(self, y: Array, step: float | Array, /, *, backend: Backend) -> Array:
        """Return the prox of an array that was checked."""
        matrix = self._admit(y, "y", backend)
        with backend.guard(y):
            backend = check_step(step, matrix, backend)
            if 0 in matrix.shape:
                return zeros(y.shape, y, backend=backend)
            if backend.streams:
                return backend.xp.reshape(self._by_chunks(matrix, step, backend), y.shape)
            return backend.xp.reshape(self._point(backend, matrix, step), y.shape)

    def _by_chunks(self, y: Array, step: float | Array, backend: Backend) -> Array:
        """Return the prox of matrices that may be spread over chunks."""
        given: tuple[Array, ...] = ()
        if isinstance(step, (int, float)):
            check_non_negative(step, "step")
        else:
            check_per_matrix(backend, step, y, "step")
            given = (step,)
        if self._is_elementwise:
            broad = (each[..., None, None] if each.ndim else each for each in given)
            return backend.per_entry(partial(_of_entries, self._point, step), y, *broad)
        kernel = partial(_at_step, self._point, step)
        spectral = self._is_spectral
        return backend.per_matrix(kernel, y, *given, spectral=spectral)

    @property
    def _is_elementwise(self) -> bool:
        """Whether every entry of the prox depends on one entry."""
        return not self.frame.unitary and bool(self.profile.separable)

    @property
    def _is_spectral(self) -> bool:
        """Whether prox(Q y) is Q prox(y) for an isometry Q."""
        return self.frame.unitary or self.frame == NORM

    def _point(self, backend: Backend, y: Array, step: float | Array) -> Array:
        """Return the prox of matrices."""
        if 0 in y.shape:
            return zeros(y.shape, y, backend=backend)
        direct = self._direct(y, backend)
        if direct is not None:
            return direct
        size = step_of(step, y, backend)
        taken = self._take_apart(y, backend)
        return self._in_frame(taken, Phi(Quadratic(), 1.0, size), backend)

    @overload
    def anisotropic_prox(
        self,
        y: Array,
        step: float | Array,
        preconditioner: Preconditioner,
        /,
        *,
        full_output: Literal[False] = ...,
    ) -> Array: ...
    @overload
    def anisotropic_prox(
        self,
        y: Array,
        step: float | Array,
        preconditioner: Preconditioner,
        /,
        *,
        full_output: Literal[True],
    ) -> AnisotropicProx: ...
    def anisotropic_prox(
        self,
        y: Array,
        step: float | Array,
        preconditioner: Preconditioner,
        /,
        *,
        full_output: bool = False,
    ) -> Array | AnisotropicProx:
        """Return argmin over x of value(x) + step phi((x - y) / step).

        Parameters
        ----------
        y : array
            The point.
        step : float or array of the batch shape
            At least 0.
        preconditioner : Preconditioner
            Its phi; `normalize` does not matter here.
        full_output : bool
            Return an `AnisotropicProx` instead of the point alone.

        Returns
        -------
        array or AnisotropicProx
            Like `y`.

        Raises
        ------
        NotImplementedError
            This function has no such prox in this geometry, or its prox depends on the kernel and
            the preconditioner is a polynomial.

        Notes
        -----
        `combinations()` lists what exists, and how it is computed. A bounded kernel reaches no
        farther than `step`; where no point of a set is within reach, the result is the Euclidean
        projection. Of several solutions the one of the smallest magnitude is returned.
        """
        backend = self._door(y, "y")
        point, status = self.preconditioned_point(
            y, step, preconditioner, backend=backend, full_output=full_output
        )
        return point if status is None else AnisotropicProx(point, status)

    def preconditioned_point(
        self,
        y: Array,
        step: float | Array,
        preconditioner: Preconditioner,
        /,
        *,
        backend: Backend,
        full_output: bool = False,
        as_it_is: bool = False,
    ) -> tuple[Array, Array | None]:
        """Return the anisotropic prox of an array that was checked; its status if asked.

        `as_it_is` says that `y` is a stack of matrices that is not to be cut into chunks.
        """
        geometry = preconditioner.geometry
        how = geometries.how(self, geometry)
        if how is None:
            raise geometries.missing(self, geometry)
        matrix = y if as_it_is else self._admit(y, "y", backend)
        with backend.guard(y):
            backend = check_step(step, matrix, backend)
            if 0 in matrix.shape:
                point = zeros(y.shape, y, backend=backend)
                status = backend.xp.astype(_none(matrix, backend), backend.xp.int32)
                return point, status if full_output else None
            if backend.streams and not (as_it_is or full_output):
                point = self._preconditioned_by_chunks(matrix, step, preconditioner, backend)
                return backend.xp.reshape(point, y.shape), None
            alike = not geometries.needs_kernel(self, geometry)
            direct = self._direct(matrix, backend) if alike else None
            if direct is not None and not full_output:
                return direct, None
            size = step_of(step, matrix, backend)
            point, status = self._anisotropic(matrix, size, preconditioner, how, backend)
            point = backend.xp.reshape(point if direct is None else direct, y.shape)
            return point, status if full_output else None

    def _preconditioned_by_chunks(
        self,
        y: Array,
        step: float | Array,
        preconditioner: Preconditioner,
        backend: Backend,
    ) -> Array:
        """Return the anisotropic prox of matrices that may be spread over chunks."""

        def kernel(backend: Backend, y: Array, step: float | Array) -> Array:
            return self.preconditioned_point(
                y, step, preconditioner, backend=backend, as_it_is=True
            )[0]

        given = () if isinstance(step, (int, float)) else (step,)
        geometry = preconditioner.geometry
        if self._is_elementwise and geometry == "elementwise":
            broad = tuple(each[..., None, None] if each.ndim else each for each in given)
            return backend.per_entry(partial(_of_entries, kernel, step), y, *broad)
        spectral = self._is_spectral and geometry in ("spectral", "global")
        return backend.per_matrix(partial(_at_step, kernel, step), y, *given, spectral=spectral)

    def _direct(self, y: Array, backend: Backend) -> Array | None:
        """Return the projection of matrices by a way that needs no magnitudes, None for none."""
        return None

    # --- from matrices to magnitudes -------------------------------------------------------------

    def _enter(self, x: Array, name: str = "x") -> tuple[Backend, Array]:
        """Check a point and return it as a stack of matrices: a vector is a matrix of one row."""
        backend = self._door(x, name)
        return backend, self._admit(x, name, backend)

    def _door(self, x: Array, name: str) -> Backend:
        ndim = 1 if getattr(self, "axes", None) == (-1,) else 2
        return enter(f"prox.{type(self).__name__}", x, names=(name,), ndim=ndim)

    def _admit(self, x: Array, name: str, backend: Backend) -> Array:
        """Return an array as a stack of matrices that this function is defined for."""
        check_supported(f"prox.{type(self).__name__}", backend)
        if self.frame.signed and is_complex(backend.xp, x.dtype):
            msg = f"{name} must be real for {type(self).__name__}, got {x.dtype}"
            raise TypeError(msg)
        matrix = x[..., None, :] if getattr(self, "axes", None) == (-1,) else x
        self._check(matrix)
        return matrix

    def _check(self, x: Array) -> None:
        """Raise `ValueError` if the set has no such matrices."""
        return

    def _take_apart(self, x: Array, backend: Backend) -> Parts:
        return self.frame.split(x, backend)

    def _inside(self, taken: Parts, slack: float, backend: Backend) -> Array:
        profile: SetProfile = self.profile
        s, xp = taken.magnitudes, backend.xp
        return profile.violation(s, xp=xp) <= slack * profile.scale(s, xp=xp)

    def _in_frame(self, taken: Parts, phi: Phi, backend: Backend) -> Array:
        """Return the prox in the frame of the function itself."""

        def move(s: Array) -> Array:
            return self._magnitudes(s, phi, backend)

        return self._finish(taken, move(taken.magnitudes), move, backend)

    def _magnitudes(self, s: Array, phi: Phi, backend: Backend) -> Array:
        """Return the prox of the profile; a step of 0 leaves a function where it is."""
        xp = backend.xp
        if self.is_set and not self.profile.depends_on_kernel:
            return self.profile.prox(s, phi, backend=backend)
        moves = phi.step > 0
        phi = phi._replace(step=xp.where(moves, phi.step, xp.ones_like(phi.step)))
        moved = self.profile.prox(s, phi, backend=backend)
        if self.is_set or (backend.branches and bool(xp.all(moves))):
            return moved
        return xp.where(moves, moved, s)

    def _finish(self, taken: Parts, s: Array, move: Map, backend: Backend) -> Array:
        """Rebuild; a point of the set comes back bit for bit."""
        point = taken.rebuild(s, move)
        if not self.is_set:
            return point
        inside = self._inside(taken, magnitudes.slack(taken.matrix, xp=backend.xp), backend)
        if not backend.branches or bool(backend.xp.any(inside)):
            point = _kept(inside, taken.matrix, point, backend)
        return restore(point, taken.finite, backend=backend)

    # --- other geometries ------------------------------------------------------------------------

    def _anisotropic(
        self,
        x: Array,
        step: Array,
        preconditioner: Preconditioner,
        how: geometries.How,
        backend: Backend,
    ) -> tuple[Array, Array]:
        """Return the prox in the geometry of a preconditioner, and its status."""
        own = self._take_apart(x, backend)
        needed = geometries.needs_kernel(self, preconditioner.geometry)
        phi = Phi(preconditioner.kernel if needed else Quadratic(), preconditioner.eps, step)
        match how:
            case "bisection":

                def solve(s: Array) -> Array:
                    return isotropic.solve(self.profile, s, own, preconditioner, step, backend)

                point = own.rebuild(solve(own.magnitudes), solve)
                return point, status_of(own, None, backend)
            case "Euclidean projection":
                return self._projected(own, phi, preconditioner, backend)
            case "magnitudes":
                return self._by_magnitudes(own, phi, preconditioner, backend)

    def _projected(
        self, own: Parts, phi: Phi, preconditioner: Preconditioner, backend: Backend
    ) -> tuple[Array, Array]:
        """Project like Euclid, and say where that is farther than the kernel reaches."""
        xp, axes = backend.xp, geometries.AXES[preconditioner.geometry]
        point = self._in_frame(own, phi, backend)
        moved = magnitudes.norm(working(xp, point) - working(xp, own.matrix), axes, xp=xp)
        longest = xp.max(xp.max(moved, axis=-1), axis=-1, keepdims=True)
        return point, status_of(own, longest, backend, phi.step, preconditioner.reach)

    def _by_magnitudes(
        self, own: Parts, phi: Phi, preconditioner: Preconditioner, backend: Backend
    ) -> tuple[Array, Array]:
        """Solve for the magnitudes of the geometry, each by itself or with one multiplier."""
        xp, x, taken = backend.xp, own.matrix, own
        if self.frame == NORM:  # it is a function of the magnitudes of every geometry
            check_supported(f"preconditioners[{preconditioner.geometry}]", backend)
            taken = magnitudes.take_apart(x, preconditioner.geometry, backend=backend)

        def move(s: Array) -> Array:
            return self._magnitudes(s, phi, backend)

        s = move(taken.magnitudes)
        point = taken.rebuild(s, move)
        if not self.is_set:
            return point, status_of(own, None, backend)
        longest = xp.max(xp.abs(taken.magnitudes - s), axis=-1, keepdims=True)
        inside = self._inside(own, magnitudes.slack(x, xp=xp), backend)
        point = _kept(inside, x, point, backend)
        longest = xp.where(inside[..., None], xp.zeros_like(longest), longest)
        point = restore(point, taken.finite, backend=backend)
        return point, status_of(own, longest, backend, phi.step, preconditioner.reach)


class BoundedSet(Operator):
    """A bounded set has a linear minimisation oracle."""

    def lmo(self, g: Array, /) -> Array:
        """Return a point of the set that minimises <g, x> = Re sum conj(g) x."""
        backend, matrix = self._enter(g, "x")
        xp = backend.xp
        with backend.guard(g):
            if 0 in matrix.shape:
                return zeros(g.shape, g, backend=backend)
            if not backend.streams:
                point = self._support(backend, matrix)
            elif self._is_elementwise:
                point = backend.per_entry(self._support, matrix)
            else:
                spectral = self._is_spectral
                point = backend.per_matrix(self._support, matrix, spectral=spectral)
            return xp.reshape(point, g.shape)

    def _support(self, backend: Backend, g: Array) -> Array:
        if 0 in g.shape:
            return zeros(g.shape, g, backend=backend)
        taken, xp = self._take_apart(g, backend), backend.xp
        profile: Bounded = self.profile
        slack = magnitudes.slack(g, xp=xp) / 8.0
        sign = -1.0 if self.frame.signed or self.is_hermitian else 1.0

        def support(s: Array) -> Array:
            return profile.support(sign * s, slack, xp=xp)

        return -sign * taken.rebuild(support(taken.magnitudes), support)


def _at_step(
    function: Callable[..., Any], step: float | Array, backend: Backend, y: Array, *given: Array
) -> Any:
    """Run a function of a chunk at its own steps, or at one number."""
    return function(backend, y, *(given or (step,)))


def _of_entries(
    function: Callable[..., Any], step: float | Array, backend: Backend, y: Array, *given: Array
) -> Any:
    """Do the same with steps that have the axes of a matrix."""
    own = (broad[..., 0, 0] if broad.ndim else broad for broad in given)
    return _at_step(function, step, backend, y, *own)


def _kept(inside: Array, x: Array, point: Array, backend: Backend) -> Array:
    """Return x for the matrices inside of a set, which equal their projection up to rounding.

    The derivative is that of the projection: a set may have no interior.
    """
    kept = backend.xp.where(inside[..., None, None], x, point)
    return lift.in_place_of(point, kept, backend=backend) if backend.asks(x) else kept


def _none(x: Array, backend: Backend) -> Array:
    """Return 0 for every matrix."""
    return zeros(tuple(x.shape[:-2]), working(backend.xp, x), backend=backend, real=True)


def status_of(
    taken: Parts,
    longest: Array | None,
    backend: Backend,
    step: Array | None = None,
    reach: float = float("inf"),
) -> Array:
    """Return 0, 1 where a displacement is longer than the reach, 2 where there is a NaN."""
    xp = backend.xp
    finite = taken.finite[..., 0, 0]
    zero = xp.astype(finite, xp.int32) * 0
    status = xp.where(finite, zero, zero + 2)
    if longest is None or step is None or reach == float("inf"):
        return status
    relative = 1.0 + magnitudes.slack(taken.matrix, xp=xp)
    largest = xp.max(taken.magnitudes, axis=-1, keepdims=True)
    rounding = magnitudes.slack(taken.matrix, xp=xp) * largest
    far = (longest > step * (reach * relative) + rounding)[..., 0]
    return xp.where(far & finite, zero + 1, status)


def step_of(step: float | Array, x: Array, backend: Backend) -> Array:
    """Check a step and return it as an array: 0-d, or (..., 1) next to magnitudes."""
    xp = backend.xp
    real_ = real_dtype(xp, working(xp, x).dtype)
    if isinstance(step, Real):
        check_non_negative(step, "step")
        return xp.full((), float(step), dtype=real_, device=backend.placement)
    check_per_matrix(backend, step, x, "step")
    size = xp.astype(step, real_, copy=False)
    return size if size.ndim == 0 else size[..., None]


def check_step(step: float | Array, x: Array, backend: Backend) -> Backend:
    """Check a step, and return a backend that looks at no values where the step is traced."""
    if isinstance(step, Real):
        check_non_negative(step, "step")
        return backend
    check_per_matrix(backend, step, x, "step")
    if not backend.branches or backend.may_branch(step):
        return backend
    return backend.bound(False, backend.placement)


def check_non_negative(value: float | Real, name: str) -> None:
    """Raise unless a parameter is a finite number of at least 0, or an array of one."""
    if isinstance(value, float) and 0.0 <= value < float("inf"):
        return
    check_number(value, name, lambda v: 0.0 <= v < float("inf"), "a finite number of at least 0")
