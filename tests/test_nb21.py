"""Notebook 21: CTC, normalisation over valid frames, bidirectional recurrence and network against PyTorch;
collapse rule, alignments, decoder and language model by enumeration; the synthetic speech."""

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
    golden,
    like_parameters,
    part,
    rng,
    text_and_code,
    untouched,
)

N = definitions(21)
CASES = golden("21")


def mask_of(frames, T):
    return (np.arange(T)[:, None] < frames) * 1.0


# --- what the mutation test breaks -----------------------------------------------------------------

def check_ctc_backward(space):
    for name in ("ctc", "ctc_long"):
        case = CASES[name]
        loss, cache = space.ctc_forward(case["z"], case["frames"], case["labels"], case["U"])
        close(loss, case["loss"], 1e-12)
        dz = space.ctc_backward(case["up.loss"], cache)
        close(dz, case["dz"], 1e-11)
        assert not dz[np.arange(len(dz))[:, None] >= case["frames"]].any()


def check_norm_backward(space):
    for name in ("norm", "shift"):
        case = CASES[name]
        mask = mask_of(case["frames"], 7)
        y, cache = space.norm_forward(case["x"], mask, part(case, "P."), "n")
        close(y, case["y"], 1e-12)
        dx, G = space.norm_backward(case["up.y"], cache)
        close(dx, case["dx"], 1e-11)
        close_dicts(G, part(case, "G."), 1e-11)


def check_rnn_backward(space):
    for name in ("rnn", "rnn_clipped"):
        case = CASES[name]
        y, cache = space.rnn_forward(case["a"], case["frames"], case["P.U"])
        close(y, case["y"], 1e-12)
        da, dU = space.rnn_backward(case["up.y"], cache)
        close(da, case["da"], 1e-11)
        close(dU, case["G.U"], 1e-11)


def check_timeconv_backward(space):
    for name in ("conv", "conv_even", "conv3", "conv1"):
        case = CASES[name]
        stride = int(case["stride"])
        frames = np.array([len(case["x"])] * 3)
        y, _, cache = space.timeconv_forward(case["x"], frames, case["P.W"], stride)
        close(y, case["y"], 1e-12)
        dx, dW = space.timeconv_backward(case["up.y"], cache, need_dx=True)
        close(dx, case["dx"], 1e-12)
        close(dW, case["G.W"], 1e-12)
        dx, again = space.timeconv_backward(case["up.y"], cache)
        assert dx is None
        close(again, dW, 0)


def check_net_backward(space):
    for name in ("net", "plain", "one"):
        case = CASES[name]
        batch = case["x"], case["frames"], case["labels"], case["U"]
        z, frames, _ = space.net_forward(*batch[:2], part(case, "P."))
        assert list(frames) == list(case["short"])
        valid = mask_of(frames, len(z)) > 0
        close(z[valid], case["z"][valid], 1e-11)
        loss, (dx, G) = space.loss_and_gradient(batch, part(case, "P."), need_dx=True)
        close(loss, case["loss"], 1e-12)
        close(dx, case["dx"], 1e-10)
        close_dicts(G, part(case, "G."), 1e-10, name)


CHECKS = {f"{name}_backward": globals()[f"check_{name}_backward"]
          for name in ("ctc", "norm", "rnn", "timeconv", "net")}


def test_the_golden_cases_reach_the_ceiling_and_stay_below_it():
    y = CASES["rnn_clipped"]["y"]
    assert y.max() > N.CLIP and (y < N.CLIP).any()
    case = CASES["one"]
    z, _, cache = N.net_forward(case["x"], case["frames"], part(case, "P."))
    assert (cache[1] > N.CLIP).any()


# --- the collapse rule -----------------------------------------------------------------------------

def slowly(path):
    """The rule with a loop: a symbol counts if it is no blank and differs from the one before."""
    out, before = "", None
    for c in path:
        if c != before and c != "-":
            out += c
        before = c
    return out


