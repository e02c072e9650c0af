"""Notebook 29: encoders, generator, marginals and whole RAG against PyTorch; gazetteer, decoding."""

import math
import re
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

N = definitions(29)
CASES = golden("29")
MODES = "sequence", "token"


# --- what the mutation test breaks -----------------------------------------------------------------

def check_bag_backward(space):
    case = CASES["bag"]
    y, cache = space.bag_forward(case["ids"], case["P.E"])
    close(y, case["y"], 1e-13, "bag")
    close(space.bag_backward(case["up.y"], cache), case["G.E"], 1e-12, "dE")


def check_retrieve_backward(space):
    case = CASES["retrieve"]
    idx, scores, cache = space.retrieve_forward(case["q"], case["D"], 3)
    assert np.array_equal(idx, case["idx"])
    close(scores, case["scores"], 1e-13, "scores")
    close(space.retrieve_backward(case["up.scores"], cache), case["dq"], 1e-12, "dq")


def check_contrastive_backward(space):
    case = CASES["contrastive"]
    loss, cache = space.contrastive_forward(case["q"], case["D"], case["gold"])
    close(loss, case["loss"], 1e-13, "loss")
    close(case["up.loss"] * space.contrastive_backward(cache), case["dq"], 1e-12, "dq")


def check_marginal_backward(space):
    for name in ("sequence", "token", "sequence_long", "token_long"):
        case = CASES[name]
        loss, cache = space.marginal_forward(case["scores"], case["logits"], case["y"], name.split("_")[0])
        close(loss, case["loss"], 1e-12, f"{name}: loss")
        dscores, dlogits = space.marginal_backward(cache)
        close(case["up.loss"] * dscores, case["dscores"], 1e-11, f"{name}: dscores")
        close(case["up.loss"] * dlogits, case["dlogits"], 1e-11, f"{name}: dlogits")


def check_generator_backward(space):
    for name in ("generator", "generator_short", "generator_closed"):
        case = CASES[name]
        logits, cache = space.generator_forward(case["x"], case["docs"], case["idx"], case["y"],
                                                part(case, "P."))
        close(logits, case["logits"], 1e-12, f"{name}: logits")
        close_dicts(space.generator_backward(case["up.logits"], cache), part(case, "G."), 1e-11)


def check_rag_backward(space):
    for name in ("rag_sequence", "rag_token", "closed"):
        case = CASES[name]
        loss, cache = space.rag_forward(case["x"], case["docs"], case["D"], case["y"], part(case, "P."), 4,
                                        "sequence" if name.endswith("sequence") else "token")
        close(loss, case["loss"], 1e-12, f"{name}: loss")
        G = {k: case["up.loss"] * g for k, g in space.rag_backward(cache).items()}
        close_dicts(G, part(case, "G."), 1e-11)


CHECKS = {f"{name}_backward": globals()[f"check_{name}_backward"]
          for name in ("bag", "retrieve", "contrastive", "marginal", "generator", "rag")}


# --- a small world ---------------------------------------------------------------------------------

def small(seed=0, closed=False, dtype=np.float64, H=12):
    """World, word vectors, documents, their vectors and lively parameters."""
    world = N.make_world(seed)
    E_d = N.word_vectors(rng(seed + 1))
    P = N.init(rng(seed + 2), H=H, closed=closed, dtype=np.float64)
    P |= {k: 0.1 * rng(seed + 3).normal(size=P[k].shape) for k in ("b", "b_o")}
    if not closed:
        P["Q"] *= 5
    docs = N.snapshot(world["values"])
    D = N.bag_forward(docs, E_d)[0].astype(dtype)
    return world, E_d, docs, D, {k: p.astype(dtype) for k, p in P.items()}


