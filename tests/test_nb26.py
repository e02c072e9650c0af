"""Notebook 26: layers, losses, classifiers and rules against PyTorch; splits, checks, controls, search."""

import math
from itertools import product

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
from tools import notebook
from tools.catalogue import load

N = definitions(26)
CASES = golden("26")
NETS = "linear", "mlp", "deep", "cnn", "cnn1"
LOSSES = "softmax", "svm"


# --- what the mutation test breaks -----------------------------------------------------------------

def check_affine_backward(space):
    case = CASES["affine"]
    x, cache_relu = space.relu_forward(case["x"])
    y, cache = space.affine_forward(x, part(case, "P."))
    close(y, case["y"], 1e-13, "y")
    dx, G = space.affine_backward(case["up"], cache)
    close_dicts(G, part(case, "G."), 1e-12)
    close(space.relu_backward(dx, cache_relu), case["dx"], 1e-12, "dx")


def check_max_pool_backward(space):
    for name in ("pool2", "pool3"):
        case = CASES[name]
        y, cache = space.max_pool_forward(case["x"], int(case["size"]))
        close(y, case["y"], 0, name)
        close(space.max_pool_backward(case["up"], cache), case["dx"], 1e-13, f"{name}: dx")


def check_conv_backward(space):
    for name in ("conv_same", "conv_valid", "conv_stride"):
        case = CASES[name]
        y, cache = space.conv_forward(case["x"], part(case, "P."), int(case["stride"]), int(case["pad"]))
        close(y, case["y"], 1e-12, name)
        dx, G = space.conv_backward(case["up"], cache)
        close(dx, case["dx"], 1e-12, f"{name}: dx")
        close_dicts(G, part(case, "G."), 1e-11)


def check_softmax_loss_backward(space):
    for name in NETS:
        case = CASES[f"{name}_softmax"]
        loss, cache = space.softmax_loss_forward(case["S"], case["labels"])
        close(loss, case["loss"], 1e-13, "loss")
        close(space.softmax_loss_backward(cache), case["dS"], 1e-14, "dS")


def check_svm_loss_backward(space):
    for margin in (1.0, 0.3):
        case = CASES[f"margin_{margin}"]
        loss, cache = space.svm_loss_forward(case["S"], case["labels"], margin)
        close(loss, case["loss"], 1e-13, "loss")                 # the oracle multiplies PyTorch's by K
        close(space.svm_loss_backward(cache), case["dS"], 1e-14, "dS")


def check_net_backward(space):
    for name, loss in product(NETS, LOSSES):
        case = CASES[f"{name}_{loss}"]
        S, caches = space.net_forward(case["X"], part(case, "P."))
        close(S, case["S"], 1e-12, f"{name}: S")
        dX, G = space.net_backward(case["dS"], caches, need_dx=True)
        close(dX, case["dX"], 1e-11, f"{name}: pixels")
        close_dicts(G, part(case, "G."), 1e-11)
        nothing, G = space.net_backward(case["dS"], caches)
        assert nothing is None
        close_dicts(G, part(case, "G."), 1e-11)


CHECKS = {"affine_backward": check_affine_backward, "relu_backward": check_affine_backward,
          "max_pool_backward": check_max_pool_backward, "conv_backward": check_conv_backward,
          "softmax_loss_backward": check_softmax_loss_backward,
          "svm_loss_backward": check_svm_loss_backward, "net_backward": check_net_backward}


@pytest.mark.parametrize("name, loss", [*product(NETS, LOSSES)])
def test_loss_and_gradients_of_the_whole_classifier(name, loss):
    case = CASES[f"{name}_{loss}"]
    value, G = N.loss_and_gradients(case["X"], case["labels"], part(case, "P."), loss)
    close(value, case["loss"], 1e-12)
    close_dicts(G, part(case, "G."), 1e-11)
    value, G = N.loss_and_gradients(case["X"], case["labels"], part(case, "P."), loss, float(case["decay"]))
    close(value, case["decayed"], 1e-12)
    close_dicts(G, part(case, "D."), 1e-11)


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "rmsprop", "adam"])
def test_ten_steps_of_each_rule_against_torch_optim(name):
    """PyTorch's Nesterov and ours both store the point that was looked ahead to."""
    case = CASES[f"rule_{name}"]
    P = {"w": case["start"].copy()}
    state, rule = N.adam_init(P), getattr(N, f"{name}_update")
    for wanted in case["path"]:
        rule(P, {"w": case["A"] @ P["w"]}, state, 0.05)
        close(P["w"], wanted, 1e-10)


