"""Notebook 30: the thin Transformer against PyTorch; contexts, demands, orders, ablation, exercises."""

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

N = definitions(30)
CASES = golden("30")


# --- what the mutation test breaks -----------------------------------------------------------------

def check_attention_backward(space):
    for name in ("attention", "attention_last", "attention_open"):
        case = CASES[name]
        y, cache = space.attention_forward(case["x"], part(case, "P."), int(case["n_out"]),
                                           bool(case["causal"]))
        close(y, case["y"], 1e-12, f"{name}: y")
        dx, G = space.attention_backward(case["up.y"], cache)
        close(dx, case["dx"], 1e-11, f"{name}: dx")
        close_dicts(G, part(case, "G."), 1e-11)


def check_layer_backward(space):
    for name in ("layer", "layer_last", "layer_open"):
        case = CASES[name]
        y, cache = space.layer_forward(case["x"], part(case, "P."), int(case["n_out"]), bool(case["causal"]))
        close(y, case["y"], 1e-12, f"{name}: y")
        dx, G = space.layer_backward(case["up.y"], cache)
        close(dx, case["dx"], 1e-11, f"{name}: dx")
        close_dicts(G, part(case, "G."), 1e-11)


def check_mlp_backward(space):
    case = CASES["mlp"]
    y, cache = space.mlp_forward(case["x"], part(case, "P."))
    close(y, case["y"], 1e-13, "y")
    dx, G = space.mlp_backward(case["up.y"], cache)
    close(dx, case["dx"], 1e-12, "dx")
    close_dicts(G, part(case, "G."), 1e-12)


def check_norm_backward(space):
    case = CASES["norm"]
    y, cache = space.norm_forward(case["x"] + 0.5)
    close(y, case["y"], 1e-12, "y")
    close(space.norm_backward(case["up.y"], cache), case["dx"], 1e-11, "dx")


def check_embed_backward(space):
    case = CASES["embed"]
    x, cache = space.embed_forward(case["X"], part(case, "P."))
    close(x, case["x"], 1e-13, "x")
    close_dicts(space.embed_backward(case["up.x"], cache), part(case, "G."), 1e-12)


def check_loss_backward(space):
    case = CASES["loss"]
    loss, cache = space.loss_forward(case["Y"], case["target"])
    close(loss, case["loss"], 1e-13, "loss")
    close(space.loss_backward(cache), case["dY"], 1e-14, "dY")


def check_model_backward(space):
    for name in ("model", "model_open"):
        case = CASES[name]
        Y, caches = space.model_forward(case["X"], part(case, "P."), bool(case["causal"]))
        close(Y, case["Y"], 1e-12, f"{name}: Y")
        close_dicts(space.model_backward(case["dY"], caches), part(case, "G."), 1e-11)


CHECKS = {f"{name}_backward": globals()[f"check_{name}_backward"]
          for name in ("attention", "layer", "mlp", "norm", "embed", "loss", "model")}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_values_and_gradients_against_pytorch(check):
    check(N)


@pytest.mark.parametrize("name", ["model", "model_open"])
def test_loss_and_gradients_of_the_whole_model(name):
    case = CASES[name]
    loss, G = N.loss_and_gradients(case["X"], case["target"], part(case, "P."), bool(case["causal"]))
    close(loss, case["loss"], 1e-12)
    close_dicts(G, part(case, "G."), 1e-11)


def test_hint_against_pytorch():
    case = CASES["hint"]
    y, cache = N.layer_forward(case["x"], part(case, "P."), int(case["n_out"]), True, case["hint"])
    close(y, case["y"], 1e-12)
    dx, G = N.layer_backward(case["up.y"], cache)
    close(dx, case["dx"], 1e-11)
    close_dicts(G, part(case, "G."), 1e-11)


# --- model -----------------------------------------------------------------------------------------

