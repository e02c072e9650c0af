"""Notebook 22: memory, MLP and loss against PyTorch; language, exact law, fits, valleys by other means."""

import math
import re
import warnings

import numpy as np
import pytest

from tests.support import (
    Exercises,
    classroom,
    close,
    close_dicts,
    definitions,
    exercise_parts,
    golden,
    like_parameters,
    part,
    refuses,
    rng,
    text_and_code,
    untouched,
)

N = definitions(22)
CASES = golden("22")
SHAPES = "one", "three"


def forward_of(space, kind):
    return getattr(space, f"{kind}_forward"), getattr(space, f"{kind}_backward")


# --- what the mutation test breaks -----------------------------------------------------------------

def check_xent_backward(space):
    for name in SHAPES:
        case = CASES[f"xent_{name}"]
        L, cache = space.xent_forward(case["Z"], case["y"], case["w"])
        close(L, case["L"], 1e-12)
        close(space.xent_backward(case["up.L"], cache), case["dZ"], 1e-12)


def check_layer(space, kind):
    """One building block, then the whole model with it: values, inputs' and parameters' gradients."""
    forward, backward = forward_of(space, kind)
    for name in SHAPES:
        case = CASES[f"{kind}_{name}"]
        Z, cache = forward(case["x"], part(case, "P."))
        close(Z, case["Z"], 1e-11)
        dx, G = backward(case["up.Z"], cache)
        close(dx, case["dx"], 1e-11)
        close_dicts(G, part(case, "G."), 1e-11)
        case = CASES[f"whole_{kind}_{name}"]
        Z, cache = forward(case["x"], part(case, "P."))
        L, c_loss = space.xent_forward(Z, case["y"], case["w"])
        close(L, case["L"], 1e-11)
        dx, G = backward(space.xent_backward(case["up.L"], c_loss), cache)
        close(dx, case["dx"], 1e-11)
        close_dicts(G, part(case, "G."), 1e-11)


def check_memory_backward(space):
    check_layer(space, "memory")


def check_mlp_backward(space):
    check_layer(space, "mlp")


CHECKS = {"xent_backward": check_xent_backward, "memory_backward": check_memory_backward,
          "mlp_backward": check_mlp_backward}


# --- models ----------------------------------------------------------------------------------------

def packed(letters):
    return (letters * np.array([1, 256, 65536])).sum(1).astype(np.int32)


def test_features_and_embedding_are_lookups():
    case = CASES["look"]
    c = packed(case["letters"])
    f = N.features(c, case["E"])
    assert f.dtype == np.float32
    close(f.astype(float), case["f"], 1e-6)
    x = N.embed(c, case["E"])
    assert x.dtype == np.float32
    close(x.astype(float), case["x"], 0)
    for m in range(2):
        W = rng(m).normal(size=(6, 4))
        close([N.logits_by_hand(int(k), case["E"][m], W) for k in c], case["f"][m] @ W, 1e-12)


def test_bad_input_is_refused():
    E, c = N.signs(rng(), 4), np.array([1, 2])
    refuses(lambda: N.features(c, E[0]), r"\(3, 256, 4\)")
    refuses(lambda: N.features(c, E[:, :2]), r"\(1, 2, 256, 4\)")
    refuses(lambda: N.features(np.array([3, 1 << 24]), E), "16777216")
    refuses(lambda: N.features(np.array([-1, 3]), E), "-1 to 3")
    Z, w = np.zeros((1, 3, 5)), np.ones(3)
    refuses(lambda: N.xent_forward(Z, np.array([0, 1]), w), r"\(2,\)")
    refuses(lambda: N.xent_forward(Z, np.array([0, 1, 5]), w), "0 to 4")
    refuses(lambda: N.xent_forward(Z, np.array([0, 1, -1]), w), "0 to 4")
    refuses(lambda: N.xent_forward(Z, np.array([0, 1, 2]), w[:2]), r"weights \(2,\)")
    for a in (0, -0.5, float("nan")):
        refuses(lambda a=a: N.draw_ranks(rng(), a, 3), f"a = {a}")
    refuses(lambda: N.power_fit([1, 2, 3], [3, 2, 1]), r"\[1, 2, 3\]")
    refuses(lambda: N.power_fit([1, 2, 3, 4], [3, 2, 1, 0]), "0")
    four = np.ones(4)
    refuses(lambda: N.joint_fit(N.kaplan, four, four, four, np.zeros(4, bool)), "4 runs")
    refuses(lambda: N.joint_fit(N.kaplan, -np.ones(9), np.ones(9), np.ones(9), np.zeros(9, bool)), "positive")


