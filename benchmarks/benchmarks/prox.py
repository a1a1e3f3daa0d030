"""Proximal operators of functions of the singular values."""

from specdesc import prox

from .common import RANK, Kernel, matrix

OPERATORS = {
    "SpectralBall": prox.SpectralBall(0.5),
    "Nuclear": prox.Nuclear(0.1),
    "Rank": prox.Rank(RANK),
}


class TimeProx(Kernel):
    """One dense SVD each."""

    params = (*Kernel.params, tuple(OPERATORS))
    param_names = (*Kernel.param_names, "operator")

    def setup(self, target, dtype, shape, operator):
        self.needs = (f"prox.{operator}",)
        super().setup(target, dtype, shape, operator)

    def prepare(self, operator):
        self.operator = OPERATORS[operator]
        return super().prepare()

    def call(self, y):
        return self.operator.prox(y, 1.0)

    def time_prox(self, *_):
        self.run()


class TimeRankWarm(Kernel):
    """The projection to a rank from the block of an earlier call."""

    needs = ("prox.Rank", "truncated_svd", "initial_start")

    def prepare(self):
        before = matrix(self.shape)
        x, operator = self.array(before), prox.Rank(RANK)
        _, start = operator.prox_from(x, 1.0, operator.initial_start(x), tol=0.1)
        return self.array(before + 1e-2 * matrix(self.shape, seed=1)), start

    def call(self, y, start):
        return prox.Rank(RANK).prox_from(y, 1.0, start, tol=0.1)

    def time_prox_from(self, *_):
        self.run()