def small(mode="after", n=5, dtype=np.float64, **sizes):
    """A model with non-zero biases and one batch for it."""
    r = rng(1)
    P = N.init(r, **({"D": 8, "H": 2, "d_k": 3, "F": 10} | sizes), dtype=np.float64)
    P = {k: (p + 0.1 * r.normal(size=p.shape)).astype(dtype) for k, p in P.items()}
    X, target = N.draw(r, 4, n, mode, N.demand_weights(n, "uniform"))
    return X.astype(dtype), target, P


@pytest.mark.parametrize("mode, H", list(product(N.MODES, (1, 2))))
def test_gradients_by_differences(mode, H):
    X, target, P = small(mode, H=H)
    G = N.loss_and_gradients(X, target, P, mode != "open")[1]
    N.grad_check(lambda: N.loss_and_gradients(X, target, P, mode != "open")[0], P, G, rng(2), 1e-4, h=1e-6)


def test_bias_gradient_sums_all_pairs_at_a_distance():
    x, P = rng(3).normal(size=(2, 4, 8)), part(small()[2], "l0.")
    y, cache = N.attention_forward(x, P, 4, causal=False)
    up = rng(4).normal(size=y.shape)
    G = N.attention_backward(up, cache)[1]["rel"]

    def loss(i, j, eps):
        """One pair's score alone is moved, in all contexts: as a hint for the last row."""
        hint = np.zeros((2, 4))
        hint[:, j] = eps
        return np.sum(up[:, i:i + 1] * N.attention_forward(x[:, :i + 1], P, 1, True, hint[:, :i + 1])[0])

    causal = N.attention_backward(up, N.attention_forward(x, P, 4, True)[1])[1]["rel"]
    moved = [sum((loss(i, i - d, 1e-6) - loss(i, i - d, -1e-6)) / 2e-6 for i in range(d, 4))
             for d in range(4)]
    close(causal.sum(0)[:4], moved, 1e-6)
    assert not G[:, 4:].any() and np.abs(G[:, :4]).min() > 0


def test_a_causal_model_sees_nothing_that_comes_later():
    x, P = rng(5).normal(size=(2, 6, 8)), part(small()[2], "l0.")
    changed = x.copy()
    changed[:, 4:, 0] += 1
    close(N.layer_forward(x, P, 6)[0][:, :4], N.layer_forward(changed, P, 6)[0][:, :4], 1e-12)
    gap = N.layer_forward(x, P, 6, False)[0][:, :4] - N.layer_forward(changed, P, 6, False)[0][:, :4]
    assert np.abs(gap).max() > 1e-2


def test_reading_only_the_last_token_changes_nothing():
    x, P = rng(6).normal(size=(2, 6, 8)), part(small()[2], "l0.")
    for causal in (True, False):
        close(N.layer_forward(x, P, 1, causal)[0], N.layer_forward(x, P, 6, causal)[0][:, -1:], 1e-12)


def test_untrained_positions_get_no_gradient():
    X, target, P = small(n=5)
    G = N.loss_and_gradients(X, target, P)[1]
    assert not G["pos"][6:].any() and (np.abs(G["pos"][:6]).sum(1) > 0).all()


@pytest.mark.parametrize("mode", N.MODES)
def test_gradients_keep_names_shapes_and_dtype_and_write_nothing(mode):
    X, target, P = small(mode, dtype=np.float32)
    with untouched(P | {"X": X}):
        loss, G = N.loss_and_gradients(X, target, P, mode != "open")
    like_parameters(G, P)
    exact = N.loss_and_gradients(X.astype(float), target, {k: p.astype(float) for k, p in P.items()},
                                 mode != "open")
    close(loss, exact[0], 1e-5)
    close_dicts({k: g.astype(float) for k, g in G.items()}, exact[1], 1e-4)


def test_fresh_parameters():
    P = N.init(rng(), d_k=2)
    assert all(p.dtype == np.float32 for p in P.values()) and not P["l0.rel"].any()
    assert P["l0.W_q"].shape == (32, 2) and P["l1.W_kv"].shape == (32, 34) and P["pos"].shape == (32, 32)
    for name, std in (("E", 0.5), ("pos", 0.3), ("l0.W_1", 32 ** -0.5), ("l1.W_2", 128 ** -0.5)):
        assert 0.9 < P[name].std() / std < 1.1, name
    assert round(sum(p.size for p in P.values()), -3) == 24_000


