"""Whole steps of an optimizer of torch, on parameters of the shapes of a model."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from specdesc.bench.rounds import Run

#: The matrices and the rest of a model: how many of which shape.
MODELS: dict[str, tuple[tuple[tuple[int, ...], int], ...]] = {
    "tiny": (((64, 64), 8), ((256, 64), 4), ((64, 256), 4), ((64,), 16)),
    "gpt2-small": (
        ((768, 768), 48),
        ((3072, 768), 12),
        ((768, 3072), 12),
        ((50304, 768), 1),
        ((1024, 768), 1),
        ((768,), 98),
        ((3072,), 12),
    ),
}

#: Rows from which on a matrix is an embedding, which no Muon is for.
EMBEDDING = 10_000


def runs(name: str, device: str | None, /) -> dict[str, Run]:
    """Return a step of ours and of torch's own, both with AdamW for what is no matrix."""
    torch = import_module("torch")
    place = torch.device(device or "cpu")
    synchronize = torch.accelerator.synchronize if place.type != "cpu" else _nothing
    return {
        "specdesc": Run(_ours(name, place, torch), synchronize),
        "torch.optim.Muon + AdamW": Run(_theirs(name, place, torch), synchronize),
    }


def _parameters(name: str, place: Any, torch: Any) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    parameters = {}
    for shape, count in MODELS[name]:
        for i in range(count):
            values = 0.02 * torch.randn(shape, generator=generator)
            parameter = torch.nn.Parameter(values.to(place))
            parameter.grad = (0.01 * torch.randn(shape, generator=generator)).to(place)
            parameters[f"{'x'.join(map(str, shape))}.{i}"] = parameter
    return parameters


def _is_matrix(parameter: Any) -> bool:
    return bool(parameter.ndim == 2 and parameter.shape[0] < EMBEDDING)


def _ours(name: str, place: Any, torch: Any) -> Callable[[], object]:
    rules, trees = import_module("specdesc.rules"), import_module("specdesc.trees")
    optimizer_of = import_module("specdesc.torch").Optimizer
    parameters = _parameters(name, place, torch)
    matrices = [key for key, parameter in parameters.items() if _is_matrix(parameter)]
    muon = rules.Muon(0.02, tol=0.3, floor=0.01, dtype="bfloat16", weight_decay=0.1)
    step: Callable[[], object] = optimizer_of(
        parameters.items(),
        trees.Group(lambda path, _: path in matrices, muon),
        rest=rules.AdamW(1e-3),
    ).step
    return step


def _theirs(name: str, place: Any, torch: Any) -> Callable[[], object]:
    parameters = _parameters(name, place, torch).values()
    muon = torch.optim.Muon([p for p in parameters if _is_matrix(p)], lr=0.02)
    adamw = torch.optim.AdamW([p for p in parameters if not _is_matrix(p)], lr=1e-3)

    def step() -> None:
        muon.step()
        adamw.step()

    return step


def _nothing() -> None:
    return
