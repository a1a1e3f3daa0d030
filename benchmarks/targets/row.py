"""What is known of one line of the table."""

from dataclasses import dataclass, field

from .accuracy import Accuracy


@dataclass(frozen=True)
class Entry:
    """One contestant: its time and what it reached; ours says `error` and `status` too."""

    name: str
    seconds: float
    accuracy: Accuracy | None = None
    error: float | None = None
    status: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A measured number against its bar.

    `sense` is "at least" or "at most"; `valid` is False where the accuracy that makes times
    comparable was not reached.
    """

    work: str
    against: str
    value: float
    unit: str
    sense: str
    bar: float
    aim: float | None = None
    valid: bool = True
    note: str = ""
    entries: tuple = field(default_factory=tuple)

    @property
    def verdict(self):
        """Say which mark was reached: "aim", "bar", "below", or "less accurate"."""
        if not self.valid:
            return "less accurate"
        if self.aim is not None and self._reaches(self.aim):
            return "aim"
        return "bar" if self._reaches(self.bar) else "below"

    def _reaches(self, mark):
        return self.value >= mark if self.sense == "at least" else self.value <= mark
