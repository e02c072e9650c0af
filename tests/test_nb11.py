"""Notebook 11: dilated convolution, pooling, upsampling and networks against PyTorch; fields; scenes."""

import numpy as np
import pytest
from scipy import signal as sps

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
from tools import notebook
from tools.catalogue import load

N = definitions(11)
CASES = golden("11")
CONVS = [name for name in CASES if name.startswith("conv ")]


def layers_of(space, name):
    return space.MODULE if name == "module" else space.NETS[name]


# --- what the mutation test breaks -----------------------------------------------------------------

def check_conv_backward(space):
    for name in CONVS:
        case, (_, dilation, pad) = CASES[name], map(int, name.split()[1:])
        y, cache = space.conv_forward(case["x"], part(case, "P."), 1, pad, dilation)
        close(y, case["y"], 1e-12, name)
        dx, G = space.conv_backward(case["up.y"], cache)
        close(dx, case["dx"], 1e-12, f"{name}: dx")
        close_dicts(G, part(case, "G."), 1e-12, name)
        assert space.conv_backward(case["up.y"], cache, False)[0] is None
    x, P = rng(1).normal(size=(2, 7, 8, 2)), {"W": rng(2).normal(size=(3, 2, 3, 3))}
    y, cache = space.conv_forward(x, P, stride=2, pad=1, dilation=2)
    up = rng(3).normal(size=y.shape)
    dx, G = space.conv_backward(up, cache)
    space.grad_check(lambda: float((space.conv_forward(x, P, 2, 1, 2)[0] * up).sum()), P | {"x": x},
                     G | {"x": dx}, rng(4))


def check_pool_backward(space):
    for name in ("pool", "pool with ties"):
        case = CASES[name]
        y, cache = space.pool_forward(case["x"])
        close(y, case["y"], 0, name)
        close(space.pool_backward(case["up.y"], cache), case["dx"], 0, name)


def check_upsample_backward(space):
    case = CASES["upsample"]
    y, cache = space.upsample_forward(case["x"], 3)
    close(y, case["y"], 0)
    close(space.upsample_backward(case["up.y"], cache), case["dx"], 1e-13)


def check_pixel_loss_backward(space):
    case = CASES["loss"]
    loss, cache = space.pixel_loss_forward(case["scores"], case["labels"])
    close(loss, case["loss"], 1e-13)
    close(space.pixel_loss_backward(cache), case["d"], 1e-14)
    close(case["d"].sum(0), np.zeros((5, 3, 2)), 1e-15)
    single = space.pixel_loss_backward(
        space.pixel_loss_forward(case["scores"].astype("f"), case["labels"])[1])
    assert single.dtype == np.float32


def check_nets(space):
    for name in (*space.NETS, "module"):
        case, layers = CASES[f"net, {name}"], layers_of(space, name)
        P = part(case, "P.")
        scores, cache = space.net_forward(case["x"], P, layers)
        close(scores, case["scores"], 1e-11, f"{name}: scores")
        loss, saved = space.pixel_loss_forward(scores, case["labels"])
        close(loss, case["loss"], 1e-12, f"{name}: loss")
        d = space.pixel_loss_backward(saved)
        dx, G = space.net_backward(d, cache, need_dx=True)
        close(dx / np.abs(case["dx"]).max(), case["dx"] / np.abs(case["dx"]).max(), 1e-10, f"{name}: dx")
        for k, g in part(case, "G.").items():
            scale = np.abs(g).max()
            assert scale > 0, f"{name}: {k} has no gradient"
            close(G[k] / scale, g / scale, 1e-10, f"{name}: {k}")
        assert G.keys() == P.keys()
        assert space.net_backward(d, cache)[0] is None


CHECKS = {"conv_backward": check_conv_backward, "pool_backward": check_pool_backward,
          "upsample_backward": check_upsample_backward, "pixel_loss_backward": check_pixel_loss_backward,
          "net_backward": check_nets}