@pytest.mark.parametrize("kind", ["memory", "mlp"])
def test_nothing_is_written_and_float32_stays(kind):
    forward, backward = forward_of(N, kind)
    for dtype in (np.float32, np.float64):
        x = rng(1).normal(size=(2, 5, 6)).astype(dtype)
        P = {"W": rng(2).normal(size=(2, 6, 32))} if kind == "memory" else N.new_mlp(rng(3), 7, 2, 2)
        P = {k: (p + 0.1 * rng(4).normal(size=p.shape)).astype(dtype) for k, p in P.items()}
        y, w = np.arange(5), np.full(5, 0.2, dtype)
        with untouched(P | {"x": x, "w": w}):
            Z, cache = forward(x, P)
            L, c_loss = N.xent_forward(Z, y, w)
            dx, G = backward(N.xent_backward(np.ones_like(L), c_loss), cache)
            again = backward(N.xent_backward(np.ones_like(L), c_loss), cache)
        like_parameters(G, P)
        assert dx.dtype == dtype and dx.shape == x.shape
        close_dicts(again[1], G, 0)
        none, same = backward(N.xent_backward(np.ones_like(L), c_loss), cache, False)
        assert none is None
        close_dicts(same, G, 0)


def test_large_logits_do_not_overflow():
    Z = np.array([[[1e4, 0.0, -1e4], [0.0, 1e4, 1e4]]])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        L, cache = N.xent_forward(Z, np.array([2, 1]), np.array([1.0, 1.0]))
        dZ = N.xent_backward(np.ones(1), cache)
    close(L, [2e4 + math.log(2)], 1e-12)
    assert np.isfinite(dZ).all()


def test_counts_as_weights_give_the_gradient_of_the_whole_batch():
    c = N.context(N.draw_ranks(rng(5), 0.4, 300), 9)
    E, W = N.signs(rng(6), 12), rng(7).normal(size=(1, 12, 32))
    distinct, count = np.unique(c, return_counts=True)
    assert len(distinct) < 200
    found = []
    for contexts, w in ((c, np.full(300, 1 / 300)), (distinct, count / 300)):
        Z, cache = N.memory_forward(N.features(contexts, E), {"W": W})
        L, c_loss = N.xent_forward(Z, N.next_token(contexts, 9), w)
        found.append((L, N.memory_backward(N.xent_backward(np.ones(1), c_loss), cache)[1]["W"]))
    close(found[0][0], found[1][0], 1e-6)
    close(found[0][1], found[1][1], 1e-6)


def test_fresh_models():
    P, E = N.new_memory(rng(), 10, 3)
    assert P["W"].shape == (3, 10, 32) and not P["W"].any() and E.shape == (3, 3, 256, 10)
    assert set(np.unique(E)) == {-1, 1} and abs(E.mean()) < 0.05
    P = N.new_mlp(rng(), 200, 32, 2)
    assert all(p.dtype == np.float32 for p in P.values())
    assert {k: p.shape for k, p in P.items()} == {
        "W1": (2, 96, 200), "b1": (2, 1, 200), "W2": (2, 200, 200), "b2": (2, 1, 200), "W3": (2, 200, 32),
        "b3": (2, 1, 32)}
    assert abs(P["W1"].std() - math.sqrt(2 / 96)) < 0.003 and abs(P["W2"].std() - 0.1) < 0.003
    assert not P["W3"].any()


def test_rate():
    assert N.rate(0, 100, 0.15) == pytest.approx(0.075)
    assert N.rate(1, 100, 0.15) == pytest.approx(0.15 * 0.99)
    assert N.rate(50, 100, 0.15) == pytest.approx(0.075)
    assert N.rate(99, 100, 0.15) == pytest.approx(0.0015)
    assert N.rate(0, 10, 1.0) == 1.0


# --- language --------------------------------------------------------------------------------------

def splitmix(u, key):
    """The same hash with Python's integers."""
    mask = 2**64 - 1
    z = (u + 0x9E3779B97F4A7C15 * (2 * key + 1)) & mask
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
    return z ^ z >> 31


@pytest.mark.parametrize("key", [0, 7, 1004])
def test_hash_letters_and_tokens(key):
    r = np.array([1, 2, 3, 1000, 2**40, 2**60])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        h = N.mix(r, key)
        c = N.context(r, key)
        y = N.next_token(c, key)
    assert [int(v) for v in h] == [splitmix(int(v), key) for v in r]
    assert [int(v) for v in c] == [splitmix(int(v), key) % 2**24 for v in r]
    assert [int(v) for v in y] == [splitmix(int(v), key + 1) % 32 for v in c]


