"""Notebook 24: mixtures, context trees, tree search and environments against brute force and by hand."""

import math
import random
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from tests.support import Exercises, classroom, close, definitions, exercise_parts

N = definitions(24)
CHECKS = {}                                            # no gradients here


def coins(seed, n, p=0.5):
    """n bits from the standard library's generator."""
    source = random.Random(seed)
    return [int(source.random() < p) for _ in range(n)]


# --- psychometrics ---------------------------------------------------------------------------------

def test_first_component_is_the_principal_one():
    scores = np.random.default_rng(0).standard_normal((300, 5)) @ np.random.default_rng(1).random((5, 5))
    values, component = N.first_component(scores)
    z = (scores - scores.mean(0)) / scores.std(0)
    U, S, _ = np.linalg.svd(z, full_matrices=False)
    close(values, S**2 / 300, 1e-10)
    close(abs(component), abs(U[:, 0] * S[0]), 1e-9)


def test_batteries_are_what_they_claim():
    battery, g, bonds = N.batteries(np.random.default_rng(2), people=20_000)
    R = np.corrcoef(battery["one factor g"].T)
    assert R[np.triu_indices(8, 1)].min() > 0.3
    assert abs(np.corrcoef(battery["independent"].T) - np.eye(8)).max() < 0.04
    assert abs(np.corrcoef(battery["bonds, no g"].T)[np.triu_indices(8, 1)].mean() - 0.5) < 0.05
    assert abs(np.corrcoef(bonds.T) - np.eye(60)).max() < 0.04
    assert abs(np.corrcoef(N.first_component(battery["one factor g"])[1], g)[0, 1]) > 0.9


# --- the machine -----------------------------------------------------------------------------------

@pytest.mark.parametrize("program, output", [
    (".", (0, 0, 0, 0)), (".~", (0, 1, 0, 1)), ("~.", (1, 0, 1, 0)), ("~[.>]", (1, 1, 1, 1)),
    ("~>^.", (1, 0, 1, 0)), ("~[]", None), ("[.]", None)])
def test_programs(program, output):
    """~>^. copies the flipped cell to the right, flips the copy back, and so on."""
    assert N.run_forever(program, 4, 400) == output


def by_hand(program, n, limit):
    """A second interpreter: matching brackets by counting, the tape as a set."""
    ones, at, pc, out = set(), 0, 0, []
    for _ in range(limit):
        c, bit = program[pc], int(at in ones)
        if c == ".":
            out.append(bit)
            if len(out) == n:
                return tuple(out)
        if c == "~" or c == "^" and at - 1 in ones:
            ones ^= {at}
        at += (c == ">") - (c == "<")
        if c == "[" and not bit or c == "]" and bit:
            way, depth = (1, 1) if c == "[" else (-1, -1)
            while depth:
                pc += way
                depth += {"[": 1, "]": -1}.get(program[pc], 0)
        pc = (pc + 1) % len(program)
    return None


def test_all_short_programs_against_a_second_interpreter():
    count = 0
    for L in range(1, 5):
        for program in N.balanced(L):
            assert N.run_forever(program, 12, 150) == by_hand(program, 12, 150), program
            count += 1
    assert count > 500


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_all_balanced_programs_are_found(length):
    def matches(p):
        p = "".join(c for c in p if c in "[]")
        while "[]" in p:
            p = p.replace("[]", "")
        return not p
    every = ("".join(p) for p in product(N.SYMBOLS, repeat=length))
    assert sorted(N.balanced(length)) == sorted(filter(matches, every))


def test_the_limit_counts_steps():
    assert N.run_forever("~~.", 1, 3) == (0,) and N.run_forever("~~.", 1, 2) is None
    assert N.run_forever(".", 1, 0) is None


def test_the_prior_falls_with_length():
    """A program one instruction longer weighs an eighth: the prior is not flat."""
    found = N.enumerate_sequences(4, 16)
    lengths = sorted({l for ls in found.values() for l in ls})
    assert lengths == [6, 9, 12, 15]
    ratios = [2.0**-b / 2.0**-a for a, b in zip(lengths, lengths[1:], strict=False)]
    assert ratios == [1 / 8] * 3
    assert 6 in found[(0,) * 16] and min(found[(0, 1) * 8]) == 9
    every = sum(7**L / 8 ** (L + 1) for L in range(1, 5))
    assert sum(2.0**-l for ls in found.values() for l in ls) < every < 1


