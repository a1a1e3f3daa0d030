"""Checks, dtypes, host code, tracing and types: no mathematics."""
