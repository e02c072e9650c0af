"""Adam, gradient clipping and convolution as PyTorch does them."""

import torch

from tools.oracles._torch import leaves, record

CONVOLUTIONS = {  # image, filter side, stride, padding, dilation, bias
    "plain": ((6, 5), 3, 1, 0, 1, False), "padded": ((5, 7), 3, 1, 1, 1, True),
    "strided": ((7, 8), 3, 2, 1, 1, True), "dilated": ((9, 8), 3, 1, 2, 2, False),
    "all": ((11, 9), 3, 2, 3, 2, True), "even": ((6, 6), 2, 2, 0, 1, True),
    "1x1": ((4, 5), 1, 2, 0, 1, False),
}


def convolution(rng, side, k, stride, pad, dilation, bias):
    """One convolution of three images with two channels, forward and backward, the batch last."""
    P = leaves(rng, {"W": (4, 2, k, k)} | ({"b": (4,)} if bias else {}))
    inputs = leaves(rng, {"x": (2, *side, 3)})
    y = torch.nn.functional.conv2d(inputs["x"].permute(3, 0, 1, 2), P["W"], P.get("b"), stride, pad, dilation)
    return record(inputs, P, {"y": y.permute(1, 2, 3, 0)}, rng) | {"options": [stride, pad, dilation]}


def make(rng):
    shapes = {"W": (4, 3), "b": (3,), "E": (7, 2)}
    out = {}
    P = {k: torch.nn.Parameter(torch.tensor(rng.normal(size=s))) for k, s in shapes.items()}
    out |= {f"adam/P0.{k}": p.detach().numpy().copy() for k, p in P.items()}
    optimizer = torch.optim.Adam(P.values(), lr=0.05, betas=(0.9, 0.98), eps=1e-9)
    for step in range(5):
        for k, p in P.items():
            gradient = rng.normal(size=p.shape) * 10.0 ** rng.integers(-6, 3)
            p.grad = torch.tensor(gradient)
            out[f"adam/G{step}.{k}"] = gradient
        optimizer.step()
    out |= {f"adam/P5.{k}": p.detach().numpy().copy() for k, p in P.items()}
    for max_norm in (0.7, 100.0):
        for k, p in P.items():
            p.grad = torch.tensor(rng.normal(size=p.shape))
            out[f"clip{max_norm:g}/G.{k}"] = p.grad.numpy().copy()
        out[f"clip{max_norm:g}/norm"] = torch.nn.utils.clip_grad_norm_(P.values(), max_norm).numpy()
        out |= {f"clip{max_norm:g}/clipped.{k}": p.grad.numpy().copy() for k, p in P.items()}
    for name, case in CONVOLUTIONS.items():
        out |= {f"conv {name}/{k}": v for k, v in convolution(rng, *case).items()}
    return out
