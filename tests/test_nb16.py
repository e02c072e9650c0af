"""Notebook 16: the relation network and its controls against PyTorch, tasks, levels, transplants."""

import math
import re
from itertools import product

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

N = definitions(16)
CASES = golden("16")
KINDS = "pairs", "singles", "flat"


# --- what the mutation test breaks -----------------------------------------------------------------

def check_pairs_backward(space):
    for name in ("first_pairs", "first_singles"):
        case = CASES[name]
        h, cache = space.pairs_forward(case["O"], case["q"], part(case, "P."))
        close(h, case["h"], 1e-13, f"{name}: h")
        dO, dq, G = space.pairs_backward(case["up.h"], cache)
        close(dO, case["dO"], 1e-12, f"{name}: dO")
        close(dq, case["dq"], 1e-12, f"{name}: dq")
        close_dicts(G, part(case, "G."), 1e-12)


def check_mlp_backward(space):
    for name in ("mlp", "mlp_relu"):
        case = CASES[name]
        y, cache = space.mlp_forward(case["x"], part(case, "P."), "f", relu_last=name == "mlp_relu")
        close(y, case["y"], 1e-12, f"{name}: y")
        dx, G = space.mlp_backward(case["up.y"], cache)
        close(dx, case["dx"], 1e-12, f"{name}: dx")
        close_dicts(G, part(case, "G."), 1e-12)


def check_model(space, kind, forward, backward):
    case = CASES[kind]
    Y, cache = forward(case["O"], case["q"], part(case, "P."))
    close(Y, case["Y"], 1e-12, f"{kind}: Y")
    dO, dq, G = backward(case["dY"], cache)
    close(dO, case["dO"], 1e-11, f"{kind}: dO")
    close(dq, case["dq"], 1e-11, f"{kind}: dq")
    close_dicts(G, part(case, "G."), 1e-11)


def check_rn_backward(space):
    for kind in ("pairs", "singles"):
        check_model(space, kind, space.rn_forward, space.rn_backward)


def check_flat_backward(space):
    check_model(space, "flat", space.flat_forward, space.flat_backward)


def check_loss_backward(space):
    for kind in KINDS:
        case = CASES[kind]
        loss, cache = space.loss_forward(case["Y"], case["target"])
        close(loss, case["loss"], 1e-13, "loss")
        close(space.loss_backward(cache), case["dY"], 1e-14, "dY")




CHECKS = {f"{name}_backward": globals()[f"check_{name}_backward"]
          for name in ("pairs", "mlp", "rn", "flat", "loss")}


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_of_the_whole_model(kind):
    case = CASES[kind]
    loss, G, dO, dq = N.loss_and_gradients(case["O"], case["q"], case["target"], part(case, "P."))
    close(loss, case["loss"], 1e-12)
    close_dicts(G, part(case, "G."), 1e-11)
    close(dO, case["dO"], 1e-11)
    close(dq, case["dq"], 1e-11)


# --- models ----------------------------------------------------------------------------------------

def small(kind, n=4, seed=0, dtype=np.float64):
    """A model of this kind with random biases, objects, questions and answers."""
    r = rng(seed)
    P = N.init(r, n, 5, 3, 7, (8, 9, 6), (10, 8), kind, np.float64)
    P = {k: (p + 0.1 * r.normal(size=p.shape)).astype(dtype) for k, p in P.items()}
    return (r.normal(size=(6, n, 5)).astype(dtype), r.normal(size=(6, 3)).astype(dtype),
            r.integers(7, size=6), P)


@pytest.mark.parametrize("kind, n", [*product(KINDS, (2, 5)), ("pairs", 1), ("singles", 1)])
def test_gradients_by_differences(kind, n):
    O, q, target, P = small(kind, n)
    _, G, dO, dq = N.loss_and_gradients(O, q, target, P)
    N.grad_check(lambda: N.loss_and_gradients(O, q, target, P)[0], P | {"O": O, "q": q},
                 G | {"O": dO, "q": dq}, rng(1), 1e-4, h=1e-6)


def test_loops_and_products_agree():
    O, q, _, P = small("pairs")
    by_hand = np.stack([N.rn_by_hand(o, question, P) for o, question in zip(O, q, strict=True)])
    close(N.rn_forward(O, q, P)[0], by_hand, 1e-12)


