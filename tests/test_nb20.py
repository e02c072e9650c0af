"""Notebook 20: every stage of the Neural Turing Machine against PyTorch, and its properties."""

import re

import numpy as np
import pytest

from tests import support
from tests.support import Exercises, close, close_dicts, definitions, golden, part, rng

N = definitions(20)
CASES = golden("20")
U = "k", "beta", "g", "s", "gamma"
ADDRESS = (*U, "w_prev", "M")


# --- what the mutation test breaks -----------------------------------------------------------------

def check_stage(case, names, out, forward, backward):
    """Value and all gradients of a stage whose arguments are `names` and whose result is `out`."""
    y, cache = forward(*(case[name] for name in names))
    close(y, case[out], 1e-11, out)
    for name, d in zip(names, backward(case[f"up.{out}"], cache), strict=True):
        close(d, case[f"d{name}"], 1e-11, f"d{name}")


def check_read_backward(space):
    check_stage(CASES["read"], ("w", "M"), "r", space.read_forward, space.read_backward)


def check_write_backward(space):
    check_stage(CASES["write"], ("w", "e", "a", "M"), "M_new", space.write_forward, space.write_backward)


def check_cosine_backward(space):
    check_stage(CASES["cosine"], ("k", "M"), "K", space.cosine_forward, space.cosine_backward)


def check_softmax_backward(space):
    case = CASES["softmax"]
    close(space.softmax(case["z"]), case["p"], 1e-14, "p")
    close(space.softmax_backward(case["up.p"], case["p"]), case["dz"], 1e-13, "dz")


def check_content_backward(space):
    check_stage(CASES["content"], ("k", "beta", "M"), "w_c", space.content_forward, space.content_backward)


def check_interpolate_backward(space):
    check_stage(CASES["interpolate"], ("w_c", "g", "w_prev"), "w_g",
                space.interpolate_forward, space.interpolate_backward)


def check_shift_backward(space):
    for name in ("shift3", "shift5"):
        check_stage(CASES[name], ("w", "s"), "w_s", space.shift_forward, space.shift_backward)


def check_sharpen_backward(space):
    check_stage(CASES["sharpen"], ("w", "gamma"), "out", space.sharpen_forward, space.sharpen_backward)


def check_address_backward(space):
    def backward(dw, cache):
        du, dw_prev, dM = space.address_backward(dw, cache)
        assert du.keys() == set(U)
        return *(du[name] for name in U), dw_prev, dM

    check_stage(CASES["address"], ADDRESS, "w",
                lambda *a: space.address_forward(dict(zip(U, a[:5], strict=True)), *a[5:]), backward)


def check_heads_backward(space):
    case = CASES["heads"]
    u, cache = space.heads_forward(case["o"], int(case["W"]))
    for name, value in u.items():
        close(value, case[name], 1e-13, name)
    close(space.heads_backward(part(case, "up."), cache), case["do"], 1e-12, "do")


def check_cell_backward(space):
    """The upstream gradient of w is that of the next step; do is checked through W_o and b_o."""
    case = CASES["cell"]
    h, r, w, M, cache = space.cell_forward(*(case[k] for k in ("x", "r", "w", "M")), part(case, "P."))
    for name, value in {"h": h, "r_new": r, "w_new": w, "M_new": M}.items():
        close(value, case[name], 1e-11, name)
    dx, do, *before = space.cell_backward(*(case[f"up.{k}"] for k in ("h", "r_new", "w_new", "M_new")), cache)
    for name, d in zip(("x", "r", "w", "M"), (dx, *before), strict=True):
        close(d, case[f"d{name}"], 1e-11, f"d{name}")
    close_dicts({"W_r": case["r"].T @ dx, "W_o": case["h"].T @ do, "b_o": do.sum(0)}, part(case, "G."), 1e-11)