@pytest.mark.parametrize("mode", N.MODES)
def test_training_lowers_the_loss(mode):
    P = N.init(rng(), D=16, F=16)
    curve = N.train(P, 0, 120, "edges", mode, B=32)
    assert len(curve) == 120 and curve[-20:].mean() < curve[:20].mean() - 0.1


# --- data ------------------------------------------------------------------------------------------

def test_contexts_have_distinct_keys_and_all_values():
    docs = N.contexts(rng(), 2000, 20)
    assert docs.shape == (2000, 20, 3) and docs.min() == 0
    assert (docs.reshape(-1, 3).max(0) == [12, 12, 15]).all()
    assert all(len(set(keys)) == 20 for keys in (docs[..., 0] * 13 + docs[..., 1])[:200])
    for symbol, K in ((docs[..., 0], 13), (docs[..., 2], 16)):
        assert np.abs(np.bincount(symbol.ravel()) / symbol.size * K - 1).max() < 0.1
    assert len(set(N.contexts(rng(), 1, 169)[0, :, :2] @ [13, 1])) == 169


@pytest.mark.parametrize("mode", N.MODES)
def test_tokens(mode):
    docs, first = N.contexts(rng(1), 3, 4), int(mode == "twice")
    X = N.encode(docs, docs[:, 2, :2], mode)
    assert X.shape == (3, 5 + first, 43) and (X.sum(2) == 3).all() and X.dtype == np.float32
    for b, i in product(range(3), range(4)):
        a, key, v = docs[b, i]
        assert np.flatnonzero(X[b, first + i]).tolist() == [a, 13 + key, 26 + v]
    question = [[*(docs[b, 2, :2] + [0, 13]), 42] for b in range(3)]
    for t in [4 + first] + [0] * first:
        assert [np.flatnonzero(x).tolist() for x in X[:, t]] == question


@pytest.mark.parametrize("mode", N.MODES)
def test_the_answer_stands_where_it_was_asked_for(mode):
    gold = np.array([0, 3, 5, 2])
    X, target = N.draw(rng(2), 4, 6, mode, gold)
    shift = int(mode == "twice")
    for b, place in enumerate(gold):
        docs = X[b, shift:shift + 6]
        match = (docs[:, :26] * X[b, -1, :26]).sum(1)
        assert np.flatnonzero(match == 2).tolist() == [place]
        assert docs[place, 26:42].argmax() == target[b]


def test_demands():
    for name, n in product(N.DEMANDS, (1, 2, 7, 20)):
        w = N.demand_weights(n, name)
        close(w.sum(), 1.0, 1e-14)
        assert w.shape == (n,) and w.min() >= 0.1 / n - 1e-15
    w = {name: N.demand_weights(20, name) for name in N.DEMANDS}
    close(w["edges"], w["edges"][::-1], 1e-15)
    close(w["last"], w["first"][::-1], 1e-15)
    close(w["uniform"], np.full(20, 0.05), 1e-15)
    close((w["first"][1] - 0.005) / (w["first"][0] - 0.005), np.exp(-1 / 1.5), 1e-12)
    X, _ = N.draw(rng(3), 20_000, 6, "after", N.demand_weights(6, "edges"))
    place = (np.einsum("bns,bs->bn", X[:, :6, :26], X[:, -1, :26]) == 2).argmax(1)
    close(np.bincount(place) / 20_000, N.demand_weights(6, "edges"), 0.015)


# --- measures --------------------------------------------------------------------------------------

def test_gap():
    curve = np.zeros(20)
    curve[[0, -1]] = 0.9, 0.7
    curve[7:13] = 0.3
    close(N.gap(curve), 0.5, 1e-15)
    curve[[1, 6, 13, 18]] = 1
    close(N.gap(curve), 0.5, 1e-15)


