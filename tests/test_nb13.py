"""Notebook 13: attention, layers and the whole Transformer against PyTorch, and their properties."""

import re
from dataclasses import replace

import numpy as np
import pytest

from tests import support
from tests.support import Exercises, close, close_dicts, definitions, golden, part

N = definitions(13)
CASES = golden("13")
ATTENTIONS = ["attention", "attention_masked", "attention_unscaled"]
LOSSES = ["loss0", "loss1", "loss2"]
MODELS = ["model1", "model2"]


def config(case):
    return N.Config(d_model=int(case["D"]), n_heads=int(case["h"]), d_ff=int(case["d_ff"]),
                    n_layers=int(case["layers"]), max_length=20)


def attention_arguments(name):
    case = CASES[name]
    return [case[k] for k in "QKV"], {"mask": case.get("mask"), "scaled": name != "attention_unscaled"}


# --- what the mutation test breaks -----------------------------------------------------------------

def check_softmax_backward(space):
    case = CASES["softmax"]
    close(space.softmax(case["s"]), case["A"], 1e-14, "softmax")
    close(space.softmax_backward(case["up.A"], case["A"]), case["ds"], 1e-13, "ds")


def check_attention_backward(space):
    for name in ATTENTIONS:
        arrays, options = attention_arguments(name)
        y, cache = space.attention_forward(*arrays, **options)
        close(y, CASES[name]["y"], 1e-12, f"{name}: y")
        for k, d in zip("QKV", space.attention_backward(CASES[name]["up.y"], cache), strict=True):
            close(d, CASES[name][f"d{k}"], 1e-12, f"{name}: d{k}")


def check_multi_head_backward(space):
    case = CASES["multi_head"]
    y, cache = space.multi_head_forward(case["x"], case["z"], part(case, "P."), int(case["h"]), case["mask"])
    close(y, case["y"], 1e-12, "y")
    dx, dz, G = space.multi_head_backward(case["up.y"], cache)
    close(dx, case["dx"], 1e-12, "dx")
    close(dz, case["dz"], 1e-12, "dz")
    close_dicts(G, part(case, "G."), 1e-12)
    case = CASES["self_attention"]
    _, cache = space.multi_head_forward(case["x"], case["x"], part(case, "P."), int(case["h"]))
    dx, dz, G = space.multi_head_backward(case["up.y"], cache)
    close(dx + dz, case["dx"], 1e-12, "self-attention dx")
    close_dicts(G, part(case, "G."), 1e-12)


def check_rows(case, x, forward, backward):
    """A function of rows with parameters: y, dx and the parameters' gradients."""
    y, cache = forward(x, part(case, "P."))
    close(y, case["y"], 1e-12, "y")
    dx, G = backward(case["up.y"], cache)
    close(dx, case["dx"], 1e-12, "dx")
    close_dicts(G, part(case, "G."), 1e-12)


def check_layer_norm_backward(space):
    case = CASES["layer_norm"]
    check_rows(case, case["x"] + 0.5, space.layer_norm_forward, space.layer_norm_backward)


def check_ffn_backward(space):
    case = CASES["ffn"]
    check_rows(case, case["x"], space.ffn_forward, space.ffn_backward)


def check_embed_backward(space):
    case = CASES["embedding"]
    y, cache = space.embed_forward(case["ids"], case["P.E"], space.sinusoids(12, 8), int(case["start"]))
    close(y, case["y"], 1e-12, "y")
    close(space.embed_backward(case["up.y"], cache), case["G.E"], 1e-12, "dE")


def check_smoothed_loss_backward(space):
    for name in LOSSES:
        case = CASES[name]
        loss, nll, cache = space.smoothed_loss_forward(case["logits"], case["y"], float(case["eps"]))
        close(loss, case["loss"], 1e-12, "loss")
        close(nll, case["nll"], 1e-12, "nll")
        close(space.smoothed_loss_backward(cache), case["dlogits"], 1e-13, "dlogits")


