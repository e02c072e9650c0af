"""Notebook 09: layers and micro-batches against PyTorch; pipeline, schedule, memory, replicas."""

import math
import threading
import time
from itertools import combinations, product
from types import SimpleNamespace

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
    rng,
    text_and_code,
    untouched,
)

N = definitions(9)
CASES = golden("09")


def network(space=N, kind="tanh", norm=False, widths=(5, 8, 7, 6, 4)):
    return space.mlp(list(widths), kind, norm)


def task(layers, rows=24, seed=0, dtype=np.float64):
    """Parameters without zeros, rows and labels for a network."""
    r = rng(seed)
    P = {k: (p + 0.1 * r.normal(size=p.shape)).astype(dtype) for k, p in N.init(layers, r).items()}
    return P, r.normal(size=(rows, layers[0].D_in)).astype(dtype), r.integers(layers[-1].D_out, size=rows)


# --- what the mutation test breaks -----------------------------------------------------------------

def check_dense_backward(space):
    for kind in ("tanh", "relu", "linear"):
        case = CASES[f"dense_{kind}"]
        y, cache = space.dense_forward(case["x"], part(case, "P."), space.Layer("3", kind, 5, 4))
        close(y, case["y"], 1e-13)
        dx, G = space.dense_backward(case["up.y"], cache)
        close(dx, case["dx"], 1e-12)
        close_dicts(G, part(case, "G."), 1e-12)


def check_norm_backward(space):
    for name in ("norm", "norm_fixed"):
        case = CASES[name]
        stats = (case["mean"], case["var"]) if "mean" in case else None
        layer = space.Layer("2n", "norm", 6, 6)
        y, cache = space.norm_forward(case["x"], part(case, "P."), layer, stats)
        close(y, case["y"], 1e-12)
        dx, G = space.norm_backward(case["up.y"], cache)
        close(dx, case["dx"], 1e-11)
        close_dicts(G, part(case, "G."), 1e-11)


def check_slice_backward(space):
    case = CASES["slice"]
    layers = network(space, "tanh", True, (4, 6, 5, 3))
    y, caches = space.slice_forward(case["x"], layers, part(case, "P."))
    close(y, case["y"], 1e-12)
    dx, G = space.slice_backward(case["up.y"], caches)
    close(dx, case["dx"], 1e-11)
    close_dicts(G, part(case, "G."), 1e-11)


def check_loss_backward(space):
    case = CASES["loss"]
    loss, cache = space.loss_forward(case["y"], case["t"], 20)
    close(loss, case["loss"], 1e-13)
    close(space.loss_backward(cache), case["dy"], 1e-13)


CHECKS = {f"{name}_backward": globals()[f"check_{name}_backward"]
          for name in ("dense", "norm", "slice", "loss")}


# --- the pipeline against PyTorch ------------------------------------------------------------------

MODELS = [(f"model_{kind}", kind, False, None) for kind in ("tanh", "relu", "linear")] + \
    [(f"model_norm{M}", "tanh", True, M) for M in (1, 3, 6)]


@pytest.mark.parametrize("name, kind, norm, M_norm", MODELS)
@pytest.mark.parametrize("remat", [True, False])
def test_whole_model_in_the_pipeline(name, kind, norm, M_norm, remat):
    """Loss and all gradients for every K and M; with batch norm for the M of the oracle only."""
    case, layers = CASES[name], network(kind=kind, norm=norm)
    P = part(case, "P.")
    for K, M in product(range(1, len(layers) + 1), (M_norm,) if norm else (1, 2, 3, 4, 6, 12)):
        stages = N.cut(layers, P, K, remat=remat)
        loss, G, _ = N.pipeline_step(stages, case["x"], case["t"], M)
        close(loss, case["loss"], 1e-12, f"K = {K}, M = {M}: loss")
        close_dicts(G, part(case, "G."), 1e-11, f"K = {K}, M = {M}")
        assert all(not stage.stash for stage in stages)


