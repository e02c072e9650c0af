"""Notebook 10: batch norm, blocks and networks against PyTorch; matched sizes; constructed solutions."""

import math
from functools import partial

import numpy as np
import pytest

from tests.support import (
    Exercises,
    classroom,
    close,
    close_dicts,
    definitions,
    golden,
    like_parameters,
    part,
    refuses,
    rng,
    untouched,
)

N = definitions(10)
CASES = golden("10")
NETWORKS = {"plain": ("plain", 2), "A": ("A", 2), "B": ("B", 1)}
BLOCKS = {"block_plain": ("plain", 2, 0.0), "block_A": ("A", 2, 0.0), "block_B": ("B", 2, 0.0),
          "block_same": ("A", 1, 0.2), "block_eval": ("B", 2, 0.1)}


def stats_of(case, prefix="S."):
    return part(case, prefix) or None


# --- what the mutation test breaks -----------------------------------------------------------------

def check_pair(case, y, dx, G=None, prefix="G.", tol=1e-11):
    close(y, case["y"], tol, "y")
    close(dx, case["dx"], tol, "dx")
    if G is not None:
        close_dicts(G, part(case, prefix), tol)


def check_batch_norm_backward(space):
    for name in ("bn_train", "bn_eval"):
        case = CASES[name]
        y, cache = space.batch_norm_forward(case["x"], part(case, "P.bn."), stats_of(case, "S.bn."))
        check_pair(case, y, *space.batch_norm_backward(case["up"], cache), "G.bn.")


def check_unit_backward(space):
    case = CASES["unit"]
    y, cache = space.unit_forward(case["x"], part(case, "P.u."), 2)
    check_pair(case, y, *space.unit_backward(case["up"], cache), "G.u.")
    dx, G = space.unit_backward(case["up"], cache, need_dx=False)
    assert dx is None
    close_dicts(G, part(case, "G.u."), 1e-11)


def check_relu_backward(space):
    for slope in (0.0, 0.3):
        case = CASES[f"relu_{slope}"]
        y, cache = space.relu_forward(case["x"], slope)
        check_pair(case, y, space.relu_backward(case["up"], cache))


def check_gap_backward(space):
    case = CASES["gap"]
    y, cache = space.gap_forward(case["x"])
    check_pair(case, y, space.gap_backward(case["up"], cache))


def check_block_backward(space):
    for name, (kind, stride, slope) in BLOCKS.items():
        case = CASES[name]
        y, cache = space.block_forward(case["x"], part(case, "P."), kind, stride, stats_of(case), slope)
        check_pair(case, y, *space.block_backward(case["up"], cache))


def check_loss_backward(space):
    for name in NETWORKS:
        case = CASES[f"net_{name}"]
        loss, cache = space.loss_forward(case["logits"], case["labels"])
        close(loss, case["loss"], 1e-13)
        close(space.loss_backward(cache), case["dlogits"], 1e-14)


def check_resnet_backward(space):
    for name, (kind, _) in NETWORKS.items():
        case = CASES[f"net_{name}"]
        logits, cache = space.resnet_forward(case["x"], part(case, "P."), kind, slope=float(case["slope"]))
        close(logits, case["logits"], 1e-11)
        close_dicts(space.resnet_backward(case["dlogits"], cache), part(case, "G."), 1e-10)


def check_conv_backward(space):
    x, W = rng(1).normal(size=(2, 5, 6, 3)), rng(2).normal(size=(3, 2, 3, 3))
    for stride in (1, 2):
        P = {"W": W, "b": rng(4).normal(size=3)}
        y, cache = space.conv_forward(x, P, stride, 1)
        dy = rng(3).normal(size=y.shape)
        dx, G = space.conv_backward(dy, cache)
        N.grad_check(lambda: float((space.conv_forward(x, P, stride, 1)[0] * dy).sum()),  # noqa: B023
                     P | {"x": x}, G | {"x": dx}, rng(4))


CHECKS = {f"{name}_backward": globals()[f"check_{name}_backward"]
          for name in ("batch_norm", "unit", "relu", "gap", "block", "loss", "resnet", "conv")}