def test_merge_first_then_drop_blanks():
    """The mistake to avoid: with the blanks dropped first, no path spells a double letter."""
    assert N.collapse("l-l") == "ll" and N.collapse("ll") == "l" and N.collapse("") == ""
    assert N.collapse("b-eel-l-") == "bell"
    for path in map("".join, product("-ab ", repeat=5)):
        assert N.collapse(path) == slowly(path)
    reached = {N.collapse(path) for path in map("".join, product("-tel", repeat=5))}
    assert "tell" in reached


@pytest.mark.parametrize("text, T", [("on", 3), ("on", 6), ("not", 5), ("a", 4)])
def test_number_of_paths(text, T):
    paths = N.paths_of(text, T)
    assert len(set(paths)) == len(paths) == math.comb(T + len(text), 2 * len(text))
    assert {slowly(path) for path in paths} == {text}
    assert N.paths_of("ll", 3) == ["l-l"] and N.paths_of("ll", 2) == []


# --- CTC -------------------------------------------------------------------------------------------

def spoken_by_listing(y, text):
    """Probability of the text and expected count of each symbol in each frame, by listing the paths."""
    paths = [[N.ALPHABET.index(c) for c in path] for path in N.paths_of(text, len(y))]
    chances = [math.prod(y[t, k] for t, k in enumerate(path)) for path in paths]
    gamma = np.zeros_like(y)
    for path, chance in zip(paths, chances, strict=True):
        gamma[np.arange(len(y)), path] += chance / sum(chances)
    return sum(chances), gamma


@pytest.mark.parametrize("text, T", [("a", 1), ("on", 2), ("on", 5), ("ll", 3), ("ll", 6), ("noon", 6),
                                     ("all", 7)])
def test_loss_gradient_and_occupancy_by_listing_paths(text, T):
    z = rng(T).normal(0, 2, (T, 1, 13))
    y = np.exp(N.log_softmax(z))[:, 0]
    p, gamma = spoken_by_listing(y, text)
    label = N.encode(text)
    loss, cache = N.ctc_forward(z, np.array([T]), label[None], np.array([len(text)]))
    close(loss, [-math.log(p)], 1e-12)
    close(N.ctc_by_loops(y, label)[0], p, 1e-14)
    close(N.ctc_backward(np.ones(1), cache)[:, 0], y - gamma, 1e-12)
    occ = N.occupancy(cache)[:, 0]
    close(occ.sum(1), np.ones(T), 1e-12)
    places = N.extend(label[None])[0]
    for k in range(13):
        close(occ[:, places == k].sum(1), gamma[:, k], 1e-12)


def test_alpha_by_loops_and_beta_by_summing_forward():
    z, label = rng(3).normal(size=(6, 1, 13)), N.encode("all")
    y = np.exp(N.log_softmax(z))[:, 0]
    _, (_, ext, _, alpha, beta, log_p, *_) = N.ctc_forward(z, np.array([6]), label[None], np.array([3]))
    close(np.exp(alpha[:, 0]), N.ctc_by_loops(y, label)[1], 1e-14)
    want = np.zeros((6, 7))
    want[5, 5:] = y[5, ext[0, 5:]]
    for t in range(4, -1, -1):
        for s in range(7):
            arrive = want[t + 1, s] + (want[t + 1, s + 1] if s + 1 < 7 else 0)
            if s + 2 < 7 and ext[0, s + 2] not in (0, ext[0, s]):
                arrive += want[t + 1, s + 2]
            want[t, s] = arrive * y[t, ext[0, s]]
    close(np.exp(beta[:, 0]), want, 1e-14)
    close(np.exp(log_p), [want[0, :2].sum()], 1e-14)


def test_long_utterances_do_not_underflow():
    z, labels = 3 * rng(4).normal(size=(700, 2, 13)), rng(5).integers(1, 13, (2, 80))
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        loss, cache = N.ctc_forward(z, np.array([700, 500]), labels, np.array([80, 60]))
        dz = N.ctc_backward(np.ones(2), cache)
    assert (loss > 745).any() and np.isfinite(loss).all() and np.isfinite(dz).all()