def layer_config(case):
    D, d_ff = case["P.ffn.W_1"].shape
    return N.Config(d_model=D, n_heads=int(case["h"]), d_ff=d_ff)


def check_encoder_layer_backward(space):
    case = CASES["encoder"]
    y, cache = space.encoder_layer_forward(case["x"], part(case, "P."), layer_config(case), case["mask"])
    close(y, case["y"], 1e-11, "y")
    dx, G = space.encoder_layer_backward(case["up.y"], cache)
    close(dx, case["dx"], 1e-11, "dx")
    close_dicts(G, part(case, "G."), 1e-11)


def check_decoder_layer_backward(space):
    for name in ("decoder", "decoder_open"):
        case = CASES[name]
        mask = space.causal_mask(case["x"].shape[1]) if case["causal"] else None
        y, cache = space.decoder_layer_forward(case["x"], case["z"], part(case, "P."),
                                               layer_config(case), mask)
        close(y, case["y"], 1e-11, f"{name}: y")
        dx, dz, G = space.decoder_layer_backward(case["up.y"], cache)
        close(dx, case["dx"], 1e-11, f"{name}: dx")
        close(dz, case["dz"], 1e-11, f"{name}: dz")
        close_dicts(G, part(case, "G."), 1e-11)


def check_model_backward(space):
    for name in MODELS:
        case = CASES[name]
        logits, cache = space.model_forward(case["source"], case["target_in"], part(case, "P."), config(case))
        close(logits, case["logits"], 1e-10, f"{name}: logits")
        loss, _, loss_cache = space.smoothed_loss_forward(logits, case["target"], float(case["eps"]))
        close(loss, case["loss"], 1e-11, f"{name}: loss")
        G = space.model_backward(space.smoothed_loss_backward(loss_cache), cache)
        close_dicts(G, part(case, "G."), 1e-10)


CHECKS = {
    "softmax_backward": check_softmax_backward, "attention_backward": check_attention_backward,
    "multi_head_backward": check_multi_head_backward, "layer_norm_backward": check_layer_norm_backward,
    "ffn_backward": check_ffn_backward, "embed_backward": check_embed_backward,
    "smoothed_loss_backward": check_smoothed_loss_backward,
    "encoder_layer_backward": check_encoder_layer_backward,
    "decoder_layer_backward": check_decoder_layer_backward, "model_backward": check_model_backward,
}


# --- gradients, by differences ---------------------------------------------------------------------

def random_model(seed=0, dtype=np.float64, **options):
    rng = np.random.default_rng(seed)
    cfg = N.Config(**{"d_model": 12, "n_heads": 3, "d_ff": 10, "n_layers": 2, "max_length": 30} | options)
    P = {k: (p + 0.2 * rng.normal(size=p.shape)).astype(dtype)
         for k, p in N.init_params(rng, cfg, 11, 9, np.float64).items()}
    source, target = rng.integers(1, 11, size=(4, 7)), rng.integers(1, 9, size=(4, 6))
    source[0, 5:], source[3, 2:] = N.PAD, N.PAD
    return P, cfg, source, target


@pytest.mark.parametrize("options", [
    {}, {"n_heads": 1}, {"scaled": False}, {"positions": False}, {"causal": False}, {"n_layers": 1}], ids=str)
def test_gradients_of_every_configuration(options):
    P, cfg, source, target = random_model(**options)
    _, _, G = N.loss_and_gradients(source, target, P, cfg, 0.2)
    N.grad_check(lambda: N.loss_and_gradients(source, target, P, cfg, 0.2)[0], P, G,
                 np.random.default_rng(1), tol=1e-4, n=3)  # ReLU has kinks


def test_gradients_keep_names_shapes_and_dtype():
    P, cfg, source, target = random_model(dtype=np.float32)
    before = {k: p.copy() for k, p in P.items()}
    loss, nll, G = N.loss_and_gradients(source, target, P, cfg)
    assert np.isfinite(loss) and loss > 0 and nll > 0 and G.keys() == P.keys()
    for k, g in G.items():
        assert g.shape == P[k].shape and g.dtype == np.float32, k
        assert np.array_equal(P[k], before[k]), f"{k} was written to"


