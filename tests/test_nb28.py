"""Notebook 28: towers and loss against PyTorch, BM25 by hand, negatives, index, reader, bad input."""

import ast
import math
import re
from collections import Counter

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

N = definitions(28)
CASES = golden("28")
MODELS = "model_bag", "model_bag_masked", "model_rnn_masked"


# --- what the mutation test breaks -----------------------------------------------------------------

def check_pool_backward(space):
    case = CASES["pool"]
    y, cache = space.pool_forward(case["ids"], case["P.E"], case["P.a"])
    close(y, case["y"], 1e-13, "y")
    G = dict(zip("Ea", space.pool_backward(case["up.y"], cache), strict=True))
    close_dicts(G, part(case, "G."), 1e-12)


def check_tower(space, name):
    case = CASES[name]
    y, cache = getattr(space, f"{name}_forward")(case["ids"], part(case, "P."))
    close(y, case["y"], 1e-13, "y")
    close_dicts(getattr(space, f"{name}_backward")(case["up.y"], cache), part(case, "G."), 1e-12)


def check_tower_backward(space):
    check_tower(space, "tower")


def check_rnn_backward(space):
    check_tower(space, "rnn")


def check_in_batch_loss_backward(space):
    for name in ("loss", "loss_hard", "loss_masked"):
        case = CASES[name]
        scale, allowed = float(case["scale"]), case.get("allowed")
        loss, cache = space.in_batch_loss_forward(case["q"], case["p"], scale, allowed)
        close(loss, case["loss"], 1e-13, f"{name}: loss")
        dq, dp = space.in_batch_loss_backward(cache)
        close(dq, case["dq"], 1e-13, f"{name}: dq")
        close(dp, case["dp"], 1e-13, f"{name}: dp")


CHECKS = {f"{name}_backward": globals()[f"check_{name}_backward"]
          for name in ("pool", "tower", "rnn", "in_batch_loss")}


@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_of_the_whole_model(name):
    case = CASES[name]
    P = part(case, "P.")
    for side in "qp":
        close(N.encode(case[f"{side}_ids"], P, side)[0], case[side], 1e-13)
    loss, G = N.loss_and_gradients(case["q_ids"], case["p_ids"], P, float(case["scale"]), case.get("allowed"))
    close(loss, case["loss"], 1e-13)
    close_dicts(G, part(case, "G."), 1e-12)


# --- model and loss --------------------------------------------------------------------------------

def small(kind, dtype=np.float64):
    r = rng(3)
    P = {k: p + 0.3 * r.normal(size=p.shape) for k, p in N.init_params(r, 12, 4, kind, np.float64).items()}
    q, p = r.integers(1, 12, size=(4, 3)), r.integers(1, 12, size=(6, 5))
    q[1, 2:], p[2, 3:] = 0, 0
    return q, p, {k: v.astype(dtype) for k, v in P.items()}


@pytest.mark.parametrize("kind", ["bag", "rnn"])
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_by_differences(kind, masked):
    q, p, P = small(kind)
    allowed = (np.eye(4, 6, dtype=bool) | (rng(4).random((4, 6)) < 0.5)) if masked else None
    G = N.loss_and_gradients(q, p, P, 1.5, allowed)[1]
    N.grad_check(lambda: N.loss_and_gradients(q, p, P, 1.5, allowed)[0], P, G, rng(5))


@pytest.mark.parametrize("kind", ["bag", "rnn"])
def test_gradients_keep_names_shapes_and_dtype_and_write_nothing(kind):
    q, p, P = small(kind, np.float32)
    with untouched(P | {"q": q, "p": p}):
        G = N.loss_and_gradients(q, p, P)[1]
    like_parameters(G, P)


@pytest.mark.parametrize("kind", ["bag", "rnn"])
def test_the_towers_share_nothing_and_both_get_gradient(kind):
    q, p, P = small(kind)
    assert {k[2:] for k in P if k[0] == "q"} == {k[2:] for k in P if k[0] == "p"}
    other = P | {k: v + 1 for k, v in P.items() if k[0] == "p"}
    close(N.encode(q, other, "q")[0], N.encode(q, P, "q")[0], 0)
    G = N.loss_and_gradients(q, p, P)[1]
    assert min(np.abs(g).max() for g in G.values()) > 1e-4


