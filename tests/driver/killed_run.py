"""A run that is meant to be killed: it says each step before it is over, and starts from its file.

Called as ``python killed_run.py LIBRARY CHECKPOINT STEPS RESULT``.
"""

import sys
from typing import Any

import numpy as np

from specdesc import backends, minimize, preconditioners, prox, rules, schedules

TARGET = np.random.default_rng(0).standard_normal((24, 16))
EVERY = 3


def problem(library: str) -> tuple[Any, Any, Any]:
    """Return a stochastic objective, a start, and a rule that remembers all that a rule may."""
    backend = backends.load(library)
    xp = backend.xp
    target = backend.from_host(TARGET, dtype="float32")

    def value_and_grad(x: Any, sample: Any) -> Any:
        noise = np.random.default_rng(sample).standard_normal(TARGET.shape)
        apart = x - target - 0.1 * backend.from_host(noise, dtype="float32")
        return xp.sum(apart * apart) / 2.0, apart

    steps = schedules.storm(step=2.0)
    rule = rules.ProximalStorm(
        steps.step,
        beta=steps.beta,
        preconditioner=preconditioners.Kappa(4, eps=0.1),
        g=prox.SpectralBall(3.0),
    )
    return value_and_grad, 0.0 * target, rule


def run(library: str, steps: int, **options: Any) -> Any:
    value_and_grad, x0, rule = problem(library)
    return minimize(
        value_and_grad,
        x0,
        rule,
        steps=steps,
        samples=lambda t: t,
        history_budget=40,
        **options,
    )


def as_arrays(library: str, found: Any) -> dict[str, Any]:
    """Return everything that a run gives as host arrays."""
    to_host = backends.load(library).to_host
    parts = {"x": found.x, "value": found.value, "seen": found.history.value}
    parts |= {"step": found.history.step} | {f"state {key}": y for key, y in found.state.items()}
    return {name: to_host(part) for name, part in parts.items()}


def main(library: str, checkpoint: str, steps: str, result: str) -> None:
    def say(t: int, x: Any, value: Any) -> None:
        sys.stdout.write(f"{t}\n")
        sys.stdout.flush()

    found = run(library, int(steps), checkpoint=checkpoint, checkpoint_every=EVERY, callback=say)
    with open(result, "wb") as file:
        np.savez(file, **as_arrays(library, found))


if __name__ == "__main__":
    main(*sys.argv[1:])
