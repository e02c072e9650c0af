"""Notebook 03: five recurrent cells against autograd and PyTorch's own; task, stack, bad input, exercises."""

import math
import re

import numpy as np
import pytest

from tests.support import Exercises, classroom, close, close_dicts, definitions, golden, part

NB = definitions(3)
GOLD = golden("03")
KINDS = ("rnn", "lstm", "coupled", "peephole", "gru")


def s0_of(case):
    return tuple(part(case, "s0.").values())


def check_cell(*kinds):
    """States, dx, gradient at every state, gradients of all weights; a stack of nets and a single one."""
    def check(nb):
        for kind in kinds:
            for case in (GOLD[kind], GOLD[f"{kind}_one"]):
                forward, backward = nb.CELLS[kind]
                states, cache = forward(case["x"], s0_of(case), part(case, "P."))
                dx, flow, G = backward(case["dh"], cache)
                close(dx, case["dx"], what="dx")
                close_dicts(G, part(case, "G."))
                assert len(states) == len(flow) == len(s0_of(case))
                for k, (s, d) in enumerate(zip(states, flow, strict=True)):
                    close(s, case[f"states.{k}"], what=f"state {k}")
                    close(d, case[f"flow.{k}"], what=f"gradient at state {k}")
    return check


def check_readout(nb):
    case = GOLD["readout"]
    loss, cache = nb.readout_forward(case["h"], case["y"], part(case, "P."))
    close(loss, case["loss"], what="loss")
    dh, G = nb.readout_backward(cache)
    close(dh, case["dh"], what="dh")
    close_dicts(G, part(case, "G."))


CHECKS = {f"{kind}_backward": check_cell(kind) for kind in KINDS}
CHECKS |= {"weights_backward": check_cell(*KINDS), "readout_backward": check_readout}


@pytest.mark.parametrize("name", CHECKS)
def test_golden(name):
    CHECKS[name](NB)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_pytorchs_own_cell(kind):
    """nn.RNN and nn.LSTM; nn.GRU with the reset gate open, where its form and the essay's coincide."""
    case = GOLD[f"{kind}_torch"]
    forward, backward = NB.CELLS[kind]
    states, cache = forward(case["x"], s0_of(case), part(case, "P."))
    close(states[0][1:], case["h"], what="h")
    dx, flow, G = backward(case["dh"], cache)
    close(dx, case["dx"], what="dx")
    close_dicts(G, part(case, "G."))
    for k, d in enumerate(flow):
        close(d[0], case[f"ds0.{k}"], what=f"ds0[{k}]")


@pytest.mark.parametrize("kind", KINDS)
def test_whole_model(kind):
    case = GOLD[f"{kind}_model"]
    loss, right, flow, G = NB.loss_and_gradients(kind, case["x"], case["y"], part(case, "P."))
    close(loss, case["loss"], what="loss")
    close(right, case["right"], what="share of right answers")
    close_dicts(G, part(case, "G."))
    close(flow[0][1], case["dh1"], what="dL/dh_1")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("H", [2, 5])
def test_gradient_check_at_other_shapes(kind, H):
    rng = np.random.default_rng(4)
    assert NB.check_cell(kind, rng, N=1, B=2, T=3, H=H) < 1e-6
    assert NB.check_model(kind, NB.init(kind, H, rng, 2.0, -1.0), rng, T=4, B=3) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_backward_leaves_the_cache_as_it_was(kind):
    case = GOLD[kind]
    _, cache = NB.CELLS[kind][0](case["x"], s0_of(case), part(case, "P."))
    first, second = (NB.CELLS[kind][1](case["dh"], cache)[2] for _ in range(2))
    close_dicts(first, second, 0)


# --- mistakes that must be impossible here --------------------------------------------------------

@pytest.mark.parametrize("kind", KINDS)
def test_backpropagation_goes_through_time(kind):
    """The gradient of the last step's loss reaches the first input, the first state and W_h."""
    case = GOLD[f"{kind}_model"]
    _, _, flow, G = NB.loss_and_gradients(kind, case["x"], case["y"], part(case, "P."))
    assert all(np.abs(d[1]).max() > 1e-6 for d in flow) and np.abs(G["W_h"]).max() > 1e-6


@pytest.mark.parametrize("kind", ["lstm", "coupled", "gru"])
def test_the_task_is_learned_not_only_generated(kind):
    """A short gap: from chance to right on new sequences, by the notebook's own training."""
    P = NB.stack_nets([NB.init(kind, 12, np.random.default_rng(k), 3.0, -3.0) for k in range(2)])
    NB.accuracy.__globals__["SEED"] = 0
    before = NB.accuracy(kind, P, 8)
    sources = [(np.random.default_rng([7, k]), 2) for k in range(2)]
    NB.train(kind, P, sources, 8, 0.02, 150)
    assert before.max() < 0.5 and NB.accuracy(kind, P, 8).min() > 0.9