@pytest.mark.parametrize("kind", ["bag", "rnn"])
def test_padding_changes_no_vector_and_gets_no_gradient(kind):
    q, p, P = small(kind)
    wider = np.pad(q, ((0, 0), (0, 4)))
    close(N.encode(wider, P, "q")[0], N.encode(q, P, "q")[0], 1e-14)
    G = N.loss_and_gradients(wider, p, P)[1]
    close_dicts(G, N.loss_and_gradients(q, p, P)[1], 1e-13)
    assert not G["q.E"][0].any() and not G["p.E"][0].any()


def test_a_bag_has_no_order_and_the_recurrent_tower_has():
    forwards, backwards = np.array([[1, 2, 3]]), np.array([[3, 2, 1]])
    P = small("bag")[2]
    close(N.encode(forwards, P, "q")[0], N.encode(backwards, P, "q")[0], 1e-14)
    P = small("rnn")[2]
    assert np.abs(N.encode(forwards, P, "q")[0] - N.encode(backwards, P, "q")[0]).max() > 0.01


def test_gradient_of_the_scores_is_probabilities_minus_identity():
    """With q, p = identity matrices, dq and dp are dS and its transpose: (P - I) / B."""
    I = np.eye(4)
    P = np.exp(I) / np.exp(I).sum(1, keepdims=True)
    dq, dp = N.in_batch_loss_backward(N.in_batch_loss_forward(I, I, 1.0)[1])
    close(dq, (P - I) / 4, 1e-15)
    close(dp, ((P - I) / 4).T, 1e-15)


def test_masked_passages_get_no_gradient_and_loss_counts_who_is_left():
    r = rng(6)
    q, p = r.normal(size=(4, 3)), r.normal(size=(6, 3))
    allowed = np.eye(4, 6, dtype=bool)
    allowed[:, 4] = True
    dq, dp = N.in_batch_loss_backward(N.in_batch_loss_forward(q, p, 1.0, allowed)[1])
    assert not dp[5].any() and dp[4].any()
    close(N.in_batch_loss_forward(0 * q, p, 8.0, allowed)[0], math.log(2), 1e-14)


def test_the_loss_does_not_overflow():
    close(N.in_batch_loss_forward(np.eye(3), np.eye(3), 1e6)[0], 0, 1e-15)
    far = np.eye(3)[[1, 2, 0]]
    loss, cache = N.in_batch_loss_forward(np.eye(3), far, 1e6)
    close(loss, 1e6, 1e-15)
    assert all(np.isfinite(d).all() for d in N.in_batch_loss_backward(cache))


def test_masks():
    mask = N.some_of(20, 7, rng(1))
    assert (mask.sum(1) == 8).all() and mask.diagonal().all()
    assert N.some_of(5, 4, rng(1)).all()
    own = N.only_own(3, 2)
    assert own.astype(int).tolist() == [[1, 0, 0, 1, 1, 0, 0, 0, 0], [0, 1, 0, 0, 0, 1, 1, 0, 0],
                                        [0, 0, 1, 0, 0, 0, 0, 1, 1]]


def test_hiding_other_peoples_passages_is_the_loss_without_sharing():
    """The masked loss equals a softmax over each question's own 1 + k passages."""
    r = rng(7)
    q, p = r.normal(size=(3, 4)), r.normal(size=(9, 4))
    loss = N.in_batch_loss_forward(q, p, 1.0, N.only_own(3, 2))[0]
    by_hand = 0
    for i in range(3):
        s = [q[i] @ p[j] for j in (i, 3 + 2 * i, 4 + 2 * i)]
        by_hand += (math.log(sum(map(math.exp, s))) - s[0]) / 3
    close(loss, by_hand, 1e-13)


# --- text, passages and their answers ---------------------------------------------------------------

def constant(name):
    """Value of a constant list that the notebook sets."""
    for node in ast.parse(text_and_code(28)[1]).body:
        if isinstance(node, ast.Assign):
            target = node.targets[0]
            if isinstance(target, ast.Name) and target.id == name:
                return ast.literal_eval(node.value)
            if isinstance(target, ast.Tuple) and name in [t.id for t in target.elts if hasattr(t, "id")]:
                return ast.literal_eval(node.value)[[t.id for t in target.elts].index(name)]
    raise KeyError(name)


