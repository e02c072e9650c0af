"""Notebook 08: Read-Process-Write and the star model against PyTorch, invariance, data, exercises."""

import itertools
import json
import re

import numpy as np
import pytest

from tests import support
from tests.support import Exercises, close, close_dicts, definitions, exercise_parts, golden, part
from tools import notebook
from tools.catalogue import ROOT, load

N = definitions(8)
CASES = golden("08")
MODELS = {"none": dict(n_steps=0), "one": dict(glimpse=True), "three": dict(n_steps=3, glimpse=True),
          "mean": dict(n_steps=2, pool="mean"), "max": dict(n_steps=2, pool="max", glimpse=True),
          "sum": dict(n_steps=2, pool="sum"), "sequence": dict(encoder="sequence", glimpse=True),
          "answer": dict(encoder="answer")}


# --- what the mutation test breaks -----------------------------------------------------------------

def check_read_backward(space):
    case = CASES["read"]
    m, cache = space.read_forward(case["x"], part(case, "P."))
    close(m, case["m"], 1e-13, "m")
    dx, G = space.read_backward(case["up.m"], cache)
    close(dx, case["dx"], 1e-12, "dx")
    close_dicts(G, part(case, "G."), 1e-12)


def check_softmax_backward(space):
    case = CASES["softmax"]
    close(space.softmax(case["z"]), case["p"], 1e-14, "p")
    close(space.softmax_backward(case["up.p"], case["p"]), case["dz"], 1e-13, "dz")


def check_attend_backward(space):
    case = CASES["pool.attention"]
    r, cache = space.attend_forward(case["m"], case["q"])
    close(r, case["r"], 1e-13, "r")
    dm, dq = space.attend_backward(case["up.r"], cache)
    close(dm, case["dm"], 1e-12, "dm")
    close(dq, case["dq"], 1e-12, "dq")


def check_pool_backward(space):
    for pool in space.POOLS:
        case = CASES[f"pool.{pool}"]
        r, cache = space.pool_forward(case["m"], case["q"], pool)
        close(r, case["r"], 1e-13, pool)
        dm, dq = space.pool_backward(case["up.r"], cache, pool)
        close(dm, case["dm"], 1e-12, f"{pool}: dm")
        close(dq, case["dq"], 1e-12, f"{pool}: dq")


def check_gates_backward(space):
    case = CASES["gates"]
    h, c, cache = space.gates_forward(case["z"], case["c"])
    close(h, case["h"], 1e-13, "h")
    close(c, case["c_new"], 1e-13, "c")
    dz, dc = space.gates_backward(case["up.h"], case["up.c_new"], cache)
    close(dz, case["dz"], 1e-12, "dz")
    close(dc, case["dc"], 1e-12, "dc")


def check_process_backward(space):
    for pool in space.POOLS:
        case = CASES[f"process.{pool}"]
        q_star, cache = space.process_forward(case["m"], part(case, "P."), 3, pool)
        close(q_star, case["q_star"], 1e-12, pool)
        dm, G = space.process_backward(case["up.q_star"], cache)
        close(dm, case["dm"], 1e-11, f"{pool}: dm")
        close_dicts(G, part(case, "G."), 1e-11)


def check_start_backward(space):
    case = CASES["start"]
    (h, c), cache = space.start_forward(case["q_star"], part(case, "P."))
    close(h, case["h"], 1e-13, "h")
    close(c, case["c"], 1e-13, "c")
    dq_star, G = space.start_backward((case["up.h"], case["up.c"]), cache)
    close(dq_star, case["dq_star"], 1e-12, "dq_star")
    close_dicts(G, part(case, "G."), 1e-12)


