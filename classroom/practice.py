"""Notebooks with the solutions taken out, to practise alone: python -m classroom.practice 13

Writes practice/13_*.ipynb: the core functions are stubs, and behind each stands a cell that checks what
you wrote. A practice notebook that is there already holds your work; it is kept unless --force is given.
"""

import sys

import nbformat

from classroom.mark import solutions
from classroom.stub import stub
from tools import notebook
from tools.catalogue import ROOT, Paper, select

PRACTICE = ROOT / "practice"

HEAD = """\
> **Practice copy.** {count} functions are taken out: {names}. Write them; the cell below each says
> whether it is right, and if not, where it differs. Each check uses the notebook's own versions of all
> other functions. The rest of the notebook then trains with yours. The solutions are in
> `notebooks/{name}.ipynb`.
"""

PRELUDE = """\
import sys

sys.path.insert(0, "..")                 # where the package `classroom` is
from classroom.check import verdict
"""


def practice(paper: Paper):
    """The practice notebook of a paper. ValueError if no function is marked as a solution."""
    nb = notebook.read(paper.path)
    names = solutions(nb)
    if not names:
        raise ValueError(f"{paper.name}: no solution cells; mark functions with classroom.mark")
    head = HEAD.format(count=len(names), names=", ".join(f"`{n}`" for n in names), name=paper.name)
    cells = [nb.cells[0], nbformat.v4.new_markdown_cell(head), nbformat.v4.new_code_cell(PRELUDE)]
    for cell in nb.cells[1:]:
        cells.append(cell)
        if cell.cell_type != "code":
            continue
        cell.outputs, cell.execution_count = [], None
        if taken_out := cell.metadata.get("solutions"):
            cell.source = stub(cell.source, taken_out)
            calls = [f'print(verdict({paper.number}, "{name}", globals()))' for name in taken_out]
            cells.append(nbformat.v4.new_code_cell("\n".join(calls)))
    nb.cells = cells
    return nb


def main(words: list[str]) -> int:
    force = "--force" in words
    numbers = [word for word in words if word != "--force"]
    if not numbers:
        print("usage: make practice NB=13", file=sys.stderr)
        return 2
    PRACTICE.mkdir(exist_ok=True)
    for paper in select(numbers):
        path = PRACTICE / f"{paper.name}.ipynb"
        if path.exists() and not force:
            print(f"{path.relative_to(ROOT)} holds your work: rename it, or give --force", file=sys.stderr)
            return 1
        try:
            notebook.write(practice(paper), path)
        except (ValueError, FileNotFoundError) as error:
            print(error, file=sys.stderr)
            return 1
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
