"""One update of a tree of equal matrices: as one stack, and one after the other."""

from specdesc import rules, trees

from .common import Kernel, matrix

RULES = {"Muon": rules.Muon(0.1, method="newton-schulz"), "AdamW": rules.AdamW(0.1)}
COUNT = 12


class TimeTree(Kernel):
    params = (Kernel.params[0], Kernel.params[1], ((64, 64),), tuple(RULES), ("stack", "loop"))
    param_names = (*Kernel.param_names, "rule", "as")
    needs = ("rules", "orthogonalize[newton-schulz]")

    def prepare(self, rule, way):
        params, grads = (
            [self.array(matrix(self.shape, seed=seed + i)) for i in range(COUNT)]
            for seed in (0, COUNT)
        )
        self.route = trees.route(params, trees.Group("*", RULES[rule], stack=way == "stack"))
        return params, grads, trees.init(params, self.route)

    def call(self, params, grads, state):
        return trees.update(params, grads, state, self.route)

    def time_update(self, *_):
        self.run()