def test_tokens_and_letters_are_even_and_keys_differ():
    c = N.context(np.arange(1, 100_001), 3)
    for values, size in ((N.next_token(c, 3), 32), (c & 255, 256), (c >> 8 & 255, 256), (c >> 16, 256)):
        share = np.bincount(values, minlength=size) * size / 100_000
        assert len(share) == size and abs(share - 1).max() < 6 * math.sqrt(size / 100_000)
    assert (N.context(np.arange(1, 1001), 3) == N.context(np.arange(1, 1001), 4)).mean() < 0.01


@pytest.mark.parametrize("a", [0.25, 0.4, 1.0])
def test_ranks_follow_the_law(a):
    r = N.draw_ranks(rng(1), a, 200_000)
    assert r.min() == 1 and r.max() <= 2**60
    for k in (1, 2, 5, 30):
        p = k ** -(1 + a) / N.zeta(1 + a)
        assert abs((r == k).mean() - p) < 5 * math.sqrt(p / 200_000)
    for k in (100, 10_000):
        p = N.zeta(1 + a, k) / N.zeta(1 + a)
        assert abs((r >= k).mean() - p) < 5 * math.sqrt(p / 200_000)


@pytest.mark.parametrize("a", [0.25, 0.4, 0.6, 1.0])
def test_test_set_weighs_every_rank(a):
    lang = N.language(a, 5)
    r, w = lang["r"], lang["w"]
    assert abs(w.sum() - 1) < 1e-6 and (w > 0).all() and (np.diff(r[:1024]) == 1).all()
    assert (np.diff(r) >= 0).all()                                    # no rank of a bin left out of order
    for k in (1, 10, 1025, 5000, 10**5, 10**8):
        assert w[r >= k].sum() == pytest.approx(N.zeta(1 + a, k) / N.zeta(1 + a), rel=0.03)
    assert np.array_equal(lang["y"], N.next_token(lang["c"], 5))
    finer = N.language(a, 5, 4096, 60)
    for g in (lambda r: 1 / (1 + r / 300), lambda r: np.log1p(r) / 40):
        assert w @ g(r) == pytest.approx(finer["w"] @ g(finer["r"]), rel=1e-3)


def test_no_last_rank_and_no_entropy():
    """A longest list would bend L(N); a noisy token would leave an offset."""
    c = N.context(N.draw_ranks(rng(2), 0.4, 100_000), 1)
    y = N.next_token(c, 1)
    follows = {}
    assert all(follows.setdefault(k, t) == t for k, t in zip(c.tolist(), y.tolist(), strict=True))
    assert N.draw_ranks(rng(3), 0.4, 100_000).max() > 10**9


@pytest.mark.parametrize("a", [0.4, 0.6])
def test_exact_data_law_by_brute_force(a):
    r = np.arange(1, 3_000_000)
    p = r ** -(1.0 + a) / N.zeta(1 + a)
    lang = N.language(a, 0)
    for D in (0, 1, 25, 800, 10_000):
        tail = N.zeta(1 + a, 3_000_000) / N.zeta(1 + a)
        sum_ = (p * (1 - p) ** D).sum() + tail
        assert N.exact_data_law(D, lang) == pytest.approx(math.log(32) * sum_, rel=2e-3)
    assert N.exponents(0.4) == pytest.approx([0.4, 0.4 / 1.4, 1 / 2.4, 0.4 / 2.4])
    slope = math.log(N.exact_data_law(1e7, lang) / N.exact_data_law(1e6, lang)) / math.log(10)
    assert -slope == pytest.approx(N.exponents(a)[1], abs=0.01)


# --- training --------------------------------------------------------------------------------------

def test_training_learns_and_repeats():
    lang = N.language(0.4, 3, 256, 8)
    first, second = (N.memory_run(32, 60, 64, lang, rng(4), 2) for _ in range(2))
    assert first[:2] == (1024, 3840) and first[2] == second[2]
    assert first[2] < 0.6 * math.log(32) and first[3].shape == lang["r"].shape
    assert first[3] @ lang["w"] == pytest.approx(first[2], rel=0.05)
    P, E = N.new_mlp(rng(5), 16, M=2), N.signs(rng(5), 32, 2)
    before = {k: p.copy() for k, p in P.items()}
    N.train(N.MLP, P, E, lang, rng(6), 150, 64, 0.01)
    assert all(np.abs(P[k] - before[k]).max() > 0 for k in P), "all layers are trained"
    assert (N.per_context(N.MLP, P, E, lang) @ lang["w"]).max() < 0.75 * math.log(32)


