"""Notebook 27: trunks, heads and losses against PyTorch, tasks, memory, speculative decoding."""

import itertools
import math

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

N = definitions(27)
CASES = golden("27")
TRUNKS = "mlp", "window", "rnn"


# --- what the mutation test breaks -----------------------------------------------------------------

def check_mlp_backward(space):
    for name in ("mlp", "mlp_dropped"):
        case = CASES[name]
        z, cache = space.mlp_forward(case["x"], part(case, "P."), case.get("masks"))
        close(z, case["z"], 1e-13, f"{name}: z")
        dx, G = space.mlp_backward(case["up.z"], cache)
        close(dx, case["dx"], 1e-12, f"{name}: dx")
        close_dicts(G, part(case, "G."), 1e-12)


def check_embed_backward(space):
    case = CASES["embed"]
    e, cache = space.embed_forward(case["tokens"], case["P.E"])
    close(e, case["e"], 1e-15, "e")
    close(space.embed_backward(case["up.e"], cache), case["G.E"], 1e-13, "dE")


def check_sequence(space, name):
    case = CASES[name]
    z, cache = getattr(space, f"{name}_forward")(case["tokens"], part(case, "P."))
    close(z, case["z"], 1e-13, f"{name}: z")
    close_dicts(getattr(space, f"{name}_backward")(case["up.z"], cache), part(case, "G."), 1e-12)


def check_window_backward(space):
    check_sequence(space, "window")


def check_rnn_backward(space):
    check_sequence(space, "rnn")


def check_heads_backward(space):
    case = CASES["heads"]
    Y, cache = space.heads_forward(case["z"], part(case, "P."))
    close(Y, case["Y"], 1e-13, "Y")
    dz, G = space.heads_backward(case["up.Y"], cache)
    close(dz, case["dz"], 1e-12, "dz")
    close_dicts(G, part(case, "G."), 1e-12)


def check_loss_backward(space):
    case = CASES["loss"]
    losses, cache = space.loss_forward(case["Y"], case["targets"])
    close(losses, case["losses"], 1e-14, "losses")
    close(space.loss_backward(cache), case["dY"], 1e-14, "dY")


CHECKS = {f"{name}_backward": globals()[f"check_{name}_backward"]
          for name in ("mlp", "embed", "window", "rnn", "heads", "loss")}


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("how", ["heads_at_once", "heads_in_turn"])
def test_losses_and_gradients_of_the_whole_model(trunk, how):
    case = CASES[f"model_{trunk}"]
    losses, G = N.loss_and_gradients(case["x"], case["targets"], part(case, "P."), None, getattr(N, how))
    close(losses, case["losses"], 1e-12)
    close_dicts(G, part(case, "G."), 1e-11)


# --- models ----------------------------------------------------------------------------------------

def small(trunk, n=3, R=(), seed=0, dtype=np.float64):
    """Inputs, targets and parameters of a small model with random biases."""
    r = rng(seed)
    P = N.init(r, trunk, 4, 6, n, 5, 7, R, np.float64)
    P = {k: (p + 0.1 * r.normal(size=p.shape)).astype(dtype) for k, p in P.items()}
    x = r.normal(size=(*R, 8, 4)).astype(dtype) if trunk == "mlp" else r.integers(
        7, size=(*R, 8, 4) if trunk == "window" else (*R, 4, 2))
    return x, N.futures(r.integers(7, size=(*R, 8)), n), P


@pytest.mark.parametrize("trunk, n, R", list(itertools.product(TRUNKS, (1, 4), ((), (2,)))))
def test_gradients_by_differences(trunk, n, R):
    x, targets, P = small(trunk, n, R)
    _, G = N.loss_and_gradients(x, targets, P)
    N.grad_check(lambda: float(N.loss_and_gradients(x, targets, P)[0].sum()), P, G, rng(1), 1e-4, h=1e-6)


@pytest.mark.parametrize("n, R", list(itertools.product((1, 2, 5), ((), (3,)))))
def test_heads_in_turn_have_the_gradients_of_heads_at_once(n, R):
    x, targets, P = small("mlp", n, R)
    z = N.trunk_forward(x, P)[0]
    once, turn = N.heads_at_once(z, targets, P), N.heads_in_turn(z, targets, P)
    close(turn[0], once[0], 1e-14)
    close(turn[1], once[1], 1e-14)
    close_dicts(turn[2], once[2], 1e-14)


