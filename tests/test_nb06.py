"""Notebook 06: the three networks against PyTorch, hulls and tours against independent geometry."""

import re

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from tests.support import Exercises, classroom, close, close_dicts, definitions, golden, part

N = definitions(6)
CASES = golden("06")
KINDS = "Ptr-Net", "attention", "LSTM"


# --- what the mutation test breaks -----------------------------------------------------------------

def check_head(space, case, forward, backward, out="y"):
    """Logits of a head and gradients of its inputs and parameters."""
    y, cache = forward(case["e"], case["d"], part(case, "P."))
    close(y, case[out], 1e-12, out)
    de, dd, G = backward(case[f"up.{out}"], cache)
    close(de, case.get("de", np.zeros_like(case["e"])), 1e-12, "de")       # the plain head has none
    close(dd, case["dd"], 1e-12, "dd")
    close_dicts(G, part(case, "G."), 1e-12)


def check_score_backward(space):
    check_head(space, CASES["score"], space.score_forward, space.score_backward, "u")


def check_pointer_backward(space):
    check_head(space, CASES["head Ptr-Net"], space.pointer_forward, space.pointer_backward)


def check_attention_backward(space):
    check_head(space, CASES["head attention"], space.attention_forward, space.attention_backward)


def check_plain_backward(space):
    check_head(space, CASES["head LSTM"], space.plain_forward, space.plain_backward)


def check_lstm_backward(space):
    case = CASES["lstm"]
    hs, (h, c), cache = space.lstm_forward(case["X"], (case["h"], case["c"]), part(case, "P."), "dec")
    for value, name in ((hs, "hs"), (h, "h_T"), (c, "c_T")):
        close(value, case[name], 1e-12, name)
    dX, (dh, dc), G = space.lstm_backward(case["up.hs"], (case["up.h_T"], case["up.c_T"]), cache)
    for value, name in ((dX, "dX"), (dh, "dh"), (dc, "dc")):
        close(value, case[name], 1e-12, name)
    close_dicts(G, part(case, "G."), 1e-12)


def check_loss_backward(space):
    for kind in KINDS:
        case = CASES[f"model {kind}"]
        loss, cache = space.loss_forward(case["y"], case["Y"])
        close(loss, case["loss"], 1e-13, "loss")
        close(space.loss_backward(cache), case["dy"], 1e-14, "dy")


def check_model_backward(space):
    for kind in KINDS:
        case = CASES[f"model {kind}"]
        y, cache = space.model_forward(space.HEADS[kind], case["X"], case["Y"], part(case, "P."))
        real = case["Y"] >= 0
        close(y[real], case["y"][real], 1e-11, kind)
        close_dicts(space.model_backward(space.HEADS[kind], case["dy"], cache), part(case, "G."), 1e-11)


CHECKS = {f"{name}_backward": globals()[f"check_{name}_backward"] for name in (
    "score", "pointer", "attention", "plain", "lstm", "loss", "model")}


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_of_the_whole_model(kind):
    case = CASES[f"model {kind}"]
    loss, G = N.loss_and_gradients(N.HEADS[kind], case["X"], case["Y"], part(case, "P."))
    close(loss, case["loss"], 1e-12, "loss")
    close_dicts(G, part(case, "G."), 1e-11)


# --- geometry --------------------------------------------------------------------------------------

@pytest.mark.parametrize("n", [3, 7, 25])
def test_hulls_against_monotone_chain_and_quickhull(n):
    case = CASES[f"hulls {n}"]
    Y = N.hulls(case["points"])
    close(Y, case["Y"][:, :Y.shape[1]], 0)
    assert (case["Y"][:, Y.shape[1]:] == -1).all()
    found = [ConvexHull(p) for p in case["points"]]
    close(N.signed_area(case["points"], Y), [h.volume for h in found], 1e-12)  # 2-d: volume is the area
    close(N.perimeter(case["points"], Y), [h.area for h in found], 1e-12)
    assert N.is_simple(case["points"], Y).all()


@pytest.mark.parametrize("n", [3, 4, 7])
def test_tours_against_all_permutations(n):
    case = CASES[f"tours {n}"]
    Y = N.tours(case["points"])
    close(Y, case["Y"], 0)
    close(N.perimeter(case["points"], Y), case["length"], 1e-12)
    assert (N.signed_area(case["points"], Y) > 0).all() and N.is_simple(case["points"], Y).all()
    greedy = N.nearest_neighbour(case["points"])
    assert (np.sort(greedy, 1) == np.arange(1, n + 1)).all() and (greedy[:, 0] == 1).all()
    assert (N.perimeter(case["points"], greedy) >= case["length"] - 1e-12).all()