@pytest.mark.parametrize("name", NETWORKS)
def test_whole_network(name):
    kind, case = NETWORKS[name][0], CASES[f"net_{name}"]
    P, slope = part(case, "P."), float(case["slope"])
    loss, G, wrong, _ = N.loss_and_gradients(case["x"], case["labels"], P, kind, slope)
    close(loss, case["loss"], 1e-12)
    close_dicts(G, part(case, "G."), 1e-10)
    assert wrong == (case["logits"].argmax(1) != case["labels"]).mean()
    close(N.resnet_forward(case["x"], P, kind, stats_of(case), slope)[0], case["logits_eval"], 1e-11)


def test_running_moments_against_pytorch():
    case = CASES["running"]
    x = case["x"]
    _, cache = N.batch_norm_forward(x, {"gamma": np.ones(3), "beta": np.zeros(3)})
    after = N.running_update(part(case, "before."), cache[3], cache[4], x[0].size)
    close_dicts(after, part(case, "after."), 1e-13)


# --- batch norm ------------------------------------------------------------------------------------

def test_batch_norm_normalises_and_its_gradient_is_blind_to_shift_and_scale():
    x, P = rng().normal(3, 5, (4, 6, 6, 8)), {"gamma": np.ones(4), "beta": np.zeros(4)}
    y, cache = N.batch_norm_forward(x, P)
    close(y.mean((1, 2, 3)), np.zeros(4), 1e-12)
    close(y.std((1, 2, 3)), np.ones(4), 1e-5)
    close(N.batch_norm_forward(100 * x + 7, P)[0], y, 1e-4)
    dx, _ = N.batch_norm_backward(rng(1).normal(size=x.shape), cache)
    close(dx.sum((1, 2, 3)), np.zeros(4), 1e-12)
    close((dx * y).sum((1, 2, 3)), np.zeros(4), 1e-4)


def test_neutral_statistics_switch_batch_norm_off():
    P = N.init_resnet(rng(), 1, dtype=float)
    stats = N.neutral_stats(P)
    assert {k for k in stats if k.startswith("b0.2")} == {"b0.2.mean", "b0.2.var"}
    x = rng(1).normal(size=(8, 4, 4, 2))
    close(N.batch_norm_forward(x, N.below(P, "b0.1"), N.below(stats, "b0.1"))[0], x, 1e-5)


def test_eval_mode_does_not_look_at_the_neighbours_in_the_batch():
    P = N.init_resnet(rng(), 1, "A", dtype=float)
    x, stats = rng(1).random((3, 12, 12, 6)), N.neutral_stats(P)
    alone = N.resnet_forward(x[..., :1], P, "A", stats)[0]
    close(N.resnet_forward(x, P, "A", stats)[0][:1], alone, 1e-12)
    trained = [N.resnet_forward(x[..., :size], P, "A")[0][0] for size in (2, 6)]
    assert np.abs(trained[0] - trained[1]).max() > 1e-3


# --- blocks and networks ---------------------------------------------------------------------------

def test_a_residual_block_with_zero_weights_is_the_identity_and_a_plain_one_is_not():
    x = np.maximum(rng(1).normal(size=(4, 6, 6, 5)), 0)
    for name in ("2.W", "2.gamma"):
        P = N.random_block(rng(), 4, 4, "A") | {"2.beta": np.zeros(4)}
        P[name] = 0 * P[name]
        assert np.array_equal(N.block_forward(x, P, "A")[0], x)
        assert np.abs(N.block_forward(x, P, "plain")[0] - x).max() > 0.5
    dy = rng(2).normal(size=x.shape)
    dx, _ = N.block_backward(dy, N.block_forward(x, P, "A")[1])
    close(dx, dy * (x > 0), 1e-12)                               # the lone dz


def test_small_weights_are_undone_by_batch_norm_and_small_gamma_is_not():
    P, x = N.random_block(rng(), 4, 4, "A"), np.maximum(rng(1).normal(size=(4, 6, 6, 5)), 0)
    y = N.block_forward(x, P, "A")[0]
    close(N.block_forward(x, P | {"2.W": 0.05 * P["2.W"]}, "A")[0], y, 0.01)
    quiet = P | {k: 0.01 * P[k] for k in ("2.gamma", "2.beta")}
    assert np.linalg.norm(N.block_forward(x, quiet, "A")[0] - x) < 0.03 * np.linalg.norm(x)


