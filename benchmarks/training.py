"""Train a small transformer with every optimizer: ``python -m benchmarks.training FOLDER``.

A transformer of 3 layers and width 128 predicts the characters of ``pydoc_data.topics``, which
ships with Python. Each method has two rates, one for the hidden matrices and one for the rest,
which are searched on a grid of ratio 2 until the best pair has only worse neighbours, by the loss
on text that is held out for that. Then it is trained from other seeds, and the loss on a third part
of the text is reported. A grid is searched with one seed, which the report does not use.

How long a step takes is measured at the end, with all methods in turn: seconds are those of the
processor that this process has used, so that other work counts less.

Writes ``training.json``. Finished runs are kept in ``out/training``: a stopped run goes on where it
was. ``--only METHOD`` reports on some, ``--only tolerances`` on Muon's factor at five accuracies.
"""

import argparse
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pydoc_data import topics

import torch
from torch import nn
from torch.nn import functional

from specdesc import backends, diagnostics, norms, preconditioners, prox, rules, trees
from specdesc.torch import Muon, Optimizer
from specdesc.verify.trial import Trial
from specdesc.verify.tuning import Point, tuned

ROOT = Path(__file__).resolve().parent.parent
CELLS = ROOT / "out" / "training"

STEPS, WARM_UP, BATCH, CONTEXT, WIDTH, LAYERS = 240, 20, 8, 64, 128, 3
#: Between two looks at the loss.
STRIDE = 24
#: Windows of each of the parts that nothing is trained on.
WINDOWS = 96
#: Characters of a piece of text; of ten pieces one is to choose by and one to report on.
PIECE = 4096
SEED, SEEDS = 0, (1, 2, 3)
MORE_SEEDS = (1, 2, 3, 4, 5)
DECAY = 0.1
RADIUS = 4.0
ROUNDS = 30

#: Accuracies of Muon's factor by name; None is the working accuracy.
TOLERANCES: dict[str, dict[str, float | None]] = {
    "exact": {"tol": None, "floor": None},
    "tol 1e-3": {"tol": 1e-3, "floor": 1e-3},
    "tol 0.03": {"tol": 0.03, "floor": 1e-3},
    "tol 0.1": {"tol": 0.1, "floor": 0.01},
    "tol 0.3": {"tol": 0.3, "floor": 0.02},
}


class Text(NamedTuple):
    """Characters as numbers, in three parts."""

    train: torch.Tensor
    validation: torch.Tensor
    test: torch.Tensor
    characters: int


def text() -> Text:
    """Return the help texts of Python, cut into pieces of which one in five is held out."""
    source = "".join(topics.topics[key] for key in sorted(topics.topics))
    characters = sorted(set(source))
    index = {character: i for i, character in enumerate(characters)}
    pieces = torch.tensor([index[character] for character in source]).split(PIECE)
    parts = [
        torch.cat([piece for i, piece in enumerate(pieces) if i % 10 in kept])
        for kept in ((0, 1, 2, 3, 5, 6, 7, 8), (4,), (9,))
    ]
    return Text(parts[0], parts[1], parts[2], len(characters))