def test_singles_are_the_model_without_a_partner():
    """With W_j = 0 every object meets itself n times: the sum over pairs is n times that over singles."""
    O, q, _, P = small("singles")
    _, (_, _, U, _) = N.rn_forward(O, q, P)
    _, (_, _, U_pairs, _) = N.rn_forward(O, q, {"W_i": P["W_i"], "W_j": 0 * P["W_i"]} | P)
    close(U_pairs.sum(1), 4 * U.sum(1), 1e-12)


@pytest.mark.parametrize("kind", ["pairs", "singles"])
def test_order_of_objects_does_not_matter_to_sums(kind):
    O, q, _, P = small(kind)
    logits, answers = N.order_gap(O, q, P, rng(1))
    assert logits < 1e-13 and answers == 0
    Y = N.forward(O, q, P)[0]
    for order in ([3, 1, 0, 2], [1, 0, 2, 3]):
        close(N.forward(O[:, order], q, P)[0], Y, 1e-12)


def test_order_matters_to_the_flat_mlp_and_inside_a_pair():
    O, q, _, P = small("flat")
    assert N.order_gap(O, q, P, rng(1))[0] > 0.05
    O, q, _, P = small("pairs", 2)
    U = N.pair_rows(O, q, P)
    assert np.abs(U[:, 0, 1] - U[:, 1, 0]).max() > 0.05


def test_an_object_gets_gradient_in_both_roles():
    O, q, target, P = small("pairs")
    dO = N.loss_and_gradients(O, q, target, P)[2]
    for role in ("W_i", "W_j"):
        frozen = {k: v for k, v in P.items() if k != role} | {role: 0 * P[role]}
        assert np.abs(N.loss_and_gradients(O, q, target, frozen)[2]).max() > 1e-3
    h, cache = N.pairs_forward(O, q, P)
    only_first = N.pairs_backward(np.ones_like(h), (*cache[:3], P | {"W_j": 0 * P["W_j"]}))[0]
    only_second = N.pairs_backward(np.ones_like(h), (*cache[:3], P | {"W_i": 0 * P["W_i"]}))[0]
    close(only_first + only_second, N.pairs_backward(np.ones_like(h), cache)[0], 1e-12)
    assert min(np.abs(d).max() for d in (only_first, only_second, dO)) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_keep_names_shapes_and_dtype_and_write_nothing(kind):
    O, q, target, P = small(kind, dtype=np.float32)
    with untouched(P | {"O": O, "q": q}):
        _, G, dO, dq = N.loss_and_gradients(O, q, target, P)
    like_parameters(G | {"O": dO, "q": dq}, P | {"O": O, "q": q})


@pytest.mark.parametrize("kind", KINDS)
def test_float32_agrees_with_float64(kind):
    O, q, target, P = small(kind)
    exact = N.loss_and_gradients(O, q, target, P)
    rough = N.loss_and_gradients(O.astype(np.float32), q.astype(np.float32), target,
                                 {k: p.astype(np.float32) for k, p in P.items()})
    close(rough[0], exact[0], 1e-5)
    close_dicts({k: g.astype(float) for k, g in rough[1].items()}, exact[1], 1e-4)


def test_parameters_do_not_know_the_number_of_objects():
    P = small("pairs")[3]
    for n in (1, 2, 9):
        assert N.forward(np.ones((2, n, 5)), np.ones((2, 3)), P)[0].shape == (2, 7)


def test_fresh_parameters():
    size = {kind: sum(p.size for p in N.init(rng(), *sizes, kind).values()) for kind, sizes in {
        "pairs": (4, 7, 9, 10, (64, 64, 64), (64, 64)), "singles": (4, 7, 9, 10, (96, 96, 96), (64, 64)),
        "flat": (4, 7, 9, 10, (), (128, 128, 128))}.items()}
    assert size == {"pairs": 18826, "singles": 31274, "flat": 39178}
    P = N.init(rng(), 4, 7, 9, 10, (64, 64), (64,))
    assert list(P) == ["W_i", "W_j", "W_q", "b_1", "g2.W", "g2.b", "f1.W", "f1.b", "f2.W", "f2.b"]
    assert all(p.dtype == np.float32 for p in P.values()) and not P["b_1"].any()
    for name, fan_in in (("W_i", 23), ("W_j", 23), ("W_q", 23), ("g2.W", 64), ("f2.W", 64)):
        bound = math.sqrt(6 / fan_in)
        assert 0.95 * bound < np.abs(P[name]).max() <= bound * (1 + 1e-6), name


