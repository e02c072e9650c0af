"""Marks in the notebooks, stubs, and the check of single functions that explains what is wrong."""

import ast
import itertools

import numpy as np
import pytest

from classroom.check import Wrong, check, definitions, verdict
from classroom.compare import difference
from classroom.mark import mark, metadata, solutions
from classroom.practice import practice
from classroom.stub import stub
from tests.mutation import mutants
from tests.support import function_node, rng
from tools import notebook
from tools.catalogue import load, present

MARKED = [p for p in present() if solutions(notebook.read(p.path))]
FUNCTIONS = [pytest.param(paper, name, id=f"{paper.number:02d}-{name}")
             for paper in MARKED for name in solutions(notebook.read(paper.path))]


# --- marks -----------------------------------------------------------------------------------------

def test_every_notebook_is_marked():
    assert MARKED == present()


@pytest.mark.parametrize("paper", MARKED, ids=lambda p: p.name)
def test_marks_are_what_nbgrader_expects(paper):
    cells = notebook.code_cells(notebook.read(paper.path))
    marks = [(i, cell.metadata["nbgrader"]) for i, cell in enumerate(cells) if "nbgrader" in cell.metadata]
    assert len({m["grade_id"] for _, m in marks}) == len(marks)
    for i, m in marks:
        assert dict(m) == metadata(m["grade_id"], m.get("points"))
        assert m["solution"] == ("solutions" in cells[i].metadata) != m["grade"]
    assert 2 <= len(solutions(notebook.read(paper.path))) <= 5
    first = min(i for i, m in marks if m["solution"])
    assert any(m["grade"] and i > first for i, m in marks), "no check behind a solution"


def test_marking_refuses_what_cannot_be():
    nb = notebook.read(load()[0][13].path)
    with pytest.raises(ValueError, match="'attention' is defined in 0 cells: expected one"):
        mark(nb, ["attention"])
    nb = notebook.read(load()[0][24].path)
    with pytest.raises(ValueError, match="no cell checks any of 'uct'"):
        mark(nb, ["uct"])


def test_marking_again_gives_the_same_marks():
    nb = notebook.read(load()[0][13].path)
    before = [dict(cell.metadata) for cell in nb.cells]
    mark(nb, solutions(nb))
    assert [dict(cell.metadata) for cell in nb.cells] == before


# --- stubs -----------------------------------------------------------------------------------------

CELL = '''\
LIMIT = 3                                # stays

def helper(x):
    return x + 1

@cached
def solve(x, y=(1, 2),
          z="a: b"):                     # of the signature
    """x (B, D) -> (B,).

    Raises nothing.
    """
    a = x @ y                            # (B, H)
    # now the gate
    if z:
        # inside
        a = helper(a)
    return a["# no comment"]

def short(x): return x * 2
'''


def test_a_stub_keeps_signature_docstring_comments_and_everything_else():
    left = stub(CELL, ["solve", "short"])
    assert left == '''\
LIMIT = 3                                # stays

def helper(x):
    return x + 1

@cached
def solve(x, y=(1, 2),
          z="a: b"):                     # of the signature
    """x (B, D) -> (B,).

    Raises nothing.
    """
    # (B, H)
    # now the gate
        # inside
    raise NotImplementedError("solve: your code here")

def short(x):
    raise NotImplementedError("short: your code here")
'''
    ast.parse(left)


def test_a_function_without_docstring():
    assert stub("def f(a,\n      b):\n    return a\n", ["f"]) == (
        'def f(a,\n      b):\n    raise NotImplementedError("f: your code here")\n')


def test_a_stub_of_a_missing_function_is_refused():
    with pytest.raises(ValueError, match=r"expected definitions of \['g'\]"):
        stub("def f():\n    pass\n", ["g"])


# --- differences -----------------------------------------------------------------------------------

W = rng(1).normal(size=(4, 4))


@pytest.mark.parametrize("actual, expected, words", [
    (W[:, :3], W, "shape (4, 3), expected (4, 4)"),
    (0.5 * W, W, "relative error 0.5: it is 0.5 times what is expected"),
    (-W, W, "the sign is wrong"),
    (W.T, W, "it is transposed"),
    (np.zeros((4, 4)), W, "it is zero everywhere"),
    (W, 0 * W, "zero is expected"),
    (np.where(W == W[0, 0], 9, W), W, "1 of 16 numbers are wrong"),
    (np.where(W == W[0, 0], np.nan, W), W, "1 of 16 numbers are not finite"),
    (None, W, "a NoneType, expected numbers of shape (4, 4)"),
    ((W,), (W, W), "1 values, expected 2 values"),
    ({"a": W}, {"a": W, "b": W}, "missing keys ['b'], unexpected keys []"),
    ({"a": W, "b": W[0]}, {"a": W, "b": W}, "gradient of b: shape (4,), expected (4, 4)"),
    ("01", "10", "'01', expected '10'"),
])
def test_a_difference_is_named(actual, expected, words):
    assert words in difference("gradient", actual, expected)


@pytest.mark.parametrize("value", [W, 3, "01", None, (W, {"a": [1, 2]}), np.array([np.inf, 1.0]),
                                   [None, True]])
def test_no_difference(value):
    assert difference("value", value, value) is None
    if isinstance(value, np.ndarray):
        assert difference("value", value * (1 + 1e-9), value) is None


