"""Notebook 25: coders, machines, counts and structure functions against brute force and known numbers."""

import gzip
import math
import random
import re
import zlib
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from tests.support import Exercises, classroom, close, definitions, text_and_code

N = definitions(25)


def words(n):
    """All strings of n bits."""
    return ["".join(w) for w in product("01", repeat=n)]


def coin(seed, n, p=0.5):
    """A string of n bits from the standard library's generator."""
    source = random.Random(seed)
    return "".join("1" if source.random() < p else "0" for _ in range(n))


CHECKS = {}                                            # no gradients here
LONG = {"zeros": "0" * 777, "ones": "1" * 300, "pairs": "0110" * 99, "coin": coin(1, 1500),
        "biased": coin(2, 2000, 0.05)}


# --- strings ---------------------------------------------------------------------------------------

def test_pi_is_pi_and_not_a_hundred_digits_repeated():
    known = "243F6A8885A308D313198A2E03707344A4093822299F31D0"     # pi - 3 in hexadecimal
    assert N.pi_bits(4 * len(known)) == "".join(format(int(h, 16), "04b") for h in known)
    assert N.pi_bits(3000).startswith(N.pi_bits(701))
    bits = N.pi_bits(4096)
    assert not any(bits[p:2 * p] == bits[:p] for p in range(8, 2049))
    assert N.pi_bits(1) == "0"


def test_flipped_and_coin_flips():
    assert N.flipped("0011", {0, 3}) == "1010"
    x = N.coin_flips(np.random.default_rng(0), 5000, 0.1)
    assert set(x) == {"0", "1"} and abs(x.count("1") / 5000 - 0.1) < 0.02


@pytest.mark.parametrize("x", ["", "012", "ab", b"01", ["0"], 5])
@pytest.mark.parametrize("function", ["check_bits", "bit_array", "lz78_encode", "lz78_decode", "kt_encode",
                                      "kt_decode", "models", "structure_function", "pack", "order0_bits",
                                      "posterior"])
def test_what_is_no_string_of_bits_is_refused(function, x):
    with pytest.raises(ValueError, match="expected at least one character, each 0 or 1"):
        getattr(N, function)(x)


# --- coders ----------------------------------------------------------------------------------------

def test_elias_code():
    known = {1: "0", 2: "100", 3: "110", 4: "101000", 7: "101110", 8: "1110000", 16: "10100100000"}
    assert {n: N.elias_encode(n) for n in known} == known
    for n in (1, 9, 1000, 10**30):
        assert N.elias_decode("01" + N.elias_encode(n) + "110", 2) == (n, 2 + len(N.elias_encode(n)))


@pytest.mark.parametrize("call", [lambda: N.elias_encode(0), lambda: N.elias_encode(1.5),
                                  lambda: N.elias_decode(""), lambda: N.elias_decode("11"),
                                  lambda: N.elias_decode("0", 1)])
def test_bad_integers_are_refused(call):
    with pytest.raises(ValueError, match="expected"):
        call()


@pytest.mark.parametrize("coder", ["lz78", "kt"])
def test_coders_decode_all_short_strings_and_are_prefix_free(coder):
    encode, decode = getattr(N, f"{coder}_encode"), getattr(N, f"{coder}_decode")
    files = {}
    for n in range(1, 8):
        for x in words(n):
            files[encode(x)] = x
            assert decode(encode(x)) == x
    assert len(files) == 2**8 - 2
    ordered = sorted(files)
    assert not any(b.startswith(a) for a, b in zip(ordered, ordered[1:], strict=False))


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("coder", ["lz78", "kt"])
def test_coders_decode_long_strings(coder, name):
    assert getattr(N, f"{coder}_decode")(getattr(N, f"{coder}_encode")(LONG[name])) == LONG[name]


def test_lz78_by_hand_and_with_a_tail():
    """aaaaaa = a, aa, aaa: numbers 0, 1, 2 in 1, 2 and 2 bits, each with a new bit."""
    assert N.lz78_encode("000000") == N.elias_encode(6) + "0" + "0" + "01" + "0" + "10" + "0"
    assert N.lz78_decode(N.lz78_encode(LONG["pairs"]) + "0110") == LONG["pairs"]


@pytest.mark.parametrize("cut", [1, 2, 5, 40])
def test_a_truncated_lz78_file_is_refused(cut):
    with pytest.raises(ValueError, match="expected"):
        N.lz78_decode(N.lz78_encode(LONG["coin"])[:-cut])