def test_punctuation_is_no_part_of_a_word():
    assert N.tokenize("river?") == N.tokenize("River,") == N.tokenize("(river)") == ["river"]
    assert N.tokenize("The Rhône: it flows!") == ["the", "rhône", "it", "flows"]
    vocabulary = N.build_vocabulary(["A river.", "river? a"])
    assert vocabulary == {"a": 1, "river": 2}
    assert N.to_ids(["river?", "A river"], vocabulary).tolist() == [[2, 0], [1, 2]]


def test_eight_passages_five_questions_and_each_positive_holds_the_answer():
    passages, questions, gold, answers = map(constant, ("PASSAGES", "QUESTIONS", "GOLD", "ANSWERS"))
    assert (len(passages), len(questions)) == (8, 5)
    for i, (g, a) in enumerate(zip(gold, answers, strict=True)):
        assert a in N.tokenize(passages[g])
        assert all(a not in N.tokenize(p) for j, p in enumerate(passages) if j != g), (i, a)
    assert gold != list(range(5))                      # row i is not passage i: the pairing must be used
    code = text_and_code(28)[1]
    assert "small_p[GOLD]" in code                      # the in-batch positives are the gold passages


def world(n=400, seed=0):
    r = rng(seed)
    topics = np.stack([r.permutation(N.N_CONCEPTS)[:14] for _ in range(N.N_TOPICS)])
    return topics, N.make_pairs(n, topics, r)


def concept_of(word):
    return (word - N.FIRST_CONCEPT) // N.N_SYNONYMS if N.FIRST_CONCEPT <= word < N.FIRST_NAME else None


def test_pairs_by_loops():
    topics, data = world()
    literal = []
    keys = "passage", "question", "concepts", "answer", "name_question"
    for p, q, c, a, nq in zip(*(data[k] for k in keys), strict=True):
        words = [w for w in p if w]
        assert 9 <= len(words) <= 15 and list(p[len(words):]) == [0] * (15 - len(words))
        assert sorted(x for w in words if (x := concept_of(w)) is not None) == sorted(c)
        assert any(set(c) <= set(t) for t in topics)
        assert [concept_of(w) for w in q[1:]] == list(c[:4])
        name, = (w for w in words if w >= N.FIRST_NAME)
        assert a in words                                            # the positive holds the answer
        assert a == name if q[0] == N.WHO else concept_of(a) == c[4]
        assert list(nq) == [N.WHAT, name, q[1], q[2], 0]
        literal += [w in words for w in q[1:]]
    assert abs(np.mean(literal) - 0.5) < 0.04 and {1, 2} == set(data["question"][:, 0])


def test_words():
    words = N.make_words()
    assert len(words) == len(set(words)) == N.V and words[:3] == ["", "who", "what"]
    assert len({w[:4] for w in words[N.FIRST_CONCEPT:N.FIRST_NAME]}) == N.N_CONCEPTS
    assert all(N.tokenize(w) == [w] for w in words[1:])


def test_train_uses_the_right_positives(monkeypatch):
    """Row i of every batch is a question and the passage that answers it."""
    _, data = world(300)
    space = classroom(28)
    seen, usual = [], space["loss_and_gradients"]
    pair = {tuple(q): tuple(p) for q, p in zip(data["question"], data["passage"], strict=True)}

    def spy(q, p, *rest):
        seen.append(len(p))
        assert all(pair[tuple(a)] == tuple(b) for a, b in zip(q, p, strict=False))
        return usual(q, p, *rest)
    space["loss_and_gradients"] = spy
    space["train"](data, 0, B=32, steps=20, negatives=N.random_negatives(data, 2))
    assert seen == [96] * 20


def test_identical_batches_whatever_the_mask():
    _, data = world(300)
    orders = []
    for options in ({}, {"m": 3}, {"negatives": N.random_negatives(data, 1)}, {"kind": "rnn"}):
        space, rows = classroom(28), []
        usual = space["loss_and_gradients"]
        space["loss_and_gradients"] = lambda q, p, *a, u=usual, r=rows: (r.append(q.copy()), u(q, p, *a))[1]
        space["train"](data, 5, B=16, steps=25, **options)
        orders.append(np.stack(rows))
    assert all(np.array_equal(o, orders[0]) for o in orders)


