"""Assignments end to end with the real nbgrader: release, submissions of all kinds, grading, report.

Three notebooks, one a family; all of them with CLASSROOM=all (make classroom-test).
"""

import ast
import csv
import json
import os
import re

import nbformat
import psutil
import pytest

from classroom import assignments, restore
from classroom import grade as grading
from classroom.assignments import assignment, release
from classroom.check import definitions, verdict
from classroom.grade import identity, refusals, safe, submissions
from classroom.mark import POINTS_HIDDEN, checking_cells, marks_of, points, solutions
from classroom.restore import Unreadable
from tests.mutation import mutants
from tests.support import function_node
from tools import notebook
from tools.catalogue import ROOT, load, present

EVERYTHING = os.environ.get("CLASSROOM") == "all"
PAPERS = present() if EVERYTHING else [load()[0][n] for n in (3, 7, 25)]
PAPER = load()[0][13]                                    # of the tests that need one notebook only


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course in which notebook 13 has been released."""
    root = tmp_path_factory.mktemp("course")
    release(PAPER, root=root)
    return root


def released(root, paper=PAPER):
    return notebook.read(root / "release" / paper.name / f"{paper.name}.ipynb")


def solved(root, paper=PAPER):
    """The students' copy with the solutions written in."""
    nb, source = released(root, paper), root / "source" / paper.name / f"{paper.name}.ipynb"
    answers = {grade_id(cell): cell.source for cell in notebook.read(source).cells}
    for cell in nb.cells:
        if "solutions" in cell.metadata:
            cell.source = answers[grade_id(cell)]
    return nb


def grade_id(cell) -> str:
    return marks_of(cell).get("grade_id", "")


def cell_of(nb, text):
    """The first code cell that holds a text."""
    return next(cell for cell in nb.cells if cell.cell_type == "code" and text in cell.source)


def submit(folder, student, nb, paper=PAPER):
    path = folder / student / f"{paper.name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nb if isinstance(nb, str) else nbformat.writes(nb), encoding="utf-8")
    return path


def graded(folder, root, *options):
    """What the command line makes of a folder: {student: row of the CSV}."""
    table = root / "grades.csv"
    assert grading.main([str(folder), "--course", str(root), "--csv", str(table), *options]) == 0
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len({row["student"] for row in rows}) == len(rows)
    return {row["student"]: row for row in rows}


# --- assignments -----------------------------------------------------------------------------------

def test_an_assignment_ends_after_the_last_check_unless_all_is_wanted():
    short, full = assignment(PAPER), assignment(PAPER, full=True)
    everything = notebook.read(PAPER.path)
    assert len(short.cells) < len(full.cells) == len(everything.cells) + 1 + len(solutions(everything))
    marked = [cell for cell in short.cells if grade_id(cell)]
    assert [cell.source for cell in marked] == [cell.source for cell in full.cells if grade_id(cell)]
    visible, hidden = points(everything)
    assert sum(cell.metadata["nbgrader"].get("points", 0) for cell in marked) == visible + hidden
    assert f"Assignment, {visible + hidden} points" in short.cells[1].source


def test_a_notebook_without_marks_is_no_assignment(monkeypatch):
    monkeypatch.setattr(assignments, "solutions", lambda nb: [])
    with pytest.raises(ValueError, match="13_attention_is_all_you_need: no solution cells"):
        assignment(PAPER)


def test_a_students_copy_gives_nothing_away(course):
    nb = released(course)
    assert not any(cell.get("outputs") for cell in nb.cells)
    text = "\n".join(cell.source for cell in nb.cells)
    assert "HIDDEN TESTS" not in text and "classroom" not in text
    for name in solutions(nb):
        home = next(cell for cell in nb.cells if name in cell.metadata.get("solutions", []))
        node = next(n for n in ast.parse(home.source).body if getattr(n, "name", "") == name)
        assert ast.get_docstring(node) and isinstance(node.body[-1], ast.Raise)
        assert f"3 points: {name} is compared" in text
    locked = [cell for cell in nb.cells if grade_id(cell) and "solutions" not in cell.metadata]
    assert locked and not any(cell.metadata["editable"] or cell.metadata["deletable"] for cell in locked)


def test_what_nbgrader_refuses_is_an_error(tmp_path, monkeypatch):
    twice = assignment(PAPER)
    twice.cells.append(next(cell for cell in twice.cells if grade_id(cell)).copy())
    monkeypatch.setattr(assignments, "assignment", lambda paper, full: twice)
    with pytest.raises(RuntimeError, match="(?s)13_attention.*[Dd]uplicate"):
        release(PAPER, root=tmp_path)