@pytest.mark.parametrize("kind, norm", [("tanh", False), ("relu", False), ("linear", False), ("tanh", True)])
def test_plain_step(kind, norm):
    case = CASES["model_norm1" if norm else f"model_{kind}"]
    loss, G = N.plain_step(network(kind=kind, norm=norm), part(case, "P."), case["x"], case["t"])
    close(loss, case["loss"], 1e-12)
    close_dicts(G, part(case, "G."), 1e-11)


def test_whole_gradient_by_differences_and_again_after_steps():
    layers = network(norm=True)
    P, x, t = task(layers)
    check, V = N.grad_check, {}
    for _ in range(2):
        stages = N.cut(layers, P, 3)
        G = N.pipeline_step(stages, x, t, 4)[1]
        like_parameters(G, P)
        check(lambda stages=stages: N.pipeline_step(stages, x, t, 4)[0], P,
              {k: g.copy() for k, g in G.items()}, rng(1))
        for _ in range(20):
            N.sgd(P, N.pipeline_step(stages, x, t, 4)[1], V, 0.05)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits(dtype):
    """The same bits as the plain network at M = 1, and for every K at each M, kept or rebuilt."""
    layers = network(widths=(9, 16, 16, 16, 16, 16, 7))
    P, x, t = task(layers, 48, dtype=dtype)
    with untouched(P | {"x": x}):
        loss, plain = N.plain_step(layers, P, x, t)
        for M in (1, 2, 8, 24):
            seen = [N.pipeline_step(N.cut(layers, P, K, remat=remat), x, t, M)[:2]
                    for K, remat in product((1, 2, 3, 6), (True, False))]
            for other, G in seen:
                assert other == seen[0][0]
                assert all(np.array_equal(G[k], seen[0][1][k]) and G[k].dtype == dtype for k in P)
            if M == 1:
                assert seen[0][0] == loss and N.differing(seen[0][1], plain)[0] == 0
            else:
                assert N.differing(seen[0][1], plain)[1] < (1e-4 if dtype == np.float32 else 1e-12)


def test_micro_losses_are_divided_by_all_rows():
    """The mistake to avoid: dividing by the micro-batch makes the gradient M times too long."""
    y, t = rng().normal(size=(12, 3)), rng(1).integers(3, size=12)
    parts = [N.loss_forward(a, b, 12) for a, b in zip(np.split(y, 4), np.split(t, 4), strict=True)]
    whole, cache = N.loss_forward(y, t, 12)
    close(sum(loss for loss, _ in parts), whole, 1e-13)
    close(np.concatenate([N.loss_backward(c) for _, c in parts]), N.loss_backward(cache), 1e-13)


def test_stages_use_one_set_of_weights_and_the_update_reaches_them():
    layers = network()
    P, x, t = task(layers)
    stages = N.cut(layers, P, 3)
    assert sorted(k for stage in stages for k in stage.P) == sorted(P)
    before = N.pipeline_step(stages, x, t, 4)[0]
    _, G, _ = N.pipeline_step(stages, x, t, 4)
    N.sgd(P, G, {}, 0.1)
    assert N.pipeline_step(stages, x, t, 4)[0] < before
    assert N.pipeline_step(stages, x, t, 4)[0] == N.pipeline_step(N.cut(layers, P, 3), x, t, 4)[0]


def test_sgd_by_hand():
    P, V = {"w": np.array([1.0])}, {}
    N.sgd(P, {"w": np.array([2.0])}, V, 0.1, 0.5)
    N.sgd(P, {"w": np.array([4.0])}, V, 0.1, 0.5)
    close(P["w"], [1 - 0.2 - (0.1 + 0.4)], 1e-14)


# --- threads and errors ----------------------------------------------------------------------------

def test_one_thread_a_stage():
    layers, names = network(), []
    P, x, t = task(layers)
    stages = N.cut(layers, P, 4)
    for stage in stages:
        forward = stage.forward
        stage.forward = lambda m, x, f=forward: (names.append(threading.get_ident()), f(m, x))[1]
    N.pipeline_step(stages, x, t, 6)
    assert len(names) == 24 and threading.get_ident() not in names and len(set(names)) >= 2