def test_memory_grows_with_heads_at_once_and_not_in_turn():
    V, M, k, peaks = 20_000, 48, 16, {}
    for n in (1, 6):
        P = N.init(rng(), "mlp", 4, 8, n, k, V)
        args = rng(1).random((M, 8), np.float32), rng(2).integers(V, size=(M, n)), P
        peaks[n] = [N.peak_bytes(run, *args) for run in (N.heads_at_once, N.heads_in_turn)]
        close(peaks[n][0] / (4 * V * (3 * n * M + k)), 1, 0.1)
        close(peaks[n][1] / (4 * V * (3 * M + 2 * k)), 1, 0.15)
    assert peaks[6][0] > 4.5 * peaks[1][0] and peaks[6][1] < 1.1 * peaks[1][1]


@pytest.mark.parametrize("trunk", TRUNKS)
def test_replicas_do_not_see_each_other(trunk):
    x, targets, P = small(trunk, 3, (3,))
    losses, G = N.loss_and_gradients(x, targets, P)
    for r in range(3):
        alone, own = N.loss_and_gradients(x[r], targets[r], {k: p[r] for k, p in P.items()})
        close(losses[r], alone, 1e-13)
        close_dicts({k: g[r] for k, g in G.items()}, own, 1e-13)


@pytest.mark.parametrize("trunk", TRUNKS)
def test_gradients_keep_names_shapes_and_dtype_and_write_nothing(trunk):
    x, targets, P = small(trunk, 3, (2,), dtype=np.float32)
    for how in (N.heads_at_once, N.heads_in_turn):
        with untouched(P | {"x": x, "targets": targets}):
            _, G = N.loss_and_gradients(x, targets, P, None, how)
        like_parameters(G, P)


@pytest.mark.parametrize("trunk", TRUNKS)
def test_float32_agrees_with_float64(trunk):
    x, targets, P = small(trunk)
    rough = {k: p.astype(np.float32) for k, p in P.items()}
    x32 = x.astype(np.float32) if trunk == "mlp" else x
    exact, (losses, G) = N.loss_and_gradients(x, targets, P), N.loss_and_gradients(x32, targets, rough)
    close(losses, exact[0], 1e-5)
    close_dicts({k: g.astype(float) for k, g in G.items()}, exact[1], 1e-4)


def test_the_trunk_gets_the_sum_of_what_the_heads_want():
    x, targets, P = small("mlp", 3)
    z = N.trunk_forward(x, P)[0]
    total = 0
    for i in range(3):
        only = np.where(np.arange(3) == i, targets, -1)
        total = total + N.heads_at_once(z, only, P)[1]
    close(N.heads_at_once(z, targets, P)[1], total, 1e-14)


def test_one_head_is_the_next_token_model():
    x, targets, P = small("mlp", 1)
    Y = N.heads_forward(N.trunk_forward(x, P)[0], P)[0][:, 0]
    p = np.exp(Y) / np.exp(Y).sum(1, keepdims=True)
    close(N.loss_and_gradients(x, targets, P)[0], [-np.log(p[np.arange(8), targets[:, 0]]).mean()], 1e-13)


def test_prefix_states_in_one_pass():
    """The state after each prefix is that of a run on the prefix alone; steps grow with T, not T^2."""
    x, _, P = small("rnn")
    tokens = rng(3).integers(7, size=(9, 2))
    z = N.rnn_forward(tokens, P)[0].reshape(9, 2, -1)
    for t in range(9):
        close(N.rnn_forward(tokens[:t + 1], P)[0][-2:], z[t], 1e-15)

    class Counting(np.ndarray):
        calls = 0

        def __rmatmul__(self, other):
            Counting.calls += 1
            return np.asarray(other) @ np.asarray(self)

        def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
            Counting.calls += ufunc is np.matmul
            return getattr(ufunc, method)(*(np.asarray(i) for i in inputs), **kwargs)

    counts = []
    for T in (5, 10, 20):
        Counting.calls = 0
        N.rnn_forward(rng(4).integers(7, size=(T, 2)), P | {"W_r": P["W_r"].view(Counting)})
        counts.append(Counting.calls)
    assert counts == [5, 10, 20]


