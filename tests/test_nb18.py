"""Notebook 18: the relational memory core and the LSTM against PyTorch, and their properties."""

import ast
import re
from dataclasses import replace

import numpy as np
import pytest

from tests import support
from tests.support import Exercises, close, close_dicts, definitions, golden, part
from tools import notebook
from tools.catalogue import load

N = definitions(18)
CASES = golden("18")
KINDS = {0: "", 2: "if", 3: "ifo"}
SEQUENCES = ["sequence", "sequence_ifo", "sequence_slot", "sequence_open"]


def config(case):
    sizes = {k: int(case[k]) for k in ("slots", "D", "heads", "blocks", "inputs", "outputs")}
    return N.Config(**sizes, gates=KINDS[int(case["kinds"])], per="slot" if case["per_slot"] else "unit",
                    sight=("all", "hub", "self")[int(case["sight"])],
                    readout="flat" if case["flat"] else "slot")


# --- what the mutation test breaks -----------------------------------------------------------------

def check_attention_backward(space):
    for name in ("attention", "attention_masked"):
        case = CASES[name]
        y, cache = space.attention_forward(case["X"], case["P.W_qkv"], int(case["heads"]), case.get("mask"))
        close(y, case["y"], 1e-12, f"{name}: y")
        dX, dW = space.attention_backward(case["up.y"], cache)
        close(dX, case["dX"], 1e-12, f"{name}: dX")
        close(dW, case["G.W_qkv"], 1e-12, f"{name}: dW_qkv")


def check_rows(name, forward, backward):
    """A function of rows with parameters: y, dX and the parameters' gradients."""
    case = CASES[name]
    y, cache = forward(case["X"], part(case, "P."))
    close(y, case["y"], 1e-12, "y")
    dX, G = backward(case["up.y"], cache)
    close(dX, case["dX"], 1e-12, "dX")
    close_dicts(G, part(case, "G."), 1e-12)


def check_layer_norm_backward(space):
    check_rows("layer_norm", space.layer_norm_forward, space.layer_norm_backward)


def check_mlp_backward(space):
    check_rows("mlp", space.mlp_forward, space.mlp_backward)


def check_block_backward(space):
    check_rows("block", lambda X, P: space.block_forward(X, P, 3), space.block_backward)


def check_gates_backward(space):
    for name in ("gates_if", "gates_ifo", "gates_slot"):
        case = CASES[name]
        new, out, cache = space.gates_forward(*(case[k] for k in ("Z", "M", "h", "a", "W_h")),
                                              KINDS[int(case["kinds"])])
        close(new, case["new"], 1e-12, f"{name}: new")
        close(out, case["out"], 1e-12, f"{name}: out")
        found = space.gates_backward(case["up.new"], case["up.out"], cache)
        for k, d in zip(("Z", "M", "h", "a", "W_h"), found, strict=True):
            close(d, case[f"d{k}"], 1e-12, f"{name}: d{k}")


def check_cell_backward(space):
    for name in ("cell", "cell_slot", "cell_open"):
        case, kinds = CASES[name], KINDS[int(CASES[name]["kinds"])]
        D = case["M"].shape[-1]
        cfg = space.Config(inputs=D, outputs=2, slots=case["M"].shape[1], D=D, heads=int(case["heads"]),
                           blocks=int(case["blocks"]), gates=kinds)
        M, h, cache = space.cell_forward(*(case[k] for k in ("M", "h", "e", "a")), part(case, "P."), cfg)
        close(M, case["new"], 1e-11, f"{name}: M")
        close(h, case["out"], 1e-11, f"{name}: h")
        dM, dh, de, da, G = space.cell_backward(case["up.new"], case["up.out"], cache)
        close(dM, case["dM"], 1e-11, f"{name}: dM")
        close(de, case["de"], 1e-11, f"{name}: de")
        close_dicts(G, part(case, "G."), 1e-11)
        if kinds:
            close(dh, case["dh"], 1e-11, f"{name}: dh")
            close(da, case["da"], 1e-11, f"{name}: da")
        else:
            assert dh.shape == M.shape and not dh.any() and da is None