# --- dilated convolution ---------------------------------------------------------------------------

@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_dilated_convolution_is_convolution_with_a_spread_kernel(dilation):
    """Equation 2 against scipy's ordinary convolution with zeros between the taps; even kernels excluded."""
    for k in (3, 5):
        kernel, line = rng(1).normal(size=k), rng(2).normal(size=17)
        spread = np.zeros(dilation * (k - 1) + 1)
        spread[::dilation] = kernel
        full = np.convolve(line, spread)
        cut = (len(spread) - 1) // 2
        close(N.dilated_1d(line, kernel, dilation), full[cut:cut + 17], 1e-13)
        kernel, image = rng(3).normal(size=(k, k)), rng(4).normal(size=(9, 12))
        spread = np.zeros((dilation * (k - 1) + 1,) * 2)
        spread[::dilation, ::dilation] = kernel
        full = sps.convolve2d(image, spread)
        cut = (len(spread) - 1) // 2
        close(N.dilated_2d(image, kernel, dilation), full[cut:cut + 9, cut:cut + 12], 1e-12)


@pytest.mark.parametrize("layers", [(1,), (2,), (8, 1), (1, 2, 4, 8)])
def test_size_is_kept_and_the_border_is_computed(layers):
    """A mistake of others: valid convolution, zeros put back. Here the rim has answers of its own."""
    P = N.net_init(rng(), layers, C=3, dtype=float)
    x = rng(1).random((3, 19, 23, 2))
    P["y.b"] += 1.0
    scores, (caches, *_) = N.net_forward(x, P, layers)
    assert scores.shape == (3, 19, 23, 2)
    first = caches[0][1]
    rim = np.ones((19, 23), bool)
    rim[layers[0]:-layers[0], layers[0]:-layers[0]] = False
    assert (first[:, rim] > 0).any(0).mean() > 0.5, "the rim is not made of zeros"
    P1 = {"W": P["0.W"]}
    image = x[:, :, :, 0]
    loops = sum(N.dilated_2d(image[c], P1["W"][1, c, ::-1, ::-1], layers[0]) for c in range(3))
    close(first[1, :, :, 0], np.maximum(loops, 0), 1e-12)


def test_networks_have_channels_and_nonlinearities():
    """Another mistake of others: one channel, linear. A network is not linear, and channels matter."""
    layers = N.NETS["dilated"]
    P = N.net_init(rng(), layers, dtype=float)
    assert P["1.W"].shape == (12, 12, 3, 3)
    a, b = rng(1).normal(size=(2, 3, 16, 16, 1))
    f = {k: N.net_forward(x, P, layers)[0] for k, x in (("a", a), ("b", b), ("a+b", a + b))}
    assert np.abs(f["a+b"] - f["a"] - f["b"]).max() > 0.01
    assert np.abs(N.net_forward(a[::-1], P, layers)[0] - f["a"]).max() > 0.01


@pytest.mark.parametrize("call, message", [
    (lambda: N.conv_forward(np.zeros((2, 5, 5, 1)), {"W": np.zeros((1, 3, 3, 3))}), "2 channels"),
    (lambda: N.conv_forward(np.zeros((3, 4, 9, 1)), {"W": np.zeros((1, 3, 3, 3))}, dilation=2),
     "at least 5 pixels"),
    (lambda: N.pool_forward(np.zeros((1, 4, 5, 1))), "maps of 4x5 pixels: expected even"),
    (lambda: N.net_forward(np.zeros((3, 12, 16, 1)), N.net_init(rng(), N.NETS["pool"], dtype=float),
                           N.NETS["pool"]), "maps of 3x4 pixels: expected even"),
    (lambda: N.net_forward(np.zeros((3, 4, 4, 1)), N.net_init(rng(), (1,)), ("dilate",)), "layer 'dilate'"),
    (lambda: N.pixel_loss_forward(np.zeros((3, 4, 4, 2)), np.zeros((4, 4, 1), int)), "labels"),
    (lambda: N.pixel_loss_forward(np.zeros((3, 4, 4, 2)), np.full((4, 4, 2), 3)), "from 3 to 3"),
    (lambda: N.pixel_loss_forward(np.zeros((3, 4, 4, 2)), np.full((4, 4, 2), -1)), "from -1 to -1"),
    (lambda: N.make_scenes(2, rng(), sides=(12, 40)), "boxes with sides"),
    (lambda: N.make_scenes(2, rng(), sides=(2, 10)), "boxes with sides"),
    (lambda: N.depth(np.zeros((4, 4, 1), int)), "without a box"),
    (lambda: N.depth(np.ones((4, 4, 1), int)), "without a box")])
