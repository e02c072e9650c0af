"""Mark functions of a notebook as an assignment: python -m classroom.mark 13 attention_forward ...

Sets metadata and nothing else. The cells that define the functions become nbgrader's solution cells,
and list the functions under "solutions", since a cell may define helpers as well. For each function the
first cell behind it that checks what comes out of it, if there is one, becomes a graded cell. Marks that
were there before go.
"""

import ast
import re
import sys

from tools import notebook
from tools.catalogue import Paper, select

SCHEMA = 3
POINTS_VISIBLE, POINTS_HIDDEN = 1, 3          # of a check that students see; of a function's hidden check
NEAR = 30                                     # code cells between a function and a check that belongs to it


def metadata(grade_id: str, points: int | None = None) -> dict:
    """nbgrader's metadata of a solution cell, or with points of a graded cell."""
    graded = points is not None
    marks = {"schema_version": SCHEMA, "grade_id": grade_id, "grade": graded, "solution": not graded,
             "locked": graded, "task": False}
    return marks | {"points": points} if graded else marks


def marks_of(cell) -> dict:
    """nbgrader's metadata of a cell; empty if it does not count."""
    return cell.metadata.get("nbgrader", {})


def defined(source: str) -> list[str]:
    """Functions that a cell defines at its top level."""
    return [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]


def names_in(node: ast.AST, context: type = ast.Load) -> set[str]:
    """Global names that a statement reads, or with ast.Store sets.

    Not read are names that the statement itself sets: variables of loops, arguments, locals of functions.
    """
    def names(part: ast.AST, context: type) -> set[str]:
        return {n.id for n in ast.walk(part) if isinstance(n, ast.Name) and isinstance(n.ctx, context)}

    own = {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}
    for part in ast.walk(node):
        if isinstance(part, ast.comprehension):
            own |= names(part.target, ast.Store)
    if context is ast.Load:
        for part in ast.walk(node):
            if isinstance(part, ast.For | ast.NamedExpr):
                own |= names(part.target, ast.Store)
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            own |= names(node, ast.Store)
    return names(node, context) - own


def checking_cells(cells: list, name: str) -> list[int]:
    """Cells with an assert, or a call of a check, on something that came out of the named function.

    Follows values through functions, classes and variables from cell to cell, by reading the code.
    """
    touched, found = {name}, []
    for i, cell in enumerate(cells):
        for node in ast.parse(cell.source).body:
            reached = bool(names_in(node) & touched)
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                touched |= {node.name} if reached else set()
                continue
            if reached and re.search(r"^\s*assert |\b\w*check\w*\(", ast.unparse(node), flags=re.M):
                found.append(i)
            assigned = names_in(node, ast.Store)
            touched = touched | assigned if reached else touched - assigned
    return sorted(set(found))


def mark(nb, names: list[str]) -> None:
    """Set the marks in a notebook. ValueError if a function is missing or no cell checks any."""
    cells = notebook.code_cells(nb)
    for cell in cells:
        cell.metadata.pop("nbgrader", None)
        cell.metadata.pop("solutions", None)
    graded = {}
    for name in names:
        home = [i for i, cell in enumerate(cells) if name in defined(cell.source)]
        if len(home) != 1:
            raise ValueError(f"function {name!r} is defined in {len(home)} cells: expected one")
        meta = cells[home[0]].metadata
        meta["solutions"] = [*meta.get("solutions", []), name]
        meta["nbgrader"] = metadata(meta["solutions"][0])
        behind = (i for i in checking_cells(cells, name) if 0 < i - home[0] <= NEAR
                  and not {"scoreboard", "self-check"} & set(notebook.tags(cells[i]))
                  and not any(tag.startswith("idiom-") for tag in notebook.tags(cells[i])))
        if (found := next(behind, None)) is not None:
            graded.setdefault(found, f"check-{name}")
    if not graded:
        raise ValueError(f"no cell checks any of {', '.join(map(repr, names))}")
    for i, grade_id in graded.items():
        if "nbgrader" in cells[i].metadata:
            raise ValueError(f"{grade_id}: the cell that checks also defines a solution")
        cells[i].metadata["nbgrader"] = metadata(grade_id, POINTS_VISIBLE)


def solutions(nb) -> list[str]:
    """Functions in the solution cells of a notebook, in their order."""
    return [name for cell in notebook.code_cells(nb) for name in cell.metadata.get("solutions", [])]


def points(nb) -> tuple[int, int]:
    """Points of an assignment: for the checks that students see, and for the hidden ones."""
    visible = sum(marks_of(cell).get("points", 0) for cell in notebook.code_cells(nb))
    return visible, POINTS_HIDDEN * len(solutions(nb))


def main(words: list[str]) -> int:
    if len(words) < 2:
        print("usage: python -m classroom.mark NN function ...", file=sys.stderr)
        return 2
    paper: Paper = select(words[:1])[0]
    nb = notebook.read(paper.path)
    try:
        mark(nb, words[1:])
    except ValueError as error:
        print(f"{paper.name}: {error}", file=sys.stderr)
        return 1
    notebook.write(nb, paper.path)
    print(f"{paper.name}: {', '.join(solutions(nb))}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
