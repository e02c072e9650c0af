"""Notebook 15: residual units in every order and with every shortcut against PyTorch; the equations."""

from dataclasses import replace

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
    rng,
    untouched,
)
from tools import notebook
from tools.catalogue import load

N = definitions(15)
CASES = golden("15")
VARIANTS = [name.removeprefix("unit, ") for name in CASES if name.startswith("unit, ")]
KINDS = "identity", "scaled", "gate", "exclusive gate", "projection", "dropout"


def config(space, variant, units=3, D=5):
    """The configuration of a golden case: two networks with factors 0.5 and 0.8."""
    kind, _, full = variant.partition(", ")
    order = kind if kind in space.ORDERS else "full pre-activation" if full else "original"
    shortcut = "scaled" if "scaled" in kind else kind if kind in KINDS else "identity"
    both = (0.5, 0.8) if kind == "both scaled" else (1.0, 1.0)
    return space.Config(units, order, shortcut, factor=(0.5, 0.8), branch=both, D=D)


def masks(variant):
    """The generator that the oracle drew its dropout masks from."""
    return rng(0) if variant == "dropout" else None


# --- what the mutation test breaks -----------------------------------------------------------------

def check_batch_norm_backward(space):
    case = CASES["batch norm"]
    y, cache = space.batch_norm_forward(case["x"], part(case, "P."))
    close(y, case["y"], 1e-12, "y")
    dx, G = space.batch_norm_backward(case["up.y"], cache)
    close_dicts({"dx": dx} | G, {"dx": case["dx"]} | part(case, "G."), 1e-11)


def check_units(space):
    for variant in VARIANTS:
        case = CASES[f"unit, {variant}"]
        y, cache = space.unit_forward(case["x"], part(case, "P."), config(space, variant), masks(variant))
        close(y, case["y"], 1e-11, f"{variant}: y")
        dx, G = space.unit_backward(case["up.y"], cache)
        close(dx, case["dx"], 1e-10, f"{variant}: dx")
        close_dicts(G, part(case, "G."), 1e-10, variant)


def check_nets(space):
    for variant in VARIANTS:
        case = CASES[f"net, {variant}"]
        P, cfg = part(case, "P."), config(space, variant)
        logits, X, cache = space.net_forward(case["x"], P, cfg, masks(variant))
        close(logits, case["logits"], 1e-10, f"{variant}: logits")
        losses, loss_cache = space.cross_entropy_forward(logits, case["labels"])
        close(losses, case["losses"], 1e-10, f"{variant}: losses")
        dx, G, dX = space.net_backward(space.cross_entropy_backward(loss_cache), cache)
        close(dx, case["dx"], 1e-8, f"{variant}: dx")
        close_dicts(G, part(case, "G."), 1e-8, variant)
        assert len(X) == len(dX) == 4


def check_cross_entropy_backward(space):
    logits, y = rng(1).normal(size=(2, 4, 6)), np.array([0, 3, 2, 1, 1, 0])
    losses, cache = space.cross_entropy_forward(logits, y)
    close(space.cross_entropy_backward(cache).sum(1), np.zeros((2, 6)), 1e-15)
    space.grad_check(lambda: float(space.cross_entropy_forward(logits, y)[0].sum()), {"z": logits},
                     {"z": space.cross_entropy_backward(cache)}, rng(2), n=48)


CHECKS = {"batch_norm_backward": check_batch_norm_backward, "chain_backward": check_units,
          "shortcut_backward": check_units, "unit_backward": check_units, "net_backward": check_nets,
          "cross_entropy_backward": check_cross_entropy_backward}


# --- layers, shortcuts, units ----------------------------------------------------------------------

def test_batch_norm_with_statistics_of_the_training_points():
    case = CASES["batch norm"]
    close(N.batch_norm_forward(case["x"], part(case, "P."), seen=6)[0], case["seen 6"], 1e-12)


@pytest.mark.parametrize("x, seen", [(np.ones((1, 3, 1)), None), (np.ones((1, 3, 4)), 1)])
def test_one_example_has_no_variance(x, seen):
    with pytest.raises(ValueError, match="statistics from 1 examples: expected at least 2"):
        N.batch_norm_forward(x, {"g": np.ones((1, 3)), "b": np.zeros((1, 3))}, seen)


def test_orders_are_the_papers():
    """Figure 4: each branch has two layers of weights; what is free of the shortcut, and what is not."""
    assert len(N.ORDERS) == 5
    for branch, after, last in N.ORDERS.values():
        assert (branch + after).count("W") == (branch + after).count("N") == 2
        assert (branch + after).count("R") == 2 and "W" not in after + last
    assert {order for order, (_, after, _) in N.ORDERS.items() if after} == {"original", "BN after addition"}


