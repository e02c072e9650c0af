"""Notebook 07: convolution, pooling, LRN, dropout and whole networks against PyTorch; augmentation."""

import math
import re

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

N = definitions(7)
CASES = golden("07")
CONVS = {"conv": (1, 0, 1), "conv_stride": (2, 1, 1), "conv_dilation": (1, 2, 2), "conv_all": (3, 3, 2)}
LRNS = {"lrn": {}, "lrn_strong": {"n": 3, "k": 1.0, "alpha": 0.4, "beta": 0.6}}
NETS = {"net_plain": {"unit": "relu", "stride": (2, 1), "pad": (1, 1), "window": 2, "lrn": None},
        "net_full": {"unit": "relu", "stride": (2, 1), "pad": (2, 0), "window": 3,
                     "lrn": {"n": 3, "k": 1.5, "alpha": 0.2, "beta": 0.6}},
        "net_tanh": {"unit": "tanh", "stride": (1, 2), "pad": (0, 1), "window": 2, "lrn": None},
        "net_sigmoid": {"unit": "sigmoid", "stride": (2, 1), "pad": (1, 1), "window": 2, "lrn": None}}


# --- what the mutation test breaks -----------------------------------------------------------------

def check_layer(name, forward, backward):
    """One input, one output, no parameters: value and gradient against PyTorch."""
    case = CASES[name]
    y, cache = forward(case["x"])
    close(y, case["y"], 1e-12, f"{name}: y")
    close(backward(case["up.y"], cache), case["dx"], 1e-12, f"{name}: dx")


def check_conv_backward(space):
    for name, how in CONVS.items():
        case = CASES[name]
        y, cache = space.conv_forward(case["x"], part(case, "P."), *how)
        close(y, case["y"], 1e-12, f"{name}: y")
        dx, G = space.conv_backward(case["up.y"], cache)
        close(dx, case["dx"], 1e-12, f"{name}: dx")
        close_dicts(G, part(case, "G."), 1e-12)
        nothing, again = space.conv_backward(case["up.y"], cache, need_dx=False)
        assert nothing is None
        close_dicts(again, G, 0)


def check_pool_backward(space):
    for window in (2, 3):
        for name in (f"pool_{window}", f"pool_{window}_ties"):
            check_layer(name, lambda x, w=window: space.pool_forward(x, w), space.pool_backward)


def check_lrn_backward(space):
    for name, constants in LRNS.items():
        check_layer(name, lambda x, c=constants: space.lrn_forward(x, **c), space.lrn_backward)


def check_unit_backward(space):
    for unit in ("relu", "tanh", "sigmoid"):
        check_layer(unit, lambda x, u=unit: space.unit_forward(x, u), space.unit_backward)


def check_dropout_backward(space):
    mask = CASES["dropout"]["mask"]
    check_layer("dropout", lambda x: space.dropout_forward(x, mask), space.dropout_backward)


def check_loss_backward(space):
    for name in NETS:
        case = CASES[name]
        loss, cache = space.loss_forward(case["Y"], case["target"])
        close(loss, case["loss"], 1e-13, "loss")
        close(space.loss_backward(cache), case["dY"], 1e-14, "dY")


def check_net_backward(space):
    for name, net in NETS.items():
        case = CASES[name]
        Y, tape = space.net_forward(case["x"], part(case, "P."), net, case.get("mask"))
        close(Y, case["Y"], 1e-12, f"{name}: Y")
        dx, G = space.net_backward(case["dY"], tape, need_dx=True)
        close(dx, case["dx"], 1e-12, f"{name}: dx")
        close_dicts(G, part(case, "G."), 1e-12)
        nothing, again = space.net_backward(case["dY"], tape)
        assert nothing is None
        close_dicts(again, G, 0)


CHECKS = {f"{name}_backward": globals()[f"check_{name}_backward"]
          for name in ("conv", "pool", "lrn", "unit", "dropout", "loss", "net")}