def test_what_cannot_be_is_refused(call, message):
    refuses(call, message)


# --- receptive fields, first weights ---------------------------------------------------------------

@pytest.mark.parametrize("layers", [(1,), (3, 2), (1, 2, 4), (2, 2, 2), (1, 1, 1, 2, 4, 8, 1)])
def test_the_measured_field_is_the_set_of_sums_of_taps(layers):
    reached = {0}
    for d in layers:
        reached = {at + d * t for at in reached for t in (-1, 0, 1)}
    field = N.receptive_field(layers)
    row, column = np.nonzero(field)
    assert set(row - 32) == set(column - 32) == reached and len(row) == len(reached) ** 2
    assert N.extent(field) == (1 + 2 * sum(layers),) * 2


def test_fields_of_the_networks():
    assert N.extent(N.receptive_field(N.NETS["undilated"])) == (15, 15)
    assert N.extent(N.receptive_field(N.NETS["dilated"])) == (37, 37)
    pooled = N.receptive_field(N.NETS["pool"], 96, 16)
    assert N.extent(pooled) == (72, 72) and pooled.shape == (96, 96)
    assert N.extent(np.pad(np.ones((2, 5)), 3)) == (2, 5)


def test_no_pixel_beyond_the_field_counts():
    P, layers = N.net_init(rng(), N.NETS["undilated"], dtype=float), N.NETS["undilated"]
    x = rng(1).normal(size=(3, 32, 32, 1))
    y = x.copy()
    y[:, :9] = y[:, 24:] = y[:, :, :9] = y[:, :, 24:] = 5.0
    a, b = (N.net_forward(v, P, layers)[0][:, 16, 16] for v in (x, y))
    close(a, b, 1e-13)
    y[:, 9] += 1
    assert np.abs(N.net_forward(y, P, layers)[0][:, 16, 16] - a).max() > 1e-8


def test_identity_changes_nothing():
    x = rng().random((3, 9, 11, 2))
    P = N.net_init(rng(), N.MODULE, C=3, identity=0, noise=0, shares=np.full(3, 1 / 3), dtype=float)
    assert np.array_equal(N.net_forward(x, P, N.MODULE)[0], x)
    assert not np.array_equal(N.net_forward(-x, P, N.MODULE)[0], -x), "negative values are cut off"
    noisy = N.net_init(rng(), N.NETS["dilated"], identity=2, noise=0.01)
    assert 0 < np.abs(noisy["2.W"][:, :, 0, 0]).max() < 0.06
    close(noisy["4.W"][:, :, 1, 1], np.eye(12), 0.06)
    close(noisy["1.W"].std(), np.sqrt(2 / 108), 0.01)


def test_the_last_bias_starts_at_the_shares_of_the_classes():
    shares = np.array([0.5, 0.3, 0.2])
    P = N.net_init(rng(), N.NETS["dilated"], shares=shares) | {"y.W": np.zeros((3, 12, 1, 1))}
    scores = N.net_forward(rng().normal(size=(3, 8, 8, 1)), P, N.NETS["dilated"])[0]
    close(np.exp(scores[:, 0, 0, 0]), shares, 1e-6)
    assert not N.net_init(rng(), N.NETS["dilated"])["y.b"].any()