# --- mixtures --------------------------------------------------------------------------------------

def test_mixture_is_bayes_in_fractions():
    X = [(0, 0, 1), (0, 1, 1), (1, 1, 1), (0, 0, 0)]
    w = [Fraction(1, 2), Fraction(1, 4), Fraction(1, 8), Fraction(1, 16)]

    def mass(start):
        return sum(v for v, y in zip(w, X, strict=True) if y[:len(start)] == start)
    expected = [[float(mass(x[:t + 1]) / mass(x[:t])) for t in range(3)] for x in X]
    close(N.mixture_predictions(X, [float(v) for v in w]), expected, 1e-14)


@pytest.mark.parametrize("seed", [0, 1])
def test_error_bounds_hold_for_any_class(seed):
    rng = np.random.default_rng(seed)
    X = np.unique(rng.integers(2, size=(60, 25)), axis=0)
    w = rng.dirichlet(np.full(len(X), 0.3)) + 1e-9
    M = N.mixture_predictions(X, w)
    p = w / w.sum()
    close(-np.log(M).sum(1), -np.log(p), 1e-9)
    assert (((1 - M) ** 2).sum(1) <= -np.log(p) / 2 + 1e-12).all()
    assert ((M <= 0.5).sum(1) <= -np.log2(p) + 1e-9).all()


def test_frequency_predictions_by_hand():
    close(N.frequency_predictions([0, 0, 1]), [[1 / 2, 3 / 4, 1 / 6]], 1e-14)


def test_patterns():
    X, w, K = N.pattern_class(6, 60)
    assert len(X) == 106 == len({tuple(x) for x in X.tolist()})
    close(w.sum(), 1 - 2.0**-6, 1e-14)                 # 2^p patterns of weight 4^-p
    for x, k in zip(X, K, strict=True):
        p = k // 2
        assert (x[p:] == x[:-p]).all() and not any((x[q:] == x[:-q]).all() for q in range(1, p))


def test_markov_class_is_complete():
    tables, bits = N.markov_class()
    assert len(tables) == 276 and (2.0**-bits).sum() == 1 and sorted(set(bits.tolist())) == [3, 6, 10]
    assert (tables[bits == 3].min(1) == tables[bits == 3].max(1)).all()
    assert (tables[bits == 6][:, :2] == tables[bits == 6][:, 2:]).all()
    assert len({tuple(t) for t in tables[bits == 10].tolist()}) == 256


def test_prediction_error_by_a_slow_loop():
    tables, bits = N.markov_class()
    tables, bits = tables[:20], bits[:20]
    rng, total, expected = np.random.default_rng(5), 0.0, []
    w, context = 2.0**-bits, 0
    for _ in range(30):
        p = tables[:, context]
        total += ((w @ p) / w.sum() - tables[7, context]) ** 2
        expected.append(total)
        x = int(rng.random(1)[0] < tables[7, context])
        w = w * (p if x else 1 - p)
        context = (2 * context + x) % 4
    close(N.prediction_error(tables[7], tables, bits, np.random.default_rng(5), 1, 30), expected, 1e-12)


# --- context trees ---------------------------------------------------------------------------------

def exact_mixture(past, x, depth):
    """Recursive weighting in fractions, by the definition: half the leaf, half the product of children."""
    def kt(bits):
        p, c = Fraction(1), [0, 0]
        for b in bits:
            p *= Fraction(2 * c[b] + 1, 2 * sum(c) + 2)
            c[b] += 1
        return p

    def weigh(items, d):
        own = kt([b for _, b in items])
        if d == depth:
            return own
        sides = [[item for item in items if item[0][d] == s] for s in (0, 1)]
        return own / 2 + weigh(sides[0], d + 1) * weigh(sides[1], d + 1) / 2
    history, items = list(past), []
    for b in x:
        items.append((history[::-1][:depth], b))
        history.append(b)
    return float(weigh(items, 0))