def check_lstm_backward(space):
    case = CASES["lstm"]
    hs, (h, c), cache = space.lstm_forward(case["X"], (case["h"], case["c"]), part(case, "P."), "dec")
    for name, value in {"hs": hs, "h_T": h, "c_T": c}.items():
        close(value, case[name], 1e-12, name)
    dX, (dh, dc), G = space.lstm_backward(case["up.hs"], (case["up.h_T"], case["up.c_T"]), cache)
    for name, value in {"X": dX, "h": dh, "c": dc}.items():
        close(value, case[f"d{name}"], 1e-11, f"d{name}")
    close_dicts(G, part(case, "G."), 1e-11)


def check_feed_backward(space):
    """The answers repeat elements: one memory collects several gradients."""
    case = CASES["feed"]
    fed, cache = space.feed_forward(case["m"], case["Y"], part(case, "P."))
    close(fed, case["fed"], 1e-14, "fed")
    dm, G = space.feed_backward(case["up.fed"], cache)
    close(dm, case["dm"], 1e-13, "dm")
    close_dicts(G, part(case, "G."), 1e-13)


def check_reader(case, run, backward, out):
    """A function of m and d with parameters of its own."""
    y, cache = run(case["m"], case["d"], part(case, "P."))
    close(y, case[out], 1e-12, out)
    dm, dd, G = backward(case[f"up.{out}"], cache)
    close(dm, case["dm"], 1e-11, "dm")
    close(dd, case["dd"], 1e-11, "dd")
    close_dicts(G, part(case, "G."), 1e-11)


def check_score_backward(space):
    check_reader(CASES["score"], lambda m, d, P: space.score_forward(m, d, P, "point"),
                 space.score_backward, "u")


def check_glimpse_backward(space):
    check_reader(CASES["glimpse"], space.glimpse_forward, space.glimpse_backward, "both")


def check_pointer_backward(space):
    check_reader(CASES["pointer"], space.pointer_forward, space.pointer_backward, "u")
    check_reader(CASES["score"], space.pointer_forward, space.pointer_backward, "u")  # no glimpse


def check_encode_backward(space):
    for name, options in MODELS.items():
        case, cfg = CASES[f"encode.{name}"], space.Config(**options)
        keys, (h, c), cache = space.encode_forward(case["x"], case["m"], part(case, "P."), cfg)
        for what, value in {"keys": keys, "h": h, "c": c}.items():
            close(value, case[what], 1e-12, f"{name}: {what}")
        dm, G = space.encode_backward(case["up.keys"], (case["up.h"], case["up.c"]), cfg, cache)
        close(dm, case["dm"], 1e-11, f"{name}: dm")
        close_dicts(G, part(case, "G."), 1e-11)


def check_sorter_backward(space):
    for name, options in MODELS.items():
        case = CASES[name]
        u, cache = space.sorter_forward(case["x"], case["Y"], part(case, "P."), space.Config(**options))
        close(u, case["u"], 1e-12, f"{name}: u")
        close_dicts(space.sorter_backward(case["du"], cache), part(case, "G."), 1e-11, f"{name}: gradient of")


def check_loss_backward(space):
    for name in MODELS:
        case = CASES[name]
        loss, cache = space.loss_forward(case["u"], case["Y"])
        close(loss, case["loss"], 1e-13, "loss")
        close(space.loss_backward(cache), case["du"], 1e-14, "du")


def check_star_backward(space):
    for name in ("star", "hinted"):
        case = CASES[name]
        u, cache = space.star_forward(case["x"], case["order"], part(case, "P."), case.get("hint"))
        close(u, case["u"], 1e-12, f"{name}: u")
        close_dicts(space.star_backward(case["du"], cache), part(case, "G."), 1e-11)


CHECKS = {f"{name}_backward": globals()[f"check_{name}_backward"] for name in (
    "read", "softmax", "attend", "pool", "gates", "process", "start", "lstm", "feed", "score", "glimpse",
    "pointer", "encode", "sorter", "loss", "star")}


@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_of_whole_sorters(name):
    case = CASES[name]
    loss, G = N.sorter_gradients(part(case, "P."), case["x"], case["Y"], N.Config(**MODELS[name]))
    close(loss, case["loss"], 1e-12)
    close_dicts(G, part(case, "G."), 1e-11)


