"""Side-by-side timings against peers: ``python -m benchmarks PART [--quick] [--json FILE]``."""