@pytest.mark.parametrize("kind", KINDS)
def test_shortcuts_by_loops(kind):
    x, F = rng(3).normal(size=(2, 2, 3, 4))
    W, b = rng(5).normal(size=(2, 3, 3)), rng(6).normal(size=(2, 3))
    P = {"g.W": W, "g.b": b, "h.0.W": W, "h.1.g": 1 + b, "h.1.b": b}
    cfg = N.Config(1, shortcut=kind, factor=(0.3, 0.9), branch=(1.0, 0.6), D=3)
    y = N.shortcut_forward(x, F, P, cfg, rng(7))[0]
    mask = rng(7).random((2, 3, 4)) < 0.5
    for m in range(2):
        for i in range(4):
            v, f = x[m, :, i], F[m, :, i]
            g = 1 / (1 + np.exp(-(W[m] @ v + b[m])))
            rows = W[m] @ x[m]
            h = (rows - rows.mean(1, keepdims=True)) / np.sqrt(rows.var(1, keepdims=True) + 1e-5)
            expected = {"identity": v + f, "scaled": cfg.factor[m] * v + cfg.branch[m] * f,
                        "gate": (1 - g) * v + f, "exclusive gate": (1 - g) * v + g * f,
                        "projection": (1 + b[m]) * h[:, i] + b[m] + f,
                        "dropout": v * mask[m, :, i] + f}[kind]
            close(y[m, :, i], expected, 1e-12, kind)


def test_dropout_passes_its_expectation_in_tests():
    x, F = rng().normal(size=(2, 1, 3, 4))
    cfg = N.Config(1, shortcut="dropout", D=3)
    close(N.shortcut_forward(x, F, {}, cfg)[0], 0.5 * x + F, 1e-15)
    drawn = np.mean([N.shortcut_forward(x, F, {}, cfg, rng(i))[0] for i in range(4000)], 0)
    assert np.abs(drawn - 0.5 * x - F).max() < 0.1


def test_sigmoid_does_not_overflow():
    with np.errstate(all="raise"):
        close(N.sigmoid(np.array([-1e4, 0.0, 1e4])), [0, 0.5, 1], 1e-15)


@pytest.mark.parametrize("order", list(N.ORDERS))
def test_a_unit_without_weights(order):
    """Only what stands behind the addition touches the stream; in pre-activation orders nothing does."""
    cfg = N.Config(1, order, D=6)
    P = N.unit_part(N.net_init(rng(), cfg, dtype=float), 0)
    x = rng(1).normal(size=(1, 6, 9))
    y = N.unit_forward(x, {k: 0 * p if k.endswith("W") else p for k, p in P.items()}, cfg)[0]
    assert np.array_equal(y, x) == (order not in ("original", "BN after addition"))
    if order == "original":
        assert np.array_equal(y, np.maximum(x, 0))


@pytest.mark.parametrize("order, factor", [(o, f) for o in list(N.ORDERS)[2:] for f in (1.0, 0.7)])
def test_equations_4_and_7(order, factor):
    cfg = N.Config(6, order, "scaled", factor=(factor,), D=4)
    P = N.net_init(rng(), cfg, dtype=float)
    _, X, (_, caches, *_) = N.net_forward(rng(1).normal(size=(1, 2, 8)), P, cfg)
    F = [N.chain_forward(X[u], N.unit_part(P, u), "F", N.ORDERS[order][0])[0] for u in range(6)]
    close(X[6], factor**4 * X[2] + sum(factor ** (5 - i) * F[i] for i in range(2, 6)), 1e-12)


def test_gradient_through_scaled_shortcuts_alone_is_the_product():
    """Equation 8: without branches the gradient arrives times the product of the factors."""
    cfg = N.Config(9, "full pre-activation", "scaled", factor=(0.5, 0.9), D=4)
    P = {k: 0 * p if k.startswith("F") and k.endswith("W") else p
         for k, p in N.net_init(rng(), cfg, 2, float).items()}
    logits, _, cache = N.net_forward(rng(1).normal(size=(2, 2, 8)), P, cfg)
    dX = N.net_backward(rng(2).normal(size=logits.shape), cache)[2]
    close(dX[0], np.array([0.5, 0.9])[:, None, None] ** 9 * dX[9], 1e-12)