@pytest.mark.parametrize("depth", [0, 1, 2, 4, 5])
def test_ctw_is_the_exact_mixture(depth):
    for x in (coins(1, 50), coins(2, 60, 0.1), [0, 1, 1, 0] * 12, [1] * 30):
        p, apart = N.ctw_probability(x, depth)
        assert abs(p / exact_mixture([0] * depth, x, depth) - 1) < 1e-12 and apart < 1e-13


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_brute_force_and_the_trees(depth):
    trees = N.suffix_trees(depth)
    assert len(trees) == {1: 2, 2: 5, 3: 26}[depth] and sum(2.0**-c for c, _ in trees) == 1
    for x in (coins(3, 25), [0, 0, 1] * 9):
        assert abs(N.brute_force(x, depth) / exact_mixture([0] * depth, x, depth) - 1) < 1e-12


def test_predicting_changes_nothing_and_the_tolerance_bounds_the_error():
    root, h = N.new_node(), 0
    for b in coins(4, 300, 0.2):
        N.ctw_update(root, h, 8, b)
        h = h << 1 | b
    before = repr(root)
    for context in range(256):
        p = N.ctw_predict(root, context, 8)
        assert 0 < p < 1 and abs(N.ctw_predict(root, context, 8, 1e-4) - p) <= 1e-4
    assert repr(root) == before
    assert N.ctw_predict(N.new_node(), 5, 8) == 0.5


def test_depth_profile_is_a_distribution_and_finds_the_memory():
    for lag in (1, 3):
        root, h, x = N.new_node(), 0, coins(5, 10)
        for t in range(3000):
            b = x[-lag] if random.Random(t).random() < 0.95 else 1 - x[-lag]
            N.ctw_update(root, h, 6, b)
            h, x = (h << 1 | b) & 63, [*x[-9:], b]
        profile = N.depth_profile(root, 6)
        close(profile.sum(), 1.0, 1e-12)
        assert profile[lag:].sum() > 0.9 and profile[lag] > 0.5


# --- tree search -----------------------------------------------------------------------------------

def test_rewards_on_the_path_are_counted():
    """All reward comes with the first action: a search that credits rollouts only sees none of it."""
    def step(s, a):
        return s + 1, (0.0, 2.0, 1.0)[a] if s == 0 else 0.0
    a, means = N.uct(step, 0, 3, 5, 60, 0.5, 2, N.uniforms(0))
    assert a == 1 and means == {0: 0.0, 1: 2.0, 2: 1.0}


@pytest.mark.parametrize("m", [1, 3])
def test_every_step_up_to_the_horizon_is_counted_once(m):
    _, means = N.uct(lambda s, a: (s + 1, 10.0**s), 0, 2, m, 30, 0.5, 1, N.uniforms(1))
    close(list(means.values()), [sum(10.0**i for i in range(m))] * 2, 1e-12)


def test_search_finds_a_delayed_reward():
    def step(s, a):
        return (s + 1 if a == 0 else 0), float(s == 3 and a == 0)
    assert all(N.uct(step, 0, 2, 4, 200, 0.5, 1, N.uniforms(i))[0] == 0 for i in range(5))


def test_grid_world():
    assert N.target(0, 2) == 0 and N.target(0, 0) == 1 and N.target(6, 0) == 6 and N.target(24, 1) == 24
    step = N.grid_model(lambda: 0.9)
    assert step(19, 1) == (24, 0.98) and step(22, 0) == (23, -1.02) and step(24, 0) == (24, 0.0)
    assert N.grid_model(lambda: 0.05)(0, 1) == (0, -0.02)  # goes astray: 0.05 is move 2, into the wall
    value, best = np.zeros(25), N.grid_optimum()
    goes = [[N.target(c, a) for a in range(4)] for c in range(25)]
    for _ in range(N.STEPS):                                        # a second dynamic program, cell by cell
        old = value.copy()
        for c in range(25):
            if c not in (23, 24):
                pay = [(1 if g == 24 else -1 if g == 23 else 0) - 0.02 + old[g] for g in goes[c]]
                value[c] = 0.9 * max(pay) + 0.1 * sum(pay) / 4
    close(best, value[0], 1e-12)
    assert N.greedy(23 - 5, N.uniforms(0)) in range(4)
    assert N.episode(lambda cell: 0 if cell < 4 else 1, lambda: 0.9) == pytest.approx(1 - 8 * 0.02)