class Broken(Exception):
    pass


def browser():
    """The notebook's functions as in a browser: no threads, no clock of a thread."""
    class Nothing:
        def __getattr__(self, name):
            raise RuntimeError(f"can't use {name}: no threads here")

    space = classroom(9)
    space |= {"THREADS": False, "threading": SimpleNamespace(Thread=lambda **options: Nothing()),
              "time": SimpleNamespace(perf_counter=time.perf_counter), "CPU_TIME": time.perf_counter}
    return SimpleNamespace(**space)


@pytest.mark.parametrize("K, M", [(1, 1), (2, 3), (4, 6), (4, 1)])
def test_without_threads_the_stages_take_turns_and_agree_bit_by_bit(K, M):
    layers, B = network(), browser()
    P, x, t = task(layers)
    loss, G, log = N.pipeline_step(N.cut(layers, P, K), x, t, M)
    turns = B.pipeline_step(B.cut(network(B), P, K), x, t, M)
    assert turns[0] == loss and all(np.array_equal(turns[1][k], g) for k, g in G.items())
    assert sorted(e[:3] for e in turns[2]) == sorted(e[:3] for e in log)
    assert N.disorder(turns[2]) == 0 and N.together(turns[2]) == 0
    apart, at_once = (S.data_parallel_step([P] * 2, network(S), x, t) for S in (B, N))
    assert apart[0] == at_once[0] and np.array_equal(apart[1][0], at_once[1][0])


@pytest.mark.parametrize("space", [N, browser()], ids=["threads", "turns"])
@pytest.mark.parametrize("k, method, m", list(product(range(4), ("forward", "rebuild", "backward"),
                                                      (0, 2, 5))))
def test_an_error_in_any_stage_reaches_the_caller_and_nobody_waits(k, method, m, space):
    layers = network(space)
    P, x, t = task(layers)
    stages = space.cut(layers, P, 4)
    good = getattr(stages[k], method)

    def bad(which, *args):
        if which == m:
            raise Broken(f"stage {k}")
        return good(which, *args)
    setattr(stages[k], method, bad)
    raised, before = [], threading.active_count()

    def call():
        try:
            space.pipeline_step(stages, x, t, 6)
        except Exception as error:
            raised.append(error)
    caller = threading.Thread(target=call, daemon=True)
    caller.start()
    caller.join(20)
    assert not caller.is_alive(), "a thread hangs"
    assert [type(error) for error in raised] == [Broken] and str(raised[0]) == f"stage {k}"
    assert threading.active_count() == before
    setattr(stages[k], method, good)
    assert space.pipeline_step(stages, x, t, 6)[0] == space.pipeline_step(space.cut(layers, P, 4), x, t, 6)[0]


def test_failures():
    layers = network()
    P, x, t = task(layers)
    assert N.failures(N.cut(layers, P, 2), x, t, 4) == ("no error", 0)
    assert N.failures(N.cut(layers, P, 2), x, t + 9, 4)[0].startswith("labels from")
    still = threading.Thread(target=(stop := threading.Event()).wait, name="stage 7")
    still.start()
    assert N.failures(N.cut(layers, P, 2), x, t, 4) == ("no error", 1)
    stop.set()
    still.join()


@pytest.mark.parametrize("M", [0, -1, 5, 48])
def test_micro_batches_must_divide(M):
    layers = network()
    P, x, t = task(layers)
    with pytest.raises(ValueError, match="divisor"):
        N.pipeline_step(N.cut(layers, P, 2), x, t, M)


def test_bad_input():
    layers = network()
    P, x, t = task(layers)
    with pytest.raises(ValueError, match="expected 5"):
        N.plain_step(layers, P, x[:, :3], t)
    with pytest.raises(ValueError, match="expected tanh"):
        N.dense_forward(x, P, N.Layer("1", "gelu", 5, 8))
    with pytest.raises(ValueError, match="at least 2"):
        N.norm_forward(x[:1], {}, N.Layer("1n", "norm", 5, 5))
    for bad in (t - 9, t + 9):
        with pytest.raises(ValueError, match="expected 0 to 3"):
            N.plain_step(layers, P, x, bad)
    for K in (0, 5):
        with pytest.raises(ValueError, match="expected 1 to 4"):
            N.cut(layers, P, K)


