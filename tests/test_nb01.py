"""Notebook 01: automata, coders and measures against brute force, known numbers and exact fractions."""

import ast
import itertools
import math
import random
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from tests.support import Exercises, classroom, close, definitions, function_node
from tools import notebook
from tools.catalogue import load


def with_grid():
    """The notebook's definitions, and the cell that computes the grid of probabilities."""
    space = definitions(1).fit_tree.__globals__
    cells = [cell.source for cell in notebook.code_cells(notebook.read(load()[0][1].path))]
    exec(next(source for source in cells if "\nLOSS = " in source), space)
    return SimpleNamespace(**space)


N = with_grid()
CHECKS = {}                                            # no gradients here


def coin(seed, n, p=0.5):
    """A row of n cells from the standard library's generator."""
    source = random.Random(seed)
    return np.array([source.random() < p for _ in range(n)], np.uint8)


def slow_step(x, rule):
    """One step, cell by cell, from the definition."""
    n = len(x)
    return [rule >> (4 * int(x[i - 1]) + 2 * int(x[i]) + int(x[(i + 1) % n])) & 1 for i in range(n)]


ROWS = {"zeros": np.zeros(300, np.uint8), "ones": np.ones(77, np.uint8), "coin": coin(1, 700),
        "sparse": coin(2, 900, 0.05), "pairs": np.tile([0, 1, 1, 0], 60).astype(np.uint8),
        "one cell": np.array([1], np.uint8), "rule 30": N.evolve(np.eye(1, 500, 250)[0], 30, 90)[-1]}
each_row = pytest.mark.parametrize("name", ROWS)


# --- automata --------------------------------------------------------------------------------------

@pytest.mark.parametrize("rule", [0, 4, 18, 22, 30, 54, 90, 110, 184, 255])
def test_evolution_is_the_definition(rule):
    x = coin(rule, 17)
    history = N.evolve(x, rule, 9)
    assert history.shape == (10, 17) and (history[0] == x).all()
    for before, after in itertools.pairwise(history):
        assert slow_step(before, rule) == after.tolist()


def test_rule_30_from_one_cell_on_a_ring_of_100():
    history = N.evolve(np.eye(1, 100, 50)[0], 30, 100)
    assert history.shape == (101, 100)
    # centre column of Rule 30 (OEIS A051023), before the ring closes
    assert history[:20, 50].tolist() == [1, 1, 0, 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 1, 0, 1, 1, 0, 0, 1]
    assert (history[49].nonzero()[0][[0, -1]] == [1, 99]).all()


def test_rule_table_reads_the_binary_digits():
    assert N.rule_table(30).tolist() == [0, 1, 1, 1, 1, 0, 0, 0]
    assert all(sum(int(b) << k for k, b in enumerate(N.rule_table(r))) == r for r in range(256))


@pytest.mark.parametrize("name", ["step", "diffuse", "evolve", "second_order", "images", "context_counts"])
def test_no_python_loop_over_cells(name):
    """The public notebook on this post walks over cells one by one; here loops run over steps or cases."""
    loops = [node.iter for node in ast.walk(function_node(load()[0][1], name))
             if isinstance(node, ast.For | ast.comprehension)]
    assert all("len(x)" not in ast.unparse(it) and "shape" not in ast.unparse(it) and
               "size" not in ast.unparse(it) for it in loops)
    assert not loops or name not in ("step", "context_counts")


def test_second_order_is_reversible_and_the_definition():
    old, x = coin(3, 40), coin(4, 40)
    rows = N.second_order(old, x, 30, 50)
    assert (rows[0] == old).all() and (rows[1] == x).all() and len(rows) == 52
    for a, b, c in zip(rows, rows[1:], rows[2:], strict=False):
        assert (np.array(slow_step(b, 30)) ^ a == c).all()
    assert (N.second_order(rows[-1], rows[-2], 30, 50)[::-1] == rows).all()


@pytest.mark.parametrize("rule, n", [(30, 3), (30, 5), (110, 6), (90, 7), (45, 8), (184, 4)])
def test_images_are_the_successors(rule, n):
    out = N.images(rule, n)
    for value in range(2**n):
        row = [value >> n - 1 - i & 1 for i in range(n)]                 # highest bit is the left cell
        assert out[value] == int("".join(map(str, slow_step(row, rule))), 2)