def test_fresh_parameters():
    P = N.init(rng(), "mlp", 28, 128, 4, 32, 2, (3,))
    assert {k: p.shape for k, p in P.items()} == {
        "W_1": (3, 28, 128), "b_1": (3, 1, 128), "W_2": (3, 128, 128), "b_2": (3, 1, 128),
        "W_h": (3, 128, 128), "b_h": (3, 1, 128), "W_u": (3, 32, 2), "b_u": (3, 1, 2)}
    assert all(p.dtype == np.float32 for p in P.values()) and not P["b_1"].any()
    bound = math.sqrt(6 / 128)
    assert 0.98 * bound < np.abs(P["W_2"]).max() <= bound * (1 + 1e-6)
    assert sum(p[0].size for p in P.values()) == 36_802
    size = sum(p.size for p in N.init(rng(), "mlp", 28, 128, 1, 128, 2).values())
    assert abs(size - 36_802) < 200                              # the wide head: as many parameters
    assert N.init(rng(), "window", 12, 192, 4, 64, 16)["W_1"].shape == (192, 192)


# --- data ------------------------------------------------------------------------------------------

def test_futures_by_loops():
    y = rng().integers(9, size=(4, 6))
    for n in (1, 3, 6):
        targets = N.futures(y, n)
        assert targets.shape == (4, 6, n)
        for b, t, i in itertools.product(range(4), range(6), range(n)):
            assert targets[b, t, i] == (y[b, t + i] if t + i < 6 else -1)


@pytest.mark.parametrize("easy", [False, True])
def test_digits_are_parities_and_inputs_hold_only_the_past(easy):
    x, y = N.hardest_first(rng(), 200, easy)
    assert x.shape == (200, 6, 28) and x.dtype == np.float32
    bits = (x[:, 0, :16] > 0).astype(int)
    for j in range(6):
        length = j + 1 if easy else 6 - j
        assert np.array_equal(y[:, j], bits[:, :length].sum(1) % 2)
    for c in range(6):
        assert np.array_equal(x[:, c, :16], 2 * bits - 1) and (x[:, c, 22:] == np.eye(6)[c]).all()
        assert np.array_equal(x[:, c, 16:16 + c], 2 * y[:, :c] - 1) and not x[:, c, 16 + c:22].any()
    assert np.array_equal(N.hardest_first(rng(), 50, easy)[1], y[:50])   # small sets: parts of large


def test_any_five_bits_say_nothing_about_the_hard_digit():
    b = np.array(list(itertools.product((0, 1), repeat=6)))
    parity = b.sum(1) % 2
    for left_out in range(6):
        kept = np.delete(b, left_out, 1)
        for pattern in np.unique(kept, axis=0):
            assert parity[(kept == pattern).all(1)].mean() == 0.5


def test_progressions():
    s = N.progressions(rng())
    assert s.shape == (450, 13) and len(np.unique(s[:, :2], axis=0)) == 450
    assert ((np.diff(s, axis=1) % 50) == (s[:, 1:2] - s[:, :1]) % 50).all() and s.max() == 49
    assert set((s[:, 1] - s[:, 0]) % 50) == set(range(1, 10))


def test_progression_batches_pair_tokens_with_futures():
    s = N.progressions(rng())
    tokens, targets = N.progression_batches(s, (10, 200), 3, B=6)(rng(1))
    assert tokens.shape == (2, 12, 6) and targets.shape == (2, 72, 3)
    targets = targets.reshape(2, 12, 6, 3)
    for r, t, b, i in itertools.product(range(2), range(12), range(6), range(3)):
        step = (tokens[r, 1, b] - tokens[r, 0, b]) % 50
        wanted = (tokens[r, t, b] + (i + 1) * step) % 50 if t + i < 12 else -1
        assert targets[r, t, b, i] == wanted
    first = {tuple(q) for q in s[:10, :12]}
    assert {tuple(q) for q in tokens[0].T} <= first


def test_digit_batches_draw_from_their_own_part():
    x = np.arange(40.0).reshape(40, 1, 1)
    draw = N.digit_batches(x, np.arange(40).reshape(40, 1, 1), (5, 40), B=300)
    got, targets = draw(rng())
    assert np.array_equal(got, targets) and got[0].max() == 4 and got[1].max() > 30
    assert got.shape == (2, 300, 1)


def test_text_batches_are_windows_of_the_text():
    text = np.arange(100)
    x, targets = N.text_batches(text, 4, 12, 500)(rng())
    assert x.shape == (500, 12) and targets.shape == (500, 4)
    assert (np.diff(np.concatenate([x, targets], 1), axis=1) == 1).all()
    assert x.min() == 0 and targets.max() == 99


