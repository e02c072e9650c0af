"""The shared idioms do what they say: they pass what is right and stop what is wrong."""

import numpy as np
import pytest

from tests.support import close_dicts, golden, idioms, part

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
