"""Independent answers for the notebooks' functions.

One module a notebook, `nbNN.py`, with `make(rng) -> dict[str, array]`. It computes with PyTorch,
SciPy or brute force, never with the notebook's own code. Keys are `case/name`, such as
`lstm/x`, `lstm/y`, `lstm/dx`.
"""
