"""Each notebook's functions pass their checks, and every small change of a backward function fails its own.

tests/test_nbNN.py registers CHECKS = {backward function: check(namespace)} and, where a change
computes the same thing, EQUIVALENT = {backward function: {mutant: reason}}.
"""

import ast
import importlib

import numpy as np
import pytest

from tests.mutation import mutants
from tests.support import definition_nodes, function_node, namespace
from tools.catalogue import ROOT, load, present

CHECKED = [p for p in present() if (ROOT / "tests" / f"test_nb{p.number:02d}.py").exists()]


def module(paper):
    return importlib.import_module(f"tests.test_nb{paper.number:02d}")


def pairs():
    return [pytest.param(paper, name, id=f"{paper.number:02d}-{name}")
            for paper in CHECKED for name in module(paper).CHECKS]


def fails(check, space) -> bool:
    """True if the check notices: it raises, or numbers overflow on the way."""
    try:
        with np.errstate(all="ignore"):
            check(space)
    except Exception:
        return True
    return False


@pytest.mark.parametrize("paper", present(), ids=lambda p: p.name)
def test_every_backward_function_has_a_check(paper):
    names = {node.name for node in definition_nodes(paper)
             if isinstance(node, ast.FunctionDef) and node.name.endswith("_backward")}
    if load()[0][paper.number].gradients:
        assert names, f"{paper.name} has no function named *_backward"
    assert names <= module(paper).CHECKS.keys()


@pytest.mark.parametrize("paper, name", pairs())
def test_values_and_gradients_against_the_oracle(paper, name):
    module(paper).CHECKS[name](namespace(paper))


@pytest.mark.parametrize("paper, name", pairs())
def test_every_mutant_is_caught(paper, name):
    check = module(paper).CHECKS[name]
    known = getattr(module(paper), "EQUIVALENT", {}).get(name, {})
    tried = list(mutants(function_node(paper, name)))  # equal expressions in two places are two mutants
    assert len(tried) >= 2, f"only {len(tried)} mutants of {name}"
    survivors = {what for what, changed in tried
                 if not fails(check, namespace(paper, {name: changed}))}
    assert survivors == set(known), (
        f"not caught: {sorted(survivors - set(known))}; listed but caught: {sorted(set(known) - survivors)}")