def test_padding_of_frames_and_labels_changes_nothing():
    z, labels = rng(6).normal(size=(9, 2, 13)), rng(7).integers(1, 13, (2, 5))
    frames, U = np.array([9, 6]), np.array([4, 2])
    loss, cache = N.ctc_forward(z, frames, labels, U)
    dz = N.ctc_backward(np.ones(2), cache)
    for b in range(2):
        here = slice(b, b + 1)
        one, cache = N.ctc_forward(z[:frames[b], here], frames[here], labels[here, :U[b]], U[here])
        close(one, loss[b:b + 1], 1e-13)
        close(N.ctc_backward(np.ones(1), cache)[:, 0], dz[:frames[b], b], 1e-13)
    z[6:, 1], labels[1, 2:] = 99, 3
    close(N.ctc_forward(z, frames, labels, U)[0], loss, 1e-13)


def test_ctc_refuses_what_has_no_path():
    z = np.zeros((5, 2, 13))
    ll, no = N.encode("ll"), N.encode("no")
    N.ctc_forward(z, np.array([3, 2]), np.array([ll, no]), np.array([2, 2]))
    for frames, U in (([2, 5], [2, 2]), ([3, 1], [2, 2]), ([5, 5], [2, 0])):
        with pytest.raises(ValueError, match="expected at least"):
            N.ctc_forward(z, np.array(frames), np.array([ll, no]), np.array(U))
    N.ctc_forward(z, np.array([1, 5]), np.array([ll, no]), np.array([1, 2]))     # only one l is asked for


def test_flip_and_mirror():
    x, lengths = rng(8).normal(size=(5, 3, 2)), np.array([5, 2, 1])
    y = N.flip(x, lengths)
    for b, n in enumerate(lengths):
        assert np.array_equal(y[:n, b], x[:n, b][::-1]) and np.array_equal(y[n:, b], x[n:, b])
    assert np.array_equal(N.flip(y, lengths), x)
    a, S = rng(9).normal(size=(4, 2, 5)), np.array([5, 3])
    m = N.mirror(a, np.array([4, 3]), S)
    assert np.array_equal(m[:4, 0], a[:4, 0][::-1, ::-1])
    assert np.array_equal(m[:3, 1, :3], a[:3, 1, :3][::-1, ::-1])


# --- the network -----------------------------------------------------------------------------------

def small(norm=True, dtype=np.float64, layers=2):
    r = rng(1)
    P = {k: (p + 0.2 * r.normal(size=p.shape)).astype(dtype)
         for k, p in N.init(r, layers, norm, C=5, H=4, F=6).items()}
    frames, U = np.array([16, 11, 6]), np.array([4, 3, 1])
    labels = r.integers(1, 13, (3, 4))
    x = r.normal(size=(16, 3, 6)).astype(dtype)
    return P, (x * mask_of(frames, 16)[:, :, None].astype(dtype), frames, labels, U)


@pytest.mark.parametrize("norm", [True, False])
def test_nothing_is_written_and_float32_stays_and_agrees(norm):
    P, batch = small(norm, np.float32)
    with untouched(P | {"x": batch[0], "labels": batch[2]}):
        loss, (dx, G) = N.loss_and_gradient(batch, P, need_dx=True)
    like_parameters(G | {"x": dx}, P | {"x": batch[0]})
    P64, x64 = {k: p.astype(float) for k, p in P.items()}, batch[0].astype(float)
    loss64, (_, G64) = N.loss_and_gradient((x64, *batch[1:]), P64)
    close(float(loss), loss64, 1e-5)
    close_dicts({k: g.astype(float) for k, g in G.items()}, G64, 1e-3)
    close_dicts(N.loss_and_gradient(batch, P)[1][1], G, 0)


def test_backward_leaves_caches_alone():
    P, batch = small()
    z, frames, cache = N.net_forward(*batch[:2], P)
    ctc = N.ctc_forward(z, frames, *batch[2:])[1]
    dz = N.ctc_backward(np.ones(3), ctc)
    first, again = N.net_backward(dz, cache)[1], N.net_backward(N.ctc_backward(np.ones(3), ctc), cache)[1]
    close_dicts(again, first, 0)