def test_log_and_lock():
    """With a lock no two tasks overlap; each task is there once, in the order of the schedule."""
    layers = network()
    P, x, t = task(layers)
    for remat, lock in product((True, False), (None, threading.Lock())):
        log = N.pipeline_step(N.cut(layers, P, 4, remat=remat), x, t, 6, lock)[2]
        orders = N.gpipe(4, 6, remat)
        for k in range(4):
            own = sorted((e for e in log if e[1] == k), key=lambda e: e[3])
            assert [(e[0], e[2]) for e in own] == orders[k]
        assert N.disorder(log) == 0
        assert all(e[3] <= e[4] and e[5] >= 0 for e in log)
        if lock:
            assert N.together(log) == 0
    log = N.pipeline_step(N.cut(layers, P, 4, remat=False), x, t, 1)[2]
    assert N.together(log) == 0


def test_disorder_and_together_notice():
    good = N.clock(N.gpipe(3, 4), {"F": [1] * 3, "B": [2] * 3})
    assert N.disorder(good) == 0 and N.together(good) > 0
    i = next(i for i, e in enumerate(good) if e[:3] == ("F", 1, 2))
    early = [e if j != i else (*e[:3], e[3] - 1.5, e[4] - 1.5) for j, e in enumerate(good)]
    assert N.disorder(early) == 1
    i = next(i for i, e in enumerate(good) if e[:3] == ("B", 0, 1))
    early = [e if j != i else (*e[:3], 0, 1) for j, e in enumerate(good)]
    assert N.disorder(early) == 1
    assert N.together([("F", 0, 0, 0, 1), ("F", 1, 0, 1, 2)]) == 0
    assert N.together([("F", 0, 0, 0, 1), ("F", 0, 1, 0.5, 2)]) == 0
    assert N.together([("F", 0, 0, 0, 1), ("F", 1, 0, 0.5, 2)]) == 1


# --- partition -------------------------------------------------------------------------------------

def all_cuts(L, K):
    return [[0, *inner, L] for inner in combinations(range(1, L), K - 1)]


@pytest.mark.parametrize("seed", range(20))
def test_balanced_by_trying_all_cuts(seed):
    costs, K = rng(seed).integers(1, 40, size=9).tolist(), 1 + seed % 5
    loads = {tuple(c): [sum(costs[i:j]) for i, j in zip(c[:-1], c[1:], strict=True)] for c in all_cuts(9, K)}
    cuts = tuple(N.balanced(costs, K))
    close(np.var(loads[cuts]), min(np.var(v) for v in loads.values()), 1e-9)
    cuts = tuple(N.balanced(costs, K, max))
    assert N.slowest(costs, list(cuts)) == max(loads[cuts]) == min(max(v) for v in loads.values())


def test_eleven_layers_are_eleven_and_no_stage_is_left_over():
    """The mistakes to avoid: a "12-layer" network of 11, of which the last device gets five."""
    layers = N.mlp([2] + [32] * 10 + [3])
    assert len(layers) == 11 and [layer.kind for layer in layers] == ["tanh"] * 10 + ["linear"]
    sizes = np.diff(N.balanced([1] * 11, 4))
    assert sorted(sizes) == [2, 3, 3, 3]
    stages = N.cut(layers, N.init(layers, rng()), 4)
    assert [layer.name for stage in stages for layer in stage.layers] == [str(i) for i in range(1, 12)]
    assert max(len(stage.layers) for stage in stages) == 3
    for stage in stages:
        assert {k.split(".")[0] for k in stage.P} == {layer.name for layer in stage.layers}