@pytest.mark.parametrize("kind", KINDS)
def test_fresh_models_see_their_input(kind):
    """Weights of scale 0.01 would leave outputs of about 1e-7 that no scene can move."""
    P = N.init(rng(), 4, 7, 9, 10, (64, 64, 64), (64, 64), kind)
    O, q, _ = N.clevr_task(N.sort_of_clevr(rng(1), 200))(rng(2), 200)
    assert N.forward(O, q, P)[0].std(0).min() > 0.1
    tiny = {k: 0.01 * p / p.std() if p.any() else p for k, p in P.items()}
    assert N.forward(O, q, tiny)[0].std(0).max() < 1e-3


def test_loss():
    close(N.loss_forward(np.zeros((4, 10)), np.arange(4))[0], math.log(10), 1e-15)
    loss, cache = N.loss_forward(np.array([[0.0, 1e4], [1e4, 0]]), np.array([1, 1]))
    assert loss == 5000 and np.isfinite(N.loss_backward(cache)).all()
    close(N.loss_backward(cache).sum(1), [0, 0], 1e-15)


@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_the_loss(kind):
    P = N.init(rng(), 3, 11, 1, 2, (24, 24), (24,), kind)
    curve = N.train(P, lambda r, B: N.same_different(r, B, 3), 0, 400, B=64)
    assert len(curve) == 400 and curve[-50:].mean() < curve[:50].mean() - 0.05
    assert curve[-50:].mean() < math.log(2)


@pytest.mark.parametrize("task, K, n, steps, above", [
    ("close_pairs", 8, 3, 500, 0.15), ("same_different", 2, 3, 700, 0.15)])
def test_a_small_relation_network_learns_to_count_and_to_compare(task, K, n, steps, above):
    draw = lambda r, B: getattr(N, task)(r, B, n)  # noqa: E731
    O, q, target = draw(rng(20), 1000)
    P = N.init(rng(21), n, O.shape[2], 1, K, (24, 24, 24), (24,))
    N.train(P, draw, 0, steps, B=64, lr=8e-3)
    right = (N.forward(*draw(rng(22), 1000)[:2], P)[0].argmax(1) == draw(rng(22), 1000)[2]).mean()
    assert right > np.bincount(target).max() / 1000 + above


# --- Sort-of-CLEVR ---------------------------------------------------------------------------------

@pytest.mark.parametrize("n", [2, 4, 6])
def test_answers_by_loops(n):
    scene = N.sort_of_clevr(rng(n), 60, n)
    table = N.answers(scene)
    assert table.shape == (60, n, 6)
    for b, colour in product(range(60), range(n)):
        pos, shape, i = scene["pos"][b], scene["shape"][b], list(scene["colour"][b]).index(colour)
        others = sorted((math.dist(pos[i], pos[j]), j) for j in range(n) if j != i)
        wanted = ["square", "circle"][shape[i]], ["no", "yes"][int(pos[i, 0] < 0.5)], \
            ["no", "yes"][int(pos[i, 1] > 0.5)], ["square", "circle"][shape[others[0][1]]], \
            ["square", "circle"][shape[others[-1][1]]], str(sum(s == shape[i] for s in shape))
        assert tuple(N.ANSWERS[a] for a in table[b, colour]) == wanted


def test_scenes():
    scene = N.sort_of_clevr(rng(), 3000)
    assert {k: v.shape for k, v in scene.items()} == {
        "pos": (3000, 4, 2), "shape": (3000, 4), "colour": (3000, 4)}
    d = N.distances(scene["pos"]) + np.eye(4)
    assert d.min() >= 0.13 and 0 <= scene["pos"].min() and scene["pos"].max() <= 1
    assert (np.sort(scene["colour"]) == np.arange(4)).all()
    assert abs(scene["shape"].mean() - 0.5) < 0.03
    at_first = np.bincount(scene["colour"][:, 0]) / 3000        # objects come in random order
    assert np.abs(at_first - 0.25).max() < 0.04
    again = N.sort_of_clevr(rng(), 3000)
    assert all(np.array_equal(scene[k], again[k]) for k in scene)


def test_distances():
    close(N.distances(np.array([[[0.0, 0], [3, 4]]])), [[[0, 5], [5, 0]]], 1e-15)


