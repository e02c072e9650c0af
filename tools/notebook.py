"""What the tools and the tests know about a notebook file: tags, blocks, records, execution.

nbformat and nbclient are imported where they are used: they take seconds, and a check that runs in a
student's notebook needs neither.
"""

import ast
import hashlib
import json
import os
import platform
import re
import tempfile
import time
from pathlib import Path

from tools.catalogue import ROOT, Paper, load

ROLES = ("header", "idea", "notation", "setup", "data", "forward", "backward", "sanity", "training",
         "experiments", "scoreboard", "departures", "exercises", "summary")
IDIOMS = ROOT / "tests" / "idioms"
SCOREBOARD_MIME = "application/vnd.thirty-papers.scoreboard+json"
CELL_TIMEOUT = 600  # seconds
CHOSEN = ", "       # in the name of an arithmetic: what comes next was chosen by the environment
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}

# Runs in the kernel after the last cell. Windows has no `resource`; psutil comes with ipykernel.
MEASURE = """
import json, sys, time
try:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**10 if sys.platform != "darwin" else 2**20)
except ImportError:
    import psutil
    peak = psutil.Process().memory_info().peak_wset / 2**20
import numpy
print(json.dumps({"cpu_seconds": round(time.process_time(), 1), "peak_mib": round(peak),
                  "python": sys.version.split()[0], "numpy": numpy.__version__}))
"""


class NotebookFailed(Exception):
    """A cell raised, wrote to stderr or took too long; the message says which and why."""


def sources(path: Path) -> list[str]:
    """Text of each code cell of a notebook file."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def read(path: Path):
    import nbformat

    return nbformat.read(path, as_version=4)


def write(nb, path: Path) -> None:
    """Store a notebook with the same bytes for the same content."""
    import nbformat

    give_ids(nb)
    nbformat.validate(nb)
    path.write_text(json.dumps(nb, indent=1, ensure_ascii=False, sort_keys=True) + "\n",
                    encoding="utf-8")


def give_ids(nb) -> None:
    """Cell ids from the source text, so that an edit changes only its own cell in a diff."""
    nb.nbformat, nb.nbformat_minor = 4, 5
    seen: dict[str, int] = {}
    for cell in nb.cells:
        key = hashlib.sha1(cell.source.encode()).hexdigest()[:8]
        seen[key] = seen.get(key, 0) + 1
        cell["id"] = key if seen[key] == 1 else f"{key}-{seen[key]}"


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def code_cells(nb) -> list:
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def idiom_names() -> list[str]:
    return sorted(path.stem for path in IDIOMS.glob("*.py"))


def idiom_source(name: str) -> str:
    """Canonical text of an idiom cell. Raises KeyError for a name that has none."""
    path = IDIOMS / f"{name}.py"
    if not path.exists():
        raise KeyError(f"no idiom {name!r}: expected one of {', '.join(idiom_names())}")
    return path.read_text(encoding="utf-8").rstrip("\n")


def fill_idioms(nb) -> None:
    for cell in code_cells(nb):
        for tag in tags(cell):
            if tag.startswith("idiom-"):
                cell.source = idiom_source(tag.removeprefix("idiom-"))


def fingerprint(nb) -> str:
    """Hash of the code as Python sees it: comments, layout, the value of SEED and the style do not count."""
    trees = [ast.dump(ast.parse(cell.source)) for cell in code_cells(nb)
             if not {"parameters", "idiom-style"} & set(tags(cell))]
    return hashlib.sha256("\n".join(trees).encode()).hexdigest()[:16]


def record(nb) -> dict | None:
    """The machine-readable scoreboard among the outputs: rows and gradient errors."""
    for cell in code_cells(nb):
        for output in cell.get("outputs", []):
            if SCOREBOARD_MIME in output.get("data", {}):
                return output["data"][SCOREBOARD_MIME]
    return None


def shown(x: float, digits: int) -> str:
    """A number with its digits; in powers of ten if it would be all zeros."""
    return f"{x:.{digits}f}" if x == 0 or abs(x) >= 10**-digits else f"{x:.0e}"


def figures(nb) -> list[tuple]:
    """(cell, base64 PNG, alt text) of every stored figure."""
    return [(cell, output["data"]["image/png"],
             output.get("metadata", {}).get("image/png", {}).get("alt", ""))
            for cell in code_cells(nb) for output in cell.get("outputs", [])
            if "image/png" in output.get("data", {})]


def prose_words(nb) -> int:
    """Words in Markdown cells; maths, code, links' addresses and generated blocks do not count."""
    text = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    text = re.sub(r"<!-- (\w+):begin -->.*?<!-- \1:end -->", " ", text, flags=re.S)
    text = re.sub(r"```.*?```|\$\$.*?\$\$|\$[^$]*\$|`[^`]*`|\]\([^)]*\)|<[^>]+>", " ", text, flags=re.S)
    return len(re.findall(r"[^\W_][\w'’-]*", text))


