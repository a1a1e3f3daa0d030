"""Measure which method `orthogonalize` takes by itself: ``python -m benchmarks.calibrate``."""
