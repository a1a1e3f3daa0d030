"""What specdesc must reach against its peers: ``python -m benchmarks.targets orthogonalize``."""
