"""Time every notebook's training step against PyTorch's: python -m tools.benchmark [02 13 ...]

Needs what tools/reference-requirements.txt lists. tools/benchmarks/nbNN.py builds the notebook's step
(loss, gradients, clipping, update) at the notebook's own sizes, and the same model written in the ordinary
way in PyTorch: eager, float32, one thread. Before anything is timed the two take five steps each from the
same weights, and their losses must agree. Then rounds of both alternate; the ratio is the median over
rounds of our time over PyTorch's. Memory is the growth of each process's resident set during three steps.
Results go to data/benchmark.json, from which PROGRESS.md takes its table.
"""

import argparse
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import torch

from tests.support import namespace
from tools.benchmarks import _torch  # noqa: F401  (fails early, and clearly, without PyTorch)
from tools.catalogue import ROOT, load
from tools.notebook import arithmetic

RESULTS = ROOT / "data" / "benchmark.json"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
ROUNDS, SECONDS, STEPS, TOLERANCE = 9, 0.25, 5, 2e-3


def modules() -> list[int]:
    """Numbers of the notebooks that have a benchmark."""
    return sorted(int(path.stem[2:]) for path in (ROOT / "tools" / "benchmarks").glob("nb[0-9][0-9].py"))


def sides(number: int) -> dict:
    """{"ours": ..., "pytorchs": ...}: functions that build a fresh step from the same weights."""
    module = importlib.import_module(f"tools.benchmarks.nb{number:02d}")
    rng = np.random.default_rng(zlib.crc32(f"benchmark {number}".encode()))
    return dict(zip(("ours", "pytorchs"), module.make(namespace(load()[0][number]), rng), strict=True))


def agree(number: int, make: dict) -> float:
    """Largest relative difference of the losses of the first steps. Raises ValueError above the tolerance."""
    torch.manual_seed(0)
    ours, theirs = ([float(step()) for step in [make[side]()] for _ in range(STEPS)] for side in make)
    if len(set(ours)) == 1:
        raise ValueError(f"notebook {number:02d}: the loss {ours[0]} does not change, nothing is trained")
    worst = max(abs(a - b) / max(abs(a), abs(b)) for a, b in zip(ours, theirs, strict=True))
    if not worst <= TOLERANCE:
        raise ValueError(f"notebook {number:02d}: losses {ours} and {theirs} differ by {worst:.1e}, "
                         f"expected at most {TOLERANCE:.0e}: not the same model")
    return worst


def seconds(step, times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        step()
    return (time.perf_counter() - start) / times


def compare(make: dict) -> dict:
    """Median milliseconds a step of both sides, and the median of the ratios of alternating rounds."""
    steps = {side: build() for side, build in make.items()}
    many = {}
    for side, step in steps.items():
        seconds(step, 3)
        many[side] = max(1, round(SECONDS / seconds(step, 3)))
    rounds = []
    for k in range(ROUNDS):
        order = list(steps) if k % 2 else list(steps)[::-1]      # neither side always goes first
        rounds.append({side: seconds(steps[side], many[side]) for side in order})
    return {"ratio": round(statistics.median(r["ours"] / r["pytorchs"] for r in rounds), 3),
            **{f"{side}_ms": round(1e3 * statistics.median(r[side] for r in rounds), 3) for side in steps}}


def resident(peak: bool = False) -> float:
    """MiB that this process holds now, or held at most since the last reset. Linux only."""
    key = "VmHWM:" if peak else "VmRSS:"
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(key))
    return int(line.split()[1]) / 1024


def growth(number: int, side: str) -> float:
    """MiB by which the resident set grew while this process took three steps."""
    step = sides(number)[side]()
    Path("/proc/self/clear_refs").write_text("5")                # resets the peak
    before = resident()
    for _ in range(3):
        step()
    return resident(peak=True) - before


def memory(number: int) -> dict:
    """MiB of both sides, each in a process of its own; empty where the system does not tell."""
    if not Path("/proc/self/clear_refs").exists():
        return {}
    found = {}
    for side in ("ours", "pytorchs"):
        command = [sys.executable, "-m", "tools.benchmark", "--memory", side, str(number)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        found[f"{side}_mib"] = round(float(done.stdout), 1)
    return found


def processor() -> str:
    """The model name that the system gives, as far as it gives one."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def store(results: dict) -> None:
    content = {"steps": dict(sorted(results["steps"].items())), "processor": f"{processor()}, {arithmetic()}",
               "numpy": np.__version__, "torch": torch.__version__, "python": platform.python_version()}
    RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools.benchmark", description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=int)
    parser.add_argument("--memory", choices=("ours", "pytorchs"), help=argparse.SUPPRESS)
    parser.add_argument("--no-store", action="store_true", help="print only, keep no file")
    args = parser.parse_args(argv)
    if any(os.environ.get(name) != "1" for name in THREADS):     # read when NumPy is loaded: start again
        os.execve(sys.executable, [sys.executable, "-m", "tools.benchmark", *argv],
                  os.environ | dict.fromkeys(THREADS, "1"))
    torch.set_num_threads(1)
    np.empty(31 << 20, np.uint8)                                 # as in every notebook, for both sides
    if args.memory:
        print(growth(args.notebooks[0], args.memory))
        return 0
    wrong = set(args.notebooks) - set(modules())
    if wrong:
        print(f"no benchmark {sorted(wrong)}: expected some of {modules()}", file=sys.stderr)
        return 1
    stored = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"steps": {}}
    print(f"{'':4s}{'NumPy':>9s}{'PyTorch':>9s}{'ratio':>7s}   (ms a training step)")
    for number in args.notebooks or modules():
        make = sides(number)
        row = {"difference": float(f"{agree(number, make):.1e}")} | compare(make) | memory(number)
        what = importlib.import_module(f"tools.benchmarks.nb{number:02d}").__doc__.splitlines()[0]
        stored["steps"][f"{number:02d}"] = {"what": what.rstrip("."), **row}
        print(f"{number:02d}  {row['ours_ms']:9.2f}{row['pytorchs_ms']:9.2f}{row['ratio']:7.2f}", flush=True)
        if not args.no_store:
            store(stored)
    ratios = [row["ratio"] for row in stored["steps"].values()]
    print(f"geometric mean of {len(ratios)}: {statistics.geometric_mean(ratios):.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