def test_training_learns_and_is_repeatable():
    _, data = world(2000)
    P, curve = N.train(data, 0, B=64, steps=120)
    again, _ = N.train(data, 0, B=64, steps=120)
    assert curve[:5].mean() > 3.8 and curve[-20:].mean() < curve[:20].mean() - 0.5
    assert all(np.array_equal(P[k], again[k]) for k in P)


# --- negatives -------------------------------------------------------------------------------------

def test_shares_all_by_sets():
    _, data = world(200)
    c = data["concepts"]
    wanted = [[set(a[:4]) <= set(b) for b in c] for a in c]
    assert N.shares_all(c[:, None], c).tolist() == wanted


def test_random_negatives_are_never_false():
    _, data = world(60)
    data["concepts"][:50] = data["concepts"][0]         # nearly everything would be a false negative
    found = N.random_negatives(data, 3)(np.arange(20), rng(1))
    assert found.shape == (20, 3) and (found >= 50).all()


def test_mined_negatives_score_high_and_are_never_false():
    _, data = world(500)
    found = N.mine(data, 2, 0.9, 0.4, 300)
    S = N.bm25_scores(data["question"], N.bm25_index(data["passage"][:300], N.V, 0.9, 0.4))
    assert found.shape == (500, 2) and found.max() < 300
    for i in range(0, 500, 7):
        fair = [j for j in range(300) if not set(data["concepts"][i][:4]) <= set(data["concepts"][j])]
        best = sorted(S[i, fair])[::-1][:2]
        close(S[i, found[i]], best, 1e-6)
        assert i not in found[i]


def test_negatives_come_from_the_training_pool():
    code = text_and_code(28)[1]
    assert re.findall(r"= mine\((\w+)", code) == ["train_set"]
    assert set(re.findall(r"random_negatives\((\w+), \d", code)) == {"train_set"}


# --- BM25 and measures -----------------------------------------------------------------------------

@pytest.mark.parametrize("k1, b", [(1.5, 0.75), (0.9, 0.4), (0.0, 0.0)])
def test_bm25_by_hand(k1, b):
    r = rng(8)
    p, q = r.integers(0, 9, size=(7, 6)), r.integers(0, 9, size=(3, 4))
    p[:, 0], q[:, 0] = 1 + r.integers(8, size=7), 2
    texts = [[w for w in row if w] for row in p]
    mean = sum(map(len, texts)) / 7
    wanted = np.zeros((3, 7))
    for i, question in enumerate(q):
        for j, text in enumerate(texts):
            f = Counter(text)
            for w in question[question > 0]:
                n = sum(w in t for t in texts)
                if f[w]:
                    wanted[i, j] += math.log(1 + (7 - n + 0.5) / (n + 0.5)) * f[w] * (k1 + 1) / (
                        f[w] + k1 * (1 - b + b * len(text) / mean))
    close(N.bm25_scores(q, N.bm25_index(p, 9, k1, b)), wanted, 1e-6)


def test_bm25_and_choices_are_made_on_validation():
    code = text_and_code(28)[1]
    body = code[code.index("def bm25_mrr"):code.index("lexical = ")]
    assert "VALIDATION" in body and "TEST" not in body
    tuning = re.search(r"tuning = .*", code).group()
    assert "VALIDATION" in tuning and "TEST" not in tuning


def test_ranks_recall_and_top_k():
    S = np.array([[3.0, 2, 1, 0], [1, 1, 1, 0], [0, 5, 9, 7]])
    assert N.ranks(S, [0, 1, 1]).tolist() == [1, 2, 3]
    assert N.ranks(np.zeros((1, 4)), [2]).tolist() == [2.5]
    assert [N.recall(np.array([1, 2, 3, 9]), k) for k in (1, 3, 5)] == [0.25, 0.75, 0.75]
    assert N.top_k(S, 2).tolist() == [[0, 1], [0, 1], [2, 3]]


# --- index, view, reader ---------------------------------------------------------------------------