def check_rmc_backward(space):
    for name in SEQUENCES:
        case = CASES[name]
        logits, cache = space.rmc_forward(case["x"], part(case, "P."), config(case))
        close(logits, case["logits"], 1e-10, f"{name}: logits")
        loss, loss_cache = space.cross_entropy_forward(logits, case["y"])
        close(loss, case["loss"], 1e-11, f"{name}: loss")
        dx, G = space.rmc_backward(space.cross_entropy_backward(loss_cache), cache)
        close(dx, case["dx"], 1e-11, f"{name}: dx")
        close_dicts(G, part(case, "G."), 1e-11)


def check_lstm_backward(space):
    case = CASES["lstm"]
    inputs, H, outputs = case["x"].shape[-1], len(case["P.W_h"]), len(case["P.b_y"])
    y, cache = space.lstm_forward(case["x"], part(case, "P."), space.LSTMConfig(inputs, outputs, H))
    close(y, case["y"], 1e-12, "y")
    dx, G = space.lstm_backward(case["up.y"], cache)
    close(dx, case["dx"], 1e-12, "dx")
    close_dicts(G, part(case, "G."), 1e-12)


def check_cross_entropy_backward(space):
    case = CASES["loss"]
    loss, cache = space.cross_entropy_forward(case["logits"], case["y"])
    close(loss, case["loss"], 1e-12, "loss")
    close(space.cross_entropy_backward(cache), case["dlogits"], 1e-13, "dlogits")


CHECKS = {
    "attention_backward": check_attention_backward, "layer_norm_backward": check_layer_norm_backward,
    "mlp_backward": check_mlp_backward, "block_backward": check_block_backward,
    "gates_backward": check_gates_backward, "cell_backward": check_cell_backward,
    "rmc_backward": check_rmc_backward, "lstm_backward": check_lstm_backward,
    "cross_entropy_backward": check_cross_entropy_backward,
}


# --- gradients, by differences ---------------------------------------------------------------------

def random_model(seed=0, dtype=np.float64, **options):
    """A core that is neither symmetric nor zero anywhere, and games for it."""
    rng = np.random.default_rng(seed)
    cfg = N.Config(**{"inputs": 4, "outputs": 4, "slots": 4, "D": 8, "heads": 2} | options)
    P = {k: (p + 0.3 * rng.normal(size=p.shape)).astype(dtype)
         for k, p in N.rmc_init(rng, cfg, dtype=np.float64).items()}
    x, y = N.shell_game(rng, 3, 4, 4)
    return P, cfg, x.astype(dtype), y


@pytest.mark.parametrize("options", [
    {}, {"gates": "ifo"}, {"gates": ""}, {"per": "slot"}, {"gates": "ifo", "per": "slot"}, {"sight": "hub"},
    {"sight": "self"}, {"blocks": 1}, {"blocks": 3}, {"heads": 1},
    {"readout": "flat", "outputs": 16}], ids=str)
def test_gradients_of_every_configuration(options):
    P, cfg, x, y = random_model(**options)
    _, dx, G = N.loss_and_gradients(x, y, P, cfg)
    N.grad_check(lambda: N.loss_and_gradients(x, y, P, cfg)[0], P | {"x": x}, G | {"x": dx},
                 np.random.default_rng(1), tol=1e-4, n=3, h=1e-6)  # ReLU has kinks