def test_what_stands_in_the_padding_does_not_matter():
    """The batch's statistics, the backward direction and the gradients read valid frames only."""
    P, (x, frames, labels, U) = small()
    loss, (_, G) = N.loss_and_gradient((x, frames, labels, U), P)
    wider = np.concatenate([x, np.zeros((6, 3, 6))])
    other, (_, G_wide) = N.loss_and_gradient((wider, frames, labels, U), P)
    close(other, loss, 1e-12)
    close_dicts(G_wide, G, 1e-11)
    h = rng(2).normal(size=(7, 3, 4))
    valid = mask_of(np.array([7, 3, 5]), 7)
    a, P1 = {"n.scale": np.ones(4), "n.shift": np.zeros(4)}, h.copy()
    P1[valid == 0] = 1e3
    y, (*_, (mean, var)) = N.norm_forward(h, valid, a, "n")
    close(N.norm_forward(P1, valid, a, "n")[0], y, 1e-13)
    rows = h[valid > 0]
    close(mean, rows.mean(0), 1e-13)
    close(var, rows.var(0), 1e-13)
    b = rng(3).normal(size=(7, 3, 8))
    loud = b.copy()
    loud[valid == 0] = 1e3
    U2 = rng(4).normal(size=(2, 4, 4)) / 4
    lengths = np.array([7, 3, 5])
    close(N.rnn_forward(loud, lengths, U2)[0], N.rnn_forward(b, lengths, U2)[0], 1e-13)


def test_fixed_statistics_make_utterances_independent():
    P, (x, frames, *_) = small()
    stats = N.population(P, [(x, frames)])
    assert stats.keys() == {"conv", "rnn1", "rnn2"}
    z, short, _ = N.net_forward(x, frames, P, stats)
    for b, n in enumerate(frames):
        alone = N.net_forward(x[:n, b:b + 1], frames[b:b + 1], P, stats)[0]
        close(alone[:, 0], z[:short[b], b], 1e-12)
    close(N.net_forward(x, frames, P)[0], z, 1e-12)              # one batch is its own population
    assert N.population(small(False)[0], [(x, frames)]) == {}


def test_population_averages_over_batches():
    P, (x, frames, *_) = small()
    one, two = (N.population(P, [(scale * x, frames)]) for scale in (1, 3))
    both = N.population(P, [(x, frames), (3 * x, frames)])
    for name in both:
        close(both[name], (np.array(one[name]) + np.array(two[name])) / 2, 1e-12)


def test_fresh_parameters():
    P, plain = N.init(rng()), N.init(rng(), norm=False)
    assert P.keys() - plain.keys() == {"conv.scale", "rnn1.scale", "rnn2.scale", "rnn3.scale"}
    assert all(p.dtype == np.float32 for p in P.values()) and not P["out.W"].any()
    assert all(np.array_equal(plain[k], P[k]) for k in plain)    # the same start with and without
    assert np.array_equal(P["rnn2.U"][1], 0.5 * np.eye(48, dtype=np.float32))
    assert abs(P["conv.W"].std() - math.sqrt(2 / 100)) < 0.01
    assert N.init(rng(), layers=1).keys() & {"rnn2.W", "rnn3.W"} == set()


def test_at_the_start_the_loss_counts_paths():
    _, (x, frames, _, _) = small()
    P = N.init(rng(), 2, C=5, H=4, F=6)
    labels, U = np.array([N.encode("note"), N.encode("tone"), N.encode("aaaa")]), np.array([4, 3, 1])
    z, short, _ = N.net_forward(x, frames, P)
    loss = N.ctc_forward(z, short, labels, U)[0]
    want = [T * math.log(13) - math.log(math.comb(T + n, 2 * n)) for T, n in zip(short, U, strict=True)]
    close(loss, want, 1e-6)