def test_a_check_is_found_by_what_it_uses():
    def cells(*sources):
        return [nbformat.v4.new_code_cell(source) for source in sources]

    story = cells("def f(x):\n    return x", "assert 1", "y = f(1)", "assert y", "y = 2", "assert y == 2",
                  "def g():\n    return f(2)", "z = grad_check(g)")
    assert checking_cells(story, "f") == [3, 7]


# --- what was handed in ----------------------------------------------------------------------------

def test_submissions_are_found_by_folder_or_by_name(tmp_path):
    nb = nbformat.v4.new_notebook()
    submit(tmp_path, "Ada King_77", nb)
    submit(tmp_path / "bob", "13_attention_is_all_you_need", nb)
    (tmp_path / "cy-13_attention_is_all_you_need (1).ipynb").write_text(nbformat.writes(nb))
    submit(tmp_path / "bob", ".ipynb_checkpoints", nb)
    submit(tmp_path / "dan", "again", nb)
    submit(tmp_path / "dan", "first", nb)
    (tmp_path / "dan" / "notes.ipynb").write_text("{}")
    good, bad = refusals(submissions(tmp_path))
    assert [(one.student, one.paper.number) for one in good] == [
        ("Ada_King_77", 13), ("bob", 13), ("cy-_1", 13), ("dan", 13)]
    assert "second file" in bad[0].refused and "expected a name that holds the notebook's" in bad[1].refused


@pytest.mark.parametrize("folder, words", [("nowhere", "there is no such folder"), ("", "no notebook")])
def test_nothing_to_grade(tmp_path, folder, words, capsys):
    assert grading.main([str(tmp_path / folder)]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("name, expected", [
    ("../../etc", "etc"), ("Zoë O'Hara", "Zoë_O_Hara"), ("***", "unnamed")])
def test_names_that_file_systems_take(name, expected):
    assert identity(name) == expected


def test_a_name_is_no_formula():
    assert safe("=HYPERLINK(1)") == "'=HYPERLINK(1)" and safe("ada") == "ada" and safe("") == ""


@pytest.mark.parametrize("content, words", [
    ("{", "not JSON"), ("[" * 100_000, "not JSON"), ("[]", "not a notebook"),
    ('{"cells": 3}', "not a notebook"), ("\x00\xff", "not JSON")])
def test_files_that_are_no_notebooks(tmp_path, content, words):
    path = tmp_path / "x.ipynb"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(Unreadable, match=words):
        restore.cells_of(path)


def test_files_that_are_too_large(tmp_path, monkeypatch):
    path = tmp_path / "x.ipynb"
    path.write_text("{}" + " " * 2**20)
    monkeypatch.setattr(restore, "LARGEST", 2**20)
    with pytest.raises(Unreadable, match="1 MiB: expected at most 1"):
        restore.cells_of(path)


def test_odd_cells_are_skipped(tmp_path):
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps({"cells": [3, {}, {"cell_type": "markdown", "source": "a"},
                                          {"cell_type": "code", "source": ["a\n", "b"], "metadata": None},
                                          {"cell_type": "code", "metadata": {"nbgrader": 5}}]}))
    assert [cell.source for cell in restore.cells_of(path)] == ["a\nb", ""]


def merged(course, tmp_path, nb):
    path = submit(tmp_path, "ada", nb)
    return restore.restore(course / "release" / PAPER.name / f"{PAPER.name}.ipynb", path)


def test_an_honest_submission_stays_as_it_is(course, tmp_path):
    nb = solved(course)
    copy = merged(course, tmp_path, nb)
    assert copy.remarks == [] and [c.source for c in copy.nb.cells] == [c.source for c in nb.cells]


