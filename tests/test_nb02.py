"""Notebook 02: cells, loss, sampling, grammar and count model against PyTorch and brute force."""

import itertools
import math
import re

import numpy as np
import pytest

from tests.support import Exercises, classroom, close, close_dicts, definitions, golden, part

NB = definitions(2)
GOLD = golden("02")


def states(case):
    return tuple(part(case, "s0.").values())


def check_cell(kind):
    """Forward values, and gradients of all weights and initial states, as PyTorch's cell has them."""
    def check(nb):
        case = GOLD[kind]
        forward, backward = getattr(nb, f"{kind}_forward"), getattr(nb, f"{kind}_backward")
        out, cache = forward(case["ids"], states(case), part(case, "P."))
        close(out[0], case["h"], what="h")
        ds0, G = backward(case["dh"], cache)
        close_dicts(G, part(case, "G."))
        assert len(ds0) == len(states(case))
        for k, ds in enumerate(ds0):
            close(ds, case[f"ds0.{k}"], what=f"ds0[{k}]")
    return check


def check_softmax_loss(nb):
    case = GOLD["softmax_loss"]
    loss, cache = nb.softmax_loss_forward(case["h"], case["targets"], part(case, "P."))
    close(loss, case["loss"], what="loss")
    dh, G = nb.softmax_loss_backward(cache)
    close(dh, case["dh"], what="dh")
    close_dicts(G, part(case, "G."))


def check_both_cells(nb):
    check_cell("rnn")(nb)
    check_cell("lstm")(nb)


CHECKS = {"rnn_backward": check_cell("rnn"), "lstm_backward": check_cell("lstm"),
          "softmax_loss_backward": check_softmax_loss, "weights_backward": check_both_cells}


@pytest.mark.parametrize("name", CHECKS)
def test_golden(name):
    CHECKS[name](NB)


@pytest.mark.parametrize("kind", ["rnn", "lstm"])
def test_whole_model(kind):
    case = GOLD[f"{kind}_model"]
    P = part(case, "P.")
    loss, _, G, ds0 = NB.loss_and_gradients(kind, case["ids"], case["targets"], states(case), P)
    close(loss, case["loss"], what="loss")
    close_dicts(G, part(case, "G."))
    for k, ds in enumerate(ds0):
        close(ds, case[f"ds0.{k}"], what=f"ds0[{k}]")


@pytest.mark.parametrize("kind, H", [("rnn", 3), ("rnn", 9), ("lstm", 2), ("lstm", 7)])
def test_gradient_check_at_other_shapes(kind, H):
    rng = np.random.default_rng(5)
    assert NB.check_model(kind, NB.init(kind, H, NB.V, rng), rng, B=4, T=3) < 1e-6


@pytest.fixture(autouse=True)
def vocabulary_size():
    """V is a variable of the notebook's text; its functions for the checks read it."""
    for name in ("check_model", "train_model", "check_cell"):
        getattr(NB, name).__globals__["V"] = NB.V = 6


def test_backward_leaves_the_cache_as_it_was():
    """Twice the same answer: nothing accumulates between calls."""
    case = GOLD["lstm"]
    _, cache = NB.lstm_forward(case["ids"], states(case), part(case, "P."))
    first, second = (NB.lstm_backward(case["dh"], cache)[1] for _ in range(2))
    close_dicts(first, second, 0)


def test_state_can_be_carried():
    """Two chunks with a carried state are one long chunk."""
    case = GOLD["lstm"]
    P, s = part(case, "P."), states(case)
    whole, _ = NB.lstm_forward(case["ids"], s, P)
    (h, c), _ = NB.lstm_forward(case["ids"][:, :2], s, P)
    (h2, _), _ = NB.lstm_forward(case["ids"][:, 2:], (h[:, -1], c[:, -1]), P)
    close(np.concatenate([h, h2], axis=1), whole[0])


def test_readable_step_is_the_fast_one():
    case = GOLD["rnn"]
    P, h = part(case, "P."), states(case)[0][0]
    for t, char in enumerate(case["ids"][0]):
        h = NB.rnn_step(char, h, P)
        close(h, case["h"][0, t])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_training_stays_in_its_precision(dtype):
    P = NB.init("lstm", 3, 6, np.random.default_rng(0), dtype)
    ids = np.random.default_rng(1).integers(6, size=(2, 4))
    _, states, G, ds0 = NB.loss_and_gradients("lstm", ids, ids, NB.zero_state("lstm", P, 2), P)
    assert {a.dtype for a in (*states, *G.values(), *ds0)} == {np.dtype(dtype)}