@pytest.mark.parametrize("name", NETS)
def test_loss_and_gradients_of_the_whole_network(name):
    case = CASES[name]
    loss, G, wrong = N.loss_and_gradients(case["x"], case["target"], part(case, "P."), NETS[name],
                                          case.get("mask"))
    close(loss, case["loss"], 1e-12)
    close_dicts(G, part(case, "G."), 1e-11)
    assert wrong == (case["Y"].argmax(0) != case["target"]).sum()


# --- layers ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("how", [(1, 0, 1), (1, 3, 1), (2, 0, 1), (4, 2, 1), (1, 0, 3), (2, 4, 2)])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_loops_and_product_agree(how, k):
    x = rng(1).normal(size=(2, 13, 14, 3))
    P = {"W": rng(2).normal(size=(4, 2, k, k)), "b": rng(3).normal(size=4)}
    slow, (fast, _) = N.conv_by_loops(x, P, *how), N.conv_forward(x, P, *how)
    close(fast, slow, 1e-12)
    stride, pad, dilation = how
    if dilation == 1:
        assert fast.shape[1:3] == (N.map_size(13, k, stride, pad), N.map_size(14, k, stride, pad))


def test_pixels_that_no_filter_sees_have_no_gradient():
    y, cache = N.conv_forward(np.ones((1, 6, 6, 1)), {"W": np.ones((1, 1, 2, 2))}, 3)
    dx, G = N.conv_backward(np.ones_like(y), cache)
    assert set(G) == {"W"} and dx[0, 2].max() == dx[0, :, 5].max() == 0 and dx.sum() == 16


@pytest.mark.parametrize("shape, window, stride", [
    ((2, 5, 6, 3), 2, 2), ((1, 7, 7, 2), 3, 2), ((3, 4, 9, 1), 3, 3), ((2, 6, 5, 2), 3, 1),
    ((1, 3, 3, 2), 3, 2)])
def test_pooling_by_loops_and_its_gradient_goes_to_the_first_winner(shape, window, stride):
    x = rng(4).integers(4, size=shape).astype(float)               # many ties
    y, cache = N.pool_forward(x, window, stride)
    dy = rng(5).normal(size=y.shape)
    C, H, W, B = shape
    rows, columns = (H - window) // stride + 1, (W - window) // stride + 1
    assert y.shape == (C, rows, columns, B)
    dx = np.zeros(shape)
    for c, r, q, n in np.ndindex(y.shape):
        seen = x[c, r * stride:r * stride + window, q * stride:q * stride + window, n]
        assert y[c, r, q, n] == seen.max()
        i, j = divmod(int(seen.argmax()), window)
        dx[c, r * stride + i, q * stride + j, n] += dy[c, r, q, n]
    close(N.pool_backward(dy, cache), dx, 1e-12)


def test_odd_maps_are_pooled_to_the_same_size_with_and_without_overlap():
    for side in (55, 27, 13, 11, 5, 3):
        x = np.zeros((1, side, side, 1))
        assert N.pool_forward(x, 2)[0].shape == N.pool_forward(x, 3)[0].shape


def test_normalisation_with_the_papers_formula():
    a = rng(6).normal(size=(9, 2, 3, 2))
    b = np.empty_like(a)
    for i in range(9):
        lo, hi = max(0, i - 2), min(8, i + 2)
        b[i] = a[i] / (2 + 1e-4 * (a[lo:hi + 1] ** 2).sum(0)) ** 0.75
    close(N.lrn_forward(a)[0], b, 1e-14)
    close(N.lrn_forward(a, alpha=0.0)[0], a / 2**0.75, 1e-14)
    assert round(2**0.75, 2) == 1.68


def test_normalisation_has_a_gradient_across_channels():
    a = 2 * rng(7).normal(size=(6, 1, 1, 1))
    for i in range(6):
        one = np.eye(6)[i].reshape(6, 1, 1, 1)
        da = N.lrn_backward(one, N.lrn_forward(a, n=3, k=1, alpha=0.5)[1]).ravel()
        assert {j for j in range(6) if da[j] != 0} == {j for j in range(6) if abs(i - j) <= 1}