def check_ntm_backward(space):
    for name in ("ntm", "ntm5"):
        case = CASES[name]
        Y, cache = space.ntm_forward(case["X"], part(case, "P."), (case["w_0"], case["M_0"]))
        close(Y, case["Y"], 1e-10, f"{name}: Y")
        dX, G = space.ntm_backward(case["dY"], cache)
        close(dX, case["dX"], 1e-10, f"{name}: dX")
        close_dicts(G, part(case, "G."), 1e-10)


def check_lstm_backward(space):
    case = CASES["lstm"]
    Y, cache = space.lstm_forward(case["X"], part(case, "P."))
    close(Y, case["Y"], 1e-12, "Y")
    dX, G = space.lstm_backward(case["dY"], cache)
    close(dX, case["dX"], 1e-12, "dX")
    close_dicts(G, part(case, "G."), 1e-12)


def check_loss_backward(space):
    for name in ("ntm", "ntm5", "lstm"):
        case = CASES[name]
        loss, cache = space.loss_forward(case["Y"], case["target"])
        close(loss, case["loss"], 1e-13, "loss")
        close(space.loss_backward(cache), case["dY"], 1e-14, "dY")


CHECKS = {f"{name}_backward": globals()[f"check_{name}_backward"] for name in (
    "read", "write", "cosine", "softmax", "content", "interpolate", "shift", "sharpen", "address", "heads",
    "cell", "ntm", "lstm", "loss")}


def test_loss_and_gradients_of_the_whole_model():
    case = CASES["ntm"]
    pair = N.machine((case["w_0"], case["M_0"]))
    loss, G = N.loss_and_gradients(pair, case["X"], case["target"], part(case, "P."))
    close(loss, case["loss"], 1e-12)
    close_dicts(G, part(case, "G."), 1e-10)
    case = CASES["lstm"]
    loss, G = N.loss_and_gradients(N.LSTM, case["X"], case["target"], part(case, "P."))
    close(loss, case["loss"], 1e-12)
    close_dicts(G, part(case, "G."), 1e-12)


# --- gradients, by differences ---------------------------------------------------------------------

def random_machine(seed=0, S=3, n_slots=7, dtype=np.float64):
    rng = np.random.default_rng(seed)
    P = {k: (p + 0.3 * rng.normal(size=p.shape)).astype(dtype)
         for k, p in N.init_ntm(rng, 5, 4, H=7, W=3, S=S, dtype=np.float64).items()}
    start = N.softmax(rng.normal(size=(2, n_slots))), rng.normal(size=(n_slots, 3))
    X, words = N.copy_batch(rng, 3, 4, n_bits=4)
    return P, start, X.astype(dtype), words


@pytest.mark.parametrize("options", [{}, {"S": 1}, {"S": 5}, {"n_slots": 3}, {"n_slots": 20}], ids=str)
def test_gradients_of_every_configuration(options):
    P, start, X, words = random_machine(**options)
    _, G = N.loss_and_gradients(N.machine(start), X, words, P)
    if options.get("S") == 1:  # a single shift has weight 1 whatever its logit
        assert not G["W_o"][:, -2:].any() and not G["b_o"][-2:].any()
    N.grad_check(lambda: N.loss_and_gradients(N.machine(start), X, words, P)[0], P, G,
                 np.random.default_rng(1), n=5)


def test_gradients_keep_names_shapes_and_dtype():
    P, start, X, words = random_machine(dtype=np.float32)
    P_lstm = N.init_lstm(np.random.default_rng(0), 5, 4, 6)
    for pair, p in ((N.machine(start), P), (N.LSTM, P_lstm)):
        before, X_before = {k: v.copy() for k, v in p.items()}, X.copy()
        _, G = N.loss_and_gradients(pair, X, words, p)
        assert G.keys() == p.keys() and np.array_equal(X, X_before)
        for k, g in G.items():
            assert g.shape == p[k].shape and g.dtype == np.float32, k
            assert np.array_equal(p[k], before[k]), f"{k} was written to"