@pytest.mark.parametrize("net", ["rmc", "lstm"])
def test_gradients_keep_names_shapes_and_dtype(net):
    if net == "rmc":
        P, cfg, x, y = random_model(dtype=np.float32)
    else:
        _, _, x, y = random_model(dtype=np.float32)
        cfg = N.LSTMConfig(4, 16, 7)
        P = N.lstm_init(np.random.default_rng(0), cfg)
    before = {k: p.copy() for k, p in P.items()}
    loss, dx, G = N.loss_and_gradients(x, y, P, cfg)
    assert np.isfinite(loss) and loss > 0 and dx.shape == x.shape and G.keys() == P.keys()
    for k, g in G.items():
        assert g.shape == P[k].shape and g.dtype == np.float32, k
        assert np.array_equal(P[k], before[k]), f"{k} was written to"


def test_float32_agrees_with_float64():
    P, cfg, x, y = random_model()
    exact = N.loss_and_gradients(x, y, P, cfg)
    P32 = {k: p.astype(np.float32) for k, p in P.items()}
    rough = N.loss_and_gradients(x.astype(np.float32), y, P32, cfg)
    close(rough[0], exact[0], 1e-4, "loss")
    close_dicts({k: g.astype(float) for k, g in rough[2].items()}, exact[2], 1e-3)


# --- the mistakes others made ----------------------------------------------------------------------

def test_query_and_key_gradients_carry_the_scale():
    """Scaling done outside of the chain gives W_q and W_k gradients that are sqrt(d_k) too large."""
    rng = np.random.default_rng(2)
    X, W, dy = rng.normal(size=(2, 5, 8)), rng.normal(size=(8, 24)), rng.normal(size=(2, 5, 8))
    _, dW = N.attention_backward(dy, N.attention_forward(X, W, 2)[1])
    h = 1e-6 * rng.normal(size=W.shape)
    h[:, 16:] = 0                                        # queries and keys only
    up, down = (np.sum(N.attention_forward(X, W + s * h, 2)[0] * dy) for s in (1, -1))
    assert abs((up - down) / 2 / np.sum(dW * h) - 1) < 1e-5


@pytest.mark.parametrize("net", ["rmc", "lstm"])
def test_the_last_loss_reaches_the_first_input(net):
    """No state is detached: full backpropagation through time, checked by differences."""
    P, cfg, x, y = random_model()
    if net == "lstm":
        cfg = N.LSTMConfig(4, 16, 6)
        P = N.lstm_init(np.random.default_rng(3), cfg, dtype=np.float64)
    _, dx, G = N.loss_and_gradients(x, y[:, -1:], P, cfg)
    assert (np.linalg.norm(dx, axis=(0, 2)) > 1e-6).all()
    direction = np.zeros_like(x)
    direction[:, 0] = np.random.default_rng(4).normal(size=x[:, 0].shape)
    up, down = (N.loss_and_gradients(x + s * 1e-5 * direction, y[:, -1:], P, cfg)[0] for s in (1, -1))
    close((up - down) / 2e-5, np.sum(dx * direction), 1e-8, "derivative")
    if net == "rmc":
        assert np.abs(G["M_0"]).max() > 1e-6, "the start of the memory learns as well"


@pytest.mark.parametrize("gates", ["if", "ifo"])
@pytest.mark.parametrize("per", ["unit", "slot"])
def test_every_gate_gets_a_gradient_and_learns(gates, per):
    P, cfg, x, y = random_model(gates=gates, per=per)
    _, _, G = N.loss_and_gradients(x, y, P, cfg)
    for k in ("W_x", "W_h", "b_g"):
        columns = np.abs(G[k]).reshape(-1, G[k].shape[-1]).max(0)
        assert (columns > 1e-8).all(), f"{k}: a gate without gradient"
    before, state = P["W_h"].copy(), N.adam_init(P)
    N.adam_update(P, G, state, 1e-3)
    assert (P["W_h"] != before).all()


def test_the_lstm_agrees_with_differences():
    _, _, x, y = random_model()
    cfg = N.LSTMConfig(4, 16, 6)
    rng = np.random.default_rng(5)
    P = {k: p + 0.3 * rng.normal(size=p.shape) for k, p in N.lstm_init(rng, cfg, dtype=np.float64).items()}
    _, dx, G = N.loss_and_gradients(x, y, P, cfg)
    error = N.grad_check(lambda: N.loss_and_gradients(x, y, P, cfg)[0], P | {"x": x}, G | {"x": dx}, rng)
    assert error < 1e-6


