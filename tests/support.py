"""Shared by the tests: a notebook's definitions without its training, golden vectors, comparison."""

import ast
import builtins
import functools
from types import SimpleNamespace

import numpy as np

from tools import notebook
from tools.catalogue import ROOT, Paper, load

REFERENCE = ROOT / "data" / "reference"


def is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def defines_constant(node: ast.stmt) -> bool:
    """True for NAME = literal and for A, B = literals, with names in capitals."""
    if not isinstance(node, ast.Assign) or len(node.targets) != 1 or not is_literal(node.value):
        return False
    target = node.targets[0]
    names = target.elts if isinstance(target, ast.Tuple) else [target]
    return all(isinstance(name, ast.Name) and name.id.isupper() for name in names)


@functools.cache
def definition_nodes(paper: Paper) -> tuple[ast.stmt, ...]:
    """Imports, functions, classes and literal constants of a notebook, in their order."""
    wanted = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    return tuple(node for cell in notebook.code_cells(notebook.read(paper.path))
                 for node in ast.parse(cell.source).body
                 if isinstance(node, wanted) or defines_constant(node))


def namespace(paper: Paper, replace: dict[str, ast.stmt] | None = None) -> SimpleNamespace:
    """A notebook's definitions, executed: no data, no training, no figure.

    replace maps a function's name to the definition to take in its place (a mutant).
    """
    replace = replace or {}
    body = [replace.get(getattr(node, "name", None), node) for node in definition_nodes(paper)]
    # The name of the namespace is not "__main__": nothing that guards on it runs.
    space = {"__name__": f"notebook_{paper.number:02d}", "__builtins__": builtins}
    exec(compile(ast.Module(body=list(body), type_ignores=[]), paper.name, "exec"), space)
    return SimpleNamespace(**space)


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