def test_float32_agrees_with_float64():
    P, cfg, source, target = random_model()
    exact = N.loss_and_gradients(source, target, P, cfg)
    rough = N.loss_and_gradients(source, target, {k: p.astype(np.float32) for k, p in P.items()}, cfg)
    close(rough[0], exact[0], 1e-5, "loss")
    close_dicts({k: g.astype(float) for k, g in rough[2].items()}, exact[2], 2e-4)


# --- attention -------------------------------------------------------------------------------------

def test_loops_and_arrays_agree():
    rng = np.random.default_rng(0)
    Q, K, V = rng.normal(size=(5, 3)), rng.normal(size=(7, 3)), rng.normal(size=(7, 2))
    out, weights = N.attention_by_hand(Q, K, V)
    fast, (*_, A, scale) = N.attention_forward(Q, K, V)
    close(out, fast, 1e-13)
    close(weights, A, 1e-13)
    assert scale == 3 ** -0.5


def test_softmax_is_safe_and_shift_invariant():
    s = np.array([[1e4, 0.0, -1e4], [3.0, 3.0, 3.0]])
    close(N.softmax(s), [[1, 0, 0], [1 / 3] * 3], 1e-15)
    close(N.softmax(s - 700), N.softmax(s), 1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_masked_keys_have_no_influence_at_all(dtype):
    rng = np.random.default_rng(2)
    Q, K, V = (rng.normal(size=(2, 3, 5, 4)).astype(dtype) for _ in range(3))
    mask = rng.random((5, 5)) < 0.5
    mask[:, 1] = True
    y, cache = N.attention_forward(Q, K, V, mask)
    assert y.dtype == dtype and np.array_equal(cache[3][..., ~mask], np.zeros((2, 3, (~mask).sum())))
    for j in range(5):
        K2, V2 = K.copy(), V.copy()
        K2[..., j, :], V2[..., j, :] = 100, -50
        changed = N.attention_forward(Q, K2, V2, mask)[0]
        assert np.array_equal(changed[..., ~mask[:, j], :], y[..., ~mask[:, j], :])
        assert not np.allclose(changed, y)
        dy = np.zeros_like(y)
        dy[..., ~mask[:, j], :] = 1
        _, dK, dV = N.attention_backward(dy, cache)
        assert not dK[..., j, :].any() and not dV[..., j, :].any()


def test_heads_are_columns():
    """Each head is attention on its own block of columns; W_O sees them concatenated."""
    rng = np.random.default_rng(3)
    x, z = rng.normal(size=(2, 4, 6)), rng.normal(size=(2, 5, 6))
    P = {f"W_{w}": rng.normal(size=(6, 6)) for w in "QKVO"}
    blocks = [N.attention_forward(x @ P["W_Q"][:, c], z @ P["W_K"][:, c], z @ P["W_V"][:, c])[0]
              for c in (slice(0, 2), slice(2, 4), slice(4, 6))]
    close(N.multi_head_forward(x, z, P, 3)[0], np.concatenate(blocks, -1) @ P["W_O"], 1e-12)
    close(N.merge_heads(N.split_heads(x, 3)), x, 0)


@pytest.mark.parametrize("scaled", [True, False])
def test_scaling_is_a_factor_of_the_queries(scaled):
    rng = np.random.default_rng(4)
    Q, K, V = (rng.normal(size=(2, 5, 9)) for _ in range(3))
    close(N.attention_forward(Q, K, V, scaled=scaled)[0],
          N.attention_forward(Q * (1 if scaled else 3), K, V)[0], 1e-12)


# --- positions -------------------------------------------------------------------------------------

def test_sinusoids():
    close(N.sinusoids(40, 14), CASES["sinusoids"]["table"], 1e-12, "table")
    table = N.sinusoids(300, 20)
    close(np.sum(table ** 2, 1), np.full(300, 10.0), 1e-12, "norms")
    for k in (1, 7, 50):
        dots = (table[k:] * table[:-k]).sum(1)
        close(dots, np.full(300 - k, dots[0]), 1e-11, "depends on the offset only")


def test_without_positions_the_encoder_sees_a_bag_of_words():
    P, cfg, source, _ = random_model(positions=False)
    source = np.maximum(source, 1)
    order = np.random.default_rng(5).permutation(source.shape[1])
    close(N.encode_forward(source[:, order], P, cfg)[0], N.encode_forward(source, P, cfg)[0][:, order], 1e-12)
    cfg = replace(cfg, positions=True)
    assert not np.allclose(N.encode_forward(source[:, order], P, cfg)[0],
                           N.encode_forward(source, P, cfg)[0][:, order])


def test_start_shifts_all_positions():
    P, cfg, source, target = random_model()
    table = N.sinusoids(cfg.max_length, cfg.d_model)
    x, _ = N.embed_forward(source, P["E_source"], table, 9)
    close(x, P["E_source"][source] * 12 ** 0.5 + table[9:16], 1e-13)
    logits, shifted = (N.model_forward(source, target, P, cfg, start)[0] for start in (0, 3))
    assert not np.allclose(logits, shifted)


# --- causality and padding -------------------------------------------------------------------------

def test_logits_do_not_depend_on_the_future():
    P, cfg, source, target = random_model()
    logits = N.model_forward(source, target, P, cfg)[0]
    for t in range(target.shape[1]):
        other = target.copy()
        other[:, t:] = (other[:, t:] + 1) % 9
        changed = N.model_forward(source, other, P, cfg)[0]
        assert np.array_equal(changed[:, :t], logits[:, :t]) and not np.allclose(changed[:, t], logits[:, t])


def test_without_the_mask_they_do():
    P, cfg, source, target = random_model(causal=False)
    other = target.copy()
    other[:, -1] = (other[:, -1] + 1) % 9
    assert not np.allclose(N.model_forward(source, other, P, cfg)[0][:, 0],
                           N.model_forward(source, target, P, cfg)[0][:, 0])


def test_gradients_of_the_future_are_exactly_zero():
    rng = np.random.default_rng(6)
    P, cfg, *_ = random_model()
    x, z = rng.normal(size=(1, 6, 12)), rng.normal(size=(1, 4, 12))
    _, cache = N.decoder_layer_forward(x, z, N.part(P, "dec1"), cfg, N.causal_mask(6))
    for t in range(6):
        dy = np.zeros_like(x)
        dy[:, t] = rng.normal(size=12)
        dx, dz, _ = N.decoder_layer_backward(dy, cache)
        assert not dx[:, t + 1:].any() and (np.abs(dx[:, :t + 1]).sum(-1) > 0).all() and dz.any()


def test_padding_has_no_influence():
    P, cfg, source, target = random_model()
    whole = N.model_forward(source, target, P, cfg)[0]
    for b, length in ((0, 5), (1, 7), (3, 2)):
        alone = N.model_forward(source[b:b + 1, :length], target[b:b + 1], P, cfg)[0]
        close(whole[b:b + 1], alone, 1e-12, "logits")
    assert N.padding_mask(np.ones((2, 3), int)) is None
    assert N.padding_mask(source).shape == (4, 1, 1, 7)


def test_sentences_of_a_batch_do_not_mix():
    P, cfg, source, target = random_model()
    whole = N.model_forward(source, target, P, cfg)[0]
    for b in range(len(source)):
        close(N.model_forward(source[b:b + 1], target[b:b + 1], P, cfg)[0], whole[b:b + 1], 1e-12, "logits")


def test_shift_right():
    assert N.shift_right(np.array([[5, 6, 1], [7, 8, 1]])).tolist() == [[2, 5, 6], [2, 7, 8]]


# --- loss and schedule -----------------------------------------------------------------------------

def test_loss_of_uniform_logits_is_log_V():
    for eps in (0.0, 0.1, 0.7):
        loss, nll, cache = N.smoothed_loss_forward(np.full((2, 3, 11), 4.0), np.arange(6).reshape(2, 3), eps)
        close([loss, nll], [np.log(11)] * 2, 1e-14)
        close(N.smoothed_loss_backward(cache).sum(-1), np.zeros((2, 3)), 1e-15)


def test_smoothed_loss_is_least_at_the_smoothed_target():
    V, eps = 6, 0.3
    q = np.full(V, eps / V)
    q[2] += 1 - eps
    _, _, cache = N.smoothed_loss_forward(np.log(q)[None, None], np.array([[2]]), eps)
    close(N.smoothed_loss_backward(cache), np.zeros((1, 1, V)), 1e-15)


def test_loss_survives_large_logits():
    loss, nll, cache = N.smoothed_loss_forward(np.array([[[1e5, 0.0, -1e5]]]), np.array([[0]]), 0.0)
    assert loss == nll == 0 and np.isfinite(N.smoothed_loss_backward(cache)).all()


def test_schedule():
    rates = np.array([N.noam(step, 128, 50, 2.0) for step in range(1, 400)])
    steps = np.arange(1, 400)
    close(rates, 2 * 128 ** -0.5 * np.minimum(steps ** -0.5, steps * 50 ** -1.5), 1e-14)
    assert rates.argmax() == 49
    assert all(N.no_warmup(s) == N.noam(100) for s in (1, 50, 100)) and N.no_warmup(300) == N.noam(300)


# --- decoding --------------------------------------------------------------------------------------

@pytest.mark.parametrize("options", [{}, {"n_heads": 1}, {"scaled": False}, {"positions": False}], ids=str)
def test_cache_gives_the_same_logits(options):
    P, cfg, source, _ = random_model(7, **options)
    words = np.random.default_rng(8).integers(9, size=(4, 12))
    y, _ = N.decode_forward(words, N.encode_forward(source, P, cfg, 2)[0], P, cfg, N.padding_mask(source), 2)
    layers = N.decode_start(source, P, cfg, 2)
    for t in range(12):
        logits = N.decode_step(words[:, t], t, layers, P, cfg, N.padding_mask(source), 2)
        close(logits, y[:, t] @ P["E_target"].T, 1e-11, f"logits at {t}")


@pytest.mark.parametrize("seed", range(4))
def test_greedy_with_and_without_cache(seed):
    P, cfg, source, _ = random_model(seed)
    ids = N.greedy(source, P, cfg, 9)
    assert ids.shape == (4, 9) and np.array_equal(ids, N.greedy_uncached(source, P, cfg, 9))


def test_evaluate_counts_whole_sentences():
    P, cfg, source, _ = random_model()
    right = N.greedy(source, P, cfg, 7)
    wrong = right.copy()
    wrong[0, 3] += 1
    wrong[1, 0] += 1
    assert N.evaluate(P, cfg, {6: (source, right)}, [6]) == 1
    assert N.evaluate(P, cfg, {6: (source, wrong)}, [6]) == 0.5


def test_attention_maps_are_those_of_the_last_layer():
    P, cfg, source, target = random_model()
    A = N.cross_attention(source, target, P, cfg)
    assert A.shape == (4, 3, 6, 7) and not A[0, ..., 5:].any()
    close(A.sum(-1), np.ones((4, 3, 6)), 1e-12)


# --- language --------------------------------------------------------------------------------------

@pytest.mark.parametrize("english, latin, align", [
    ("wolf sees horse", "lupus equus videt", [0, 2, 1]),
    ("big white eagle hears small stag", "aquila alba magna cervus parvus audit", [2, 1, 0, 5, 4, 3]),
    ("cow loves dove but good new bull fears goat",
     "vacca columba amat sed taurus novus bonus capra timet", [0, 2, 1, 3, 6, 5, 4, 8, 7])])
def test_translations_by_hand(english, latin, align):
    words, found = N.translate(english.split())
    assert " ".join(words) == latin and found == align


def test_corpus():
    rng = np.random.default_rng(9)
    avoid = {tuple(w) for w in N.make_corpus(rng, 300, clauses=(1,))}
    corpus = N.make_corpus(rng, 500, clauses=(1, 3), avoid=avoid)
    np_, tail = r"((A ){0,2}N )", "V "
    groups = {"N": N.NOUNS, "A": N.STEMS, "V": N.VERBS, "C": N.CONJUNCTIONS}
    kinds = {w: kind for kind, group in groups.items() for w in group}
    clause = np_ + tail + np_
    shapes = set()
    for words in corpus:
        assert tuple(words) not in avoid
        shape = " ".join(kinds[w] for w in words) + " "
        assert re.fullmatch(f"{clause}(C {clause}C {clause})?", shape), words
        shapes.add(shape)
        latin, align = N.translate(words)
        assert len(latin) == len(words) and sorted(align) == list(range(len(words)))
    assert len(shapes) > 50
    assert N.make_corpus(np.random.default_rng(1), 5) == N.make_corpus(np.random.default_rng(1), 5)


def test_adjectives_come_as_often_as_said():
    corpus = N.make_corpus(np.random.default_rng(10), 4000, clauses=(1,))
    n_adjectives = np.array([len(w) - 3 for w in corpus])
    # Sum of two independent counts with probabilities .4, .4, .2.
    close(np.bincount(n_adjectives, minlength=5) / 4000, np.convolve([.4, .4, .2], [.4, .4, .2]), 0.03)


def vocabularies():
    """Source and target words in the notebook's order."""
    endings = [stem + ending for stem in N.STEMS.values() for ending in ("us", "a")]
    latin = [*N.NOUNS.values(), *N.VERBS.values(), *N.CONJUNCTIONS.values(), *endings]
    return (["<pad>", "<end>", *N.NOUNS, *N.STEMS, *N.VERBS, *N.CONJUNCTIONS],
            ["<pad>", "<end>", "<start>", *latin])


def test_by_length():
    source, target = vocabularies()
    corpus = N.make_corpus(np.random.default_rng(4), 200)
    groups = N.by_length(corpus, source, target)
    assert list(groups) == sorted({len(w) for w in corpus})
    assert sum(len(g[0]) for g in groups.values()) == 200
    for S, (s, t, align) in groups.items():
        assert s.shape == t.shape == (len(s), S + 1) and align.shape == (len(s), S)
        assert (s[:, -1] == N.END).all() and (t[:, -1] == N.END).all()
        assert [source[i] for i in s[0, :-1]] in corpus
        assert [target[i] for i in t[0, :-1]] == N.translate([source[i] for i in s[0, :-1]])[0]
    taken = list(N.batches(groups, 50, np.random.default_rng(0), tokens=40))
    assert len(taken) == 50
    for s, t in taken:
        assert s.shape == t.shape and abs(s.size - 40) <= s.shape[1] / 2


# --- counting --------------------------------------------------------------------------------------

def test_depth_counts_operations_in_a_row():
    a = N.Traced(np.ones((2, 3)))
    assert ((a + 1) * 2 - a).depth == 3 and (a + a.reshape(2, 3)).depth == 1
    assert np.exp(a @ np.ones((3, 2))).depth == 2 and a.max(-1, keepdims=True).depth == 1
    assert np.maximum(a[0], 2 * a[1]).depth == 2


def test_depth_of_layers():
    rng = np.random.default_rng(11)
    P = {f"W_{w}": rng.normal(size=(6, 6)) for w in "QKVO"}
    for n in (3, 10):
        x = rng.normal(size=(2, n, 6))
        traced = N.multi_head_forward(N.Traced(x), N.Traced(x), P, 2)[0]
        assert traced.depth == 10
        close(traced.value, N.multi_head_forward(x, x, P, 2)[0], 1e-13)
        traced = N.recurrent_layer(N.Traced(x), P["W_Q"], P["W_K"])
        assert traced.depth == 3 * n - 1
        h = np.zeros((2, 6))
        for t in range(n):
            h = np.tanh(x[:, t] @ P["W_Q"] + h @ P["W_K"])
        close(traced.value, h, 1e-12)


# --- bad input -------------------------------------------------------------------------------------

X = np.ones((1, 2, 4))


@pytest.mark.parametrize("call, words", [
    (lambda: N.translate("horse sees cat".split()), "'cat'"),
    (lambda: N.make_sentence(np.random.default_rng(0), 0), "n_clauses 0"),
    (lambda: N.attention_forward(X, np.ones((1, 2, 3)), X), "width 3"),
    (lambda: N.attention_forward(X, X, X, np.array([[True, False], [False, False]])), "nowhere"),
    (lambda: N.split_heads(X, 3), "width 4 and 3 heads"),
    (lambda: N.embed_forward(np.zeros((1, 9), int), np.ones((3, 4)), N.sinusoids(8, 4)), "length 9"),
    (lambda: N.embed_forward(np.zeros((1, 9), int), np.ones((3, 4)), N.sinusoids(8, 4)), "at 8"),
    (lambda: N.embed_forward(np.zeros((1, 4), int), np.ones((3, 4)), N.sinusoids(8, 4), 5), "length 9"),
    (lambda: N.embed_forward(np.array([[3]]), np.ones((3, 4))), "3..3"),
    (lambda: N.embed_forward(np.array([[-1]]), np.ones((3, 4))), "-1..-1"),
    (lambda: N.smoothed_loss_forward(X, np.array([[0, 4]])), "0..4"),
    (lambda: N.smoothed_loss_forward(X, np.array([[0, -1]])), "-1..0"),
    (lambda: N.smoothed_loss_forward(X, np.array([[0, 1]]), 1.0), "eps 1.0"),
    (lambda: N.smoothed_loss_forward(X, np.array([[0, 1]]), -0.1), "eps -0.1")])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()


# --- training and exercises ------------------------------------------------------------------------

def readers_space():
    """The notebook's globals as a reader has them before the exercises; small corpus, short runs."""
    space = support.classroom(13)
    rng, train, cfg = np.random.default_rng(12), space["train"], N.Config(8, 2, 6, 2)
    source, target = vocabularies()
    data = N.by_length(N.make_corpus(rng, 400), source, target)
    P = N.init_params(rng, cfg, len(source), len(target), np.float64)
    space |= {"SEED": 0, "SOURCE": source, "TARGET": target, "train_set": data, "test_set": data,
              "SHORT": range(6, 9), "BASE": N.Config(), "tiny": cfg, "rng": rng, "errors": {},
              "P_tiny": {k: p + 0.3 * rng.normal(size=p.shape) for k, p in P.items()}}
    space |= {"long_train": train, "train": lambda *args, **options: train(*args, **options | {"steps": 20})}
    return space


def test_training_lowers_the_loss_and_averages():
    classroom = readers_space()
    average, last, nlls = classroom["long_train"](classroom["train_set"], N.Config(16, 2, 16), 0, steps=120)
    assert len(nlls) == 120 and nlls[-20:].mean() < nlls[:20].mean() - 0.5
    assert average.keys() == last.keys() and all(average[k].shape == last[k].shape for k in last)
    # The average lies near the last weights, closer than the start does.
    assert np.abs(average["dec0.ffn.W_1"] - last["dec0.ffn.W_1"]).max() < 0.2


EXERCISES = Exercises(space=readers_space, errors=("learned positions", "pre-norm"), wrong=(
    ("learned_positions_backward = lambda dx: dx.mean(0)", 0),
    ("pre_norm = (lambda x, P, cfg: encoder_layer_forward(x, P, cfg),\n"
     "            lambda dy, cache: (dy, encoder_layer_backward(dy, cache)[1]))", 1)))
