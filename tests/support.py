"""Shared by the tests: a notebook's definitions without its training, golden vectors, comparison."""

import ast
import builtins
import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from tools import notebook
from tools.catalogue import ROOT, Paper, load

REFERENCE = ROOT / "data" / "reference"


SIMPLE = (ast.Constant, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.Name, ast.Load, ast.Starred, ast.BinOp,
          ast.operator, ast.Compare, ast.cmpop, ast.IfExp, ast.UnaryOp, ast.unaryop, ast.JoinedStr,
          ast.FormattedValue, ast.Attribute)


def is_simple(node: ast.AST, known: set[str]) -> bool:
    """True if an expression is made of literals, known names, arithmetic and str.join only."""
    if isinstance(node, ast.Call):
        if not (isinstance(node.func, ast.Attribute) and node.func.attr == "join" and not node.keywords):
            return False
        return all(is_simple(child, known) for child in [node.func.value, *node.args])
    if isinstance(node, ast.Name) and node.id not in known:
        return False
    return isinstance(node, SIMPLE) and all(is_simple(child, known) for child in ast.iter_child_nodes(node))


def constants(node: ast.stmt, known: set[str]) -> set[str]:
    """Names in capitals that a statement sets to simple expressions; empty if it does anything else."""
    if not isinstance(node, ast.Assign) or len(node.targets) != 1 or not is_simple(node.value, known):
        return set()
    target = node.targets[0]
    names = target.elts if isinstance(target, ast.Tuple) else [target]
    good = all(isinstance(name, ast.Name) and name.id.isupper() for name in names)
    return {name.id for name in names} if good else set()


@functools.cache
def definition_nodes(paper: Paper) -> tuple[ast.stmt, ...]:
    """Imports, functions, classes and simple constants in capitals of a notebook, in their order."""
    found, known = [], set(dir(builtins))
    for source in notebook.sources(paper.path):
        for node in ast.parse(source).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                known |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                known.add(node.name)
            elif names := constants(node, known):
                known |= names
            else:
                continue
            found.append(node)
    return tuple(found)


def execute(paper: Paper, replace: dict[str, ast.stmt] | None = None) -> dict:
    """Globals of a notebook of which only the definitions were run: no data, no training, no figure.

    replace maps a function's name to the definition to take in its place (a mutant).
    """
    replace = replace or {}
    body = [replace.get(getattr(node, "name", None), node) for node in definition_nodes(paper)]
    # The name of the namespace is not "__main__": nothing that guards on it runs.
    space = {"__name__": f"notebook_{paper.number:02d}", "__builtins__": builtins}
    exec(compile(ast.Module(body=list(body), type_ignores=[]), paper.name, "exec"), space)
    return space


def namespace(paper: Paper, replace: dict[str, ast.stmt] | None = None) -> SimpleNamespace:
    """The same as attributes."""
    return SimpleNamespace(**execute(paper, replace))


def definitions(number: int) -> SimpleNamespace:
    """Definitions of notebook NN, as attributes."""
    return namespace(load()[0][number])


def function_node(paper: Paper, name: str) -> ast.FunctionDef:
    """Syntax tree of the last definition of a function. Raises KeyError if there is none."""
    found = [node for node in definition_nodes(paper)
             if isinstance(node, ast.FunctionDef) and node.name == name]
    if not found:
        raise KeyError(f"{paper.name} defines no function {name!r}")
    return found[-1]


def classroom(number: int) -> dict:
    """Fresh globals of notebook NN, to run a reader's cells in: exec(answer, space)."""
    return execute(load()[0][number])


@dataclass(frozen=True)
class Exercises:
    """What tests/test_exercises.py needs to know of a notebook's exercises."""

    space: Callable[[], dict]                   # fresh globals as a reader has them, cheap
    wrong: tuple[tuple[str, int], ...]          # wrong answers as code, and the self-check that refuses each
    errors: tuple[str, ...] = ()                # names that the checks leave in `errors`