def perfect_reader(X, P, causal=True, hint=None):
    """Like model_forward, but it answers with the value of the document that fits."""
    fits = np.einsum("bts,bs->bt", X[:, :, :26], X[:, -1, :26]) == 2
    return np.einsum("bt,btv->bv", fits, X[:, :, 26:42]), None


def test_position_curve_is_an_accuracy_and_not_a_distribution():
    """Somebody else's curve was normalised to sum 1; a perfect reader has 1 at every place here."""
    space = classroom(30)
    space["model_forward"] = perfect_reader
    for mode in N.MODES:
        assert space["position_curve"](None, 8, mode, rng(4), N=50).tolist() == [1.0] * 8
    fresh = N.position_curve(N.init(rng(5)), 10, "after", rng(6), N=200)
    assert fresh.shape == (10,) and fresh.max() < 0.25


def test_hint_moves_attention_to_the_answer():
    P = N.init(rng(7))
    X, _ = N.draw(rng(8), 5, 6, "after", np.full(5, 2))
    hint = np.zeros((5, 7), np.float32)
    hint[:, 2] = 50
    caches = N.model_forward(X, P, True, hint)[1]
    for layer in (2, 3):
        assert caches[layer][1][5][:, 0, -1, 2].min() > 0.99
    attention = N.gold_attention(P, 6, rng(9), N=20)
    assert attention.shape == (2, 6) and 0.02 < attention.min() and attention.max() < 0.7


def test_without_positions():
    P = {k: p + 0.1 for k, p in N.init(rng(10)).items()}
    with untouched(P):
        both, bias, table = (N.without_positions(P, 6, *which)
                             for which in ((True, True), (True, False), (False, True)))
    assert not both["l0.rel"].any() and not bias["l1.rel"].any() and (table["l0.rel"] == P["l0.rel"]).all()
    assert (bias["pos"] == P["pos"]).all() and (table["pos"] == both["pos"]).all()
    close(both["pos"][:6], np.tile(P["pos"][:6].mean(0), (6, 1)), 1e-6)
    assert (both["pos"][6:] == P["pos"][6:]).all()
    X, _ = N.draw(rng(11), 4, 6, "open", np.full(4, 1))             # without a mask nothing is left of order
    swapped = X[:, [3, 1, 5, 0, 4, 2, 6]]
    close(N.model_forward(swapped, both, False)[0], N.model_forward(X, both, False)[0], 1e-4)
    assert np.abs(N.model_forward(swapped, P, False)[0] - N.model_forward(X, P, False)[0]).max() > 1e-2


def test_orders():
    """Rank 1 first, rank 2 last, rank 3 second, rank 4 second to last (not rank 2 second, rank 6 last)."""
    for k in range(1, 31):
        edges, middle = N.arrange(k, "edges"), N.arrange(k, "middle")
        places = [None] * k
        front, back = 0, k - 1
        for rank in range(1, k + 1):
            if rank % 2:
                places[front], front = rank, front + 1
            else:
                places[back], back = rank, back - 1
        assert edges.tolist() == places and sorted(middle) == list(range(1, k + 1))
        assert middle.tolist() == [k + 1 - r for r in places]
        assert N.arrange(k, "best first").tolist() == list(range(1, k + 1))
    assert N.arrange(6, "edges").tolist() == [1, 3, 5, 6, 4, 2]
    assert N.arrange(7, "middle").tolist() == [7, 5, 3, 1, 2, 4, 6]


@pytest.mark.parametrize("order", N.ORDERS)
def test_reader_reads_the_first_k_and_no_others(order):
    space = classroom(30)
    space["model_forward"] = perfect_reader
    docs = N.contexts(rng(12), 400, 21)
    ranked, wanted, rank = docs[:, 1:].copy(), docs[:, 0], rng(13).integers(1, 21, size=400)
    ranked[np.arange(400), rank - 1] = wanted
    for k in (1, 5, 20):
        got = space["reader_accuracy"](None, ranked, wanted, k, order, rng(14))
        absent = (rank > k) & (wanted[:, 2] == 0)                   # all zero logits: argmax says 0
        close(got, (rank <= k).mean() + absent.mean(), 1e-12)