@pytest.mark.parametrize("name", ["star", "hinted"])
def test_loss_and_gradients_of_the_star_model(name):
    case = CASES[name]
    loss, G = N.star_gradients(part(case, "P."), case["x"], case["order"], case.get("hint"))
    close(loss, case["loss"], 1e-12)
    close_dicts(G, part(case, "G."), 1e-11)


# --- gradients, by differences ---------------------------------------------------------------------

def random_sorter(seed=0, n=5, dtype=np.float64, **options):
    rng, cfg = np.random.default_rng(seed), N.Config(**options)
    P = {k: (p + 0.3 * rng.normal(size=p.shape)).astype(dtype)
         for k, p in N.init_sorter(rng, cfg, 6, 4, n, dtype=np.float64).items()}
    x = rng.normal(size=(4, n)).astype(dtype)
    return x, x.argsort(1), P, cfg


@pytest.mark.parametrize("options", [
    {"n_steps": 4}, {"n_steps": 2, "pool": "max", "glimpse": True}, {"n_steps": 0, "glimpse": True},
    {"encoder": "sequence", "glimpse": True}, {"encoder": "answer", "glimpse": True}], ids=str)
def test_gradients_of_every_configuration(options):
    x, Y, P, cfg = random_sorter(**options)
    N.grad_check(lambda: N.sorter_gradients(P, x, Y, cfg)[0], P, N.sorter_gradients(P, x, Y, cfg)[1],
                 np.random.default_rng(1), n=5)


def test_one_step_leaves_the_matrix_of_the_process_lstm_without_a_gradient():
    x, Y, P, cfg = random_sorter(n_steps=1)
    G = N.sorter_gradients(P, x, Y, cfg)[1]
    assert not G["proc.W"].any() and G["proc.b"].any()
    other = P | {"proc.W": 5 * P["proc.W"]}
    assert N.sorter_gradients(other, x, Y, cfg)[0] == N.sorter_gradients(P, x, Y, cfg)[0]


@pytest.mark.parametrize("options", [{"n_steps": 2, "glimpse": True}, {"encoder": "sequence"}], ids=str)
def test_gradients_keep_names_shapes_and_dtype(options):
    x, Y, P, cfg = random_sorter(dtype=np.float32, **options)
    before, x_before = {k: v.copy() for k, v in P.items()}, x.copy()
    _, G = N.sorter_gradients(P, x, Y, cfg)
    assert G.keys() == P.keys() and np.array_equal(x, x_before)
    for k, g in G.items():
        assert g.shape == P[k].shape and g.dtype == np.float32, k
        assert np.array_equal(P[k], before[k]), f"{k} was written to"
    exact = N.sorter_gradients({k: p.astype(float) for k, p in P.items()}, x.astype(float), Y, cfg)[1]
    close_dicts({k: g.astype(float) for k, g in G.items()}, exact, 1e-4)


def test_star_gradients_keep_dtype():
    rng = np.random.default_rng(0)
    P, x = N.init_star(rng, n_hint=3), rng.integers(8, size=(5, 9))
    _, G = N.star_gradients(P, x, np.arange(9), rng.normal(size=(5, 9, 3)))
    assert G.keys() == P.keys()
    assert all(g.dtype == np.float32 and g.shape == P[k].shape for k, g in G.items())


# --- order of the input ----------------------------------------------------------------------------

def rewrite_deviation(options, seed=0, n=6):
    x, _, P, cfg = random_sorter(seed, n, **options)
    return N.deviation(x, P, cfg, np.random.default_rng(seed))


@pytest.mark.parametrize("glimpse", [False, True])
@pytest.mark.parametrize("options", [{"n_steps": 0}, {"n_steps": 1}, {"n_steps": 4}, {"encoder": "answer"},
                                     *({"n_steps": 3, "pool": p} for p in ("mean", "sum", "max"))], ids=str)