# --- environments and agents -----------------------------------------------------------------------

def test_coin_and_maze():
    act = N.coin(lambda: 0.69)
    assert act(1) == (1, 1) and act(0) == (1, 0)
    act = N.maze(lambda: 0.99)                                      # starts in cell 3
    assert [act(a) for a in (1, 0, 0, 0, 0, 1, 1)] == [(0, r) for r in (0, 1, 0, 0, 0, 0, 1)]


def test_rock_paper_scissors():
    act = N.rps(lambda: 0.1)                                        # at random always rock
    assert act(2) == (0, 0)                                         # scissors lose: he repeats rock
    assert act(1) == (0, 2) and act(0) == (0, 1)
    act = N.rps(lambda: 0.9)                                        # at random always scissors
    assert act(0) == (2, 2) and act(1) == (2, 0) and act(2) == (2, 1)
    wins = {(0, 2), (1, 0), (2, 1)}
    for o in range(3):
        for a in range(3):
            code = N.rps(lambda o=o: (o + 0.5) / 3)(a)[1]
            assert code == (2 if (a, o) in wins else 1 if a == o else 0)


def test_tiger():
    act = N.tiger(lambda: 0.5)                                      # door 1 hides it, hearing is right
    assert act(0) == (2, 1) and act(1) == (0, 2) and act(2) == (0, 0)
    source = random.Random(0)
    for lead in (1, 2, 3):
        act, total, cycles = N.tiger(source.random), 0.0, 0
        for _ in range(6000):
            ahead = 0
            while abs(ahead) < lead:
                ahead += 2 * act(0)[0] - 3
                total, cycles = total - 1, cycles + 1
            total, cycles = total + (-100, -1, 10)[act(1 if ahead > 0 else 2)[1]], cycles + 1
        assert abs(total / cycles - N.tiger_value(lead)) < 1.0, lead


def test_the_agent_learns_what_depends_on_the_past():
    env = {"make": lambda draw: N.maze(draw), "actions": 2, "abits": 1, "obits": 0, "rewards": (0, 1)}
    r, trees = N.mc_aixi(env, 500, lambda t: 1.0 - t / 300, N.uniforms(9), D=8, m=3, sims=40)
    assert r.shape == (500,) and r[400:].mean() > 0.4 and len(trees) == 1


def test_q_learning_by_hand():
    """Counting: after one try of each, the mean reward of an action decides."""
    env = {"make": lambda draw: lambda a: (0, a), "actions": 2, "abits": 1, "obits": 1, "rewards": (0, 1)}
    assert N.q_learning(env, 200, lambda t: 0.0, N.uniforms(3))[100:].min() == 1
    back = {"make": lambda draw: alternate(), "actions": 2, "abits": 1, "obits": 1, "rewards": (0, 1)}
    blind = N.q_learning(back, 3000, lambda t: 1 - t / 2000, N.uniforms(4), 0, 0.1, 0.5)
    seeing = N.q_learning(back, 3000, lambda t: 1 - t / 2000, N.uniforms(4), 0b100, 0.1, 0.5)
    assert seeing[2000:].mean() > 0.95 > blind[2000:].mean()


def alternate():
    last = 0

    def act(a):
        nonlocal last
        r, last = int(a != last), a
        return 0, r
    return act


def evaluate(tokens, values):
    """Value of a Polish expression and the tokens that follow it."""
    head, rest = tokens[0], tokens[1:]
    if head == "~":
        x, rest = evaluate(rest, values)
        return 1 - x, rest
    if head in "&^":
        x, rest = evaluate(rest, values)
        y, rest = evaluate(rest, values)
        return (x & y if head == "&" else x ^ y), rest
    return values[head], rest


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_expressions_are_all_polish_expressions(n):
    """Of all sequences of n tokens, those that are one expression and nothing more."""
    inputs = [{x: i >> k & 1 for k, x in enumerate("aboqc")} for i in range(32)]
    tables = []
    for tokens in product("aboqc&^~", repeat=n):
        try:
            results = [evaluate(tokens, values) for values in inputs]
        except IndexError:                             # it ends too early
            continue
        if not results[0][1]:
            tables.append(sum(bit << i for i, (bit, _) in enumerate(results)))
    assert sorted(tables) == sorted(N.expressions(n))


