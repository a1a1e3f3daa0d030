"""Benchmarks of specdesc, run by asv."""