def test_models_of_a_batch_do_not_know_each_other():
    lang = N.language(0.4, 3, 64, 4)
    P, E = N.new_memory(rng(7), 8, 3)
    N.train(N.MEMORY, P, E, lang, rng(8), 20, 32)
    alone = {"W": np.zeros((1, 8, 32), np.float32)}
    N.train(N.MEMORY, alone, E[1:2], lang, rng(8), 20, 32)
    close(alone["W"][0], P["W"][1], 1e-5)


def test_repeat_run_stops_at_the_best_look():
    lang = N.language(0.4, 3, 128, 4)
    E = N.signs(rng(9), 512)
    L = N.repeat_run(E, N.features(lang["c"], E), lang, 100, rng(10))
    assert 0.9 < L / N.exact_data_law(100, lang) < 1.4
    assert N.LOOKS == tuple(sorted(N.LOOKS))


def test_isoflop_really_spends_the_budget():
    lang = N.language(0.4, 3, 64, 4)
    rows = N.isoflop(lang, (0, 1), (0, 1), (2, 40), 10)
    assert set(rows[:, 0]) == {0, 1} and len(rows) > 10
    close(6 * rows[:, 1] * rows[:, 2] / (1e8 * 4 ** rows[:, 0]), np.ones(len(rows)), 0.02)
    ratio = rows[:, 2] / rows[:, 1]
    assert ratio.min() > 1.9 and ratio.max() < 41 and len(set(rows[:, 3])) == len(rows)


# --- fits ------------------------------------------------------------------------------------------

def valley_runs(noise=0.0, slope=0.44, seed=0):
    """Artificial valleys with a known floor: N_opt = 3 C**slope / 100, L = 5 C**-0.15."""
    r, rows = rng(seed), []
    for k in range(5):
        C = 1e8 * 4**k
        best = 0.03 * C**slope
        for x in np.linspace(-1.7, 1.7, 11):
            L = 5 * C**-0.15 * math.exp(0.1 * x**2 + noise * r.normal())
            rows.append((k, best * math.exp(x), C / 6 / best / math.exp(x), L))
    return np.array(rows)


def test_the_optimum_is_found_not_assumed():
    """Mistake elsewhere: N = D = sqrt(C / 6) was put in. Here any exponent that is there comes out."""
    for slope in (0.3, 0.44, 0.73):
        log_C, log_N, log_L, found, interval, lines = N.frontier(valley_runs(0, slope), rng(1), 20)
        assert found == pytest.approx(slope, abs=1e-6) and interval == pytest.approx([slope, slope], abs=1e-6)
        close(np.exp(log_N), 0.03 * np.exp(log_C) ** slope, 1e-6)
        close(np.exp(log_L), 5 * np.exp(log_C) ** -0.15, 1e-6)
        assert lines.shape == (20, 2)
    code = text_and_code(22)[1]
    function = code[code.index("def isoflop"):code.index("def parabolas")]
    assert "sqrt" not in function and "memory_run(" in function


def test_bootstrap_covers():
    inside = 0
    for seed in range(40):
        interval = N.frontier(valley_runs(0.01, seed=seed), rng(seed), 200)[4]
        inside += interval[0] <= 0.44 <= interval[1]
        assert interval[0] < interval[1] < interval[0] + 0.1
    assert inside >= 33


def test_power_fit():
    x = np.array([1.0, 10, 100, 1000])
    slope, R2, error, line = N.power_fit(x, 7 * x**-0.3 * np.array([1, 1, 1, 1.05]))
    close([slope, R2, error], [-0.3, 1, 0.05], 1e-12)
    close(line, [-0.3, math.log(7)], 1e-12)
    y = np.array([3.0, 2.2, 1.1, 0.9])
    slope, R2, error, line = N.power_fit(x, y, 0)
    assert error == 0.0 and R2 == pytest.approx(np.corrcoef(np.log(x), np.log(y))[0, 1] ** 2)


@pytest.mark.parametrize("form", ["kaplan", "additive"])
def test_joint_fit_finds_constants_and_does_not_overflow(form):
    """Mistake elsewhere: curve_fit with overflow warnings. Here even extreme numbers are quiet."""
    law, truth = getattr(N, form), (4.0, 0.35, 5.0, 0.25)
    n, d = (g.ravel() for g in np.meshgrid(np.geomspace(1e2, 1e6, 6), np.geomspace(1e2, 1e7, 6)))
    L = np.exp(law(np.log([n, d]), *truth))
    a, b = (math.exp(4) / n), (math.exp(5) / d)
    by_hand = (a ** (0.35 / 0.25) + b) ** 0.25 if form == "kaplan" else a**0.35 + b**0.25
    close(L, by_hand, 1e-12)
    held = n > 1e5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        p, error = N.joint_fit(law, n, d, L, held)
        far, _ = N.joint_fit(law, n * 1e6, d * 1e6, L, held)
        assert np.isfinite(law(np.array([[700.0, -700], [-700, 700]]), 700, 9, -700, 0.1)).all()
    close(p, truth, 1e-3)
    assert abs(error).max() < 1e-4 and np.isfinite(far).all()
    wrong = L * np.where(held, 1.1, 1.0)
    close(N.joint_fit(law, n, d, wrong, held)[1][held], np.full(held.sum(), 1 / 1.1 - 1), 1e-4)