# --- networks --------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", KINDS)
def test_networks_side_by_side_are_networks_one_by_one(kind):
    cfg = N.Config(2, "original", kind, factor=(0.5, 0.8, 0.9), branch=(1.0, 1.0, 0.5),
                   gate_bias=(0.0, -1.0, -6.0), D=4)
    P = {k: p + 0.1 * rng(8).normal(size=p.shape) for k, p in N.net_init(rng(), cfg, 3, float).items()}
    x, y = rng(1).normal(size=(3, 2, 7)), rng(2).integers(5, size=7)
    losses, dx, G, _ = N.loss_and_gradients(x, y, P, cfg)
    for m in range(3):
        one = replace(cfg, **{k: getattr(cfg, k)[m:m + 1] for k in ("factor", "branch", "gate_bias")})
        alone = N.loss_and_gradients(x[m:m + 1], y, {k: p[m:m + 1] for k, p in P.items()}, one)
        close(losses[m:m + 1], alone[0], 1e-12)
        close(dx[m:m + 1], alone[1], 1e-11)
        close_dicts({k: g[m:m + 1] for k, g in G.items()}, alone[2], 1e-11, f"network {m}")


@pytest.mark.parametrize("order", list(N.ORDERS))
def test_gradients_keep_dtype_and_write_nothing(order):
    cfg = N.Config(3, order, D=4)
    P = N.net_init(rng(), cfg, 2)
    x, y = rng(1).normal(size=(2, 2, 8)).astype("f"), rng(2).integers(5, size=8)
    with untouched(P | {"x": x}):
        _, dx, G, _ = N.loss_and_gradients(x, y, P, cfg)
    like_parameters(G | {"x": dx}, P | {"x": x})


def test_fresh_networks():
    cfg = N.Config(54, shortcut="gate", gate_bias=(0.0, -6.0))
    P = N.net_init(rng(), cfg, 2)
    assert all(np.array_equal(p[0], p[1]) for k, p in P.items() if k != "g.b"), "one start for all"
    assert np.array_equal(np.unique(P["g.b"][1]), [-6]) and not P["g.b"][0].any()
    close(P["F.0.W"].std(), np.sqrt(2 / 16), 0.03)
    close(P["g.W"].std(), 0.1 * np.sqrt(2 / 16), 0.03)
    assert P["F.0.W"].shape == (2, 54, 16, 16) and P["stem.0.W"].shape == (2, 16, 2)
    sizes = {o: sum(p.size for p in N.net_init(rng(), N.Config(54, o)).values()) for o in N.ORDERS}
    assert max(sizes.values()) - min(sizes.values()) == 2 * 16, "one batch norm more at the end"


@pytest.mark.parametrize("options, message", [
    ({"order": "post"}, "order 'post': expected one of"), ({"shortcut": "none"}, "shortcut 'none'"),
    ({"units": 0}, "0 units of width 16"), ({"D": 0}, "1 units of width 0")])
def test_configurations_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        N.Config(**{"units": 1} | options)


@pytest.mark.parametrize("y", [np.array([0, 5, 1]), np.array([-1, 0, 1]), np.array([0, 1])])
def test_labels_that_do_not_fit(y):
    with pytest.raises(ValueError, match="expected one for each example, from 0 to 4"):
        N.cross_entropy_forward(np.zeros((2, 5, 3)), y)


def test_loss_of_extreme_logits():
    losses, cache = N.cross_entropy_forward(np.array([[[1e4], [-1e4]]]), np.array([0]))
    assert losses.item() == 0 and np.isfinite(N.cross_entropy_backward(cache)).all()


def test_sgd_is_pytorchs():
    case = CASES["sgd"]
    P = {k: v[None].copy() for k, v in part(case, "P0.").items()}
    V = {k: np.zeros_like(p) for k, p in P.items()}
    for step in range(4):
        G = {k: g[None] for k, g in part(case, f"G{step}.").items()}
        N.sgd_update(P, G, V, np.array([0.05]), decay=0.1)
    close_dicts({k: p[0] for k, p in P.items()}, part(case, "P4."), 1e-12)


def test_each_network_has_its_rate():
    P = {"b": np.zeros((3, 2), "f")}
    N.sgd_update(P, {"b": np.ones((3, 2), "f")}, {"b": np.zeros((3, 2), "f")}, np.array([0.1, 0.0, 1.0]))
    close(P["b"][:, 0], [-0.1, 0, -1], 1e-7)


# --- data, probe, training -------------------------------------------------------------------------