def test_dropout_mask():
    mask = N.dropout_mask(rng(8), (400, 1, 1, 100), 0.5)
    assert mask.dtype == np.float32 and set(np.unique(mask)) == {0, 2}
    assert abs(mask.mean() - 1) < 0.02
    assert (N.dropout_mask(rng(), (5, 5), 0.0) == 1).all()
    assert abs(N.dropout_mask(rng(9), (300, 300), 0.2).mean() - 1) < 0.01
    x = rng(10).normal(size=(400, 1, 1, 100))
    y, _ = N.dropout_forward(x, mask)
    close(y, np.where(mask > 0, 2 * x, 0), 1e-12)


def test_units():
    z = np.array([-800.0, -1, 0, 1, 800])
    assert N.unit_forward(z)[0].tolist() == [0, 0, 0, 1, 800]
    close(N.unit_forward(z, "sigmoid")[0], [0, 1 / (1 + math.e), 0.5, 1 / (1 + 1 / math.e), 1], 1e-15)


def test_loss():
    close(N.loss_forward(np.zeros((10, 4)), np.arange(4))[0], math.log(10), 1e-15)
    loss, cache = N.loss_forward(np.array([[0.0, 1e4], [1e4, 0]]), np.array([1, 1]))
    assert loss == 5000 and np.isfinite(N.loss_backward(cache)).all()
    close(N.loss_backward(cache).sum(0), [0, 0], 1e-15)


# --- networks --------------------------------------------------------------------------------------

def small(dtype=np.float64, **net):
    P = N.init(rng(11), (3, 4, 5, 6, 10), output=None, dtype=np.float64)
    P = {k: (p + 0.1 * rng(12).normal(size=p.shape)).astype(dtype) for k, p in P.items()}
    return rng(13).normal(size=(3, 24, 24, 6)).astype(dtype), rng(14).integers(10, size=6), P, N.NET | net


@pytest.mark.parametrize("net", [{}, {"window": 3}, {"lrn": {}}, {"lrn": {"alpha": 0.5, "n": 3}, "window": 3},
                                 {"unit": "tanh"}, {"unit": "sigmoid"}], ids=str)
def test_gradients_by_differences(net):
    x, target, P, net = small(**net)
    mask = N.dropout_mask(rng(15), (6, 1, 1, 6), dtype=np.float64)
    Y, tape = N.net_forward(x, P, net, mask)
    loss, cache = N.loss_forward(Y, target)
    dx, G = N.net_backward(N.loss_backward(cache), tape, need_dx=True)
    N.grad_check(lambda: N.loss_forward(N.net_forward(x, P, net, mask)[0], target)[0], P | {"x": x},
                 G | {"x": dx}, rng(16), 1e-4, h=1e-6)


def test_an_empty_dict_of_constants_means_the_papers():
    """`if net["lrn"]` would silently leave the normalisation out."""
    x, _, P, net = small()
    plain, paper = (N.net_forward(x, P, net | {"lrn": lrn})[0] for lrn in (None, {}))
    written = N.net_forward(x, P, net | {"lrn": {"n": 5, "k": 2.0, "alpha": 1e-4, "beta": 0.75}})[0]
    close(paper, written, 1e-14)
    assert np.abs(plain - paper).max() > 0.01


@pytest.mark.parametrize("net", [{}, {"lrn": {}, "window": 3}, {"unit": "tanh"}], ids=str)
def test_gradients_keep_names_shapes_and_dtype_and_write_nothing(net):
    x, target, P, net = small(np.float32, **net)
    mask = N.dropout_mask(rng(17), (6, 1, 1, 6))
    with untouched(P | {"x": x}):
        like_parameters(N.loss_and_gradients(x, target, P, net, mask)[1], P)


def test_float32_agrees_with_float64():
    x, target, P, net = small(lrn={}, window=3)
    exact = N.loss_and_gradients(x, target, P, net)
    P32 = {k: p.astype(np.float32) for k, p in P.items()}
    rough = N.loss_and_gradients(x.astype(np.float32), target, P32, net)
    close(rough[0], exact[0], 1e-5)
    close_dicts({k: g.astype(float) for k, g in rough[1].items()}, exact[1], 1e-4)


