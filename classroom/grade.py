"""Grade submissions: make grade DIR=submissions, make grade DIR=submissions NB=13

DIR holds a folder for each student, with notebooks anywhere below it (nbgrader's own layout is one such),
or files whose names hold the student's, such as ada_13_attention_is_all_you_need.ipynb. Each submission is
graded in a process of its own, with limits on time, memory and output, and nothing in DIR is changed.
Writes grades.csv, and fills nbgrader's gradebook.
"""

import argparse
import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from tqdm import tqdm

from classroom.assignments import release
from classroom.course import COURSE
from tools.catalogue import ROOT, Paper, load, present, select

CELL_SECONDS, TOTAL_SECONDS, GIB, JOBS = 60, 600, 4.0, 2


@dataclass(frozen=True)
class Submission:
    student: str
    paper: Paper | None                  # None if the file's name does not say which notebook it is
    path: Path


@dataclass
class Result:
    submission: Submission
    points: dict[str, tuple[float, float]] = field(default_factory=dict)    # grade_id: (given, of)
    remarks: list[str] = field(default_factory=list)
    refused: str = ""

    @property
    def total(self) -> float:
        return sum(given for given, _ in self.points.values())

    @property
    def out_of(self) -> float:
        return sum(of for _, of in self.points.values())


def identity(name: str) -> str:
    """A student's name as nbgrader and file systems take it."""
    return re.sub(r"[^\w.@-]+", "_", name).strip("._- ") or "unnamed"


def submissions(folder: Path) -> list[Submission]:
    """All notebooks below a folder, by student. ValueError if there is no folder or no notebook."""
    if not folder.is_dir():
        raise ValueError(f"DIR={folder}: there is no such folder")
    found = []
    for path in sorted(folder.rglob("*.ipynb")):
        where = path.relative_to(folder)
        if any(part.startswith(".") for part in where.parts):
            continue
        papers = [paper for paper in load()[0].values() if paper.name in path.stem]
        paper = papers[0] if papers else None
        name = where.parts[0] if len(where.parts) > 1 else path.stem.replace(paper.name if paper else "", "")
        found.append(Submission(identity(name), paper, path))
    if not found:
        raise ValueError(f"DIR={folder}: no notebook (*.ipynb) below it")
    return found


def refusals(found: list[Submission]) -> tuple[list[Submission], list[Result]]:
    """Those that can be graded, and a result for each that cannot."""
    good, bad, seen = [], [], {}
    for one in found:
        key = one.student, one.paper
        if one.paper is None:
            expected = "a name that holds the notebook's, such as 13_attention_is_all_you_need.ipynb"
            bad.append(Result(one, refused=f"{one.path.name}: expected {expected}"))
        elif key in seen:
            bad.append(Result(one, refused=f"a second file for this notebook; {seen[key]} was graded"))
        else:
            seen[key] = one.path
            good.append(one)
    return good, bad


def stop(process: subprocess.Popen) -> None:
    """Kill a worker, its kernel and whatever that has started."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.kill()
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            pass
    process.communicate()


def grade(one: Submission, root: Path, seconds: int, total: int, gib: float) -> Result:
    """The result of one submission; whatever goes wrong is in it, nothing is raised."""
    order = {"student": one.student, "assignment": one.paper.name, "path": str(one.path.resolve()),
             "root": str(root.resolve()), "gib": gib, "seconds": seconds}
    process = subprocess.Popen([sys.executable, "-m", "classroom.worker"], cwd=ROOT, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        printed, complained = process.communicate(json.dumps(order), timeout=total)
        answer = json.loads(printed.splitlines()[-1])
    except subprocess.TimeoutExpired:
        stop(process)
        return Result(one, refused=f"stopped after {total} seconds")
    except (IndexError, ValueError):
        return Result(one, refused=f"the process that graded it ended with {process.returncode}: "
                                   f"{' '.join(complained.split())[-300:]}")
    points = {name: tuple(pair) for name, pair in answer.get("points", {}).items()}
    return Result(one, points, answer.get("remarks", []), answer.get("refused", ""))


def grade_all(good: list[Submission], root: Path, jobs: int, *limits) -> Iterator[Result]:
    """Results as they are ready, with a progress bar."""
    with ThreadPoolExecutor(jobs) as pool, tqdm(total=len(good), desc="graded", unit="submission") as bar:
        for future in as_completed([pool.submit(grade, one, root, *limits) for one in good]):
            bar.update()
            yield future.result()


def write_csv(results: list[Result], path: Path) -> None:
    """One row a submission; refused ones have no points and say why."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["student", "notebook", "points", "out of", "remarks", "file"])
        for r in results:
            marks = ["", ""] if r.refused else [f"{r.total:g}", f"{r.out_of:g}"]
            said = [f"NOT GRADED: {r.refused}"] if r.refused else r.remarks
            name = r.submission.paper.name if r.submission.paper else ""
            table.writerow([safe(x) for x in (r.submission.student, name, *marks, " | ".join(said),
                                              str(r.submission.path))])


def safe(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(tuple("=+-@\t\r")) else text


def report(results: list[Result]) -> None:
    """One line a submission, and its remarks below."""
    for r in results:
        name = r.submission.paper.name if r.submission.paper else "?"
        marks = f"NOT GRADED: {r.refused}" if r.refused else f"{r.total:g} of {r.out_of:g}"
        print(f"{r.submission.student:24} {name:32} {marks}")
        for remark in r.remarks:
            print(f"    {remark}")


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m classroom.grade", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("notebooks", nargs="*", help="grade these only, such as 13")
    parser.add_argument("--csv", type=Path, help="where to write the table (grades.csv in classroom/)")
    parser.add_argument("--course", type=Path, default=COURSE, help="root of the course")
    parser.add_argument("--jobs", type=int, default=JOBS, help="submissions at a time")
    parser.add_argument("--cell-seconds", type=int, default=CELL_SECONDS, help="time limit of a cell")
    parser.add_argument("--total-seconds", type=int, default=TOTAL_SECONDS, help="time limit of a submission")
    parser.add_argument("--gib", type=float, default=GIB, help="memory limit of a submission")
    options = parser.parse_args(words)
    try:
        found = submissions(options.folder)
        wanted = select(options.notebooks) if options.notebooks else present()
        good, bad = refusals([one for one in found if one.paper is None or one.paper in wanted])
        for paper in {one.paper: None for one in good}:
            if not (options.course / "release" / paper.name).is_dir():
                release(paper, root=options.course)
    except (ValueError, FileNotFoundError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    limits = options.cell_seconds, options.total_seconds, options.gib
    results = bad + list(grade_all(good, options.course, options.jobs, *limits))
    results.sort(key=lambda r: (r.submission.student, str(r.submission.path)))
    path = options.csv or options.course / "grades.csv"
    write_csv(results, path)
    report(results)
    refused = [r for r in results if r.refused]
    print(f"{len(results) - len(refused)} graded, {len(refused)} not; {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