def test_init():
    for kind, variance in (("tanh", 1), ("relu", 2)):
        layers = N.mlp([300, 200, 5], kind, True)
        P = N.init(layers, rng(), np.float32)
        assert all(p.dtype == np.float32 for p in P.values())
        assert abs(P["1.W"].var() * 300 / variance - 1) < 0.05
        assert not P["1.b"].any() and (P["1n.gamma"] == 1).all() and "2n.gamma" not in P
    assert [layer.cost() for layer in layers] == [60_000, 600, 1000]


# --- the clock -------------------------------------------------------------------------------------

@pytest.mark.parametrize("K, M", list(product((1, 2, 3, 4, 8), (1, 2, 5, 16))))
def test_ideal_bubbles(K, M):
    for f, b in ((1, 1), (1, 2), (3, 0.5)):
        events = N.clock(N.gpipe(K, M), {"F": [f] * K, "B": [b] * K})
        assert len(events) == 2 * K * M
        close(N.span(events), (M + K - 1) * (f + b), 1e-12)
        close(N.bubble(events), (K - 1) / (M + K - 1), 1e-12)
        for r in (0.3 * f, f):
            events = N.clock(N.gpipe(K, M, True), {"F": [f] * K, "B": [b] * K, "R": [r] * K})
            assert len(events) == 3 * K * M
            early = (M + K - 1) * (f + b) + M * r
            assert early - 1e-9 <= N.span(events) <= early + (K - 1) * r + 1e-9
    ideal = N.clock(N.gpipe(K, M, True), {"F": [1] * K, "R": [1] * K, "B": [2] * K})
    close(N.bubble(ideal), 3 * (K - 1) / (3 * (M + K - 1) + M), 1e-12)


def test_the_clock_is_a_pipeline():
    """The mistake to avoid: a clock that ticks once for each (m, k), 32 ticks and 75% idle."""
    events = N.clock(N.gpipe(4, 4), {"F": [1] * 4, "B": [1] * 4})
    table = N.timeline(events)
    assert table.shape == (4, 14) and N.span(events) == 14
    close(N.bubble(events), 3 / 7, 1e-12)
    assert list(table[0, :5]) == ["F0", "F1", "F2", "F3", " ."] and list(table[3, 7:9]) == ["B3", "B2"]
    assert (table != " .").sum() == 32


def clock_by_relaxation(orders, cost, delay):
    """End of each task as the least fixed point of its constraints; links in the order of sending."""
    K = len(orders)
    end = {(kind, k, m): 0.0 for k in range(K) for kind, m in orders[k]}
    arrive = dict(end)
    for _ in range(4 * len(end)):
        for k in range(K):
            free, link = 0.0, {"F": 0.0, "B": 0.0, "R": 0.0}
            for kind, m in orders[k]:
                source = (kind, k + {"F": -1, "B": 1, "R": 99}[kind], m)
                free = max(free, arrive.get(source, 0.0)) + cost[kind][k]
                link[kind] = max(free, link[kind]) + delay
                end[kind, k, m], arrive[kind, k, m] = free, link[kind]
    return end


@pytest.mark.parametrize("seed", range(6))
def test_clock_with_unequal_costs_and_slow_links(seed):
    r, K, M = rng(seed), 2 + seed % 4, 1 + seed
    cost = {kind: r.uniform(0.2, 3, K) for kind in "FRB"}
    orders = N.gpipe(K, M, seed % 2 == 0)
    for delay in (0.0, 0.4, 5.0):
        events = N.clock(orders, cost, delay)
        end = clock_by_relaxation(orders, cost, delay)
        assert {e[:3] for e in events} == set(end)
        for kind, k, m, start, stop in events:
            close(stop, end[kind, k, m], 1e-12)
            close(stop - start, cost[kind][k], 1e-12)
    assert N.span(N.clock(orders, cost, 5.0)) > N.span(N.clock(orders, cost))


def test_impossible_orders_are_refused():
    with pytest.raises(ValueError, match="wait for each other"):
        N.clock([[("F", 0), ("B", 0), ("F", 1), ("B", 1)], [("F", 1), ("B", 1), ("F", 0), ("B", 0)]],
                {"F": [1, 1], "B": [1, 1]})