def test_fresh_networks():
    sizes = {n: sum(p.size for p in N.net_init(rng(), layers).values()) for n, layers in N.NETS.items()}
    assert set(sizes.values()) == {8223}
    P = N.net_init(rng(), (1, 1), C=64, identity=None)
    close(P["1.W"].std(), np.sqrt(2 / (9 * 64)), 0.002)
    assert all(p.dtype == np.float32 and p.any() == k.endswith("W") for k, p in P.items())


def test_shifted_scores_keep_the_answer():
    P = N.net_init(rng(), N.NETS["undilated"], dtype=float)
    x = rng(1).normal(size=(3, 12, 12, 2))
    shifted, scores = N.front_scores(x, P, N.NETS["undilated"]), N.net_forward(x, P, N.NETS["undilated"])[0]
    assert (shifted.min(0) == 0).all() and np.array_equal(shifted.argmax(0), scores.argmax(0))
    labels = rng(2).integers(3, size=(12, 12, 2))
    close(N.pixel_loss_forward(shifted, labels)[0], N.pixel_loss_forward(scores, labels)[0], 1e-12)


@pytest.mark.parametrize("name", ["dilated", "pool + skip"])
def test_gradients_keep_dtype_and_write_nothing(name):
    layers = N.NETS[name]
    P, x = N.net_init(rng(), layers), rng(1).normal(size=(3, 16, 8, 2)).astype("f")
    labels = rng(2).integers(3, size=(16, 8, 2))
    with untouched(P | {"x": x}):
        scores, cache = N.net_forward(x, P, layers)
        dx, G = N.net_backward(N.pixel_loss_backward(N.pixel_loss_forward(scores, labels)[1]), cache, True)
    assert scores.dtype == dx.dtype == np.float32
    like_parameters(G, P)


# --- scenes, scores --------------------------------------------------------------------------------

def test_scenes():
    images, labels = N.make_scenes(60, rng(), noise=0.0)
    assert images.shape == (3, 32, 32, 60) and images.dtype == np.float32
    far = N.depth(labels)
    assert (far >= 1).sum((0, 1)).min() >= 144, "a box in every scene, 12 x 12 or more"
    rim = far == 1
    colours = np.array(N.OUTLINES)
    hit = np.mean([(images[0][rim & (labels == k)] == colours[k - 1][0]).mean() for k in (1, 2)])
    assert hit > 0.95, "outlines have the colour of their label, but for strays across"
    assert (images[:, far > 1] == 0).all(0).mean() > 0.9 and (images[:, far < 0] == 0).all(0).mean() > 0.9
    again, _ = N.make_scenes(60, rng())
    close((again - images).std(), 0.2, 0.05)


def test_boxes_of_a_scene_do_not_touch():
    from scipy import ndimage
    _, labels = N.make_scenes(40, rng(), sides=(4, 7), boxes=4)
    for i in range(40):
        parts, n = ndimage.label(labels[..., i] > 0, np.ones((3, 3)))
        assert 1 <= n <= 4
        for found in ndimage.find_objects(parts):
            inside = labels[..., i][found]
            assert (inside == inside[0, 0]).all() and inside[0, 0] > 0
            assert 4 <= min(inside.shape) and max(inside.shape) <= 7


def test_depth_by_brute_force():
    labels = N.make_scenes(3, rng(), sides=(3, 9), side=14, strays=0)[1]
    grid = np.stack(np.mgrid[:14, :14]).reshape(2, -1)
    for i in range(3):
        box = (labels[..., i] > 0).ravel()
        apart = np.abs(grid[:, :, None] - grid[:, None]).max(0)
        nearest = np.where(box[:, None] != box, apart, 99).min(1)
        outside = np.minimum(grid, 13 - grid).min(0) + 1        # a box at the border ends there
        expected = np.where(box, np.minimum(nearest, outside), -nearest)
        assert np.array_equal(N.depth(labels)[..., i].ravel(), expected)


