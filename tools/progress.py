"""Generate every page that states results: python -m tools.progress [--check]

PROGRESS.md, the blocks of README.md and classroom/README.md, IMPLEMENTATION_TRACKS.md, the cover
pictures, and the generated blocks inside the notebooks, all from data/papers.toml, the executed
notebooks and data/sweep.
With --check nothing is written; exit code 1 names the files that are out of date.
"""

import base64
import copy
import json
import statistics
import sys
from pathlib import Path

from classroom.mark import points, solutions
from tools import notebook, sweep
from tools.catalogue import ROOT, Paper, load, present

COVERS = ROOT / "site" / "covers"
BENCHMARK, MUTANTS = ROOT / "data" / "benchmark.json", ROOT / "data" / "mutants.json"
BUDGET = {"cpu_seconds": 90, "peak_mib": 1024}  # of one notebook
TOTAL_CPU = 25 * 60                              # seconds, all thirty


def cell_text(text: str) -> str:
    """Text for a Markdown table cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def verdicts(paper: Paper) -> tuple[int, int]:
    """(claims reproduced, claims measured) of an executed notebook."""
    rows = (notebook.record(notebook.read(paper.path)) or {"rows": []})["rows"]
    return sum(row["verdict"] == "reproduced" for row in rows), len(rows)


def seeds_held(paper: Paper) -> str:
    stored = sweep.load(paper)
    if stored is None:
        return "not swept"
    runs = stored["seeds"].values()
    return f"{sum(map(sweep.holds, runs))} of {len(runs)}"


def summary_row(paper: Paper) -> str:
    nb = notebook.read(paper.path)
    cost, found = nb.metadata["thirty_papers"], notebook.record(nb)
    errors = (found or {}).get("gradient_errors", {})
    worst = f"{max(errors.values()):.0e}" if errors else "no gradient"
    good, total = verdicts(paper)
    return (f"| [{paper.number:02d} {cell_text(paper.title)}](#{paper.name}) | {good} of {total} | "
            f"{seeds_held(paper)} | {worst} | {mutants_noticed(paper)} | {cost['cpu_seconds']:.0f} | "
            f"{cost.get('wall_seconds', 0):.0f} | {cost['peak_mib']} | {len(notebook.figures(nb))} |")


def mutants_row(paper: Paper) -> dict | None:
    """Counts of tools/mutants.py, or None if there are none or the notebook's code has changed since."""
    rows = json.loads(MUTANTS.read_text(encoding="utf-8")) if MUTANTS.exists() else {}
    row = rows.get(f"{paper.number:02d}")
    fresh = row and row["fingerprint"] == notebook.fingerprint(notebook.read(paper.path))
    return row if fresh else None


def mutants_noticed(paper: Paper) -> str:
    """'118 of 118' small changes of the backward functions that the tests notice."""
    if not paper.gradients:
        return "none made"
    row = mutants_row(paper)
    return f"{row['mutants'] - len(row['survivors'])} of {row['mutants']}" if row else "not counted"


def over_budget() -> list[str]:
    """What costs more than it may, in words."""
    costs = {paper.name: notebook.read(paper.path).metadata["thirty_papers"] for paper in present()}
    found = [f"{name}: {cost[key]} {key}, at most {most} wanted" for name, cost in costs.items()
             for key, most in BUDGET.items() if cost[key] > most]
    total = sum(cost["cpu_seconds"] for cost in costs.values())
    return found + ([f"all notebooks: {total:.0f} CPU-seconds, at most {TOTAL_CPU} wanted"]
                    if total > TOTAL_CPU else [])