# --- checking single functions ---------------------------------------------------------------------

@pytest.mark.parametrize("paper, name", FUNCTIONS)
def test_the_notebooks_own_function_is_right_and_others_are_not(paper, name):
    space = definitions(paper.number)
    assert check(paper.number, name, space).startswith(f"{name}: right, on ")

    exec(stub(f"def {name}(*args, **kwargs):\n    return 1\n", [name]), empty := {})
    assert verdict(paper.number, name, space | empty) == f"Not right yet. {name}: not written yet"
    missing = {key: value for key, value in space.items() if key != name}
    assert "has it been renamed?" in verdict(paper.number, name, missing)

    exec(f"def {name}(*args, **kwargs):\n    return 1.5\n", wrong := {})
    assert verdict(paper.number, name, space | wrong).startswith("Not right yet. ")
    tried = list(itertools.islice(mutants(function_node(paper, name)), 6))
    if name.endswith("_backward"):
        answers = [verdict(paper.number, name, definitions(paper.number, {name: changed}))
                   for _, changed in tried]
        assert tried and all(answer.startswith("Not right yet") for answer in answers), answers


def attempt(code, number=13):
    """Globals of a notebook in which somebody has written this code."""
    space = definitions(number)
    exec(code, space)
    return space


OWN_CACHE = '''
def attention_forward(Q, K, V, mask=None, scaled=True):
    scale = np.sqrt(Q.shape[-1]) if scaled else 1
    scores = Q @ K.swapaxes(-1, -2) / scale
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    A = softmax(scores)
    return A @ V, {"all": (Q, K, V, A, scale)}

def attention_backward(dout, cache):
    Q, K, V, A, scale = cache["all"]
    dA = dout @ V.swapaxes(-1, -2)
    dS = A * (dA - (dA * A).sum(-1, keepdims=True)) / scale
    return dS @ K, dS.swapaxes(-1, -2) @ Q, A.swapaxes(-1, -2) @ dout
'''


def test_a_cache_of_ones_own_is_fine():
    space = attempt(OWN_CACHE)
    assert "right" in check(13, "attention_forward", space)
    assert "right" in check(13, "attention_backward", space)
    assert "right" in check(13, "multi_head_backward", space)


def test_a_mistake_is_not_counted_twice():
    space = attempt(OWN_CACHE.replace("dS @ K,", "2 * dS @ K,"))
    with pytest.raises(Wrong, match="value 0: relative error 0.5: it is 2 times what is expected"):
        check(13, "attention_backward", space)
    for name in ("attention_forward", "multi_head_forward", "multi_head_backward"):
        assert "right" in check(13, name, space)


def test_a_wrong_forward_function_does_not_spoil_the_backward_function():
    space = attempt("def attention_forward(Q, K, V, mask=None, scaled=True):\n    return Q, None\n")
    assert "Not right yet" in verdict(13, "attention_forward", space)
    assert "right" in check(13, "attention_backward", space)


def test_helpers_that_somebody_adds_come_along():
    space = attempt("def my_scale(x):\n    return x / 2\n\ndef diffuse(C):\n"
                    "    P = np.pad(C, 1, mode='edge')\n    return my_scale(C) + "
                    "(P[2:, 1:-1] + P[:-2, 1:-1] + P[1:-1, 2:] + P[1:-1, :-2]) / 8\n", 19)
    assert "right" in check(19, "diffuse", space)


def test_changes_in_place_are_compared():
    assert "arguments changed in place" in verdict(
        19, "apply_move", attempt("def apply_move(A, move, back=False):\n    pass\n", 19))


def test_an_exception_is_told():
    space = attempt("def layer_norm_backward(dy, cache):\n    raise KeyError('g')\n")
    assert verdict(13, "layer_norm_backward", space) == (
        "Not right yet. layer_norm_backward: raised KeyError: 'g'")


def test_a_function_that_the_notebook_does_not_have():
    with pytest.raises(KeyError, match="notebook 13 defines no function 'flash'"):
        check(13, "flash", {"flash": lambda: 0})


# --- practice --------------------------------------------------------------------------------------

@pytest.mark.parametrize("paper", MARKED, ids=lambda p: p.name)
def test_practice_copies_hold_stubs_and_a_check_for_each(paper, capsys):
    nb, names = practice(paper), solutions(notebook.read(paper.path))
    cells = notebook.code_cells(nb)
    assert not any(cell.outputs for cell in cells)
    for name in names:
        (home,) = [cell.source for cell in cells if f"def {name}(" in cell.source]
        node = next(n for n in ast.parse(home).body if getattr(n, "name", "") == name)
        assert isinstance(node.body[-1], ast.Raise) and len(node.body) <= 2
    checking = [cell.source for cell in cells if cell.source.startswith("print(verdict(")]
    assert "\n".join(checking).count("verdict(") == len(names)
    space = definitions(paper.number) | {"verdict": verdict}
    exec(checking[0], space)
    assert f"{names[0]}: right" in capsys.readouterr().out


def test_nothing_is_practised_in_a_notebook_without_marks(monkeypatch):
    monkeypatch.setattr("classroom.practice.solutions", lambda nb: [])
    with pytest.raises(ValueError, match="no solution cells"):
        practice(load()[0][13])