def test_mean_iou_by_loops():
    labels, predicted = rng().integers(3, size=(2, 5, 6, 2))
    expected = np.mean([((labels == k) & (predicted == k)).sum() / ((labels == k) | (predicted == k)).sum()
                        for k in range(3)])
    close(N.mean_iou(labels, predicted), expected, 1e-14)
    assert N.mean_iou(labels, labels) == 1 and N.confusion(labels, predicted).sum() == 60
    assert N.confusion(np.array([0, 2]), np.array([1, 2])).tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert N.mean_iou(np.zeros(4, int), np.array([0, 0, 0, 1])) == pytest.approx(0.375)


def test_uncovered_windows():
    images = np.full((3, 20, 20, 2), 9.0, np.float32)
    out = N.uncover(images, np.array([3, 10]), np.array([4, 10]), 2, rng())
    assert (out[:, 1:6, 2:7, 0] == 9).all() and (out == 9).sum() == 3 * 25 * 2
    assert np.abs(out[out != 9]).max() < 1.2


def test_loss_of_extreme_scores():
    scores = np.zeros((2, 1, 1, 2))
    scores[0] = 1e4
    loss, cache = N.pixel_loss_forward(scores, np.array([[[0, 1]]]))
    assert 30 < loss < 40 and np.isfinite(N.pixel_loss_backward(cache)).all()


# --- training, exercises ---------------------------------------------------------------------------

def readers_space():
    """What a reader has at the exercises, with few scenes and short runs."""
    space = classroom(11)
    sets = [space["make_scenes"](8, rng(s)) for s in range(2)]
    space |= {"SEED": 0, "SETS": sets, "errors": {}}
    contest, draw = space["contest"], space["draw"]
    space["contest"] = lambda layers, *sets, **how: contest(layers, *sets, **how | {"steps": 2})
    space["draw"] = lambda n, stream, **how: draw(min(n, 8), stream, **how)
    return space


def test_training():
    space = classroom(11)
    space["SEED"] = 0
    data, test = (space["make_scenes"](16, rng(s), sides=(4, 7), side=16) for s in range(2))
    run = space["contest"]((1, 1), data, test, lr=0.01, steps=40)
    assert len(run["curve"]) == 40 and run["curve"][-5:].mean() < run["curve"][:5].mean()
    close(run["test"], space["mean_iou"](test[1], space["predict"](test[0], run["P"], (1, 1))), 0)
    still = space["contest"]((1, 1), data, test, lr=0.0, steps=3)["P"]
    shares = np.bincount(data[1].ravel(), minlength=3) / data[1].size
    first = space["net_init"](rng([0, 4]), (1, 1), shares=shares)
    assert all(np.array_equal(still[k], first[k]) for k in first), "rate 0 moves nothing"


def test_no_result_is_drawn():
    """In the experiments nothing is random but the noise that covers scenes."""
    cells = notebook.read(load()[0][11].path).cells
    start = next(i for i, c in enumerate(cells) if "role-experiments" in notebook.tags(c))
    end = next(i for i, c in enumerate(cells) if "scoreboard" in notebook.tags(c))
    code = [c.source for c in cells[start:end + 1] if c.cell_type == "code" and "def uncover" not in c.source]
    assert len(code) > 8 and not any(f".{draw}(" in source for source in code
                                     for draw in ("uniform", "normal", "random", "integers"))


EXERCISES = Exercises(
    space=readers_space,
    wrong=(("def field_width(layers):\n    return 1 + sum(2 * d for d in layers if isinstance(d, int))", 0),
           ("widest = (1, 2, 10)", 1), ("widest = (1, 4, 8)", 1), ("widest = (13,)", 1),
           ("def wide_identity(c_in, c_out):\n    W = np.zeros((c_out, c_in, 3, 3))\n"
            "    W[:, :, 1, 1] = np.eye(c_out, c_in)\n    return 2 * W", 2)))
