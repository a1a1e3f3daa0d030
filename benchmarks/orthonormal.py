"""Reflections beside rounds of Cholesky for tall blocks: ``python -m benchmarks.orthonormal``.

Prints the milliseconds of both, on as many threads as the libraries take. The member `reflections`
of a backend is read off it.
"""

import time

import numpy as np

from specdesc import backends
from specdesc._linalg import orthonormal

#: (matrices, rows, columns)
BLOCKS = (
    (1, 64, 14),
    (1, 256, 14),
    (1, 1024, 10),
    (1, 1024, 18),
    (1, 2048, 42),
    (1, 8192, 42),
    (256, 64, 14),
    (256, 128, 14),
    (128, 256, 14),
    (16, 1024, 14),
    (32, 512, 42),
)
BUDGET = 0.2


def best(function):
    """Return the shortest of some times, in milliseconds."""
    function()
    times, end = [], time.perf_counter() + BUDGET
    while len(times) < 3 or (time.perf_counter() < end and len(times) < 30):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def main():
    random = np.random.default_rng(0)
    print("| library | dtype | matrices, rows, columns | reflections, ms | Cholesky, ms |")
    print("|---|---|---|---|---|")
    for name in ("numpy", "torch"):
        leaf = backends.load(name)
        for dtype in ("float32", "float64"):
            for block in BLOCKS:
                host = random.standard_normal(block if block[0] > 1 else block[1:])
                x = leaf.from_host(host, dtype=dtype)
                first = best(lambda x=x, leaf=leaf: orthonormal.by_reflections(x, backend=leaf))
                second = best(lambda x=x, leaf=leaf: orthonormal.by_cholesky(x, backend=leaf))
                print(f"| {name} | {dtype} | {block} | {first:.2f} | {second:.2f} |", flush=True)


if __name__ == "__main__":
    main()
