"""Notebook 14: GRU, attention, encoder, decoder against PyTorch; search, BLEU, interventions, language."""

import ast
import itertools
import re
from types import SimpleNamespace

import numpy as np
import pytest

from tests.support import Exercises, classroom, close, close_dicts, exercise_parts, golden, part, rng
from tools import notebook
from tools.catalogue import load


def with_vocabulary():
    """Fresh globals of the notebook, with the one vocabulary that is more than a literal."""
    space = classroom(14)
    for cell in notebook.code_cells(notebook.read(load()[0][14].path)):
        for node in ast.parse(cell.source).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "TARGET":
                exec(ast.unparse(node), space)
    return space


N = SimpleNamespace(**with_vocabulary())
CASES = golden("14")
KINDS = "additive", "dot", "scaled", "fixed"


def config(case, kind):
    return N.Config(*(int(case[k]) for k in ("hidden", "embed", "width", "maxout")), kind)


def tiny(kind="additive", seed=0, n_target=5, dtype=np.float64):
    cfg, rng = N.Config(5, 4, 6, 3, kind), np.random.default_rng(seed)
    P = {k: (p + rng.normal(size=p.shape)).astype(dtype)
         for k, p in N.init_params(rng, cfg, 9, n_target, np.float64).items()}
    return P, cfg, rng.integers(9, size=(3, 4)), rng.integers(n_target, size=(3, 6))


# --- what the mutation test breaks -----------------------------------------------------------------

def check_gru(space):
    """One step, and the weights' gradient of one step."""
    case = CASES["gru_step"]
    a = case["a"].copy()
    close(space.gru_step(a, case["s"], case["U"]), case["y"], 1e-12, "y")
    da, ds = space.gru_step_backward(case["up.y"], a, case["s"], case["U"])
    close(da, case["da"], 1e-12, "da")
    close(ds, case["ds"], 1e-12, "ds")
    close(space.gru_weights(da[None], a[None], case["s"][None]), case["dU"], 1e-12, "dU")


def check_attention(space):
    for kind in KINDS[:3]:
        case = CASES[f"attention_{kind}"]
        c, alpha, cache = space.attend_forward(case["q"], case["h"], case["K"], part(case, "P."), kind)
        close(c, case["y"], 1e-12, "c")
        close(alpha, case["alpha"], 1e-12, "alpha")
        dq, dK, G = space.attend_backward(case["up.y"], cache)
        close(dq, case["dq"], 1e-12, "dq")
        close(dK, case["dK"], 1e-12, "dK")
        close_dicts(G, part(case, "G."), 1e-12)


def check_readout(space):
    case = CASES["readout"]
    y, cache = space.readout_forward(case["s"], case["x"], case["c"], part(case, "P."))
    close(y, case["y"], 1e-12, "logits")
    df, G = space.readout_backward(case["up.y"], cache)
    close(df, np.concatenate([case["ds"], case["dx"], case["dc"]], -1), 1e-12, "df")
    close_dicts(G, part(case, "G."), 1e-12)


def check_embedding(space):
    case = CASES["embedding"]
    close(space.embed_adjoint(case["up.y"], case["ids"], case["E"]), case["dE"], 1e-13, "dE")


def check_start(space):
    """By differences: what comes by s_0, by the summary and by the annotations adds up."""
    for kind in ("additive", "fixed"):
        P, cfg, source, _ = tiny(kind, 2)
        rng, h = np.random.default_rng(0), N.encode_forward(source, P)[0]
        s0, (_, _, first) = space.decode_start(h, P, cfg)
        ds, d_first, dh = (rng.normal(size=x.shape) for x in (s0, first, h))

        def value(h=h, P=P, cfg=cfg, ds=ds, d_first=d_first, dh=dh):
            s0, (_, _, first) = space.decode_start(h, P, cfg)
            return np.sum(s0 * ds) + np.sum(first * d_first) + np.sum(h * dh)

        upstream = dh.copy()
        dh_all, G = space.start_backward(ds, d_first, upstream, s0, first, P, cfg)
        assert np.array_equal(upstream, dh), "the upstream gradient was written to"
        tensors = {"h": h} | {k: P[k] for k in ("init.W", "init.b")}
        N.grad_check(value, tensors, {"h": dh_all} | G, np.random.default_rng(1))