def test_lexicon_and_text():
    words, follow = N.lexicon(rng())
    assert len(set(words)) == 60 and {len(w) for w in words} == {3, 4, 5, 6}
    assert all(set(w) <= set(N.ALPHABET[1:]) for w in words) and len(N.ALPHABET) == 16
    assert follow.shape == (60, 4) and all(len(set(f)) == 4 for f in follow.tolist())
    text = N.write(rng(1), words, follow, 3000).split(" ")
    index = [words.index(w) for w in text]
    assert len(index) == 3000 and all(b in follow[a] for a, b in itertools.pairwise(index))
    rank = [list(follow[a]).index(b) for a, b in itertools.pairwise(index)]
    assert np.abs(np.bincount(rank) / len(rank) - 0.25).max() < 0.04
    assert N.encode("ab a").tolist() == [1, 2, 0, 1]


# --- training and measuring ------------------------------------------------------------------------

def test_training_lowers_every_heads_loss_and_decay_shrinks_weights():
    x, y = N.hardest_first(rng(), 64, easy=True)
    draw = N.digit_batches(x, N.futures(y, 3), (64, 64))
    norms = {}
    for decay in (0.0, 3.0):
        P = N.init(rng(1), "mlp", 28, 32, 3, 8, 2, (2,))
        curve = N.train(P, draw, rng(2), 120, decay=decay)
        assert curve.shape == (120, 2, 3) and (curve[-10:].mean(0) < curve[:10].mean(0) - 0.1).all()
        norms[decay] = np.linalg.norm(P["W_2"])
    assert norms[3.0] < 0.8 * norms[0.0]


def test_decay_is_decoupled_and_each_replicas_own():
    draw = lambda r: (np.zeros((2, 4, 3), np.float32), np.full((2, 4, 1), -1))  # noqa: E731  no gradient
    P = N.init(rng(), "mlp", 3, 4, 1, 4, 2, (2,))
    before = {k: p.copy() for k, p in P.items()}
    N.train(P, draw, rng(), 5, lr=0.01, decay=np.reshape((0, 2), (2, 1, 1)))
    close(P["W_1"][0], before["W_1"][0], 1e-12)
    close(P["W_1"][1], before["W_1"][1] * 0.98**5, 1e-5)


def test_dropout_keeps_the_mean_and_is_off_by_default():
    x, _, P = small("mlp")
    masks = (rng().random((2, 4000, 8, 6)) > 0.5) / 0.5
    h = np.maximum(x @ P["W_1"] + P["b_1"], 0)
    _, (_, dropped, *_) = N.mlp_forward(np.broadcast_to(x, (4000, 8, 4)), P, masks)
    close(dropped.mean(0), h, 0.1)
    assert set(np.unique(dropped[:, h > 0.1] == 0)) == {False, True}


def test_digit_accuracy():
    """A network that knows nothing is a coin; one with the right answer in its bias for easy sequences."""
    x, y = N.hardest_first(rng(), 4000, easy=True)
    P = {k: p.astype(np.float64) for k, p in N.init(rng(1), "mlp", 28, 4, 2, 1, 2).items()}
    P = {k: 0 * p for k, p in P.items()}
    first, whole = N.digit_accuracy(P, x, y)
    assert first == (y[:, 0] == 0).mean() and whole == (y == 0).all(1).mean()
    P["W_1"][0, 0], P["W_2"][0, 0], P["W_h"][0, 0] = 1, 1, 1      # reads bit 1 = first easy digit
    P["W_u"][0, 1], P["b_u"][0, 0] = 1, 0.5
    assert N.digit_accuracy(P, x, y)[0] == 1


def test_roll_out_feeds_predictions_back():
    tokens, _, P = small("rnn", 2)
    z = N.rnn_forward(tokens, P)[0][-2:]
    told, line = N.roll_out(z, P, 3), tokens
    for s in range(3):
        new = N.heads_forward(N.rnn_forward(line, P)[0][-2:], P)[0][:, 0].argmax(-1)
        assert np.array_equal(told[:, s], new)
        line = np.concatenate([line, new[None]])


# --- decoding --------------------------------------------------------------------------------------

def writer(seed=0, n=4, V=16, sharp=6.0):
    """A window model with sharp random preferences."""
    P = N.init(rng(seed), "window", 12, 10, n, 6, V, dtype=np.float64)
    return P | {"W_u": sharp * P["W_u"]}