def exact_bits(x, k):
    """-log2 of the product of (n_b + 1/2) / (n + 1), in fractions."""
    p, counts = Fraction(1), {}
    padded = "0" * k + x
    for t, b in enumerate(x):
        seen = counts.setdefault(padded[t:t + k], [0, 0])
        p *= Fraction(2 * seen[int(b)] + 1, 2 * sum(seen) + 2)
        seen[int(b)] += 1
    return math.log2(p.denominator) - math.log2(p.numerator)


@pytest.mark.parametrize("k", [0, 1, 3])
def test_kt_bits_are_the_exact_product(k):
    for x in ("0", "1", "0110", coin(3, 60), coin(4, 40, 0.1)):
        close(N.kt_bits(N.bit_array(x), k), [exact_bits(x, k)], 1e-10, "bits")
    X = N.all_strings(7)
    close(N.kt_bits(X, k), [exact_bits("".join(map(str, row)), k) for row in X], 1e-10, "rows")
    close((2.0 ** -N.kt_bits(X, k)).sum(), 1.0, 1e-12, "Kraft")


def test_kt_files_waste_less_than_two_bits():
    for x in (*LONG.values(), *words(6)):
        ideal = min(N.kt_bits(N.bit_array(x), k)[0] for k in range(N.ORDERS))
        waste = len(N.kt_encode(x)) - len(N.elias_encode(len(x))) - 3 - ideal
        assert -1e-6 <= waste < 2


def test_measures_of_size():
    assert N.pack("1000000011") == bytes([128, 192])
    close(N.order0_bits("0001" * 25), 100 * (0.25 * 2 + 0.75 * math.log2(4 / 3)), 1e-12)
    assert N.order0_bits("000") == 0


# --- mistakes that are easy to make ----------------------------------------------------------------

@pytest.mark.parametrize("name", LONG)
def test_gzip_is_zlib_and_twelve_bytes(name):
    data = N.pack(LONG[name])
    small, large = zlib.compress(data, 9), gzip.compress(data, 9)
    assert len(large) - len(small) == 12 and large[10:-8] == small[2:-4]


def test_random_bits_as_text_seem_to_compress_and_the_own_test_is_not_fooled():
    for seed in range(40):
        x = coin(100 + seed, 1024)
        assert len(zlib.compress(x.encode(), 9)) < 0.25 * len(x)
        assert len(zlib.compress(N.pack(x), 9)) > len(N.pack(x))
        assert len(x) - len(N.kt_encode(x)) < 20
    assert all(len(x) - len(N.kt_encode(x)) >= 20 for x in ("01" * 512, coin(5, 1024, 0.1)))
    assert len(N.kt_encode(N.pi_bits(1024))) > 1024


# --- Turing machines -------------------------------------------------------------------------------

def compare(tables, limit):
    """One machine at a time against all at once."""
    which, steps, value, width = N.run_machines(tables, limit)
    runs = zip(which.tolist(), steps.tolist(), N.printed(value, width), strict=True)
    many = {i: (s, x) for i, s, x in runs}
    single = {i: run[:2] for i, table in enumerate(tables) if (run := N.run_machine(table, limit))}
    assert many == single
    return many


def test_all_two_state_machines_one_by_one():
    halted = compare(N.machine_tables(np.arange(10_000), 2), 12)
    steps, outputs = zip(*halted.values(), strict=True)
    assert len(halted) == 3044 and max(steps) == 6 and max(x.count("1") for x in outputs) == 4
    assert [steps.count(t) for t in range(1, 7)] == [2000, 800, 160, 56, 8, 20] and len(set(outputs)) == 17


@pytest.mark.parametrize("n", [1, 3, 4, 5])
def test_random_machines_up_to_the_widest_tape(n):
    rng = np.random.default_rng(n)
    tables = rng.integers(4 * n + 2, size=(3000, 2 * n), dtype=np.int8)
    tables[:, 0] = 4 * (n > 1) + rng.integers(4, size=3000)                # few halt at once
    compare(tables, N.MAX_STEPS)


def test_machines_that_run_straight_for_28_steps():
    """27 states that write 1 and go one way, and a last one that halts: the widest tapes there are."""
    for left in (0, 2):
        table = np.array([[4 * (s + 1) + left + 1, 0] for s in range(27)] + [[4 * 28 + 1, 0]]).ravel()
        assert compare(table[None], 28) == {0: (28, "1" * 28)}


def test_the_winners():
    assert N.run_machine([5, 7, 3, 9], 6)[:2] == (6, "1111")
    assert N.run_machine([5, 7, 3, 9], 5) is None
    assert N.run_machine([0, 0], 0) is None and N.run_machine([5, 0], 1)[:2] == (1, "1")


