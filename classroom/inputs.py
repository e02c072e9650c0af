"""Questions for functions that no golden vector reaches.

A question calls the function on inputs that are not in the notebook. The expected answer is the
notebook's own, so only inputs stand here: for each notebook a function of its namespace that returns
{function: question}.
"""

import random
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np


def bits(seed: int, n: int, p: float = 0.5) -> str:
    """n random bits as a string."""
    source = random.Random(seed)
    return "".join("1" if source.random() < p else "0" for _ in range(n))


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def row(seed: int, n: int, p: float = 0.5) -> np.ndarray:
    """n random cells, each 1 with probability p."""
    return (rng(seed).random(n) < p).astype(np.uint8)


def complexity_dynamics(N) -> dict:
    rows = [row(1, 300), row(2, 500, 0.1), np.resize([0, 1, 1], 200).astype(np.uint8)]
    return {"context_counts": lambda: [N.context_counts(x, depth) for x in rows for depth in (1, 3, 5)],
            "fit_tree": lambda: [N.fit_tree(x, depth) for x in rows for depth in (1, 4, 6)],
            "encode": lambda: [N.encode(x, 4) for x in rows],
            "decode": lambda: [N.decode(N.encode(x, 4), len(x), 4) for x in rows],
            "second_order": lambda: [N.second_order(row(3, 31), row(4, 31), rule, 9) for rule in (30, 45)]}


def gpipe(N) -> dict:
    return {"ring_average": lambda: [N.ring_average([rng(k).normal(size=size) for k in range(K)])
                                     for K in (1, 2, 3, 5) for size in (1, 4, 11)]}


def dilated_convolutions(N) -> dict:
    image, kernel = rng(1).normal(size=(9, 12)), rng(2).normal(size=(3, 3))
    nets = (1,), (1, 2), (1, 1, 2)
    return {"dilated_2d": lambda: [N.dilated_2d(image, kernel, dilation) for dilation in (1, 2, 3)],
            "receptive_field": lambda: [N.receptive_field(layers, 17) for layers in nets]}


def coffee_automaton(N) -> dict:
    cups = (rng(1).random((3, 8, 8)) < 0.4).astype(np.uint8)
    moves = [N.random_swaps(rng(2), 3, 8), N.random_shear(rng(3), 3, 8), N.random_swaps(rng(5), 3, 8)]
    C = rng(4).random((2, 10, 12))
    return {"apply_move": lambda: [N.apply_move(cups, m, back) for m in moves for back in (False, True)],
            "box_mean": lambda: [N.box_mean(cups, g) for g in (1, 2, 3, 8)],
            "adjusted": lambda: N.adjusted((7 * C).astype(np.uint8)),
            "diffuse": lambda: N.diffuse(C[0])}


def mdl_principle(N) -> dict:
    p = [rng(seed).dirichlet(np.ones(n)) for seed, n in ((1, 5), (2, 9), (3, 2))]
    words = N.prefix_code([1, 2, 3, 3])
    symbols = rng(4).integers(0, 2, 200).tolist()
    models = (lambda: N.Fixed([3, 1]), lambda: N.Adaptive(2))
    files = [N.arithmetic_encode(symbols, model()) for model in models]
    return {"huffman_lengths": lambda: [N.huffman_lengths(q) for q in p],
            "prefix_decode": lambda: N.prefix_decode(N.prefix_encode([3, 0, 1, 1, 2, 0], words), words, 6),
            "arithmetic_decode": lambda: [N.arithmetic_decode(file, 200, model())
                                          for file, model in zip(files, models, strict=True)]}


def machine_super_intelligence(N) -> dict:
    x = rng(1).integers(0, 2, 60).tolist()
    X = rng(2).integers(0, 2, (6, 9))
    return {"mixture_predictions": lambda: N.mixture_predictions(np.unique(X, axis=0),
                                                                 rng(3).random(len(np.unique(X, axis=0)))),
            "ctw_predict": lambda: [N.ctw_probability(x, depth) for depth in (0, 2, 5)],
            "ctw_update": lambda: [N.ctw_probability(x, depth) for depth in (0, 2, 5)]}


def kolmogorov_complexity(N) -> dict:
    strings = ["0", "0110" * 20, bits(1, 300), bits(2, 300, 0.1)]
    tables = [[5, 7, 3, 9], [5, 0, 1, 9], [1, 0], [2, 5], [7, 4, 9, 2, 1, 13]]
    return {"lz78_encode": lambda: [N.lz78_encode(x) for x in strings],
            "lz78_decode": lambda: [N.lz78_decode(N.lz78_encode(x)) for x in strings],
            "kt_decode": lambda: [N.kt_decode(N.kt_encode(x)) for x in strings],
            "run_machine": lambda: [N.run_machine(table, 40) for table in tables]}


def dense_passage_retrieval(N) -> dict:
    scores = rng(1).integers(0, 5, (6, 9)).astype(float)
    gold = rng(2).integers(0, 9, 6)
    return {"ranks": lambda: [N.ranks(s, gold) for s in (scores, rng(3).normal(size=(6, 9)))]}


# Notebook -> what asks its functions.
ASKING: dict[int, Callable[[SimpleNamespace], dict[str, Callable[[], object]]]] = {
    1: complexity_dynamics, 9: gpipe, 11: dilated_convolutions, 19: coffee_automaton,
    23: mdl_principle, 24: machine_super_intelligence, 25: kolmogorov_complexity,
    28: dense_passage_retrieval}

# Constants of a notebook that its functions need and that are computed with more than arithmetic.
CONSTANTS = {1: ("BITS", "INDEX", "WEIGHT", "LOSS")}
