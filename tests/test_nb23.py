"""Notebook 23: codes, universal codes, regressions and the small network against golden vectors."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest

from tests.support import classroom, close, close_dicts, definitions, exercise_parts, golden, part

N = definitions(23)
CASES = golden("23")
NETS = ["net0", "net1"]
CHAINS = [f"chain{i}" for i in range(4)]


# --- what the mutation test breaks -----------------------------------------------------------------

def check_mlp_backward(space):
    for name in NETS:
        case = CASES[name]
        a, cache = space.mlp_forward(case["x"], part(case, "P."))
        dx, G = space.mlp_backward(case["up_a"], cache)
        close(dx, case["dx"], 1e-12, "dx")
        close_dicts(G, part(case, "G."), 1e-12)


def check_logloss_backward(space):
    for name in NETS:
        case = CASES[name]
        _, cache = space.logloss_forward(case["a"], case["y"])
        close(space.logloss_backward(case["up_bits"], cache), case["da"], 1e-12, "da")


CHECKS = {"mlp_backward": check_mlp_backward, "logloss_backward": check_logloss_backward}


# --- prefix codes ----------------------------------------------------------------------------------

@pytest.mark.parametrize("K", [2, 3, 4, 5, 6])
def test_huffman_is_optimal_and_shannon_rounds_up(K):
    case = CASES[f"huffman{K}"]
    lengths = N.huffman_lengths(case["p"])
    close(lengths @ case["p"], case["best"], 1e-12, "mean length")
    close(N.entropy(case["p"]), case["entropy"], 1e-12, "entropy")
    assert np.array_equal(N.shannon_lengths(case["p"]), case["shannon"])
    assert N.kraft_sum(lengths) == 1


@pytest.mark.parametrize("p", [[1.0], [0.5, 0.5], [0.97, 0.01, 0.01, 0.01], [0.4, 0.0, 0.6],
                               np.full(37, 1 / 37), 2.0 ** -np.array([*range(1, 30), 29])])
def test_prefix_codes_decode(p):
    rng = np.random.default_rng(0)
    words = N.prefix_code(N.huffman_lengths(p))
    assert not any(i != j and b.startswith(a) for i, a in enumerate(words) for j, b in enumerate(words))
    for n in (0, 1, 500):
        symbols = rng.choice(len(p), size=n, p=p).tolist()
        assert N.prefix_decode(N.prefix_encode(symbols, words), words, n) == symbols


def test_prefix_code_words_are_the_known_ones():
    assert N.prefix_code([2, 1, 3, 3]) == ["10", "0", "110", "111"]
    assert N.prefix_code(np.array([2, 2, 2])) == ["00", "01", "10"]


@pytest.mark.parametrize("call, words", [
    (lambda: N.entropy([]), "sum 1"), (lambda: N.entropy([0.5, 0.6]), "0.6"),
    (lambda: N.entropy([1.5, -0.5]), "-0.5"), (lambda: N.huffman_lengths([[0.5, 0.5]]), "sum 1"),
    (lambda: N.huffman_lengths([np.nan, 1.0]), "nan"), (lambda: N.shannon_lengths([1.0, 0.0]), "positive"),
    (lambda: N.kraft_sum([]), "at least one"), (lambda: N.kraft_sum([1, -1]), "-1"),
    (lambda: N.prefix_code([1, 1, 2]), "1.25"), (lambda: N.prefix_encode([0, 2], ["0", "1"]), "0 to 1"),
    (lambda: N.prefix_decode("10", ["0", "10", "11"], 2), "after 1 symbols")])
def test_bad_input_of_prefix_codes(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()


# --- arithmetic coding -----------------------------------------------------------------------------

def strings():
    rng = np.random.default_rng(1)
    skewed = (rng.random(3000) < 0.01).astype(int)
    return {"empty": [], "one": [1], "single symbol": [0] * 700, "alternating": [0, 1] * 300,
            "random": rng.integers(2, size=1500).tolist(), "skewed": skewed.tolist(),
            "long": (rng.random(20_000) < 0.3).astype(int).tolist()}


@pytest.mark.parametrize("name", strings())
@pytest.mark.parametrize("k", [0, 1, 4])
def test_arithmetic_coder_round_trip(name, k):
    x = strings()[name]
    bits = N.arithmetic_encode(x, N.Adaptive(k))
    ideal = N.ideal_bits(x, N.Adaptive(k))
    assert set(bits) <= {"0", "1"} and -1e-6 <= len(bits) - ideal < 2
    for tail in ("", "0" * 60, "1" * 60, "0110"):
        assert N.arithmetic_decode(bits + tail, len(x), N.Adaptive(k)) == x


@pytest.mark.parametrize("weights", [[1, 1], [1, 999_999], [5, 0, 7, 1], [3], list(range(1, 40))])
def test_arithmetic_coder_with_known_weights(weights):
    rng = np.random.default_rng(2)
    p = np.array(weights) / sum(weights)
    for n in (0, 1, 2, 17, 2000):
        x = rng.choice(len(p), size=n, p=p).tolist()
        bits = N.arithmetic_encode(x, N.Fixed(weights))
        assert len(bits) < 2 - sum(math.log2(p[s]) for s in x) + 1e-6
        assert N.arithmetic_decode(bits + "10", n, N.Fixed(weights)) == x


def test_every_short_string_has_its_own_cell():
    """All strings of 8 bits: cells are disjoint, so no codeword begins another."""
    cells = []
    for i in range(256):
        x = [int(c) for c in format(i, "08b")]
        bits = N.arithmetic_encode(x, N.Adaptive(2))
        assert N.arithmetic_decode(bits, 8, N.Adaptive(2)) == x
        cells.append((Fraction(int(bits, 2), 2 ** len(bits)), Fraction(1, 2 ** len(bits))))
    cells.sort()
    assert all(a + size <= b for (a, size), (b, _) in zip(cells, cells[1:], strict=False))


def test_adaptive_model_is_the_exact_kt_mixture():
    rng = np.random.default_rng(3)
    x = rng.integers(3, size=40).tolist()
    p, seen = Fraction(1), [0, 0, 0]
    for a in x:
        p *= Fraction(2 * seen[a] + 1, 2 * sum(seen) + 3)
        seen[a] += 1
    exact = math.log2(p.denominator) - math.log2(p.numerator)
    close(N.ideal_bits(x, N.Adaptive(0, 3)), exact, 1e-10, "bits")
    close(N.kt_bits([seen]), exact, 1e-10, "bits")


@pytest.mark.parametrize("call", [
    lambda: N.arithmetic_encode([0, 2], N.Adaptive(0)), lambda: N.arithmetic_encode([-1], N.Adaptive(0)),
    lambda: N.ideal_bits([1], N.Fixed([1, 0])), lambda: N.ideal_bits([0], N.Fixed([2**47, 1])),
    lambda: N.arithmetic_decode("01x", 2, N.Adaptive(0))])
def test_bad_input_of_the_arithmetic_coder(call):
    with pytest.raises(ValueError):
        call()


# --- integers --------------------------------------------------------------------------------------

def test_log_star_and_its_constant():
    case = CASES["log_star"]
    close(N.C_STAR, case["c"], 1e-9, "c")
    close(N.log_star(case["n"]), case["bits"], 1e-9, "L*")
    assert N.log_star(7).shape == ()


def test_elias_code():
    known = {1: "0", 2: "100", 3: "110", 4: "101000", 7: "101110", 8: "1110000", 15: "1111110",
             16: "10100100000", 100: "1011011001000"}
    assert {n: N.elias_encode(n) for n in known} == known
    for n in (1, 5, 1000, 2**64, 10**40):
        word = N.elias_encode(n)
        assert N.elias_decode("11" + word + "01", 2) == (n, 2 + len(word))
    assert N.kraft_sum([len(N.elias_encode(n)) for n in range(1, 4096)]) <= 1


@pytest.mark.parametrize("call", [
    lambda: N.log_star(0), lambda: N.log_star([3, 0.5]), lambda: N.log_star([]),
    lambda: N.elias_encode(0), lambda: N.elias_encode(2.5), lambda: N.elias_decode(""),
    lambda: N.elias_decode("11"), lambda: N.elias_decode("0", 1), lambda: N.elias_decode("10100")])
def test_bad_input_of_integer_codes(call):
    with pytest.raises(ValueError, match="expected"):
        call()


# --- Markov chains ---------------------------------------------------------------------------------

@pytest.mark.parametrize("name", CHAINS)
def test_counts_and_code_lengths_of_chains(name):
    case = CASES[name]
    k, start = int(case["k"]), int(case["start"])
    counts = N.markov_counts(case["x"], k, start)
    assert np.array_equal(counts, case["counts"])
    assert np.array_equal(N.markov_counts(case["x"][1], k, start), counts[1])
    for what in ("ml", "kt", "nml"):
        close(getattr(N, f"{what}_bits")(counts), case[what], 1e-11, what)
    for d in (1, 3, 6):
        model, data = N.two_part_bits(counts, d)
        close(model, case[f"model{d}"], 1e-9, "model bits")
        close(data, case[f"data{d}"], 1e-11, "data bits")
    close(N.best_two_part(counts)[0], case["best"], 1e-9, "best two-part")


def test_code_lengths_with_four_symbols():
    case = CASES["multi"]
    for what in ("ml", "kt", "nml"):
        close(getattr(N, f"{what}_bits")(case["counts"]), case[what], 1e-11, what)


@pytest.mark.parametrize("K", [2, 3, 4, 5])
def test_complexity_against_exact_fractions(K):
    case = CASES[f"complexity{K}"]
    close(N.complexity(case["n"], K) / case["C"], np.ones(len(case["n"])), 1e-12, "ratio")
    close(N.complexity(np.array([[0, 1]]), K), [[1.0, K]], 1e-12, "C(K, 0), C(K, 1)")


def test_complexity_by_enumeration():
    for K, n in ((2, 3), (3, 5), (5, 4), (1, 6)):
        close(N.complexity_by_enumeration(n, K), N.complexity(n, K), 1e-12)


def test_nml_is_a_distribution():
    """2^-NML sums to one over all sequences of seven bits, and so does 2^-KT."""
    x = np.indices((2,) * 7).reshape(7, -1).T
    counts = N.markov_counts(x, 0)
    close((2.0 ** -N.nml_bits(counts)).sum(), 1.0, 1e-12)
    close((2.0 ** -N.kt_bits(N.markov_counts(x, 2))).sum(), 4.0, 1e-12)     # four first contexts


def test_jeffreys_mixture_by_quadrature():
    case = CASES["jeffreys"]
    for (zeros, ones), bits in zip(case["pairs"], case["bits"], strict=True):
        close(N.jeffreys_bits(zeros, ones), bits, 1e-10)
        close(N.kt_bits([[zeros, ones]]), bits, 1e-10)


def test_cross_validation_of_contiguous_folds():
    case = CASES["cv"]
    close(N.cv_bits(case["x"], 2, 5, folds=7), case["k2"], 1e-11)
    close(N.cv_bits(case["x"], 0, 3), case["k0"], 1e-11)


def test_order_scores_are_made_of_their_parts():
    rng = np.random.default_rng(4)
    x = N.markov_chain(rng, [0.2, 0.9], 5, 70)
    scores = N.order_scores(x, top=4)
    assert all(score.shape == (5, 5) for score in scores.values()) and len(scores) == 8
    for k in range(5):
        counts = N.markov_counts(x, k, 4)
        assert counts.sum() == 5 * 66                          # every order codes the same bits
        fit = N.ml_bits(counts)
        close(scores["AIC"][k] - fit, np.full(5, 2**k / math.log(2)), 1e-12)
        close(scores["BIC"][k] - fit, np.full(5, 2**k * math.log2(66) / 2), 1e-12)
        close(scores["NML"][k], N.nml_bits(counts), 1e-12)
        close(scores["cross-validation"][k], N.cv_bits(x, k, 4), 1e-12)
    assert (np.diff(scores["ML"], axis=0) <= 1e-9).all()       # raw likelihood never gets worse


def test_order_one_pays_for_two_parameters_and_not_for_floats():
    """Two free numbers at a searched precision: about log2 n bits in all, not two times 32 or more."""
    x = N.markov_chain(np.random.default_rng(5), [0.1, 0.7], 1, 10_000)[0]
    for k, free in ((0, 1), (1, 2), (3, 8)):
        counts = N.markov_counts(x, k)
        assert counts[..., 1].size == free
        _, d = N.best_two_part(counts)
        model, _ = N.two_part_bits(counts, int(d))
        close(model, free * int(d) + N.log_star(d) + N.log_star(k + 1), 1e-12)
        assert d <= 10


EMPTY = np.zeros((1, 2), int)


def test_jeffreys_mixture_of_no_data_is_refused():
    with pytest.raises(ValueError, match="n >= 1"):
        N.jeffreys_bits(0, 0)


@pytest.mark.parametrize("function", ["ml_bits", "nml_bits", "kt_bits", "best_two_part"])
@pytest.mark.parametrize("counts", [EMPTY, np.zeros((0, 2)), np.zeros((3, 4, 0)), [[3, -1]], [4, 5],
                                    [[[1, 1]], [[0, 0]]]])
def test_an_empty_data_set_is_refused(function, counts):
    with pytest.raises(ValueError, match=r"expected \(\.\.\., contexts, symbols\)"):
        getattr(N, function)(counts)


@pytest.mark.parametrize("call, words", [
    (lambda: N.markov_counts([0, 1, 2, 0], 1), "0 and 1"), (lambda: N.markov_counts([], 0), "n = 0"),
    (lambda: N.markov_counts([0, 1], 2), "n = 2"), (lambda: N.markov_counts([0, 1, 1], 2, 1), "start 1"),
    (lambda: N.markov_counts([0, 1, 1], -1), "order -1"), (lambda: N.complexity(-1), "n >= 0"),
    (lambda: N.complexity([]), "n >= 0"), (lambda: N.complexity(5, 0), "K = 0")])
def test_bad_input_of_markov_codes(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()


# --- regression ------------------------------------------------------------------------------------

def test_polynomial_fits_and_exact_leave_one_out():
    case = CASES["regression"]
    z, rss, loo = N.polynomial_fits(case["x"], case["y"], 5)
    close(rss, case["rss"], 1e-11, "rss")
    close(loo, case["loo"], 1e-10, "leave-one-out")
    close(z**2, np.stack([case["z2_0"], case["z2_1"]]), 1e-10, "z^2")
    close(N.regression_nml(z, rss, 19), case["nml"], 1e-10, "nml")


def test_evidence_is_a_multivariate_t_density():
    case = CASES["regression"]
    spread, a0, b0 = case["prior"]
    bits = N.regression_bayes(case["x"], case["y"], 5, spread, a0, b0)
    close(bits, case["evidence"], 1e-10, "evidence")


def test_two_part_code_of_regressions():
    case = CASES["regression"]
    close(N.regression_two_part(case["z"], case["given"], 19), case["two"], 1e-9, "two-part")


def test_degree_scores_are_made_of_their_parts():
    x, y = N.noisy_cubic(np.random.default_rng(6), 4, 31)
    scores = N.degree_scores(x, y)
    _, rss, loo = N.polynomial_fits(x, y)
    fit, k = 31 / 2 * np.log2(rss / 31), np.arange(1, 12)
    close(scores["AIC"], fit + k / math.log(2), 1e-12)
    close(scores["BIC"], fit + k / 2 * math.log2(31), 1e-12)
    close(scores["leave-one-out"], 31 / 2 * np.log2(loo / 31), 1e-12)
    close(scores["prequential"], N.regression_bayes(x, y), 1e-12)


@pytest.mark.parametrize("x, y", [(np.zeros((1, 12)), np.zeros((1, 12))), (np.zeros(20), np.zeros(20)),
                                  (np.zeros((1, 20)), np.zeros((1, 21)))])
def test_too_few_points_are_refused(x, y):
    with pytest.raises(ValueError, match=r"n >= 13"):
        N.polynomial_fits(x, y)


# --- the network -----------------------------------------------------------------------------------

@pytest.mark.parametrize("name", NETS)
def test_network_forward_and_objective(name):
    case = CASES[name]
    P = part(case, "P.")
    a, _ = N.mlp_forward(case["x"], P)
    close(a, case["a"], 1e-12, "a")
    close(N.logloss_forward(a, case["y"])[0], case["bits"], 1e-12, "bits")
    close(N.label_bits(case["x"], case["y"], P), case["bits"].sum(), 1e-12)
    loss, G = N.objective(case["x"], case["y"], P, float(case["decay"]))
    close(loss, case["loss"], 1e-12, "loss")
    close_dicts(G, part(case, "whole."), 1e-12)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_backward(check):
    check(N)


@pytest.mark.parametrize("name", NETS)
def test_price_of_a_network(name):
    case = CASES[name]
    P, keep = part(case, "P."), part(case, "keep.")
    close(N.network_bits(case["x"], case["y"], P), case["dense"], 1e-9, "dense")
    sparse = {k: p * keep[k] for k, p in P.items()}
    close(N.network_bits(case["x"], case["y"], sparse, keep), case["sparse"], 1e-9, "sparse")


def test_geometric_code():
    case = CASES["geometric"]
    close(N.geometric_bits(case["q"]), case["bits"], 1e-9)
    close(N.geometric_bits(np.ones(9)), case["ones"], 1e-9)
    close(N.geometric_bits(np.zeros(5)), N.log_star(1), 1e-12)


def test_an_untrained_network_is_a_fair_coin_and_training_learns():
    rng = np.random.default_rng(7)
    x, y = N.spirals(rng, 120, flip=0.0)
    P0 = N.initial(rng, 12)
    before = {k: p.copy() for k, p in P0.items()}
    assert N.label_bits(x, y, P0) == 120.0
    P = N.train(x, y, P0, 300, 0.01)
    assert all(np.array_equal(P0[k], before[k]) for k in P0), "train wrote into its argument"
    assert all(p.dtype == np.float32 for p in P.values())
    assert N.label_bits(x, y, P) < 80
    short = N.prequential_network(x, y, P0, blocks=2, steps=3, decay=0.01)
    stay = N.prequential_network(x, y, P0, blocks=2, steps=0, decay=0.01)
    close(stay, 120.0, 1e-6)                                   # a coin codes every block at one bit
    assert short != stay


def test_pruning_keeps_every_stage_and_the_largest_weights():
    rng = np.random.default_rng(8)
    P = {k: p.astype(float) + rng.normal(size=p.shape) for k, p in N.initial(rng, 6).items()}
    size = N.flat(P).size
    for m in range(1, size + 1):                               # no row is lost, whatever the share kept
        pruned, keep = N.prune(P, m)
        assert N.flat(keep).sum() == np.count_nonzero(N.flat(pruned)) == m
        assert np.abs(N.flat(P)[N.flat(keep)]).min() >= np.max(np.abs(N.flat(P)[~N.flat(keep)]), initial=0)
    x, y = N.spirals(rng, 50)
    pruned, keep = N.prune(P, 9)
    trained = N.train(x, y, pruned, 20, 0.1, keep=keep)
    assert np.array_equal(N.flat(trained) != 0, N.flat(keep)), "a pruned weight came back"


@pytest.mark.parametrize("call", [
    lambda: N.logloss_forward(np.array([]), np.array([])),
    lambda: N.logloss_forward(np.zeros(2), np.array([0, 2])), lambda: N.geometric_bits([]),
    lambda: N.prune({"w": np.ones(3)}, 0), lambda: N.prune({"w": np.ones(3)}, 4)])
def test_bad_input_of_the_network(call):
    with pytest.raises(ValueError, match="expected"):
        call()


# --- programs, generators --------------------------------------------------------------------------

@pytest.mark.parametrize("string", ["0", "1" * 77, "01" * 40, "0001011" * 30 + "000",
                                    "".join(map(str, np.random.default_rng(9).integers(2, size=999)))])
def test_programs_print_their_string(string):
    found = N.programs(string)
    assert found.keys() == {"literal", "repeat", "Markov"}
    assert all(N.run(program) == string for program in found.values())


def test_the_generator_instruction():
    program = "11" + N.elias_encode(10) + N.elias_encode(3) + N.elias_encode(7)
    assert N.run(program) == "".join(str(2 * (3**i % 7) // 7) for i in range(10))


@pytest.mark.parametrize("string", ["", "012", "ab"])
def test_bad_strings_are_refused(string):
    with pytest.raises(ValueError, match="expected at least one character"):
        N.programs(string)


def test_generators():
    rng = np.random.default_rng(10)
    found = N.three_sequences(rng, 2000)
    assert [len(x) for x in found.values()] == [2000] * 3
    assert found["0001 repeated"].sum() == 500 and found["four 0s to a 1"].sum() == 400
    x = N.markov_chain(rng, [0.1, 0.8, 0.5, 0.9], 300, 200)
    counts = N.markov_counts(x, 2).sum(0)
    close(counts[:, 1] / counts.sum(1), [0.1, 0.8, 0.5, 0.9], 0.02, "P(1 | context)")
    points, labels = N.spirals(rng, 64)
    assert points.shape == (64, 2) and set(labels) == {0, 1}


# --- exercises -------------------------------------------------------------------------------------

def test_solutions_pass_their_self_checks(capsys):
    solutions, checks = exercise_parts(23)
    assert len(checks) >= 2 and len(solutions) == 4
    for check in checks:
        name = re.match(r"(\w+)", check).group(1)
        solution = next(text for text in solutions if re.search(rf"(def|class) {name}\b", text))
        space = classroom(23)
        exec(solution, space)
        untouched = re.sub(r"^(\w+)( = None|, x = None, )", lambda m: "x = " if "x" in m.group(2) else "",
                           check, count=1)
        exec(re.sub(r"^ *#.*\n", "", untouched), space)
        assert "right" in capsys.readouterr().out


def test_solutions_without_self_check(capsys):
    space, solutions = classroom(23), exercise_parts(23)[0]
    infinite = next(text for text in solutions if "geometric_complexity" in text)
    exec(infinite, space)
    p = np.linspace(1e-4, 1, 20_000)
    close(space["geometric_complexity"](20), sum(np.max(p * (1 - p) ** x) for x in range(21)), 1e-6)
    exec(next(text for text in solutions if "volume" in text), space)
    assert abs(float(capsys.readouterr().out) - 12.9) < 0.1
