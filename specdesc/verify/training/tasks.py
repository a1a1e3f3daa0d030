"""What is trained: data in three parts, a network, and a number of steps."""

from dataclasses import dataclass
from functools import lru_cache

from specdesc.problems import MultinomialRegression, Perceptron, digits, mnist1d


@dataclass(frozen=True)
class Task:
    """A training task; its parts are made when they are first asked for.

    Attributes
    ----------
    name : {"digits", "mnist1d"}
        Where the data come from.
    hidden : tuple of int
        Numbers of hidden units.
    batch, steps : int
        Rows of a sample; gradients of a run.
    """

    name: str
    hidden: tuple[int, ...]
    batch: int
    steps: int

    def parts(self, backend: str, /) -> tuple[Perceptron, Perceptron, Perceptron]:
        """Return the rows to train on, to choose by, and to report on."""
        train, test = _load(self.name, backend)
        rows = int(train.inputs.shape[0])
        known = _perceptron(train, self.batch)
        # A fifth is held out to choose by.
        split = rows - rows // 5
        return known.part(0, split), known.part(split, rows), _perceptron(test, self.batch)

    def described(self) -> str:
        """Return what a run depends on, for the keys of cells."""
        widths = "-".join(map(str, self.hidden))
        return f"{self.name} hidden={widths} batch={self.batch} steps={self.steps}"


@lru_cache(maxsize=4)
def _load(name: str, backend: str) -> tuple[MultinomialRegression, MultinomialRegression]:
    if name == "digits":
        return digits(backend=backend, dtype="float32")
    return mnist1d(backend=backend, dtype="float32")


def _perceptron(data: MultinomialRegression, batch: int) -> Perceptron:
    return Perceptron(data.inputs, data.labels, batch, 0, data.backend)