def test_the_prior_is_complete():
    """Mass of all pairs grows towards 1 and never beyond; two and three tokens hold 48.8 per cent."""
    mass = [0.0, 5 / 8]
    for n in range(2, 600):
        mass.append(mass[n - 1] / 8 + sum(mass[i] * mass[n - 1 - i] for i in range(1, n - 1)) / 4)
    assert 0.9 < sum(mass[:10]) < 1
    close(sum(mass), 1.0, 1e-12)
    close(mass[3], len(N.expressions(3)) / 8**3, 1e-14)
    assert sum(sum(N.environments(n).values()) for n in (2, 3)) == 0.48828125
    assert [len(N.environments(n)) for n in (2, 3, 4)] == [25, 50, 260]


def test_exact_values_against_all_policies_and_simulation():
    T = N.TRUTH
    programs = [(T["b"], T["a"]), (T["c"], T["o"]), (T["a"], T["a"] ^ T["b"]), (T["q"], T["c"])]
    best, chance, zeros, ones = N.exact_values(programs, 4)
    for j, pair in enumerate(programs):
        returns = []
        for actions in product((0, 1), repeat=4):
            mean = 0.0
            for flips in product((0.1, 0.9), repeat=4):
                act = N.program_env(*pair)["make"](iter(flips).__next__)
                mean += sum(act(a)[1] for a in actions) / 4 / 16
            returns.append(mean)
        close([chance[j], zeros[j], ones[j]], [np.mean(returns), returns[0], returns[-1]], 1e-12)
        assert best[j] >= max(returns) - 1e-12
    close([best[0], best[2], best[3]], [1, 1, 0.5], 1e-12)
    close(best[1], 0.375, 1e-12)                       # the last observation is a coin, 0 before the first


def test_reward_in_a_program_environment_sees_this_action_and_the_last():
    T = N.TRUTH
    act = N.program_env(T["a"], T["b"])["make"](lambda: 0.9)
    assert [act(a) for a in (1, 0, 1)] == [(1, 0), (0, 1), (1, 0)]
    act = N.program_env(T["a"], T["q"])["make"](lambda: 0.9)
    assert [act(a)[1] for a in (1, 0, 0, 1)] == [0, 0, 1, 0]


def test_constant_actions_are_enough_up_to_three_tokens_and_not_with_four():
    for n, enough in ((2, True), (3, True), (4, False)):
        best, _, zeros, ones = N.exact_values(list(N.environments(n)), 60)
        assert np.allclose(best, np.maximum(zeros, ones)) == enough


def test_upsilon_share_by_hand():
    W, low, high = np.array([0.5, 0.25]), np.array([0.0, 0.5]), np.array([1.0, 1.0])
    close(N.upsilon_share(low, W, low, high), 0.0, 1e-14)
    close(N.upsilon_share(high, W, low, high), 1.0, 1e-14)
    close(N.upsilon_share(np.array([0.5, 0.5]), W, low, high), 0.4, 1e-14)


# --- self-improvement and takeoff ------------------------------------------------------------------

def test_variations_change_one_setting_within_bounds():
    for seed in range(20):
        for s in N.variations(N.BORN, N.uniforms(seed)):
            assert sum(s[k] != N.BORN[k] for k in N.BORN) == 1 and s.keys() == N.BORN.keys()
            assert 0 < s["lr"] <= 1 and 0 <= s["gamma"] < 1 and 1 <= s["tau"] <= 300


def test_measured_is_reproducible_and_sees_improvement():
    programs = list(N.environments(2))
    good = N.BORN | {"sees": 0b110, "lr": 0.3, "tau": 10.0}
    a, b = N.measured(N.BORN, programs, 2, 1), N.measured(good, programs, 2, 1)
    close(N.measured(N.BORN, programs, 2, 1), a, 1e-15)
    assert b.mean() > a.mean() + 0.05