@pytest.mark.parametrize("mode, K", [*product(MODES, (1, 3, 7))])
def test_gradients_by_differences(mode, K):
    world, _, docs, D, P = small()
    x, y = world["x"][[3, 50, 200]], np.array([[1, 2], [2, 2], [19, 0]])
    G = N.rag_backward(N.rag_forward(x, docs, D, y, P, K, mode)[1])
    if K == 1:                                                   # nothing to choose: no lesson
        assert not G.pop("Q").any()
    N.grad_check(lambda: N.rag_forward(x, docs, D, y, P, K, mode)[0], {k: P[k] for k in G}, G, rng(1), 1e-4,
                 h=1e-6)


@pytest.mark.parametrize("mode, closed", [("sequence", False), ("token", False), ("token", True)])
def test_gradients_keep_names_shapes_and_dtype_and_write_nothing(mode, closed):
    world, _, docs, D, P = small(closed=closed, dtype=np.float32)
    x, y = world["x"][:4], np.array([[1, 2], [2, 2], [19, 0], [4, 5]])
    with untouched(P | {"x": x, "docs": docs, "D": D, "y": y}):
        G = N.rag_backward(N.rag_forward(x, docs, D, y, P, 5, mode)[1])
    like_parameters(G, P)


def test_documents_outside_the_top_k_get_no_gradient():
    case = CASES["retrieve"]
    idx, _, cache = N.retrieve_forward(case["q"], case["D"], 3)
    moved = case["D"].copy()
    outside = np.setdiff1d(np.arange(9), idx[0])[-1]
    moved[outside] *= 0.999
    again, _, cache_again = N.retrieve_forward(case["q"], moved, 3)
    assert np.array_equal(idx[0], again[0])
    close(N.retrieve_backward(case["up.scores"], cache)[0],
          N.retrieve_backward(case["up.scores"], cache_again)[0], 0)


# --- marginals -------------------------------------------------------------------------------------