def test_numbers_of_machines():
    tables = N.machine_tables(np.arange(10_000), 2)
    assert len({tuple(t) for t in tables.tolist()}) == 10_000 and tables.min() == 0 and tables.max() == 9
    assert (N.machine_tables([0, 13], 3, 5) == [[5, 0, 0, 0, 0, 0], [5, 13, 0, 0, 0, 0]]).all()


def test_reduction_equals_full_enumeration_with_two_states():
    full, reduced = N.enumerate_all(2, 10, chunk=777), N.enumerate_reduced(2, 10)
    assert N.differences(full, reduced) == 0
    assert (full[0] == reduced[0]).all() and full[1] == reduced[1] and full[2] == reduced[2] == 4
    changed = (full[0] + np.eye(11, dtype=int)[3], full[1] + N.Counter("0"), 5)
    assert N.differences(full, changed) == 3


@pytest.fixture(scope="module")
def three():
    return N.enumerate_reduced(3, 22)


def test_three_states_exactly(three):
    times, outputs, ones = three
    assert times.tolist()[:9] == [0, 1075648, 614656, 263424, 97216, 53760, 20800, 12512, 4264]
    assert times.tolist()[18:] == [32, 16, 16, 8, 0] and times.sum() == 2_147_184 == outputs.total()
    assert ones == 6
    both = N.both_blanks(outputs)
    assert both.total() == 4_294_368 and len(both) == 128
    assert N.both_blanks(N.enumerate_all(2, 6)[1]).total() == 6088


def test_frequencies_have_the_symmetries_and_are_a_distribution(three):
    K3 = N.complexities(N.both_blanks(three[1]))
    close(sum(2.0**-K for K in K3.values()), 1.0, 1e-12)
    for x, K in K3.items():
        assert K3[x[::-1]] == K and K3[x.translate({48: "1", 49: "0"})] == K
    assert list(K3.values()) == sorted(K3.values())


def test_the_sample_approaches_the_enumeration(three):
    """Shares of the outputs of 600,000 machines, within four standard errors (mirrored pairs)."""
    sample, exact = N.sampled(np.random.default_rng(0), 3, 600_000), three[1]
    for x in ("0", "1", "00", "01", "000", "010", "0000", "0010", "01100"):
        expected = exact[x] / exact.total() * sample.total()
        assert abs(sample[x] - expected) < 4 * math.sqrt(2 * expected), (x, sample[x], expected)


ZEROS = np.zeros((1, 4), np.int8)


@pytest.mark.parametrize("call", [
    lambda: N.run_machine([5, 7, 3, 9], -1), lambda: N.run_machine([5, 7, 3, 10], 9),
    lambda: N.run_machine([-1, 0], 9), lambda: N.run_machines(ZEROS, -1), lambda: N.run_machines(ZEROS, 29),
    lambda: N.enumerate_reduced(1, 5), lambda: N.enumerate_reduced(2, 0), lambda: N.enumerate_all(2, -1)])
def test_bad_machines_and_limits_are_refused(call):
    with pytest.raises(ValueError, match="expected"):
        call()


# --- the instruction machine -----------------------------------------------------------------------

@pytest.mark.parametrize("program, output", [
    ("", ""), (".", "0"), ("~.", "1"), (".~.~.", "010"), ("~>.<.", "01"), ("~>^.", "1"), (">^.", "0"),
    ("~>~^.", "0"), ("[.]", ""), ("~[.~]", "1"), ("~>~[.~<]", "11"), ("~[]", None),
    ("~[.]", None), ("[[]~].", "0")])
def test_programs(program, output):
    assert N.run_program(program, 100) == output


def test_the_limit_counts_instructions():
    assert N.run_program("~~~", 3) == "" and N.run_program("~~~", 2) is None


@pytest.mark.parametrize("program, limit", [("]", 9), ("[", 9), ("[[]", 9), ("x", 9), (".", -1)])
def test_bad_programs_are_refused(program, limit):
    with pytest.raises(ValueError, match="expected"):
        N.run_program(program, limit)


def matches(program):
    while "[]" in (program := re.sub(r"[^\[\]]", "", program)):
        program = program.replace("[]", "")
    return not program


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4])
def test_all_balanced_programs_are_found(length):
    every = ("".join(p) for p in product(N.SYMBOLS, repeat=length))
    assert sorted(N.balanced(length)) == sorted(filter(matches, every))


def test_a_longer_limit_changes_nothing_and_the_gap_is_small():
    mass, shortest = {}, {}
    for L in range(1, 6):
        for program in N.balanced(L):
            x = N.run_program(program, 200)
            assert x == N.run_program(program, 1000)
            if x:
                mass[x] = mass.get(x, 0) + 2.0 ** (-3 * (L + 1))
                shortest.setdefault(x, 3 * (L + 1))
    assert all(0 <= shortest[x] + math.log2(m) < 4 for x, m in mass.items())