def check_model(space):
    for kind in KINDS:
        case = CASES[f"model_{kind}"]
        P, cfg = part(case, "P."), config(case, kind)
        h, enc = space.encode_forward(case["source"], P)
        close(h, case["h"], 1e-12, "h")
        logits, dec = space.decode_forward(case["target_in"], h, P, cfg)
        close(logits, case["logits"], 1e-11, "logits")
        loss, cache = space.loss_forward(logits, case["target"])
        close(loss, case["loss"], 1e-12, "loss")
        dh, G = space.decode_backward(space.loss_backward(cache), dec)
        close(dh, case["dh"], 1e-11, "dh")
        close_dicts(G | space.encode_backward(dh, enc), part(case, "G."), 1e-11)


CHECKS = {"gru_step_backward": check_gru, "gru_weights": check_model, "attend_backward": check_attention,
          "score_backward": check_attention, "readout_backward": check_readout,
          "start_backward": check_start}
CHECKS |= dict.fromkeys(("loss_backward", "encode_backward", "look_back", "decode_backward"), check_model)


def test_embedding_against_pytorch():
    check_embedding(N)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_of_the_whole_model(kind):
    case = CASES[f"model_{kind}"]
    loss, G = N.loss_and_gradients(case["source"], case["target"], part(case, "P."), config(case, kind))
    close(loss, case["loss"], 1e-12)
    close_dicts(G, part(case, "G."), 1e-11)