def test_momentum_keeps_its_velocity_and_the_others_leave_it_alone():
    P = {"w": np.ones(2)}
    state = N.adam_init(P)
    N.momentum_update(P, {"w": np.ones(2)}, state, 0.1)
    close(state["m"]["w"], [-0.1, -0.1], 1e-15)
    N.sgd_update(P, {"w": np.ones(2)}, state, 0.1)
    N.rmsprop_update(P, {"w": np.ones(2)}, state, 0.1)
    close(state["m"]["w"], [-0.1, -0.1], 1e-15)
    close(state["v"]["w"], [0.1, 0.1], 1e-15)


# --- layers, losses, classifiers -------------------------------------------------------------------

def small(name="cnn", seed=0, dtype=np.float64):
    shapes = {"linear": {"fc1": (192, 4)}, "mlp": {"fc1": (192, 9), "fc2": (9, 4)},
              "cnn": {"conv1": (4, 3, 5, 5), "conv2": (5, 4, 3, 3), "fc1": (20, 7), "fc2": (7, 4)}}[name]
    r = rng(seed)
    P = {k: (p + 0.1 * r.normal(size=p.shape)).astype(dtype) for k, p in N.init(r, shapes).items()}
    return r.normal(size=(3, 8, 8, 6)).astype(dtype), r.integers(4, size=6), P


@pytest.mark.parametrize("name, loss", [*product(("linear", "mlp", "cnn"), LOSSES)])
def test_gradients_by_differences_down_to_the_pixels(name, loss):
    X, labels, P = small(name)
    G = N.loss_and_gradients(X, labels, P, loss, 0.1)[1]
    N.grad_check(lambda: N.loss_and_gradients(X, labels, P, loss, 0.1)[0], P, G, rng(1), 1e-4, h=1e-6)
    forward, backward = N.LOSSES[loss]
    S, caches = N.net_forward(X, P)
    dX, _ = N.net_backward(backward(forward(S, labels)[1]), caches, True)
    N.grad_check(lambda: forward(N.net_forward(X, P)[0], labels)[0], {"X": X}, {"X": dX}, rng(2), 1e-4,
                 h=1e-6)


@pytest.mark.parametrize("name", ["linear", "mlp", "cnn"])
def test_gradients_keep_names_shapes_and_dtype_and_write_nothing(name):
    X, labels, P = small(name, dtype=np.float32)
    with untouched(P | {"X": X}):
        for loss in LOSSES:
            like_parameters(N.loss_and_gradients(X, labels, P, loss, 0.1)[1], P)


def test_pooling_and_relu_commute():
    x = rng().normal(size=(2, 6, 6, 3)) - 0.5
    first = N.max_pool_forward(N.relu_forward(x)[0])[0]
    close(N.relu_forward(N.max_pool_forward(x)[0])[0], first, 0)


def test_a_tie_is_counted_once():
    x = np.ones((1, 4, 4, 2))
    y, cache = N.max_pool_forward(x)
    dx = N.max_pool_backward(np.ones_like(y), cache)
    close(dx.sum((1, 2)), [[4, 4]], 0)
    assert (dx[:, ::2, ::2] == 1).all()


def test_hinge_by_hand_and_its_flat_part():
    loss, cache = N.svm_loss_forward(np.array([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0]]), np.array([0, 1]))
    close(loss, 2.9 / 2, 1e-12)
    close(N.svm_loss_backward(cache), [[-0.5, 0.5, 0], [0, 0, 0]], 1e-15)


def test_first_losses():
    for K in (3, 10):
        zero, labels = np.zeros((6, K)), np.arange(6) % K
        close(N.softmax_loss_forward(zero, labels)[0], math.log(K), 1e-15)
        close(N.svm_loss_forward(zero, labels)[0], K - 1, 1e-15)
        close(N.svm_loss_forward(zero, labels, 0.5)[0], (K - 1) / 2, 1e-15)
    loss, cache = N.softmax_loss_forward(np.array([[0.0, 1e4]]), np.array([0]))
    assert loss == 1e4 and np.isfinite(N.softmax_loss_backward(cache)).all()