def test_the_gradient_profile_is_measured_not_drawn():
    """It follows the weights: for f = const and nothing else it is f^t, and it changes with the data."""
    P = {k: np.zeros_like(p) for k, p in NB.init("coupled", 3, np.random.default_rng(0), 1.5).items()}
    P["b"][0] = 1.5
    P["W_y"] = np.random.default_rng(1).normal(size=P["W_y"].shape)
    NB.gradient_profile.__globals__["SEED"] = 0
    dh, dC = NB.gradient_profile("coupled", NB.stack_nets([P]), 20)
    f = 1 / (1 + math.exp(-1.5))
    np.testing.assert_allclose(dC[:, 0] / dC[-1, 0], f ** np.arange(19, -1, -1), rtol=1e-6)
    assert not dh[:-1].any() and dh[-1, 0] > 0     # with W_h = 0 nothing comes back through h


def test_profile_of_a_linear_rnn():
    """Identity recurrence at tiny states: |dL/dh_t| is the same at every step."""
    P = NB.init("rnn", 4, np.random.default_rng(0))
    P["W_x"][:], P["W_h"][0] = 0, 0.5 * np.eye(4)
    NB.gradient_profile.__globals__["SEED"] = 0
    (dh,) = NB.gradient_profile("rnn", NB.stack_nets([P]), 12)
    np.testing.assert_allclose(dh[:, 0] / dh[-1, 0], 0.5 ** np.arange(11, -1, -1), rtol=1e-5)


# --- forward, stack -------------------------------------------------------------------------------

def test_readable_step_is_the_fast_one():
    rng = np.random.default_rng(3)
    Q = {f"{k}_{gate}": rng.normal(size=(5, 2) if k == "W" else 2) for k in "Wb" for gate in "fioC"}
    x, h, c = rng.normal(size=(4, 1, 3)), rng.normal(size=2), rng.normal(size=2)
    (hs, cs), _ = NB.lstm_forward(x, (h[None], c[None]), NB.together(Q, 2))
    for t in range(4):
        h, c, _ = NB.lstm_step(x[t, 0], h, c, Q)
        close(hs[t + 1, 0], h)
        close(cs[t + 1, 0], c)


@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_a_stack_do_not_disturb_each_other(kind):
    """Loss, gradients and clipped gradients of each network as if it were alone."""
    nets = [{k: p.astype(float) for k, p in NB.init(kind, 4, np.random.default_rng(k), 1.0).items()}
            for k in range(3)]
    nets[1]["W_y"] *= 50                            # one with a large gradient
    batches = [NB.recall_batch(np.random.default_rng(k), 5, 6) for k in range(3)]
    x, y = np.stack([x for x, _ in batches], axis=1), np.stack([y for _, y in batches])
    loss, right, _, G = NB.loss_and_gradients(kind, x.astype(float), y, NB.stack_nets(nets))
    norms = NB.clip_each(G, 0.3)
    for k, P in enumerate(nets):
        alone = NB.loss_and_gradients(kind, x[:, k].astype(float), y[k], P)
        G_alone = alone[3]
        norm = math.sqrt(sum((g**2).sum() for g in G_alone.values()))
        scale = min(1, 0.3 / norm)
        close(loss[k], alone[0])
        close(right[k], alone[1])
        close(norms[k], norm)
        close_dicts({n: g[..., k, :, :] for n, g in G.items()}, {n: g * scale for n, g in G_alone.items()})
    assert norms.max() > 0.3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_training_stays_in_its_precision(kind, dtype):
    P = NB.init(kind, 3, np.random.default_rng(0), 1.0, -1.0, dtype)
    x, y = NB.recall_batch(np.random.default_rng(1), 4, 5)
    loss, _, flow, G = NB.loss_and_gradients(kind, x.astype(dtype), y, P)
    assert {a.dtype for a in (*flow, *G.values())} == {np.dtype(dtype)}


def test_extreme_values_do_not_overflow():
    with np.errstate(over="raise", invalid="raise"):
        assert NB.sigmoid(np.array([-1e4, 0, 1e4])).tolist() == [0, 0.5, 1]
        P = {"W_y": np.array([[1000.0, -1000.0]]), "b_y": np.zeros((1, 2))}
        loss, cache = NB.readout_forward(np.ones((1, 1)), np.array([1]), P)
        assert loss == pytest.approx(2000) and np.isfinite(NB.readout_backward(cache)[0]).all()