def test_symmetrised_complexities():
    K = N.symmetrised({"0": 1.0, "1": 2.0, "01": 3.0, "001": 4.0})
    close(K["0"], K["1"], 1e-12)
    close(2.0 ** -K["0"], (2 * 0.5 + 2 * 0.25) / 4, 1e-8)
    close(K["01"], 4.0, 1e-12)             # 01 is its own mirrored complement; 10 was never printed
    close(K["001"], 6.0, 1e-12)
    masses = dict(zip(words(3), (0.1, 0.2, 0.3, 0.07, 0.11, 0.13, 0.017, 0.019), strict=True))
    K = N.symmetrised({x: -math.log2(m) for x, m in masses.items()})
    assert len(set(K.values())) == 3                       # 000 111; 010 101; the other four: ties are ties
    close(2.0 ** -K["001"], (0.2 + 0.07 + 0.11 + 0.017) / 4, 1e-8)


def test_rank_agreement():
    A = {x: i + 10 * len(x) for i, x in enumerate(words(3) + words(4))}
    B = {x: -i + 10 * len(x) for i, x in enumerate(words(3) + words(4))} | {"11111": 7}
    assert N.rank_agreement(A, A)[0] == pytest.approx(1)
    assert N.rank_agreement(A, B)[1] == pytest.approx({3: -1, 4: -1})
    flat = {x: len(x) for x in A}
    assert N.rank_agreement(A, flat)[1] == {}


# --- counting --------------------------------------------------------------------------------------

@pytest.mark.parametrize("n", [1, 5, 10])
def test_no_more_strings_are_short_than_counting_allows(n):
    X = N.all_strings(n)
    assert ["".join(map(str, row)) for row in X] == words(n)
    bits = N.mixture_bits(X)
    close((2.0**-bits).sum(), 1.0, 1e-9, "Kraft")
    for c in range(n):
        assert (bits <= n - c).mean() <= 2.0**-c


def test_the_first_incompressible_string():
    for c in (1, 3, 6, 9):
        x = N.first_incompressible(c)
        shorter = [y for n in range(1, len(x) + 1) for y in words(n)]
        before = shorter[:shorter.index(x)]
        cost = {y: N.mixture_bits(N.bit_array(y)[None])[0] for y in (*before, x)}
        assert cost[x] >= c - 1e-6 and all(cost[y] < c for y in before) and len(x) <= c


@pytest.mark.parametrize("c", [0, -1, 17])
def test_thresholds_out_of_range_are_refused(c):
    with pytest.raises(ValueError, match=str(c)):
        N.first_incompressible(c)


# --- structure functions ---------------------------------------------------------------------------

def test_log_star():
    close(N.log_star(1), math.log2(N.C_STAR), 1e-12)
    close(N.log_star(16), math.log2(N.C_STAR) + 4 + 2 + 1, 1e-12)
    assert sum(2.0 ** -N.log_star(n) for n in range(1, 20_000)) < 1
    with pytest.raises(ValueError, match="integer 0"):
        N.log_star(0)


@pytest.mark.parametrize("n", [1, 4, 9])
def test_two_part_codes_are_honest(n):
    """Family, set and index could be one prefix code: the best descriptions obey Kraft."""
    assert sum(2.0 ** -min(price + size for _, price, size in N.models(x)) for x in words(n)) <= 1


def test_sets_have_the_sizes_they_claim():
    for x in ("001001001", "000000100", "110101011"):
        for name, _, size in N.models(x, periods=4, orders=2):
            if name.startswith("period"):
                p, e = map(int, re.findall(r"\d+", name))
                columns = [x[i::p] for i in range(p)]
                pattern = "".join("01"[2 * c.count("1") > len(c)] for c in columns)
                ideal = (pattern * 9)[:9]
                members = [y for y in words(9) if sum(a != b for a, b in zip(y, ideal, strict=True)) == e]
                assert x in members and math.isclose(size, math.log2(len(members)), abs_tol=1e-9)
            elif name.startswith("Markov"):
                k = int(name[-1])
                counts = N.kt_counts(N.bit_array(x), k)
                members = [y for y in words(9) if (N.kt_counts(N.bit_array(y), k) == counts).all()]
                assert x in members and len(members) <= 2.0**size * (1 + 1e-9)
                if k == 0:
                    assert math.isclose(size, math.log2(len(members)), abs_tol=1e-9)