@pytest.mark.parametrize("K", [2, 3, 5, 10])
def test_every_target_follows_from_what_has_been_seen(K):
    """A solver that reads only x[:, :t + 1] names every target of step t."""
    x, y = N.shell_game(np.random.default_rng(6), 20, 9, K)
    for game, targets in zip(x, y, strict=True):
        places = list(range(K))
        for swap, target in zip(game, targets, strict=True):
            i, j = np.flatnonzero(swap)
            places[i], places[j] = places[j], places[i]
            assert places == target.tolist()


def test_the_future_does_not_change_an_answer():
    for net, cfg in (("rmc", N.Config(4, 4, 4, 8)), ("lstm", N.LSTMConfig(4, 16, 6))):
        P = getattr(N, f"{net}_init")(np.random.default_rng(7), cfg, dtype=np.float64)
        x, _ = N.shell_game(np.random.default_rng(8), 3, 5, 4)
        other = x.astype(float)
        other[:, 3:] = other[:, 3:, ::-1]
        forward = getattr(N, f"{net}_forward")
        whole, changed = forward(x.astype(float), P, cfg)[0], forward(other, P, cfg)[0]
        assert np.array_equal(whole[:, :3], changed[:, :3]) and not np.allclose(whole[:, 3:], changed[:, 3:])


def sizes_of_the_notebook():
    """{name: (K, config)} of PLAN, as the notebook builds it."""
    space = vars(N).copy()
    for cell in notebook.code_cells(notebook.read(load()[0][18].path)):
        for node in ast.parse(cell.source).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in ("rmc", "lstm", "PLAN"):
                exec(compile(ast.Module([node], []), "plan", "exec"), space)
    return {name: plan[:2] for name, plan in space["PLAN"].items()}


def parameters(cfg):
    P = N.NETS[type(cfg)][0](np.random.default_rng(0), cfg)
    return sum(p.size for p in P.values())


def test_compared_networks_have_equal_size():
    plan = sizes_of_the_notebook()
    for K in (5, 7, 10):
        assert abs(parameters(plan[f"{K} LSTM"][1]) / parameters(plan[f"{K} RMC"][1]) - 1) < 0.03
    for K in (7, 10):
        assert parameters(plan[f"{K} LSTM large"][1]) > 4.8 * parameters(plan[f"{K} RMC"][1])
    core, lstm = N.Config(10, 4, slots=4, blocks=1, readout="flat"), N.LSTMConfig(10, 4, H=45)
    assert abs(parameters(core) / parameters(lstm) - 1) < 0.03


def test_both_networks_start_by_the_same_rules():
    """Same law for all matrices, wide or small; the gain of the inputs is the only difference."""
    rng = np.random.default_rng(9)
    core, lstm = N.Config(40, 40, slots=4, D=64), N.LSTMConfig(40, 40, 64)
    for wide, std in ((True, 1.0), (False, 3 ** -0.5)):
        P, Q = N.rmc_init(rng, core, wide), N.lstm_init(rng, lstm, wide)
        gain, soft = (4, 0.5) if wide else (1, 1)
        assert abs(P["W_in"].std() * 40 ** 0.5 / (gain * std) - 1) < 0.05
        assert abs(Q["W_x"].std() * 40 ** 0.5 / ((2 if wide else 1) * std) - 1) < 0.05
        assert abs(P["block0.W_qkv"].std() * 8 / (soft * std) - 1) < 0.05
        for W in (P["block1.mlp.W_1"], P["W_h"], Q["W_h"]):
            assert abs(W.std() * 8 / std - 1) < 0.06
        for W in (P["W_y"], Q["W_y"]):
            assert abs(W.std() * 8 / (std * (0.1 if wide else 1)) - 1) < 0.06


