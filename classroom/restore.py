"""A copy for grading: the assignment as it was handed out, with what a student wrote put in.

Whatever happened to the other cells of the submission, checks and data are those of the release.
"""

import ast
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

from classroom.mark import defined, marks_of
from tools import notebook

LARGEST = 200 * 2**20                                     # bytes of a file that is read at all


class Unreadable(ValueError):
    """A submission that is no notebook; the message says why."""


@dataclass
class Cell:
    """A code cell of a submission, as far as it is of use."""

    source: str
    id: str = ""
    grade_id: str = ""


@dataclass
class Restored:
    nb: nbformat.NotebookNode
    remarks: list[str] = field(default_factory=list)


def cells_of(path: Path) -> list[Cell]:
    """Code cells of a submitted file. Raises Unreadable; ignores what else is in it."""
    if path.stat().st_size > LARGEST:
        raise Unreadable(f"the file has {path.stat().st_size / 2**20:.0f} MiB: expected at most "
                         f"{LARGEST / 2**20:.0f}")
    try:
        raw = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not JSON: {error}") from None
    if not isinstance(raw, dict) or not isinstance(raw.get("cells"), list):
        raise Unreadable("not a notebook: expected an object with a list of cells (notebook format 4)")
    found = []
    for cell in raw["cells"]:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source, meta = cell.get("source", ""), cell.get("metadata")
        source = "".join(map(str, source)) if isinstance(source, list) else str(source)
        marks = meta.get("nbgrader") if isinstance(meta, dict) else None
        grade_id = marks.get("grade_id") if isinstance(marks, dict) else ""
        found.append(Cell(source, str(cell.get("id", "")), str(grade_id or "")))
    return found


def own_definitions(source: str, known: set[str]) -> str:
    """Functions and imports of a cell that the release does not have; "" if the cell has a syntax error."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return ""
    new = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)
           or isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name not in known]
    if not any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in new):
        return ""
    return "\n\n".join(ast.get_source_segment(source, node) for node in new)


def match(nb, theirs: list[Cell]) -> dict[int, int]:
    """Position of a code cell of the release -> position of their version of it, where there is one.

    Marked cells are found by grade_id, a solution also by the functions that it defines, other cells by
    id or text. Of several versions of a solution the last one counts.
    """
    found = {}
    for i, cell in enumerate(nb.cells):
        if cell.cell_type != "code":
            continue
        names, grade_id = cell.metadata.get("solutions", []), marks_of(cell).get("grade_id")
        if grade_id:
            same = [j for j, c in enumerate(theirs) if c.grade_id == grade_id]
        else:
            same = [j for j, c in enumerate(theirs) if c.id == cell.id or c.source == cell.source]
        if names and not same:
            same = [j for j, c in enumerate(theirs)
                    if all(re.search(rf"^def {name}\(", c.source, re.M) for name in names)]
        if same:
            found[i] = same[-1]
    return found


def remarks(nb, theirs: list[Cell], matched: dict[int, int]) -> list[str]:
    """What was not as it was handed out, among the cells that count."""
    found = []
    for i, cell in enumerate(nb.cells):
        names, grade_id = cell.metadata.get("solutions"), marks_of(cell).get("grade_id")
        if names and i not in matched:
            found.append(f"the cell of {', '.join(names)} is missing: left as it was handed out")
        elif not names and grade_id and i not in matched:
            found.append(f"the locked cell {grade_id} was deleted: restored")
        elif not names and grade_id and theirs[matched[i]].source != cell.source:
            found.append(f"the locked cell {grade_id} was changed: restored")
    return found


def additions(nb, theirs: list[Cell], matched: dict[int, int]) -> dict[int, list[str]]:
    """Position in the release -> code of the student's own that stood behind it; -1: before everything."""
    known = {name for cell in nb.cells if cell.cell_type == "code" for name in defined(cell.source)}
    handed_out = {cell.source for cell in nb.cells}
    home, found, position = {j: i for i, j in matched.items()}, {}, -1
    for j, cell in enumerate(theirs):
        position = home.get(j, position)
        if cell.source in handed_out or "solutions" in nb.cells[home.get(j, 0)].metadata:
            continue
        added = own_definitions(cell.source, known) if j in home else cell.source
        if added.strip():
            found.setdefault(position, []).append(added)
    return found


def restore(released: Path, submitted: Path) -> Restored:
    """Put what a student wrote into the assignment as it was handed out. Raises Unreadable.

    Solutions are the student's; all other cells of the release are as they were. Cells of the student's
    own stay behind the cell that they followed, and functions added to another cell come along.
    """
    nb, theirs = notebook.read(released), cells_of(submitted)
    matched = match(nb, theirs)
    copy = Restored(nb, remarks(nb, theirs, matched))
    added = additions(nb, theirs, matched)
    cells = [nbformat.v4.new_code_cell(source) for source in added.get(-1, [])]
    for i, cell in enumerate(nb.cells):
        if "solutions" in cell.metadata and i in matched:
            cell.source = theirs[matched[i]].source
        cells += [cell, *(nbformat.v4.new_code_cell(source) for source in added.get(i, []))]
    nb.cells = cells
    return copy