def test_spiral():
    x, y = N.spiral(500, rng())
    assert x.shape == (2, 500) and x.dtype == np.float32 and np.array_equal(np.bincount(y), [100] * 5)
    r, angle = np.hypot(*x) / 2, np.arctan2(x[1], x[0])
    assert 0.14 < r.min() and r.max() <= 1
    off = (angle - 2 * np.pi * (y / 5 + r) + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(off * np.sqrt(r)).max() < 0.06 * 4.5 and 0.05 < (off * np.sqrt(r)).std() < 0.07
    assert N.neighbour_error(x, y) < 0.02


@pytest.mark.parametrize("n, arms", [(10, 1), (3, 4)])
def test_spirals_that_cannot_be(n, arms):
    with pytest.raises(ValueError, match=f"{arms} arms for {n} points"):
        N.spiral(n, rng(), arms)


def test_neighbour_error_by_loops():
    x, y = rng(1).normal(size=(3, 40)) * np.array([[1], [10], [0.1]]), rng(2).integers(3, size=40)
    z = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    wrong = 0
    for i in range(40):
        d = [np.inf if i == j else ((z[:, i] - z[:, j]) ** 2).sum() for j in range(40)]
        wrong += y[int(np.argmin(d))] != y[i]
    close(N.neighbour_error(x, y), wrong / 40, 1e-12)


def readers_space():
    """What a reader has at the exercises, with a small training set."""
    space = classroom(15)
    x, y = space["spiral"](128, rng(1))
    space |= {"SEED": 0, "K": 5, "x_train": x, "y_train": y, "x_test": x, "y_test": y, "errors": {}}
    train = space["train"]
    space["train"] = lambda cfg, rates, steps=3, **kw: train(replace(cfg, units=2), rates, steps, **kw)
    return space


def test_training_side_by_side():
    """A small network learns, clipping is by network, and one network's explosion stays its own."""
    space = classroom(15)
    x, y = space["spiral"](256, rng(1))
    space |= {"SEED": 0, "K": 5, "x_train": x, "y_train": y, "x_test": x, "y_test": y}
    run = space["train"](space["Config"](3, "full pre-activation"), (0.1, 0.0, 1e30), 60)
    assert run["curve"].shape == (60, 3) and run["train"][0] < 0.5 < run["train"][1]
    first = space["net_init"](rng([0, 3]), run["cfg"], 3)
    assert all(np.array_equal(run["P"][k][1], first[k][1]) for k in first), "rate 0 moves nothing"
    again = space["train"](space["Config"](3, "full pre-activation"), (0.1,), 60)
    close(again["train"], run["train"][:1], 0.02)
    still = space["train"](space["Config"](3), (0.1, 0.1), 3, clip=np.array([1e-12, np.inf]))
    moved = [max(np.abs(still["P"][k][m] - first_k[0]).max() for k, first_k in
                 space["net_init"](rng([0, 3]), still["cfg"], 1).items() if "W" in k) for m in (0, 1)]
    assert moved[0] < 1e-3 < moved[1]


def test_paths_up_and_down_start_at_the_input():
    space = readers_space()
    errors, norms = space["up_and_down"](space["Config"](4), (0, 4), 100)
    assert len(errors) == 2 and norms.shape == (5,) and (norms > 0).all()
    stem = space["chain_forward"](space["x_train"][None, :, :100],
                                  space["net_init"](rng([0, 5]), space["Config"](4)), "stem", "WNR")[0][0]
    assert errors[0] == space["neighbour_error"](stem.astype(float), space["y_train"][:100])


def test_no_result_is_drawn():
    """In the experiments, up to the scoreboard, nothing is random but what networks are made and fed with."""
    cells = notebook.read(load()[0][15].path).cells
    start = next(i for i, c in enumerate(cells) if "role-experiments" in notebook.tags(c))
    end = next(i for i, c in enumerate(cells) if "scoreboard" in notebook.tags(c))
    code = [c.source for c in cells[start:end + 1] if c.cell_type == "code"]
    assert len(code) > 8 and not any(f".{draw}(" in source for source in code
                                     for draw in ("uniform", "normal", "random", "integers"))


EXERCISES = Exercises(
    space=readers_space,
    wrong=(("half_after_500 = 0.5", 0), ("one_relu = ('NRWNRW', '', 'NR')", 1),
           ("one_relu = ('NWNRW', 'R', 'NR')", 1),
           ("def depth_backward(dy, keep):\n    return keep * dy, keep * dy", 2),
           ("def depth_backward(dy, keep):\n    return dy, dy", 2)))