def budget_section() -> str:
    """Totals, and what is over budget."""
    costs = [notebook.read(paper.path).metadata["thirty_papers"] for paper in present()]
    cpu, wall = (sum(cost[key] for cost in costs) / 60 for key in ("cpu_seconds", "wall_seconds"))
    over = over_budget()
    lines = ["## Budget", "",
             f"A notebook may take {BUDGET['cpu_seconds']} CPU-seconds and {BUDGET['peak_mib']} MiB, all "
             f"together {TOTAL_CPU // 60} CPU-minutes. In the stored runs the {len(costs)} take {cpu:.1f} "
             f"CPU-minutes, one after the other {wall:.1f} minutes by the clock (start of the kernel and "
             "imports included), on a processor with "
             f"{' or '.join(sorted({cost['arithmetic'] for cost in costs}))}; the largest holds "
             f"{max(cost['peak_mib'] for cost in costs)} MiB.",
             "", *([f"- Over budget: {line}." for line in over] or ["Nothing is over budget."]), ""]
    return "\n".join(lines)


def runs_by_arithmetic() -> dict[str, list[tuple[Paper, str, dict]]]:
    """All swept runs (paper, seed, run) by the arithmetic that they were made with."""
    runs: dict[str, list] = {}
    for paper in present():
        stored = sweep.load(paper) or {"seeds": {}, "elsewhere": {}}
        for by_seed in (stored["seeds"], *stored["elsewhere"].values()):
            for seed, run in by_seed.items():
                runs.setdefault(run["arithmetic"], []).append((paper, seed, run))
    return dict(sorted(runs.items()))


def arithmetic_section() -> str:
    """The sweeps by arithmetic: whether verdicts depend on the processor."""
    runs = runs_by_arithmetic()
    lines = ["## On other processors", "",
             "Processors round differently, and training amplifies it: the same seed gives another network. "
             "So verdicts, not digits, have to be the same. One run is one notebook under one seed; kernels "
             "are OpenBLAS's for older processors, and NumPy held back is NumPy without AVX-512 "
             "(`make portability`).", "",
             "| arithmetic | notebooks | runs | every verdict as stated | CPU-seconds a run |",
             "|---|---|---|---|---|"]
    for name, made in runs.items():
        spent = [run["cpu_seconds"] for _, _, run in made if run["cpu_seconds"] is not None]
        lines.append(f"| {name} | {len({paper.number for paper, _, _ in made})} | {len(made)} | "
                     f"{sum(sweep.holds(run) for _, _, run in made)} | "
                     f"{f'{statistics.mean(spent):.0f}' if spent else '?'} |")
    lines += ["", *(f"- {paper.number:02d}, seed {seed}, {name}: {error.splitlines()[0]}"
                    for name, made in runs.items() for paper, seed, run in made
                    for error in run["errors"][:1])]
    return "\n".join([*lines, ""] if lines[-1] else lines)


def mutants_section() -> str:
    """Share of mutants noticed, and why the others are not."""
    rows = {paper: row for paper in present() if paper.gradients and (row := mutants_row(paper))}
    total = sum(row["mutants"] for row in rows.values())
    missed = [(paper, *item) for paper, row in rows.items() for item in row["survivors"].items()]
    if not total:
        return ""
    lines = ["## Are the checkers checked?", "",
             "`make mutants` changes one thing at a time in each backward function (a term, a factor, a "
             "transpose or a statement dropped, a sign flipped, an accumulation turned into an assignment) "
             "and runs that function's check against the golden vectors. "
             f"Of {total:,} changes in {sum(row['functions'] for row in rows.values())} functions of "
             f"{len(rows)} notebooks, {total - len(missed):,} are noticed "
             f"({100 * (1 - len(missed) / total):.1f} %)."
             + (" The others, and why:" if missed else ""), ""]
    lines += [f"- {paper.number:02d}, `{what}`: {reason}." for paper, what, reason in missed]
    return "\n".join(lines + [""] * bool(missed))