@pytest.mark.parametrize("shapes", ["LINEAR", "MLP", "CNN"])
def test_fresh_classifiers_cost_log_10_and_9_and_learn_a_batch(shapes):
    X, labels, _ = N.make_shapes(20, rng(1), **N.HARD)
    X = N.prepare(X, N.fit_scaling(X))
    P = N.init(rng(2), getattr(N, shapes))
    assert abs(N.loss_and_gradients(X, labels, P)[0] - math.log(10)) < 0.02
    assert abs(N.loss_and_gradients(X, labels, P, "svm")[0] - 9) < 0.15
    curve = N.train(P, X, labels, rng(3), 80, 0.01, B=20)
    assert len(curve) == 80 and curve[-1] < 0.05 and N.accuracy(X, labels, P) == 1


def test_init_schemes():
    shapes = {"conv1": (40, 6, 5, 5), "fc1": (400, 300), "fc2": (300, 200)}
    for scheme, std in (("small", lambda n: 0.01), ("xavier", lambda n: n**-0.5),
                        ("he", lambda n: (2 / n) ** 0.5)):
        P = N.init(rng(), shapes, scheme)
        assert list(P) == ["conv1.W", "conv1.b", "fc1.W", "fc1.b", "fc2.W", "fc2.b"]
        for name, fan_in, share in (("conv1", 150, 1), ("fc1", 400, 1), ("fc2", 300, 0.01)):
            close(P[f"{name}.W"].std() / (std(fan_in) * share), 1, 0.03, f"{scheme} {name}")
            assert not P[f"{name}.b"].any() and P[f"{name}.W"].dtype == np.float32
    assert {k: p.shape for k, p in P.items() if k.endswith("b")} == {
        "conv1.b": (40,), "fc1.b": (300,), "fc2.b": (200,)}


def test_training_uses_every_image_once_an_epoch():
    X = np.zeros((1, 1, 1, 12), np.float32)
    X[0, 0, 0] = np.arange(12)
    seen = []

    def spy(X, labels, P):
        assert np.array_equal(X[0, 0, 0], labels)
        seen.append(labels)
        return 0.0, {"fc1.W": np.zeros((1, 2)), "fc1.b": np.zeros(2)}
    P = {"fc1.W": np.zeros((1, 2)), "fc1.b": np.zeros(2)}
    N.train(P, X, np.arange(12), rng(), 6, 0.1, B=4, gradients=spy)
    epochs = np.concatenate(seen).reshape(2, 12)
    assert (np.sort(epochs, 1) == np.arange(12)).all() and not np.array_equal(*epochs)


def test_schedules():
    assert set(N.SCHEDULES) == {"constant", "step", "exponential", "1/t", "cosine"}
    for name in N.SCHEDULES:
        values = np.array([N.cooling(name, u) for u in np.linspace(0, 1, 101)[:-1]])
        close(values[0], 1, 1e-15, name)
        assert (np.diff(values) <= 1e-12).all() and values.min() >= 0
        assert (values[-1] < 0.1) == (name != "constant")
    close([N.cooling("step", u) for u in (0.32, 0.35, 0.65, 0.68)], [1, 0.1, 0.1, 0.01], 1e-12)
    close(N.cooling("1/t", 0.1), 0.5, 1e-12)


def test_the_rate_follows_the_schedule():
    rates, P = [], {"fc1.W": np.zeros((1, 2)), "fc1.b": np.zeros(2)}
    N.train(P, np.zeros((1, 1, 1, 8)), np.zeros(8, int), rng(), 8, 0.5,
            rule=lambda P, G, state, lr: rates.append(lr), schedule="cosine", B=4)
    close(rates, [0.25 * (1 + math.cos(math.pi * t / 8)) for t in range(8)], 1e-12)


# --- data ------------------------------------------------------------------------------------------