@pytest.mark.parametrize("sides", [(6, 6), (7, 5), (1, 2)])
def test_option_a_subsamples_and_pads_also_at_odd_sizes(sides):
    x = np.maximum(rng(1).normal(size=(2, *sides, 3)), 0)
    P = N.random_block(rng(), 2, 5, "A")
    P |= {"2.gamma": np.zeros(5), "2.beta": np.zeros(5)}
    y, _ = N.block_forward(x, P, "A", 2)
    assert np.array_equal(y[:2], x[:, ::2, ::2]) and not y[2:].any()


@pytest.mark.parametrize("n", [1, 2, 7, 9])
def test_depths_and_parameters_are_matched(n):
    """Layers are the convolutions of the main path and the last matrix: 4n + 2 for every kind."""
    P = {kind: N.init_resnet(rng(), n, kind) for kind in ("plain", "A", "B")}
    for kind, p in P.items():
        layers = [k for k in p if k.endswith(".W") and not k.endswith(".s.W")]
        assert len(layers) == 4 * n + 2 and N.count_blocks(p) == 2 * n, kind
    assert {k: v.shape for k, v in P["plain"].items()} == {k: v.shape for k, v in P["A"].items()}
    assert all(np.array_equal(P["plain"][k], P["A"][k]) for k in P["A"])
    assert set(P["B"]) - set(P["A"]) == {f"b{n}.s.{what}" for what in ("W", "gamma", "beta")}
    assert all(v.dtype == np.float32 for v in P["B"].values())


def test_fresh_weights_have_the_scale_of_he():
    P = N.init_resnet(rng(), 9, C=16)
    for name in ("b3.1.W", "b12.2.W"):
        W = P[name]
        assert abs(W.std() / (2 / W[0].size) ** 0.5 - 1) < 0.06


def test_the_output_layer_is_linear():
    """Logits of both signs, and log 10 at the start."""
    P, x = N.init_resnet(rng(), 2, "A"), rng(1).random((3, 12, 12, 64)).astype(np.float32)
    logits = N.resnet_forward(x, P, "A")[0]
    assert logits.min() < 0 < logits.max()
    assert abs(N.loss_forward(logits, rng(2).integers(10, size=64))[0] - math.log(10)) < 0.2


@pytest.mark.parametrize("kind", ["plain", "A", "B"])
def test_gradients_keep_names_shapes_and_dtype_and_write_nothing(kind):
    P, x = N.init_resnet(rng(), 2, kind), rng(1).random((3, 12, 12, 8)).astype(np.float32)
    with untouched(P | {"x": x}):
        like_parameters(N.loss_and_gradients(x, rng(2).integers(10, size=8), P, kind)[1], P)


def test_loss():
    close(N.loss_forward(np.zeros((4, 10)), np.arange(4))[0], math.log(10), 1e-15)
    assert N.loss_forward(np.array([[0.0, 1e4]]), np.array([0]))[0] == 1e4


# --- training --------------------------------------------------------------------------------------

def small_space():
    """Globals of the notebook with 64 small images in all three sets and short runs."""
    space = classroom(10)
    X, t, _ = N.make_shapes(64, rng(3), side=12)
    space |= {"X_train": X, "t_train": t, "data": dict.fromkeys(("train", "validation", "test"), (X, t)),
              "SEED": 0}
    return space


def readers_space():
    """The same for a reader's cells, in which training takes four steps."""
    space = small_space()
    return space | {"train": partial(space["train"], steps=4)}


def test_rate_schedule():
    rates = [N.rate_at(step, 1.0, 100) for step in range(100)]
    close(rates[:16], [0.1] * 16)
    close(rates[16:60], [1.0] * 44)
    close(rates[60:85], [0.1] * 25)
    close(rates[85:], [0.01] * 15)


def test_sgd_step():
    P, V = {"a.W": np.array([2.0]), "a.gamma": np.array([2.0])}, {"a.W": np.ones(1), "a.gamma": np.ones(1)}
    N.sgd_step(P, {k: np.full(1, 3.0) for k in P}, V, 0.1, 0.5)
    close(V["a.W"], [0.9 + 3 + 1.0])
    close(V["a.gamma"], [3.9])
    close(P["a.W"], [2 - 0.49])
    close(P["a.gamma"], [2 - 0.39])


