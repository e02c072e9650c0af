"""One module a notebook: its training step, and the same step in ordinary PyTorch. See tools/benchmark.py."""
