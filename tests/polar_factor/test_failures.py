"""Factorizations that give up on finite matrices, as LAPACK's sometimes do."""

from typing import Any

import numpy as np
import pytest

from specdesc import orthogonalize, polar, prox
from tests import support

SVD = np.linalg.svd


def test_an_svd_that_gives_up_is_tried_on_the_adjoint(monkeypatch: pytest.MonkeyPatch) -> None:
    x = support.gaussian(12, 8)
    expected, ball = polar(x), prox.NuclearBall(3.0).prox(x)

    def wide_only(a: Any, *args: Any, **options: Any) -> Any:
        if a.shape[-2] > a.shape[-1]:
            raise np.linalg.LinAlgError
        return SVD(a, *args, **options)

    monkeypatch.setattr(np.linalg, "svd", wide_only)
    for found, wanted in zip(polar(x), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-13)
    np.testing.assert_allclose(prox.NuclearBall(3.0).prox(x), ball, atol=1e-13)


def test_nobody_who_left_the_method_open_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def gives_up(*_: Any, **__: Any) -> Any:
        raise np.linalg.LinAlgError

    monkeypatch.setattr(np.linalg, "svd", gives_up)
    q = orthogonalize(support.gaussian(12, 8))
    np.testing.assert_allclose(q.T @ q, np.eye(8), atol=1e-12)
    with pytest.raises(np.linalg.LinAlgError):
        orthogonalize(support.gaussian(12, 8), method="svd")
