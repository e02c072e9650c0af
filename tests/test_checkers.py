"""The shared idioms do what they say: they pass what is right and stop what is wrong."""

import numpy as np
import pytest

from tests.support import close_dicts, golden, idioms, like_parameters, part, untouched

IDIOMS = idioms()


def quadratic(rng):
    """loss = 0.5 sum (x W + b)^2, its arrays and its gradients."""
    P = {"x": rng.normal(size=(5, 4)), "W": rng.normal(size=(4, 3)), "b": rng.normal(size=3)}

    def loss():
        return 0.5 * float(((P["x"] @ P["W"] + P["b"]) ** 2).sum())

    y = P["x"] @ P["W"] + P["b"]
    return loss, P, {"x": y @ P["W"].T, "W": P["x"].T @ y, "b": y.sum(0)}


def check(change=lambda P, G: None, **options):
    loss, P, G = quadratic(np.random.default_rng(1))
    before = {k: p.copy() for k, p in P.items()}
    change(P, G)
    error = IDIOMS.grad_check(loss, P, G, np.random.default_rng(2), **options)
    assert all(np.array_equal(P[k], before[k]) for k in P), "entries have to be put back"
    return error


def test_grad_check_passes_right_gradients():
    assert 0 < check() < 1e-8


WRONG = {
    "a flipped sign": lambda P, G: G.update(W=-G["W"]),
    "a missing factor": lambda P, G: G.update(x=0.5 * G["x"]),
    "one wrong entry": lambda P, G: G["W"].__setitem__((2, 1), G["W"][2, 1] + 1e-3),
    "a missing key": lambda P, G: G.pop("b"),
    "an additional key": lambda P, G: G.update(c=G["b"]),
    "a shape that broadcasts": lambda P, G: G.update(b=G["b"][None]),
    "a missing sum": lambda P, G: G.update(b=G["b"] * np.ones((5, 1))),
    "float32 parameters": lambda P, G: P.update(b=P["b"].astype(np.float32)),
}


@pytest.mark.parametrize("name", WRONG)
def test_grad_check_stops(name):
    with pytest.raises(AssertionError):
        check(WRONG[name])


def test_grad_check_stops_two_zeros():
    """A loss that does not depend on a tensor proves nothing about its gradient."""
    P = {"unused": np.ones(3)}
    with pytest.raises(AssertionError, match="unused: the gradient vanishes"):
        IDIOMS.grad_check(lambda: 1.0, P, {"unused": np.zeros(3)}, np.random.default_rng(0))


def test_grad_check_names_the_tensor():
    with pytest.raises(AssertionError, match="W: relative error"):
        check(WRONG["a flipped sign"])


def test_adam_is_pytorchs():
    case = golden("idioms")["adam"]
    P = {k: v.copy() for k, v in part(case, "P0.").items()}
    state = IDIOMS.adam_init(P)
    for step in range(5):
        IDIOMS.adam_update(P, part(case, f"G{step}."), state, lr=0.05, beta2=0.98, eps=1e-9)
    close_dicts(P, part(case, "P5."), 1e-12, "after five steps")


def test_adam_works_in_place_and_keeps_float32():
    P = {"W": np.ones((2, 2), np.float32)}
    view = P["W"]
    state = IDIOMS.adam_init(P)
    IDIOMS.adam_update(P, {"W": np.full((2, 2), 3, np.float32)}, state, lr=np.float64(0.1))
    assert P["W"] is view and view.dtype == np.float32 and state["m"]["W"].dtype == np.float32
    np.testing.assert_allclose(view, 0.9, rtol=1e-6)  # the first step has length lr


@pytest.mark.parametrize("max_norm", [0.7, 100.0])
def test_clip_is_pytorchs(max_norm):
    case = golden("idioms")[f"clip{max_norm:g}"]
    G = {k: v.copy() for k, v in part(case, "G.").items()}
    norm = IDIOMS.clip_by_norm(G, max_norm)
    assert norm == pytest.approx(float(case["norm"]))
    close_dicts(G, part(case, "clipped."), 1e-6, "clipped")


def row(**changes):
    return {"claim": "c", "place": "Table 1", "paper": "-", "ours": 2.0, "op": ">=", "threshold": 1.0,
            "digits": 2, "expect": "reproduced"} | changes


def test_scoreboard_computes_verdicts():
    rows = [row(), row(claim="d", op="<=", expect="not reproduced")]
    assert IDIOMS.scoreboard(rows, {}) == ["reproduced: c", "not reproduced: d"]


@pytest.mark.parametrize("changes", [
    {"ours": 0.5}, {"op": "<="}, {"expect": "not reproduced"}, {"ours": float("inf")},
    {"ours": float("nan"), "expect": "not reproduced"}])
def test_scoreboard_stops_a_verdict_that_is_not_the_stated_one(changes):
    with pytest.raises(AssertionError):
        IDIOMS.scoreboard([row(**changes)], {})


