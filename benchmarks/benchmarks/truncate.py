"""The leading singular triplets and the truncated spectral step."""

import numpy as np

from specdesc import initial_start, truncated_spectral_step, truncated_svd

from .common import BIG, RANK, SQUARE, TARGETS, Kernel, matrix

TOL = 0.1


class Truncated(Kernel):
    """Dense: one SVD. Cold: random columns. Warm: the block of a call for a matrix nearby."""

    params = (*Kernel.params, ("dense", "cold", "warm"))
    param_names = (*Kernel.param_names, "mode")
    needs = ("truncated_svd", "truncated_spectral_step", "initial_start")

    def prepare(self, mode):
        self.tol = None if mode == "dense" else TOL
        before = matrix(self.shape)
        x = self.array(before)
        if mode != "warm":
            return (x,)
        moved = self.array(before + 1e-2 * matrix(self.shape, seed=1))
        first = truncated_svd(x, RANK, tol=TOL, start=initial_start(x, RANK), full_output=True)
        return moved, first.start


class TimeTruncatedSVD(Truncated):
    def call(self, x, start=None):
        return truncated_svd(x, RANK, tol=self.tol, start=start)

    def time_truncated_svd(self, *_):
        self.run()


class Step(Truncated):
    def call(self, x, start=None):
        return truncated_spectral_step(x, RANK, tol=self.tol, start=start)


class TimeTruncatedStep(Step):
    # The block of 14 columns must stay within a quarter of the short side.
    params = (TARGETS, ("float32",), (SQUARE, (16, 64, 64)), ("dense", "cold", "warm"))

    def time_truncated_spectral_step(self, *_):
        self.run()


class TrackTruncatedStep(Step):
    """What <x, step> misses of the Ky Fan value, relative to it."""

    warm = False
    unit = "share missed"

    def track_missed(self, *_):
        x = self.host(self.wait(self.arguments[0]))
        step = self.host(self.run())
        best = np.sum(np.linalg.svd(x, compute_uv=False)[..., :RANK], axis=-1)
        return float(np.max(1.0 - np.sum(x * step, axis=(-2, -1)) / best))


class PeakmemTruncatedStep(Step):
    """Host memory alone; what a GPU takes is not in it."""

    params = (TARGETS, ("float32",), (BIG,), ("cold",))
    warm = False

    def peakmem_truncated_spectral_step(self, *_):
        self.run()