def test_images_of_a_class_differ_and_splits_do_not_overlap():
    """The public notebook's classes were constant, so that every classifier was perfect."""
    splits = [N.make_shapes(300, rng([0, stream]), **N.HARD) for stream in range(3)]
    X, labels, masks = splits[0]
    for c in range(10):
        these = X[..., labels == c].reshape(768, -1)
        d = N.distances(these.T, these.T) + 1e3 * np.eye(these.shape[1])
        assert d.min() > 1, "two images of a class are nearly the same"
        assert masks[..., labels == c].std(2).max() > 0.3        # objects move
    assert (np.bincount(labels) == 30).all()
    for other, *_ in splits[1:]:
        assert N.distances(N.rows(other), N.rows(X)).min() > 1


def test_the_task_separates_the_rungs_and_none_is_perfect():
    (X, y, _), (X_new, y_new, _) = (N.make_shapes(n, rng([1, n]), **N.HARD) for n in (1500, 500))
    scaling = N.fit_scaling(X)
    X, X_new = N.prepare(X, scaling), N.prepare(X_new, scaling)
    nearest = y[N.distances(N.rows(X_new), N.rows(X)).argsort(1)[:, :5]]
    right = [(N.vote(nearest, 5) == y_new).mean()]
    for shapes, lr in ((N.LINEAR, 0.01), (N.CNN, 0.03)):
        P = N.init(rng(2), shapes)
        N.train(P, X, y, rng(3), 250, lr, decay=0.01)
        right.append(N.accuracy(X_new, y_new, P))
    assert 0.2 < right[0] < right[1] - 0.03 and right[1] < right[2] - 0.05 and right[2] < 0.97


def test_scaling_knows_training_images_only():
    X, new = rng().normal(3, 2, (3, 4, 4, 50)), rng(1).normal(5, 2, (3, 4, 4, 20))
    scaling = N.fit_scaling(X)
    ready = N.prepare(X, scaling)
    close(ready.mean(3), np.zeros((3, 4, 4)), 1e-12)
    close(ready.std(), 1, 1e-12)
    close(N.prepare(new, scaling) * scaling[1] + scaling[0], new, 1e-12)
    assert abs(N.prepare(new, scaling).mean()) > 0.5             # its own mean was not subtracted


def test_test_images_are_never_assigned_again_or_used_for_a_choice():
    """X_test was overwritten in the public notebook."""
    code = [c.source for c in notebook.code_cells(notebook.read(load()[0][26].path))]
    text = "\n".join(code)
    assert text.count("(X_test, y_test) = (") == 1 and "X_test =" not in text and "X_test[" in text
    assert "X.flags.writeable = False" in text
    for line in text.splitlines():
        assert not ("tried[" in line and "test" in line), line
    ladder = next(c for c in code if c.startswith("RUNGS"))
    assert "X_val" in ladder and "test" not in ladder
    assert "student(kind, lr, 99, new_val)" in text


# --- nearest neighbours ----------------------------------------------------------------------------

def test_distances_by_loops():
    A, B = rng().normal(size=(4, 7)), rng(1).normal(size=(5, 7))
    for metric, p in (("L1", 1), ("L2", 2)):
        wanted = [[np.linalg.norm(a - b, p) for b in B] for a in A]
        close(N.distances(A, B, metric), wanted, 1e-12)
    assert N.distances(A, A).min() >= 0 and np.abs(np.diag(N.distances(A, A))).max() < 1e-6


def test_vote():
    nearest = np.array([[7, 4, 4, 7, 7], [1, 2, 3, 3, 2]])
    assert [N.vote(nearest, k).tolist() for k in (1, 2, 3, 4, 5)] == [[7, 1], [7, 1], [4, 1], [7, 3], [7, 2]]
    many = rng().integers(10, size=(50, 40))
    for k in (1, 10, 40):
        for row, answer in zip(many, N.vote(many, k), strict=True):
            counts = np.bincount(row[:k], minlength=10)
            assert counts[answer] == counts.max()


def test_confusion():
    table = N.confusion(np.array([0, 0, 1, 2]), np.array([0, 2, 1, 2]), 3)
    assert table.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]


# --- bugs, search, saliency ------------------------------------------------------------------------

def test_planted_bugs_are_what_they_say():
    X, labels, P = small()
    loss, G = N.loss_and_gradients(X, labels, P)
    buggy_loss, buggy = N.sign_bug(X, labels, P)
    assert buggy_loss == loss
    close_dicts(buggy, G | {"conv2.W": -G["conv2.W"]}, 0)
    N.grad_check(lambda: N.twice_bug(X, labels, P)[0], P, N.twice_bug(X, labels, P)[1], rng(1), 1e-4, h=1e-6)
    silent = {k: 0 * p for k, p in P.items()}
    close(N.twice_bug(X, labels, silent)[0], math.log(4), 1e-12)
    certain = silent | {"fc2.b": np.array([0, 50.0, 0, 0])}       # it can never be sure
    assert N.twice_bug(X, np.ones(6, int), certain)[0] > 0.7