@pytest.mark.parametrize("mode", MODES)
def test_log_space_agrees_with_probability_space_where_that_exists(mode):
    r = rng(4)
    scores, logits, y = r.normal(size=(5, 6)), r.normal(size=(5, 6, 3, 8)), r.integers(8, size=(5, 3))
    p_z = np.exp(N.log_softmax(scores))
    p_y = np.exp(np.take_along_axis(N.log_softmax(logits), y[:, None, :, None], 3)[..., 0])
    plain = -np.mean([np.log(N.marginal_by_hand(p_z[b], p_y[b], mode)) for b in range(5)])
    close(N.marginal_forward(scores, logits, y, mode)[0], plain, 1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_probability_space_underflows_where_ours_does_not(mode):
    r, T = rng(5), 500
    scores, logits, y = r.normal(size=(1, 4)), r.normal(size=(1, 4, T, 20)), r.integers(20, size=(1, T))
    p_y = np.exp(np.take_along_axis(N.log_softmax(logits), y[:, None, :, None], 3)[0, ..., 0])
    assert N.marginal_by_hand(np.exp(N.log_softmax(scores))[0], p_y, mode) == 0
    loss, cache = N.marginal_forward(scores, logits, y, mode)
    assert 1000 < loss < 3000
    for d in N.marginal_backward(cache):
        assert np.isfinite(d).all() and np.abs(d).max() > 1e-3


def test_prior_minus_posterior():
    """The gradient of the scores by Bayes' rule in plain numbers; summed over steps for Token."""
    p, said = np.array([0.5, 0.3, 0.2]), np.array([[0.1, 0.5], [0.8, 0.2], [0.4, 0.4]])
    logits = np.log(np.stack([said, 1 - said], -1))[None]
    y, scores = np.zeros((1, 2), int), np.log(p)[None]
    joint = p * said.prod(1)
    ds, dl = N.marginal_backward(N.marginal_forward(scores, logits, y, "sequence")[1])
    close(ds[0], p - joint / joint.sum(), 1e-14)
    close(dl[0, :, :, 0], (joint / joint.sum())[:, None] * (said - 1), 1e-14)
    r = p[:, None] * said / (p @ said)
    ds, dl = N.marginal_backward(N.marginal_forward(scores, logits, y, "token")[1])
    close(ds[0], (p[:, None] - r).sum(1), 1e-14)
    close(dl[0, :, :, 0], r * (said - 1), 1e-14)
    close(ds.sum(), 0, 1e-14)


def test_one_word_or_one_document_makes_both_modes_equal():
    r = rng(6)
    for K, T in ((5, 1), (1, 4)):
        args = r.normal(size=(3, K)), r.normal(size=(3, K, T, 7)), r.integers(7, size=(3, T))
        close(N.marginal_forward(*args, "sequence")[0], N.marginal_forward(*args, "token")[0], 1e-13)


def test_pencil_levels_of_two_half_knowing_documents():
    know = np.array([[1, 1 / 20], [1 / 20, 1]])
    for p in (0.5, 0.9, 1.0):
        close(N.marginal_by_hand([p, 1 - p], know, "sequence"), 1 / 20, 1e-15)
        assert N.marginal_by_hand([p, 1 - p], know, "token") <= 0.525**2 + 1e-15
    close(N.marginal_by_hand([0.5, 0.5], know, "token"), 0.525**2, 1e-15)


@pytest.mark.parametrize("mode", MODES)
def test_silent_model_is_uniform(mode):
    world, _, docs, D, P = small()
    P |= {"W_o": 0 * P["W_o"], "b_o": 0 * P["b_o"]}
    loss = N.rag_forward(world["x"][:5], docs, D, np.ones((5, 2), int), P, 6, mode)[0]
    close(loss, 2 * math.log(20), 1e-12)


# --- text, documents, encoders ---------------------------------------------------------------------

def test_text_in_and_text_out():
    text = ["name the sigil of sungate", "what is on cloudbrook dial"]
    assert N.spell(N.encode(text)) == text
    assert len(set(N.WORDS)) == len(N.WORDS) and N.WORDS[N.PAD] == "<pad>" and N.WORDS[N.BLANK] == "___"
    assert N.WORDS[N.ANIMAL:N.ANSWER] == N.ANIMALS and N.WORDS[N.ANSWER:N.NAMES] == N.LATIN
    assert N.WORDS[N.NAMES:N.NAMES_END] == N.TOWNS + N.NICKNAMES
    assert len(N.ANIMALS) == len(N.LATIN) == 20 and len(N.TOWNS) == len(N.NICKNAMES) == 40


def test_documents_say_what_the_values_are():
    values = rng(7).integers(20, size=(240, 2))
    texts = N.spell(N.snapshot(values))
    for i in (0, 5, 6, 133, 239):
        a, b = (N.ANIMALS[v] for v in values[i])
        assert texts[i] == f"{N.THINGS[i % 6]} of {N.TOWNS[i // 6]} shows {a} and {b}"
    halves = N.spell(N.snapshot(values, halved=True))
    assert halves[2].endswith(f"shows {N.ANIMALS[values[2, 0]]} and ___")
    assert halves[3].endswith(f"shows ___ and {N.ANIMALS[values[3, 1]]}")


def test_questions_and_documents_share_no_content():
    world = N.make_world(3)
    words = set(" ".join(N.spell(world["x"])).split())
    assert not words & {*N.TOWNS, *N.THINGS, *N.ANIMALS, *N.LATIN}
    assert {*N.NICKNAMES, *N.CALLED} <= words
    assert sorted([*world["train"], *world["test"]]) == list(range(240)) and len(world["train"]) == 168
    for i, text in enumerate(N.spell(world["x"])):
        assert N.NICKNAMES[i // 6] in text and N.CALLED[i % 6] in text


def test_the_document_encoder_reads_all_content_words():
    """There is a document encoder, of text; towns, things and animals move the vector."""
    E_d = N.word_vectors(rng(8))
    texts = ["seal of arden shows wolf and bear", "flag of arden shows wolf and bear",
             "seal of arford shows wolf and bear", "seal of arden shows wolf and duck"]
    D = N.bag_forward(N.encode(texts), E_d)[0]
    gaps = np.linalg.norm(D[1:] - D[0], axis=1)
    assert gaps[:2].min() > 0.9 and 0.1 < gaps[2] < 0.5
    length = np.linalg.norm(E_d, axis=1)
    assert not length[N.encode(["of shows and ___"])].any() and E_d.dtype == np.float32
    close(length[N.NAMES:N.NAMES_END], np.ones(80), 1e-6)


def test_the_generator_cannot_see_towns():
    world, _, docs, _, P = small()
    idx, y = np.array([[4, 9]]), np.array([[1, 2]])
    here, there = N.encode(["name the sigil of sungate"]), N.encode(["name the sigil of cloudhill"])
    got = [N.generator_forward(N.blind(x), N.blind(docs), idx, y, P)[0] for x in (here, there)]
    close(got[0], got[1], 0)
    other = N.encode(["name the banner of sungate"])
    assert np.abs(got[0] - N.generator_forward(N.blind(other), N.blind(docs), idx, y, P)[0]).max() > 1e-3
    spelled = N.spell(N.blind(docs[:1]))[0]
    assert spelled.startswith("seal of ___ shows")


def test_an_answer_word_is_not_seen_before_it_is_written():
    world, _, docs, _, P = small()
    idx, x = np.array([[4, 9]]), world["x"][:1]
    a, b, c = (N.generator_forward(x, docs, idx, np.array([y]), P)[0] for y in ((1, 2), (1, 7), (3, 2)))
    close(a, b, 0)
    assert np.abs(a[:, :, 1] - c[:, :, 1]).max() > 1e-3
    close(a[:, :, 0], c[:, :, 0], 0)


def test_two_document_world():
    pairs = N.pair_world(N.make_world(0), 0)
    assert len(pairs["x"]) == 360 and len(pairs["train"]) == 252 and pairs["halved"]
    assert sorted([*pairs["train"], *pairs["test"]]) == list(range(360))
    first, second = pairs["gold"].T
    assert (first // 6 == second // 6).all() and (first % 6 < 3).all() and (second % 6 >= 3).all()
    values = rng(9).integers(20, size=(240, 2))
    close(N.answers(pairs, values, np.arange(360)), np.stack([values[first, 0], values[second, 1]], 1), 0)
    docs = N.snapshot(values, True)
    assert (docs[first, 4] == N.ANIMAL + values[first, 0]).all() and (docs[first, 6] == N.BLANK).all()
    for i in (0, 100, 359):
        words = N.spell(pairs["x"])[i].split()
        assert N.CALLED[first[i] % 6] in words and N.CALLED[second[i] % 6] in words


# --- decoding --------------------------------------------------------------------------------------

def test_token_decoding_is_greedy_on_the_average():
    world, _, docs, D, P = small(H=20)
    P["W_o"] *= 4
    x, seen = world["x"][:6], N.blind(docs)
    got = N.answer_token(x, docs, D, P, 5)
    idx, scores, _ = N.retrieve_forward(N.bag_forward(x, P["Q"])[0], D, 5)
    for b in range(6):
        y = np.zeros((1, 2), int)
        for t in range(2):
            logits = N.generator_forward(N.blind(x[b:b + 1]), seen, idx[b:b + 1], y, P)[0]
            p = np.exp(N.log_softmax(scores[b])) @ np.exp(N.log_softmax(logits[0, :, t]))
            y[0, t] = p.argmax()
        assert got[b].tolist() == y[0].tolist()


def test_thorough_decoding_picks_the_best_hypothesis():
    world, _, docs, D, P = small(H=20)
    P["W_o"] *= 4
    K, x, seen = 4, world["x"][:6], N.blind(docs)
    got = N.answer_sequence(x, docs, D, P, K)
    idx = N.retrieve_forward(N.bag_forward(x, P["Q"])[0], D, K)[0]
    for b in range(6):
        hypotheses = []
        for z in idx[b]:
            y = np.zeros((1, 2), int)
            for t in range(2):
                y[0, t] = N.generator_forward(N.blind(x[b:b + 1]), seen, np.array([[z]]), y,
                                              P)[0][0, 0, t].argmax()
            hypotheses.append(y)
        losses = [N.rag_forward(x[b:b + 1], docs, D, y, P, K, "sequence")[0] for y in hypotheses]
        assert got[b].tolist() == hypotheses[int(np.argmin(losses))][0].tolist()


# --- training --------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def trained():
    """A short end-to-end run in the notebook's own space, with what it needs as globals."""
    space = classroom(29)
    space["E_d"] = space["word_vectors"](rng(1))
    world = space["make_world"](21)
    warm = space["warm_start"](world, space["init"](rng(2)))
    P, curve, recall = space["train"](world, warm, 21, steps=150)
    return space, world, warm, P, curve, recall


def test_answers_alone_train_the_retriever(trained):
    space, world, warm, P, curve, recall = trained
    before = space["recall_at_1"](world, warm, world["test"])
    assert 0.2 < before < 0.8 and recall.shape == (6, 2) and recall[-1, 1] > before + 0.15
    assert curve[-20:].mean() < 0.5 * curve[:20].mean()


def test_the_index_decides_the_answers(trained):
    space, world, _, P, *_ = trained
    new = rng(11).integers(20, size=(240, 2))
    right = {}
    for name, values in (("old", world["values"]), ("new", new)):
        docs = space["snapshot"](values)
        y = space["answer_sequence"](world["x"], docs, space["bag_forward"](docs, space["E_d"])[0], P)
        for truth, facts in (("old", world["values"]), ("new", new)):
            right[name, truth] = (y == facts).all(1).mean()
    assert min(right["old", "old"], right["new", "new"]) > 0.5
    assert max(right["old", "new"], right["new", "old"]) < 0.05


def test_frozen_means_frozen_and_inputs_are_copied(trained):
    space, world, warm, *_ = trained
    with untouched(warm):
        P, _, _ = space["train"](world, warm, 0, steps=25, hold=25)
    assert np.array_equal(P["Q"], warm["Q"]) and not np.array_equal(P["E"], warm["E"])


def test_training_uses_no_retrieval_labels(trained):
    """Exchanging the labels of retrieval, but not the answers, changes no parameter."""
    space, world, warm, *_ = trained
    values = world["values"].copy()
    values[7] = values[8]                                        # two documents with one content
    at = world | {"values": values, "x": world["x"][[8]], "train": np.zeros(1, int)}
    results = [space["train"](at | {"gold": np.array([[g, g]])}, warm, 0, steps=5, snapshots=False)[0]
               for g in (7, 8)]
    close_dicts(results[0], results[1], 0)


def test_posterior_weights(trained):
    space, world, _, P, *_ = trained
    idx, prior, r, nll = space["weights"](world, P, world["test"], world["values"])
    close(prior.sum(1), np.ones(72), 1e-5)
    close(r.sum(1), np.ones((72, 1)), 1e-4)
    hit = idx == world["test"][:, None]
    assert (r[..., 0] * hit).sum() > (prior * hit).sum() and nll > 0


# --- bad input -------------------------------------------------------------------------------------

def read(T):
    case = CASES["generator"]
    return N.generator_forward(case["x"], case["docs"], case["idx"], np.zeros((3, T), int), part(case, "P."))


@pytest.mark.parametrize("call, words", [
    (lambda: N.retrieve_forward(np.ones((2, 3)), np.ones((0, 3)), 1), "holds 0 documents"),
    (lambda: N.retrieve_forward(np.ones((2, 3)), np.ones((4, 3)), 5), "K = 5: expected 1 to 4"),
    (lambda: N.retrieve_forward(np.ones((2, 3)), np.ones((4, 3)), 0), "K = 0"),
    (lambda: N.encode(["name the unicorn of sungate"]), "unknown word 'unicorn'"),
    (lambda: N.encode([]), r"texts \[\]"),
    (lambda: N.encode([""]), "none of them empty"),
    (lambda: N.encode(["name the sigil of sungate", "  "]), "none of them empty"),
    (lambda: read(4), "answers of 4 words: expected at most 3"),
    (lambda: N.marginal_forward(np.ones((1, 2)), np.ones((1, 2, 1, 3)), np.ones((1, 1), int), "both"),
     "mode 'both'"),
])
def test_bad_input_is_refused_with_the_value_and_what_was_expected(call, words):
    refuses(call, words)


# --- exercises and text ----------------------------------------------------------------------------

def readers_space():
    """Globals for a reader's cells: an untrained world, and training runs of a few steps."""
    space = classroom(29)
    world, E_d, *_, P = small(dtype=np.float32, H=64)
    train = space["train"]
    space |= {"SEED": 0, "E_d": E_d, "world": world, "cold": P, "warm": P, "models": {"RAG-Sequence": P},
              "fresh": rng(3).integers(20, size=(240, 2)), "pairs": space["pair_world"](world, 0),
              "train": lambda *args, **kw: train(*args, **kw | {"steps": 25})}
    return space


EXERCISES = Exercises(space=readers_space, wrong=(
    ("score_gradient = lambda s, said: np.exp(log_softmax(log_softmax(s) + said)) "
     "- np.exp(log_softmax(s))", 0),
    ("score_gradient = lambda s, said: np.exp(log_softmax(s)) - np.exp(log_softmax(said))", 0),
    ("score_gradient = lambda s, said: np.exp(log_softmax(s)) - np.exp(log_softmax(s) + said) "
     "/ np.exp(log_softmax(s) + said).sum()", 0),
    ("ask = lambda text: 'lupus aquila lupus'", 1),
    ("ask = lambda text: ' '.join(ANIMALS[a] for a in answer_sequence(encode([text]), "
     "snapshot(world['values']), bag_forward(snapshot(world['values']), E_d)[0], "
     "models['RAG-Sequence'])[0])", 1),
    ("def ask(text):\n"
     "    docs, known = snapshot(world['values']), ' '.join(w for w in text.split() if w in WORDS)\n"
     "    y = answer_sequence(encode([known]), docs, bag_forward(docs, E_d)[0], models['RAG-Sequence'])[0]\n"
     "    return ' '.join(LATIN[a] for a in y)", 1),
    ("stepwise = lambda s, said: (0.0, 0 * s)", 2),
    ("def stepwise(s, said):\n"
     "    p = np.exp(s) / np.exp(s).sum(1, keepdims=True)\n"
     "    j = p * np.exp(said)\n"
     "    return -np.log(j.sum(1)).sum() / 3, (j / j.sum(1, keepdims=True) - p) / 3", 2),
    ("def stepwise(s, said):\n"
     "    p = np.exp(s) / np.exp(s).sum(1, keepdims=True)\n"
     "    j = p * np.exp(said)\n"
     "    return -np.log(j.sum(1)).sum() / 3, p - j / j.sum(1, keepdims=True)", 2)))


def test_numbers_in_the_text_are_those_of_the_code():
    text, code = text_and_code(29)
    assert "600 steps" in text and "steps=600" in code and "pairs=40, steps=60" in code
    assert "60 steps on 40 labelled pairs" in text and "hold=150" in text and "hold=150" in code
    assert re.search(r"2\\ln20=5\.99", text) and abs(2 * math.log(20) - 5.99) < 3e-3
    assert "0.525² = 0.2756" in text and round(0.525**2, 4) == 0.2756
    assert "=1.29$ nats" in text and round(-math.log(0.525**2), 2) == 1.29
    rag = sum(p.size for p in N.init(rng()).values())
    book = sum(p.size for p in N.init(rng(), H=288, closed=True).values())
    assert rag <= book < 1.05 * rag
    assert len(exercise_parts(29)[0]) == 5 and 40 * 9 == 360
    assert 0.05**300 == 0.0
