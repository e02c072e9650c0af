"""Notebook 19: automata, estimators, reversals, returns, the demon and lossy maps against brute force."""

import hashlib
import math
import zlib
from collections import Counter

import numpy as np
import pytest

from tests.support import Exercises, classroom, close, definitions, untouched
from tools import notebook
from tools.catalogue import load

N = definitions(19)
CHECKS = {}                                            # no gradients here


def rng(seed=0):
    return np.random.default_rng(seed)


# --- automata --------------------------------------------------------------------------------------

@pytest.mark.parametrize("n", [2, 6, 10])
def test_cup(n):
    A = N.cup(n, 3)
    assert A.shape == (3, n, n) and (A[:, :n // 2] == 1).all() and (A[:, n // 2:] == 0).all()


def test_one_exchange_moves_at_most_two_neighbours():
    A, source, seen = np.arange(30 * 30).reshape(30, 30), rng(1), Counter()
    for _ in range(3000):
        before = A.copy()
        N.swap_one(A, source)
        changed = np.argwhere(A != before)
        assert len(changed) in (0, 2) and sorted(A.ravel()) == list(range(900))
        if len(changed):
            assert np.abs(np.diff(changed, axis=0)).sum() == 1
            seen[tuple(np.diff(changed, axis=0)[0])] += 1
    assert min(seen.values()) > 1200 and len(seen) == 2


def sweep_by_hand(A, move):
    """The same sweep, pair by pair."""
    axis, start, coins = move
    A = A.copy()
    for r in range(len(A)):
        for p in range(coins.shape[1]):
            for line in range(A.shape[1]):
                if coins[r, p, line]:
                    a, b = start + 2 * p, start + 2 * p + 1
                    one, two = ((r, a, line), (r, b, line)) if axis == 1 else ((r, line, a), (r, line, b))
                    A[one], A[two] = A[two], A[one]
    return A


@pytest.mark.parametrize("n", [2, 6, 8])
@pytest.mark.parametrize("seed", range(8))
def test_sweep_is_the_exchange_of_all_pairs(n, seed):
    source = rng(seed)
    A = source.integers(2, size=(3, n, n), dtype=np.uint8)
    move = N.random_swaps(source, 3, n)
    assert move[0] in (1, 2) and move[1] in (0, 1) and set(np.unique(move[2])) <= {0, 1}
    B = A.copy()
    N.apply_move(B, move)
    assert np.array_equal(B, sweep_by_hand(A, move))


@pytest.mark.parametrize("seed", range(6))
def test_shear_rolls_each_line_by_its_own_number(seed):
    source = rng(seed)
    A, move = source.integers(2, size=(2, 10, 10), dtype=np.uint8), N.random_shear(source, 2, 10)
    B = A.copy()
    N.apply_move(B, move)
    for r in range(2):
        for line in range(10):
            if move[0] == 1:
                assert np.array_equal(B[r, :, line], np.roll(A[r, :, line], move[2][r, line]))
            else:
                assert np.array_equal(B[r, line], np.roll(A[r, line], move[2][r, line]))


def test_shears_have_the_stated_amplitude():
    shifts = np.concatenate([N.random_shear(rng(s), 50, 100)[2] for s in range(20)])
    assert abs(shifts.std() / (0.12 * 100 / math.sqrt(2)) - 1) < 0.1


@pytest.mark.parametrize("seed", range(3))
def test_moves_keep_the_cream_and_are_undone_exactly(seed):
    source = rng(seed)
    A = source.integers(2, size=(4, 12, 12), dtype=np.uint8)
    first, mass = A.copy(), A.sum((1, 2))
    moves = [(N.random_swaps if source.integers(2) else N.random_shear)(source, 4, 12) for _ in range(200)]
    for move in moves:
        N.apply_move(A, move)
        assert np.array_equal(A.sum((1, 2)), mass)
    assert (A != first).mean() > 0.2
    forward = A.copy()
    for move in moves:                                   # undone in the wrong order it does not return
        N.apply_move(forward, move, back=True)
    for move in reversed(moves):
        N.apply_move(A, move, back=True)
    assert np.array_equal(A, first) and not np.array_equal(forward, first)


@pytest.mark.parametrize("model", ["film", "walkers"])
def test_films_start_with_layers_keep_the_cream_and_have_the_exact_mean(model):
    F = getattr(N, model)(rng(3), 12, [1, 30], 4000) if model == "walkers" else np.concatenate(
        [N.film(rng(s), 12, [1, 30], 40) for s in range(100)], 1)
    assert F.shape == (3, 4000, 12, 12) and np.array_equal(F[0], N.cup(12, 4000))
    assert (F.sum((2, 3)) == 72).all()
    exact = N.cup(12)[0].astype(float)
    for _ in range(30):
        exact = N.diffuse(exact)
    assert abs(F[2].mean(0) - exact).max() < 0.07


def test_walkers_share_cells_and_exclusion_does_not():
    assert N.walkers(rng(0), 20, [50], 3)[-1].max() > 1 and N.film(rng(0), 20, [50], 3)[-1].max() == 1


def test_jumping_walkers_have_the_law_of_stepping_ones():
    """Row means against powers of the matrix of one step: up or down 1/8 each, walls keep."""
    stay = np.eye(12) * 0.75
    for y in range(12):
        for z in (y - 1, y + 1):
            stay[y, min(max(z, 0), 11)] += 1 / 8
    expected = (np.arange(12) < 6) @ np.linalg.matrix_power(stay, 25)
    measured = N.walkers(rng(5), 12, [10, 25], 4000)[-1].mean((0, 2))
    assert abs(measured - expected).max() < 0.02


def test_folding():
    assert N.folded(np.arange(-3, 9), 3).tolist() == [2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1, 2]


def test_stirring_changes_the_film_only_at_its_period():
    plain, stirred = (N.film(rng(2), 40, [3, 4], 1, stir) for stir in (0, 4))
    assert np.array_equal(plain[1], stirred[1]) and not np.array_equal(plain[2], stirred[2])


# --- estimators ------------------------------------------------------------------------------------

def test_sizes_are_bytes_of_zlib_with_its_header():
    picture = rng(0).integers(7, size=(30, 30)).astype(np.uint8)
    data = zlib.compress(picture.tobytes(), 9)
    assert N.file_size(picture) == len(data) and data[:2] == b"\x78\xda"
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    assert len(raw.compress(picture.tobytes()) + raw.flush()) == len(data) - 6
    assert N.file_size(np.zeros(0)) == 8 and N.file_size(picture.T) == N.file_size(picture.T.copy())
    assert N.file_sizes(np.array([[picture, 0 * picture]])).tolist() == \
        [[len(data), N.file_size(0 * picture)]]


@pytest.mark.parametrize("g", [1, 2, 3, 6, 9])
def test_box_mean_by_hand(g):
    F = rng(g).integers(4, size=(2, 3, 9, 9), dtype=np.uint8)
    with untouched({"F": F}):
        C = N.box_mean(F, g)
    for i in range(9):
        for j in range(9):
            rows, columns = (slice(max(0, k - g // 2), min(9, k - g // 2 + g)) for k in (i, j))
            close(C[:, :, i, j], F[:, :, rows, columns].mean((2, 3)), 1e-12)


def test_levels_cut_at_equal_steps():
    assert N.levels(np.array([0, 0.33, 0.34, 0.66, 0.67, 1, 2.5]), 3).tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert N.levels(np.arange(7) / 7 + 0.01, 7).tolist() == list(range(7))


def test_adjustment_by_hand():
    L = rng(4).integers(7, size=(3, 2, 8, 20)).astype(np.uint8)
    with untouched({"L": L}):
        out = N.adjusted(L)
    for index in np.ndindex(3, 2, 8):
        line, counts = L[index].tolist(), Counter(L[index].tolist())
        mode = min(k for k in counts if counts[k] == max(counts.values()))
        assert out[index].tolist() == [mode if abs(x - mode) <= 1 else x for x in line]


def test_raw_and_adjusted_sizes_are_what_they_say():
    C = rng(1).random((2, 3, 16, 16))
    assert np.array_equal(N.raw_size(C), N.file_sizes(np.minimum(C * 3, 2).astype(np.uint8)))
    assert np.array_equal(N.adjusted_size(C), N.file_sizes(N.adjusted(N.levels(C, 7))))


def test_there_is_a_measure_of_complexity_and_it_rises_and_falls():
    F = N.film(rng(7), 60, [20, 40, 60, 1000], 4, stir=4)
    b = N.adjusted_size(N.box_mean(F, 10)).mean(1)
    assert b[1:4].max() > 5 * b[0] and b[-1] < 1.5 * b[0]


def test_row_means_solve_the_averaging():
    C = N.cup(16)[0].astype(float)
    for t in range(20):
        close(N.row_means(16, [t])[0], C.mean(1), 1e-12)
        C = N.diffuse(C)


def test_minority_and_cuts():
    C = np.array([[0.1, 0.1, 0.1, 0.4, 0.9]])
    assert N.minority(C).tolist() == [[False, False, False, True, True]]
    assert N.near_cut(np.array([0.34, 0.5, 0.6, 0.0])).tolist() == [True, False, True, False]


def test_dip_and_entropy():
    assert N.dip(np.array([[10.0], [8.0], [20.0], [15.0]])).max() == 0.25
    assert N.entropy([1, 1, 2, 2]) == 1 and N.entropy([3, 3]) == 0
    close(N.entropy([0] * 3 + [1]), 0.75 * math.log2(4 / 3) + 0.5, 1e-12)


def test_code_width_finds_the_dimension():
    source = rng(0)
    x = source.normal(size=(200, 3)) @ np.linalg.qr(source.normal(size=(20, 3)))[0].T
    assert N.code_width(x, tolerance=1e-9)[0] == 3 and N.code_width(x, tolerance=1)[0] == 0
    assert N.code_width(x, tolerance=1e-9)[1] > 3


# --- diffusion, gas, stirred box -------------------------------------------------------------------

def test_diffusion():
    C = rng(0).random((9, 9))
    D = C
    for _ in range(7):
        D = N.diffuse(D)
    close(N.diffused(C, 7), D, 1e-12)
    close(D.mean(), C.mean(), 1e-12)
    assert N.mixing_entropy(np.full((3, 3), 0.5)) == pytest.approx(1) and N.mixing_entropy(np.eye(3)) == 0


def test_boltzmann_counts_arrangements():
    for counts in ([3, 0], [2, 2, 1], [5, 4, 3, 2]):
        ways = math.factorial(sum(counts)) // math.prod(map(math.factorial, counts))
        close(N.boltzmann(np.array(counts)), math.log2(ways), 1e-10)


def test_macro_entropy_bins_the_box():
    x = rng(0).integers(N.W, size=(3, 50, 2))
    cells = (x * 4 // N.W) @ [4, 1]
    for i in range(3):
        close(N.macro_entropy(x)[i], N.boltzmann(np.bincount(cells[i], minlength=16)), 1e-9)
    close(N.macro_entropy(x.astype(float)), N.macro_entropy(x), 1e-12)


def test_free_gas_returns_exactly():
    x, v = rng(0).integers(N.W, size=(60, 2)), rng(1).integers(-N.W, N.W, size=(60, 2))
    there = N.flight(x, v, 12345)
    assert np.array_equal(N.flight(there, -v, 12345), x) and not np.array_equal(there, x)


def test_stirred_box_is_a_permutation_with_integers_and_not_a_return_with_floats():
    q = rng(0).integers(N.W, size=(500, 2))
    assert np.array_equal(N.stir(N.stir(q), back=True), q) and N.stir(q).dtype == q.dtype
    S, gap = N.there_and_back(q, 60)
    assert gap.max() == 0 and len(S) == 121 and S[0] == S[-1]
    assert np.median(N.there_and_back(q.astype(float), 60)[1]) > 1000
    assert np.median(N.there_and_back(q.astype(float), 2)[1]) < 1e-6
    assert np.median(N.there_and_back(q, 60, kick=1)[1]) > 1000


# --- returns ---------------------------------------------------------------------------------------

def test_cycles_and_return_times_by_walking():
    f, A = rng(3).permutation(300), rng(4).random(300) < 0.2
    label, lengths = N.cycles(f)
    times = N.return_times(f, A)
    for s in range(300):
        x, steps = f[s], 1
        while x != s:
            x, steps = f[x], steps + 1
        assert lengths[label[s]] == steps
    for s, t in zip(np.flatnonzero(A), times, strict=True):
        x, steps = f[s], 1
        while not A[x]:
            x, steps = f[x], steps + 1
        assert t == steps
    assert times.sum() == lengths[np.unique(label[A])].sum()


def test_kac_on_one_cycle():
    order = rng(0).permutation(8**3)
    f = np.empty(8**3, int)
    f[order] = np.roll(order, -1)
    A = N.half_empty(3)
    assert A.sum() == 4**3 and N.return_times(f, A).mean() == 2**3


def test_the_linear_map_returns_within_n_steps():
    for modulus in range(4, 200):
        if modulus % 3:
            assert N.cycles((3 * np.arange(modulus) + 1) % modulus)[1].max() <= modulus


def test_mean_cycle_of_all_permutations_of_five():
    from itertools import permutations
    mean = np.mean([(N.cycles(np.array(f))[1] ** 2).sum() / 5 for f in permutations(range(5))])
    close(mean, 3.0, 1e-12)


def test_accuracy_of_the_judge():
    x = np.full((20, 50, 2), N.W // 8)
    v = rng(0).integers(-N.W // 50, N.W // 50, size=x.shape)
    assert N.accuracy(x, v, 0, gap=20) == 1 and N.accuracy(x, 0 * v, 0) == 0.5


# --- demon, bath -----------------------------------------------------------------------------------

def test_sorted_entropy():
    fast, side = np.array([1, 1, 1, 0, 0], bool), np.array([1, 0, 0, 1, 1], bool)
    close(N.sorted_entropy(fast, side), math.log2(3), 1e-12)


def test_demon_sorts_and_keeps_its_books():
    S, opened, heat = N.demon(rng(1), N=60, records=800)
    assert len(S) == 801 and len(opened) == 800 and heat > 1.5 and S[-1] < 0.6 * S[0]
    assert not (np.diff(S)[~opened]).any()               # a closed door changes nothing
    assert np.diff(S)[opened].all()
    S, opened, _ = N.demon(rng(1), N=60, records=800, erase=False)
    assert len(opened) == 50 and S[-100:].mean() > 0.85 * S[0]


def test_the_balance_is_computed_and_no_word_says_exactly():
    nb = notebook.read(load()[0][19].path)
    code = "\n".join(cell.source for cell in notebook.code_cells(nb))
    assert "S[:-1:50] - S[50::50]" in code and "EXACTLY" not in code
    S = N.demon(rng(2))[0]
    fall = S[:-1:50] - S[50::50]
    assert len(fall) == 60 and fall.max() <= 50 and abs(fall - 50).min() > 1
    close(fall.sum(), S[0] - S[-1], 1e-9)


def test_fridge_keeps_quanta_and_counts_states():
    box, bath = N.fridge(rng(0), 500, box=5, bath=20)
    ways = {math.log2(math.comb(q + 4, q)): math.log2(math.comb(70 - q + 19, 70 - q)) for q in range(71)}
    for a, b in zip(box, bath, strict=True):
        q = min(ways, key=lambda w: abs(w - a))
        close([a, b], [q, ways[q]], 1e-9)
    assert box[-1] < box[0]


def test_fridge_is_uniform_over_microstates():
    """Two oscillators in a box, two in the bath, four quanta: time in each q as the number of states."""
    box, _ = N.fridge(rng(1), 200_000, box=2, bath=2)
    q = np.rint(2.0**box - 1).astype(int)                # C(q + 1, q) = q + 1 states
    share = np.bincount(q[100:], minlength=23) / len(q[100:])
    expected = np.array([(k + 1) * (22 - k + 1) for k in range(23)], float)
    assert abs(share - expected / expected.sum()).max() < 0.02


# --- maps ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("rule, w", [(30, 5), (90, 6), (110, 7), (170, 4), (204, 4)])
def test_ring_map_by_hand(rule, w):
    for s, image in enumerate(N.ring_map(rule, w)):
        bits = [s >> i & 1 for i in range(w)]
        new = [rule >> (4 * bits[(i + 1) % w] + 2 * bits[i] + bits[i - 1]) & 1 for i in range(w)]
        assert sum(b << i for i, b in enumerate(new)) == image


def test_gardens_of_eden_of_rule_90():
    for w in range(3, 13):
        image = len(np.unique(N.ring_map(90, w)))
        assert image == 2 ** (w - (1 if w % 2 else 2))


@pytest.mark.parametrize("rule", [0, 30, 110])
def test_second_order_is_a_permutation_even_where_the_rule_is_not(rule):
    assert len(np.unique(N.ring_map(rule, 5))) < 32
    f = N.second_order(rule, 5)
    assert sorted(f) == list(range(4**5))
    back = {f[s]: s for s in range(4**5)}
    for s in range(4**5):
        before, now = divmod(int(f[s]), 32)
        swapped = f[now * 32 + before]
        assert divmod(back[f[s]], 32) == (swapped % 32, swapped // 32)


def test_sha_is_sha_and_not_the_remainder():
    for x in (0, 1, 77, 2**40):
        digest = hashlib.sha256(x.to_bytes(8, "big")).hexdigest()
        assert N.sha_bits(x, 8) == int(digest[:2], 16) and N.sha_bits(x, 64) == int(digest[:16], 16)
    assert [hash(x) % 2**9 for x in range(2000)] == [x % 2**9 for x in range(2000)]
    assert sum(N.sha_bits(x, 9) == x % 2**9 for x in range(2000)) < 20


def test_lost_bits_by_counting_preimages():
    for f, n in ((lambda x: x // 3, 6), (lambda x: 0, 5), (lambda x: x, 5), (lambda x: N.sha_bits(x, 4), 8)):
        counts = Counter(f(x) for x in range(2**n)).values()
        close(N.lost_bits(f, n), sum(c / 2**n * math.log2(c) for c in counts), 1e-10)
    assert N.lost_bits(lambda x: N.sha_bits(x, 6), 10) > 4 == N.lost_bits(lambda x: x % 2**6, 10)


def test_first_collision_is_one():
    for m in (6, 10):
        start, k = int(rng(m).integers(2**62)), N.first_collision(rng(m), m)
        seen = [N.sha_bits(start + i, m) for i in range(k)]
        assert len(set(seen[:-1])) == k - 1 and seen[-1] in seen[:-1]


def test_layer_information_is_exact_and_bounded():
    H, label = N.layer_information(rng(0), [12, 6, 3, 1])
    assert (np.diff(H) <= 0).all() and (np.diff(label) <= 1e-12).all() and (H <= [12, 6, 3, 1]).all()
    assert (label <= H + 1e-12).all() and (label >= -1e-12).all()


# --- bad input -------------------------------------------------------------------------------------

@pytest.mark.parametrize("call, value", [
    (lambda: N.cup(5), "5"), (lambda: N.cup(0), "0"), (lambda: N.film(rng(), 4, [3, 3], 1), r"\[3, 3\]"),
    (lambda: N.film(rng(), 4, [0], 1), r"\[0\]"), (lambda: N.walkers(rng(), 4, [5, 2], 1), r"\[5, 2\]"),
    (lambda: N.box_mean(N.cup(4), 0), "0"), (lambda: N.box_mean(N.cup(4), 5), "5"),
    (lambda: N.levels(np.array([-0.5]), 3), "-0.5"),
    (lambda: N.macro_entropy(np.array([[0, -1]])), "-1"),
    (lambda: N.macro_entropy(np.array([[N.W, 0]])), "positions"),
    (lambda: N.cycles([0, 0, 1]), r"\[0, 0, 1\]"), (lambda: N.cycles([1, 2, 3]), r"\[1, 2, 3\]"),
    (lambda: N.demon(rng(), memory=0), "0"), (lambda: N.demon(rng(), door=0), "0"),
    (lambda: N.ring_map(256, 5), "256"), (lambda: N.ring_map(-1, 5), "-1"), (lambda: N.ring_map(30, 2), "2"),
    (lambda: N.sha_bits(-1, 5), "-1"), (lambda: N.sha_bits(1, 0), "0"),
    (lambda: N.sha_bits(2**64, 5), str(2**64))])
def test_bad_input_is_refused(call, value):
    with pytest.raises(ValueError, match=f"{value}.*expected"):
        call()


# --- exercises -------------------------------------------------------------------------------------

def space():
    """Definitions and the number of runs, which a reader has."""
    return classroom(19)


EXERCISES = Exercises(space=space, wrong=(
    ("cut_levels = lambda C, cuts: np.searchsorted(cuts, C).astype(np.uint8)", 0),
    ("cut_levels = lambda C, cuts: levels(C, 3)", 0),
    ("lz78_size = lambda data: 8 * len(data)", 1),
    ("lz78_size = lambda data: 8 * file_size(np.frombuffer(data, np.uint8))", 1),
    ("mean_cup = lambda n, t: np.full((n, n), 0.5)", 2),
    ("mean_cup = lambda n, t: diffused(cup(n)[0].astype(float), t // 2)", 2)))


def test_numbers_in_the_text():
    text = "\n".join(cell.source for cell in notebook.read(load()[0][19].path).cells
                     if cell.cell_type == "markdown")
    assert "3 June 2014" in text and "Werness" in text and "Liggett" in text and "p=1818" in text
    assert "**not** an example of large apparent complexity" in text
    assert "EXACTLY" not in text and "exponential" in text and "*linear* in the number of states" in text