def test_fresh_parameters():
    P = N.init(rng(18))
    assert list(P) == [f"{layer}.{k}" for layer in ("conv1", "conv2", "fc1", "fc2") for k in "Wb"]
    assert sum(p.size for p in P.values()) == 17234
    assert sum(p.size for p in N.init(rng(), (3, 32, 64, 128, 512, 10), (3, 3, 3, 4, 1)).values()) == 1147466
    assert all(p.dtype == np.float32 for p in P.values())
    assert not any(p.any() for k, p in P.items() if k.endswith("b"))
    for gain, output in ((2.0, 0.01), (1.0, None)):
        P = N.init(rng(19), (3, 64, 64, 128, 100), gain=gain, output=output)
        for k, fan_in in (("conv1.W", 75), ("conv2.W", 576), ("fc1.W", 256)):
            assert abs(P[k].std() / (gain / fan_in) ** 0.5 - 1) < 0.05, k
        assert abs(P["fc2.W"].std() / (output or 128**-0.5) - 1) < 0.05


def test_alexnet_has_61_million_parameters():
    counts = N.parameters(N.ALEXNET)
    assert counts == {"conv1": 34944, "conv2": 307456, "conv3": 885120, "conv4": 663936, "conv5": 442624,
                      "fc1": 37752832, "fc2": 16781312, "output": 4097000}
    assert sum(counts.values()) == 60965224


def test_momentum_step_is_the_papers_rule():
    P, G, V = ({"W": np.array([v]), "b": np.array([v])} for v in (2.0, 3.0, 0.5))
    N.momentum_step(P, {k: g.copy() for k, g in G.items()}, V, 0.1)
    close(V["W"], [0.9 * 0.5 - 0.0005 * 0.1 * 2 - 0.1 * 3], 1e-15)
    close(V["b"], [0.9 * 0.5 - 0.1 * 3], 1e-15)
    close(P["W"], 2 + V["W"], 1e-15)
    V2, P2 = {"W": np.array([0.5])}, {"W": np.array([2.0])}
    N.momentum_step(P2, {"W": np.array([3.0])}, V2, 0.1, 0)
    close(V2["W"], [0.15], 1e-15)


def images(n=128, seed=20):
    x, labels, _ = N.make_shapes(n, rng(seed), side=24, noise=0.02, light=0.05, jitter=0.05)
    return N.normaliser(x)(x), labels


@pytest.mark.parametrize("means", [{}, {"aug": {}}, {"aug": {"flip": True, "shift": 1}}, {"dropout": 0.5},
                                   {"net": {"window": 3}}, {"net": {"lrn": {}}}], ids=str)
def test_training_lowers_the_error(means):
    x, labels = images()
    net = N.NET | means.pop("net", {})
    P = N.init(rng(21))
    curve, watched = N.train(P, x, labels, [1, 2], net, epochs=30, lr=0.05, watch=(x, labels), **means)
    assert len(curve) == 30 and list(watched) == [10, 20, 30]
    assert curve[0] > 0.8 and watched[30] < 0.4


def test_training_repeats_itself_and_pairs_batches():
    x, labels = images()
    runs = []
    for means in ({}, {}, {"aug": {}}, {"aug": {"shift": 2}}):
        P = N.init(rng(22))
        N.train(P, x, labels, [1, 2], epochs=2, **means)
        runs.append(P)
    close_dicts(runs[1], runs[0], 0)
    close_dicts(runs[2], runs[0], 1e-6)                            # an augmentation that changes nothing
    assert np.abs(runs[3]["fc2.W"] - runs[0]["fc2.W"]).max() > 1e-4


def test_test_error():
    x, labels = images(50)
    P = N.init(rng(23))
    Y, _ = N.net_forward(x, P, N.NET)
    assert N.test_error(x, labels, P, N.NET, at_once=7) == (Y.argmax(0) != labels).mean()


def test_race_counts_epochs_and_gives_up():
    x, labels = images(128)
    assert N.race(N.init(rng(24)), x, labels, [3], "relu", 1e-9, 3) == np.inf
    assert N.race(N.init(rng(24)), x, labels, [3], "relu", 0.05, 40) < 40
    assert N.race(N.init(rng(24)), x, labels, [3], "relu", 1e-9, 3, level=1.1) == 1
    with np.errstate(all="ignore"):
        assert N.race(N.init(rng(24)), x, labels, [3], "relu", 1e12, 3) == np.inf