# --- bad input -------------------------------------------------------------------------------------

DOCS = N.contexts(rng(), 2, 31)


@pytest.mark.parametrize("call, words", [
    (lambda: N.contexts(rng(), 2, 0), "0 documents"),
    (lambda: N.contexts(rng(), 2, 170), "170 documents"),
    (lambda: N.encode(DOCS, DOCS[:, 0, :2], "before"), "mode 'before'"),
    (lambda: N.demand_weights(5, "middle"), "demand 'middle'"),
    (lambda: N.model_forward(N.encode(DOCS, DOCS[:, 0, :2], "twice"), N.init(rng())), "33 tokens"),
    (lambda: N.position_curve(N.init(rng()), 32, "after", rng(), N=2), "33 tokens"),
    (lambda: N.init(rng(), D=32, H=3), "3 heads for width 32"),
    (lambda: N.arrange(0, "edges"), "'edges' of 0"),
    (lambda: N.arrange(5, "outside"), "'outside' of 5"),
])
def test_bad_input_is_refused_with_the_value_and_what_was_expected(call, words):
    refuses(call, words)


# --- exercises and text ----------------------------------------------------------------------------

def readers_space():
    """Globals for a reader's cells; training is short."""
    space = classroom(30)
    train, curve = space["train"], space["position_curve"]
    space["train"] = lambda P, seed, steps, demand, mode: train(P, seed, 3, demand, mode, B=8)
    space["position_curve"] = lambda P, n, mode, gen: curve(P, n, mode, gen, N=4)
    space["SEED"] = 0
    return space


EXERCISES = Exercises(space=readers_space, wrong=(
    ("asked_middle = 0.3", 0),
    ("asked_middle = 0.03", 0),
    ("asked_middle = 6.7", 0),
    ("bias_gradient = lambda dS, delta, R: np.stack([np.bincount(abs(delta).ravel(), d.ravel(), R) "
     "for d in dS.mean(0)])", 1),
    ("bias_gradient = lambda dS, delta, R: np.stack([np.bincount(abs(delta).ravel(), d.ravel(), R) "
     "for d in dS[:, ::-1].sum(0)])", 1),
    ("bias_gradient = lambda dS, delta, R: np.stack([dS[:, :, np.maximum(delta, 0) == d].sum((0, 2)) "
     "for d in range(R)], 1)", 1),
    ("encode_pairs = lambda docs, question: encode(docs, question)", 2),
    ("encode_pairs = lambda docs, question: np.repeat(encode(docs, question), 2, 1)[:, :11]", 2),
    ("def encode_pairs(docs, question):\n    X = np.repeat(encode(docs, question), 2, 1)[:, :11]\n"
     "    X[:, 1:10:2, 26:42] = 0\n    X[:, 0:10:2, :26] = 0\n    return X", 2)))


def test_numbers_in_the_text_are_those_of_the_code():
    text, code = text_and_code(30)
    for name, demand, mode, d_k, steps in (
            ("edges", "edges", "after", 2, 1200), ("uniform", "uniform", "after", 2, 1200),
            ("twice", "edges", "twice", 2, 1200), ("open", "edges", "open", 2, 1200),
            ("first", "first", "after", 2, 400), ("last", "last", "after", 2, 400),
            ("wide", "edges", "after", 16, 400)):
        assert re.search(rf'"{name}": \("{demand}", "{mode}", {d_k}, {steps}\)', code), name
    assert "get 1,200 steps" in text and "get 400" in text and "169 keys" in text and N.A_KEYS ** 2 == 169
    exec(exercise_parts(30)[0][0], space := {"np": np})
    close(space["asked_middle"], N.demand_weights(20, "edges")[7:13].sum(), 1e-12)