def test_encoding():
    scene = {"pos": np.array([[[0.5, 1.0], [0.0, 0.5]]]), "shape": np.array([[0, 1]]),
             "colour": np.array([[1, 0]])}
    assert N.encode_objects(scene).tolist() == [[[0, 2, 0, 5, -2], [2, 0, -5, 0, 2]]]
    assert N.encode_questions(np.array([2, 0]), np.array([4, 1])).tolist() == [
        [0, 0, 2, 0, 0, 2, 0, 2, 0], [2, 0, 0, 0, 2, 0, 0, 2, 0]]
    rows = {tuple(r) for r in N.encode_questions(np.repeat(np.arange(4), 6), np.tile(np.arange(6), 4))}
    assert len(rows) == 24


def test_task_and_all_questions_pair_rows_with_answers():
    scene = N.sort_of_clevr(rng(3), 50)
    table, O = N.answers(scene), N.encode_objects(scene)
    o, q, target = N.clevr_task(scene)(rng(4), 300)
    kinds = set()
    for b in range(300):
        s = int(np.flatnonzero((O == o[b]).all((1, 2)))[0])
        who, kind = q[b, :4].argmax(), 3 * q[b, 4:6].argmax() + q[b, 6:].argmax()
        kinds.add((who, kind))
        assert target[b] == table[s, who, kind]
    assert len(kinds) == 24
    who = rng(5).integers(4, size=50)
    o, q, target = N.all_questions(scene, who)
    assert o.shape == (300, 4, 7) and np.array_equal(o[::6], O)
    assert np.array_equal(target.reshape(50, 6), table[np.arange(50), who])
    assert np.array_equal(q, N.encode_questions(np.repeat(who, 6), np.tile(np.arange(6), 50)))


def test_sorted_scenes_have_the_same_answers():
    scene = N.sort_of_clevr(rng(6), 100)
    ordered = N.sorted_by_colour(scene)
    assert (ordered["colour"] == np.arange(4)).all()
    assert np.array_equal(N.answers(ordered), N.answers(scene))


def test_levels_of_cheap_strategies():
    """With the formulas: k circles of 4 objects are binomial, and the rest follows."""
    scene = N.sort_of_clevr(rng(7), 40_000)
    loss, accuracy = N.unknown(N.answers(scene))

    def H(p):
        return -sum(x * math.log(x) for x in (p, 1 - p) if x > 0)

    binomial = [1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16]
    shape = sum(w * H(k / 4) for k, w in enumerate(binomial))
    count = binomial[1] * H(1 / 4) + binomial[3] * H(1 / 4)      # two of each: always 2
    assert abs(loss - (5 * shape + count) / 6) < 0.02
    best = sum(w * max(k, 4 - k) / 4 for k, w in enumerate(binomial))
    close(accuracy[[0, 3, 4]], [best] * 3, 0.01)
    close(accuracy[[1, 2]], [best] * 2, 0.03)                    # the gap makes sides a little evener
    assert abs(accuracy[5] - 0.875) < 0.01
    right = (N.vote(scene)[..., None] == N.answers(scene)[..., 3:5]).mean((0, 1))
    close(right, [0.75, 0.75], 0.01)


def test_vote_is_the_majority_of_the_others():
    scene = N.sort_of_clevr(rng(8), 50)
    for b, colour in product(range(50), range(4)):
        others = [s for s, c in zip(scene["shape"][b], scene["colour"][b], strict=True) if c != colour]
        assert N.vote(scene)[b, colour] == (sum(others) >= 2)


# --- counting and twins ----------------------------------------------------------------------------

def test_close_pairs_by_loops():
    O, q, count = N.close_pairs(rng(9), 200)
    assert O.shape == (200, 6, 2) and O.dtype == q.dtype == np.float32 and (q == 1).all()
    for points, c in zip(O / 4 + 0.5, count, strict=True):
        close_ones = sum(math.dist(points[i], points[j]) < 0.25 for i in range(6) for j in range(i))
        assert c == min(close_ones, 7)
    assert len(set(count)) >= 6
    assert (N.close_pairs(rng(), 5, 4, 2.0)[2] == 6).all() and not N.close_pairs(rng(), 5, 4, 1e-9)[2].any()