def test_set_networks_are_invariant_with_any_parameters(options, glimpse):
    for seed in range(3):
        assert rewrite_deviation(options | {"glimpse": glimpse}, seed) < 1e-12


def test_the_lstm_encoder_is_not():
    assert rewrite_deviation({"encoder": "sequence"}) > 1e-2


def test_pools_are_invariant_and_what_their_names_say():
    rng = np.random.default_rng(3)
    m, q = rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 3))
    for pool in N.POOLS:
        close(N.pool_forward(m[:, ::-1], q, pool)[0], N.pool_forward(m, q, pool)[0], 1e-14, pool)
    close(N.pool_forward(m, q, "sum")[0], 5 * N.pool_forward(m, q, "mean")[0], 1e-14)
    close(N.pool_forward(m, q, "max")[0], m.max(1), 0)
    close(N.pool_forward(m, 0 * q, "attention")[0], m.mean(1), 1e-14)
    far = N.pool_forward(m, 1e4 * q, "attention")[0]
    close(far, m[np.arange(2), (m @ q[..., None])[..., 0].argmax(1)], 1e-12)


def test_the_first_query_is_the_same_for_all_sets():
    x, _, P, _ = random_sorter(n_steps=3)
    _, (_, steps, _, _) = N.process_forward(N.read_forward(x, P)[0], P, 3)
    queries = [c_pool[1] for _, _, c_pool in steps]
    assert np.ptp(queries[0], axis=0).max() == 0 and np.ptp(queries[1], axis=0).max() > 1e-3


def test_sets_of_a_batch_do_not_mix():
    x, Y, P, cfg = random_sorter(n_steps=3, glimpse=True)
    whole = N.sorter_forward(x, Y, P, cfg)[0]
    for b in range(len(x)):
        close(N.sorter_forward(x[b:b + 1], Y[b:b + 1], P, cfg)[0], whole[b:b + 1], 1e-13)


def test_scores_do_not_depend_on_later_answers():
    x, Y, P, cfg = random_sorter(n_steps=2, glimpse=True)
    other = Y.copy()
    other[:, -2:] = other[:, -2:][:, ::-1]
    before, after = (N.sorter_forward(x, y, P, cfg)[0] for y in (Y, other))
    close(after[:, :-1], before[:, :-1], 1e-14)
    assert abs(after[:, -1] - before[:, -1]).max() > 1e-6


@pytest.mark.parametrize("options", [{"n_steps": 2, "glimpse": True}, {"encoder": "sequence"}], ids=str)
def test_decoding_is_fed_its_own_answers(options):
    x, _, P, cfg = random_sorter(5, **options)
    answer = N.decode(x, P, cfg)
    assert answer.shape == x.shape
    assert np.array_equal(N.sorter_forward(x, answer, P, cfg)[0].argmax(-1), answer)


def test_no_parameter_knows_the_size_of_the_set():
    x, _, P, cfg = random_sorter(n_steps=2, glimpse=True)
    for n in (2, 9):
        assert N.decode(np.random.default_rng(n).normal(size=(3, n)), P, cfg).shape == (3, n)


def test_rewritten_and_consistency():
    x = np.random.default_rng(0).normal(size=(50, 4))
    x_new, order = N.rewritten(x, np.random.default_rng(1))
    assert np.array_equal(np.sort(x_new, 1), np.sort(x, 1)) and not np.array_equal(x_new, x)
    assert np.array_equal(np.take_along_axis(x, order, 1), x_new)
    for options, all_same in (({"n_steps": 2}, True), ({"encoder": "sequence"}, False)):
        _, _, P, cfg = random_sorter(1, 4, **options)
        found = N.consistency(x, P, cfg, np.random.default_rng(2))
        assert (found == 1) == all_same and found * 50 == round(found * 50)