def test_adagrad():
    """Karpathy's rule: the root of the accumulated squares, with 1e-8 inside."""
    P, memory = {"w": np.array([1.0, -2.0])}, {"w": np.array([9.0, 0.0])}
    NB.adagrad_update(P, {"w": np.array([4.0, 1.0])}, memory, lr=0.5)
    np.testing.assert_allclose(P["w"], [1 - 0.5 * 4 / 5, -2 - 0.5], rtol=1e-7)


def test_loss_does_not_overflow():
    P = {"W_hy": np.array([[1000.0, -1000.0, 0.0]], np.float32), "b_y": np.zeros(3, np.float32)}
    loss, cache = NB.softmax_loss_forward(np.ones((1, 1, 1), np.float32), np.array([[1]]), P)
    assert loss == pytest.approx(2000) and np.isfinite(NB.softmax_loss_backward(cache)[0]).all()


# --- grammar --------------------------------------------------------------------------------------

def test_entropy_rate_by_enumeration():
    """A small grammar of the same form, every sentence listed with its probability."""
    changed = {"NAMES": ["a", "bc"], "WORDS": ["a", "bc", "def"], "P_NEST": [0.6, 0.0],
               "P_KIND": [0.5, 0.2, 0.3], "P_MORE": 0.4, "MAX_WORDS": 2}
    space = NB.line_entropy_and_length.__globals__
    old = {k: space[k] for k in changed}
    space.update(changed)
    try:
        bits, chars = NB.line_entropy_and_length()
    finally:
        space.update(old)
    operands = {"a": 0.25, "bc": 0.25} | {str(d): 0.02 for d in range(10)}
    operands |= {f'"{w}"': 0.3 * 0.6 / 3 for w in changed["WORDS"]}
    operands |= {f'"{v} {w}"': 0.3 * 0.4 / 9 for v, w in itertools.product(changed["WORDS"], repeat=2)}
    values = {text: 0.4 * p for text, p in operands.items()}
    values |= {f"({x} {op} {y})": 0.6 * p * q / 4
               for (x, p), (y, q) in itertools.product(operands.items(), repeat=2) for op in "+-*/"}
    lines = {f"{name} = {x};\n": p / 2 for name in changed["NAMES"] for x, p in values.items()}
    assert sum(lines.values()) == pytest.approx(1)
    assert bits == pytest.approx(-sum(p * math.log2(p) for p in lines.values()))
    assert chars == pytest.approx(sum(p * len(line) for line, p in lines.items()))


def test_generated_lines_are_valid_and_reproducible():
    text, bits = NB.program(np.random.default_rng(3), 5000)
    assert (text, bits) == NB.program(np.random.default_rng(3), 5000)
    assert len(text) >= 5000 and bits > 0 and all(map(NB.is_valid, text.splitlines()))


@pytest.mark.parametrize("line", ["sum = 1", "sum = 12;", 'sum = "the red;', "sum = (1 + 2);;", "sum =1;",
                                  "sum = (1 + (2 - 3);", "sum = ();", 'sum = "";', "SUM = 1;",
                                  'sum = "the the the the the the the";', "sum = (1 ^ 2);"])
def test_the_judge_refuses(line):
    assert not NB.is_valid(line)


def test_secrets():
    track = NB.secrets('a = ("b" + (1 - 2));\nc')
    assert "".join(map(str, track["quote"])) == "0000011000000000000000"
    assert "".join(map(str, track["depth"])) == "0000111111122222210000"
    assert track["position"].tolist() == [*range(1, 21), 0, 1]


def test_encode_round_trip():
    vocabulary = sorted(set("hello world"))
    assert NB.decode(NB.encode("hello world", vocabulary), vocabulary) == "hello world"


# --- count model, sampling ------------------------------------------------------------------------

def test_ngram_is_the_one_of_the_dictionaries():
    case = {k: v[()] if v.ndim == 0 else v for k, v in GOLD["ngram"].items()}
    bits = NB.ngram_losses(case["train"], case["test"], case["V"], case["order"], case["discount"])
    close(bits, case["bits"])