# --- attention, masks, symmetries ------------------------------------------------------------------

def test_loops_and_arrays_agree():
    rng = np.random.default_rng(10)
    X, W = rng.normal(size=(6, 4)), rng.normal(size=(4, 12))
    out, weights = N.attention_by_hand(X, W[:, :4], W[:, 4:8], W[:, 8:])
    Y, cache = N.attention_forward(X[None], W, 1)
    close(Y[0], out, 1e-12)
    close(cache[-1][0, 0], weights, 1e-12)


def test_sight():
    masks = {kind: N.sight_mask(N.Config(3, 3, 3, 6, sight=kind)) for kind in ("all", "hub", "self")}
    assert masks["all"] is None
    assert masks["self"].tolist() == [[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1]]
    assert masks["hub"].tolist() == [[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]]


@pytest.mark.parametrize("sight, blocks, crosses", [
    ("all", 1, True), ("self", 3, False), ("hub", 1, False), ("hub", 2, True)])
def test_content_crosses_only_where_a_path_exists(sight, blocks, crosses):
    """Slot 1's memory reaches slot 0 in one step: through the hub it takes two blocks, else never."""
    P, cfg, x, _ = random_model(sight=sight, blocks=blocks)
    rng = np.random.default_rng(11)
    M, e, a = rng.normal(size=(2, 4, 8)), rng.normal(size=(2, 8)), rng.normal(size=(2, 16))
    other = M.copy()
    other[:, 1] += 1
    before, after = (N.cell_forward(m, np.tanh(m), e, a, P, cfg, N.sight_mask(cfg))[0][:, 0]
                     for m in (M, other))
    assert np.allclose(before, after, atol=1e-14) != crosses


def test_sorting_asks_for_the_sorted_list_at_the_end():
    x, y = N.sorting(np.random.default_rng(3), 50, 5)
    assert x.shape == (50, 5, 8) and (x.sum(-1) == 1).all() and y.shape == (50, 1, 5)
    assert np.array_equal(np.sort(x.argmax(-1), 1), y[:, 0])
    assert len(np.unique(x.argmax(-1))) == 8


@pytest.mark.parametrize("sight, blocks, reached", [
    ("all", 1, [0, 1, 2, 3]), ("self", 1, [0]), ("self", 3, [0]), ("hub", 1, [0]), ("hub", 2, [0, 1, 2, 3])])
def test_which_old_slots_a_slot_depends_on(sight, blocks, reached):
    """By differences, not by the backward pass that the notebook uses."""
    rng = np.random.default_rng(8)
    cfg = N.Config(4, 4, slots=4, D=8, blocks=blocks, sight=sight)
    P, e, a = N.rmc_init(rng, cfg, dtype=np.float64), rng.normal(size=(1, 8)), rng.normal(size=(1, 16))
    M, h = rng.normal(size=(2, 1, 4, 8))
    new = N.cell_forward(M, h, e, a, P, cfg, N.sight_mask(cfg))[0]
    found = []
    for slot in range(4):
        moved = M.copy()
        moved[:, slot] += 0.1 * rng.normal(size=8)
        changed = N.cell_forward(moved, h, e, a, P, cfg, N.sight_mask(cfg))[0]
        found += [slot] if np.abs(changed - new)[:, 0].max() > 1e-9 else []
    assert found == reached


def test_slots_have_no_number():
    P, cfg, x, _ = random_model()
    order = np.array([2, 0, 3, 1])
    shuffled = N.rmc_forward(x, P | {"M_0": P["M_0"][order]}, cfg)[0]
    close(shuffled, N.rmc_forward(x, P, cfg)[0][:, :, order], 1e-11)