@pytest.mark.parametrize("seed, n", list(itertools.product(range(6), (1, 2, 4))))
def test_speculative_greedy_text_is_exactly_that_of_head_1(seed, n):
    P = writer(seed)
    for length, prompt in ((30, rng(seed).integers(16, size=12)), (7, rng(seed).integers(16, size=3))):
        text, passes, accepted = N.speculative(prompt, P, length, rng(9), n)
        assert text == N.one_by_one(prompt, P, length, rng(8)) and len(text) == length
        assert passes == len(accepted) + 1 and all(1 <= a <= n for a in accepted)
        assert sum(accepted[:-1]) < length <= sum(accepted)


def test_perfect_drafts_are_all_accepted_and_wrong_ones_never():
    """Heads that all want character 5 accept everything; a second head that wants 6 is always refused."""
    P = {k: 0 * p for k, p in writer(n=2).items()}
    P["b_u"][0, 5] = 1
    assert set(N.speculative(np.array([1]), P, 20, rng(), 2)[2]) == {2}
    P["b_h"][0, 6] = 1                                           # head 2's first unit
    P["W_u"][0, 6] = 9
    assert set(N.speculative(np.array([1]), P, 20, rng(), 2)[2]) == {1}


@pytest.mark.parametrize("seed", range(3))
def test_lottery_writes_characters_with_the_probabilities_of_head_1(seed):
    """Pairs of the second and third sampled characters against enumeration over all paths."""
    P, V = writer(seed, 3, 3, 2.0), 3
    P["E"] = P["E"][:3]
    prompt, exact = np.array([1]), np.zeros((V, V))

    def after(line):
        return N.head_probabilities(N.last_window(line)[None], P, 1, 1)[0, 0]

    for a, b, c in itertools.product(range(V), repeat=3):
        exact[b, c] += after([1])[a] * after([1, a])[b] * after([1, a, b])[c]
    r, counts, draws = rng(seed), np.zeros((V, V)), 4000
    for _ in range(draws):
        text = N.speculative(prompt, P, 3, r, 3, temperature=1)[0]
        counts[text[1], text[2]] += 1
    chi2 = (np.square(counts - draws * exact) / (draws * exact)).sum()
    assert chi2 < 30                                             # 8 degrees of freedom
    assert N.remainder(exact[0], exact[0]) is not None


def test_remainder():
    close(N.remainder(np.array([0.5, 0.5, 0]), np.array([0.2, 0.6, 0.2])), [1, 0, 0], 1e-15)
    close(N.remainder(np.array([0.3, 0.7]), np.array([0.3, 0.7])), [0.3, 0.7], 1e-15)


