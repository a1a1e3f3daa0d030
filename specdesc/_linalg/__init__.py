"""Linear algebra that the standard lacks: every function takes its namespace or backend."""