@pytest.mark.parametrize("n", [2, 6, 36])
def test_same_different(n):
    O, q, same = N.same_different(rng(n), 2000, n)
    assert O.shape == (2000, n, 11) and O.dtype == np.float32 and (q == 1).all()
    for part_, width in ((O[..., :6], 6), (O[..., 6:9], 3), (O[..., 9:], 2)):
        assert (part_.sum(-1) == 2).all() and part_.shape[-1] == width
        assert np.abs(part_.mean((0, 1)) * width - 2).max() < 0.2     # all values about as frequent
    distinct = np.array([len({tuple(o) for o in objects}) for objects in O])
    assert np.array_equal(distinct, np.where(same, n - 1, n)) and abs(same.mean() - 0.5) < 0.05
    means = np.stack([O[same == s].mean((0, 1)) for s in (0, 1)])
    assert np.abs(means[0] - means[1]).max() < 0.15                   # no property gives it away


def test_probe():
    for d in (0.0, 0.3, 1.0):
        p = N.probe(rng(10), 500, d)
        assert p.shape == (500, 2, 2) and 0 <= p.min() and p.max() <= 1
        close(np.linalg.norm(p[:, 0] - p[:, 1], axis=1), np.full(500, d), 1e-12)
    turns = np.diff(N.probe(rng(11), 4000, 0.2), axis=1)[:, 0]
    assert np.abs(turns.mean(0)).max() < 0.02                        # any direction


def test_expected_count():
    with np.errstate(divide="ignore"):
        close(N.expected_count(np.log([[0.5, 0, 0.5], [0, 0, 1]])), [1, 2], 1e-12)


def oracle_counter():
    """A network with g = 1 for one fixed kind of pair only: objects with signs + and -, in this order."""
    return {"W_i": np.array([[1.0]]), "W_j": np.array([[-1.0]]), "W_q": np.zeros((1, 1)),
            "b_1": np.array([-1.0]), "f1.W": np.array([[0.0, 1.0]]), "f1.b": np.zeros(2)}


def test_pair_rows_and_read_sum_are_the_network():
    O, q = np.array([[[1.0], [-1], [-1]]]), np.ones((1, 1))
    U = N.pair_rows(O, q, oracle_counter())
    assert U[0, ..., 0].tolist() == [[0, 1, 1], [0, 0, 0], [0, 0, 0]]
    O, q, _, P = small("pairs")
    close(N.read_sum(N.pair_rows(O, q, P), P), N.forward(O, q, P)[0], 1e-12)


def test_transplant_exchanges_two_rows_and_nothing_else():
    P = N.init(rng(12), 6, 2, 1, 8, (8, 8), (8,), dtype=np.float64)
    O = N.close_pairs(rng(13), 5)[0].astype(np.float64)
    q = np.ones((5, 1))
    got = N.transplant(O, P, 2, 4, 0.3, rng(14))
    foreign = 4 * (N.probe(rng(14), 5, 0.3) - 0.5)
    total = np.zeros((5, 8))
    rows, new = N.pair_rows(O, q, P), N.pair_rows(foreign, q, P)
    for i, j in product(range(6), repeat=2):
        total += new[:, 0, 1] if (i, j) == (2, 4) else new[:, 1, 0] if (i, j) == (4, 2) else rows[:, i, j]
    close(got, N.expected_count(N.mlp_forward(total, P, "f")[0]), 1e-12)


def test_roles_and_partners():
    scene, who = N.sort_of_clevr(rng(15), 40), rng(16).integers(4, size=40)
    O = N.by_role(scene, who)
    d = N.distances(O[..., 4:6])[:, 0]
    assert (O[np.arange(40), 0, who] == 2).all() and (np.diff(d) >= 0).all()
    assert np.array_equal(np.sort(O, 1), np.sort(N.encode_objects(scene), 1))
    partner = N.same_question(who)
    assert (who[partner] == who).all() and (partner != np.arange(40)).all()
    assert sorted(partner) == list(range(40))


# --- bad input -------------------------------------------------------------------------------------

def first(O, q):
    return N.pairs_forward(np.ones(O), np.ones(q), small("pairs")[3])