def test_nearest_neighbour_by_hand():
    line = np.array([[[0.0, 0], [1, 0], [0.4, 0], [0.9, 0], [0.3, 0.1]]])
    assert N.nearest_neighbour(line).tolist() == [[1, 5, 3, 4, 2]]


def test_hulls_do_not_write_into_their_input():
    points = np.random.default_rng(0).random((4, 6, 2))
    before = points.copy()
    N.hulls(points), N.tours(points), N.nearest_neighbour(points)
    assert np.array_equal(points, before)


def test_length_of_answers_varies_and_is_marked():
    """Every answer: distinct indices, one END, then PAD only."""
    Y = N.hulls(np.random.default_rng(1).random((200, 9, 2)))
    lengths = (Y > 0).sum(1)
    assert len(set(lengths)) > 3 and ((Y == N.END).sum(1) == 1).all()
    for row, k in zip(Y, lengths, strict=True):
        assert row[k] == N.END and (row[k + 1:] == N.PAD).all() and len(set(row[:k])) == k
        assert row[0] == row[:k].min()


def test_simple_polygons():
    square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    star = np.stack([np.cos(2 * np.pi * np.arange(5) / 5), np.sin(2 * np.pi * np.arange(5) / 5)], 1)
    for points, Y, wanted in ((square, [1, 2, 3, 4, 0], True), (square, [1, 3, 2, 4, 0], False),
                              (square, [1, 2, 0, -1, -1], False), (square, [0, -1, -1], False),
                              (square, [3, 1, 2, 0], True), (star, [1, 2, 3, 4, 5], True),
                              (star, [1, 3, 5, 2, 4], False)):
        assert N.is_simple(points[None], np.array([Y])).tolist() == [wanted], Y


def test_same_polygon_allows_a_turn_but_no_reversal():
    Y = np.array([[2, 5, 3, 7, 0, -1]])
    for Z, wanted in (([3, 7, 2, 5, 0], True), ([7, 2, 5, 3], True), ([2, 7, 3, 5, 0], False),
                      ([2, 5, 3, 0], False), ([2, 5, 3, 7, 1, 0], False), ([0, -1], False)):
        assert N.same_polygon(Y, np.array([Z])).tolist() == [wanted], Z


def test_area_and_perimeter_ignore_padding():
    square = np.array([[[0.0, 0], [1, 0], [1, 1], [0, 1]]])
    for Y in ([1, 2, 3, 4], [1, 2, 3, 4, 0], [1, 2, 3, 4, 0, -1, -1]):
        close(N.signed_area(square, np.array([Y])), [1], 1e-15)
        close(N.perimeter(square, np.array([Y])), [4], 1e-15)
    close(N.signed_area(square, np.array([[4, 3, 2, 1, 0]])), [-1], 1e-15)


# --- the model -------------------------------------------------------------------------------------

def random_model(kind, dtype=np.float64, B=4, n=6, H=7, seed=0):
    rng = np.random.default_rng(seed)
    P = {k: (p + 0.3 * rng.normal(size=p.shape)).astype(dtype)
         for k, p in N.init(kind, rng, H=H, dtype=np.float64).items()}
    points = rng.random((B, n, 2))
    return P, (4 * (points - 0.5)).astype(dtype), N.hulls(points)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_keep_names_shapes_and_dtype(kind):
    P, X, Y = random_model(kind, np.float32)
    before, X_before = {k: p.copy() for k, p in P.items()}, X.copy()
    _, G = N.loss_and_gradients(N.HEADS[kind], X, Y, P)
    assert G.keys() == P.keys() and np.array_equal(X, X_before)
    for k, g in G.items():
        assert g.shape == P[k].shape and g.dtype == np.float32, k
        assert np.array_equal(P[k], before[k]), f"{k} was written to"


@pytest.mark.parametrize("kind", KINDS)
def test_float32_agrees_with_float64(kind):
    P, X, Y = random_model(kind)
    exact = N.loss_and_gradients(N.HEADS[kind], X, Y, P)
    rough = N.loss_and_gradients(N.HEADS[kind], X.astype(np.float32), Y,
                                 {k: p.astype(np.float32) for k, p in P.items()})
    close(rough[0], exact[0], 1e-5, "loss")
    close_dicts({k: g.astype(float) for k, g in rough[1].items()}, exact[1], 1e-4)


