"""Mark functions of a notebook as an assignment: python -m classroom.mark 13 attention_forward ...

Sets metadata and nothing else. The cells that define the functions become nbgrader's solution cells,
and list the functions under "solutions", since a cell may define helpers as well. For each function the
first cell behind it that checks something becomes a graded cell. Marks that were there before go.
"""

import ast
import re
import sys

from tools import notebook
from tools.catalogue import Paper, select

SCHEMA = 3
POINTS_VISIBLE, POINTS_HIDDEN = 1, 3          # of a check that students see; of a function's hidden check


def metadata(grade_id: str, points: int | None = None) -> dict:
    """nbgrader's metadata of a solution cell, or with points of a graded cell."""
    graded = points is not None
    marks = {"schema_version": SCHEMA, "grade_id": grade_id, "grade": graded, "solution": not graded,
             "locked": graded, "task": False}
    return marks | {"points": points} if graded else marks


def defined(source: str) -> list[str]:
    """Functions that a cell defines at its top level."""
    return [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]


def checks_something(source: str) -> bool:
    """True if a cell, outside of the functions it defines, asserts or calls a check."""
    body = ast.parse(source).body
    outside = [node for node in body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    text = "\n".join(ast.unparse(node) for node in outside)
    return bool(re.search(r"^\s*assert |\b\w*check\w*\(", text, flags=re.M))


def mark(nb, names: list[str]) -> None:
    """Set the marks in a notebook. ValueError if a function is missing or nothing behind it checks."""
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
        behind = (i for i in range(home[0] + 1, len(cells)) if checks_something(cells[i].source)
                  and not {"scoreboard", "self-check"} & set(notebook.tags(cells[i]))
                  and not any(tag.startswith("idiom-") for tag in notebook.tags(cells[i])))
        found = next(behind, None)
        if found is None:
            raise ValueError(f"no cell behind {name!r} checks anything")
        graded.setdefault(found, f"check-{name}")
    for i, grade_id in graded.items():
        if "nbgrader" in cells[i].metadata:
            raise ValueError(f"{grade_id}: the cell that checks also defines a solution")
        cells[i].metadata["nbgrader"] = metadata(grade_id, POINTS_VISIBLE)


def solutions(nb) -> list[str]:
    """Functions in the solution cells of a notebook, in their order."""
    return [name for cell in notebook.code_cells(nb) for name in cell.metadata.get("solutions", [])]


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