def test_fast_scores_are_the_scores_by_pairs():
    case = CASES["score"]
    u, _ = N.score_forward(case["m"], case["d"], part(case, "P."), "point")
    for b in range(len(u)):
        close(N.score_by_pairs(case["m"][b], case["d"][b], part(case, "P."), "point"), u[b], 1e-13)


# --- data and measures -----------------------------------------------------------------------------

def test_set_batch():
    x, Y = N.set_batch(np.random.default_rng(0), 200, 6)
    assert x.shape == Y.shape == (200, 6) and x.dtype == np.float32 and abs(x).max() <= 2
    assert (np.diff(np.take_along_axis(x, Y, 1)) > 0).all() and abs(x.mean()) < 0.1
    with pytest.raises(ValueError, match="sets of 1: expected at least 2"):
        N.set_batch(np.random.default_rng(0), 4, 1)


def test_integers_are_different():
    v = N.integers(np.random.default_rng(0), 300)
    assert v.shape == (300, 5) and v.min() == 0 and v.max() == 99
    assert (np.diff(np.sort(v, 1), axis=1) > 0).all()
    for descending in (True, False):
        x, Y = N.integer_batch(np.random.default_rng(0), descending)
        assert x.dtype == np.float32 and (np.diff(np.take_along_axis(x, Y, 1)) > 0).all()
        assert (np.diff(x, axis=1) < 0).all() == descending
        assert (Y == np.arange(4, -1, -1)).all() == descending  # what the trapped network learns


def test_ranks_and_exactly_count_each_set_once():
    x = np.array([[0.3, 0.1, 0.2], [1.0, 2.0, 3.0]])
    assert N.ranks(x, np.array([[1, 2, 0], [2, 2, 0]])).tolist() == [[0, 1, 2], [2, 2, 0]]
    right = N.exactly(x, np.array([[1, 2, 0], [0, 1, 1]]))
    assert right.tolist() == [True, False] and right.mean() == 0.5


@pytest.mark.parametrize("numbers", [[[1, 2, -1]], [[1, 2, 100]], [[1.0, 2.0, 2.5]], [[1, 2, 3], [4, 5, 4]]])
def test_sort_integers_refuses_other_and_repeated_numbers(numbers):
    _, _, P, cfg = random_sorter()
    with pytest.raises(ValueError, match=re.escape(f"{numbers}: expected different integers 0..99")):
        N.sort_integers(numbers, P, cfg)


def test_sort_integers_answers_with_its_input():
    _, _, P, cfg = random_sorter()
    answer = N.sort_integers([[31, 7, 64, 92, 15]], P, cfg)
    assert answer.shape == (1, 5) and set(answer[0]) <= {31, 7, 64, 92, 15}


@pytest.mark.parametrize("shape", [(3, 0), (4,)])
def test_empty_sets_are_refused(shape):
    _, _, P, cfg = random_sorter(n=4)
    with pytest.raises(ValueError, match=re.escape(f"sets of shape {shape}: expected (B, n)")):
        N.decode(np.zeros(shape), P, cfg)


def test_bad_configurations_are_refused():
    with pytest.raises(ValueError, match="encoder 'tree'"):
        N.Config(encoder="tree")
    with pytest.raises(ValueError, match="-1 process steps"):
        N.Config(n_steps=-1)
    with pytest.raises(ValueError, match="pool 'median': expected one of"):
        N.pool_forward(np.zeros((1, 2, 3)), None, "median")


