"""Times on one CUDA device, beside torch.optim.Muon: ``python -m benchmarks.device FOLDER``.

Half a minute, no compilation and no search. It writes ``FOLDER/<device>.json``: the machine, and
one row a measurement. Every time is a median of calls between device events; ``host`` is the time
until a call returns. Accuracy is that of t_i = Re(u_iᴴ Q v_i) over s_i >= 0.01 s_1, from a float64
SVD on the device.
"""

import json
import platform
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from specdesc.backends.torch.optimizer import Optimizer
from torch.optim._muon import _zeropower_via_newtonschulz

import specdesc
from specdesc import norms, preconditioners, prox, rules, trees

Row = dict[str, Any]
Call = Callable[[], Any]

#: The accuracy of a cheap step of Muon, and of its published coefficients.
CHEAP: dict[str, float] = {"tol": 0.3, "floor": 0.01}
KELLER = (3.4445, -4.7750, 2.0315)

SHAPES = (
    (1024, 1024),
    (4096, 1024),
    (2048, 2048),
    (4096, 4096),
    (8192, 2048),
    (8192, 8192),
    (12, 768, 3072),
    (48, 768, 768),
)


def device_ms(call: Call, seconds: float = 0.15) -> float:
    """Return the median time of a call on the device."""
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    begin = time.perf_counter()
    call()
    torch.cuda.synchronize()
    count = int(min(60, max(5, seconds / (time.perf_counter() - begin + 1e-6))))
    pairs = []
    for _ in range(count):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        call()
        last.record()
        pairs.append((first, last))
    torch.cuda.synchronize()
    return statistics.median(first.elapsed_time(last) for first, last in pairs)


def host_ms(call: Call, count: int = 10) -> float:
    """Return the median time until a call returns."""
    times = []
    for _ in range(count):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - begin))
    torch.cuda.synchronize()
    return statistics.median(times)