def code_lines(nb) -> int:
    """Lines of code: no blank lines, comments, docstrings or idiom cells."""
    total = 0
    for cell in code_cells(nb):
        if any(tag.startswith("idiom-") for tag in tags(cell)):
            continue
        doc = set()
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) \
                    and isinstance(node.value.value, str):
                doc |= set(range(node.lineno, node.end_lineno + 1))
        total += sum(1 for i, line in enumerate(cell.source.splitlines(), 1)
                     if line.strip() and not line.strip().startswith("#") and i not in doc)
    return total


def execute(nb, label: str, *, keep_going: bool = False, quiet: bool = False) -> dict:
    """Run all cells in a fresh kernel in an empty folder; outputs go into nb.

    Returns cpu_seconds and peak_mib of the kernel, wall_seconds from its start to its end, and the
    Python and NumPy versions. Raises NotebookFailed at the first failing cell, unless keep_going.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    from tqdm import tqdm

    for cell in code_cells(nb):
        cell.outputs, cell.execution_count = [], None
        cell.metadata.pop("execution", None)
    nb.metadata["kernelspec"] = KERNELSPEC
    nb.cells.append(nbformat.v4.new_code_cell(MEASURE))
    start = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as folder, \
                tqdm(total=len(nb.cells) - 1, desc=label, unit="cell", disable=quiet) as bar:
            client = NotebookClient(
                nb, timeout=CELL_TIMEOUT, allow_errors=keep_going, record_timing=False,
                coalesce_streams=True,
                resources={"metadata": {"path": folder}}, kernel_name="python3",
                extra_arguments=["--IPKernelApp.log_level=ERROR"],
                on_cell_start=lambda cell, cell_index: bar.update(max(0, cell_index - bar.n)))
            try:
                client.execute()
            except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
                raise NotebookFailed(f"{label}: {error}") from None
        printed = "".join(o.get("text", "") for o in nb.cells[-1].outputs if o.get("name") == "stdout")
        if not printed:
            raise NotebookFailed(f"{label}: the kernel answered no measurement")
    finally:
        nb.cells.pop()
    nb.metadata["language_info"] = {"name": "python"}
    return json.loads(printed) | {"wall_seconds": round(time.perf_counter() - start, 1)}


def arithmetic() -> str:
    """The widest vector instructions that NumPy uses here, and what was chosen by the environment."""
    import numpy as np

    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    widest = next((name for name, signs in (("AVX-512", ("AVX512", "X86_V4")), ("AVX2", ("AVX2", "X86_V3")))
                   if any(feature.startswith(signs) for feature in found)), platform.machine())
    settings = {"OPENBLAS_CORETYPE": "kernels for {}", "NPY_DISABLE_CPU_FEATURES": "NumPy held back"}
    return CHOSEN.join([widest, *(words.format(os.environ[name]) for name, words in settings.items()
                                  if os.environ.get(name))])


def complaints(nb) -> list[str]:
    """Errors and stderr output stored in a notebook, one line each."""
    found = []
    for i, cell in enumerate(nb.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                found.append(f"cell {i}: {output.ename}: {output.evalue}")
            elif output.get("name") == "stderr":
                found.append(f"cell {i}: wrote to stderr: {output.text.strip()[:300]}")
    return found


def run_and_store(nb, paper: Paper) -> dict:
    """Execute, measure, refresh the generated blocks and store; store nothing if a cell fails."""
    fill_idioms(nb)
    measured = execute(nb, paper.name)
    if found := complaints(nb):
        raise NotebookFailed(f"{paper.name}: not stored\n" + "\n".join(found))
    nb.metadata["thirty_papers"] = {"number": paper.number, **measured, "arithmetic": arithmetic()}
    refresh_blocks(nb, paper)
    paper.path.parent.mkdir(exist_ok=True)
    write(nb, paper.path)
    return measured


# --- generated blocks -----------------------------------------------------------------------------

def replace_block(text: str, name: str, content: str) -> str:
    """Put content between the markers of a block. Raises ValueError if they are missing."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"expected exactly one block {begin} ... {end}")
    head, rest = text.split(begin)
    return f"{head}{begin}\n{content}\n{end}{rest.split(end)[1]}"