def test_float32_agrees_with_float64():
    P, start, X, words = random_machine()
    exact = N.loss_and_gradients(N.machine(start), X, words, P)
    rough = N.loss_and_gradients(N.machine(start), X.astype(np.float32), words,
                                 {k: p.astype(np.float32) for k, p in P.items()})
    close(rough[0], exact[0], 1e-5, "loss")
    close_dicts({k: g.astype(float) for k, g in rough[1].items()}, exact[1], 1e-4)


def test_sequences_of_a_batch_do_not_mix():
    P, start, X, _ = random_machine()
    whole = N.ntm_forward(X, P, start)[0]
    for b in range(len(X)):
        close(N.ntm_forward(X[b:b + 1], P, start)[0], whole[b:b + 1], 1e-13)


def test_answers_do_not_depend_on_the_future():
    P, start, X, _ = random_machine()
    Y = N.ntm_forward(X, P, start)[0]
    for t in range(1, X.shape[1]):
        close(N.ntm_forward(X[:, :t], P, start)[0], Y[:, :t], 1e-13)


# --- memory and addressing -------------------------------------------------------------------------

def test_erase_comes_before_add():
    one, zero = np.ones((1, 1)), np.zeros((1, 1))
    assert N.write_forward(one, one, 3 * one, 5 * one[None])[0].item() == 3
    assert N.write_forward(one, zero, 3 * one, 5 * one[None])[0].item() == 8
    assert N.write_forward(zero, one, 3 * one, 5 * one[None])[0].item() == 5


def test_cosine_ignores_lengths_and_survives_empty_slots():
    rng = np.random.default_rng(0)
    k, M = rng.normal(size=(2, 2, 4)), rng.normal(size=(2, 5, 4))
    scaled = M * rng.uniform(1, 9, size=(2, 5, 1))
    close(N.cosine_forward(3 * k, scaled)[0], N.cosine_forward(k, M)[0], 1e-7)
    K, cache = N.cosine_forward(k, 0 * M)
    assert not K.any() and all(np.isfinite(d).all() for d in N.cosine_backward(np.ones_like(K), cache))


def test_memory_gradient_of_the_cosine_is_at_a_right_angle_to_the_memory():
    """Length does not matter, so moving a slot along itself changes nothing: the norm's term."""
    rng = np.random.default_rng(1)
    k, M = rng.normal(size=(2, 2, 4)), rng.normal(size=(2, 5, 4))
    dk, dM = N.cosine_backward(rng.normal(size=(2, 2, 5)), N.cosine_forward(k, M)[1])
    close((dM * M).sum(-1), np.zeros((2, 5)), 1e-7)
    close((dk * k).sum(-1), np.zeros((2, 2)), 1e-7)
    assert np.abs(dM).max() > 0.1


@pytest.mark.parametrize("S", [1, 3, 5])
def test_fast_shift_is_the_shift_by_roll(S):
    rng = np.random.default_rng(S)
    w, s = rng.random((2, 2, 6)), rng.random((2, 2, S))
    fast = N.shift_forward(w, s)[0]
    for b in range(2):
        for n in range(2):
            close(fast[b, n], N.shift_by_roll(w[b, n], s[b, n]), 1e-14)


def test_shift_goes_round_the_ring():
    w, s = np.eye(5)[[0, 4]][None], np.eye(3)[[0, 2]][None]  # 0 one back, 4 one forward
    assert N.shift_forward(w, s)[0].argmax(-1).tolist() == [[4, 0]]


def test_sharpening_keeps_the_winner_and_sums_to_one():
    w = np.array([[[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]]], dtype=np.float32)
    for gamma in (1.0, 3.0, 500.0):
        out = N.sharpen_forward(w, np.full((1, 2), gamma, np.float32))[0]
        close(out.sum(-1), [[1, 1]], 1e-6)
        assert out.argmax(-1).tolist() == [[1, 0]] and np.isfinite(out).all()
    close(N.sharpen_forward(w, np.ones((1, 2)))[0], w, 1e-5)