# --- memory ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("K, M, remat", list(product((1, 2, 3, 6), (1, 2, 8), (True, False))))
def test_bytes_held(K, M, remat):
    held, formula = N.held(12, K, M, remat, N=64, D=16)
    assert held == formula == 4 * 64 * 16 * (1 + 12 / K / (M if remat else 1))


def test_stage_holds_what_it_says():
    layers = network(widths=(8, 8, 8, 8))
    P, x, t = task(layers, 12)
    stage = N.cut(layers, P, 1, watch=True)[0]
    for m, micro in enumerate(np.split(x, 3)):
        stage.forward(m, micro)
    assert all(isinstance(v, np.ndarray) for v in stage.stash.values()) and stage.peak == x.nbytes
    stage.rebuild(2)
    assert stage.peak == x.nbytes * (1 + 3 / 3)
    stage.backward(2, np.zeros((4, 8)))
    assert sorted(stage.stash) == [0, 1]
    found = list(N.arrays([x, (x, [t, {"W": x}], 3), None]))
    assert len(found) == 3 and found[0] is x and found[2] is t


def test_keeping_nothing_leaves_nothing():
    layers = network()
    P, x, _ = task(layers)
    y, caches = N.slice_forward(x, layers, P, keep=False)
    assert caches == [] and np.array_equal(y, N.slice_forward(x, layers, P)[0])


# --- batch normalisation ---------------------------------------------------------------------------

def test_moments_are_collected_once_and_join_to_those_of_the_mini_batch():
    layers = network(norm=True)
    P, x, t = task(layers)
    for remat in (True, False):
        stages = N.cut(layers, P, 2, remat=remat)
        N.pipeline_step(stages, x, t, 4)
        seen = {k: v for stage in stages for k, v in stage.seen.items()}
        assert {k: len(v) for k, v in seen.items()} == {"1n": 4, "2n": 4, "3n": 4}
        h = N.dense_forward(x, P, layers[0])[0]
        mean, var = N.joined(seen["1n"])
        close(mean, h.mean(0), 1e-13)
        close(var, h.var(0), 1e-13)
    parts = [(v.mean(0), v.var(0)) for v in np.split(rng(5).normal(size=(64, 2000)), 16)]
    close(np.mean([var for _, var in parts]) / N.joined(parts)[1].mean(), 16 / 21, 0.01)


def test_batch_norm_changes_the_gradient_and_frozen_moments_do_not():
    layers = network(norm=True)
    P, x, t = task(layers, 48)
    stats = {layer.name: (rng(3).normal(size=layer.D_in), rng(4).uniform(0.5, 2, layer.D_in))
             for layer in layers if layer.kind == "norm"}
    plain, frozen = N.plain_step(layers, P, x, t)[1], N.plain_step(layers, P, x, t, stats)[1]
    for M in (2, 8):
        assert N.differing(N.pipeline_step(N.cut(layers, P, 3), x, t, M)[1], plain)[1] > 0.05
        G = N.pipeline_step(N.cut(layers, P, 3, stats=stats), x, t, M)[1]
        assert N.differing(G, frozen)[1] < 1e-11


# --- replicas --------------------------------------------------------------------------------------

@pytest.mark.parametrize("K, size", list(product((1, 2, 3, 5), (1, 4, 10, 31))))
def test_ring_average(K, size):
    G = [rng(k).normal(size=size) for k in range(K)]
    mean, item = np.mean(G, 0), G[0].itemsize
    sent = N.ring_average(G)
    for g in G:
        close(g, mean, 1e-13)
        assert np.array_equal(g, G[0])
    assert sent == 2 * (K - 1) * size * item


@pytest.mark.parametrize("K", [1, 2, 4])
def test_replicas_have_the_gradient_of_the_whole(K):
    layers = network()
    P, x, t = task(layers)
    with untouched(P):
        loss, G, sent = N.data_parallel_step([P] * K, layers, x, t)
    whole, plain = N.plain_step(layers, P, x, t)
    close(loss, whole, 1e-12)
    for g in G:
        close(g, N.flat(plain), 1e-12)
    assert sent == 2 * (K - 1) * sum(p.nbytes for p in P.values())
    assert np.array_equal(N.flat({"b": np.ones(1), "a": np.zeros((1, 2))}), [0, 0, 1])


