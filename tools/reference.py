"""Make the golden vectors data/reference/NN.npz: python -m tools.reference [02 13 ...]

Needs what tools/reference-requirements.txt lists (PyTorch's CPU build); the tests need only the files.
The same numbers come out every time: each module draws from its own fixed stream.
"""

import importlib
import io
import sys
import zlib

import numpy as np

from tools.catalogue import ROOT

FOLDER = ROOT / "data" / "reference"


def modules() -> list[str]:
    """Names of the oracle modules: nb02, nb13, ..., and idioms."""
    return sorted(path.stem for path in (ROOT / "tools" / "oracles").glob("[a-z]*.py"))


def encode(arrays: dict) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{key: np.asarray(value) for key, value in sorted(arrays.items())})
    return buffer.getvalue()


def main(words: list[str]) -> int:
    chosen = [f"nb{word}" if word.isdigit() else word for word in words] or modules()
    for name in chosen:
        if name not in modules():
            print(f"no oracle {name!r}: expected one of {', '.join(modules())}", file=sys.stderr)
            return 1
        number = zlib.crc32(name.encode())
        arrays = importlib.import_module(f"tools.oracles.{name}").make(np.random.default_rng(number))
        FOLDER.mkdir(parents=True, exist_ok=True)
        path = FOLDER / f"{name.removeprefix('nb')}.npz"
        old = path.read_bytes() if path.exists() else b""
        path.write_bytes(encode(arrays))
        state = "as it was" if path.read_bytes() == old else "new"
        print(f"{path.relative_to(ROOT)}: {len(arrays)} arrays, {state}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