def test_inverted_file_by_loops():
    r = rng(9)
    X, q = r.normal(size=(300, 5)), r.normal(size=(20, 5))
    centres, numbers, vectors = index = N.build_lists(X, 8, r)
    assert sorted(np.concatenate(numbers)) == list(range(300))
    assert all(np.array_equal(X[n], v) for n, v in zip(numbers, vectors, strict=True))
    for nprobe in (1, 3, 8):
        found, work = N.search_lists(q, index, nprobe)
        for i in range(20):
            lists = np.argsort(-(centres @ q[i]))[:nprobe]
            open_ = np.concatenate([numbers[j] for j in lists])
            assert found[i] == open_[(X[open_] @ q[i]).argmax()]
            assert work[i] == 8 + len(open_)
    assert np.array_equal(N.search_lists(q, index, 8)[0], (q @ X.T).argmax(1))


def test_k_means_lowers_the_distance_and_finds_clusters():
    r = rng(10)
    middle = 10 * r.normal(size=(4, 3))
    X = np.concatenate([m + r.normal(size=(50, 3)) for m in middle])
    cost = []
    for rounds in (0, 1, 10):
        centres, member = N.k_means(X, 4, rng(11), rounds)
        assert np.array_equal(member, ((X[:, None] - centres) ** 2).sum(2).argmin(1))
        cost.append(((X - centres[member]) ** 2).sum())
    assert cost[0] > cost[1] >= cost[2]


def test_synonym_neighbours_and_view():
    r = rng(12)
    E = np.repeat(r.normal(size=(10, 6)), N.N_SYNONYMS, 0) + 1e-3 * r.normal(size=(40, 6))
    assert N.synonym_neighbours(E) == 1
    assert N.synonym_neighbours(r.normal(size=(600, 64))) < 0.03
    xy = N.svd_view(E)
    assert xy.shape == (40, 2) and abs(xy.mean()) < 1e-12 and xy[:, 0].std() >= xy[:, 1].std()
    C = E - E.mean(0)
    values = np.sort(np.linalg.eigvalsh(C.T @ C))[::-1][:2]
    close((xy ** 2).sum(0), values, 1e-10)


