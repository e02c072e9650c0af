"""Notebook 04: masked LSTM and language model against PyTorch; masks, graph and grammar by brute force."""

import itertools
import math

import numpy as np
import pytest

from tests.support import Exercises, classroom, close, close_dicts, definitions, golden, part

NB = definitions(4)
GOLD = golden("04")


def check_lstm(nb):
    """Forward values and every gradient, without masks (torch.lstm) and with masks on h and c (autograd)."""
    for name in ("lstm", "masked_lstm"):
        case = GOLD[name]
        masks = (case.get("mask_h"), case.get("mask_c"))
        h, c, cache = nb.lstm_forward(case["x"], (case["h0"], case["c0"]), part(case, "P."), *masks)
        close(h, case["h"], what="h")
        close(c[-1], case["c_T"] if name == "lstm" else case["c"][-1], what="c")
        dx, (dh0, dc0), G = nb.lstm_backward(case["dh"], cache)
        close_dicts(G | {"x": dx, "h0": dh0, "c0": dc0},
                    part(case, "G.") | {"x": case["dx"], "h0": case["dh0"], "c0": case["dc0"]})


def check_cross_entropy(nb):
    case = GOLD["cross_entropy"]
    losses, cache = nb.cross_entropy_forward(case["scores"], case["targets"])
    close(losses, case["losses"], what="losses")
    close(nb.cross_entropy_backward(case["dlosses"], cache), case["dscores"], what="dscores")


def check_dropout(nb):
    case = GOLD["dropout"]
    y, mask = nb.dropout_forward(case["x"], case["mask"])
    close(y, case["y"], what="y")
    close(nb.dropout_backward(case["dy"], mask), case["dx"], what="dx")
    assert nb.dropout_backward(case["dy"], None) is case["dy"]


def initial_states(case):
    n = len(part(case, "h0."))
    return [(case[f"h0.{k}"], case[f"c0.{k}"]) for k in range(1, n + 1)]


def check_model(placement):
    def check(nb):
        case = GOLD[f"model_{placement}"]
        P, masks, s0 = part(case, "P."), part(case, "M."), initial_states(case)
        scores, states, cache = nb.lm_forward(case["ids"], s0, P, masks)
        close(states[-1][0], case["top"], what="h of the last layer")
        losses, loss_cache = nb.cross_entropy_forward(scores, case["targets"])
        close((losses * case["weights"]).sum(), case["loss"], what="loss")
        dx, G, ds0 = nb.lm_backward(nb.cross_entropy_backward(case["weights"], loss_cache), cache)
        close_dicts(G, part(case, "G."))
        total = np.zeros_like(P["E"])
        np.add.at(total, case["ids"], dx)
        close(total, case["G.E"], what="dx, summed by word")
        for k, (dh, dc) in enumerate(ds0, 1):
            close(dh, case[f"dh0.{k}"], what=f"dh0 of layer {k}")
            close(dc, case[f"dc0.{k}"], what=f"dc0 of layer {k}")
    return check


def check_all_models(nb):
    for placement in NB.PLACES:
        check_model(placement)(nb)


CHECKS = {"lstm_backward": check_lstm, "cross_entropy_backward": check_cross_entropy,
          "dropout_backward": check_dropout, "lm_backward": check_all_models}


@pytest.mark.parametrize("name", CHECKS)
def test_golden(name):
    CHECKS[name](NB)


@pytest.mark.parametrize("placement", NB.PLACES)
def test_whole_model(placement):
    case = GOLD[f"model_{placement}"]
    loss, G, _ = NB.loss_and_gradients(case["ids"], case["targets"], case["weights"], initial_states(case),
                                       part(case, "P."), part(case, "M."))
    close(loss, case["loss"], what="loss")
    close_dicts(G, part(case, "G."))


def test_some_training_steps():
    """Three layers, masks everywhere, plain gradient descent: parameters as PyTorch ends with."""
    case = GOLD["model_trained"]
    P = part(case, "P.")
    for _ in range(int(case["steps"])):
        _, G, _ = NB.loss_and_gradients(case["ids"], case["targets"], case["weights"], initial_states(case),
                                        P, part(case, "M."))
        P = {k: p - float(case["lr"]) * G[k] for k, p in P.items()}
    close_dicts(P, part(case, "after."))