def about(number: float, step: int) -> int:
    return max(step, step * round(number / step))


def neighbours(paper: Paper) -> tuple[Paper | None, Paper | None]:
    """Previous and next paper of the same track."""
    papers, tracks = load()
    order = tracks[paper.track].order
    at = order.index(paper.number)
    return (papers[order[at - 1]] if at else None,
            papers[order[at + 1]] if at + 1 < len(order) else None)


def facts(nb, paper: Paper) -> str:
    """The block under the title: paper, track, prerequisites, times."""
    papers, tracks = load()
    track = tracks[paper.track]
    before, after = neighbours(paper)
    where = [f"{track.title.lower()}, {track.order.index(paper.number) + 1} of {len(track.order)}"]
    where += [f"previous: {before.link_from()}"] if before else []
    where += [f"next: {after.link_from()}"] if after else []
    first = "; ".join(papers[n].link_from() for n in paper.prerequisites) or "no other notebook"
    cpu = nb.metadata.get("thirty_papers", {}).get("cpu_seconds", 0)
    minutes = about(prose_words(nb) / 200 + code_lines(nb) / 25, 5)
    return "\n".join([
        f"| Paper | {', '.join(paper.authors)}: [{paper.title}]({paper.link}). {paper.published} |",
        "|:---|:---|",
        f"| Track | {' · '.join(where)} |",
        f"| Read first | {first} |",
        f"| You need | {paper.needs} |",
        f"| Time | about {about(cpu, 5)} CPU-seconds to run, {minutes} minutes to read |",
    ])


def what_next(paper: Paper) -> str:
    """The block at the end: where to go from here, and how to cite the paper."""
    papers, _ = load()
    before, after = neighbours(paper)
    users = [p.link_from() for p in papers.values() if paper.number in p.prerequisites]
    lines = [f"- Previous in this track: {before.link_from()}" if before else "",
             f"- Next in this track: {after.link_from()}" if after else "- This track ends here.",
             f"- Builds on this notebook: {'; '.join(users)}" if users else "",
             f"- The paper: [{paper.title}]({paper.link})"]
    return "\n".join([line for line in lines if line] + ["", "```bibtex", paper.bibtex.strip(), "```"])


def refresh_blocks(nb, paper: Paper) -> None:
    """Bring the generated blocks of a notebook up to date, in place."""
    nb.cells[0].source = replace_block(nb.cells[0].source, "facts", facts(nb, paper))
    nb.cells[-1].source = replace_block(nb.cells[-1].source, "next", what_next(paper))