def benchmark_section() -> str:
    """Training steps against PyTorch eager."""
    if not BENCHMARK.exists():
        return ""
    stored = json.loads(BENCHMARK.read_text(encoding="utf-8"))
    rows = stored["steps"]
    ratios = [row["ratio"] for row in rows.values()]
    lines = ["## Speed of a training step", "",
             f"**Geometric mean of {len(rows)} ratios, ours / PyTorch eager: "
             f"{statistics.geometric_mean(ratios):.2f}** (largest {max(ratios):.2f}). One step is loss, "
             "gradients, clipping and update at the notebook's own sizes, against the same model written in "
             f"the ordinary way in PyTorch {stored['torch']}, float32, one thread ({stored['processor']}, "
             f"NumPy {stored['numpy']}). Before timing, the losses of the first five steps agree to "
             f"{max(row['difference'] for row in rows.values()):.0e} or better. Rounds alternate; the ratio "
             "is the median over rounds. MiB: growth of the process during three steps. These models are "
             "small, and much of PyTorch's time is a price for each operation, however small: the table says "
             "nothing about large models (`make bench`).", "",
             "| notebook | step | ms | PyTorch ms | ratio | MiB | PyTorch MiB |",
             "|---|---|---|---|---|---|---|"]
    papers = load()[0]
    for number, row in rows.items():
        lines.append(f"| [{number}](#{papers[int(number)].name}) | {cell_text(row['what'])} | "
                     f"{row['ours_ms']:.2f} | {row['pytorchs_ms']:.2f} | {row['ratio']:.2f} | "
                     f"{row.get('ours_mib', '')} | {row.get('pytorchs_mib', '')} |")
    return "\n".join([*lines, ""])


def spread(stored: dict | None, claim: str, digits: int) -> str:
    """'mean (min to max)' of a claim's number over the swept seeds."""
    if stored is None:
        return "not swept"
    values = [row["ours"] for run in stored["seeds"].values() for row in run["rows"]
              if row["claim"] == claim]
    if not values:
        return "none"
    mean, low, high = (notebook.shown(f(values), digits) for f in (statistics.mean, min, max))
    return f"{mean} ({low} to {high})"


def claims_section(paper: Paper) -> str:
    nb, stored = notebook.read(paper.path), sweep.load(paper)
    found, cost = notebook.record(nb), nb.metadata["thirty_papers"]
    lines = [f'<a id="{paper.name}"></a>', "",
             f"## {paper.number:02d} [{paper.title}](notebooks/{paper.name}.ipynb)", "",
             "| claim | in the paper | paper | ours | over seeds: mean (range) | wanted | verdict |",
             "|---|---|---|---|---|---|---|"]
    for row in (found or {"rows": []})["rows"]:
        lines.append(f"| {cell_text(row['claim'])} | {cell_text(row['place'])} | "
                     f"{cell_text(row['paper'])} | {notebook.shown(row['ours'], row['digits'])} | "
                     f"{spread(stored, row['claim'], row['digits'])} | "
                     f"{row['op']} {row['threshold']:g} | {row['verdict']} |")
    gradients = ", ".join(f"`{k}` {e:.0e}" for k, e in (found or {}).get("gradient_errors", {}).items())
    lines += ["", f"Worst relative error of the gradients: {gradients}." if gradients else "",
              f"Stored run: {cost['cpu_seconds']} CPU-seconds, {cost['wall_seconds']} seconds by the clock, "
              f"{cost['peak_mib']} MiB at the peak, "
              f"Python {cost['python']}, NumPy {cost['numpy']}, {cost['arithmetic']}.", ""]
    return "\n".join(lines)


def progress_page() -> str:
    papers = present()
    counts = [verdicts(paper) for paper in papers]
    good, total = sum(g for g, _ in counts), sum(t for _, t in counts)
    head = f"""# Progress

Generated by `make progress` from the executed notebooks and the seed sweep; nothing here is typed.

{len(papers)} of {len(load()[0])} notebooks, {total} claims measured: {good} reproduced at this scale,
{total - good} not reproduced. A claim that did not reproduce has its row and its paragraph like any
other. "Seeds" counts the seeds under which every verdict of the notebook is as stated; "mutants" the small
changes of backward functions that the tests notice; "clock" is the time of the stored run by the clock.

| notebook | reproduced | seeds | gradient error | mutants | CPU-s | clock | MiB | figures |
|---|---|---|---|---|---|---|---|---|
"""
    parts = [budget_section(), arithmetic_section(), mutants_section(), benchmark_section(),
             *map(claims_section, papers)]
    return head + "\n".join(map(summary_row, papers)) + "\n\n" + "\n".join(part for part in parts if part)


