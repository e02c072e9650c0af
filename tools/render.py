"""Execute notebooks in place, with progress shown: python -m tools.render [02 13 ...]

A notebook in which a cell fails or warns is not stored; the one on disk stays as it was.
"""

import sys

from tools import notebook
from tools.catalogue import select


def main(words: list[str]) -> int:
    failed = 0
    for paper in select(words):
        if not paper.path.exists():
            print(f"{paper.name}: no such notebook yet", file=sys.stderr)
            failed += 1
            continue
        try:
            measured = notebook.run_and_store(notebook.read(paper.path), paper)
        except notebook.NotebookFailed as error:
            print(error, file=sys.stderr)
            failed += 1
        else:
            print(f"{paper.name}: {measured['cpu_seconds']} CPU-seconds, {measured['peak_mib']} MiB")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