def test_alarms_ring_for_the_right_bugs():
    X, labels, _ = N.make_shapes(1200, rng(5), **N.HARD)
    X = N.prepare(X, N.fit_scaling(X))
    data = X[..., :1000], labels[:1000], X[..., 1000:], labels[1000:]
    assert N.alarms(N.loss_and_gradients, *data, 6) == [False] * 4
    assert N.alarms(N.sign_bug, *data, 6)[:2] == [False, True]
    assert N.alarms(N.twice_bug, *data, 6)[:3] == [False, False, True]
    mixed = data[0], rng(7).permutation(data[1]), *data[2:]
    assert N.alarms(N.loss_and_gradients, *mixed, 6) == [False, False, False, True]
    assert N.alarms(N.loss_and_gradients, 60 * data[0] + 100, data[1], 60 * data[2] + 100, data[3], 6)[0]


def test_searches():
    found = N.searches(2000, rng(8))
    assert {k: v.shape for k, v in found.items()} == dict.fromkeys(("random", "grid", "spread"), (2000, 9, 2))
    for kind, trials in found.items():
        assert 0 <= trials.min() and trials.max() <= 1
        close(trials.mean((0, 1)), [0.5, 0.5], 0.02, kind)
    distinct = [len(np.unique(trial[:, 0].round(9))) for trial in found["grid"][:20]]
    assert set(distinct) == {3}
    steps = np.diff(np.unique(found["grid"][0, :, 1].round(9)))
    close(steps, [1 / 3, 1 / 3], 1e-6)
    assert (np.floor(found["spread"][..., 0] * 9) == np.arange(9)).all()


def test_saliency_is_the_gradient_of_the_right_score():
    X, labels, P = small()
    dX, m = N.saliency(X, labels, P)
    assert m.shape == (8, 8, 6)
    close(m, np.abs(dX).max(0), 0)
    N.grad_check(lambda: float(N.net_forward(X, P)[0][np.arange(6), labels].sum()), {"X": X}, {"X": dX},
                 rng(3), 1e-4, h=1e-6)
    X, labels, P = small("linear")
    templates = P["fc1.W"].T[labels].reshape(6, 3, 8, 8)
    close(N.saliency(X, labels, P)[0], templates.transpose(1, 2, 3, 0), 1e-12)


def test_inside_outside():
    masks = np.zeros((4, 4, 2), bool)
    masks[:2, :2] = True
    close(N.inside_outside(np.where(masks, 3.0, 2.0), masks), [1.5, 1.5], 1e-12)


def test_without_paints_over_the_highest_scores_and_nothing_else():
    X, score = rng().normal(size=(3, 4, 4, 5)), rng(1).random((4, 4, 5))
    copy, painted = X.copy(), N.without(X, score, 6)
    assert np.array_equal(X, copy)
    for n in range(5):
        gone = score[..., n] >= np.sort(score[..., n], axis=None)[-6]
        assert gone.sum() == 6 and not painted[:, gone, n].any()
        assert np.array_equal(painted[:, ~gone, n], X[:, ~gone, n])


def test_scores_and_features_do_not_depend_on_the_blocks():
    X, labels, P = small()
    close(N.scores(X, P, 4), N.net_forward(X, P)[0], 1e-12)
    F = N.features(X, P)
    close(N.affine_forward(F, {"W": P["fc2.W"], "b": P["fc2.b"]})[0], N.net_forward(X, P)[0], 1e-12)
    assert N.accuracy(X, N.scores(X, P).argmax(1), P) == 1


def test_rows():
    X = rng().normal(size=(3, 4, 5, 6))
    assert np.array_equal(N.rows(X)[2], X[..., 2].ravel())


# --- bad input -------------------------------------------------------------------------------------