@pytest.mark.parametrize("K, M", [(2, 1), (4, 1), (4, 8)])
def test_a_pipeline_communicates_and_the_bytes_are_counted(K, M):
    """The mistake to avoid: saying that a pipeline needs no communication."""
    layers = N.mlp([16] * 9)
    P, x, t = task(layers, 32)
    stages = N.cut(layers, P, K)
    N.pipeline_step(stages, x, t, M)
    assert sum(stage.sent for stage in stages) == 2 * (K - 1) * x.nbytes


# --- the task --------------------------------------------------------------------------------------

def test_spirals_can_be_learned_and_shuffled_labels_cannot():
    """The mistake to avoid: training on labels that are noise."""
    x, t = N.spirals(rng(1), 999)
    assert x.shape == (999, 2) and list(np.bincount(t)) == [333] * 3
    assert not np.array_equal(x, N.spirals(rng(2), 999)[0])
    layers, final = N.mlp([2] + [32] * 4 + [3]), {}
    for name, labels in (("true", t), ("shuffled", rng(3).permutation(t))):
        P = N.init(layers, rng(4))
        curve = N.train(lambda x, t, P=P: N.plain_step(layers, P, x, t), P, x, labels, rng(5), 40, 0.02)
        final[name] = (N.slice_forward(x, layers, P)[0].argmax(1) == t).mean(), curve[-8:].mean()
        assert len(curve) == 40 * 8
    assert final["true"][0] > 0.9 and final["true"][1] < 0.3
    assert final["shuffled"][0] < 0.6 and final["shuffled"][1] > 0.9


# --- exercises and text ----------------------------------------------------------------------------

def readers_space():
    space = classroom(9)
    space["ideal"] = {"F": [1] * 8, "R": [1] * 8, "B": [2] * 8}
    space["x64"] = rng().normal(size=(64, 64))
    return space


EXERCISES = Exercises(space=readers_space, wrong=(
    ("enough = lambda K, share: 4 * K", 0),
    ("enough = lambda K, share: max(1, int((K - 1) * (1 - share) / share))", 0),
    ("enough = lambda K, share: int(np.ceil((K - 1) * (1 - share) / share))", 0),
    ("one_f_one_b = gpipe", 1),
    ("one_f_one_b = lambda K, M: [order[:-1] for order in gpipe(K, M)]", 1),
    ("one_f_one_b = lambda K, M: [[(kind, m) for m in range(M) for kind in 'FB'] for _ in range(K)]", 1)))


def test_exercise_two_finds_a_difference(capsys):
    space = readers_space()
    exec(next(code for code in exercise_parts(9)[0] if "all_cuts" in code), space)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for line in lines:
        best, join_max, squares = eval(line[line.rindex("["):])
        assert best == join_max <= squares
    assert squares > best, "the second list should show that the aims differ"


def test_numbers_in_the_text():
    text = text_and_code(9)[0]
    assert "brings $K=8$ from 17.9% to 14.1%" in text
    assert round(7 / 39, 3) == 0.179 and round(21 / (3 * 39 + 32), 3) == 0.141
    assert "=0.76$" in text and round((1 - 1 / 4) / (1 - 1 / 64), 2) == 0.76
    assert "12 pieces" in text and min(M for M in range(1, 99) if 3 / (M + 3) <= 0.2) == 12
    for M in (1, 4, 9):
        events = N.clock(N.gpipe(2, M), {"F": [1, 1], "B": [2, 2]})
        close(3 * 2 * M / N.span(events), 2 * (2 * M / (M + 1)) / 2, 1e-12)
    beta, alpha, rows, K = 9e-5, 1e-3, 512, 8
    M = np.linspace(1, 100, 100_001)
    best = M[np.argmin((M + K - 1) * (alpha + beta * rows / M))]
    close(best, math.sqrt((K - 1) * beta * rows / alpha), 1e-3)
