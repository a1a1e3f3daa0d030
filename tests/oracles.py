"""Functions, sets, their conjugates and reference functions by definition, in NumPy and float64."""

from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from specdesc import preconditioners, prox

AXES = {"elementwise": (), "rows": (-1,), "columns": (-2,), "global": (-2, -1)}

#: One of each; the parameters make constraints active for matrices of entries of size about 1.
FUNCTIONS: dict[str, Any] = {
    "Box": prox.Box(-0.5, 0.8),
    "ElasticNet": prox.ElasticNet(0.3, 0.5),
    "FrobeniusBall": prox.FrobeniusBall(1.5),
    "Huber": prox.Huber(0.8, 0.5),
    "KyFanBall": prox.KyFanBall(2, 0.6),
    "L0": prox.L0(0.3),
    "L1": prox.L1(0.4),
    "L1Ball": prox.L1Ball(2.0),
    "MCP": prox.MCP(0.8, 0.7),
    "MaxBall": prox.MaxBall(0.6),
    "Nuclear": prox.Nuclear(0.5),
    "NuclearBall": prox.NuclearBall(1.5),
    "PSD": prox.PSD(),
    "Rank": prox.Rank(2),
    "RankPenalty": prox.RankPenalty(0.4),
    "Ridge": prox.Ridge(0.8),
    "SCAD": prox.SCAD(0.4, 2.5),
    "Simplex": prox.Simplex(),
    "Sparse": prox.Sparse(4),
    "Spectraplex": prox.Spectraplex(1.5),
    "Spectral MCP": prox.Spectral(prox.MCP(0.8, 0.7)),
    "Spectral Huber": prox.Spectral(prox.Huber(0.8, 0.5)),
    "SpectralBall": prox.SpectralBall(0.7),
    "SpectralInterval": prox.SpectralInterval(0.3, 0.8),
    "Stiefel": prox.Stiefel(),
    "Zero": prox.Zero(),
}
REAL = ("Box", "Simplex")
HERMITIAN = ("PSD", "Spectraplex")

KERNELS: dict[str, Any] = {
    "SoftSign": preconditioners.SoftSign,
    "Sqrt": preconditioners.Sqrt,
    "Kappa 3": lambda **o: preconditioners.Kappa(3, **o),
    "Kappa 4": lambda **o: preconditioners.Kappa(4, **o),
    "Tanh": preconditioners.Tanh,
    "Arctan": preconditioners.Arctan,
    "Arcsinh": preconditioners.Arcsinh,
    "Log": preconditioners.Log,
    "Clip": preconditioners.Clip,
    "Quadratic": preconditioners.Quadratic,
    "Sign": preconditioners.Sign,
}


def singular_values(x: Any) -> Any:
    return np.linalg.svd(x, compute_uv=False)


def _sum(x: Any) -> Any:
    return x.sum((-2, -1))


def _mcp(s: Any, w: float, a: float) -> Any:
    return np.where(s <= a * w, w * s - s**2 / (2 * a), a * w**2 / 2)


def _scad(s: Any, w: float, a: float) -> Any:
    middle = (2 * a * w * s - s**2 - w**2) / (2 * (a - 1))
    return np.where(s <= w, w * s, np.where(s <= a * w, middle, w**2 * (a + 1) / 2))


def _huber(s: Any, w: float, delta: float) -> Any:
    return w * np.where(s <= delta, s**2 / 2, delta * (s - delta / 2))


