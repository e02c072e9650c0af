"""Build notebooks from their text and execute them: python -m tools.build 02

Reads scratch/02_*.py (py:percent, made by tools.text), fills in the shared idioms, executes,
measures and stores notebooks/02_*.ipynb. Nothing is stored if a cell fails or warns.
"""

import sys

import jupytext
import nbformat

from tools import notebook
from tools.catalogue import select
from tools.text import text_path


def from_text(path):
    """A notebook without outputs from its py:percent text, without jupytext's own metadata."""
    nb = jupytext.read(path, fmt="py:percent")
    nb = nbformat.from_dict(nb)
    nb.metadata = nbformat.from_dict({"kernelspec": notebook.KERNELSPEC})
    for cell in nb.cells:
        cell.metadata = nbformat.from_dict(
            {k: v for k, v in cell.metadata.items() if k in ("tags", "alt", "nbgrader", "solutions")})
    return nb


def main(words: list[str]) -> int:
    if not words:
        print("usage: python -m tools.build NN ...", file=sys.stderr)
        return 2
    for paper in select(words):
        path = text_path(paper)
        if not path.exists():
            print(f"{path} is not there: make it with tools.text", file=sys.stderr)
            return 1
        try:
            measured = notebook.run_and_store(from_text(path), paper)
        except (notebook.NotebookFailed, KeyError, ValueError) as error:
            print(f"{paper.name}: not stored: {error}", file=sys.stderr)
            return 1
        print(f"{paper.name}: {measured['cpu_seconds']} CPU-seconds, {measured['peak_mib']} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