def test_scoreboard_refuses_an_unknown_comparison():
    with pytest.raises(KeyError):
        IDIOMS.scoreboard([row(op="==")], {})


CONVOLUTIONS = sorted(name for name in golden("idioms") if name.startswith("conv "))


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution_is_pytorchs(name):
    case = golden("idioms")[name]
    P = part(case, "P.")
    y, cache = IDIOMS.conv_forward(case["x"], P, *case["options"].tolist())
    dx, G = IDIOMS.conv_backward(case["up.y"], cache)
    close_dicts({"y": y, "dx": dx} | G, {"y": case["y"], "dx": case["dx"]} | part(case, "G."), 1e-12, name)
    none, G_only = IDIOMS.conv_backward(case["up.y"], cache, need_dx=False)
    assert none is None
    close_dicts(G_only, G, 0, f"{name}, no dx")


def test_convolution_keeps_float32_and_its_inputs():
    rng = np.random.default_rng(0)
    x, P = rng.normal(size=(2, 5, 5, 3)).astype("f"), {"W": rng.normal(size=(4, 2, 3, 3)).astype("f")}
    before = x.copy(), P["W"].copy()
    y, cache = IDIOMS.conv_forward(x, P, pad=1)
    dx, G = IDIOMS.conv_backward(y, cache)
    assert y.dtype == dx.dtype == G["W"].dtype == np.float32
    assert np.array_equal(x, before[0]) and np.array_equal(P["W"], before[1])


def test_convolution_refuses_what_does_not_fit():
    x = np.zeros((3, 4, 6, 2))
    with pytest.raises(ValueError, match="3 channels, the filters expect 2"):
        IDIOMS.conv_forward(x, {"W": np.zeros((1, 2, 3, 3))})
    with pytest.raises(ValueError, match="at least 5 pixels a side; 4x6 with padding 0"):
        IDIOMS.conv_forward(x, {"W": np.zeros((1, 3, 3, 3))}, dilation=2)
    assert IDIOMS.conv_forward(x, {"W": np.zeros((1, 3, 3, 3))}, pad=1, dilation=2)[0].shape == (1, 2, 4, 2)


def test_shapes_are_balanced_random_and_known_by_their_masks():
    images, labels, masks = IDIOMS.make_shapes(60, np.random.default_rng(0))
    assert images.shape == (3, 16, 16, 60) and images.dtype == np.float32 and masks.shape == (16, 16, 60)
    assert images.min() >= 0 and images.max() <= 1
    assert np.array_equal(np.bincount(labels), [6] * 10)
    assert all(0.03 < share < 0.6 for share in masks.mean((0, 1))), "each object is seen, and is not all"
    first = [images[..., labels == label][..., 0] for label in range(10)]
    again = [images[..., labels == label][..., 1] for label in range(10)]
    assert all(np.abs(a - b).mean() > 0.02 for a, b in zip(first, again, strict=True)), "all alike"
    repeat = IDIOMS.make_shapes(60, np.random.default_rng(0))
    assert all(np.array_equal(a, b) for a, b in zip((images, labels, masks), repeat, strict=True))


def test_hue_is_the_parity_of_the_label():
    images, labels, masks = IDIOMS.make_shapes(200, np.random.default_rng(1), noise=0, light=0)
    red, _, blue = np.where(masks, images, 0).sum((1, 2))
    assert np.array_equal(blue > red, labels % 2 == 1)


def test_forms_differ_and_can_be_chosen():
    still = {"noise": 0, "light": 0, "jitter": 0, "turn": 0, "size": (0.8, 0.8)}
    names = ("disc", "square", "triangle", "ring", "plus", "bar", "diamond", "cross", "arc")
    _, labels, masks = IDIOMS.make_shapes(18, np.random.default_rng(0), shapes=names, **still)
    forms = {masks[..., labels // 2 == i].tobytes() for i in range(9)}
    assert len(forms) == 9
    with pytest.raises(ValueError, match="no shape is called 'heart'; there are disc, square"):
        IDIOMS.make_shapes(4, np.random.default_rng(0), shapes=("disc", "heart"))


@pytest.mark.parametrize("G", [
    {}, {"W": np.ones(3)}, {"W": np.ones(2, "f")}, {"W": np.ones(2), "b": np.ones(1)}])
def test_gradients_unlike_their_parameters_are_stopped(G):
    like_parameters({"W": np.zeros(2)}, {"W": np.ones(2)})
    with pytest.raises(AssertionError):
        like_parameters(G, {"W": np.ones(2)})


def test_writing_into_an_input_is_stopped():
    x = {"x": np.zeros(2)}
    with untouched(x):
        x["x"] + 1
    with pytest.raises(AssertionError, match="x was written to"), untouched(x):
        x["x"][0] = 1
