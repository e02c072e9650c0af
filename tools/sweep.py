"""Do the scoreboards hold under other seeds?

python -m tools.sweep --seeds 0-4 --notebooks 02 13 --jobs 2

Each notebook runs once per seed in a fresh kernel; a table shows every claim under every seed, and
data/sweep/NN.json keeps the numbers for PROGRESS.md. Exit code 1 if a verdict differs from the
stated one or a cell fails.

Processors round differently, and training amplifies it: each run says which arithmetic it was made
with, and a run made on another kind of processor is kept beside the new one.

The runs share --jobs processes of this machine. With DASK_SCHEDULER=tcp://host:8786 they go to the
workers of that Dask scheduler instead (pip install distributed); each worker is started in a clone of
this project, at the same commit, with the project's environment and one thread.
"""

import argparse
import json
import os
import statistics
import sys
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager

from tqdm import tqdm

from tools import notebook
from tools.catalogue import ROOT, Paper, select

RESULTS = ROOT / "data" / "sweep"


def parse_seeds(text: str) -> list[int]:
    """'0-4' or '0,2,7' -> list of seeds. Raises argparse.ArgumentTypeError otherwise."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise argparse.ArgumentTypeError(f"seeds {text!r}: expected something like 0-4 or 0,2,7")
        seeds += range(int(first), int(last if dash else first) + 1)
    if not seeds:
        raise argparse.ArgumentTypeError(f"seeds {text!r}: an empty range")
    return seeds


def set_seed(nb, seed: int) -> None:
    """Replace the parameters cell. Raises ValueError unless there is exactly one."""
    cells = [cell for cell in nb.cells if "parameters" in notebook.tags(cell)]
    if len(cells) != 1:
        raise ValueError(f"expected one cell tagged 'parameters', found {len(cells)}")
    cells[0].source = f"SEED = {seed}"


def run(paper: Paper, seed: int) -> dict:
    """One notebook under one seed: rows of its scoreboard, errors, cost, arithmetic."""
    nb = notebook.read(paper.path)
    set_seed(nb, seed)
    try:
        cost = notebook.execute(nb, f"{paper.name} seed {seed}", keep_going=True, quiet=True)
        errors = notebook.complaints(nb)
    except notebook.NotebookFailed as error:
        cost, errors = {"cpu_seconds": None, "peak_mib": None}, [str(error)]
    found = notebook.record(nb) or {"rows": [], "gradient_errors": {}}
    rows = [{k: row[k] for k in ("claim", "ours", "op", "threshold", "verdict", "expect", "digits")}
            for row in found["rows"]]
    if not rows and not errors:
        errors = ["no scoreboard among the outputs"]
    return {"arithmetic": notebook.arithmetic(), "rows": rows, "errors": errors,
            "gradient_errors": found["gradient_errors"],
            "cpu_seconds": cost["cpu_seconds"], "peak_mib": cost["peak_mib"]}


def holds(result: dict) -> bool:
    """Every verdict of one run as stated, and no cell failed."""
    return not result["errors"] and all(r["verdict"] == r["expect"] for r in result["rows"])


def load(paper: Paper) -> dict | None:
    """Stored sweep of a notebook, or None if there is none or the code has changed since."""
    path = RESULTS / f"{paper.number:02d}.json"
    if not path.exists():
        return None
    stored = json.loads(path.read_text(encoding="utf-8"))
    return stored if stored["fingerprint"] == notebook.fingerprint(notebook.read(paper.path)) else None


def in_order(runs: dict[str, dict]) -> dict[str, dict]:
    return dict(sorted(runs.items(), key=lambda item: int(item[0])))


def store(paper: Paper, results: dict[int, dict]) -> None:
    """Merge results into the stored sweep; what an older version of the code gave is dropped.

    "elsewhere": {arithmetic: {seed: run}} has the runs with a chosen arithmetic, and those that were
    replaced by a run of another one.
    """
    stored = load(paper) or {"seeds": {}}
    merged, elsewhere = stored["seeds"], stored.get("elsewhere", {})
    for seed, result in ((str(s), r) for s, r in results.items()):
        if notebook.CHOSEN in result["arithmetic"]:
            elsewhere.setdefault(result["arithmetic"], {})[seed] = result
            continue
        replaced = merged.get(seed, result)
        if replaced["arithmetic"] != result["arithmetic"]:
            elsewhere.setdefault(replaced["arithmetic"], {})[seed] = replaced
        elsewhere.get(result["arithmetic"], {}).pop(seed, None)
        merged[seed] = result
    RESULTS.mkdir(parents=True, exist_ok=True)
    content = {"fingerprint": notebook.fingerprint(notebook.read(paper.path)),
               "seeds": in_order(merged),
               "elsewhere": {name: in_order(runs) for name, runs in sorted(elsewhere.items()) if runs}}
    (RESULTS / f"{paper.number:02d}.json").write_text(json.dumps(content, indent=1) + "\n",
                                                      encoding="utf-8")


def table(paper: Paper, results: dict[int, dict]) -> str:
    """Plain-text table: claims down, seeds across; '!' marks a verdict other than the stated one."""
    seeds = sorted(results)
    claims = list(dict.fromkeys(row["claim"] for s in seeds for row in results[s]["rows"]))
    lines = [f"\n{paper.name}", f"{'':60s}" + "".join(f"{'seed ' + str(s):>11s}" for s in seeds)]
    for claim in claims:
        line = f"{claim[:58]:60s}"
        for s in seeds:
            row = next((r for r in results[s]["rows"] if r["claim"] == claim), None)
            mark = "" if row and row["verdict"] == row["expect"] else "!"
            line += f"{mark + notebook.shown(row['ours'], row['digits']) if row else '!none':>11s}"
        lines.append(line)
    cpu = [results[s]["cpu_seconds"] for s in seeds]
    lines.append(f"{'CPU-seconds':60s}" + "".join(f"{c if c is not None else '?':>11}" for c in cpu))
    lines += [f"  seed {s}: {error.splitlines()[0]}" for s in seeds for error in results[s]["errors"]]
    good = sum(holds(results[s]) for s in seeds)
    lines.append(f"the scoreboard holds on {good} of {len(seeds)} seeds")
    return "\n".join(lines)


def short_table(results: dict[Paper, dict[int, dict]]) -> str:
    """One line a notebook: seeds that hold, rows, mean and spread of CPU-seconds."""
    lines = ["", f"{'':42s}{'seeds hold':>12s}{'rows':>6s}{'CPU-s mean':>12s}{'spread':>8s}"]
    for paper, by_seed in results.items():
        cpu = [r["cpu_seconds"] for r in by_seed.values() if r["cpu_seconds"] is not None]
        good, rows = sum(map(holds, by_seed.values())), max(len(r["rows"]) for r in by_seed.values())
        spent = f"{statistics.mean(cpu):12.1f}{max(cpu) - min(cpu):8.1f}" if cpu else f"{'?':>12s}{'?':>8s}"
        lines.append(f"{paper.name[:40]:42s}{f'{good} of {len(by_seed)}':>12s}{rows:6d}{spent}")
    return "\n".join(lines)


@contextmanager
def workers(jobs: int, scheduler: str | None):
    """An executor: processes of this machine, or the workers of a Dask scheduler.

    Raises SystemExit with the reason if a scheduler is named and cannot be used.
    """
    if not scheduler:
        with ProcessPoolExecutor(jobs) as pool:
            yield pool
        return
    try:
        from distributed import Client
    except ImportError:
        raise SystemExit("DASK_SCHEDULER is set, but Dask is not here: pip install distributed") from None
    try:
        client = Client(scheduler, timeout="10s")
    except (OSError, ValueError) as error:
        raise SystemExit(f"DASK_SCHEDULER={scheduler}: no scheduler answers there ({error})") from None
    with client:
        if not client.scheduler_info()["workers"]:
            raise SystemExit(f"DASK_SCHEDULER={scheduler}: the scheduler has no workers")
        yield client.get_executor()


def run_all(pool: Executor, papers: list[Paper], seeds: list[int]) -> dict[Paper, dict[int, dict]]:
    """All notebooks under all seeds, with a progress bar; {paper: {seed: result}} in the given order."""
    results: dict[Paper, dict[int, dict]] = {paper: {} for paper in papers}
    with tqdm(total=len(papers) * len(seeds), desc="sweep", unit="run") as bar:
        jobs = {pool.submit(run, paper, seed): (paper, seed) for paper in papers for seed in seeds}
        for job in as_completed(jobs):
            paper, seed = jobs[job]
            results[paper][seed] = job.result()
            bar.update()
    return results


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools.sweep", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=parse_seeds, default=parse_seeds("0-4"))
    parser.add_argument("--notebooks", nargs="*", default=[])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--no-store", action="store_true", help="print only, keep no file")
    args = parser.parse_args(argv)
    papers = select(args.notebooks)
    with workers(args.jobs, os.environ.get("DASK_SCHEDULER")) as pool:
        results = run_all(pool, papers, args.seeds)
    for paper in papers:
        print(table(paper, results[paper]))
        if not args.no_store:
            store(paper, results[paper])
    print(short_table(results))
    return 0 if all(holds(r) for by_seed in results.values() for r in by_seed.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