@pytest.mark.parametrize("call, words", [
    (lambda: N.scatter(rng(), 3, 1, 0.1), "1 points with gap 0.1"),
    (lambda: N.scatter(rng(), 3, 6, 0.5), "6 points with gap 0.5"),
    (lambda: N.sort_of_clevr(rng(), 3, 7), "7 objects"),
    (lambda: N.sort_of_clevr(rng(), 3, 1), "1 objects"),
    (lambda: N.sort_of_clevr(rng(), 3, 6, 0.4), "6 points with gap 0.4"),
    (lambda: first((2, 4, 6), (2, 3)), r"objects \(2, 4, 6\)"),
    (lambda: first((2, 4, 5), (2, 4)), r"questions \(2, 4\)"),
    (lambda: first((2, 4, 5), (3, 3)), r"questions \(3, 3\)"),
    (lambda: first((4, 5), (4, 3)), r"objects \(4, 5\)"),
    (lambda: N.init(rng(), 4, 7, 9, 10, (8,), (8,), "triples"), "kind 'triples'"),
    (lambda: N.close_pairs(rng(), 3, 1), "1 points, radius 0.25"),
    (lambda: N.close_pairs(rng(), 3, 6, 0.0), "6 points, radius 0.0"),
    (lambda: N.probe(rng(), 3, 1.1), "distance 1.1"),
    (lambda: N.probe(rng(), 3, -0.1), "distance -0.1"),
    (lambda: N.same_different(rng(), 3, 1), "1 objects"),
    (lambda: N.same_different(rng(), 3, 37), "37 objects"),
])
def test_bad_input_is_refused_with_the_value_and_what_was_expected(call, words):
    refuses(call, words)


# --- exercises and text ----------------------------------------------------------------------------

def readers_space():
    """Globals for a reader's cells, with a small fresh counter instead of the trained one."""
    space = classroom(16)
    space["counters"] = {"pairs": N.init(rng(), 6, 2, 1, 8, (8, 8), (8,))}
    return space


EXERCISES = Exercises(space=readers_space, wrong=(
    ("vote_of_six = 0.75", 0),
    ("vote_of_six = 0.5", 0),
    ("vote_of_six = 0.65", 0),
    ("max_backward = lambda ds, U: np.repeat(ds[:, None], U.shape[1], 1)", 1),
    ("max_backward = lambda ds, U: (U == U.max(1, keepdims=True)) * 1.0", 1),
    ("max_backward = lambda ds, U: (U == U.max(2, keepdims=True)) * ds[:, None]", 1),
    ("sum_off_diagonal = lambda U: U.sum((1, 2))", 2),
    ("sum_off_diagonal = lambda U: U.sum((1, 2)) - U[:, 0, 0]", 2),
    ("sum_off_diagonal = lambda U: sum(U[:, i, j] for i in range(5) for j in range(i))", 2),
    ("cells_to_objects = lambda F: F.reshape(len(F), -1, F.shape[3])", 3),
    ("cells_to_objects = lambda F: np.concatenate([F, np.zeros((*F.shape[:3], 2))], "
     "-1).reshape(len(F), -1, 7)", 3),
    ("cells_to_objects = lambda F: np.concatenate([F, "
     "np.broadcast_to(np.stack(np.meshgrid(np.linspace(-1, 1, 3), np.linspace(-1, 1, 4), "
     "indexing='ij')[::-1], -1), (2, 3, 4, 2))], -1).reshape(2, 12, 7)", 3)))


def test_numbers_in_the_text_are_those_of_the_code():
    exec(exercise_parts(16)[0][0], space := {})
    assert space["vote_of_six"] == 0.6875
    text, code = text_and_code(16)
    assert "2,500 batches of 128" in text and "SEED, 2500, lr=lr" in code and "B=128" in code
    assert "320,000 questions" in text and 2500 * 128 == 320_000
    assert "1,500 batches of 64" in text and "(6, 2, 1, 8), 1500, 64, 7" in code

    def size(*args):
        return sum(p.size for p in N.init(rng(), *args).values())

    counters = [size(6, 2, 1, 8, (48,) * 3, (48,) * 2), size(6, 2, 1, 8, (96,) * 3, (96,) * 2, "singles"),
                size(6, 2, 1, 8, (), (128,) * 3, "flat")]
    assert 3.5 < counters[1] / counters[0] < 4 and counters[2] > counters[0]
    twins = [size(6, 11, 1, 2, (32,) * 3, (32,)), size(6, 11, 1, 2, (40,) * 2, (40,), "singles"),
             size(6, 11, 1, 2, (96,) * 2, (96,) * 2, "singles")]
    assert round(twins[0], -3) == 4000 and 0.95 < twins[1] / twins[0] < 1.05
    assert round(twins[2] / twins[0]) == 7
    assert re.search(r"H\(\\tfrac13\)=0\.637", text) and abs(
        -math.log(1 / 3) / 3 - 2 / 3 * math.log(2 / 3) - 0.637) < 5e-4
