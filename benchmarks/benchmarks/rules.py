"""One update of every rule, and one step of robust recovery."""

from specdesc import preconditioners, problems, prox, rules, schedules

from .common import RANK, Kernel, matrix

RULES = {
    "SpectralDescent": rules.SpectralDescent(0.1),
    "TruncatedSpectralDescent": rules.TruncatedSpectralDescent(RANK, 0.1),
    "NormalizedGradient": rules.NormalizedGradient(0.1),
    "Muon": rules.Muon(0.1),
    "Scion": rules.Scion(0.1),
    "ProximalSpectral": rules.ProximalSpectral(
        0.1, preconditioner=preconditioners.Kappa(4), g=prox.SpectralBall(1.0)
    ),
}
NEEDS = {
    "SpectralDescent": ("orthogonalize",),
    "TruncatedSpectralDescent": ("truncated_svd", "initial_start"),
    "Muon": ("orthogonalize",),
    "Scion": ("norms.Spectral",),
    "ProximalSpectral": ("preconditioners[spectral]", "prox.SpectralBall"),
}


class TimeUpdate(Kernel):
    params = (*Kernel.params, tuple(RULES))
    param_names = (*Kernel.param_names, "rule")

    def setup(self, target, dtype, shape, rule):
        self.needs = ("rules", *NEEDS.get(rule, ()))
        super().setup(target, dtype, shape, rule)

    def prepare(self, rule):
        self.rule = RULES[rule]
        x = self.array(matrix(self.shape))
        grad = self.array(matrix(self.shape, seed=1))
        # After one step, so that a rule that starts warm is warm.
        x, state = self.rule.update(x, grad, self.rule.init(x))
        return x, grad, state

    def call(self, x, grad, state):
        return self.rule.update(x, grad, state)

    def time_update(self, *_):
        self.run()


class TimeRobustRecovery(Kernel):
    """Subgradient, truncated spectral step and projection to the rank, from a destroyed matrix."""

    needs = ("problems", "problems.estimate_rank", "rules", "truncated_svd", "prox.Rank")

    def prepare(self):
        clean = matrix(self.shape, smallest=1e-6)
        data = self.array(problems.corrupt(clean, share=0.2, noise=0.01))
        self.problem = problems.RobustRecovery.from_entries(data)
        steps = schedules.geometric(0.1, 0.97)
        self.rule = rules.TruncatedSpectralDescent(RANK, steps, g=prox.Rank(RANK))
        x = self.problem.start()
        state = self.rule.init(x)
        value, grad = self.problem.value_and_grad(x)
        return self.rule.update(x, grad, state, value=value)

    def call(self, x, state):
        value, grad = self.problem.value_and_grad(x)
        return self.rule.update(x, grad, state, value=value)

    def time_step(self, *_):
        self.run()
