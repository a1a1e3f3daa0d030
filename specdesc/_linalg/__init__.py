"""Agnostic kernels: every function takes its namespace or backend as an argument."""