# --- the model -------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", KINDS)
def test_gradients_by_differences_at_other_shapes(kind):
    P, cfg, source, target = tiny(kind, 3)
    _, G = N.loss_and_gradients(source, target, P, cfg)
    N.grad_check(lambda: N.loss_and_gradients(source, target, P, cfg)[0], P, G,
                 np.random.default_rng(1), tol=1e-4, n=4)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_keep_names_shapes_and_dtype(kind):
    P, cfg, source, target = tiny(kind, dtype=np.float32)
    before = {k: p.copy() for k, p in P.items()}
    loss, G = N.loss_and_gradients(source, target, P, cfg)
    assert G.keys() == P.keys()
    for k, g in G.items():
        assert g.shape == P[k].shape and g.dtype == np.float32, k
        assert np.array_equal(P[k], before[k]), f"{k} was written to"
    P64 = {k: p.astype(float) for k, p in P.items()}
    exact, G64 = N.loss_and_gradients(source, target, P64, cfg)
    close(loss, exact, 1e-5)
    close_dicts({k: g.astype(float) for k, g in G.items()}, G64, 1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_sentences_of_a_batch_do_not_mix_and_the_future_is_not_seen(kind):
    P, cfg, source, target = tiny(kind)
    h, _ = N.encode_forward(source, P)
    logits, _ = N.decode_forward(target, h, P, cfg)
    for b in range(3):
        one, _ = N.encode_forward(source[b:b + 1], P)
        close(one, h[b:b + 1], 1e-13)
        close(N.decode_forward(target[b:b + 1], one, P, cfg)[0], logits[:, b:b + 1], 1e-12)
    for t in range(1, 6):
        close(N.decode_forward(target[:, :t], h, P, cfg)[0], logits[:t], 1e-12)


def test_halves_of_an_annotation_read_to_the_left_and_to_the_right():
    P, cfg, source, _ = tiny()
    h, H = N.encode_forward(source, P)[0], cfg.hidden
    for j in range(4):
        other = source.copy()
        other[:, j] = (other[:, j] + 1) % 9
        changed = np.abs(N.encode_forward(other, P)[0] - h).max(0) > 1e-9           # (S, 2H)
        assert not changed[:j, :H].any() and changed[j:, :H].any(1).all()
        assert not changed[j + 1:, H:].any() and changed[:j + 1, H:].any(1).all()


def test_a_fixed_context_does_not_see_the_annotations_in_the_middle():
    for kind in KINDS:
        P, cfg, source, target = tiny(kind)
        h, _ = N.encode_forward(source, P)
        other = h.copy()
        other[:, 1:-1] += 1
        same = np.allclose(N.decode_forward(target, h, P, cfg)[0], N.decode_forward(target, other, P, cfg)[0])
        assert same == (kind == "fixed")


@pytest.mark.parametrize("kind", N.SCORES)
def test_score_functions_work_on_the_shapes_they_are_used_with(kind):
    """Unequal numbers of queries and positions, against loops; and the models use all three."""
    rng = np.random.default_rng(0)
    q, K, P = rng.normal(size=(2, 4)), rng.normal(size=(2, 7, 4)), {"att.v": rng.normal(size=4)}
    e, _ = N.score_forward(q, K, P, kind)
    loop = {"additive": lambda q, k: sum(P["att.v"] * np.tanh(q + k)), "dot": np.dot,
            "scaled": lambda q, k: q @ k / 2}[kind]
    close(e, [[loop(q[b], k) for k in K[b]] for b in range(2)], 1e-13)
    P, cfg, source, target = tiny(kind)
    alpha = N.attention_weights(source, target, P, cfg)
    assert alpha.shape == (3, 6, 4) and (alpha > 0).all()
    close(alpha.sum(-1), np.ones((3, 6)), 1e-12)


def test_attention_by_hand_and_in_batches():
    rng = np.random.default_rng(5)
    s, h, W, U, v = (rng.normal(size=n) for n in ((2, 3), (2, 5, 6), (3, 4), (6, 4), 4))
    c, alpha, _ = N.attend_forward(s @ W, h, h @ U, {"att.v": v})
    for b in range(2):
        c_b, alpha_b = N.attend_by_hand(s[b], h[b], W, U, v)
        close(c[b], c_b, 1e-13)
        close(alpha[b], alpha_b, 1e-13)


def test_fresh_parameters():
    for kind in KINDS:
        P = N.init_params(np.random.default_rng(0), N.Config(score=kind), 27, 36)
        bias = P["enc.b"].reshape(2, 3, 64)
        assert (bias[:, 1] == (0 if kind == "fixed" else 2)).all() and not bias[:, [0, 2]].any()
        for U in (P["enc.U"][0], P["enc.U"][1], P["dec.U"]):
            for block in np.split(U, 3, 1):
                close(block @ block.T, np.eye(64), 1e-5)
        assert ("att.v" in P) == (kind == "additive") and ("att.W" in P) == (kind != "fixed")
        assert all(p.dtype == np.float32 for p in P.values())
    sizes = [sum(p.size for p in N.init_params(np.random.default_rng(0), cfg, 27, 36).values()) for cfg in (
        N.Config(), N.Config(score="dot"), N.Config(score="fixed"), N.Config(hidden=128, score="fixed"))]
    assert sizes[0] - sizes[1] == 64 and 1.07 < sizes[0] / sizes[2] < 1.085 and 3 < sizes[3] / sizes[2] < 3.5


def test_loss():
    close(N.loss_forward(np.zeros((2, 3, 7)), np.ones((3, 2), int))[0], np.log(7), 1e-14)
    assert N.loss_forward(np.array([[[1e4, 0.0]]]), np.array([[0]]))[0] == 0
    assert N.shift_right(np.array([[4, 5, 0]])).tolist() == [[N.START, 4, 5]]


def test_entropy():
    close(N.entropy(np.full((2, 3, 4), 0.25)), np.log(4), 1e-14)
    assert N.entropy(np.eye(4)[None]) == 0


def test_training_lowers_the_loss_and_watches(capsys):
    data = N.by_length(N.make_corpus(np.random.default_rng(0), 200, (3, 5)))
    for kind in ("additive", "fixed"):
        P, losses, seen = N.train(data, N.Config(16, 8, 16, 8, kind), 0, 50, watch=lambda P: len(P))
        assert losses.shape == (50,) and losses[-10:].mean() < losses[:5].mean() - 0.5
        assert seen == [len(P)] * 25
    assert capsys.readouterr().out.count("step") == 10


def test_batches_follow_the_lengths():
    data = N.by_length(N.make_corpus(np.random.default_rng(0), 400, (3, 6)))
    drawn = [source.shape[1] - 1 for source, target in N.batches(data, 4000, np.random.default_rng(1), 2)]
    share = np.array([drawn.count(S) for S in data]) / 4000
    close(share, [len(x[0]) / 400 for x in data.values()], 0.03)


# --- writing ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", KINDS)
def test_steps_agree_with_teacher_forcing(kind):
    P, cfg, source, words = tiny(kind)
    h, _ = N.encode_forward(source, P)
    logits, _ = N.decode_forward(words, h, P, cfg)
    s, memory = N.decode_start(h, P, cfg)
    for t in range(6):
        step, s = N.decode_step(words[:, t], s, memory, P, cfg)
        close(step, logits[t], 1e-11, f"logits at {t}")


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_takes_the_likeliest_word_each_time(kind):
    P, cfg, source, _ = tiny(kind)
    h, _ = N.encode_forward(source, P)
    for b, row in enumerate(N.greedy(source, P, cfg)):
        words = N.cut(row)
        full = [N.START, *words]
        best = N.decode_forward(np.array([full]), h[b:b + 1], P, cfg)[0][:, 0].argmax(-1).tolist()
        assert best[:len(words)] == words and (len(words) == 10 or best[-1] == N.END)


def test_looks_replace_the_attention():
    P, cfg, source, _ = tiny()
    looks = np.random.default_rng(3).integers(4, size=(3, 5))
    h, _ = N.encode_forward(source, P)
    s, _ = N.decode_start(h, P, cfg)
    word, out = np.full(3, N.START), []
    for t in range(5):
        x, c = P["E_target"][word], h[[0, 1, 2], looks[:, t]]
        s = N.gru_step(x @ P["dec.W"] + P["dec.b"] + c @ P["dec.C"], s, P["dec.U"])
        word = N.readout_forward(s, x, c, P)[0].argmax(-1)
        out.append(word)
    forced = N.greedy(source, P, cfg, looks)
    for b in range(3):
        assert N.cut(forced[b]) == N.cut(np.array(out)[:, b])


def log_likelihood(words, source, P, cfg):
    """Sum of log-probabilities of the ids `words`, given one source sentence."""
    h, _ = N.encode_forward(source[None], P)
    loss, _ = N.loss_forward(N.decode_forward(N.shift_right(words[None]), h, P, cfg)[0], words[None])
    return -loss * len(words)


@pytest.mark.parametrize("norm", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_full_beam_finds_the_best_of_all_translations(seed, norm):
    """Three tokens and at most seven steps: 127 translations that end and 128 that do not."""
    P, cfg, source, _ = tiny(seed=seed, n_target=3)
    source = source[:1, :1]
    ended = [np.array([*w, 0]) for n in range(7) for w in itertools.product((1, 2), repeat=n)]
    everything = ended + [np.array(w) for w in itertools.product((1, 2), repeat=7)]
    values = [log_likelihood(w, source[0], P, cfg) / len(w) ** norm for w in everything]
    (words,), (value,) = N.beam_search(source, P, cfg, 255, norm)
    close(value, max(values), 1e-10)
    assert words == N.cut(everything[int(np.argmax(values))])


@pytest.mark.parametrize("beam", [2, 5])
def test_the_value_of_a_beam_is_that_of_its_translation(beam):
    better = 0
    for seed in range(8):
        P, cfg, source, _ = tiny(seed=seed)
        found, values = N.beam_search(source, P, cfg, beam)
        better += (values > N.beam_search(source, P, cfg, 1)[1] + 1e-9).sum()
        for b in range(3):
            words = np.array([*found[b], N.END][:10])
            close(values[b], log_likelihood(words, source[b], P, cfg) / len(words), 1e-10)
            alone, value = N.beam_search(source[b:b + 1], P, cfg, beam)
            assert alone == [found[b]] and abs(value[0] - values[b]) < 1e-10
    assert better >= 2, "a beam repairs errors of the greedy search"


@pytest.mark.parametrize("kind", KINDS)
def test_a_beam_of_one_is_greedy(kind):
    for seed in range(3):
        P, cfg, source, _ = tiny(kind, seed)
        assert N.beam_search(source, P, cfg, 1)[0] == [N.cut(r) for r in N.greedy(source, P, cfg)]


def test_translate_text():
    cfg = N.Config(5, 4, 6, 3)
    P = N.init_params(np.random.default_rng(0), cfg, len(N.SOURCE), len(N.TARGET))
    text = N.translate_text("horse sees dove", P, cfg, 3)
    ids = np.array([[N.SOURCE.index(w) for w in ("horse", "sees", "dove")] + [0]])
    assert text.split() == [N.TARGET[i] for i in N.beam_search(ids, P, cfg, 3)[0][0]]


# --- scores ----------------------------------------------------------------------------------------

def test_bleu():
    case = CASES["bleu"]
    out, ref = ([[w for w in row.tolist() if w >= 0] for row in case[k]] for k in ("outputs", "references"))
    close(N.bleu(out, ref), case["bleu"], 1e-12)
    close(N.bleu(out, ref, 2), case["bleu2"], 1e-12)
    assert N.bleu(ref, ref) == pytest.approx(100) and N.bleu([[1] * 5], [[2] * 5]) == 0
    clipped = N.bleu([[7, 7, 7, 7]], [[7, 1, 2, 3]], 1)
    assert clipped == pytest.approx(25), "a word counts as often as it stands in the reference"
    assert N.bleu([[1, 2]], [[1, 2, 3, 4]], 1) == pytest.approx(100 * np.exp(-1))


def test_evaluation_of_everything_written():
    data = N.by_length(N.make_corpus(np.random.default_rng(0), 300, (4, 6)))

    def search(source, P, cfg):
        """Right, but the first word of the first sentence of each batch."""
        right = data[source.shape[1] - 1][1][:len(source)].copy()
        right[0, 0] = 2 if right[0, 0] != 2 else 3
        return right

    written = N.translate_all(None, None, data, [4, 5], search, 10)
    assert written.keys() == {4, 5} and all(len(x) == len(y) == 10 for x, y in written.values())
    score, exact = N.evaluate(written, [4, 5])
    assert exact == pytest.approx(0.9) and 90 < score < 100
    assert N.evaluate(written, [5])[1] == pytest.approx(0.9)


# --- interventions ---------------------------------------------------------------------------------

def stub_world(shift):
    """Globals in which annotation j holds word j + shift and attention peaks where that word lies."""
    space = with_vocabulary()
    groups = N.NOUNS, N.STEMS, N.VERBS, N.CONJUNCTIONS
    space["kind_of"] = np.array([next((i for i, g in enumerate(groups) if w in g), 4) for w in N.SOURCE])
    data = N.by_length(N.make_corpus(np.random.default_rng(0), 100, (5, 5)))
    align = data[5][2][:20]

    def encode_forward(source, P):
        return np.eye(len(N.SOURCE))[np.roll(source, -shift, 1)], None

    def attention_weights(source, target, P, cfg):
        ends = np.full((len(source), 1), source.shape[1] - 1)
        return np.eye(source.shape[1])[(np.concatenate([align, ends], 1) - shift) % source.shape[1]]

    def decode_forward(target_in, h, P, cfg):
        ids = np.roll(h.argmax(-1), shift, 1)[:, :-1]
        latin = [N.translate([N.SOURCE[i] for i in row])[0] for row in ids]
        return np.eye(len(N.TARGET))[[[N.TARGET.index(w) for w in row] for row in latin]].swapaxes(0, 1), None

    space |= {f.__name__: f for f in (encode_forward, attention_weights, decode_forward)}
    return space, data


@pytest.mark.parametrize("shift", [0, 1])
def test_transplant_finds_the_annotation_that_carries_the_word(shift):
    space, data = stub_world(shift)
    moved = space["transplant"](None, None, data, 5, np.random.default_rng(1), 20)
    assert moved.shape == (100, 3)
    assert (moved[:, 0] == (shift == 1)).all() and (moved[:, 1] == (shift == 0)).all() and moved[:, 2].all()
    kinds, offsets = space["peaks"](None, None, data, [5], 20)
    assert set(kinds) <= {0, 1, 2, 3} and set(offsets.tolist()) <= ({0} if shift == 0 else {-1, 5})


def test_swap_keeps_the_kind_and_changes_the_word():
    space, _ = stub_world(0)
    rng, kind_of = np.random.default_rng(0), space["kind_of"]
    ids = np.array([N.SOURCE.index(w) for w in "big horse sees dove and new cow hears wolf".split()] + [0])
    for j in range(9):
        for _ in range(20):
            other = space["swap"](ids, j, rng)
            assert (other != ids).nonzero()[0].tolist() == [j] and kind_of[other[j]] == kind_of[ids[j]]


def test_guided_looks_at_the_true_words():
    space = with_vocabulary()
    space["greedy"] = lambda source, P, cfg, looks: looks
    words = "big horse sees small white dove".split()
    ids = np.array([N.numbers(words, N.SOURCE)])
    assert space["guided"](ids, None, None).tolist() == [[*N.translate(words)[1], 6]]


# --- the language ----------------------------------------------------------------------------------

@pytest.mark.parametrize("english, latin", [
    ("big horse sees white eagle", "equus magnus aquila alba videt"),
    ("goat fears bull", "capra taurus timet"),
    ("new good cow hears dove but stag seeks bad tall wolf",
     "vacca bona nova columba audit sed cervus lupus altus malus quaerit")])
def test_translations(english, latin):
    assert " ".join(N.translate(english.split())[0]) == latin


def test_alignments_point_at_the_word_that_is_translated():
    for words in N.make_corpus(np.random.default_rng(3), 200):
        latin, align = N.translate(words)
        assert sorted(align) == list(range(len(words)))
        for word, j in zip(latin, align, strict=True):
            dictionary = N.NOUNS | N.VERBS | N.CONJUNCTIONS
            assert dictionary.get(words[j]) == word or word.startswith(N.STEMS.get(words[j], "?"))


def test_corpus():
    corpus = N.make_corpus(np.random.default_rng(0), 400, (5, 12))
    assert len(corpus) == 400 and {len(w) for w in corpus} == set(range(5, 13))
    assert corpus == N.make_corpus(np.random.default_rng(0), 400, (5, 12))
    seen = {tuple(w) for w in corpus}
    assert not seen & {tuple(w) for w in N.make_corpus(np.random.default_rng(0), 400, (5, 12), seen)}
    clauses = [sum(w in N.VERBS for w in words) for words in N.make_corpus(np.random.default_rng(1), 400)]
    assert set(clauses) == {1, 2, 3, 4}
    for S, (source, target, align) in N.by_length(corpus).items():
        assert source.shape == target.shape == (len(align), S + 1) and align.shape[1] == S
        assert not source[:, -1].any() and not target[:, -1].any() and source[:, :-1].all()


P0, CFG0, SOURCE0, _ = tiny()


@pytest.mark.parametrize("call, words", [
    (lambda: N.translate("horse sees cat".split()), "'cat'"),
    (lambda: N.numbers(["horse", "cat"], ["<end>", "horse"]), "'cat': expected one of 2"),
    (lambda: N.translate_text(" ", P0, CFG0), "at least one word"),
    (lambda: N.translate_text("horse sees cat", P0, CFG0), "'cat'"),
    (lambda: N.make_corpus(rng(), 1, (2, 5)), "(2, 5)"),
    (lambda: N.make_corpus(rng(), 1, (7, 5)), "(7, 5)"),
    (lambda: N.score_forward(np.ones((1, 3)), np.ones((1, 2, 4)), {}, "dot"), "width 3: expected 4"),
    (lambda: N.score_forward(np.ones((1, 3)), np.ones((1, 2, 3)), {}, "cosine"), "'cosine'"),
    (lambda: N.encode_forward(np.zeros((2, 0), int), P0), "(2, 0)"),
    (lambda: N.encode_forward(np.array([[9]]), P0), "0..8"),
    (lambda: N.encode_forward(np.array([[-1]]), P0), "0..8"),
    (lambda: N.loss_forward(np.zeros((1, 1, 3)), np.array([[3]])), "3..3"),
    (lambda: N.loss_forward(np.zeros((1, 1, 3)), np.array([[-1]])), "-1..-1"),
    (lambda: N.beam_search(SOURCE0, P0, CFG0, 0), "beam 0"),
    (lambda: N.bleu([], []), "0 outputs"),
    (lambda: N.bleu([[1]], [[1], [2]]), "1 outputs, 2 references"),
    (lambda: N.bleu([[1]], [[1]], 0), "order 0")])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()


# --- exercises -------------------------------------------------------------------------------------

def readers_space():
    """The notebook's globals as a reader has them before the exercises; small data, short training."""
    space = with_vocabulary()
    corpus, test_corpus = N.make_corpus(rng(), 300), N.make_corpus(np.random.default_rng(1), 500, (3, 26))
    train = space["train"]
    space |= {"SEED": 0, "rng": np.random.default_rng(12), "errors": {},
              "corpus": corpus, "train_set": N.by_length(corpus),
              "test_corpus": test_corpus, "test_set": N.by_length(test_corpus),
              "BASE": N.Config(), "FIXED": N.Config(score="fixed"),
              "BUCKETS": {"6-8": range(6, 9), "9-11": range(9, 12)}}
    space["train"] = lambda data, cfg, seed: train(data, cfg, seed, 10)
    return space


SLOPE = "(dy * cache[0] * cache[2] * cache[1]).sum(1)"

EXERCISES = Exercises(space=readers_space, errors=("window",), wrong=(
    ("masked_softmax = lambda e, mask: softmax(e) * mask", 0),
    ("masked_softmax = lambda e, mask: softmax(e * mask)", 0),
    ("masked_softmax = lambda e, mask: softmax(e)", 0),
    (f"window_backward = lambda dy, cache: (dy * cache[2], {SLOPE})", 1),
    (f"window_backward = lambda dy, cache: (dy, {SLOPE} / 4)", 1),
    (f"window_backward = lambda dy, cache: (dy * cache[2], -{SLOPE} / 4)", 1)))


def test_turned_sources_are_the_mirror_image():
    space = readers_space()
    exec(exercise_parts(14)[0][2], space)
    small = {5: tuple(x[:4] for x in space["test_set"][5])}
    source, target, align = space["turned"](small)[5]
    assert np.array_equal(source[:, :-1], small[5][0][:, -2::-1]) and not source[:, -1].any()
    words, before = (np.take_along_axis(s, a, 1) for s, a in ((source, align), small[5][::2]))
    assert np.array_equal(words, before) and np.array_equal(target, small[5][1])
