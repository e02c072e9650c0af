"""Time the notebooks' convolution against PyTorch's, one thread each: python -m tools.benchmark

Needs what tools/reference-requirements.txt lists. Prints milliseconds forward and backward in float32,
the best of several rounds, and the ratio, on shapes of notebooks 07, 10, 11 and 26. Nothing is asserted:
times belong to a machine.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import timeit

import numpy as np
import torch

from tools.catalogue import ROOT

SHAPES = {  # images, side, channels in, channels out, filter side, stride, padding, dilation
    "07 conv1": (64, 24, 3, 12, 5, 2, 1, 1), "07 conv2": (64, 5, 12, 24, 3, 1, 1, 1),
    "10 stem": (64, 12, 3, 8, 3, 2, 1, 1), "10 stage 1": (64, 6, 8, 8, 3, 1, 1, 1),
    "10 stage 2": (64, 3, 16, 16, 3, 1, 1, 1),
    "11 dilation 1": (12, 24, 12, 12, 3, 1, 1, 1), "11 dilation 8": (12, 24, 12, 12, 3, 1, 8, 8),
    "26 conv1": (64, 16, 3, 12, 5, 1, 2, 1), "26 conv2": (64, 8, 12, 24, 3, 1, 1, 1),
}


def passes(N, side, C, O, k, stride, pad, dilation):
    """Two functions, ours and PyTorch's: forward and backward of the same convolution."""
    space = {"np": np}
    for name in ("conv_forward", "conv_backward"):
        exec((ROOT / "tests" / "idioms" / f"{name}.py").read_text(), space)
    rng = np.random.default_rng(0)
    x, P = rng.normal(size=(C, side, side, N)).astype("f"), {"W": rng.normal(size=(O, C, k, k)).astype("f")}
    dy = np.ones_like(space["conv_forward"](x, P, stride, pad, dilation)[0])
    image = torch.tensor(np.ascontiguousarray(x.transpose(3, 0, 1, 2)), requires_grad=True)
    W = torch.tensor(P["W"], requires_grad=True)
    up = torch.ones(N, O, *dy.shape[1:3])

    def ours():
        space["conv_backward"](dy, space["conv_forward"](x, P, stride, pad, dilation)[1])

    def pytorchs():
        image.grad = W.grad = None
        torch.nn.functional.conv2d(image, W, None, stride, pad, dilation).backward(up)

    return ours, pytorchs


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'convolution':14s} {'NumPy':>8s} {'PyTorch':>8s}  ratio   (ms, forward and backward)")
    for name, shape in SHAPES.items():
        times = []
        for run in passes(*shape):
            run()
            number = max(1, round(0.05 / timeit.timeit(run, number=1)))
            times.append(min(timeit.repeat(run, number=number, repeat=7)) / number * 1e3)
        print(f"{name:14s} {times[0]:8.2f} {times[1]:8.2f} {times[0] / times[1]:6.1f}")


if __name__ == "__main__":
    main()
