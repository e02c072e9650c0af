"""Write notebooks as text, to edit: python -m tools.text 02   ->  scratch/02_*.py

A text that is newer than its notebook is not overwritten unless --force is given.
"""

import sys

import jupytext

from tools import notebook
from tools.catalogue import ROOT, Paper, select

SCRATCH = ROOT / "scratch"


def text_path(paper: Paper):
    return SCRATCH / f"{paper.name}.py"


def main(words: list[str]) -> int:
    force = "--force" in words
    for paper in select([word for word in words if word != "--force"]):
        path = text_path(paper)
        if not paper.path.exists():
            print(f"{paper.name}: no such notebook yet", file=sys.stderr)
            return 1
        if path.exists() and path.stat().st_mtime > paper.path.stat().st_mtime and not force:
            print(f"{path} is newer than its notebook: build it, or give --force", file=sys.stderr)
            return 1
        nb = notebook.read(paper.path)
        for cell in notebook.code_cells(nb):
            if any(tag.startswith("idiom-") for tag in notebook.tags(cell)):
                cell.source = ""
        path.parent.mkdir(exist_ok=True)
        jupytext.write(nb, path, fmt="py:percent")
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
