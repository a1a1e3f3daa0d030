"""What a table was measured on."""

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("specdesc", "numpy", "scipy", "torch")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def describe():
    """Return the processor, its cores, the threads and the versions of the libraries."""
    limits = {name: os.environ[name] for name in THREADS if name in os.environ}
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": " ".join(f"{k}={v}" for k, v in limits.items()) or "default",
        "python": platform.python_version(),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
    }


class Others:
    """Tells what other processes took of the machine since this was made, as a share of it."""

    def __init__(self):
        self.start = time.monotonic(), self._seconds()

    def share(self):
        """Return a number from 0, for an idle machine beside us, to 1; None where nobody counts."""
        elapsed, seconds = time.monotonic() - self.start[0], self._seconds()
        if seconds is None or self.start[1] is None:
            return None
        return max(0.0, seconds - self.start[1]) / (elapsed * os.cpu_count())

    @staticmethod
    def _seconds():
        """Return the seconds that all processors were busy, ours excepted."""
        counters = Path("/proc/stat")
        if not counters.exists():
            return None
        fields = counters.read_text(encoding="utf-8").splitlines()[0].split()[1:]
        user, nice, system, _idle, _wait, *interrupts = (int(field) for field in fields[:8])
        busy = (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")
        return busy - sum(os.times()[:4])


def _processor():
    info = Path("/proc/cpuinfo")
    facts = {}
    for line in info.read_text(encoding="utf-8").splitlines() if info.exists() else ():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    name = facts.get("model name", platform.processor() or platform.machine())
    if "cpu family" in facts:
        name += f", family {facts['cpu family']}, model {facts['model']}"
    flags = facts.get("flags", "").split()
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return f"{name} ({', '.join(wide)})" if wide else name


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None