# --- data and augmentation -------------------------------------------------------------------------

def test_augmentation_mirrors_and_shifts():
    x = rng(25).normal(size=(2, 7, 8, 400)).astype(np.float32)
    mirrored = N.augment(x, rng(26), flip=True)
    same = (mirrored == x).all((0, 1, 2))
    assert 0.4 < same.mean() < 0.6 and np.array_equal(mirrored[..., ~same], x[:, :, ::-1, ~same])
    shifted, seen = N.augment(x, rng(27), shift=2), set()
    for n in range(400):
        found = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if np.array_equal(
            shifted[..., n], x[:, np.arange(i, 7 + i).clip(0, 6)][:, :, np.arange(j, 8 + j).clip(0, 7), n])]
        assert len(found) == 1
        seen |= set(found)
    assert len(seen) == 25
    assert np.array_equal(N.augment(x, rng(28)), x)


def test_augmentation_changes_colours_and_adds_noise():
    x = rng(29).normal(size=(3, 6, 6, 3000)).astype(np.float32)
    axes = np.array([[1.0, 0, 0.5], [0, 2, 0], [0, 0, 0.1]])
    change = N.augment(x, rng(30), colour=axes) - x
    assert change.dtype == np.float32 and np.abs(change - change[:, :1, :1]).max() < 1e-5
    close(np.cov(change[:, 0, 0]), axes @ axes.T, 0.06)
    noise = N.augment(x, rng(31), noise=0.2) - x
    assert abs(noise.std() - 0.2) < 0.01 and abs(np.corrcoef(noise[0, 0, 0], noise[0, 0, 1])[0, 1]) < 0.1


def test_colour_axes_are_principal_components():
    mix = [[1.0, 0.2, 0], [0, 2, 0.3], [0.5, 0, 1]]
    x = np.einsum("ij,jhwn->ihwn", mix, rng(32).normal(size=(3, 5, 5, 200)))
    axes = N.colour_axes(x)
    close(axes @ axes.T, np.cov(x.reshape(3, -1)), 1e-12)
    products = axes.T @ axes
    assert np.abs(products - np.diag(np.diag(products))).max() < 1e-10


def test_normaliser():
    x = 3 + 2 * rng(33).normal(size=(3, 5, 5, 50)) + np.arange(3)[:, None, None, None]
    y = N.normaliser(x)(x)
    assert np.abs(y.mean((1, 2, 3))).max() < 1e-12 and 0.7 < y.std() <= 1.001


def test_low_share():
    assert abs(N.low_share(rng(34).normal(size=(500, 3, 7, 7))) - 9 / 49) < 0.01
    assert N.low_share(np.ones((2, 3, 7, 7))) > 1 - 1e-12


def test_saturated_and_shrunk():
    P = {"conv1.W": np.ones((1, 3, 5, 5)), "conv1.b": np.zeros(1)}
    x = np.concatenate([np.ones((3, 24, 24, 3)), np.zeros((3, 24, 24, 1))], 3)
    close(N.saturated(P, x), 0.75, 1e-12)
    assert N.saturated({k: p * 1e-3 for k, p in P.items()}, x) == 0
    assert (N.shrunk(P)["conv1.W"] == 0.01).all() and (P["conv1.W"] == 1).all()


# --- bad input -------------------------------------------------------------------------------------

