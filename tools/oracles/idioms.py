"""Adam and gradient clipping as PyTorch does them."""

import torch


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
    return out