def test_the_baseline_computes_one_head_for_one_row():
    P, seen = writer(), []
    space = classroom(27)
    forward = space["heads_forward"]
    space["heads_forward"] = lambda z, P: seen.append((len(z), P["W_h"].shape[1] // 6)) or forward(z, P)
    space["one_by_one"](np.array([1, 2]), P, 5, rng())
    assert seen == [(1, 1)] * 5
    seen.clear()
    _, passes, _ = space["speculative"](np.array([1, 2]), P, 5, rng())
    assert len(seen) == passes and seen[0] == (1, 4) and set(seen[1:]) == {(4, 4)}


def test_probabilities():
    P = writer()
    windows = rng().integers(16, size=(3, 12))
    p = N.head_probabilities(windows, P, 4, 1)
    close(p.sum(-1), np.ones((3, 4)), 1e-14)
    Y = N.heads_forward(N.window_forward(windows, P)[0], P)[0]
    close(p, np.exp(Y) / np.exp(Y).sum(-1, keepdims=True), 1e-13)
    close(N.head_probabilities(windows, P, 2, 1), p[:, :2], 1e-14)
    assert np.array_equal(N.head_probabilities(windows, P, 4, 0).argmax(-1), p.argmax(-1))


def test_last_window():
    assert N.last_window([7, 8]).tolist() == [0] * 10 + [7, 8]
    assert N.last_window(np.arange(1, 16)).tolist() == list(range(4, 16))


# --- bad input -------------------------------------------------------------------------------------

@pytest.mark.parametrize("call, words", [
    (lambda: N.futures(np.arange(5), 0), "n = 0 heads"),
    (lambda: N.futures(np.arange(5), -1), "n = -1 heads"),
    (lambda: N.futures(np.arange(5), 6), "n = 6 heads"),
    (lambda: N.hardest_first(rng(), 3, K=0), "K = 0 digits"),
    (lambda: N.hardest_first(rng(), 3, K=17), "K = 17 digits"),
    (lambda: N.lexicon(rng(), 3, 4), "4 followers of 3 words"),
    (lambda: N.lexicon(rng(), 3, 0), "0 followers of 3 words"),
    (lambda: N.lexicon(rng(), 5000), "4 followers of 5000 words"),
    (lambda: N.encode(""), "empty text"),
    (lambda: N.encode("ab?"), r"unknown character '\?'"),
    (lambda: N.encode("abA"), "unknown character 'A'"),
    (lambda: N.embed_forward(np.array([[7]]), np.ones((7, 2))), "tokens from 7 to 7"),
    (lambda: N.embed_forward(np.array([[-1]]), np.ones((7, 2))), "tokens from -1 to -1"),
    (lambda: N.init(rng(), "mlp", 3, 4, 0, 2, 2), "0 heads on a trunk 'mlp'"),
    (lambda: N.init(rng(), "tree", 3, 4, 1, 2, 2), "1 heads on a trunk 'tree'"),
    (lambda: N.loss_forward(np.zeros((4, 2, 3)), np.zeros((4, 3), int)), r"targets \(4, 3\)"),
    (lambda: N.loss_forward(np.zeros((4, 2, 3)), np.full((4, 2), 3)), "up to 3"),
    (lambda: N.last_window([]), "empty prompt"),
    (lambda: N.speculative(np.array([], int), writer(), 5, rng()), "empty prompt"),
    (lambda: N.one_by_one(np.array([], int), writer(), 5, rng()), "empty prompt"),
    (lambda: N.one_by_one(np.array([16]), writer(), 5, rng()), "tokens from 0 to 16"),
    (lambda: N.speculative(np.array([1]), writer(n=2), 5, rng()), "n = 4 drafts"),
    (lambda: N.speculative(np.array([1]), writer(), 5, rng(), 0), "n = 0 drafts"),
])
def test_bad_input_is_refused_with_the_value_and_what_was_expected(call, words):
    refuses(call, words)


# --- exercises and text ----------------------------------------------------------------------------

def readers_space():
    """Globals for a reader's cells; training runs stop after three steps."""
    space = classroom(27)
    train = space["train"]
    space["train"] = lambda P, draw, rng, steps, **more: train(P, draw, rng, min(steps, 3), **more)
    return space


EXERCISES = Exercises(space=readers_space, wrong=(
    ("mean_accepted = lambda a, n: 1 + a * (n - 1)", 0),
    ("mean_accepted = lambda a, n: 1 / (1 - a)", 0),
    ("mean_accepted = lambda a, n: sum(a ** j for j in range(1, n + 1))", 0),
    ("discounted = lambda dY, gamma: dY", 1),
    ("discounted = lambda dY, gamma: gamma * dY", 1),
    ("discounted = lambda dY, gamma: dY * gamma ** np.arange(1, dY.shape[-2] + 1)[:, None]", 1),
    ("discounted = lambda dY, gamma: dY * gamma ** np.arange(dY.shape[-2])[::-1, None]", 1)))


def test_the_star_of_the_last_exercise():
    exec(exercise_parts(27)[0][-1], space := {"np": np})
    firsts = set()
    for seed in range(20):
        edges, path = space["star"](rng(seed), 4, 3)
        path = path.tolist()
        assert edges.shape == (12, 2) and sorted(set(edges.ravel())) == list(range(13))
        assert len(set(path)) == 4 and all(list(e) in edges.tolist() for e in itertools.pairwise(path))
        assert (edges[:, 0] == path[0]).sum() == 4 and not (edges[:, 0] == path[-1]).any()
        firsts.add(edges.tolist().index(path[:2]))
    assert len(firsts) > 3


def test_numbers_in_the_text_are_those_of_the_code():
    text, code = text_and_code(27)
    assert "200 steps, for both models" in text and "rng, 200, 5e-3)" in code
    assert "1,200 steps with a fading rate" in text and "rng, 1200, fade=True" in code
    assert "vocabulary of 32,000, 64 contexts" in text and "32_000, 64, 32" in code
    assert "450 sequences; 250 are held out" in text and len(N.progressions(rng())) == 450
    assert "Forty prompts" in text and "80 characters each" in text and "models[4], 80, rng" in code
    size = sum(p.size for p in N.init(rng(), "window", 12, 192, 4, 64, 16).values())
    assert "fewer than 130,000 parameters" in text and 120_000 < size < 130_000


def test_no_number_is_left_open():
    """The public notebook prints the paper's numbers as X."""
    text, code = text_and_code(27)
    assert not any(mark in text + code for mark in ("X%", "X.X", "XX", "TODO", "???"))