@pytest.mark.parametrize("x", ["0" * 64, "01101" * 20, coin(7, 100), coin(8, 128, 0.1)])
def test_structure_functions(x):
    h, n = N.structure_function(x), len(x)
    finite = h[np.isfinite(h)]
    assert len(h) == n + 41 and (np.diff(finite) <= 0).all() and finite.max() <= n and finite.min() >= 0
    assert np.isinf(h[:2]).all() and finite[-1] <= 1
    two = min(price + size for _, price, size in N.models(x))
    alpha, total = N.sufficient(h)
    assert two <= total <= two + 3 and alpha + h[alpha] <= total + 5
    assert all(i + h[i] > total + 5 for i in range(alpha))


def test_a_coin_has_no_structure_and_a_noisy_period_has():
    h = N.structure_function(coin(9, 128))
    assert (h + np.arange(len(h)) >= 128).all() and N.steepest(h) <= 20 and N.sufficient(h)[0] < 10
    x = N.flipped((coin(10, 11) * 12)[:128], {17, 90})
    h = N.structure_function(x)
    alpha, total = N.sufficient(h)
    assert N.steepest(h) > 80 and total < 60 and 20 < alpha < 40
    assert h[alpha] == pytest.approx(math.log2(math.comb(128, 2)))
    assert min(N.models(x), key=lambda m: m[1] + m[2])[0] == "period 11, 2 exceptions"


def test_steepest_by_hand():
    assert N.steepest(np.array([np.inf, 50, 40, 39, 9, 8]), 2) == 31


# --- prior, prediction, distance -------------------------------------------------------------------

def test_posterior_is_bayes():
    for x in ("0110", "01" * 20, coin(11, 50)):
        w = N.posterior(x)
        close(w.sum(), 1.0, 1e-12)
        best = {}
        for name, price, size in N.models(x):
            best[name[:3]] = max(best.get(name[:3], 0), 2.0 ** -(price + size))
        close(w, np.array([best["all"], best["per"], best["Mar"]]) / sum(best.values()), 1e-9)
    assert N.posterior("01" * 40)[1] > 0.99


def test_prediction_by_hand():
    K = {"0": 1.0, "00": 2.0, "01": 3.0, "010": 3.0, "1": 5.0}
    close(N.next_zero("0", K), 0.25 / (0.25 + 0.125 + 0.125), 1e-12)
    with pytest.raises(ValueError, match="expected"):
        N.next_zero("1", K)
    with pytest.raises(ValueError, match="expected"):
        N.next_zero("", K)


def test_distance():
    assert N.ncd("01", "10", len) == 1.0
    lengths = {"a": 10, "b": 20, "ab": 24}
    assert N.ncd("a", "b", lengths.get) == (24 - 10) / 20
    x, y = coin(12, 4096), coin(13, 4096)
    far, near = N.pack(x + y), N.pack(x + x)
    assert len(zlib.compress(near, 9)) < 0.6 * len(zlib.compress(far, 9))
    assert len(N.deflate_near(near)) > 0.95 * len(N.deflate_near(far))
    assert zlib.decompress(N.deflate_near(near)) == near


# --- exercises -------------------------------------------------------------------------------------

EXERCISES = Exercises(space=lambda: classroom(25), wrong=(
    ("programs_0101 = ['.~.~.~.', '.~.>.~.', '.~.>.<.', '.~.>.^.']", 0),
    ("programs_0101 = ['.~.~.~.'] * 6", 0),
    ("programs_0101 = ['.~.~.']", 0),
    ("brady = [5, 7, 2, 10, 17, 15, 13, 0]", 1),
    ("brady = [5, 7, 3, 10, 16, 15, 13, 0]", 1),
    ("brady = [5, 7, 3, 9]", 1),
    ("lfsr_model = lambda x: ('none', 2.0, float(len(x)))", 2),
    ("lfsr_model = lambda x: ('register of degree 7', 2 + log_star(8) + 14, 0.0)", 2),
    ("rule_encode, rule_decode = lz78_encode, lz78_decode", 3),
    ("rule_encode = rule_decode = lambda x: x", 3),
    ("rule_encode, rule_decode = kt_encode, lambda bits: kt_decode(bits)[::-1]", 3)))


def test_numbers_in_the_text_are_those_of_the_code():
    text = text_and_code(25)[0]
    assert f"Of the {sum(7**L for L in range(1, 8)):,} sequences" in text
    assert f"Of {14**6:,} Turing machines" in text.replace("(b) ", "")
    assert f"{24 - math.log2(6):.1f} bits: {math.log2(6):.1f} bits less" in text.replace("\n", " ")
