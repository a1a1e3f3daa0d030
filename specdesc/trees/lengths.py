"""Longer and shorter steps of a rule."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from specdesc.rules import Rule
from specdesc.schedules import Schedule


def lengthened(rule: Rule, factor: float, /) -> Rule:
    """Return the rule with its step, a number or a schedule, times `factor`.

    Raises
    ------
    ValueError
        If the rule is no dataclass with a field ``step``, as those of `specdesc.rules` are.
    """
    known: Any = rule  # the protocol does not say that a rule is a dataclass
    if "step" not in getattr(rule, "__dataclass_fields__", {}):
        msg = f"{rule!r} has nothing to scale: it is no dataclass with a field step"
        raise ValueError(msg)
    longer: Rule = replace(known, step=_times(factor, known.step))
    return longer


def _times(factor: float, step: float | Schedule) -> float | Schedule:
    if not callable(step):
        return factor * step
    schedule: Callable[..., Any] = step
    return lambda t, **seen: factor * schedule(t, **seen)