def test_deleted_and_changed_cells_are_restored(course, tmp_path):
    nb, before = solved(course), released(course)
    cell_of(nb, "fast, _ = attention_forward").source = "pass"
    cell_of(nb, "def softmax").source = "def softmax(x):\n    return x\n\ndef mine():\n    return 1"
    gone = "hidden-multi_head_backward", "layer_norm_backward"
    nb.cells = [c for c in nb.cells if grade_id(c) not in gone]
    copy = merged(course, tmp_path, nb)
    assert copy.remarks == ["the locked cell check-attention_forward was changed: restored",
                            "the locked cell hidden-multi_head_backward was deleted: restored",
                            "the cell of layer_norm_backward is missing: left as it was handed out"]
    sources = [cell.source for cell in copy.nb.cells]
    assert [cell.source for cell in before.cells if "solutions" not in cell.metadata] == [
        s for s, c in zip(sources, copy.nb.cells, strict=True)
        if "solutions" not in c.metadata and s != "def mine():\n    return 1"]
    assert "def mine():\n    return 1" in sources                  # a helper that stood in a changed cell


def test_solutions_without_metadata_are_found_by_their_functions(course, tmp_path):
    nb = solved(course)
    for cell in nb.cells:
        cell.metadata = {}
    copy = merged(course, tmp_path, nb)
    assert not any("missing" in remark for remark in copy.remarks)
    assert "NotImplementedError" not in "\n".join(cell.source for cell in copy.nb.cells)


def test_cells_of_ones_own_stay_where_they_were(course, tmp_path):
    nb = solved(course)
    at = nb.cells.index(cell_of(nb, "def attention_backward"))
    nb.cells.insert(at, nbformat.v4.new_code_cell("mine = 1"))
    nb.cells.insert(0, nbformat.v4.new_code_cell("first = 1"))
    copy = merged(course, tmp_path, nb)
    sources = [cell.source for cell in copy.nb.cells]
    assert sources[0] == "first = 1" and "def attention_backward" in sources[sources.index("mine = 1") + 1]


# --- the real nbgrader -----------------------------------------------------------------------------

def one_wrong_term(paper, nb):
    """Break the last function in the smallest way that its check notices; its name."""
    name = solutions(nb)[-1]
    node = function_node(paper, name)
    changed = next(m for _, m in mutants(node) if "not written" not in
                   verdict(paper.number, name, definitions(paper.number, {name: m}))
                   and "Not right" in verdict(paper.number, name, definitions(paper.number, {name: m})))
    cell = next(cell for cell in nb.cells if name in cell.metadata.get("solutions", []))
    body = ast.parse(cell.source)
    body.body = [changed if getattr(n, "name", "") == name else n for n in body.body]
    cell.source = ast.unparse(body)
    return name


@pytest.mark.parametrize("paper", PAPERS, ids=lambda p: p.name)
def test_full_marks_no_marks_and_the_marks_of_what_is_right(paper, tmp_path):
    root, folder = tmp_path / "course", tmp_path / "handed_in"
    release(paper, root=root)
    wrong = solved(root, paper)
    broken = one_wrong_term(paper, wrong)
    for student, nb in (("solution", solved(root, paper)), ("stub", released(root, paper)), ("wrong", wrong)):
        submit(folder, student, nb, paper)
    rows = graded(folder, root)
    visible, hidden = points(notebook.read(paper.path))
    assert {row["out of"] for row in rows.values()} == {f"{visible + hidden}"}
    assert rows["solution"]["points"] == f"{visible + hidden}" and rows["solution"]["remarks"] == ""
    assert rows["stub"]["points"] == "0" and "not written yet" in rows["stub"]["remarks"]
    given = float(rows["wrong"]["points"])
    assert hidden - POINTS_HIDDEN <= given <= visible + hidden - POINTS_HIDDEN
    hidden_lost = re.findall(r"hidden-(\w+):", rows["wrong"]["remarks"])
    assert hidden_lost == [broken]


def misbehaving(root):
    """Students by what they hand in."""
    def changed(text, new):
        nb = solved(root)
        cell = cell_of(nb, "def attention_backward")
        assert text in cell.source
        cell.source = cell.source.replace(text, new)
        return nb

    start = "    Q, K, V, A, scale = cache\n"
    after = solved(root)
    after.cells.append(nbformat.v4.new_code_cell("print('mine')"))
    deleted, edited = solved(root), solved(root)
    deleted.cells = [c for c in deleted.cells if not grade_id(c).startswith(("check-", "hidden-"))]
    for cell in edited.cells:
        if grade_id(cell).startswith(("check-", "hidden-")):
            cell.source = "print('all is well')"
    dump = nbformat.v4.new_code_cell("for k in range(1000):\n    print('x' * 100_000)")
    loud = solved(root)
    loud.cells.insert(8, dump)
    return {
        "good": solved(root), "own_cell": after,
        "loops": changed(start, start + "    while True:\n        pass\n"),
        "stubborn": changed(start, start + "    while True:\n        try:\n            while True:\n"
                                           "                pass\n        except BaseException:\n"
                                           "            pass\n"),
        "hungry": changed(start, start + "    np.ones(20 * 2**27)\n"),
        "syntax": changed(start, start + "    if\n"),
        "renamed": changed("def attention_backward", "def attention_bwd"),
        "exits": changed(start, start + "    import os\n    os._exit(3)\n"),
        "deleted": deleted, "edited": edited, "loud": loud,
        "broken": '{"cells": [',
    }