def readme_table() -> str:
    """All thirty: picture, title, claim, verdicts, CPU time."""
    lines = ["| | paper | what is reproduced | claims | CPU-s |", "|---|---|---|---|---|"]
    for paper in load()[0].values():
        if paper.path.exists():
            good, total = verdicts(paper)
            cpu = notebook.read(paper.path).metadata["thirty_papers"]["cpu_seconds"]
            cover = f"site/covers/{paper.number:02d}.png"
            lines.append(f'| <img src="{cover}" width="160" alt="A figure of notebook {paper.number:02d}"> '
                         f"| {paper.link_from('notebooks/')} ({paper.year}) | {cell_text(paper.claim)} | "
                         f"{good} of {total} | {cpu:.0f} |")
        else:
            lines.append(f"| | {paper.link_from()} ({paper.year}) | {cell_text(paper.claim)} | "
                         "not written yet | |")
    return "\n".join(lines)


def readme_numbers() -> str:
    """What was measured, in one paragraph."""
    papers = present()
    counts = [verdicts(paper) for paper in papers]
    steady = sum(seeds_held(paper) == "5 of 5" for paper in papers)
    rows = [row for paper in papers if paper.gradients and (row := mutants_row(paper))]
    tried = sum(row["mutants"] for row in rows)
    noticed = tried - sum(len(row["survivors"]) for row in rows)
    cpu = sum(notebook.read(paper.path).metadata["thirty_papers"]["cpu_seconds"] for paper in papers) / 60
    ratios = [row["ratio"] for row in json.loads(BENCHMARK.read_text(encoding="utf-8"))["steps"].values()]
    kinds = runs_by_arithmetic()
    runs = [run for made in kinds.values() for _, _, run in made]
    return (
        f"**In numbers.** {len(papers)} notebooks measure {sum(t for _, t in counts)} claims; "
        f"{sum(g for g, _ in counts)} are reproduced at this scale. In {steady} of the {len(papers)} every "
        f"verdict is the same for seeds 0 to 4. Of {len(runs)} runs with {len(kinds)} kinds of processor "
        f"arithmetic, {sum(map(sweep.holds, runs))} give every verdict as stated. Of "
        f"{tried:,} small changes of backward functions the tests "
        f"notice {noticed:,}. A training step takes {statistics.geometric_mean(ratios):.2f} times as long "
        f"as the same model in ordinary PyTorch on one thread (geometric mean of {len(ratios)}; these are "
        f"small models). All notebooks together take {cpu:.0f} CPU-minutes.")


def readme_tracks() -> str:
    papers, tracks = load()
    lines = []
    for track in tracks.values():
        path = " → ".join(f"[{n:02d}](IMPLEMENTATION_TRACKS.md#{papers[n].name})" for n in track.order)
        lines.append(f"- **{track.title}.** {track.intro} {path}")
    return "\n".join(lines)