def test_scores_one_pair_at_a_time():
    P, _, _ = random_model("Ptr-Net")
    e, d = np.random.default_rng(1).normal(size=(2, 3, 5, 7))
    for b in range(3):
        close(N.score_forward(e, d, P)[0][b], N.score_by_pairs(e[b], d[b], P), 1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_neither_loss_nor_gradients(kind):
    P, X, Y = random_model(kind)
    longer = np.pad(Y, ((0, 0), (0, 3)), constant_values=N.PAD)
    loss, G = N.loss_and_gradients(N.HEADS[kind], X, Y, P)
    padded, G_padded = N.loss_and_gradients(N.HEADS[kind], X, longer, P)
    close(padded, loss, 1e-13, "loss")
    close_dicts(G_padded, G, 1e-12)


def test_decoder_starts_from_state_and_learned_go():
    """Not from the mean of the inputs: go enters, and so do both h and c of the encoder."""
    P, X, Y = random_model("Ptr-Net")
    first = N.pointed_at(X, Y, P)
    close(first[:, 0], np.tile(P["go"], (len(X), 1)), 0, "go")
    close(first[:, 1], X[np.arange(len(X)), Y[:, 0] - 1], 0, "the point pointed at")
    G = N.loss_and_gradients(N.HEADS["Ptr-Net"], X, Y, P)[1]
    assert np.abs(G["go"]).min() > 0
    e, (h, c), _ = N.encode(X, P)
    d = [N.lstm_forward(first, state, P, "dec")[0] for state in ((h, c), (0 * h, c), (h, 0 * c))]
    y = N.pointer_forward(e, d[0], P)[0]
    close(N.model_forward(N.HEADS["Ptr-Net"], X, Y, P)[0], y, 1e-13)
    assert all(np.abs(d[0] - other).max() > 1e-3 for other in d[1:])


def test_parameters_do_not_know_the_number_of_points():
    for n in (3, 11, 30):
        P, X, Y = random_model("Ptr-Net", n=n)
        assert N.model_forward(N.HEADS["Ptr-Net"], X, Y, P)[0].shape == (*Y.shape, n + 1)


def test_pointers_follow_shuffled_states_and_contexts_do_not():
    order = np.random.default_rng(2).permutation(6)
    for kind in ("Ptr-Net", "attention"):
        P, X, Y = random_model(kind)
        e, state, _ = N.encode(X, P)
        d = N.lstm_forward(N.pointed_at(X, Y, P), state, P, "dec")[0]
        old, new = (N.HEADS[kind][0](states, d, P)[0] for states in (e, e[:, order]))
        close(new, old[..., np.append(0, order + 1)] if kind == "Ptr-Net" else old, 1e-12)


def test_decoding_is_teacher_forcing_on_its_own_answers():
    """Each greedy step is the best unused candidate given the steps before."""
    for kind in KINDS:
        P, X, _ = random_model(kind, n=8)
        Y = N.decode(N.HEADS[kind], X, P)
        scores = N.model_forward(N.HEADS[kind], X, Y, P)[0][..., :9]
        for row, u in zip(Y, scores, strict=True):
            for t, y in enumerate(row[:np.append(np.flatnonzero(row == N.END), len(row))[0] + 1]):
                u[t, row[:t]] = -np.inf
                assert u[t].argmax() == y


def test_answers_end_when_the_network_says_so():
    """The number of steps is the network's decision, not n."""
    P, X, _ = random_model("LSTM", n=8)
    silent = P | {"W_o": 0 * P["W_o"]}
    at_once = N.decode(N.HEADS["LSTM"], X, silent | {"b_o": np.eye(11)[0]})
    assert at_once.tolist() == [[N.END]] * len(X)
    never = N.decode(N.HEADS["LSTM"], X, silent | {"b_o": -9 * np.eye(11)[0]})
    assert (np.sort(never, 1) == np.arange(9)).all() and (never[:, -1] == N.END).all()
    complete = N.decode(N.HEADS["LSTM"], X, silent | {"b_o": 9 * np.eye(11)[0]}, complete=True)
    assert (np.sort(complete, 1) == np.arange(9)).all() and (complete[:, -1] == N.END).all()
    stuck = N.decode(N.HEADS["LSTM"], X, silent | {"b_o": 9 * np.eye(11)[3]}, mask=False)
    assert stuck.tolist() == [[3] * 9] * len(X)


def test_loss_of_silence():
    P, X, Y = random_model("Ptr-Net")
    close(N.loss_and_gradients(N.HEADS["Ptr-Net"], X, Y, P | {"v": 0 * P["v"]})[0], np.log(7), 1e-14)


def test_fresh_parameters():
    sizes = {kind: sum(p.size for p in N.init(kind, np.random.default_rng(0)).values()) for kind in KINDS}
    assert max(sizes["attention"], sizes["Ptr-Net"]) < 1.05 * min(sizes["attention"], sizes["Ptr-Net"])
    P = N.init("attention", np.random.default_rng(0), H=3)
    assert (P["enc.b"] == [0] * 3 + [1] * 3 + [0] * 6).all() and P["W_o"].shape == (6, 11)
    assert all(p.dtype == np.float32 for p in P.values())


def test_spread():
    out = N.spread(np.array([0.0, 0.5, 1.0]))
    assert out.tolist() == [-2, 0, 2] and out.dtype == np.float32


def test_batches():
    X, Y = N.sort_batch(np.random.default_rng(0), 40, 6)
    assert X.shape == (40, 6, 1) and (Y[:, -1] == N.END).all()
    assert (np.diff(np.take_along_axis(X[..., 0], Y[:, :-1] - 1, 1)) > 0).all()
    rng = np.random.default_rng(1)
    assert {N.sort_batch(rng, 1)[0].shape[1] for _ in range(60)} == {3, 4, 5, 6}
    assert {N.hull_batch(rng, 1)[0].shape[1] for _ in range(80)} == set(range(5, 11))
    assert {N.tour_batch(rng, 1)[0].shape[1] for _ in range(30)} == {5, 6}


def test_training_lowers_the_loss_and_repeats_itself():
    for kind in KINDS:
        P, curve = N.train(kind, N.hull_batch, 0, 60, log=False)
        assert len(curve) == 60 and curve[-10:].mean() < curve[:5].mean() - 0.3, kind
    again = N.train("LSTM", N.hull_batch, 0, 60, log=False)
    assert np.array_equal(again[1], curve) and all(np.array_equal(again[0][k], P[k]) for k in P)


# --- bad input -------------------------------------------------------------------------------------

def points(n):
    return np.random.default_rng(0).random((2, n, 2))


@pytest.mark.parametrize("call, words", [
    (lambda: N.hulls(points(2)), "2 points: expected 3 to inf"),
    (lambda: N.hulls(points(0)), "0 points: expected 3"),
    (lambda: N.hulls(points(5)[0]), "points of shape (5, 2): expected finite numbers (B, n, 2)"),
    (lambda: N.hulls(np.zeros((2, 5, 3))), "points of shape (2, 5, 3)"),
    (lambda: N.hulls(np.full((1, 4, 2), np.nan)), "expected finite numbers"),
    (lambda: N.hulls(np.array([[[0.0, 0], [1, 1], [2, 2], [0, 1]]])), "three points on a line"),
    (lambda: N.hulls(np.array([[[0.0, 0], [1, 1], [1, 1], [0, 1]]])), "three points on a line"),
    (lambda: N.tours(points(2)), "2 points: expected 3 to 9"),
    (lambda: N.tours(points(10)), "10 points: expected 3 to 9"),
    (lambda: N.tours(points(5)[0]), "points of shape (5, 2)"),
    (lambda: N.init("GRU", np.random.default_rng(0)), "kind 'GRU': expected"),
    (lambda: N.loss_forward(np.zeros((1, 2, 4)), np.array([[4, 0]])), "answer 4: expected at most 3"),
    (lambda: N.decode(N.HEADS["attention"], N.spread(points(12)),
                      N.init("attention", np.random.default_rng(0))), "12 points: expected at most 10"),
    (lambda: N.decode(N.HEADS["LSTM"], N.spread(points(11)),
                      N.init("LSTM", np.random.default_rng(0))), "11 points: expected at most 10")])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()


# --- exercises -------------------------------------------------------------------------------------

def readers_space():
    """The notebook's globals as a reader has them before the exercises; runs of ten steps."""
    space = classroom(6)
    space |= {"SEED": 0, "HULL_STEPS": 10, "errors": {}, "rng": np.random.default_rng(0)}
    return space


EXERCISES = Exercises(space=readers_space, errors=("dot product",), wrong=(
    ("leftmost_first = lambda points, Y: Y", 0),
    ("leftmost_first = lambda points, Y: np.roll(Y, 1, 1)", 0),
    ("dot_backward = lambda du, e, d, W: (du.swapaxes(1, 2) @ d @ W, du @ (e @ W), W)", 1)))