def test_rule_30_is_not_a_closed_system_and_the_second_order_rule_is():
    """The mistake of the public notebook: Rule 30 loses information on rings of every size we can count."""
    assert [2**n - np.unique(N.images(30, n)).size for n in range(3, 11)] == [3, 5, 6, 12, 22, 33, 57, 101]
    n, f = 6, N.images(30, 6)
    pairs = {(int(f[x]) ^ old, x) for x in range(2**n) for old in range(2**n)}
    assert len(pairs) == 4**n
    assert not (N.evolve(N.evolve(coin(5, 30), 30, 20)[-1], 30, 20)[-1] == coin(5, 30)).all()


def test_rule_90_at_a_power_of_two_is_two_shifted_copies():
    x = coin(6, 200)
    for k in range(7):
        assert (N.evolve(x, 90, 2**k)[-1] == np.roll(x, 2**k) ^ np.roll(x, -(2**k))).all()


# --- what the naive measures miss ------------------------------------------------------------------

def test_naive_measures_by_hand():
    assert N.transitions(np.array([0, 1, 1, 0])) == 2 and N.transitions(np.array([0, 1, 0, 1])) == 4
    close(N.density_entropy(np.array([[0, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0]])),
          [2 - 0.75 * math.log2(3), 1, 0], 1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_shuffling_runs_keeps_density_transitions_and_the_run_lengths(seed):
    def lengths(x, colour):
        x = np.roll(x, -np.flatnonzero(x != np.roll(x, 1))[0])
        return sorted(len(list(g)) for c, g in itertools.groupby(x.tolist()) if c == colour)

    x = coin(seed, 400, 0.3)
    y = N.shuffle_runs(x, np.random.default_rng(seed))
    assert len(x) == len(y) and x.sum() == y.sum() and N.transitions(x) == N.transitions(y)
    assert all(lengths(x, colour) == lengths(y, colour) for colour in (0, 1))
    assert not any((np.roll(y, k) == x).all() for k in range(400))


# --- the two-part code -----------------------------------------------------------------------------

@each_row
def test_contexts_are_the_cells_to_the_left(name):
    x, depth = ROWS[name], 5
    padded = [0] * depth + x.tolist()
    wanted = [sum(padded[i + depth - 1 - k] << k for k in range(depth)) for i in range(len(x))]
    assert N.contexts(x, depth).tolist() == wanted
    counts = N.context_counts(x, depth)
    assert counts.shape == (32, 2) and counts.sum() == len(x)
    for c, b in zip(wanted[:50], x[:50].tolist(), strict=True):
        assert counts[c, b] >= 1
    assert counts[3, 1] == sum(c == 3 and b == 1 for c, b in zip(wanted, x.tolist(), strict=True))


def test_grid_of_probabilities():
    assert len(N.WEIGHT) == 255 and N.WEIGHT.min() >= 1 and N.WEIGHT.max() <= 65535
    for b in range(8):
        theta = N.WEIGHT[N.BITS == b] / 65536
        assert len(theta) == 2**b and (np.diff(theta) > 0).all()
        close(theta, 1 - theta[::-1], 2e-5)                              # symmetric under 0 <-> 1
    close(2.0**-N.LOSS.T.sum(1), N.WEIGHT * (65536 - N.WEIGHT) / 65536**2, 1e-12)


def trees(depth, path=()):
    """All binary trees as sets of leaves; a leaf is the tuple of cells from near to far."""
    yield [path]
    if len(path) < depth:
        for a in trees(depth, (*path, 0)):
            for b in trees(depth, (*path, 1)):
                yield a + b


@pytest.mark.parametrize("depth, number", [(1, 2), (2, 5), (3, 26), (4, 677)])
@each_row
def test_pruning_equals_brute_force_over_all_trees(name, depth, number):
    x = ROWS[name][:400].tolist()
    padded, cost = [0] * depth + x, {}
    for length in range(depth + 1):
        for path in itertools.product((0, 1), repeat=length):
            n = [0, 0]
            for i, b in enumerate(x):
                if all(padded[i + depth - 1 - k] == path[k] for k in range(length)):
                    n[b] += 1
            theta = [(3 + b, w / 65536) for b, w in zip(N.BITS.tolist(), N.WEIGHT.tolist(), strict=True)]
            cost[path] = (length < depth) + min(
                price - n[0] * math.log2(1 - p) - n[1] * math.log2(p) for price, p in theta)
    every = list(trees(depth))
    best = min(sum(cost[leaf] for leaf in tree) + len(tree) - 1 for tree in every)
    assert len(every) == number == len(N.all_trees(depth))
    close(N.fit_tree(ROWS[name][:400], depth)[2], best, 1e-9)
    assert sum(N.two_part(ROWS[name][:400], depth)[:2]) == pytest.approx(best)


@each_row
def test_a_deeper_observer_never_pays_more_than_a_bit_a_leaf_more(name):
    bits = {d: N.fit_tree(ROWS[name], d)[2] for d in (1, 3, 5, 8)}
    leaves = {d: N.two_part(ROWS[name], d)[2] for d in bits}
    assert all(bits[b] <= bits[a] + leaves[a] + 1e-9 for a, b in itertools.pairwise(bits))


@each_row
@pytest.mark.parametrize("depth", [1, 4, 12])
def test_tree_files_read_back(name, depth):
    x = ROWS[name]
    split, pick, _ = N.fit_tree(x, depth)
    file = N.write_tree(split, pick)
    weights, leaves, at = N.read_tree(file + "0110", depth)
    assert at == len(file) and leaves == N.two_part(x, depth)[2] and len(weights) == 2**depth
    assert weights.min() > 0
    for c in range(0, 2**depth, 7):                                      # walk down the tree for a context
        d = 0
        while split[d][c % 2**d]:
            d += 1
        assert weights[c] == N.WEIGHT[pick[d][c % 2**d]]


@pytest.mark.parametrize("bits", ["", "0", "00", "0111", "1", "1000", "10000"])
def test_a_truncated_tree_is_refused(bits):
    with pytest.raises(ValueError, match="expected more than"):
        N.read_tree(bits, 6)


@each_row
@pytest.mark.parametrize("depth", [1, 3, 12])
def test_files_decode_and_waste_less_than_two_bits(name, depth):
    x = ROWS[name]
    file = N.encode(x, depth)
    assert (N.decode(file, len(x), depth) == x).all()
    model, data, _ = N.two_part(x, depth)
    assert -1e-6 <= len(file) - model - data < 2


def test_all_short_rows_decode_and_no_file_begins_another():
    for n in (1, 2, 5, 8):
        files = {N.encode(x, 2): x for x in itertools.product((0, 1), repeat=n)}
        assert len(files) == 2**n and all(tuple(N.decode(f, n, 2)) == x for f, x in files.items())
        ordered = sorted(files)
        assert not any(b.startswith(a) for a, b in itertools.pairwise(ordered))
        assert sum(Fraction(1, 2 ** len(f)) for f in files) <= 1


def test_a_longer_row_decodes_from_a_small_ring():
    history = N.evolve(coin(7, 2000, 1 / 64), 30, 64)
    for t in (0, 16, 64):
        assert (N.decode(N.encode(history[t]), 2000) == history[t]).all()


def test_noise_has_no_model_and_structure_has():
    assert N.two_part(coin(8, 2**14))[0] < 20 and N.two_part(coin(9, 2**14, 0.05))[0] < 20
    history = N.evolve(coin(10, 2**14, 1 / 64), 30, 256)
    model = [N.two_part(history[t])[0] for t in (0, 48, 256)]
    assert model[0] < 20 and model[1] > 1000 and model[2] < 50
    assert N.two_part(np.random.default_rng(0).permutation(history[48]))[0] < 20


def test_icicle_is_the_tree():
    x = ROWS["rule 30"]
    picture, (weights, leaves, _) = N.icicle(x, 6), N.read_tree(N.write_tree(*N.fit_tree(x, 6)[:2]), 6)
    assert picture.shape == (7, 64)
    order = [int(format(i, "06b")[::-1], 2) for i in range(64)]
    for column, c in zip(picture.T, order, strict=True):
        found = column[(column >= 0) & ~np.isnan(column)]
        assert len(found) == 1 and found[0] == weights[c] / 65536
    assert np.isnan(picture).any() and leaves > 1


# --- Lempel and Ziv, entropy, the unbounded description --------------------------------------------

@each_row
def test_lz78_decodes(name):
    x = ROWS[name]
    assert (N.lz78_decode(N.lz78_encode(x), len(x)) == x).all()


def test_lz78_by_hand():
    """aaaaaa = a, aa, aaa: numbers 0, 1, 2 in 1, 2 and 2 bits, each with a new bit."""
    assert N.lz78_encode([0] * 6) == "0" + "0" + "01" + "0" + "10" + "0"
    for n in range(1, 9):
        for x in itertools.product((0, 1), repeat=n):
            assert tuple(N.lz78_decode(N.lz78_encode(x), n)) == x


@pytest.mark.parametrize("cut", [2, 5, 40])
def test_a_truncated_lz78_file_is_refused(cut):
    with pytest.raises(ValueError, match="expected"):
        N.lz78_decode(N.lz78_encode(ROWS["coin"])[:-cut], 700 + 0)


def slow_lz76(s):
    """Exhaustive history from the definition."""
    at, count = 0, 0
    while at < len(s):
        length = 1
        while at + length < len(s) and s[at:at + length] in s[:at + length - 1]:
            length += 1
        at, count = at + length, count + 1
    return count


@each_row
def test_lz76_is_the_exhaustive_history(name):
    x = ROWS[name]
    assert N.lz76_phrases(x) == slow_lz76("".join(map(str, x)))


def test_lz76_of_the_example_of_1976_and_of_all_short_rows():
    assert N.lz76_phrases([int(b) for b in "0001101001000101"]) == 6
    for n in range(1, 10):
        for x in itertools.product((0, 1), repeat=n):
            assert N.lz76_phrases(x) == slow_lz76("".join(map(str, x)))


@pytest.mark.parametrize("L", [1, 2, 5])
def test_block_counts_and_entropies(L):
    x = ROWS["sparse"][:60]
    wanted = np.zeros(2**L, int)
    for i in range(60):
        wanted[int("".join(str(x[(i + k) % 60]) for k in range(L)), 2)] += 1
    assert (N.block_counts(x, L) == wanted).all()
    p = wanted[wanted > 0] / 60
    close(N.block_entropy(x, L), -(p * np.log2(p)).sum(), 1e-12)


def test_rate_and_excess_of_known_rows():
    period = np.tile([0, 0, 1], 400)
    close(N.rate(period, 6), 0.0, 1e-9)
    close(N.excess(period, 6), math.log2(3), 1e-9)
    x = coin(11, 2**16)
    assert N.rate(x, 8) > 0.995 and abs(N.excess(x, 8)) < 0.03


def test_finite_samples_hide_entropy():
    short, long = 1 - N.rate(coin(12, 2**13), 10), 1 - N.rate(coin(12, 2**16), 10)
    assert short > 0.03 > 0.01 > long
    assert abs(short - 2**8 / 2**13 / math.log(2)) < 0.01                # Miller's correction


def test_predictive_states_of_known_processes():
    assert N.predictive_states(coin(13, 2**14)) == (0.0, 1)
    for period in (2, 3, 4):
        C, states = N.predictive_states(np.tile(np.eye(1, period)[0], 300).astype(int))
        assert states == period and math.isclose(C, math.log2(period), abs_tol=1e-9)
    golden, source = [0], random.Random(1)                               # no two 1s in a row: two states
    for _ in range(2**14):
        golden.append(0 if golden[-1] else int(source.random() < 0.5))
    C, states = N.predictive_states(golden)
    assert states == 2 and abs(C - (math.log2(3) - 2 / 3)) < 0.02


@pytest.mark.parametrize("rule, t", [(30, 0), (30, 1), (110, 6), (90, 7), (0, 100), (255, 31)])
def test_the_unbounded_description_regenerates_its_row(rule, t):
    x = coin(14, 400, 0.1)
    first = N.encode(x)
    file = N.describe(first, rule, t)
    assert (N.regenerate(file, 400) == N.evolve(x, rule, t)[-1]).all()
    assert len(file) == 8 + 2 * int(math.log2(t + 1)) + 1 + len(first)


# --- cream -----------------------------------------------------------------------------------------

def test_diffusion_conserves_flattens_and_is_the_five_point_stencil():
    u = np.random.default_rng(0).random((7, 7))
    v = N.diffuse(u, 0.2)
    for i, j in itertools.product(range(7), repeat=2):
        around = u[i - 1, j] + u[(i + 1) % 7, j] + u[i, j - 1] + u[i, (j + 1) % 7]
        assert math.isclose(v[i, j], u[i, j] + 0.2 * (around - 4 * u[i, j]), abs_tol=1e-12)
    close(v.sum(), u.sum(), 1e-12)
    assert v.max() <= u.max() and v.min() >= u.min()


def test_histogram_entropy_has_twenty_bins_and_is_zero_for_an_even_field():
    assert abs(N.histogram_entropy(np.full((50, 50), 0.3))) < 1e-12
    close(N.histogram_entropy((np.arange(20) + 0.5) / 20), math.log2(20), 1e-12)


def test_diffusion_forgets_a_pattern():
    i, j = np.mgrid[:50, :50]
    waves = np.cos(2 * np.pi * i / 5) * np.cos(4 * np.pi * j / 5)
    assert np.ptp(waves) > 1.5 and np.abs(N.diffuse(waves)).max() < 1e-12


def test_largest_fall():
    assert N.largest_fall([1, 2, 3]) == 0 and N.largest_fall([4, 3, 5]) == 0.25


# --- bad input -------------------------------------------------------------------------------------

@pytest.mark.parametrize("rule", [-1, 256, 30.5])
def test_rules_outside_0_to_255_are_refused(rule):
    first = N.encode([0, 1])
    for call in (lambda: N.rule_table(rule), lambda: N.evolve([0, 1], rule, 1), lambda: N.images(rule, 4),
                 lambda: N.describe(first, rule, 1), lambda: N.second_order([0], [1], rule, 1)):
        with pytest.raises(ValueError, match=f"rule {rule}: expected a whole number from 0 to 255"):
            call()


@pytest.mark.parametrize("x", ["", "0110", [], [0, 2], [0.5], [[0, 1]], [-1], 3, ["0"]])
@pytest.mark.parametrize("function", ["check_row", "two_part", "encode", "as_text", "lz78_encode",
                                      "lz76_phrases", "predictive_states"])
def test_what_is_no_row_is_refused(function, x):
    with pytest.raises(ValueError, match="expected at least one cell, each 0 or 1"):
        getattr(N, function)(x)


def test_rows_of_evolutions_and_blocks_are_checked():
    for call in (lambda: N.evolve([0, 7], 30, 2), lambda: N.second_order([0, 1], [0, 3], 30, 1),
                 lambda: N.block_entropy([2], 1), lambda: N.fit_tree([0, 5], 3)):
        with pytest.raises(ValueError, match="expected at least one cell"):
            call()


@pytest.mark.parametrize("call, name", [
    (lambda: N.evolve([0, 1], 30, -1), "steps -1"), (lambda: N.second_order([0], [1], 30, -2), "steps -2"),
    (lambda: N.evolve([0, 1], 30, 1.5), "steps 1.5"), (lambda: N.describe("00", 30, -1), "steps -1"),
    (lambda: N.two_part([0, 1], 0), "depth 0"), (lambda: N.encode([0, 1], -3), "depth -3"),
    (lambda: N.two_part([0, 1], 21), "depth 21"), (lambda: N.decode("0000", 0), "cells 0"),
    (lambda: N.block_entropy([0, 1], 0), "length 0"), (lambda: N.images(30, 2), "ring 2"),
    (lambda: N.predictive_states([0, 1], K=0), "history 0"),
    (lambda: N.predictive_states([0, 1], F=0), "future 0")])
def test_numbers_out_of_range_are_refused(call, name):
    with pytest.raises(ValueError, match=f"{name}: expected a whole number"):
        call()


# --- exercises -------------------------------------------------------------------------------------

EXERCISES = Exercises(space=lambda: classroom(1), wrong=(
    ("lossless = [15, 51, 85, 170, 204]", 0),
    ("lossless = [15, 51, 85, 170, 204, 30]", 0),
    ("lossless = [15, 51, 85, 170, 204, 204]", 0),
    ("predecessors = lambda y: []", 1),
    ("predecessors = lambda y: [step(y, rule_table(30))]", 1),
    ("recurrence = lambda n: 4**n", 2),
    ("recurrence = {4: 19, 5: 5, 8: 806, 12: 5561}.get", 2),
    ("leap = lambda x, t: x", 3),
    ("leap = lambda x, t: np.roll(x, t) ^ np.roll(x, -t)", 3)))


def test_the_wrong_neighbour_order_would_be_noticed():
    """Rule 30 and its mirror image, Rule 86, differ: a swapped left and right is caught."""
    x = coin(15, 50)
    assert (N.evolve(x, 86, 5)[-1] == N.evolve(x[::-1], 30, 5)[-1][::-1]).all()
    assert not (N.evolve(x, 86, 5)[-1] == N.evolve(x, 30, 5)[-1]).all()


def test_numbers_in_the_text_are_those_of_the_code():
    text = " ".join(cell.source for cell in notebook.read(load()[0][1].path).cells
                    if cell.cell_type == "markdown").replace("\n", " ")
    assert f"there are {len(N.all_trees(4))} trees" in text
    assert "15, 51, 85, 170, 204, 240" in text and f"{2**15:,} cells" in text
