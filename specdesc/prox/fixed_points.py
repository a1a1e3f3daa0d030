"""Which steps and which functions have the same fixed points (derived).

A step goes against d(G), the steepest ascent of a norm, and is followed by the prox of g. For a
convex set C the point x stays where -d(G) is in its normal cone N(x), and f is stationary on C
where -G is. The two agree for every G exactly if every normal cone of C is mapped onto itself by d:

- d(G) = G / ||G||_F: every cone is;
- entry by entry, sign(G): cones that are products over the entries, those of `MaxBall` and `Box`;
- the polar factor: the cones of the spectral ball, U H Vᴴ with H positive semi-definite on the
  singular vectors that are at the bound;
- k pairs of it: those of the ball of the same norm, `KyFanBall(k)`, which is `NuclearBall` for k
  = 1; where singular values of G tie at the cut, some choice of the pairs stays.

A cone of another ball holds multiples of one matrix, such as lambda (U Vᴴ + W) for the nuclear
norm, and d forgets the magnitudes that have to agree. A penalty has no cones but weights, which no
d keeps. With decoupled weight decay a step is that of the Frank-Wolfe method on the ball of its own
norm, and x stays where -d(G) - weight_decay x is in N(x): right for the balls of that norm, and
where everything is a product over the entries.
"""

from specdesc._lib.checks import plain
from specdesc._linalg.magnitudes import Geometry
from specdesc.preconditioners import Polynomial, Preconditioner
from specdesc.prox import sets
from specdesc.prox.calculus import Scaled, SeparableSum, Translated, leaves
from specdesc.prox.frames import ENTRIES, MAGNITUDES, NORM, SINGULAR_VALUES
from specdesc.prox.operator import Function
from specdesc.prox.penalties import Nothing

#: The norm of a step: that of a geometry, or the dual Ky Fan norm of so many singular pairs.
StepNorm = Geometry | int

_ACCEPTED = {
    "spectral": "prox.SpectralBall",
    "elementwise": "prox.MaxBall and prox.Box",
    "global": "every set",
    "rows": "prox.MaxBall, prox.Box and sets with axes=(-1,)",
    "columns": "prox.MaxBall and prox.Box",
}


def agree(g: Function | None, norm: StepNorm, /, *, decay: bool = False) -> bool:
    """Say whether a step of this norm and a Euclidean prox of g stop where f + g is stationary.

    Parameters
    ----------
    g : Function or None
        None is no function.
    norm : str or int
        The geometry of the step, or how many singular pairs it has.
    decay : bool
        Whether the step has a decoupled weight decay, which adds the ball of its own norm.

    Returns
    -------
    bool
        True also for nonconvex sets, whose projection is a heuristic: there the question is which
        points are stationary. Of a function without ``is_set`` a nonconvex one counts as a set. One
        with ``agrees_with``, a tuple of norms, is taken at its word.
    """
    if isinstance(g, SeparableSum):
        return all(agree(part, norm, decay=decay) for part in leaves(g.functions))
    if isinstance(g, Scaled):
        return agree(g.g, norm, decay=decay)
    if isinstance(g, Translated):
        # A ball of another centre has the same cones, but not at the points of the decay's ball.
        return agree(g.g, norm, decay=decay) and not (decay and norm != "elementwise")
    if g is None or _is_zero(g):
        return True
    is_set = getattr(g, "is_set", not g.is_convex)
    if norm in getattr(g, "agrees_with", ()):
        return not decay or norm == "elementwise"
    return is_set and (not g.is_convex or _has_cones_of(g, norm, decay))


def _has_cones_of(g: Function, norm: StepNorm, decay: bool) -> bool:
    frame, profile = getattr(g, "frame", None), getattr(g, "profile", None)
    if frame is None:
        return norm == "global" and not decay
    rows = getattr(g, "axes", None) == (-1,)
    if norm == "global":
        return not decay or (frame == NORM and not rows)
    if isinstance(norm, int):
        cut = isinstance(profile, sets.CappedSumBall) and profile.k == norm
        return cut or (isinstance(profile, sets.SumBall) and norm == 1 and frame == SINGULAR_VALUES)
    if norm == "spectral":
        return isinstance(profile, sets.Interval) and frame == SINGULAR_VALUES
    separable = frame in (MAGNITUDES, ENTRIES) and bool(getattr(profile, "separable", False))
    return separable or (norm == "rows" and rows)


def _is_zero(g: Function) -> bool:
    return isinstance(getattr(g, "profile", None), Nothing)


def check_step(rule: str, g: Function | None, norm: StepNorm, /, *, decay: bool = False) -> None:
    """Raise `NotImplementedError` if a rule with this g would not minimise f + g."""
    if agree(g, norm, decay=decay):
        return
    if isinstance(norm, int):
        accepted = f"prox.KyFanBall({norm}, radius)"
        accepted += " and prox.NuclearBall" if norm == 1 else ""
    else:
        accepted = _ACCEPTED[norm]
    if decay:
        accepted = "prox.FrobeniusBall" if norm == "global" else accepted
        rule += " with weight decay"
    msg = (
        f"{rule} would not minimise f + {g!r}: its step and this prox have other fixed points than "
        f"f + g has stationary points. It takes {accepted}, and sets that are not convex; "
        "rules.ProximalSpectral with a smooth preconditioner minimises f + g for every pair of "
        "prox.combinations()"
    )
    raise NotImplementedError(msg)


def check_proximal(preconditioner: Preconditioner, g: Function, /) -> None:
    """Raise `ValueError` if the proximal step of a preconditioner and g would not solve f + g.

    x is a fixed point where grad phi*(d) = -grad phi*(v) for a v in the subdifferential of g. That
    says d = -v for a strictly convex phi*. The sign, and polynomials that come near it, forget
    magnitudes; a map that normalizes sees another d than the prox; and a bounded kernel tells
    magnitudes far above eps apart in the last digits only, which a penalty of that weight needs.
    """
    if _is_zero(g):
        return
    is_set = getattr(g, "is_set", not g.is_convex)
    polynomial = isinstance(preconditioner, Polynomial)
    if not is_set and preconditioner.normalize:
        msg = (
            f"normalize=True divides the gradient by its norm and not the slope of a penalty: "
            f"the method would not minimise f + {g!r}. Use normalize=False, or a set"
        )
        raise ValueError(msg)
    if polynomial or preconditioner.kernel.convexity == 0.0:
        if not agree(g, preconditioner.geometry):
            msg = (
                f"{type(preconditioner).__name__} forgets magnitudes: the method would not "
                f"minimise f + {g!r}. In the geometry {preconditioner.geometry!r} it takes "
                f"{_ACCEPTED[preconditioner.geometry]}, and sets that are not convex; "
                "rules.ProximalSpectral with a smooth preconditioner such as Kappa takes any pair"
            )
            raise ValueError(msg)
        return
    # A hard threshold, and a function of a user, have no such slope.
    steepest = plain(0.0 if is_set else getattr(getattr(g, "profile", None), "steepest", 0.0))
    eps = plain(preconditioner.eps)
    if not isinstance(steepest, float) or not isinstance(eps, float):
        return  # nobody knows a traced number
    least = steepest / preconditioner.kernel.knee
    if eps <= least:
        msg = (
            f"eps must be above {least:.3g} for {g!r}, whose slope is {steepest:.3g}, got "
            f"eps={eps!r}: far above eps the map tells no magnitudes apart, and "
            "the method stands still. Choose eps of the size of the gradient"
        )
        raise ValueError(msg)