def model_of(characters: int, seed: int) -> nn.Module:
    """Return the transformer of the example in the docs, with the same start for one seed."""
    path = ROOT / "docs" / "examples" / "character_transformer.py"
    spec = spec_from_file_location("character_transformer", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    example = module_from_spec(spec)
    spec.loader.exec_module(example)
    torch.manual_seed(seed)
    model: nn.Module = example.Transformer(characters, CONTEXT, WIDTH, LAYERS, heads=4)
    return model


def loss_at(model: nn.Module, data: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """Return the mean loss on the windows of a text that begin at these places."""
    rows = data[starts[:, None] + torch.arange(CONTEXT + 1)]
    return functional.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())


def held_out(model: nn.Module, data: torch.Tensor) -> float:
    """Return the loss on windows that lie evenly over a text."""
    starts = torch.linspace(0, len(data) - CONTEXT - 1, WINDOWS).long()
    with torch.no_grad():
        return loss_at(model, data, starts).item()


def split(model: nn.Module) -> tuple[list[Any], list[Any]]:
    """Return the hidden matrices, and all else."""
    hidden = [p for name, p in model.named_parameters() if "blocks" in name and p.ndim == 2]
    known = {id(p) for p in hidden}
    return hidden, [p for p in model.parameters() if id(p) not in known]


def adamw(model: nn.Module, rate: float, _: float) -> list[torch.optim.Optimizer]:
    return [torch.optim.AdamW(model.parameters(), rate, betas=(0.9, 0.95), weight_decay=DECAY)]


def torch_muon(model: nn.Module, rate: float, other: float) -> list[torch.optim.Optimizer]:
    hidden, rest = split(model)
    return [
        torch.optim.Muon(hidden, lr=rate, weight_decay=DECAY),
        torch.optim.AdamW(rest, other, betas=(0.9, 0.95), weight_decay=DECAY),
    ]


def our_muon(
    model: nn.Module, rate: float, other: float, accuracy: dict[str, Any]
) -> list[torch.optim.Optimizer]:
    return [Muon(model, lr=rate, weight_decay=DECAY, adamw_lr=other, **accuracy)]


def _with_adamw(model: nn.Module, rule: Any, other: float) -> list[torch.optim.Optimizer]:
    rest = rules.AdamW(other, betas=(0.9, 0.95), weight_decay=DECAY)
    hidden = trees.Group("blocks.*", rule, ndim=2)
    return [Optimizer(model.named_parameters(), hidden, rest=rest)]


def scion(model: nn.Module, rate: float, other: float) -> list[torch.optim.Optimizer]:
    """Return Scion on every layer: spectral norms inside, the sign outside, without a ball."""
    free = partial(rules.Scion, beta=0.9, constrained=False)
    hidden = trees.Group("blocks.*", free(rate), ndim=2, scale="rms_to_rms")
    return [Optimizer(model.named_parameters(), hidden, rest=free(other, norm=norms.Max()))]


def scion_ball(model: nn.Module, rate: float, other: float) -> list[torch.optim.Optimizer]:
    return _with_adamw(model, rules.Scion(rate, radius=RADIUS), other)


def proximal(model: nn.Module, rate: float, other: float) -> list[torch.optim.Optimizer]:
    kappa = preconditioners.Kappa(4, normalize=True)
    ball = prox.SpectralBall(RADIUS)
    return _with_adamw(model, rules.ProximalSpectral(rate, preconditioner=kappa, g=ball), other)


class Method(NamedTuple):
    """How a model is trained, and the two rates that the search begins with."""

    make: Callable[[nn.Module, float, float], list[torch.optim.Optimizer]]
    rate: float
    other: float
    rates: int = 2


METHODS = {
    "AdamW": Method(adamw, 4e-3, 0.0, 1),
    "torch.optim.Muon + AdamW": Method(torch_muon, 0.04, 8e-3),
    **{
        f"Muon, {name}": Method(partial(our_muon, accuracy=TOLERANCES[name]), 0.04, 8e-3)
        for name in ("exact", "tol 0.03", "tol 0.3")
    },
    "Scion": Method(scion, 0.04, 4e-3),
    "Scion, spectral ball + AdamW": Method(scion_ball, 0.01, 8e-3),
    "ProximalSpectral, spectral ball + AdamW": Method(proximal, 0.04, 8e-3),
}


def rates_of(method: Method, point: Point) -> tuple[float, float]:
    return method.rate * 2.0**point.first, method.other * 2.0**point.second


def share(t: int) -> float:
    """Return the factor on the rates at a step: up along a line, then down to 0."""
    return min((t + 1) / WARM_UP, (STEPS - t) / (STEPS - WARM_UP))


def trained(
    method: Method, rates: tuple[float, float], seed: int, data: Text, *, probed: bool = False
) -> dict[str, Any]:
    """Train once; return the losses along the run and at its end, inf for one that diverged."""
    model = model_of(data.characters, seed)
    optimizers = method.make(model, *rates)
    schedulers = [torch.optim.lr_scheduler.LambdaLR(each, share) for each in optimizers]
    curve = [held_out(model, data.validation)]
    ranks: list[dict[str, float]] = []
    random = torch.Generator().manual_seed(seed)
    for t in range(STEPS):
        starts = torch.randint(len(data.train) - CONTEXT, (BATCH,), generator=random)
        looked = probed and t % STRIDE == 0
        inputs, hooks = _watched(model) if looked else ({}, [])
        loss = loss_at(model, data.train, starts)
        loss.backward()
        for hook in hooks:
            hook.remove()
        if looked:
            ranks.append({"step": t, **_ranks(model, inputs)})
        for each in (*optimizers, *schedulers):
            each.step()
        model.zero_grad()
        if (t + 1) % STRIDE == 0:
            curve.append(held_out(model, data.validation))
            if not math.isfinite(curve[-1]):
                break
    last = curve[-1] if math.isfinite(curve[-1]) else 1e9  # JSON and the search want numbers
    found = {"validation": last, "test": held_out(model, data.test), "curve": curve}
    return {**found, "ranks": ranks} if probed else found


def _watched(model: nn.Module) -> tuple[dict[str, torch.Tensor], list[Any]]:
    """Return what the hidden layers see in the next passes, and the hooks that note it."""
    seen: dict[str, torch.Tensor] = {}

    def note(module: nn.Module, given: tuple[torch.Tensor, ...], _: torch.Tensor) -> None:
        seen[names[module]] = given[0].detach().flatten(0, -2)

    names = {
        module: name
        for name, module in model.named_modules()
        if "blocks" in name and isinstance(module, nn.Linear)
    }
    return seen, [module.register_forward_hook(note) for module in names]


def _ranks(model: nn.Module, inputs: dict[str, torch.Tensor]) -> dict[str, float]:
    """Return the medians over the hidden layers of the nuclear rank and of the one-step test."""
    grads = {name: model.get_submodule(name).weight.grad for name in inputs}
    ranks = [float(diagnostics.nuclear_rank(grad)) for grad in grads.values()]
    gains = [float(diagnostics.spectral_gain(grads[name], x)) for name, x in inputs.items()]
    return {"nuclear rank": statistics.median(ranks), "gain": statistics.median(gains)}


def searched(name: str, trial: Trial, data: Text) -> dict[str, Any]:
    """Return the best rates of a method by the validation loss of one seed."""
    method = METHODS[name]

    def score(points: Any) -> list[float]:
        return [
            trial.cell(
                f"{name} {rates_of(method, point)} {SEED}",
                partial(trained, method, rates_of(method, point), SEED, data),
            )["validation"]
            for point in points
        ]

    def allowed(point: Point) -> bool:
        return method.rates == 2 or point.second == 0

    best = tuned(score, [Point(0, 0)], allowed)
    return {
        "rates": rates_of(method, best.point)[: method.rates],
        "tried": best.tried,
        "inside": best.inside,
    }


def reported(name: str, trial: Trial, data: Text) -> dict[str, Any]:
    """Search the rates of a method, then train it from the seeds of the report."""
    found = searched(name, trial, data)
    rates = (*found["rates"], 0.0)[:2]
    runs = [
        trial.cell(
            f"{name} {rates} {seed} probed",
            partial(trained, METHODS[name], rates, seed, data, probed=True),
        )
        for seed in SEEDS
    ]
    return {"method": name, **found, "runs": runs}


def loosened(trial: Trial, data: Text) -> list[dict[str, Any]]:
    """Train Muon at every tolerance with the rates of exact factors and five seeds."""
    rates = (*searched("Muon, exact", trial, data)["rates"],)
    rows = []
    for name, accuracy in TOLERANCES.items():
        method = Method(partial(our_muon, accuracy=accuracy), *rates)
        runs = [
            trial.cell(
                f"at the rates of exact factors, {name} {rates} {seed}",
                partial(trained, method, rates, seed, data),
            )
            for seed in MORE_SEEDS
        ]
        rows.append({"tolerance": name, **accuracy, "rates": rates, "runs": runs})
    return rows


def paces(rows: list[dict[str, Any]], data: Text) -> dict[str, dict[str, float]]:
    """Return milliseconds of a gradient and of a step of each method, medians of turns."""
    starts = torch.arange(BATCH) * CONTEXT
    at_work = {}
    for row in rows:
        model = model_of(data.characters, SEED)
        rates = (*row["rates"], 0.0)[:2]
        at_work[row["method"]] = (model, METHODS[row["method"]].make(model, *rates))
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in at_work}
    for _ in range(ROUNDS + 3):
        for name, (model, optimizers) in at_work.items():
            begin = time.process_time()
            loss_at(model, data.train, starts).backward()
            middle = time.process_time()
            for each in optimizers:
                each.step()
            end = time.process_time()
            model.zero_grad()
            times[name].append((1e3 * (middle - begin), 1e3 * (end - middle)))
    return {
        name: {
            "gradient": statistics.median(pair[0] for pair in found[3:]),
            "step": statistics.median(pair[1] for pair in found[3:]),
        }
        for name, found in times.items()
    }


def main() -> None:
    """Train, and write the report of what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", help=f"of {', '.join(METHODS)}, tolerances")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = text()
    trial = Trial(False, backends.load("numpy"), CELLS, partial(print, flush=True))
    asked = [name for name in METHODS if options.only is None or name in options.only]
    rows = [reported(name, trial, data) for name in asked]
    whole = options.only is None
    report = {
        "environment": {
            "machine": f"{platform.machine()} {platform.system()}",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        },
        "steps": STEPS,
        "batch": BATCH,
        "context": CONTEXT,
        "rows": rows,
        "tolerances": loosened(trial, data) if whole or "tolerances" in options.only else [],
        "ms": paces(rows, data),
    }
    options.folder.mkdir(parents=True, exist_ok=True)
    target = options.folder / "training.json"
    target.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