def test_equal_slots_stay_equal():
    P, cfg, x, _ = random_model()
    logits = N.rmc_forward(x, P | {"M_0": np.repeat(P["M_0"][:1], 4, 0)}, cfg)[0]
    close(logits, np.repeat(logits[:, :, :1], 4, 2), 1e-11)


def test_sequences_of_a_batch_do_not_mix():
    P, cfg, x, _ = random_model()
    whole = N.rmc_forward(x, P, cfg)[0]
    for b in range(len(x)):
        close(N.rmc_forward(x[b:b + 1], P, cfg)[0], whole[b:b + 1], 1e-12)


def test_a_step_more_changes_nothing_before():
    P, cfg, x, _ = random_model()
    close(N.rmc_forward(x[:, :2], P, cfg)[0], N.rmc_forward(x, P, cfg)[0][:, :2], 1e-13)


def test_cutting_nothing_is_the_model_and_cutting_matters():
    P, cfg, x, _ = random_model()
    rows = np.arange(len(x))
    logits = N.rmc_forward(x, P, cfg)[0]
    assert np.array_equal(N.answers_when_cut(x, P, cfg, []), logits[:, -1].argmax(-1))
    A = N.attention_weights(x, P, cfg)
    assert A.shape == (4, 2, 3, 2, 5, 5)
    close(A.sum(-1), np.ones(A.shape[:-1]), 1e-12)
    everything = [(0 * rows + s, np.tile(np.delete(np.arange(4), s), (len(x), 1))) for s in range(4)]
    P |= {"W_y": np.random.default_rng(4).normal(size=P["W_y"].shape), "b_y": 0 * P["b_y"]}
    assert not np.array_equal(N.answers_when_cut(x, P, cfg, everything), N.answers_when_cut(x, P, cfg, []))


def test_softmax_and_sigmoid_are_safe():
    s = np.array([[1e4, 0.0, -1e4], [3.0, 3.0, 3.0]])
    close(N.softmax(s), [[1, 0, 0], [1 / 3] * 3], 1e-15)
    with np.errstate(all="raise", under="ignore"):
        close(N.sigmoid(np.array([-1e3, 0.0, 1e3])), [0, 0.5, 1], 1e-15)


def test_loss_of_equal_logits_is_log_K():
    loss, cache = N.cross_entropy_forward(np.zeros((2, 3, 7)), np.arange(6).reshape(2, 3))
    close(loss, np.log(7), 1e-14)
    close(N.cross_entropy_backward(cache).sum(-1), np.zeros((2, 3)), 1e-15)


def test_multiplications_by_hand():
    # 2 inputs, 3 slots of 4, one block: W_in 8, gates (3 + 1) * 4 * 8, block 4 * 4 * (20 + 8), W_y 3 * 4 * 5
    assert N.multiplications(N.Config(2, 5, 3, 4, blocks=1)) == 8 + 128 + 448 + 60
    assert N.multiplications(N.LSTMConfig(2, 5, 3)) == 4 * 3 * 5 + 15


# --- data, training --------------------------------------------------------------------------------

def test_farthest():
    x, y = N.farthest(np.random.default_rng(12), 300, 5)
    assert x.shape == (300, 5, 12) and y.shape == (300, 1, 1)
    for seen, answer in zip(x, y.ravel(), strict=True):
        labels, asked = seen[:, 2:7].argmax(1), seen[:, 7:].argmax(1)
        assert sorted(labels) == list(range(5)) and (asked == asked[0]).all()
        m = int(np.flatnonzero(labels == asked[0])[0])
        assert labels[np.argmax([np.hypot(*(p - seen[m, :2])) for p in seen[:, :2]])] == answer != asked[0]
    assert len(set(y.ravel().tolist())) == 5


@pytest.mark.parametrize("cfg", [N.Config(3, 3, 3, 16), N.LSTMConfig(3, 9, 16)], ids=["rmc", "lstm"])
def test_training_learns_a_small_game(cfg):
    N.train.__globals__["SEED"] = 0
    result = N.train(N.games(3), cfg, 0, 210, 16, 1e-2, ramp=60, T=2)
    assert result["curve"].shape == (7, 3) and result["curve"][-1, 2] > 0.8
    assert (np.diff(result["curve"][:, 0]) > 0).all() and result["curve"][-1, 1] == 2


