"""How many small changes of the backward functions do the checks notice? python -m tools.mutants [02 13 ...]

tests/mutation.py makes the changes: a term, factor, transpose or statement dropped, a sign flipped, an
accumulation turned into an assignment. tests/test_nbNN.py has the check of each function, and the reason
for each change that computes the same thing. The counts go to data/mutants.json, for PROGRESS.md. Exit
code 1 if fewer than 95 of 100 are noticed, or if one that is not has no reason.
"""

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor

from tqdm import tqdm

from tests.mutation import mutants
from tests.support import function_node, namespace
from tests.test_mutants import CHECKED, fails, module
from tools import notebook
from tools.catalogue import ROOT, Paper, load, select

RESULTS = ROOT / "data" / "mutants.json"
WANTED = 0.95


def survey(number: int, name: str) -> tuple[int, dict[str, str]]:
    """Of one function: how many mutants, and those that its check does not notice with their reason."""
    paper = load()[0][number]
    check, reasons = module(paper).CHECKS[name], getattr(module(paper), "EQUIVALENT", {}).get(name, {})
    tried = list(mutants(function_node(paper, name)))
    missed = [what for what, changed in tried if not fails(check, namespace(paper, {name: changed}))]
    return len(tried), {what: reasons.get(what, "") for what in missed}


def survey_all(papers: list[Paper], jobs: int) -> dict[str, dict]:
    """{"02": {"fingerprint", "functions", "mutants", "survivors": {"function: change": reason}}, ...}."""
    pairs = [(paper.number, name) for paper in papers for name in module(paper).CHECKS]
    found = {f"{paper.number:02d}": {"fingerprint": notebook.fingerprint(notebook.read(paper.path)),
                                     "functions": 0, "mutants": 0, "survivors": {}} for paper in papers}
    with ProcessPoolExecutor(jobs) as pool:
        results = pool.map(survey, *zip(*pairs, strict=True), chunksize=1)
        for (number, name), (tried, missed) in zip(pairs, tqdm(results, total=len(pairs), unit="function"),
                                                   strict=True):
            row = found[f"{number:02d}"]
            row["functions"] += 1
            row["mutants"] += tried
            row["survivors"] |= {f"{name}: {what}": reason for what, reason in missed.items()}
    return found


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args(argv)
    papers = [paper for paper in select(args.notebooks) if paper in CHECKED and module(paper).CHECKS]
    if not papers:
        print(f"no backward functions in {' '.join(args.notebooks)}", file=sys.stderr)
        return 1
    found = survey_all(papers, args.jobs)
    for number, row in found.items():
        caught = row["mutants"] - len(row["survivors"])
        print(f"{number}  {row['functions']:3d} functions  {caught:5d} of {row['mutants']:5d} noticed")
        for what, reason in row["survivors"].items():
            print(f"      not noticed: {what}: {reason or 'NO REASON GIVEN'}")
    total = sum(row["mutants"] for row in found.values())
    survivors = [reason for row in found.values() for reason in row["survivors"].values()]
    share = 1 - len(survivors) / total
    print(f"{total - len(survivors)} of {total} noticed, {100 * share:.1f} %")
    old = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(dict(sorted((old | found).items())), indent=1) + "\n", encoding="utf-8")
    return 0 if share >= WANTED and all(survivors) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
