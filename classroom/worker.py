"""Grade one submission in a process of its own: python -m classroom.worker, told what by JSON on stdin.

It answers with one line of JSON. Whatever the submission does, only this process and its kernel are hit.
"""

import json
import os
import re
import sys
from pathlib import Path

from classroom.course import at
from classroom.mark import marks_of
from classroom.restore import restore
from tools import notebook
from tools.catalogue import ROOT

GIB = 2**30
LARGEST_FILE = 2**28                                     # bytes that a submission may write into one file


def limit(gib: float) -> None:
    """Address space and file size of this process and its kernel; no effect where there are no limits."""
    try:
        import resource
    except ImportError:                                  # Windows
        return
    for what, size in ((resource.RLIMIT_AS, int(gib * GIB)), (resource.RLIMIT_FSIZE, LARGEST_FILE)):
        try:
            resource.setrlimit(what, (size, size))
        except (ValueError, OSError):                    # macOS refuses some
            pass


def plain(text: str) -> str:
    """Without the colours of a traceback, on one line."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())


def problems(nb) -> list[str]:
    """What happened while the graded copy ran: one line for each check that failed, and each limit hit."""
    found = []
    for cell in notebook.code_cells(nb):
        marks = marks_of(cell)
        for output in cell.outputs:
            text = output.get("text", "") if output.output_type == "stream" else ""
            if "[output cut" in text:
                found.append(f"a cell printed too much: {cell.source.strip()[:40]!r}")
            if output.output_type != "error" or output.ename == "KeyboardInterrupt":   # of the time limit
                continue
            what = plain(f"{output.ename}: {output.evalue}")[:200]
            if "Timeout" in output.ename:
                found.append(f"{marks.get('grade_id', 'a cell')}: over the time limit")
            elif marks.get("grade"):
                found.append(f"{marks['grade_id']}: {what.removeprefix('Wrong: ')}")
            elif marks.get("solution") or output.ename in ("MemoryError", "_ArrayMemoryError"):
                found.append(f"cell of {', '.join(cell.metadata.get('solutions', ['your own']))}: {what}")
    return list(dict.fromkeys(found))


def reason(log: str) -> str:
    """Why nbgrader gave up on a submission."""
    known = {"Kernel died": "the kernel died", "Timeout waiting for IOPub": "a cell could not be stopped"}
    return next((said for words, said in known.items() if words in log), plain(log)[-500:])


def grade(student: str, assignment: str, path: str, root: str, gib: float, seconds: int) -> dict:
    """Points by grade_id and remarks of a submission.

    seconds: time limit of a cell. Raises Unreadable for a file that is no notebook, RuntimeError if nbgrader
    gives up.
    """
    course = Path(root)
    copy = restore(course / "release" / assignment / f"{assignment}.ipynb", Path(path))
    place = course / "restored" / student / assignment
    place.mkdir(parents=True, exist_ok=True)
    notebook.write(copy.nb, place / f"{assignment}.ipynb")
    if (stamp := Path(path).parent / "timestamp.txt").exists():
        (place / "timestamp.txt").write_text(stamp.read_text(encoding="utf-8"), encoding="utf-8")
    limit(gib)
    # The hidden checks import this package.
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    nbgrader = at(course, CourseDirectory={"submitted_directory": "restored"},
                  LimitedExecute={"timeout": seconds})
    answer = nbgrader.autograde(assignment, student, force=True)
    if not answer["success"]:
        raise RuntimeError(reason(answer.get("log") or answer.get("error", "")))
    graded = notebook.read(course / "autograded" / student / assignment / f"{assignment}.ipynb")
    with nbgrader.gradebook as gradebook:
        grades = gradebook.find_submission_notebook(assignment, assignment, student).grades
        points = {grade.name: [grade.score, grade.max_score] for grade in grades}
    return {"points": points, "remarks": copy.remarks + problems(graded)}


def main() -> int:
    try:
        answer = grade(**json.load(sys.stdin))
    except Exception as error:                           # the parent reports it, by the student's name
        answer = {"refused": str(error) or type(error).__name__}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
