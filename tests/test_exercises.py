"""Every self-check of the exercises: the printed solution passes, wrong answers fail, no answer is said so.

tests/test_nbNN.py registers EXERCISES, see support.Exercises.
"""

import importlib
import re

import numpy as np
import pytest

from tests.support import exercise_parts
from tools.catalogue import ROOT, present

MODULES = {p.number: importlib.import_module(f"tests.test_nb{p.number:02d}") for p in present()
           if (ROOT / "tests" / f"test_nb{p.number:02d}.py").exists()}
REGISTERED = {number: module.EXERCISES for number, module in MODULES.items() if hasattr(module, "EXERCISES")}
WRONG = [pytest.param(number, wrong, which, id=f"{number:02d}-{which}-{k}")
         for number, exercises in REGISTERED.items() for k, (wrong, which) in enumerate(exercises.wrong)]


@pytest.mark.parametrize("number", REGISTERED)
def test_solutions_run_and_pass_their_checks(number, capsys):
    """All solutions in their order, those that train with the short runs of the space."""
    space, (solutions, checks) = REGISTERED[number].space(), exercise_parts(number)
    assert len(checks) >= 2 and len(solutions) >= len(checks)
    for code in (*solutions, *checks):
        exec(code, space)
    assert "not attempted" not in capsys.readouterr().out
    assert set(space.get("errors", ())) == set(REGISTERED[number].errors)


@pytest.mark.parametrize("number, wrong, which", WRONG)
def test_wrong_answers_are_refused(number, wrong, which):
    space = REGISTERED[number].space()
    exec(wrong, space)
    with np.errstate(all="ignore"), pytest.raises(AssertionError):
        exec(exercise_parts(number)[1][which], space)


@pytest.mark.parametrize("number", REGISTERED)
def test_every_self_check_refuses_something(number):
    assert {which for _, which in REGISTERED[number].wrong} == set(range(len(exercise_parts(number)[1])))


@pytest.mark.parametrize("number", REGISTERED)
def test_without_an_answer_the_checks_say_so(number, capsys):
    space = REGISTERED[number].space()
    for check in exercise_parts(number)[1]:
        names = re.findall(r"(\w+) is None", check.splitlines()[0])
        assert names, check
        exec(check, space | dict.fromkeys(names))
        assert "not attempted yet" in capsys.readouterr().out