def test_weightings_are_weightings():
    P, start, X, _ = random_machine()
    found = N.trace(X, P, start)
    for name in ("w_c", "w_g", "w"):
        assert (found[name] >= 0).all()
        close(found[name].sum(-1), np.ones((9, 3, 2)), 1e-12, name)
    close(found["w_s"].sum(-1), np.full((9, 3, 2), 1 + 7e-6), 1e-12)
    assert found["M"].shape == (9, 3, 7, 3) and found["s"].shape == (9, 3, 2, 3)
    assert (found["gamma"] >= 1).all() and (found["beta"] > 0).all()


def test_trace_is_the_pipeline_of_the_paper():
    P, start, X, _ = random_machine()
    t = N.trace(X, P, start)
    w_g = t["g"][..., None] * t["w_c"] + (1 - t["g"][..., None]) * np.concatenate(
        [np.tile(start[0], (1, 3, 1, 1)), t["w"][:-1]])
    close(t["w_g"], w_g, 1e-12)
    rolled = sum(t["s"][..., j, None] * np.roll(w_g, j - 1, -1) for j in range(3)) + 1e-6
    close(t["w_s"], rolled, 1e-12)
    power = rolled ** t["gamma"][..., None]
    close(t["w"], power / power.sum(-1, keepdims=True), 1e-11)


def test_strengths_are_softplus_not_exponentials():
    """The key strength and the sharpening grow in proportion to the controller's output."""
    W = 2
    for x, softplus in ((0.0, np.log(2)), (60.0, 60.0), (1000.0, 1000.0), (-40.0, np.exp(-40))):
        u, _ = N.heads_forward(np.full((1, 4 * W + 12), x), W)
        np.testing.assert_allclose(u["beta"], np.full((1, 2), softplus), rtol=1e-12)
        np.testing.assert_allclose(u["gamma"], np.full((1, 2), 1 + softplus), rtol=1e-12)


def test_heads_have_columns_of_their_own():
    W, S = 3, 3
    base = np.random.default_rng(2).normal(size=4 * W + 6 + 2 * S)
    before, _ = N.heads_forward(base[None], W)
    touched = []
    for column in range(len(base)):
        u, _ = N.heads_forward((base + np.eye(len(base))[column])[None], W)
        changed = {name for name in u if not np.array_equal(u[name], before[name])}
        assert len(changed) == 1
        touched += changed
    assert {name: touched.count(name) for name in before} == {
        "k": 2 * W, "a": W, "e": W, "g": 2, "beta": 2, "gamma": 2, "s": 2 * S}