@pytest.mark.parametrize("call, words", [
    (lambda: N.net_forward(np.ones((1, 8, 8, 2)), small()[2]), "1 channels"),
    (lambda: N.conv_forward(np.ones((3, 4, 4, 2)), {"W": np.ones((2, 3, 7, 7))}, pad=1), "7x7 filter"),
    (lambda: N.max_pool_forward(np.ones((3, 5, 4, 2))), "5x4"),
    (lambda: N.max_pool_forward(np.ones((3, 6, 4, 2)), 3), "6x4"),
    (lambda: N.net_forward(np.ones((3, 6, 6, 2)), small()[2]), "3x3"),
    (lambda: N.net_forward(np.ones((3, 4, 4, 2)), small()[2]), r"rows of shape \(2, 5\)"),
    (lambda: N.net_forward(np.ones((3, 8, 9, 2)), small("linear")[2]), r"rows of shape \(2, 216\)"),
    (lambda: N.affine_forward(np.ones((2, 3, 4)), {"W": np.ones((4, 2))}), r"\(2, 3, 4\)"),
    (lambda: N.softmax_loss_forward(np.zeros((2, 3)), np.array([0, 3])), "from 0 to 3"),
    (lambda: N.softmax_loss_forward(np.zeros((2, 3)), np.array([-1, 2])), "from -1 to 2"),
    (lambda: N.svm_loss_forward(np.zeros((2, 3)), np.array([0, 3])), "from 0 to 3"),
    (lambda: N.svm_loss_forward(np.zeros((2, 3)), np.array([0, 1, 2])), r"labels \(3,\)"),
    (lambda: N.vote(np.zeros((2, 5), int), 0), "k = 0"),
    (lambda: N.vote(np.zeros((2, 5), int), 6), "k = 6"),
    (lambda: N.distances(np.ones((2, 3)), np.ones((2, 3)), "cosine"), "metric 'cosine'"),
    (lambda: N.init(rng(), N.LINEAR, "zeros"), "scheme 'zeros'"),
])
def test_bad_input_is_refused_with_the_value_and_what_was_expected(call, words):
    refuses(call, words)


# --- exercises and text ----------------------------------------------------------------------------

def readers_space():
    """Globals for a reader's cells, with cheap stand-ins for what trains."""
    space = classroom(26)
    space |= {"CENTRES": {"SGD": 0.1}, "contest": lambda rule, lr, stream: np.full(150, lr),
              "student": lambda kind, lr, draw, test, n: 0.5, "new_test": None}
    return space


EXERCISES = Exercises(space=readers_space, wrong=(
    ("squared_hinge_backward = lambda S, labels: svm_loss_backward(svm_loss_forward(S, labels)[1])", 0),
    ("squared_hinge_backward = lambda S, labels: 2 * svm_loss_forward(S, labels)[1][0] / len(S)", 0),
    ("average_pool_backward = lambda dy: np.repeat(np.repeat(dy, 2, 1), 2, 2)", 1),
    ("average_pool_backward = lambda dy: np.tile(dy, (1, 2, 2, 1)) / 4", 1),
    ("random_wins = 0.5", 2),
    ("random_wins = 0.75", 2),
    ("random_wins = 1 - (2 / 3) ** 9", 2)))


def test_numbers_in_the_text_are_those_of_the_code():
    text, code = text_and_code(26)
    size = {k: sum(p.size for p in N.init(rng(), getattr(N, k)).values()) for k in ("LINEAR", "MLP", "CNN")}
    assert f"{size['CNN']:,} parameters" in text and size["CNN"] < size["MLP"]
    exec(exercise_parts(26)[0][-1], space := {})
    assert f"{space['random_wins']:.3f}" == "0.705" and text.count("0.705") == 2
    assert "80 steps and compared" in text and "P := fresh(shapes), 80, lr" in code
    assert "400 steps with the best" in text and "models[name], 400, lr" in code
    assert "150 steps on 2,000 images" in text and "X_train[..., :2000]" in code and ", 150," in code
    assert "50 small networks" in text and "np.empty((10, 5))" in code
    assert "only 80 images" in text and "test, n=80" in code
    assert "4,000 drawn shapes" in text and '"train": 4000' in code
    p = np.exp([3.2, 5.1, -1.7])
    assert round(float(p[0] / p.sum()), 2) == 0.13 and round(float(-np.log(p[0] / p.sum())), 2) == 2.04