# --- bad input -------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
GAME, TINY = N.Config(4, 4, 4, 8), N.LSTMConfig(4, 4, 3)
BAD = {
    "one place": (lambda: N.shell_game(RNG, 2, 3, 1), "K 1"),
    "no steps": (lambda: N.shell_game(RNG, 2, 0, 4), "T 0"),
    "two points": (lambda: N.farthest(RNG, 2, 2), "2 points"),
    "heads": (lambda: N.Config(4, 4, 4, 8, heads=3), "heads=3"),
    "no heads": (lambda: N.Config(4, 4, 4, 8, heads=0), "heads=0"),
    "no slots": (lambda: N.Config(4, 4, 0, 8), "slots=0"),
    "no blocks": (lambda: N.Config(4, 4, 4, 8, blocks=0), "blocks=0"),
    "narrow memory": (lambda: N.Config(9, 4, 4, 8), "memory width 8"),
    "gates": (lambda: replace(GAME, gates="of"), "gates 'of'"),
    "per": (lambda: replace(GAME, per="row"), "per 'row'"),
    "sight": (lambda: replace(GAME, sight="none"), "sight 'none'"),
    "readout": (lambda: replace(GAME, readout="mean"), "readout 'mean'"),
    "attention heads": (lambda: N.attention_forward(np.ones((1, 2, 6)), np.ones((6, 18)), 4), "4 heads"),
    "lstm size": (lambda: N.LSTMConfig(4, 4, 0), "H=0"),
    "empty sequence": (lambda: N.rmc_forward(np.ones((2, 0, 4)), {}, GAME), "(2, 0, 4)"),
    "wrong width": (lambda: N.rmc_forward(np.ones((2, 3, 5)), {}, GAME), "(2, 3, 5)"),
    "empty for the lstm": (lambda: N.lstm_forward(np.ones((2, 0, 4)), {}, TINY), "(2, 0, 4)"),
    "width for the lstm": (lambda: N.lstm_forward(np.ones((2, 3, 5)), {}, TINY), "(2, 3, 5)"),
    "targets too large": (lambda: N.cross_entropy_forward(np.ones((2, 3)), np.array([0, 3])), "targets (2,)"),
    "targets negative": (lambda: N.cross_entropy_forward(np.ones((2, 3)), np.array([0, -1])), "targets (2,)"),
    "targets' shape": (lambda: N.cross_entropy_forward(np.ones((2, 3)), np.array([0])), "targets (1,)"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    call, what = BAD[name]
    with pytest.raises(ValueError, match=re.escape(what)):
        call()


# --- exercises -------------------------------------------------------------------------------------

def readers_space():
    """The notebook's globals as a reader has them before the exercises; short runs."""
    space = support.classroom(18)
    rng, train = np.random.default_rng(13), space["train"]
    space |= {"SEED": 0, "rng": rng, "runs": {}, "score": {}, "CHANGES": {"no gates": {"gates": ""}},
              "rmc": {K: space["Config"](K, K, K, 16) for K in (5, 7, 10)},
              "train": lambda task, cfg, stream, steps, **options: train(task, cfg, stream, 7, **options)}
    for name, change in (("5 RMC", {}), ("no gates", {"gates": ""})):
        space["run"](name, 5, replace(space["rmc"][5], **change), 7, 4)
    return space


EXERCISES = Exercises(space=readers_space, wrong=(
    ("keep_biases = (20, -20)", 0), ("keep_biases = (-5, 5)", 0),
    ("def copy_game(rng, B, T, K):\n    x, y = shell_game(rng, B, T, K)\n"
     "    return np.concatenate([x, x], -1), y", 1)))