def entry(paper: Paper) -> str:
    """One paper in IMPLEMENTATION_TRACKS.md."""
    papers, _ = load()
    first = "; ".join(f"[{n:02d} {papers[n].title}](#{papers[n].name})" for n in paper.prerequisites)
    found = notebook.record(notebook.read(paper.path)) if paper.path.exists() else None
    if found:
        title = "Claims and verdicts"
        claims = [f"{row['claim']}: {row['verdict']}" for row in found["rows"]]
    else:
        title, claims = "Claims to be measured", list(paper.claims)
    state = f"[notebook](notebooks/{paper.name}.ipynb)" if paper.path.exists() else "not written yet"
    return "\n".join([
        f'<a id="{paper.name}"></a>', "", f"### {paper.number:02d} {paper.title}", "",
        f"{', '.join(paper.authors)}. {paper.published}. <{paper.link}> · {state}", "",
        paper.claim + " " + paper.teaches, "",
        f"Read first: {first or 'no other notebook'}. You need: {paper.needs}.", "",
        "What is built:", "", *[f"{i}. {step}" for i, step in enumerate(paper.steps, 1)], "",
        f"{title}:", "", *[f"- {claim}" for claim in claims], ""])


def tracks_page() -> str:
    papers, tracks = load()
    head = """# Learning tracks

Generated by `make progress` from `data/papers.toml` and the executed notebooks.

Four paths through the thirty. Each notebook stands alone; a track is an order in which each prepares
the next. "Read first" names the notebooks of any track that help most.
"""
    parts = [head]
    for track in tracks.values():
        parts += [f"## {track.title}", "", track.intro, "",
                  " → ".join(f"[{n:02d} {papers[n].title}](#{papers[n].name})" for n in track.order), ""]
        parts += [entry(papers[n]) for n in track.order]
    return "\n".join(parts)


def assignments_table() -> str:
    """Notebook, functions to write and points, for teachers."""
    lines = ["| notebook | functions to write | points: seen + hidden |", "|---|---|---|"]
    for paper in present():
        nb = notebook.read(paper.path)
        visible, hidden = points(nb)
        lines.append(f"| {paper.link_from('../notebooks/')} | "
                     f"{', '.join(f'`{name}`' for name in solutions(nb))} | {visible} + {hidden} |")
    return "\n".join(lines)


def cover(paper: Paper) -> bytes:
    """The figure tagged 'cover'. Raises ValueError unless there is exactly one."""
    found = [png for cell, png, _ in notebook.figures(notebook.read(paper.path))
             if "cover" in notebook.tags(cell)]
    if len(found) != 1:
        raise ValueError(f"{paper.name}: expected one figure tagged 'cover', found {len(found)}")
    return base64.b64decode(found[0])


def notebook_bytes(paper: Paper) -> bytes:
    """A notebook with its generated blocks brought up to date."""
    nb = copy.deepcopy(notebook.read(paper.path))
    notebook.refresh_blocks(nb, paper)
    notebook.give_ids(nb)
    return (json.dumps(nb, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()


def generate() -> dict[Path, bytes]:
    """Every generated file with the content it should have."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    readme = notebook.replace_block(readme, "table", readme_table())
    readme = notebook.replace_block(readme, "tracks", readme_tracks())
    readme = notebook.replace_block(readme, "numbers", readme_numbers())
    teachers = ROOT / "classroom" / "README.md"
    files = {teachers: notebook.replace_block(teachers.read_text(encoding="utf-8"), "assignments",
                                              assignments_table()),
             ROOT / "PROGRESS.md": progress_page(), ROOT / "README.md": readme,
             ROOT / "IMPLEMENTATION_TRACKS.md": tracks_page()}
    out = {path: text.encode() for path, text in files.items()}
    for paper in present():
        out[COVERS / f"{paper.number:02d}.png"] = cover(paper)
        out[paper.path] = notebook_bytes(paper)
    return out


def stale() -> list[Path]:
    """Generated files whose content on disk is not what it should be."""
    return [path for path, content in generate().items()
            if not path.exists() or path.read_bytes() != content]


def main(argv: list[str]) -> int:
    old = stale()
    if "--check" in argv:
        for path in old:
            print(f"{path.relative_to(ROOT)} is out of date: run make progress", file=sys.stderr)
        return min(len(old), 1)
    for path, content in generate().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    print(f"{len(old)} files brought up to date" if old else "everything was up to date")
    for line in over_budget():
        print(f"over budget: {line}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