def test_sampling_follows_the_softmax():
    """One step, many streams: shares as exp(score / temperature) says."""
    P = NB.init("rnn", 3, 4, np.random.default_rng(0), np.float64)
    prompt = np.tile([[0, 2]], (20_000, 1))
    out = NB.sample("rnn", P, prompt, 1, 0.7, np.random.default_rng(1))[:, 0]
    (h,), _ = NB.rnn_forward(prompt[:1], NB.zero_state("rnn", P, 1), P)
    p = np.exp((h[0, -1] @ P["W_hy"] + P["b_y"]) / 0.7)
    np.testing.assert_allclose(np.bincount(out, minlength=4) / len(out), p / p.sum(), atol=0.015)


def test_cold_sampling_takes_the_best():
    P = NB.init("lstm", 3, 4, np.random.default_rng(0), np.float64)
    out = NB.sample("lstm", P, np.array([[1]]), 30, 1e-9, np.random.default_rng(1))
    (h, _), _ = NB.lstm_forward(np.concatenate([[[1]], out[:, :-1]], axis=1), NB.zero_state("lstm", P, 1), P)
    assert np.array_equal((h[0] @ P["W_hy"] + P["b_y"]).argmax(axis=1), out[0])


# --- bad input ------------------------------------------------------------------------------------

def test_an_unknown_character_of_the_prompt_is_named():
    message = "unknown character '?' at position 3, expected one of 'abc'"
    with pytest.raises(ValueError, match=re.escape(message)):
        NB.encode("abc?", list("abc"))


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan")])
def test_bad_temperature(temperature):
    P = NB.init("rnn", 2, 3, np.random.default_rng(0))
    with pytest.raises(ValueError, match="temperature is .*, expected a number above 0"):
        NB.sample("rnn", P, np.array([[0]]), 1, temperature, np.random.default_rng(0))


def test_empty_prompt():
    P = NB.init("rnn", 2, 3, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"prompt has shape \(1, 0\)"):
        NB.sample("rnn", P, np.zeros((1, 0), int), 1, 1.0, np.random.default_rng(0))


@pytest.mark.parametrize("n_chars", [0, -5])
def test_bad_length(n_chars):
    with pytest.raises(ValueError, match=f"n_chars is {n_chars}"):
        NB.program(np.random.default_rng(0), n_chars)


def test_bad_kind_and_order():
    with pytest.raises(ValueError, match="kind is 'gru'"):
        NB.init("gru", 2, 3, np.random.default_rng(0))
    with pytest.raises(ValueError, match="order is 0"):
        NB.ngram_losses(np.zeros(3, int), np.zeros(3, int), 2, 0)


# --- exercises -------------------------------------------------------------------------------------

def readers_space():
    """The notebook's globals as a reader has them before the exercises; a short text, a fresh network."""
    space, rng = classroom(2), np.random.default_rng(6)
    text, _ = space["program"](rng, 3000)
    vocabulary = sorted(set(text))
    P, test = space["init"]("lstm", 8, len(vocabulary), rng), space["encode"](text, vocabulary)
    depth, quote, _ = space["secrets"](text).values()
    forced = space["after_operand"](text, depth, quote)
    return space | {"models": {"lstm": P}, "test": test, "vocabulary": vocabulary, "H": 8,
                    "trained": {"depth": (0.5, 3)}, "forced": forced,
                    "structure": {"lstm": space["evaluate"]("lstm", P, test)[0][forced].mean()}}


EXERCISES = Exercises(space=readers_space, wrong=(
    ("greedy = lambda kind, P, prompt, n: sample(kind, P, prompt, n, 1.0, np.random.default_rng(1))", 0),
    ("greedy = lambda kind, P, prompt, n: np.zeros((len(prompt), n), int)", 0),
    ("switch_off = lambda P, cell: P", 1),
    ("switch_off = lambda P, cell: P | {'b_h': np.where(np.arange(32) == 8 + cell, -1e4, P['b_h'])}", 1),
    ("switch_off = lambda P, cell: P | {'b_h': np.where(np.arange(32) % 8 == cell, -1e4, P['b_h'])}", 1)))