def test_the_state_is_carried_unmasked():
    """Two chunks with their parts of the masks are one long chunk: what is handed on is not masked."""
    case = GOLD["masked_lstm"]
    W, masks = part(case, "P."), (case["mask_h"], case["mask_c"])
    h, c, _ = NB.lstm_forward(case["x"][:2], (case["h0"], case["c0"]), W, *(m[:2] for m in masks))
    h2, _, _ = NB.lstm_forward(case["x"][2:], (h[-1], c[-1]), W, *(m[2:] for m in masks))
    close(np.concatenate([h, h2]), case["h"])


def test_inputs_and_cache_stay_as_they_were():
    case = GOLD["masked_lstm"]
    x, W = case["x"].copy(), {k: w.copy() for k, w in part(case, "P.").items()}
    _, _, cache = NB.lstm_forward(x, (case["h0"], case["c0"]), W, case["mask_h"], case["mask_c"])
    first, second = (NB.lstm_backward(case["dh"], cache) for _ in range(2))
    close_dicts(first[2], second[2], 0)
    assert np.array_equal(x, case["x"])
    close_dicts(W, part(case, "P."), 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_training_stays_in_its_precision(dtype):
    P = NB.init(6, 3, 2, np.random.default_rng(0), dtype=dtype)
    ids = np.random.default_rng(1).integers(6, size=(4, 2))
    masks = NB.draw_masks("cell", 0.5, 4, 2, 3, 2, np.random.default_rng(2))
    masks = {k: m.astype(dtype) for k, m in masks.items()}
    _, G, states = NB.loss_and_gradients(ids, ids, np.ones((4, 2), dtype), NB.zero_state(P, 2), P, masks)
    assert {a.dtype for a in (*G.values(), *itertools.chain(*states))} == {np.dtype(dtype)}


def test_loss_does_not_overflow():
    scores = np.array([[[1000.0, -1000.0, 0.0]]], np.float32)
    losses, cache = NB.cross_entropy_forward(scores, np.array([[1]]))
    assert losses[0, 0] == pytest.approx(2000)
    assert np.isfinite(NB.cross_entropy_backward(np.ones((1, 1), np.float32), cache)).all()


# --- masks ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 0.9])
def test_inverted_dropout_keeps_the_mean(p):
    """Scaled in training, so nothing is left to do at test time: docstring and code agree."""
    mask = NB.dropout_mask((400, 500), p, np.random.default_rng(0))
    assert mask.dtype == np.float32
    np.testing.assert_allclose(np.unique(mask), np.unique([1 / (1 - p), 0 if p else 1 / (1 - p)]), rtol=1e-6)
    assert mask.mean(dtype=float) == pytest.approx(1, abs=6 * math.sqrt(p / (1 - p) / mask.size) + 1e-6)


@pytest.mark.parametrize("placement, keys", [
    ("none", ""), ("between", "x1 x2 x3"), ("recurrent", "h1 h2"), ("everywhere", "x1 x2 x3 h1 h2"),
    ("cell", "x1 x2 x3 h1 h2 c1 c2"), ("variational", "x1 x2 x3 h1 h2")])
def test_masks_of_a_placement(placement, keys):
    masks = NB.draw_masks(placement, 0.5, 30, 4, 6, 2, np.random.default_rng(0))
    assert set(masks) == set(keys.split())
    for mask in masks.values():
        assert mask.shape == (30, 4, 6)
        assert (mask == mask[0]).all() == (placement == "variational")
    distinct = {mask.tobytes() for mask in masks.values()}
    assert len(distinct) == len(masks), "two places share a mask"


@pytest.mark.parametrize("placement", NB.PLACES)
def test_only_the_masks_of_a_placement_act(placement):
    """Differences between placements come from their masks: same weights, p = 0 gives the same scores."""
    P = NB.init(7, 5, 2, np.random.default_rng(0))
    ids = np.random.default_rng(1).integers(7, size=(6, 3))
    plain = NB.lm_forward(ids, NB.zero_state(P, 3), P, {})[0]
    off = NB.draw_masks(placement, 0.0, 6, 3, 5, 2, np.random.default_rng(2))
    on = NB.draw_masks(placement, 0.5, 6, 3, 5, 2, np.random.default_rng(2))
    assert np.array_equal(NB.lm_forward(ids, NB.zero_state(P, 3), P, off)[0], plain)
    assert np.array_equal(NB.lm_forward(ids, NB.zero_state(P, 3), P, on)[0], plain) == (placement == "none")


def paths(graph, node, end):
    """All paths as lists of the places on their edges."""
    if node == end:
        yield []
        return
    for to, place in graph.get(node, []):
        for rest in paths(graph, to, end):
            yield [place, *rest]


@pytest.mark.parametrize("L, lag", [(1, 0), (1, 3), (2, 0), (2, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize("placement", NB.PLACES)
def test_masks_are_counted_over_all_paths(placement, L, lag):
    graph = {}
    for start, to, place in NB.edges(L, lag + 1):
        graph.setdefault(start, []).append((to, place))
    counts = [sum(place != "" and place in NB.PLACES[placement] for place in path)
              for path in paths(graph, ("h", 0, 0), ("out", L + 1, lag))]
    assert NB.masks_crossed(placement, L, lag) == (min(counts), max(counts))


@pytest.mark.parametrize("L", [1, 2, 4])
@pytest.mark.parametrize("lag", [0, 1, 50])
def test_the_papers_count(L, lag):
    assert NB.masks_crossed("between", L, lag) == (L + 1, L + 1)


def test_the_graph_is_the_network():
    """An edge is there exactly if cutting it can change something: by masks of zeros on random networks."""
    P = NB.init(7, 4, 2, np.random.default_rng(0), dtype=float)
    ids, ones = np.random.default_rng(1).integers(7, size=(5, 1)), np.ones((5, 1, 4))
    base = NB.lm_forward(ids, NB.zero_state(P, 1), P, {})[0]
    reached = {place + str(k) for start, to, place in NB.edges(2, 5) if place
               for k in [to[1]]}
    assert reached == {"x1", "x2", "x3", "h1", "h2", "c1", "c2"}
    for key in reached:
        cut = ones.copy()
        cut[3] = 0
        scores = NB.lm_forward(ids, NB.zero_state(P, 1), P, {key: cut})[0]
        assert np.array_equal(scores[:3], base[:3]) and not np.allclose(scores[3:], base[3:]), key


@pytest.mark.parametrize("k, p", [(1, 0.5), (3, 0.5), (2, 0.2)])
def test_signal_share_of_a_single_path(k, p):
    """One unit, one step: the share is (1 - p) to the number of masks, k of them being real."""
    rng = np.random.default_rng(0)
    product = np.prod([NB.dropout_mask(200_000, p, rng) for _ in range(k)], axis=0, dtype=float)
    assert product.mean() ** 2 / (product**2).mean() == pytest.approx((1 - p) ** k, rel=0.05)


def test_signal_share_without_masks_is_one():
    P = NB.init(7, 5, 2, np.random.default_rng(0))
    ids = np.random.default_rng(1).integers(7, size=6)
    share = NB.signal_share(P, ids, "none", np.random.default_rng(2), copies=8)
    np.testing.assert_allclose(share, 1, rtol=1e-5)


@pytest.mark.parametrize("placement, share", [("between", 1 / 8), ("recurrent", 1), ("cell", 1 / 8)])
def test_signal_share_of_one_path_through_a_network(placement, share):
    """One unit a layer and tiny weights: at lag 0 a single linear path, with three masks or none."""
    P = {k: 1e-3 * p for k, p in NB.init(7, 1, 2, np.random.default_rng(0)).items()}
    ids = np.random.default_rng(1).integers(7, size=6)
    measured = NB.signal_share(P, ids, placement, np.random.default_rng(3), copies=40_000)
    assert measured[0] == pytest.approx(share, rel=0.1)


# --- language ---------------------------------------------------------------------------------------

def test_true_perplexity_by_sampling():
    """Another language than the notebook's: entropy of sampled text, and stated log-probabilities."""
    language = NB.make_language(np.random.default_rng(3), K=2, C=3, W=4, stop=0.2)
    ids, logp = NB.sample_text(language, np.random.default_rng(4), 300, 2000)
    assert np.exp(-logp.mean()) == pytest.approx(NB.true_perplexity(language), rel=0.01)
    assert set(np.unique(ids)) == set(range(1 + 2 + 12))


def test_log_probabilities_from_the_text_alone():
    """A reader who only sees the words recomputes every probability."""
    language = NB.make_language(np.random.default_rng(5), K=3, C=2, W=3, stop=0.3)
    ids, logp = NB.sample_text(language, np.random.default_rng(6), 4, 60)
    K, _, W = language["word"].shape
    for b in range(4):
        topic = kind = None
        for n in range(60):
            now, word = ids[n, b], ids[n + 1, b]
            if now == 0:
                p, topic = 1 / K, word - 1
                assert 1 <= word <= K
            elif word == 0:
                p = language["stop"]
            else:
                new, rank = divmod(word - 1 - K, W)
                p = (language["start"] if now <= K else (1 - language["stop"]) * language["chain"][kind])[new]
                p, kind = p * language["word"][topic, new, rank], new
            assert logp[n, b] == pytest.approx(math.log(p))


def test_perplexity_of_a_uniform_model_is_the_vocabulary():
    P = {k: np.zeros_like(p) for k, p in NB.init(9, 4, 2, np.random.default_rng(0)).items()}
    assert NB.perplexity(P, np.random.default_rng(1).integers(9, size=(12, 3))) == pytest.approx(9, rel=1e-5)


def test_probe_rows():
    ids = NB.probe_batch(6, 500, np.random.default_rng(0))
    assert ids.shape == (7, 500)
    assert set(ids[0]) == set(range(NB.SYMBOLS)) and set(np.unique(ids[1:])) == {NB.SYMBOLS, NB.SYMBOLS + 1}


# --- bad input --------------------------------------------------------------------------------------

@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, float("nan")])
def test_bad_probability(p):
    with pytest.raises(ValueError, match=f"dropout probability is {p}, expected 0 <= p < 1"):
        NB.dropout_mask((2, 2), p, np.random.default_rng(0))
    with pytest.raises(ValueError, match="dropout probability"):
        NB.draw_masks("between", p, 2, 2, 2, 2, np.random.default_rng(0))


def test_bad_placement():
    with pytest.raises(ValueError, match="placement is 'nowhere', expected one of none, between"):
        NB.draw_masks("nowhere", 0.5, 2, 2, 2, 2, np.random.default_rng(0))


@pytest.mark.parametrize("wrong", [{"K": 0}, {"C": 0}, {"W": -1}, {"stop": 0.0}, {"stop": 1.0}])
def test_bad_language(wrong):
    with pytest.raises(ValueError, match="expected sizes of at least 1, 0 < stop < 1"):
        NB.make_language(np.random.default_rng(0), **wrong)


@pytest.mark.parametrize("B, N", [(0, 5), (3, 0)])
def test_bad_text_size(B, N):
    language = NB.make_language(np.random.default_rng(0))
    with pytest.raises(ValueError, match=f"B={B} texts of N={N} words"):
        NB.sample_text(language, np.random.default_rng(0), B, N)


@pytest.mark.parametrize("lag", [0, -3])
def test_bad_lag(lag):
    with pytest.raises(ValueError, match=f"lag is {lag}, expected at least one distractor"):
        NB.probe_batch(lag, 4, np.random.default_rng(0))


# --- exercises --------------------------------------------------------------------------------------

def readers_space():
    """The notebook's globals as a reader has them before the exercises; one batch of words."""
    return classroom(4) | {"V": 9, "words": np.random.default_rng(2).integers(9, size=(6, 2))}


EXERCISES = Exercises(space=readers_space, wrong=(
    ("formula = lambda placement, L, lag: (L + 1, L + 1 + lag)", 0),
    ("formula = lambda placement, L, lag: masks_crossed(placement, L, lag)[::-1]", 0),
    ("classic = lambda P, p: {k: (1 - p) * w for k, w in P.items()}", 1),
    ("classic = lambda P, p: {k: p * w if k.startswith(('W_x', 'W_y')) else w for k, w in P.items()}", 1),
    ("classic = lambda P, p: {k: (1 - p) * w if k.startswith('W_x') else w for k, w in P.items()}", 1)))