def captured(call: Call) -> Call:
    """Return the replay of a CUDA graph of a call."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def errors(q: torch.Tensor, x: torch.Tensor) -> Row:
    """Return the largest and the root mean square of abs(1 - t) of the first matrix."""
    first, factor = (y.reshape(-1, *y.shape[-2:])[0].double() for y in (x, q))
    u, s, vh = torch.linalg.svd(first, full_matrices=False)
    kept = s >= CHEAP["floor"] * s[0]
    t = ((u.mT @ factor) * vh).sum(-1)[kept]
    return {"worst": float((1 - t).abs().max()), "rms": float((1 - t).square().mean().sqrt())}


def keller(x: torch.Tensor) -> torch.Tensor:
    """Return what the kernel of torch.optim.Muon makes of a matrix, or of each of a stack."""
    if x.ndim == 2:
        return _zeropower_via_newtonschulz(x, KELLER, 5, 1e-7)
    return torch.stack([_zeropower_via_newtonschulz(y, KELLER, 5, 1e-7) for y in x])


def ceilings() -> list[Row]:
    """Measure the rates that everything is held against."""
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    product = device_ms(lambda: a @ a)
    big = torch.empty(2**30, device="cuda", dtype=torch.uint8)
    other = torch.empty_like(big)
    copy = device_ms(lambda: other.copy_(big))
    return [
        {"what": "product 8192, bfloat16", "tflops": 2 * 8192**3 / product / 1e9},
        {"what": "copy, read and written", "tb_per_s": 2 * 2**30 / copy / 1e9},
    ]


def symmetric_products() -> list[Row]:
    """Time X Xᵀ by the kernel, cut in several ways, beside the product of the library."""
    from specdesc.backends.torch.symmetric import Tiles, product

    rows = []
    for side in (1024, 2048, 3072, 4096, 8192):
        x = torch.randn(side, side, device="cuda", dtype=torch.bfloat16) / side**0.5
        ms = device_ms(captured(lambda: x @ x.mT))  # noqa: B023
        rows.append({"what": f"x x^T {side}", "who": "cuBLAS, graph", "ms": ms})
        for tiles in TILES:
            cut = Tiles(*tiles)
            row: Row = {"what": f"x x^T {side}", "who": f"kernel {tiles}, graph"}
            try:
                off = float((product(x, tiles=cut).float() - (x @ x.mT).float()).abs().max())
                ms = device_ms(captured(lambda: product(x, tiles=cut)))  # noqa: B023
                rows.append({**row, "ms": ms, "off": off})
            except Exception as error:  # a cut that does not fit this device
                rows.append({**row, "why": str(error)[:80]})
    return rows


#: Side and depth of a tile, warps, stages.
TILES = ((128, 64, 4, 3), (128, 64, 4, 4), (128, 64, 8, 3), (128, 64, 8, 4), (128, 128, 8, 3))


def factors() -> list[Row]:
    """Time cheap factors in bfloat16, eager and captured."""
    rows = []
    for shape in SHAPES:
        x = torch.randn(*shape, device="cuda").bfloat16()

        def ours(x: torch.Tensor = x) -> torch.Tensor:
            return specdesc.orthogonalize(x, **CHEAP)

        def theirs(x: torch.Tensor = x) -> torch.Tensor:
            return keller(x)

        what = " x ".join(map(str, shape)) + ", bfloat16"
        for who, call in (("specdesc", ours), ("torch.optim.Muon", theirs)):
            quality = errors(call(), x) if max(shape) <= 4096 else {}
            rows.append(
                {"what": what, "who": who, "ms": device_ms(call), "host": host_ms(call), **quality}
            )
            rows.append({"what": what, "who": f"{who}, graph", "ms": device_ms(captured(call))})
    return rows


def singles() -> list[Row]:
    """Time what a user calls once, in float32."""
    x = torch.randn(1024, 1024, device="cuda")
    calls: dict[str, Call] = {
        "orthogonalize, tol 1e-3": lambda: specdesc.orthogonalize(x, tol=1e-3, floor=1e-3),
        "orthogonalize": lambda: specdesc.orthogonalize(x),
        "polar": lambda: specdesc.polar(x),
        "prox.SpectralBall": lambda: prox.SpectralBall(1.0).prox(x),
        "truncated step, k = 8": lambda: specdesc.truncated_spectral_step(x, 8, tol=0.1),
        "torch svd": lambda: torch.linalg.svd(x, full_matrices=False),
        "torch svd_lowrank, 8": lambda: torch.svd_lowrank(x, q=18, niter=2),
    }
    what = "1024 x 1024, float32"
    return [{"what": what, "who": who, "ms": device_ms(call, 0.1)} for who, call in calls.items()]


def cupy_rows() -> list[Row]:
    """Time the same factors on CuPy and torch."""
    import cupy

    rows = []
    for side in (1024, 4096):
        values = torch.randn(side, side, device="cuda")
        x = cupy.from_dlpack(values)

        def on_cupy(x: Any = x) -> Any:
            return specdesc.orthogonalize(x, tol=1e-3, floor=1e-3)

        def on_torch(x: torch.Tensor = values) -> torch.Tensor:
            return specdesc.orthogonalize(x, tol=1e-3, floor=1e-3)

        for who, call in (("cupy", on_cupy), ("torch", on_torch)):
            for _ in range(3):
                call()
            torch.cuda.synchronize()
            times = []
            for _ in range(7):
                begin = time.perf_counter()
                call()
                torch.cuda.synchronize()
                times.append(1e3 * (time.perf_counter() - begin))
            what = f"{side} x {side}, float32, tol 1e-3"
            rows.append({"what": what, "who": who, "ms": statistics.median(times)})
    return rows


def gpt2(width: int = 768, layers: int = 12) -> dict[str, torch.nn.Parameter]:
    """Return parameters of the shapes of GPT-2 small, with gradients."""
    torch.manual_seed(0)
    shapes = {
        "qkv": (3 * width, width),
        "proj": (width, width),
        "fc": (4 * width, width),
        "out": (width, 4 * width),
        "ln": (width,),
    }
    blocks = {f"h.{i}.{name}": shape for i in range(layers) for name, shape in shapes.items()}
    sizes: dict[str, tuple[int, ...]] = {"wte": (50304, width), **blocks}
    named = {
        name: torch.nn.Parameter(0.02 * torch.randn(*shape, device="cuda"))
        for name, shape in sizes.items()
    }
    for parameter in named.values():
        parameter.grad = torch.randn_like(parameter)
    return named


def steps() -> list[Row]:
    """Time a step of GPT-2 small: 124 M parameters, 48 matrices, float32."""

    def theirs() -> Call:
        named = gpt2()
        hidden = {name for name, p in named.items() if p.ndim == 2 and name != "wte"}
        matrices = [named[name] for name in sorted(hidden)]
        rest = [p for name, p in named.items() if name not in hidden]
        muon = torch.optim.Muon(matrices, lr=0.02)
        adamw = torch.optim.AdamW(rest, lr=1e-3, fused=True)
        return lambda: (muon.step(), adamw.step())

    def ours(**options: Any) -> Call:
        group = trees.Group("h.*", rules.Muon(0.02, weight_decay=0.1, **options), ndim=2)
        optimizer = Optimizer(gpt2().items(), group, rest=rules.AdamW(1e-3))
        return optimizer.step

    makers: dict[str, Callable[[], Call]] = {
        "torch.optim.Muon and fused AdamW": theirs,
        "specdesc": ours,
        "specdesc, bfloat16, tol 0.3": lambda: ours(dtype="bfloat16", **CHEAP),
        "specdesc, newton-schulz": lambda: ours(method="newton-schulz", dtype="bfloat16"),
    }
    rows = []
    for who, make in makers.items():
        step = make()
        step()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        extra = (torch.cuda.max_memory_allocated() - before) / 2**20
        rows.append(
            {
                "what": "step of GPT-2 small, float32",
                "who": who,
                "ms": device_ms(step, 0.3),
                "host": host_ms(step, 3),
                "extra_mib": extra,
            }
        )
        del step
        torch.cuda.empty_cache()
    return rows


def waits() -> list[Row]:
    """Say which public calls wait for the device, and in which line."""
    x, g = (torch.randn(256, 128, device="cuda") for _ in range(2))
    half, kappa = x.bfloat16(), preconditioners.Kappa()
    calls: dict[str, Call] = {
        "orthogonalize": lambda: specdesc.orthogonalize(x),
        "orthogonalize, full output": lambda: specdesc.orthogonalize(x, tol=1e-2, full_output=True),
        "orthogonalize, bfloat16": lambda: specdesc.orthogonalize(half, **CHEAP),
        "orthogonalize, rational": lambda: specdesc.orthogonalize(x, method="rational"),
        "polar": lambda: specdesc.polar(x),
        "spectral_clip": lambda: specdesc.spectral_clip(x, 1.0),
        "truncated_spectral_step": lambda: specdesc.truncated_spectral_step(x, 8, tol=0.1),
        "norms.Spectral().lmo": lambda: norms.Spectral().lmo(x),
    }
    sets = (
        prox.SpectralBall(1.0),
        prox.SpectralInterval(0.5, 1.0),
        prox.Stiefel(),
        prox.NuclearBall(1.0),
        prox.Nuclear(0.1),
        prox.Rank(4),
        prox.L1Ball(1.0),
        prox.Box(-1.0, 1.0),
    )
    calls |= {f"prox.{type(g_).__name__}": lambda g_=g_: g_.prox(x) for g_ in sets}
    calls["anisotropic prox"] = lambda: prox.SpectralBall(1.0).anisotropic_prox(x, 0.1, kappa)
    for rule in (
        rules.Muon(0.02),
        rules.Scion(0.1),
        rules.SpectralDescent(0.1),
        rules.TruncatedSpectralDescent(4, 0.1),
        rules.ProximalSpectral(0.1, preconditioner=kappa, g=prox.SpectralBall(1.0)),
        rules.AdamW(1e-3),
    ):
        calls[f"rules.{type(rule).__name__}"] = lambda rule=rule: rule.update(x, g, rule.init(x))
    rows = []
    torch.cuda.set_sync_debug_mode("error")
    for name, call in calls.items():
        try:
            call()
        except RuntimeError as error:
            frames = traceback.extract_tb(error.__traceback__)
            inside = [frame for frame in frames if "specdesc" in frame.filename] or frames
            place = f"{Path(inside[-1].filename).name}: {inside[-1].line}"
            rows.append({"what": "waits", "who": name, "where": place, "why": str(error)[:60]})
        else:
            rows.append({"what": "does not wait", "who": name})
    torch.cuda.set_sync_debug_mode("default")
    return rows


def machine() -> Row:
    """Return what the rows were measured on."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        driver = "unknown"
    libraries = ("numpy", "torch", "triton", "cupy-cuda13x", "array-api-compat")
    return {
        "device": torch.cuda.get_device_name(),
        "driver": driver,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in libraries},
        "specdesc": specdesc.__version__,
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except ModuleNotFoundError:
        return "not installed"


def main(folder: str) -> None:
    """Run every part, and write what has been measured after each."""
    rows: list[Row] = []
    result = {"machine": machine(), "rows": rows}
    name = result["machine"]["device"].lower().replace(" ", "-")
    target = Path(folder) / f"{name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    for part in (symmetric_products, ceilings, waits, factors, singles, cupy_rows, steps):
        try:
            new = part()
        except Exception as error:  # a part that fails takes no other with it, and is on record
            traceback.print_exc()
            new = [
                {"what": "failed", "who": part.__name__, "why": f"{type(error).__name__}: {error}"}
            ]
        rows += new
        for row in new:
            print(
                "  ".join(
                    f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()
                ),
                flush=True,
            )
        target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