@pytest.mark.parametrize("kind", ["plain", "A", "B"])
def test_training_lowers_the_loss_and_moves_the_running_moments(kind):
    space = small_space()
    P = N.init_resnet(rng(), 1, kind)
    stats, losses = space["train"](P, kind, 0.1, rng(1), 60)
    assert losses.shape == (60,) and losses[-5:].mean() < losses[0] - 0.5
    fresh = N.neutral_stats(P)
    assert stats.keys() == fresh.keys() and all(np.abs(stats[k] - fresh[k]).max() > 0.01 for k in stats)
    assert space["error"](P, kind, stats) < 0.8


@pytest.mark.parametrize("kind", ["plain", "A"])
def test_a_deeper_network_contains_the_shallow_one(kind):
    space = small_space()
    P = N.init_resnet(rng(), 2, kind)
    stats, _ = space["train"](P, kind, 0.1, rng(1), 30)
    deep, deep_stats = N.deepen(P, stats, kind, 5)
    assert N.count_blocks(deep) == 10 and deep.keys() == N.init_resnet(rng(), 5, kind).keys()
    X = space["X_train"]
    close(N.resnet_forward(X, deep, kind, deep_stats)[0], N.resnet_forward(X, P, kind, stats)[0], 1e-4)


def test_equalise_makes_relative_norms_equal_and_keeps_directions():
    P = N.init_resnet(rng(), 2, dtype=float)
    G = {k: rng(1).normal(size=p.shape) * (1 + i) for i, (k, p) in enumerate(P.items())}
    before = {k: g.copy() for k, g in G.items()}
    N.equalise(P, G)
    convs = [k for k in P if P[k].ndim == 4]
    sizes = [np.linalg.norm(G[k]) / np.linalg.norm(P[k]) for k in convs]
    close(sizes, [sizes[0]] * len(sizes), 1e-12)
    old = [np.linalg.norm(before[k]) / np.linalg.norm(P[k]) for k in convs]
    close(np.log(sizes).mean(), np.log(old).mean(), 1e-12)
    for k in G:
        close(G[k] / np.linalg.norm(G[k]), before[k] / np.linalg.norm(before[k]), 1e-12)
        assert k in convs or np.array_equal(G[k], before[k])


# --- the start -------------------------------------------------------------------------------------

def test_predicted_rate_by_sampling():
    z = rng().normal(size=400_000)
    for a in (0.0, 0.3, 1.0):
        phi, slope = np.where(z > 0, z, a * z), np.where(z > 0, 1, a)
        close(N.predicted_rate(a), ((slope ** 2).mean() / phi.var()) ** 0.5, 0.01)
    close(N.predicted_rate(0.0), (math.pi / (math.pi - 1)) ** 0.5, 1e-12)


def test_gradients_explode_with_depth_in_plain_networks_only():
    space = small_space()
    ratios = {}
    for kind in ("plain", "A"):
        g = space["gradient_norms"](kind, 7, rng(1), draws=3)
        assert g.shape == (29,)
        ratios[kind] = g[0] / g[-1]
    assert ratios["plain"] > 8 and ratios["A"] < ratios["plain"] / 2


def test_gradient_norms_are_those_of_the_network():
    space = small_space()
    r = rng(1)
    P = N.init_resnet(r, 1, "A")
    order = r.permutation(64)
    _, G, _, _ = N.loss_and_gradients(np.ascontiguousarray(space["X_train"][..., order]),
                                      space["t_train"][order], P, "A")
    wanted = [np.linalg.norm(G[k]) for k in ("stem.W", "b0.1.W", "b0.2.W", "b1.1.W", "b1.2.W")]
    close(space["gradient_norms"]("A", 1, rng(1), draws=1), wanted, 1e-5)


def test_drift_grows_in_plain_networks():
    space = small_space()
    d = {kind: space["drift"](kind, 5, rng(1), draws=2) for kind in ("plain", "A")}
    assert d["plain"].shape == (11,)
    assert d["plain"][-1] / d["plain"][0] > 2 * d["A"][-1] / d["A"][0]


