"""Small models, and steps on them."""

import torch

INPUT = torch.linspace(-1, 1, 10 * 16).reshape(10, 16)


def net(seed=0, dtype=torch.float32):
    torch.manual_seed(seed)
    layers = torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4)
    return torch.nn.Sequential(*layers).to(dtype)


def backward(model, scale=1.0):
    model.zero_grad()
    loss = scale * model(INPUT.to(next(model.parameters()).dtype)).square().mean()
    loss.backward()
    return loss


def train(model, optimizer, steps=1):
    for _ in range(steps):
        backward(model)
        optimizer.step()
    return model


def values(model):
    return [p.detach().clone() for p in model.parameters()]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def length(before, p):
    """Return the spectral norm of a step."""
    return torch.linalg.matrix_norm((p.detach() - before).double(), 2).item()