def test_biases_are_where_they_belong():
    rng = np.random.default_rng(0)
    assert NB.init("lstm", 2, rng, 5, -4)["b"][:, 0, 0].tolist() == [5, -4, 0, 0]
    assert NB.init("peephole", 2, rng, 5, -4)["b"][:, 0, 0].tolist() == [5, -4, 0, 0]
    assert NB.init("coupled", 2, rng, 5, -4)["b"][:, 0, 0].tolist() == [5, 0, 0]
    assert NB.init("gru", 2, rng, 5, -4)["b"][:, 0, 0].tolist() == [-5, 0, 0]
    assert not NB.init("rnn", 2, rng, 5, -4)["b"].any()


# --- task and measurements ------------------------------------------------------------------------

def test_only_the_first_step_tells_the_symbol():
    x, y = NB.recall_batch(np.random.default_rng(0), 2000, 7)
    assert (x[0].argmax(-1) == y).all() and not x[1:, :, :NB.K].any()
    shares = x[1:, :, NB.K:].mean(axis=(0, 1))
    np.testing.assert_allclose(shares, [0.5, 0.5], atol=0.02)
    for k in range(NB.K):                           # the distractors do not depend on the symbol
        np.testing.assert_allclose(x[1:, y == k, NB.K].mean(), 0.5, atol=0.05)
    assert not NB.recall_batch(np.random.default_rng(0), 50, 7, 1)[0][1:, :, NB.K + 1].any()


def test_symbol_share():
    rng = np.random.default_rng(0)
    y = rng.integers(NB.K, size=400)
    told = rng.normal(size=(NB.K, 3))[y]
    noise = rng.normal(size=(400, 3))
    share = NB.symbol_share(np.stack([told, noise]), y)
    assert share[0] == pytest.approx(1) and share[1] < 0.06


def test_direction_kept():
    NB.direction_kept.__globals__["SEED"] = 0
    P = NB.stack_nets([NB.init("coupled", 3, np.random.default_rng(k), 1.0, dtype=np.float64)
                       for k in range(2)])
    kept = NB.direction_kept("coupled", P, 5, (0.0, 1e-6, 3.0))
    assert kept.shape == (3, 2)
    np.testing.assert_allclose(kept[:2], 1, atol=1e-4)
    assert kept[2].max() < 0.9


# --- bad input ------------------------------------------------------------------------------------

@pytest.mark.parametrize("T", [1, 0, -3])
def test_a_sequence_without_a_gap_is_refused(T):
    with pytest.raises(ValueError, match=f"T is {T}, expected at least 2"):
        NB.recall_batch(np.random.default_rng(0), 4, T)


@pytest.mark.parametrize("B, distractors", [(0, 2), (4, 0), (4, 3)])
def test_bad_batch(B, distractors):
    with pytest.raises(ValueError, match=f"B is {B}, distractors {distractors}: expected"):
        NB.recall_batch(np.random.default_rng(0), B, 5, distractors)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(0, 2, 10), (4, 2, 9), (4, 10)])
def test_bad_sequence(kind, shape):
    P = NB.init(kind, 3, np.random.default_rng(0))
    s0 = tuple(np.zeros((2, 3)) for _ in range(2))
    with pytest.raises(ValueError, match=re.escape(f"x has shape {shape}, expected (T, ..., B, 10)")):
        NB.CELLS[kind][0](np.zeros(shape), s0, P)


@pytest.mark.parametrize("kind, H", [("transformer", 3), ("lstm", 0)])
def test_bad_kind_or_size(kind, H):
    with pytest.raises(ValueError, match=f"kind is '{kind}', H is {H}: expected"):
        NB.init(kind, H, np.random.default_rng(0))


# --- exercises ------------------------------------------------------------------------------------

def readers_space():
    """The notebook's globals as a reader has them: the weights that the text writes by hand."""
    space = classroom(3)
    columns = space["columns"]
    space["by_hand"] = {"W_f": columns(0, 0, -20), "b_f": 10.0, "W_i": columns(0, 0, 20), "b_i": -10.0,
                        "W_C": columns(0, 1, 0), "b_C": 0.0, "W_o": columns(0, 0, 0), "b_o": 10.0}
    return space


EXERCISES = Exercises(space=readers_space, wrong=(
    ("counter = by_hand", 0), ("bias_for = lambda share, steps: 5.0", 1)))