def test_responses_by_hand():
    space = small_space()
    P = N.init_resnet(rng(), 1, "A")
    stats, _ = space["train"](P, "A", 0.1, rng(1), 8)
    layers, share = space["responses"](P, "A", stats)
    X = space["X_train"]
    z, _ = N.unit_forward(X - np.float32(0.5), N.below(P, "stem"), 2, 1, N.below(stats, "stem"))
    y = np.maximum(z, 0)
    z, _ = N.unit_forward(y, N.below(P, "b0.1"), stats=N.below(stats, "b0.1"))
    F, _ = N.unit_forward(np.maximum(z, 0), N.below(P, "b0.2"), stats=N.below(stats, "b0.2"))
    spread = [np.sqrt(a.var((1, 2, 3)).mean()) for a in (z, F, y)]
    close(layers[:2], spread[:2], 1e-4)
    close(share[0], spread[1] / spread[2], 1e-4)
    assert layers.shape == (4,) and share.shape == (2,)


# --- bad input -------------------------------------------------------------------------------------

def ones(*shape):
    return np.ones(shape)


@pytest.mark.parametrize("call, words", [
    (lambda: N.conv_forward(ones(2, 5, 5, 1), {"W": ones(3, 4, 3, 3)}), "2 channels, the filters expect 4"),
    (lambda: N.conv_forward(ones(2, 2, 5, 1), {"W": ones(3, 2, 5, 5)}, 1, 1), "5x5 filter.* 5 pixels"),
    (lambda: N.batch_norm_forward(ones(3, 2, 2, 1), {"gamma": ones(2), "beta": ones(2)}),
     "3 channels: expected 2"),
    (lambda: N.batch_norm_forward(ones(2, 1, 1, 1), {"gamma": ones(2), "beta": ones(2)}),
     "1 value in each channel: expected at least 2"),
    (lambda: N.block_forward(ones(3, 4, 4, 2), N.random_block(rng(), 3, 3, "A"), "C"), "kind 'C': expected"),
    (lambda: N.block_forward(ones(5, 4, 4, 2), N.random_block(rng(), 5, 3, "A"), "A"),
     "5 channels in: expected at most 3"),
    (lambda: N.block_forward(ones(2, 4, 4, 2), N.random_block(rng(), 3, 3, "A"), "A"), "2 channels"),
    (lambda: N.init_resnet(rng(), 0), "0 blocks in a stage: expected at least 1"),
    (lambda: N.loss_forward(ones(2, 3), np.array([0, 3])), "labels from 0 to 3: expected 0 to 2"),
    (lambda: N.loss_forward(ones(2, 3), np.array([-1, 1])), "labels from -1 to 1: expected 0 to 2"),
    (lambda: N.make_shapes(3, rng(), shapes=("disc", "star")), "no shape is called 'star'"),
])
def test_bad_input_is_refused_with_the_value_and_what_was_expected(call, words):
    refuses(call, words)


def test_one_value_a_channel_is_enough_in_eval_mode():
    P, stats = {"gamma": ones(2), "beta": ones(2)}, {"mean": ones(2), "var": ones(2)}
    close(N.batch_norm_forward(ones(2, 1, 1, 1), P, stats)[0], ones(2, 1, 1, 1), 1e-12)


# --- exercises -------------------------------------------------------------------------------------

EXERCISES = Exercises(space=readers_space, wrong=(
    ("layers_of = lambda n, stages: 2 * n * stages", 0),
    ("layers_of = lambda n, stages: 6 * n + 2", 0),
    ("option_a_backward = lambda dz, shape, stride: dz[:shape[0]]", 1),
    ("option_a_backward = lambda dz, shape, stride: dz[:shape[0]].repeat(2, 1)[:, :5].repeat(2, 2)", 1),
    ("option_a_backward = lambda dz, shape, stride: np.zeros(shape)", 1),
    ("rate_of_abs = (np.pi / (np.pi - 1)) ** 0.5", 2),
    ("rate_of_abs = 1.0", 2)))


def test_rate_of_abs_is_the_formula_at_minus_one():
    close(N.predicted_rate(-1.0), (1 - 2 / np.pi) ** -0.5, 1e-12)