def test_conditionals_against_enumeration():
    """Every order of a small star; the joint distribution of all 27 outcomes by hand."""
    table = N.star_table(np.random.default_rng(0), n_leaves=2, V=3)
    x = np.array(list(itertools.product(range(3), repeat=3)))
    joint = (table[0][x[:, 0], x[:, 1]] * table[1][x[:, 0], x[:, 2]] / 3).reshape(3, 3, 3)
    for order in itertools.permutations(range(3)):
        log_p, belief = N.conditionals(table, x, order)
        assert log_p.shape == (27, 3) and belief.shape == (27, 3, 3)
        close(np.exp(log_p.sum(1)), joint.ravel(), 1e-13)
        for t in range(3):
            said = joint.sum(axis=tuple(v for v in range(3) if v not in order[:t + 1]), keepdims=True)
            before = joint.sum(axis=tuple(v for v in range(3) if v not in order[:t]), keepdims=True)
            close(np.exp(log_p[:, t]), np.broadcast_to(said / before, (3, 3, 3)).ravel(), 1e-12)
        known = [v for v in order[:-1] if v]
        at_end = joint.sum(axis=tuple(v for v in (1, 2) if v not in known), keepdims=True)
        at_end = np.broadcast_to(at_end / at_end.sum(0), (3, 3, 3))
        if order[-1] == 0:
            close(belief[:, -1, 1], np.tile(at_end[1].ravel(), 3), 1e-12, "posterior")
        else:
            close(belief[:, -1], np.eye(3)[x[:, 0]], 1e-12, "posterior")


@pytest.mark.parametrize("order", [[0, 1], [0, 1, 1], [0, 1, 3], [1, 2, 3]])
def test_conditionals_refuse_what_is_no_order(order):
    with pytest.raises(ValueError, match="expected each of 0 to 2 once"):
        N.conditionals(N.star_table(np.random.default_rng(0), 2, 3), np.zeros((1, 3), int), order)


def test_star_batch_follows_its_table():
    table = N.star_table(np.random.default_rng(1), n_leaves=2, V=4)
    close(table.sum(-1), np.ones((2, 4)), 1e-12)
    x = N.star_batch(np.random.default_rng(2), table, 40_000)
    assert x.shape == (40_000, 3) and x.min() == 0 and x.max() == 3
    close(np.bincount(x[:, 0]) / 40_000, np.full(4, 0.25), 0.02)
    for leaf in range(2):
        counts = np.zeros((4, 4))
        np.add.at(counts, (x[:, 0], x[:, leaf + 1]), 1)
        close(counts / counts.sum(1, keepdims=True), table[leaf], 0.03)


def test_excess_of_the_true_model_is_zero_and_of_others_positive():
    """A star model that knows nothing has the excess of the uniform distribution."""
    table = N.star_table(np.random.default_rng(1))
    x, order = N.star_batch(np.random.default_rng(2), table, 3000), np.arange(9)
    log_p = N.conditionals(table, x, order)[0]
    P = N.init_star(np.random.default_rng(0), dtype=np.float64)
    silent = P | {"out.W": 0 * P["out.W"]}
    close(N.star_excess(silent, x, order, log_p), log_p.mean(0) + np.log(8), 1e-12)
    assert N.star_excess(silent, x, order, log_p).sum() > 1
    close(N.star_excess(silent, x, order, np.full((3000, 9), -np.log(8))), np.zeros(9), 1e-12)


def test_star_model_does_not_see_what_it_predicts():
    rng = np.random.default_rng(0)
    P, x, order = N.init_star(rng, dtype=np.float64), rng.integers(8, size=(4, 9)), rng.permutation(9)
    before = N.star_forward(x, order, P)[0]
    for t in range(9):
        other = x.copy()
        other[:, order[t]] = (other[:, order[t]] + 1) % 8
        changed = abs(N.star_forward(other, order, P)[0] - before).max((0, 2)) > 0
        assert changed.tolist() == [s > t for s in range(9)]


def test_read_out_finds_what_is_linear():
    rng = np.random.default_rng(0)
    Q, W = rng.normal(size=(300, 5)), rng.normal(size=(5, 2))
    noise = 0.1 * rng.normal(size=300)
    V = np.stack([Q @ W[:, 0] + 3, Q @ W[:, 1] + noise], 1)
    first, second = N.read_out(Q[:200], Q[200:], V[:200], V[200:])
    assert first < 1e-3 and 0.07 < second < 0.13


