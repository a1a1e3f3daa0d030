"""What a claim is, and what testing it finds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from specdesc.verify.trial import Trial

Verdict = Literal["holds", "fails", "undecided"]


@dataclass(frozen=True)
class Finding:
    """What a run of a claim found.

    Attributes
    ----------
    verdict : {"holds", "fails", "undecided"}
        On the statement of the claim as it stands.
    sentence : str
        Why, in plain words and with the decisive numbers; where a method loses, it says so.
    numbers : mapping of str to JSON values
        What was measured: finite numbers, strings, None, lists and mappings of them.
    draw : callable
        ``draw(figure)`` fills an empty matplotlib figure.
    """

    verdict: Verdict
    sentence: str
    numbers: Mapping[str, Any]
    draw: Callable[[Any], object]


@dataclass(frozen=True)
class Claim:
    """A statement that the machine can test.

    Attributes
    ----------
    name : str
        As it is typed: small letters and hyphens.
    statement : str
        One or two sentences that can be true or false.
    source : str
        Where it comes from: (abstract), (secondary), a foundation, or derived by us.
    run : callable
        ``run(trial)`` returns a `Finding`.
    """

    name: str
    statement: str
    source: str
    run: Callable[[Trial], Finding]
