"""Assignments for a class: make assignments, make assignments NB="13 14", make assignments NB=13 FULL=1

Writes for each notebook a teacher's copy into classroom/source/ and, through nbgrader, a student's copy
into classroom/release/. An assignment ends after the last check that counts; FULL=1 keeps the rest.
"""

import argparse
import sys
from pathlib import Path

import nbformat

from classroom.course import COURSE, at
from classroom.mark import POINTS_HIDDEN, marks_of, metadata, points, solutions
from tools import notebook
from tools.catalogue import Paper, present, select

HEAD = """\
> **Assignment, {points} points.** The bodies of {count} functions are missing: {names}. Write them; leave
> their names and arguments as they are, and put helpers of your own into the same cells. The cells that
> check them are locked. Those you can run count {visible} point{s}; for each function {hidden} more are given
> for a comparison on inputs that are not in this notebook. There a mistake in one function does not count
> against another. Hand in this file under its name.
"""

HIDDEN = """\
# {points} points: {name} is compared with the course's own, on inputs that are not in this notebook.
### BEGIN HIDDEN TESTS
import classroom.check

print(classroom.check.check({number}, "{name}", globals()))
### END HIDDEN TESTS
"""

END = """\
---
The assignment ends here. Training, experiments and what came of them are in the
course's notebook `{name}.ipynb`; what you wrote runs there too.
"""


def assignment(paper: Paper, full: bool = False):
    """The teacher's copy: solutions, the notebook's graded checks, and a hidden check for each function.

    full keeps what stands behind the last graded check. ValueError if nothing is marked.
    """
    nb = notebook.read(paper.path)
    names = solutions(nb)
    if not names:
        raise ValueError(f"{paper.name}: no solution cells; mark functions with classroom.mark")
    last = max(i for i, cell in enumerate(nb.cells) if marks_of(cell))
    kept = nb.cells if full else nb.cells[:last + 1]
    visible, hidden = points(nb)
    head = HEAD.format(points=visible + hidden, count=len(names), names=", ".join(f"`{n}`" for n in names),
                       visible=visible, s="s" * (visible != 1), hidden=POINTS_HIDDEN)
    cells = [kept[0], nbformat.v4.new_markdown_cell(head)]
    for cell in kept[1:]:
        cells.append(cell)
        for name in cell.metadata.get("solutions", []):
            source = HIDDEN.format(points=POINTS_HIDDEN, name=name, number=paper.number).rstrip()
            cells.append(nbformat.v4.new_code_cell(
                source, metadata={"nbgrader": metadata(f"hidden-{name}", POINTS_HIDDEN)}))
    if not full:
        cells.append(nbformat.v4.new_markdown_cell(END.format(name=paper.name)))
    nb.cells = cells
    return nb


def release(paper: Paper, full: bool = False, root: Path = COURSE) -> Path:
    """Write a teacher's and a student's copy below root, tell the gradebook; the student's copy's path.

    RuntimeError with nbgrader's log if it refuses.
    """
    source = root / "source" / paper.name / f"{paper.name}.ipynb"
    source.parent.mkdir(parents=True, exist_ok=True)
    notebook.write(assignment(paper, full), source)
    answer = at(root).generate_assignment(paper.name, force=True)
    if not answer["success"]:
        raise RuntimeError(f"{paper.name}: {answer.get('log')}\n{answer.get('error', '')}")
    return root / "release" / paper.name / f"{paper.name}.ipynb"


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m classroom.assignments", description=__doc__)
    parser.add_argument("notebooks", nargs="*", help="such as 13; all of them if none is given")
    parser.add_argument("--full", action="store_true", help="keep what follows the last graded check")
    options = parser.parse_args(words)
    try:
        for paper in select(options.notebooks) if options.notebooks else present():
            print(release(paper, options.full).relative_to(COURSE.parent), flush=True)
    except (ValueError, FileNotFoundError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