def value(g: Any, x: Any, tolerance: float = 1e-11) -> Any:
    """Return g at every matrix of a stack."""
    size, name = np.abs(x), type(g).__name__
    spectral = ("KyFanBall", "Nuclear", "NuclearBall", "Rank", "RankPenalty", "Spectral")
    s = singular_values(x) if name.startswith((*spectral, "Stiefel")) else None

    def inside(excess: Any) -> Any:
        return np.where(np.asarray(excess) <= tolerance, 0.0, np.inf)

    match name:
        case "Box":
            return inside(np.maximum(g.low - x, x - g.high).max((-2, -1)))
        case "ElasticNet":
            return _sum(g.linear * size + g.square * size**2 / 2)
        case "FrobeniusBall":
            return inside(np.sqrt(_sum(size**2)) - g.radius)
        case "Huber":
            return _sum(_huber(size, g.weight, g.delta))
        case "KyFanBall":
            return inside(np.maximum(s[..., 0] - g.radius, s.sum(-1) - g.k * g.radius))
        case "L0":
            return g.weight * _sum(size > 0)
        case "L1":
            return g.weight * _sum(size)
        case "L1Ball":
            return inside(_sum(size) - g.radius)
        case "MCP":
            return _sum(_mcp(size, g.weight, g.a))
        case "MaxBall":
            return inside(size.max((-2, -1)) - g.radius)
        case "Nuclear":
            return g.weight * s.sum(-1)
        case "NuclearBall":
            return inside(s.sum(-1) - g.radius)
        case "PSD":
            skew = np.abs(x - np.conj(np.swapaxes(x, -1, -2))).max((-2, -1))
            return inside(np.maximum(skew, -np.linalg.eigvalsh(x)[..., 0]))
        case "Spectraplex":
            skew = np.abs(x - np.conj(np.swapaxes(x, -1, -2))).max((-2, -1))
            trace = np.abs(np.trace(x, axis1=-2, axis2=-1) - g.total)
            return inside(np.maximum(np.maximum(skew, -np.linalg.eigvalsh(x)[..., 0]), trace))
        case "Rank":
            return inside(s[..., g.rank :].sum(-1))
        case "RankPenalty":
            return g.weight * (s > 1e-11).sum(-1)
        case "Ridge":
            return g.weight * _sum(size**2) / 2
        case "SCAD":
            return _sum(_scad(size, g.weight, g.a))
        case "Simplex":
            return inside(np.maximum(-x.min((-2, -1)), np.abs(_sum(x) - g.total)))
        case "Sparse":
            return inside(_sum(size > 0) - g.count)
        case "Spectral":
            return value(g.g, s[..., None, :])
        case "SpectralBall":
            return inside(s[..., 0] - g.radius)
        case "SpectralInterval":
            return inside(np.maximum(s[..., 0] - g.high, g.low - s[..., -1]))
        case "Stiefel":
            return inside(np.abs(s - 1).max(-1))
        case "Zero":
            return 0.0 * _sum(size)
    raise AssertionError(name)


def conjugate(g: Any, v: Any, tolerance: float = 1e-7) -> float:
    """Return sup over x of <v, x> - g(x) for the convex ones; `tolerance` for their domains."""
    size, s, name = np.abs(v), singular_values(v), type(g).__name__

    def domain(excess: Any) -> float:
        return 0.0 if excess <= tolerance else np.inf

    match name:
        case "Box":
            return float(np.maximum(g.low * v, g.high * v).sum())
        case "ElasticNet":
            return float((np.maximum(size - g.linear, 0) ** 2).sum() / (2 * g.square))
        case "FrobeniusBall":
            return float(g.radius * np.linalg.norm(v))
        case "Huber":
            return float((size**2).sum() / (2 * g.weight)) + domain(size.max() - g.weight * g.delta)
        case "KyFanBall":
            return float(g.radius * s[: g.k].sum())
        case "L1":
            return domain(size.max() - g.weight)
        case "L1Ball":
            return float(g.radius * size.max())
        case "MaxBall":
            return float(g.radius * size.sum())
        case "Nuclear":
            return domain(s[0] - g.weight)
        case "NuclearBall":
            return float(g.radius * s[0])
        case "PSD":
            return domain(np.linalg.eigvalsh((v + np.conj(v.T)) / 2)[-1])
        case "Spectraplex":
            return float(g.total * np.linalg.eigvalsh((v + np.conj(v.T)) / 2)[-1])
        case "Ridge":
            return float((size**2).sum() / (2 * g.weight))
        case "Simplex":
            return float(g.total * v.max())
        case "Spectral":
            return conjugate(g.g, s[None, :], tolerance)
        case "SpectralBall":
            return float(g.radius * s.sum())
        case "Zero":
            return domain(size.max())
    raise AssertionError(name)


def magnitudes(x: Any, geometry: str) -> Any:
    """Return the magnitudes of a stack, (..., count)."""
    if geometry == "spectral":
        return singular_values(x)
    axes = AXES[geometry]
    norms = np.sqrt((np.abs(x) ** 2).sum(axes, keepdims=True)) if axes else np.abs(x)
    return norms.reshape(*x.shape[:-2], -1)


def reference(p: Any, x: Any) -> Any:
    """Return phi at a stack; what rounding took beyond the domain counts as its edge."""
    r = magnitudes(x, p.geometry)
    limit = p.kernel.limit
    r = np.where((r > limit) & (r <= limit * (1 + 1e-9)), limit, r)
    return p.eps * p.kernel.reference(r, xp=xp).sum(-1)


def inverse(p: Any, x: Any) -> Any:
    """Return grad phi(x) for one matrix."""
    slope = p.eps * p.kernel.inverse(magnitudes(x, p.geometry), xp=xp)
    if p.geometry == "spectral":
        u, _, vh = np.linalg.svd(x, full_matrices=False)
        return (u * slope) @ vh
    axes = AXES[p.geometry]
    norms = np.sqrt((np.abs(x) ** 2).sum(axes, keepdims=True)) if axes else np.abs(x)
    return x / np.where(norms > 0, norms, 1.0) * slope.reshape(norms.shape)


def objective(g: Any, p: Any, x: Any, y: Any, step: float) -> Any:
    """Return g(x) + step phi((x - y) / step)."""
    return value(g, x) + step * reference(p, (x - y) / step)
