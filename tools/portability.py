"""Do the verdicts depend on the processor? python -m tools.portability [--seeds 0] [--cheapest 3]

OpenBLAS chooses its kernels by the processor, and different kernels round differently. This runs the
cheapest notebooks of each track with the kernels of other processors, and once with NumPy's own AVX-512
code switched off. data/sweep keeps the results beside those of the processor as it is. Exit code 1 if a
verdict differs from the stated one.
"""

import argparse
import os
import platform
import subprocess
import sys

from tools import notebook
from tools.catalogue import ROOT, load

# x86-64 before AVX, with AVX, with AVX2. OpenBLAS does not ask whether the processor has what it is told.
KERNELS = ("Nehalem", "Sandybridge", "Haswell")
AVX512 = ("X86_V4", "AVX512F", "AVX512CD", "AVX512_SKX", "AVX512_CLX", "AVX512_CNL", "AVX512_ICL",
          "AVX512_SPR")


def cheapest(count: int) -> list[int]:
    """Numbers of the notebooks that took the least CPU time, so many of each track."""
    papers, tracks = load()

    def cost(number: int) -> float:
        return notebook.read(papers[number].path).metadata["thirty_papers"]["cpu_seconds"]

    return sorted(number for track in tracks.values() for number in
                  sorted((n for n in track.order if papers[n].path.exists()), key=cost)[:count])


def settings() -> dict[str, dict[str, str]]:
    """Name and environment of each variant that this machine can run."""
    variants = {f"OpenBLAS kernels for {name}": {"OPENBLAS_CORETYPE": name} for name in KERNELS}
    import numpy as np

    features = np.show_config(mode="dicts")["SIMD Extensions"]
    there = [name for name in AVX512 if name in features.get("found", [])]
    if there:
        variants["OpenBLAS kernels for SkylakeX"] = {"OPENBLAS_CORETYPE": "SkylakeX"}
        variants["NumPy without AVX-512"] = {"NPY_DISABLE_CPU_FEATURES": " ".join(there)}
    return variants


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools.portability", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--jobs", default="2")
    parser.add_argument("--cheapest", type=int, default=3, help="so many notebooks of each track")
    args = parser.parse_args(argv)
    if platform.machine().lower() not in ("x86_64", "amd64"):
        print(f"these kernels are for x86-64, and this is {platform.machine()}", file=sys.stderr)
        return 1
    numbers = [f"{number:02d}" for number in cheapest(args.cheapest)]
    failed = []
    for name, variables in settings().items():
        print(f"\n=== {name}: notebooks {' '.join(numbers)}", flush=True)
        command = [sys.executable, "-m", "tools.sweep", "--seeds", args.seeds, "--jobs", args.jobs,
                   "--notebooks", *numbers]
        if subprocess.run(command, cwd=ROOT, env=os.environ | variables, check=False).returncode:
            failed.append(name)
    print(f"\nnot as stated with: {', '.join(failed)}" if failed else "\nevery verdict as stated, everywhere")
    return min(len(failed), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