def test_training_learns_and_sorts_only_the_first_epoch():
    texts = ["on", "to", "an", "red", "oil", "bad"]
    spoken = [N.speak(rng(k), text, noise=0.1) for k, text in enumerate(texts)]
    order = sorted(range(6), key=lambda k: len(spoken[k][0]))
    batches = [N.pad([spoken[k] for k in pair], [texts[k] for k in pair]) for pair in (order[:3], order[3:])]
    P = N.init(rng(2), 1, C=16, H=24)
    before = {k: p.copy() for k, p in P.items()}
    watch = batches[0], [texts[k] for k in order[:3]]
    stats, losses, rates = N.train(P, batches, rng(3), 0.02, epochs=60, watch=watch)
    assert len(losses) == len(rates) == 60 and losses[-1] < 0.2 < 2 < losses[0] and rates[-1] == 0
    assert all(not np.array_equal(P[k], before[k]) for k in P) and stats.keys() == {"conv", "rnn1"}
    seen, g = [], N.train.__globals__
    old = g["loss_and_gradient"]
    try:
        g["loss_and_gradient"] = lambda batch, P: seen.append(int(batch[1].max())) or old(batch, P)
        many = [batches[k % 2] for k in range(8)]
        lengths = [int(b[1].max()) for b in many]
        N.train(N.init(rng(2), 1), many, rng(4), 0.01, epochs=2)
        assert seen[:8] == lengths and sorted(seen[8:]) == sorted(lengths) and seen[8:] != lengths
        seen.clear()
        N.train(N.init(rng(2), 1), many, rng(4), 0.01, epochs=1, sort_first=False)
        assert sorted(seen) == sorted(lengths) and seen != lengths
    finally:
        g["loss_and_gradient"] = old


# --- the speech ------------------------------------------------------------------------------------

