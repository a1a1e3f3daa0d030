"""MNIST-1D: curves of forty points in ten classes, made on the spot."""

import numpy

from specdesc import backends
from specdesc._lib import extras, host
from specdesc.problems.regression import MultinomialRegression


def mnist1d(
    *,
    count: int = 5000,
    ridge: float = 0.0,
    batch: int = 128,
    seed: int = 0,
    backend: str = "numpy",
    dtype: str = "float64",
    device: str | None = None,
) -> tuple[MultinomialRegression, MultinomialRegression]:
    """Return the regression on MNIST-1D, and the same on a fifth of the curves held out.

    Parameters
    ----------
    count : int
        Number of curves, a multiple of 10. 5000 are the published ones.
    ridge : float
        Weight of half the squared Frobenius norm, in the first problem.
    batch, seed : int
        Rows of a sample; the samples. The curves are always the same.
    backend, dtype, device : str
        Where the arrays are made.

    Returns
    -------
    tuple of MultinomialRegression
        Forty points and a last input that is 1: x has shape (10, 41).

    Raises
    ------
    specdesc.MissingExtra
        If the package mnist1d, which makes the curves, is not there.

    Notes
    -----
    The data set of arXiv:2011.14439, by its authors' own generator, without a download: some
    seconds. The package seeds the global generators; they are put back.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import problems
    >>> train, test = problems.mnist1d(count=500)
    >>> train.inputs.shape, test.inputs.shape
    ((400, 41), (100, 41))
    """
    maker = extras.require("mnist1d.data", "data")
    options = maker.get_dataset_args()
    options.num_samples = count
    with host.global_generators_kept():
        data = maker.make_dataset(options)
    leaf = backends.load(backend)

    def problem(kind: str, ridge: float) -> MultinomialRegression:
        rows, classes = data[f"x{kind}"], data[f"y{kind}"]
        labels = (classes[:, None] == numpy.asarray(range(10))) * 1.0
        given, wanted = (
            leaf.from_host(part, dtype=dtype, device=device)
            for part in (numpy.insert(rows, rows.shape[1], 1.0, axis=1), labels)
        )
        return MultinomialRegression(given, wanted, ridge, batch, seed, leaf)

    return problem("", ridge), problem("_test", 0.0)