def exercise_parts(number: int) -> tuple[list[str], list[str]]:
    """Code of the folded solutions of notebook NN, and its cells that check answers, each in order."""
    nb = notebook.read(load()[0][number].path)
    markdown = [cell.source for cell in nb.cells if cell.cell_type == "markdown"]
    folds = re.findall(r"<details>.*?</details>", "\n".join(markdown), flags=re.S)
    solutions = [code for fold in folds for code in re.findall(r"```python\n(.*?)```", fold, flags=re.S)]
    return solutions, [cell.source for cell in notebook.code_cells(nb) if "self-check" in notebook.tags(cell)]


def idioms() -> SimpleNamespace:
    """The canonical idioms, executed outside a notebook (the style needs a notebook and is left out)."""
    space = {"np": np, "display": lambda *args, **kwargs: None}
    for name in notebook.idiom_names():
        if name != "style":
            exec(compile(notebook.idiom_source(name), name, "exec"), space)
    return SimpleNamespace(**space)


@functools.cache
def golden(name: str) -> dict[str, dict[str, np.ndarray]]:
    """Golden vectors of data/reference/NAME.npz as {case: {name: array}}; arrays are read-only."""
    cases: dict[str, dict[str, np.ndarray]] = {}
    with np.load(REFERENCE / f"{name}.npz") as file:
        for key in file.files:
            case, _, item = key.partition("/")
            array = file[key]
            array.flags.writeable = False  # a function that writes into its inputs fails here
            cases.setdefault(case, {})[item] = array
    return cases


@contextmanager
def untouched(tensors: dict[str, np.ndarray]) -> Iterator[None]:
    """Assert that a block has not written into any of these arrays."""
    before = {k: v.copy() for k, v in tensors.items()}
    yield
    for k, v in tensors.items():
        assert np.array_equal(v, before[k]), f"{k} was written to"


def like_parameters(G: dict[str, np.ndarray], P: dict[str, np.ndarray]) -> None:
    """Assert that gradients have the names, shapes and dtypes of their parameters."""
    wanted = {k: (p.shape, p.dtype) for k, p in P.items()}
    assert {k: (g.shape, g.dtype) for k, g in G.items()} == wanted


def part(case: dict, prefix: str) -> dict:
    """Entries of a case below a prefix: part(case, "P.") -> {"W": ...} from "P.W"."""
    return {key.removeprefix(prefix): value for key, value in case.items() if key.startswith(prefix)}


def close(actual, expected, tol=1e-10, what="value") -> None:
    """Assert equal shapes and max |actual - expected| <= tol * max(1, max |expected|)."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    assert np.isfinite(actual).all(), f"{what}: not finite"
    error = np.max(np.abs(actual - expected), initial=0.0)
    bound = tol * max(1.0, np.max(np.abs(expected), initial=0.0))
    assert error <= bound, f"{what}: differs by {error:.2e}, allowed {bound:.2e}"


def close_dicts(actual: dict, expected: dict, tol=1e-10, what="gradient of") -> None:
    """The same keys, and each pair close()."""
    assert actual.keys() == expected.keys(), f"{what}: keys {sorted(actual.keys() ^ expected.keys())}"
    for key in expected:
        close(actual[key], expected[key], tol, f"{what} {key}")


def rng(seed: int = 0) -> np.random.Generator:
    """A generator for a test's data; the same for the same seed."""
    return np.random.default_rng(seed)


def refuses(call: Callable[[], object], words: str) -> None:
    """Assert a ValueError that matches words (the bad value) and says what was expected or what there is."""
    with pytest.raises(ValueError, match=words) as caught:
        call()
    said = str(caught.value)
    assert re.search("expect|need|must|has to|there are", said), f"not said what was expected: {said}"


def text_and_code(number: int) -> tuple[str, str]:
    """All Markdown of a notebook and all its code, each as one string."""
    nb = notebook.read(load()[0][number].path)
    text = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    return text, "\n".join(cell.source for cell in notebook.code_cells(nb))