def test_maximum_is_the_last_of_the_sorted():
    x, Y = N.max_batch(np.random.default_rng(5), 40, 6)
    assert x.shape == (40, 6) and Y.shape == (40, 1)
    assert np.array_equal(np.take_along_axis(x, Y, 1)[:, 0], x.max(1))


def test_one_output_step_of_any_set_size():
    """The maximum needs one step, and its gradients are those of the same sorter cut short."""
    x, Y, P, cfg = random_sorter(n=7, n_steps=1)
    u, _ = N.sorter_forward(x, Y, P, cfg)
    short, _ = N.sorter_forward(x, Y[:, :1], P, cfg)
    close(short, u[:, :1], 1e-12)
    assert np.array_equal(N.decode(x, P, cfg)[:, 0], short[:, 0].argmax(1))


# --- training --------------------------------------------------------------------------------------

def test_fresh_networks_are_matched():
    def size(**options):
        return sum(p.size for p in N.init_sorter(np.random.default_rng(0), N.Config(**options)).values())
    assert len({size(), size(n_steps=3), *(size(pool=p) for p in N.POOLS)}) == 1
    assert size(n_steps=0) < size() < size(glimpse=True)
    P = N.init_sorter(np.random.default_rng(0), N.Config(glimpse=True))
    assert all(p.dtype == np.float32 for p in P.values())
    assert (P["dec.b"].reshape(4, -1)[1] == 1).all() and not P["dec.b"].reshape(4, -1)[[0, 2, 3]].any()


def test_equal_scores_cost_the_logarithm_of_n():
    x, Y, P, cfg = random_sorter(n=7, n_steps=2)
    close(N.sorter_gradients(P | {"point.v": 0 * P["point.v"]}, x, Y, cfg)[0], np.log(7), 1e-12)


def test_training_learns_judges_and_repeats_itself():
    cfg = N.Config(glimpse=True)

    def run(judge=None):
        P = N.init_sorter(np.random.default_rng(0), cfg, 16, 8)
        return N.train(lambda P, x, Y: N.sorter_gradients(P, x, Y, cfg), P,
                       lambda rng: N.set_batch(rng, 16, 3), 0, 100, judge=judge)

    P, curve = run()
    assert len(curve) == 100 and curve[-20:].mean() < 0.7 * curve[:20].mean()
    assert np.array_equal(run()[1], curve)
    asked = []
    P2, judged = run(lambda P: asked.append(1) or len(asked))
    assert judged.tolist() == [1, 2] and all(np.array_equal(P[k], P2[k]) for k in P)


# --- mistakes that others made ---------------------------------------------------------------------

def sweep():
    stored = json.loads((ROOT / "data" / "sweep" / "08.json").read_text(encoding="utf-8"))
    return [{row["claim"]: row["ours"] for row in seed["rows"]} for seed in stored["seeds"].values()]


def test_no_result_is_told_as_so_many_times_better():
    """Elsewhere a comparison was printed as "1.0x better". Here differences are rows with thresholds."""
    nb = notebook.read(load()[0][8].path)
    said = "\n".join([cell.source for cell in nb.cells] + [
        output.get("text", "") for cell in notebook.code_cells(nb) for output in cell.outputs])
    assert not re.search(r"\d\s?x\b|times better", said)
    for row in notebook.record(nb)["rows"]:
        distance = abs(row["ours"] - row["threshold"])
        assert distance > 0.01 or row["threshold"] in (1, 0.998, 1e-9), row["claim"]


def test_pools_are_ranked_only_where_seeds_agree():
    """Attention and mean are not ranked; the maximum is behind by far more than seeds differ."""
    rows = sweep()
    behind = np.array([row["max pool behind attention by"] for row in rows])
    equal = np.array([row["attention and the mean differ by (exact)"] for row in rows])
    assert len(rows) >= 5 and behind.min() > 3 * np.ptp(behind) and behind.min() > 3 * equal.max()
    text = "\n".join(cell.source for cell in notebook.read(load()[0][8].path).cells)
    assert "crown no winner" in text


