"""Check one function of a reader or student against the notebook's own, on inputs they have not seen.

Everything else comes from the notebook: whoever has a mistake in one function is not told that the
functions that use it are wrong as well.
"""

import ast
import copy
import functools
import importlib
from collections.abc import Callable
from types import FunctionType, SimpleNamespace

import numpy as np

from classroom.compare import difference
from classroom.inputs import ASKING, CONSTANTS
from tests.support import execute
from tools import notebook
from tools.catalogue import load


class Wrong(AssertionError):
    """An answer that is not right; the message says where."""


def partner(name: str) -> str | None:
    """lstm_backward -> lstm_forward; None for other names."""
    return name.removesuffix("_backward") + "_forward" if name.endswith("_backward") else None


def visible(name: str, result):
    """What a forward function promises: its value without the cache, whose layout is its own affair."""
    if name.endswith("_forward") and isinstance(result, tuple) and len(result) > 1:
        return result[:-1] if len(result) > 2 else result[0]
    return result


def transplant(function: FunctionType, theirs: dict, ours: dict) -> FunctionType:
    """Their function among our functions; helpers that only they have come along."""
    moved = FunctionType(function.__code__, theirs | ours, function.__name__, function.__defaults__,
                         function.__closure__)
    moved.__kwdefaults__ = function.__kwdefaults__
    return moved


def attempt(function: Callable, args, kwargs):
    """(result, None) or (None, what went wrong)."""
    try:
        with np.errstate(all="ignore"):
            return function(*args, **kwargs), None
    except NotImplementedError:
        return None, "not written yet"
    except Exception as error:
        return None, f"raised {type(error).__name__}: {error}"


class Watch:
    """Stands in for a function of the notebook: calls it, and asks theirs the same question."""

    def __init__(self, name: str, ours: Callable, theirs: Callable, caches: dict):
        self.name, self.ours, self.theirs, self.caches = name, ours, theirs, caches
        self.asked, self.problem = 0, None
        functools.update_wrapper(self, ours)

    def __call__(self, *args, **kwargs):
        question = None if self.problem else copy.deepcopy((args, kwargs))
        expected = self.ours(*args, **kwargs)
        if question:
            self.asked += 1
            changed = difference("arguments", question[0], args, 0) is not None
            self.problem = self.compare(*question, expected, args, args if changed else None)
        return expected

    def compare(self, args, kwargs, expected, originals, after) -> str | None:
        """What is wrong with their answer, or None. A backward function may use our cache or its own.

        after: the arguments as our function left them, if it changed them in place.
        """
        problem = self.against(args, kwargs, expected, after)
        own = [self.caches.get(id(a)) for a in originals]
        if problem and any(pair is not None for pair in own):
            swapped = [a if pair is None else pair[1] for a, pair in zip(args, own, strict=True)]
            problem = self.against(swapped, kwargs, expected, after)
        return problem

    def against(self, args, kwargs, expected, after) -> str | None:
        args = copy.deepcopy(args)
        result, failed = attempt(self.theirs, args, kwargs)
        if failed:
            return f"{self.name}: {failed}"
        what = f"gradient from {self.name}" if self.name.endswith("_backward") else self.name
        problem = difference(what, visible(self.name, result), visible(self.name, expected))
        if after is not None:
            problem = problem or difference(f"{self.name}, arguments changed in place", args, after)
        return problem


def remember_caches(ours: Callable, theirs: Callable, caches: dict) -> Callable:
    """Our forward function; for each cache that it returns, their forward function's is kept beside it."""
    @functools.wraps(ours)
    def forward(*args, **kwargs):
        result, failed = attempt(theirs, *copy.deepcopy((args, kwargs)))
        expected = ours(*args, **kwargs)
        if not failed and isinstance(result, tuple) and isinstance(expected, tuple):
            caches[id(expected[-1])] = expected[-1], result[-1]       # the first keeps the id alive
        return expected
    return forward


def definitions(number: int, replace: dict[str, ast.stmt] | None = None) -> dict:
    """Globals of notebook NN with its definitions, and with the constants that its functions need."""
    paper = load()[0][number]
    space = execute(paper, replace)
    for source in notebook.sources(paper.path) if number in CONSTANTS else ():
        for node in ast.parse(source).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in CONSTANTS[number]:
                exec(compile(ast.Module([node], []), paper.name, "exec"), space)
    return space


def delegate(name: str) -> ast.stmt:
    """A definition of the same name that calls what __watched__ holds, also from tables of functions."""
    return ast.parse(f"def {name}(*args, **kwargs):\n"
                     f"    return __watched__[{name!r}](*args, **kwargs)\n").body[0]


def checks_of(number: int) -> dict[str, Callable]:
    """CHECKS of tests/test_nbNN.py: backward function -> check(namespace) on golden vectors."""
    return importlib.import_module(f"tests.test_nb{number:02d}").CHECKS


def questions(number: int, name: str) -> list[Callable[[SimpleNamespace], None]]:
    """What makes the notebook call this function on inputs that are not in the notebook, best first."""
    def asked(space: SimpleNamespace):
        ASKING[number](space).get(name, lambda: None)()

    checks = checks_of(number)
    backward = name.removesuffix("_forward") + "_backward"
    first = [checks[n] for n in (name, backward) if n in checks]
    return [asked] * (number in ASKING) + first + [check for check in checks.values() if check not in first]


def check(number: int, name: str, space: dict) -> str:
    """Check space[name] against notebook NN's function of that name; a line of praise.

    Raises Wrong, with a line that says where it differs, and KeyError if the notebook has no such function.
    """
    ours = definitions(number)
    if name not in ours:
        raise KeyError(f"notebook {number:02d} defines no function {name!r}")
    given = space.get(name)
    if not isinstance(given, FunctionType):
        raise Wrong(f"{name}: there is no function of this name; has it been renamed?")
    caches: dict = {}
    watched = {name: Watch(name, ours[name], transplant(given, space, ours), caches)}
    forward = partner(name)
    if forward in ours and isinstance(space.get(forward), FunctionType):
        theirs = transplant(space[forward], space, ours)
        watched[forward] = remember_caches(ours[forward], theirs, caches)
    asking = definitions(number, {n: delegate(n) for n in watched})
    asking["__watched__"] = watched
    watch = watched[name]
    for question in questions(number, name):
        question(SimpleNamespace(**asking))
        if watch.problem:
            raise Wrong(watch.problem)
        if watch.asked:
            return f"{name}: right, on {watch.asked} questions that are not in the notebook"
    raise KeyError(f"no check of notebook {number:02d} calls {name!r}")


def verdict(number: int, name: str, space: dict) -> str:
    """The same as one line, also if the answer is wrong: for a practice notebook."""
    try:
        return check(number, name, space)
    except Wrong as wrong:
        return f"Not right yet. {wrong}"