@pytest.mark.parametrize("call, words", [
    (lambda: N.conv_forward(np.ones((2, 5, 5, 1)), {"W": np.ones((1, 3, 2, 2))}), "2 channels.*expect 3"),
    (lambda: N.conv_forward(np.ones((1, 3, 9, 1)), {"W": np.ones((1, 1, 6, 6))}, 1, 1), "at least 6.*3x9"),
    (lambda: N.conv_forward(np.ones((1, 4, 9, 1)), {"W": np.ones((1, 1, 3, 3))}, 1, 0, 2), "at least 5.*4x9"),
    (lambda: N.loss_forward(np.zeros((10, 2)), np.array([3, 10])), "label 10: expected 0 to 9"),
    (lambda: N.loss_forward(np.zeros((10, 2)), np.array([-1, 3])), "label -1: expected 0 to 9"),
    (lambda: N.make_shapes(5, rng(), ("disc", "star")), "'star'"),
    (lambda: N.pool_forward(np.ones((1, 2, 5, 1)), 3), "window of 3 pixels on 2x5: expected at most 2"),
    (lambda: N.unit_forward(np.ones(3), "gelu"), "unit 'gelu': expected"),
    (lambda: N.lrn_forward(np.ones((3, 2, 2, 1)), n=4), "4 channels in the sum: expected an odd"),
    (lambda: N.lrn_forward(np.ones((3, 2, 2, 1)), n=-1), "-1 channels"),
    (lambda: N.dropout_mask(rng(), (3,), 1.0), "rate 1.0: expected"),
    (lambda: N.dropout_mask(rng(), (3,), -0.1), "rate -0.1: expected"),
    (lambda: N.augment(np.ones((3, 6, 8, 2)), rng(), shift=6), "shift of 6 pixels: expected 0 to 5"),
    (lambda: N.augment(np.ones((3, 6, 8, 2)), rng(), shift=-1), "shift of -1 pixels"),
])
def test_bad_input_is_refused_with_the_value_and_what_was_expected(call, words):
    refuses(call, words)


# --- exercises and text ----------------------------------------------------------------------------

def readers_space():
    """Globals for a reader's cells: small data instead of the notebook's, races of a few epochs."""
    space = classroom(7)
    x, labels = images(64)
    space |= {"SEED": 0, "train_images": x, "train_labels": labels, "axes_rgb": N.colour_axes(x),
              "normalise": lambda x: x, "test": (x, labels), "pixels": 70 * x, "race_labels": labels}
    space["draw"] = lambda n, stream, **how: N.make_shapes(50, rng(stream), side=24)
    space["train"] = lambda *args, epochs=1, **how: N.train(*args, epochs=1, **how)
    space["race"] = lambda *args: N.race(*args[:-1], 1)
    space["first_weights"] = lambda unit, rules: N.init(rng(), output=None)
    return space


EXERCISES = Exercises(space=readers_space, wrong=(
    ("receptive_field = lambda layers: sum(k for k, _ in layers)", 0),
    ("receptive_field = lambda layers: 1 + sum(k - 1 for k, _ in layers)", 0),
    ("receptive_field = lambda layers: 1 + sum((k - 1) * s for k, s in layers)", 0),
    ("crop_resize = lambda x, top, left, size: x", 1),
    ("crop_resize = lambda x, top, left, size: x[:, left:left + size, top:top + size].repeat(2, 1)"
     ".repeat(2, 2)[:, :6, :6]", 1),
    ("def crop_resize(x, top, left, size):\n    at = (np.arange(6) * size / 6).astype(int)\n"
     "    return x[:, top + at][:, :, left + at]", 1),
    ("def mean_pool_backward(dy, x, window, stride):\n    dx = np.zeros_like(x)\n"
     "    for at in taps(x, window, stride):\n        dx[at] += dy\n    return dx", 2),
    ("def mean_pool_backward(dy, x, window, stride):\n    dx = np.zeros_like(x)\n"
     "    for at in taps(x, window, stride):\n        dx[at] = dy / window**2\n    return dx", 2)))


def test_numbers_in_the_text_are_those_of_the_code():
    text, code = text_and_code(7)
    assert "17,000 weights" in text and round(sum(p.size for p in N.init(rng()).values()), -3) == 17000
    assert "640 images" in text and "draw(640, 0)" in code
    assert "960 images" in text and "draw(960, 60" in code
    assert "20 and 50 epochs" in text and "for epochs in (20, 50)" in code
    assert re.search(r"9/49=0\.18", text) and round(9 / 49, 2) == 0.18
    assert N.map_size(24, 5, 2, 1) == 11 and "12, 5 × 5, stride 2 → 11 × 11" in text
    exec(exercise_parts(7)[0][0], space := {})
    assert space["receptive_field"]([(5, 2), (2, 2), (3, 1), (2, 2)]) == 19