@pytest.mark.parametrize("count", [1, 7, 33])
def test_shares_are_of_the_sets_that_there_are(count):
    x, _ = N.set_batch(np.random.default_rng(0), count, 4)
    _, _, P, cfg = random_sorter(n=4)
    right = N.exactly(x, x.argsort(1))
    assert right.shape == (count,) and right.mean() == 1
    assert N.consistency(x.astype(float), P, cfg, np.random.default_rng(0)) == 1


# --- exercises -------------------------------------------------------------------------------------

def readers_space():
    """The notebook's globals as a reader has them before the exercises; short runs."""
    space = support.classroom(8)
    rng, config = np.random.default_rng(3), space["Config"]
    train, train_sorter = space["train"], space["train_sorter"]
    table = space["star_table"](rng)
    space |= {"SEED": 0, "rng": rng, "errors": {}, "x_test": space["set_batch"](rng, 60)[0], "table": table,
              "sorters": {"P=1": space["init_sorter"](rng, config())},
              "val": space["star_batch"](rng, table, 50), "test": space["star_batch"](rng, table, 50),
              "HEAD_FIRST": np.arange(9), "HEAD_LAST": np.roll(np.arange(9), -1),
              "SAMPLES": {"fresh samples": (lambda rng: space["star_batch"](rng, table, 8), 50)}}
    space["train"] = lambda *a, **k: train(*a[:4], min(a[4] if len(a) > 4 else 450, 60), *a[5:], **k)
    space["train_sorter"] = lambda cfg, sample: train_sorter(cfg, sample, 2)
    return space


EXERCISES = Exercises(space=readers_space, errors=("soft pool",), wrong=(
    ("place_read = lambda x, P: read_forward(x, P)[0]", 0),
    ("place_read = lambda x, P: read_forward(np.sort(x, 1), P)[0]", 0),
    ("place_read = lambda x, P: read_forward(x, P)[0] + x.mean(1)[:, None, None] * np.arange(8)[:, None]", 0),
    ("soft_pool, soft_pool_backward = lambda m, beta: m.mean(1), "
     "lambda dr, m, beta: np.zeros_like(m) + dr[:, None] / m.shape[1]", 1),
    ("soft_pool = lambda m, beta: np.log(np.exp(beta * m).mean(1)) / beta; "
     "soft_pool_backward = lambda dr, m, beta: softmax(m.swapaxes(1, 2)).swapaxes(1, 2) * dr[:, None]", 1),
    ("soft_pool = lambda m, beta: np.log(np.exp(beta * m).sum(1)) / beta; soft_pool_backward = lambda dr, m, "
     "beta: softmax(beta * m.swapaxes(1, 2)).swapaxes(1, 2) * dr[:, None]", 1)))


def test_choosing_without_a_warm_up_takes_the_likelier_order():
    classroom = readers_space()
    exec(exercise_parts(8)[0][4].split("chosen = []")[0], classroom)
    P = classroom["init_star"](np.random.default_rng(0), dtype=np.float64)
    x, classroom["chosen"] = classroom["val"][:8], []
    loss, G = classroom["choose_gradients"](P, x, iter(()))
    nll = [N.star_gradients(P, x[b:b + 1], order)[0] * 9 for b in range(8)
           for order in (classroom["HEAD_FIRST"], classroom["HEAD_LAST"])]
    nll = np.reshape(nll, (8, 2))
    close(loss, nll.min(1).mean(), 1e-10)
    assert classroom["chosen"] == [np.mean(nll[:, 0] < nll[:, 1])]
    total = {k: 0.0 for k in P}
    for b in range(8):
        order = classroom["HEAD_FIRST"] if nll[b, 0] < nll[b, 1] else classroom["HEAD_LAST"]
        for k, g in N.star_gradients(P, x[b:b + 1], order)[1].items():
            total[k] = total[k] + g / 8
    close_dicts(G, total, 1e-10)