def test_front_of_a_step():
    lang = N.language(0.4, 3)
    for place in (30, 400, 5000):
        step = np.where(lang["r"] < place, 0.0, math.log(32))
        assert abs(math.log(N.front(step, lang) / place)) < 0.6
    r, mean = N.by_rank(np.full(len(lang["r"]), 2.5), lang)
    close(mean, np.full(len(mean), 2.5), 1e-12)
    assert (np.diff(r) > 0).all()


# --- exercises and text ----------------------------------------------------------------------------

EXERCISES = Exercises(space=lambda: classroom(22), wrong=(
    ("balanced_data = lambda a, growth: growth ** (1 / (1 + a))", 0),
    ("balanced_data = lambda a, growth: growth", 0),
    ("noisy_entropy = lambda e, K: -e * np.log(e) - (1 - e) * np.log(1 - e) if e < 1 else np.log(K)", 1),
    ("noisy_entropy = lambda e, K: e * np.log(K)", 1),
    ("embedding_backward = lambda df, letters, E: np.zeros_like(E)", 2),
    ("def embedding_backward(df, letters, E):\n"
     "    e, dE = [E[j, letters[:, j]] for j in range(3)], np.zeros_like(E)\n"
     "    for j in range(3):\n"
     "        dE[j, letters[:, j]] += df * e[j - 1] * e[j - 2] / 2\n"
     "    return dE", 2),
    ("data_asymptote = lambda D, a, K: np.log(K) * D ** (-a / (1 + a))", 3),
    ("data_asymptote = lambda D, a, K: np.log(K) * (D / zeta(1 + a)) ** (-a / (1 + a))", 3)))


def test_solutions_say_what_the_text_says():
    space = classroom(22)
    for code in exercise_parts(22)[0]:
        exec(code, space)
    assert space["noisy_entropy"](0.3, 2) == pytest.approx(-0.85 * math.log(0.85) - 0.15 * math.log(0.15))
    assert space["rows"].shape[1] == 4


def test_named_models_have_their_sizes():
    """Mistake elsewhere: GPT-2 with 1.5e8 and GPT-3 with 1.75e9 parameters."""
    assert N.SIZES["GPT-2"] == 1.5e9 and N.SIZES["GPT-3"] == 1.75e11 and N.SIZES["a trillion"] == 1e12
    assert N.PAPER == {"N": 0.076, "D": 0.095, "C": 0.050}


def test_no_loss_comes_from_a_formula():
    """Mistake elsewhere: a pretend model whose loss is a formula with log N / 10 in it."""
    text, code = text_and_code(22)
    assert not re.search(r"log\w*\(\s*\w*N\w*\s*\)\s*/\s*10\b", code)
    run = code[code.index("def memory_run"):code.index("def memory_run") + 700]
    assert "train(MEMORY" in run and "per_context(" in run
    assert "interp" not in code


def test_numbers_in_the_text_are_those_of_the_code():
    text, code = text_and_code(22)
    assert "1/r^{1.4}" in text and N.A == 0.4
    assert "32 tokens" in text and N.K == 32 and "256 letters" not in text and N.LETTERS == 256
    assert "N = 64 to 8,192" in text and N.DIMS[0] * 32 == 64 and N.DIMS[-2] * 32 == 8192
    assert N.DIMS[-1] == 4 * N.DIMS[-2] and "four times larger, is held out" in text
    assert N.TOKENS == (25, 80, 250, 800, 2500, 10_000) and "held out: 10,000" in text
    assert round(256**0.4, 1) == 9.2 and "not 16" in text and 256**0.5 == 16
    assert "not 57" in text and round(256**0.73) == 57
    assert round(10**-0.4, 1) == 0.4 and round(10**-0.076, 2) == 0.84 and "get 0.84" in text
    assert "from 0.444 to 0.385" in text and round(1 / 2.25, 3) == 0.444 and round(1 / 2.6, 3) == 0.385