def test_parameters_do_not_know_the_number_of_slots():
    P, _, X, _ = random_machine()
    for n_slots in (3, 50):
        assert N.ntm_forward(X, P, N.blank_memory(n_slots, 3))[0].shape == (3, 9, 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_even_start_is_a_symmetry_for_any_parameters(dtype):
    P, _, X, words = random_machine(3, dtype=dtype)
    even = N.blank_memory(8, 3, one_hot=False)
    found = N.trace(X, P, even)
    assert np.abs(found["w"] * 8 - 1).max() < 1e-5
    assert np.ptp(found["M"], axis=2).max() < 1e-5
    assert np.ptp(N.trace(X, P, N.blank_memory(8, 3))["w"], axis=-1).max() > 0.01
    # Exchanging slots of any first state changes no answer: nothing depends on a slot's number but shifts.
    rng = np.random.default_rng(4)
    w, M = N.softmax(rng.normal(size=(2, 8))), rng.normal(size=(8, 3))
    Y = N.ntm_forward(X, P, (w, M))[0]
    close(N.ntm_forward(X, P, (np.roll(w, 3, 1), np.roll(M, 3, 0)))[0], Y, 1e-4)


# --- the demonstration by hand ---------------------------------------------------------------------

@pytest.mark.parametrize("L, n_slots, W", [(4, 8, 4), (1, 8, 4), (8, 8, 5), (5, 6, 3)])
def test_copy_by_hand_writes_and_reads_back(L, n_slots, W):
    items = np.random.default_rng(L).normal(size=(L, W))
    read, memory, visited = N.copy_by_hand(items, n_slots)
    close(read, items, 1e-2, "read")
    close(memory[:L], items, 1e-2, "memory")
    close(memory[L:], np.zeros((n_slots - L, W)), 1e-2, "rest of the memory")
    assert visited == [*range(L), *range(L)]


# --- tasks -----------------------------------------------------------------------------------------

def test_copy_batch():
    X, words = N.copy_batch(np.random.default_rng(0), 50, 4, n_bits=3)
    assert X.shape == (50, 9, 4) and words.shape == (50, 4, 3) and X.dtype == words.dtype == np.float32
    assert np.array_equal(X[:, :4, :3], words) and (X[:, 4] == [0, 0, 0, 1]).all() and not X[:, 5:].any()
    assert not X[:, :4, 3].any() and set(np.unique(words)) == {0, 1} and abs(words.mean() - 0.5) < 0.07
    again = N.copy_batch(np.random.default_rng(0), 50, 4, n_bits=3)[0]
    assert np.array_equal(X, again)


def test_repeat_batch():
    for L, R in ((1, 1), (3, 2), (2, 5)):
        X, target = N.repeat_batch(np.random.default_rng(1), 6, L, R, n_bits=4)
        assert X.shape == (6, L + 1 + L * R + 1, 6) and target.shape == (6, L * R + 1, 5)
        for k in range(R):
            assert np.array_equal(target[:, k * L:(k + 1) * L, :4], X[:, :L, :4])
        assert (target[:, -1] == [0, 0, 0, 0, 1]).all() and not target[:, :-1, -1].any()
        assert (X[:, L, 4] == 1).all() and not X[:, L + 1:].any() and not X[:, :L, 4:].any()
    counts = [N.repeat_batch(np.random.default_rng(1), 1, 2, R)[0][0, 2, -1] for R in (1, 2, 3)]
    close([np.mean(counts), np.std(counts)], [0, 1], 1e-6)


def test_loss_of_silence_is_one_bit_a_bit():
    loss, cache = N.loss_forward(np.zeros((2, 7, 3)), np.ones((2, 4, 3)))
    close(loss, np.log(2), 1e-15)
    dY = N.loss_backward(cache)
    assert not dY[:, :3].any() and (dY[:, 3:] < 0).all()
    assert N.loss_forward(np.full((1, 1, 1), 1e4), np.ones((1, 1, 1)))[0] == 0


def test_copy_errors_counts_wrong_bits():
    def parrot(X, P):
        """Right but for the first bit of the first word."""
        L = X.shape[1] // 2
        Y = np.concatenate([0 * X[:, :L + 1, :-1], 2 * X[:, :L, :-1] - 1], 1)
        Y[:, L + 1, 0] *= -1
        return Y, None

    wrong = N.copy_errors((parrot, None), None, 5, np.random.default_rng(0), n=7, n_slots=5)
    assert wrong.shape == (7, 5, 6) and wrong[:, 0, 0].all() and wrong.sum() == 7


def test_moves_on_the_ring():
    assert N.moves(np.array([6, 7, 0, 1, 0, 7, 3]), 8).tolist() == [1, 1, 1, -1, -1, -4]
    assert N.moves(np.array([[0, 3], [23, 9]]), 24).tolist() == [[-1, 6]]


def test_first_below():
    curve = np.concatenate([np.ones(100), np.zeros(100)])
    assert N.first_below(curve, 0.5, 10) == 106 and N.first_below(curve[:100], 0.5, 10) == 100
    close(N.smooth(np.arange(6.0), 3), [1, 2, 3, 4], 1e-14)


def test_training_lowers_the_loss():
    for name, P in (("NTM", N.init_ntm(np.random.default_rng(0), 4, 3)),
                    ("LSTM", N.init_lstm(np.random.default_rng(0), 4, 3, 16))):
        pair = N.LSTM if name == "LSTM" else N.machine(N.blank_memory(6))
        curve = N.train(pair, P, lambda rng, B: N.copy_batch(rng, B, 2, 3), 0, 200)
        assert len(curve) == 200 and abs(curve[0] - 3) < 1, name
        assert curve[-20:].mean() < curve[:20].mean() - 0.5, name


def test_fresh_parameters():
    sizes = [sum(p.size for p in P.values()) for rng in [np.random.default_rng(0)] for P in (
        N.init_ntm(rng, 7, 6), N.init_lstm(rng, 7, 6, 32), N.init_lstm(rng, 7, 6, 128),
        N.init_ntm(rng, 9, 8, H=100, W=20))]
    assert sizes == [5654, 5318, 70406, 13280]
    assert all(p.dtype == np.float32 for p in N.init_ntm(np.random.default_rng(0), 7, 6).values())
    assert (N.init_lstm(np.random.default_rng(0), 7, 6, 5)["b_h"] == [0] * 5 + [1] * 5 + [0] * 10).all()


def test_blank_memory():
    w, M = N.blank_memory(5, 3)
    assert w.tolist() == [[1, 0, 0, 0, 0]] * 2 and M.shape == (5, 3) and np.ptp(M) == 0 < M[0, 0]
    close(N.blank_memory(5, 3, one_hot=False)[0], np.full((2, 5), 0.2), 1e-15)


# --- bad input -------------------------------------------------------------------------------------

def run(X, start):
    return N.ntm_forward(X, N.init_ntm(rng(), 7, 6), start)


@pytest.mark.parametrize("call, words", [
    (lambda: N.copy_batch(rng(), 2, 0), "length 0, 6 bits"),
    (lambda: N.copy_batch(rng(), 2, -3), "length -3"),
    (lambda: N.copy_batch(rng(), 2, 3, 0), "length 3, 0 bits"),
    (lambda: N.repeat_batch(rng(), 2, 0, 2), "length 0"),
    (lambda: N.repeat_batch(rng(), 2, 3, 0), "0 repetitions: expected at least 1"),
    (lambda: N.shift_forward(np.ones((1, 1, 5)), np.ones((1, 1, 2))), "2 shifts for 5 slots"),
    (lambda: N.shift_forward(np.ones((1, 1, 2)), np.ones((1, 1, 3))), "3 shifts for 2 slots"),
    (lambda: run(N.copy_batch(rng(), 2, 3)[0], N.blank_memory(2)), "3 shifts for 2 slots"),
    (lambda: run(np.zeros((2, 0, 7)), N.blank_memory(8)), "a sequence of 0 steps"),
    (lambda: run(N.copy_batch(rng(), 2, 3, 8)[0], N.blank_memory(8)), "inputs of width 9: expected 7"),
    (lambda: run(N.copy_batch(rng(), 2, 3)[0], N.blank_memory(8, 10)),
     "weightings (2, 8), memory (8, 10): expected (2, N) and (N, 12)"),
    (lambda: run(N.copy_batch(rng(), 2, 3)[0], (np.ones((2, 9)), np.ones((8, 12)))), "weightings (2, 9)"),
    (lambda: N.copy_by_hand(np.ones((9, 4))), "9 items: expected at most 8"),
    (lambda: N.copy_errors(N.LSTM, {}, 25, rng(), n_slots=24), "25 words: expected at most 24")])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()


# --- exercises -------------------------------------------------------------------------------------

def readers_space():
    """The notebook's globals as a reader has them before the exercises; short runs."""
    space = support.classroom(20)
    train = space["train"]
    space |= {"SEED": 0, "rng": np.random.default_rng(12), "errors": {},
              "NTM_LARGE": space["machine"](space["blank_memory"](128))}
    space["train"] = lambda pair, P, task, seed, _, **rest: train(pair, P, task, seed, 10, **rest)
    return space


EXERCISES = Exercises(space=readers_space, errors=("learned start",), wrong=(
    ("blur = lambda w, s, steps: w", 0),
    ("blur = lambda w, s, steps: shift_by_roll(w, s)", 0),
    ("learned_start_backward = lambda dw_0, w_0: softmax_backward(dw_0.mean(0), w_0)", 1),
    ("learned_start_backward = lambda dw_0, w_0: dw_0.sum(0)", 1)))
