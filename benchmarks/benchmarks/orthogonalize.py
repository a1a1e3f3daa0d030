"""Orthogonalization, the polar decomposition and spectral maps."""

import numpy as np

from specdesc import orthogonalize, polar, spectral_map

from .common import BIG, SQUARE, TARGETS, Kernel

TOL = FLOOR = 1e-2


class Orthogonalize(Kernel):
    """Accuracy 1e-2 on singular values down to 1e-2; "newton-schulz" is what it is."""

    params = (TARGETS, ("float32",), (SQUARE,), ("svd", "polynomial", "newton-schulz"))
    param_names = (*Kernel.param_names, "method")

    def setup(self, target, dtype, shape, method):
        self.needs = ("orthogonalize", f"orthogonalize[{method}]")
        super().setup(target, dtype, shape, method)

    def prepare(self, method):
        self.method = method
        return super().prepare()

    def call(self, x):
        # A tolerance is for the polynomial to be planned with; the SVD is exact anyway.
        return orthogonalize(x, tol=TOL, floor=FLOOR, method=self.method)


class TimeOrthogonalize(Orthogonalize):
    def time_orthogonalize(self, *_):
        self.run()


class TrackOrthogonalize(Orthogonalize):
    """The accuracy beside the time: max |1 - t| over the singular directions."""

    params = (TARGETS, ("float64",), (SQUARE,), ("svd", "polynomial", "newton-schulz"))
    warm = False
    unit = "max |1 - t|"

    def track_error(self, *_):
        x = self.host(self.wait(self.arguments[0]))
        factor = self.host(self.run())
        u, _s, vh = np.linalg.svd(x, full_matrices=False)
        kept = np.sum((np.swapaxes(u, -1, -2) @ factor) * vh, axis=-1)
        return float(np.max(np.abs(1.0 - kept)))


class PeakmemOrthogonalize(Orthogonalize):
    """Host memory alone; what a GPU takes is not in it."""

    params = (TARGETS, ("float32",), (BIG,), ("polynomial",))
    warm = False

    def peakmem_orthogonalize(self, *_):
        self.run()


class TimePolar(Kernel):
    needs = ("polar",)

    def call(self, x):
        return tuple(polar(x))

    def time_polar(self, *_):
        self.run()


class TimeSpectralMap(Kernel):
    needs = ("spectral_map",)

    def call(self, x):
        return spectral_map(x, lambda s: s**0.5)

    def time_spectral_map(self, *_):
        self.run()