def test_submissions_that_misbehave_do_not_stop_the_others(course, tmp_path, capsys):
    for student, nb in misbehaving(course).items():
        submit(tmp_path, student, nb)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.ipynb")}
    rows = graded(tmp_path, course, "--cell-seconds", "15", "--total-seconds", "300")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.ipynb")} == before
    full = int(rows["good"]["out of"])
    assert {name: rows[name]["points"] for name in ("good", "own_cell", "deleted", "edited", "loud")} == (
        dict.fromkeys(("good", "own_cell", "deleted", "edited", "loud"), str(full)))
    # One function is lost, and the visible checks that use it.
    for name in ("loops", "hungry", "syntax", "renamed"):
        assert full - 6 <= float(rows[name]["points"]) <= full - 4, rows[name]
    said = {name: row["remarks"] for name, row in rows.items()}
    assert said["good"] == said["own_cell"] == ""
    assert "hidden-attention_backward: over the time limit" in said["loops"]
    assert "hidden-attention_backward: attention_backward: raised MemoryError" in said["hungry"]
    assert "cell of attention_backward: SyntaxError" in said["syntax"]
    assert "has it been renamed?" in said["renamed"] and "has it been renamed?" in said["syntax"]
    assert said["deleted"].count("was deleted: restored") == said["edited"].count("was changed: restored") > 5
    assert "a cell printed too much" in said["loud"]
    assert "NOT GRADED: a cell could not be stopped" == said["stubborn"]
    assert "NOT GRADED: the kernel died" in said["exits"]
    assert "NOT GRADED: not JSON" in said["broken"]
    assert {rows[name]["points"] for name in ("stubborn", "exits", "broken")} == {""}
    printed = capsys.readouterr()
    assert "9 graded, 3 not" in printed.out and "12/12" in printed.err           # the progress bar
    size = (course / "autograded" / "loud" / PAPER.name / f"{PAPER.name}.ipynb").stat().st_size
    assert size < 2**21


def test_a_submission_that_takes_too_long_is_stopped_with_its_kernel(course, tmp_path, monkeypatch):
    nb = solved(course)
    cell_of(nb, "def attention_backward").source = "import time\n\ntime.sleep(600)"
    submit(tmp_path, "ada", nb)
    (one,), _ = refusals(submissions(tmp_path))
    started, finish = [], grading.stop
    monkeypatch.setattr(grading, "stop", lambda process: started.extend(
        psutil.Process(process.pid).children(recursive=True)) or finish(process))
    assert grading.grade(one, course, 600, 25, 4.0).refused == "stopped after 25 seconds"
    assert started, "the kernel was not there yet"
    psutil.wait_procs(started, timeout=5)
    assert not any(process.is_running() for process in started)


@pytest.mark.skipif(not EVERYTHING, reason="takes minutes: make classroom-test")
def test_a_class_of_thirty(course, tmp_path, capsys):
    for k in range(30):
        submit(tmp_path, f"student{k:02d}", solved(course))
    rows = graded(tmp_path, course, "--jobs", "2")
    assert len(rows) == 30 and {row["points"] == row["out of"] for row in rows.values()} == {True}
    assert "30/30" in capsys.readouterr().err


# --- the teachers' page ----------------------------------------------------------------------------

@pytest.mark.parametrize("weeks, title", [(10, "ten"), (15, "fifteen")])
def test_a_course_comes_after_what_it_builds_on(weeks, title):
    text = (ROOT / "classroom" / "README.md").read_text(encoding="utf-8")
    plan = text.split(f"## A course of {title} weeks")[1].split("\n## ")[0]
    order = [int(n) for n in re.findall(r"^\| \d+ \| \[(\d\d)\]", plan, flags=re.M)]
    assert len(order) == len(set(order)) == weeks
    for i, number in enumerate(order):
        assert set(load()[0][number].prerequisites) <= set(order[:i]), number
