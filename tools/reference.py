"""Make the golden vectors data/reference/NN.npz: python -m tools.reference [02 13 ...]

Needs what tools/reference-requirements.txt lists (PyTorch's CPU build); the tests need only the files.
The same numbers come out every time: each module draws from its own fixed stream. PyTorch takes other
kernels on other processors, so the last digits may differ; a file that agrees with the new numbers up to
rounding stays as it is, byte by byte.
"""

import importlib
import io
import sys
import zlib

import numpy as np

from tools.catalogue import ROOT

FOLDER = ROOT / "data" / "reference"
ROUNDING = 1e-12


def modules() -> list[str]:
    """Names of the oracle modules: nb02, nb13, ..., and idioms."""
    return sorted(path.stem for path in (ROOT / "tools" / "oracles").glob("[a-z]*.py"))


def encode(arrays: dict) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{key: np.asarray(value) for key, value in sorted(arrays.items())})
    return buffer.getvalue()


def agrees(old: bytes, new: bytes) -> bool:
    """The same arrays: whole numbers exactly, others within ROUNDING of the largest entry, or of 1."""
    with np.load(io.BytesIO(old)) as before, np.load(io.BytesIO(new)) as after:
        if before.files != after.files:
            return False
        for key in after.files:
            x, y = before[key], after[key]
            if x.shape != y.shape or x.dtype != y.dtype:
                return False
            exact = x.dtype.kind not in "fc" or not x.size
            if not (np.array_equal(x, y) if exact else
                    np.allclose(x, y, rtol=0, atol=ROUNDING * max(1, abs(x).max()), equal_nan=True)):
                return False
    return True


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
        new = encode(arrays)
        same = "as it was" if new == old else "as it was, up to rounding"
        state = same if old and agrees(old, new) else "new"
        if state == "new":
            path.write_bytes(new)
        print(f"{path.relative_to(ROOT)}: {len(arrays)} arrays, {state}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
