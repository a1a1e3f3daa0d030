"""Train a small transformer on the characters of Python's own library, with Muon in one line.

python docs/examples/character_transformer.py --steps 300

The text is the source of some modules of the standard library, so nothing is downloaded.
"""

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from specdesc.torch import Muon

MODULES = ("argparse", "ast", "datetime", "decimal", "inspect", "pathlib", "statistics", "typing")


def text() -> str:
    """Return the sources of some modules of the standard library."""
    found = [importlib.util.find_spec(name) for name in MODULES]
    paths = [Path(spec.origin) for spec in found if spec is not None and spec.origin]
    return "".join(path.read_text(encoding="utf-8") for path in paths if path.suffix == ".py")


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm1(x)
        q, k, v = (
            layer(h).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(-2))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    def __init__(self, characters: int, context: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(characters, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, characters, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def batch(data: torch.Tensor, size: int, context: int) -> tuple[torch.Tensor, torch.Tensor]:
    starts = torch.randint(len(data) - context, (size,))
    rows = torch.stack([data[start : start + context + 1] for start in starts])
    return rows[:, :-1], rows[:, 1:]


def loss_of(model: nn.Module, data: torch.Tensor, size: int, context: int) -> torch.Tensor:
    x, y = batch(data, size, context)
    return functional.cross_entropy(model(x).flatten(0, 1), y.flatten())


def main(arguments: Sequence[str] | None = None) -> tuple[float, float]:
    """Train, and return the loss on text that was not trained on, before and after."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path)
    options = parser.parse_args(arguments)

    torch.manual_seed(options.seed)
    source = text()
    characters = sorted(set(source))
    index = {character: i for i, character in enumerate(characters)}
    data = torch.tensor([index[character] for character in source])
    cut = int(0.9 * len(data))

    model = Transformer(len(characters), options.context, options.width, options.layers, heads=4)
    optimizer = Muon(model, lr=options.lr, weight_decay=0.01, adamw_lr=3e-3)
    print(optimizer.route)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)

    def validated() -> float:
        torch.manual_seed(options.seed)
        with torch.no_grad():
            return loss_of(model, data[cut:], 64, options.context).item()

    first = validated()
    for step in range(options.steps):
        loss = loss_of(model, data[:cut], options.batch, options.context)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            print(f"step {step}: loss {loss.item():.3f}, lr {scheduler.get_last_lr()[0]:.4f}")
    if options.checkpoint:
        torch.save([model.state_dict(), optimizer.state_dict()], options.checkpoint)
    last = validated()
    print(f"validation loss {first:.3f} -> {last:.3f}")
    return first, last


if __name__ == "__main__":
    main()