def test_the_reader_with_perfect_word_scores():
    _, data = world(16_000)
    rarity = N.inverse_frequency(data["passage"], N.V)
    concept = np.arange(N.V) - N.FIRST_CONCEPT
    S = (concept[:, None] // N.N_SYNONYMS == concept // N.N_SYNONYMS).astype(float)
    right = N.read(data["question"], data["passage"], rarity, S) == data["answer"]
    assert right.mean() > 0.97
    wrong = N.read(data["question"], data["passage"][::-1], rarity, S) == data["answer"]
    assert wrong.mean() < 0.05


def test_literal_share_and_word_scores():
    r = rng(13)
    P = N.init_params(r, N.V, 64)
    q, p = (N.encode(np.array([[word]]), P, side)[0][0] for word, side in ((7, "q"), (9, "p")))
    close(N.word_scores(P)[7, 9], q @ p, 1e-4)
    concept = np.repeat(r.normal(size=(N.N_CONCEPTS, 64)), N.N_SYNONYMS, 0)
    own = r.normal(size=concept.shape)
    E = np.zeros((N.V, 64))
    E[N.FIRST_CONCEPT:N.FIRST_NAME] = concept
    same = {f"{s}.{k}": v for s in "qp" for k, v in (("E", E), ("W", np.eye(64)))}
    close(N.literal_share(same), 1, 1e-9)
    E[N.FIRST_CONCEPT:N.FIRST_NAME] += own
    assert N.literal_share(same) > 1.5


# --- bad input -------------------------------------------------------------------------------------

def test_bad_input():
    vocabulary = {"a": 1}
    refuses(lambda: N.to_ids(["a zebra"], vocabulary), "zebra")
    refuses(lambda: N.to_ids(["?!"], vocabulary), r"\?!")
    refuses(lambda: N.to_ids([""], vocabulary), "''")
    refuses(lambda: N.bm25_index(np.zeros((0, 3), int), 5), "0 passages")
    refuses(lambda: N.bm25_index(np.ones((2, 3), int), 5, k1=-1), "k1 -1")
    refuses(lambda: N.bm25_index(np.ones((2, 3), int), 5, b=1.5), "b 1.5")
    refuses(lambda: N.bm25_scores(np.zeros((1, 3), int), N.bm25_index(np.ones((2, 3), int), 5)), "0 words")
    for k in (0, 4):
        refuses(lambda k=k: N.top_k(np.zeros((2, 3)), k), f"k = {k}")
    refuses(lambda: N.top_k(np.zeros((2, 0)), 1), "k = 1")
    P = N.init_params(rng(), 5, 4)
    refuses(lambda: N.encode(np.array([[5]]), P, "q"), "5")
    refuses(lambda: N.encode(np.array([[-1]]), P, "p"), "-1")
    refuses(lambda: N.encode(np.array([[1], [0]]), P, "q"), "0 words")
    refuses(lambda: N.in_batch_loss_forward(np.ones((3, 2)), np.ones((2, 2))), "2 passages for 3")
    refuses(lambda: N.in_batch_loss_forward(np.ones((2, 2)), np.ones((2, 2)), 1, np.eye(2, dtype=bool)[::-1]),
            "own passage")
    index = N.build_lists(rng().normal(size=(30, 2)), 4, rng())
    for nprobe in (0, 5):
        refuses(lambda n=nprobe: N.search_lists(np.ones((1, 2)), index, n), f"nprobe {nprobe}")
    refuses(lambda: N.k_means(np.ones((3, 2)), 4, rng()), "4 lists for 3")
    refuses(lambda: N.k_means(np.ones((0, 2)), 1, rng()), "1 lists for 0")
    refuses(lambda: N.train(world(20)[1], 0, B=32), "20 pairs")


# --- text and exercises ----------------------------------------------------------------------------

def test_promised_components():
    code = text_and_code(28)[1]
    for promised in ("k1=1.5, b=0.75", "(1, 3, 5, 20)", "1 / r", "def rnn_forward", "def svd_view",
                     "def top_k", "def search_lists", "def answer"):
        assert promised in code, promised


def exercise_space():
    """What the solutions use, small and quick."""
    space = classroom(28)
    _, data = world(240)
    P = N.init_params(rng(), N.V)
    usual = space["train"]
    space |= {"SEED": 0, "train_set": data, "collection": data, "TEST": np.arange(100), "errors": {},
              "model": P, "curve": np.zeros(60)}
    space["train"] = lambda data, seed, B=128, steps=800, **kw: usual(data, seed, B=B, steps=3, **kw)
    space["dense_scores"] = lambda P, q: N.encode(q, P, "q")[0] @ N.encode(data["passage"], P, "p")[0].T
    return space


EXERCISES = Exercises(exercise_space, wrong=(
    ("def fair_mask(c): return ~shares_all(c[:, None], c[None])", 0),
    ("def fair_mask(c): return np.ones((len(c), len(c)), bool)", 0),
    ("def fair_mask(c): return np.eye(len(c), dtype=bool)", 0),
    ("def fair_mask(c): return (~(c[:, None, :, None] == c[None, :, None]).any(-1).all(-1)"
     " | np.eye(len(c), dtype=bool)).astype(int)", 0),
    ("def pq_scores(q, books, codes): return q @ books[:, 0].reshape(-1, 1)", 1),
    ("def pq_scores(q, books, codes): return np.einsum('qmd,mkd->qmk', q.reshape(len(q), len(books), -1),"
     " books)[:, 0][:, codes[:, 0]]", 1),
    ("def pq_scores(q, books, codes): return sum(np.einsum('qmd,mkd->qmk', q.reshape(len(q), len(books), -1),"
     " books)[:, 1 - m][:, codes[:, m]] for m in (0, 1))", 1),
))


def test_product_quantisation_with_many_prototypes_is_nearly_exact():
    space = classroom(28)
    exec(next(code for code in exercise_parts(28)[0] if "def pq_scores" in code), space)
    r = rng(14)
    X, q = r.normal(size=(64, 6)), r.normal(size=(5, 6))
    found = [N.k_means(x, 64, rng(15)) for x in np.split(X, 2, axis=1)]
    books, codes = np.stack([f[0] for f in found]), np.stack([f[1] for f in found], 1)
    close(space["pq_scores"](q, books, codes), q @ X.T, 1e-10)