@pytest.mark.parametrize("p, top", [(0, math.inf), (1, math.inf), (2, math.inf), (1, 3.0)])
def test_takeoff_models_grow_and_obey_their_equation(p, top):
    t = np.linspace(0, 2, 2001)
    I = N.integrate(0.8, 0.3, p, top, t)
    close(I, N.solution(t, 0.8, 0.3, p, top), 1e-10)
    slope = np.gradient(I, t)[1:-1]
    close(slope, 0.3 * I[1:-1]**p * (1 - I[1:-1] / top), 1e-6)
    assert (np.diff(I) > 0).all()                      # no improvement factor is negative


# --- bad input -------------------------------------------------------------------------------------

COIN = {"make": N.coin, "actions": 2, "abits": 1, "obits": 1, "rewards": (0, 1)}


@pytest.mark.parametrize("call, value", [
    (lambda: N.run_forever("", 4, 9), "''"), (lambda: N.run_forever("x", 4, 9), "'x'"),
    (lambda: N.run_forever("[", 4, 9), r"'\['"), (lambda: N.run_forever("][", 4, 9), r"'\]\['"),
    (lambda: N.run_forever(".", 0, 9), "0"), (lambda: N.run_forever(".", 4, -1), "-1"),
    (lambda: N.mixture_predictions([[0, 2]], [1.0]), "2"),
    (lambda: N.mixture_predictions([[0]], [0.0]), "0.0"), (lambda: N.mixture_predictions([[]], [1.0]), "0"),
    (lambda: N.mixture_predictions([[0], [1]], [1.0]), "2"),
    (lambda: N.frequency_predictions([]), r"\[\[\]\]"), (lambda: N.pattern_class(0, 9), "0"),
    (lambda: N.ctw_update(N.new_node(), 0, 2, 2), "2"), (lambda: N.ctw_probability([], 2), r"\[\]"),
    (lambda: N.ctw_probability([0, 1, 7], 2), "7"), (lambda: N.ctw_probability([0], -1), "-1"),
    (lambda: N.uct(None, 0, 2, 3, 0, 1, 1, None), "0"), (lambda: N.uct(None, 0, 2, 0, 3, 1, 1, None), "0"),
    (lambda: N.mc_aixi(COIN, 0, None, None), "0"), (lambda: N.q_learning(COIN, -3, None, None), "-3"),
    (lambda: N.q_learning(COIN, 9, None, None, 0, 1.5), "1.5"), (lambda: N.expressions(0), "0"),
    (lambda: N.exact_values([(0, 0)], 0), "0"), (lambda: N.examined(None, [(0, 0)], 0), "0"),
    (lambda: N.measured(N.BORN, [(0, 0)], 0), "0"), (lambda: N.integrate(0.0, 1.0, 1, 2.0, [0, 1]), "0.0"),
    (lambda: N.integrate(1.0, -2.0, 1, 2.0, [0, 1]), "-2.0")])
def test_bad_input_is_refused_by_name(call, value):
    with pytest.raises(ValueError, match=f"{value}.*: expected"):
        call()


# --- exercises -------------------------------------------------------------------------------------

EXERCISES = Exercises(space=lambda: classroom(24), wrong=(
    ("laplace = lambda x: ctw_probability(x, 0)[0]", 0),
    ("laplace = lambda x: 2.0 ** -len(x)", 0),
    ("with_twins = lambda programs: programs", 1),
    ("with_twins = lambda p: {**p, **{(f, k ^ 0xFFFFFFFF): m for (f, k), m in p.items()}}", 1)))


def test_solution_four_restores_the_tree():
    space = classroom(24)
    for code in exercise_parts(24)[0]:
        exec(code, space)
    root, twin = N.new_node(), N.new_node()
    for t in range(40):
        for tree in (root, twin):
            N.ctw_update(tree, 11 * t, 6, t % 3 // 2)
    journals = [space["learn"](root, 7 * t, 6, t % 2) for t in range(9)]
    assert root[0] + root[1] == 49 and root != twin
    for journal in reversed(journals):
        space["forget"](journal)
    assert root == twin


def test_solution_three_measures_upsilon():
    space = classroom(24)
    for code in exercise_parts(24)[0]:
        exec(code, space)
    few, = space["upsilon_by_budget"]((2,), T=20)
    assert -1 < few < 1