@pytest.mark.parametrize("letter", "abdeilnorst")
def test_letters_can_be_seen(letter):
    """The middle frame of a letter is its two formants, moved by the speaker's shift."""
    x, edges = N.speak(rng(1), letter, noise=0)
    assert x.dtype == np.float32 and x.shape == (edges[-1], 20) and list(edges) == [0, len(x)] and len(x) >= 2
    def seen(shift):
        centres = np.array(N.FORMANTS[letter])[:, None] + shift
        pattern = np.exp(-0.5 * (np.arange(20) - centres) ** 2).sum(0)
        return pattern @ x[len(x) // 2] / np.linalg.norm(pattern) / np.linalg.norm(x[len(x) // 2])
    assert max(seen(shift) for shift in np.linspace(-1.5, 1.5, 301)) > 0.9999
    assert x[len(x) // 2].max() > 0.7


def test_sounds_follow_their_letters_and_pauses_are_silent():
    text = "stone bird"
    x, edges = N.speak(rng(1), text, noise=0)
    assert x.shape == (edges[-1], 20) and len(edges) == len(text) + 1 and np.diff(edges).min() >= 2
    assert not x[edges[5]:edges[6]].any() and x[:edges[5]].max(1).min() > 0.2
    assert x[edges[2], 12:].sum() < x[edges[0], 12:].sum()           # o is low, s is high
    pauses = [np.diff(N.speak(rng(k), "o o", noise=0)[1])[1] for k in range(80)]
    assert min(pauses) <= 3 and max(pauses) >= 9


def test_speakers_rates_and_noise_differ():
    lengths = [N.speak(rng(k), "no noon", noise=0)[1][-1] for k in range(60)]
    assert max(lengths) > 1.5 * min(lengths)
    centres = []
    for k in range(60):
        x, edges = N.speak(rng(k), "sss", noise=0)
        centres.append((x[edges[1]] * np.arange(20)).sum() / x[edges[1]].sum())
    assert 1.5 < np.ptp(centres) < 4
    quiet = N.speak(rng(5), " ", noise=0.45)[0]
    assert quiet.any()
    noise = np.concatenate([N.speak(rng(k), " ", noise=0.45)[0].ravel() for k in range(40)])
    assert abs(noise.std() - 0.45) < 0.02


def test_double_letters_have_a_dip():
    x, edges = N.speak(rng(3), "ll", noise=0)
    energy = x.sum(1)
    assert min(energy[edges[1] - 1], energy[edges[1]]) < 0.8 * energy.max()


def words_of(name):
    """The word list that the notebook calls WORDS or OTHER."""
    return re.search(name + r' = """(.*?)"""', text_and_code(21)[1], flags=re.S)[1].split()


def test_words_and_sentences():
    words, other = words_of("WORDS"), words_of("OTHER")
    assert len(words) == len(set(words)) == 96 and not set(words) & set(other)
    for word in words + other:
        N.encode(word)                                           # every letter is in the alphabet
    grammar = {word: words[k:k + 3] for k, word in enumerate(words)}
    found = N.sentences(rng(1), grammar, 300)
    for text in found:
        words = text.split()
        assert 2 <= len(words) <= 4
        assert all(b in grammar[a] for a, b in zip(words[:-1], words[1:], strict=True))
    assert {len(text.split()) for text in found} == {2, 3, 4}
    assert not set(N.sentences(rng(1), grammar, 300, avoid=found[:100])) & set(found[:100])


def test_encode_refuses_letters_outside_the_alphabet():
    assert list(N.encode("ab ")) == [1, 2, 12]
    for text in ("below", "a-b", "Tea"):
        with pytest.raises(ValueError, match="expected only letters"):
            N.encode(text)
    with pytest.raises(ValueError, match="'w'"):
        N.speak(rng(), "below")


def test_pad():
    spoken, texts = [N.speak(rng(k), t) for k, t in enumerate(("on", "a tree"))], ["on", "a tree"]
    x, frames, labels, U = N.pad(spoken, texts)
    assert list(frames) == [len(s) for s, _ in spoken] and list(U) == [2, 6]
    for b, (s, _) in enumerate(spoken):
        assert np.array_equal(x[:len(s), b], s) and not x[len(s):, b].any()
        assert np.array_equal(labels[b, :U[b]], N.encode(texts[b])) and not labels[b, U[b]:].any()


# --- measures --------------------------------------------------------------------------------------

def test_edits_and_error_rates():
    for a, b, n in (("", "", 0), ("abc", "", 3), ("", "ab", 2), ("noble", "noon", 3), ("test", "test", 0),
                    ("abcdef", "bcdefa", 2)):
        assert N.edits(a, b) == N.edits(b, a) == n
    assert N.error_rates(["a nail is", "red"], ["a tail", "red"]) == (4 / 9, 2 / 3)
    assert N.error_rates(["", ""], ["abc", "a b"]) == (1, 1)


def test_greedy_reads_only_valid_frames():
    path = ["b-eel-l-", "onn----s"]
    z = np.stack([np.eye(13)[[N.ALPHABET.index(c) for c in p]] for p in path], 1)
    assert N.greedy(z, np.array([8, 5])) == ["bell", "on"]


def test_positions_follow_the_evidence():
    text, z = "not", np.zeros((20, 1, 13))
    z[:, 0, 0] = 3
    for t, c in ((3, "n"), (9, "o"), (16, "t")):
        z[t, 0, N.ALPHABET.index(c)] = 9
    found = N.positions(z, np.array([20]), N.encode(text)[None], np.array([3]))
    close(found[0], [6, 18, 32], 0.03)


# --- decoder and language model --------------------------------------------------------------------

def listed(log_y, lm, weight, bonus):
    """Q of every text, from every path."""
    Q = {}
    for path in product(range(log_y.shape[1]), repeat=len(log_y)):
        text = slowly("".join(N.ALPHABET[k] for k in path))
        Q[text] = Q.get(text, 0) + math.exp(sum(log_y[t, k] for t, k in enumerate(path)))
    score = {}
    for text, p in Q.items():
        score[text] = math.log(p) + bonus * len(text)
        if lm:
            score[text] += weight * sum(lm(text[:i])[N.ALPHABET.index(c)] for i, c in enumerate(text + "-"))
    return score


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("lm, weight, bonus", [(None, 0, 0), (None, 0, 0.7), ("toy", 0.8, 0.5),
                                               ("ngram", 1.3, 1)])
def test_a_wide_beam_is_the_exhaustive_search(seed, lm, weight, bonus):
    model = {"toy": N.toy, "ngram": N.letter_lm(["ab", "bad", "add"], 3), None: None}[lm]
    log_y = N.log_softmax(rng(seed).normal(0, 1.5, (5, 4)))
    score = listed(log_y, model, weight, bonus)
    best = max(score, key=score.get)
    text, Q = N.beam_search(log_y, 1000, model, weight, bonus, least=0)
    assert text == best and abs(Q - score[best]) < 1e-9
    assert N.exhaustive(log_y, model, weight, bonus)[0] == best
    assert abs(math.log(N.exhaustive(log_y, model, weight, bonus)[1]) - score[best]) < 1e-9


def test_beam_search_adds_paths_where_greedy_takes_one():
    log_y = np.log(np.tile([0.6, 0.4], (2, 1)))
    assert N.greedy(log_y[:, None], [2]) == [""]
    text, Q = N.beam_search(log_y)
    assert text == "a" and abs(Q - math.log(0.64)) < 1e-12


def test_beam_search_on_long_utterances_and_bad_widths():
    log_y = N.log_softmax(8 * rng(1).normal(size=(3000, 13)))
    text, Q = N.beam_search(log_y, width=2)
    assert len(text) > 1000 and np.isfinite(Q)
    for width in (0, -3):
        with pytest.raises(ValueError, match="expected at least 1"):
            N.beam_search(log_y[:3], width)


def test_decode_takes_each_utterance_by_itself():
    z = 5 * rng(2).normal(size=(9, 3, 13))
    frames = np.array([9, 4, 7])
    got = N.decode(z, frames, width=5)
    for b, n in enumerate(frames):
        assert got[b] == N.beam_search(N.log_softmax(z[:n, b]), width=5)[0]


def test_language_model_by_counting():
    texts = ["to tell", "to tie", "no"]
    lm = N.letter_lm(texts, order=3, strength=2.0)
    padded = ["\n\n" + text + "-" for text in texts]
    def p(c, context):
        if context is None:
            return 1 / 13
        shorter = p(c, context[1:] if context else None)
        places = [(s, i) for s in padded for i in range(2, len(s)) if s[i - len(context):i] == context]
        return (sum(s[i] == c for s, i in places) + 2 * shorter) / (len(places) + 2)
    for text in ("", "t", "to", "to t", "xx".replace("x", "a")):
        context = ("\n\n" + text)[-2:]
        close(np.exp(lm(text)), [p(c, context) for c in N.ALPHABET], 1e-12)
        close(np.exp(lm(text)).sum(), 1.0, 1e-12)
    with pytest.raises(ValueError, match="expected at least 1"):
        N.letter_lm(texts, 0)
    close(np.exp(N.letter_lm(["ab"], 1)("")), N.np.exp(N.letter_lm(["ab"], 1)("bbb")), 0)


# --- exercises and text ----------------------------------------------------------------------------

EXERCISES = Exercises(space=lambda: classroom(21), wrong=(
    ("room = len", 0),
    ("room = lambda text: len(set(text)) + 1", 0),
    ("room = lambda text: 2 * len(text) - 1", 0),
    ("viterbi = lambda y, label: ''.join(ALPHABET[k] for k in y.argmax(1))", 1),
    ("viterbi = lambda y, label: ''.join(ALPHABET[k] for k in label)", 1),
    ("viterbi = lambda y, label: paths_of(''.join(ALPHABET[k] for k in label), len(y))[0]", 1)))


def test_numbers_in_the_text_are_those_of_the_code():
    text, code = text_and_code(21)
    assert "two to four words out of 96" in text and "rng.integers(1, 4)" in code
    assert "only twelve others" in text and "rng.choice(WORDS, 12, replace=False)" in code
    assert math.comb(24 + 12, 24) > 1e9 and "more than a billion" in text
    assert "0.36" in text and "0.64" in text and round(0.6**2, 2) == 0.36
    assert "about 31 thousand" in text
    assert round(sum(p.size for p in N.init(rng()).values()) / 1000) == 31
    assert len(N.ALPHABET) == 13 and "V = 13" in text and re.search(r"sentences\(rng, grammar, 300\)", code)


def test_no_colour_map_is_described_the_wrong_way_round():
    """The mistake to avoid: 'darker = higher' over viridis, where brighter is higher."""
    text, code = text_and_code(21)
    assert not re.search(r"darker", text + code, flags=re.I) and "brighter = more" in code


def test_no_test_sentence_is_in_training_and_the_language_model_has_not_read_it():
    _, code = text_and_code(21)
    assert "sentences(rng, grammar, 1600, test_text + val_text)" in code
    assert "sentences(rng, grammar, 2000, test_text + val_text)" in code
