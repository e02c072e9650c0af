"""What the oracles share: random leaves, and a record of one pass forward and backward."""

import torch


def leaves(rng, shapes, scale=1.0):
    """Random float64 tensors that collect gradients."""
    return {k: torch.tensor(scale * rng.normal(size=s), requires_grad=True) for k, s in shapes.items()}


def record(inputs, P, outputs, rng):
    """Backpropagate random upstream gradients; return inputs, parameters, outputs and all gradients."""
    ups = {k: rng.normal(size=tuple(y.shape)) for k, y in outputs.items()}
    torch.autograd.backward(list(outputs.values()), [torch.tensor(u) for u in ups.values()])
    out = {k: v.detach() for k, v in (inputs | outputs).items()}
    out |= {f"P.{k}": p.detach() for k, p in P.items()} | {f"G.{k}": p.grad for k, p in P.items()}
    out |= {f"d{k}": v.grad for k, v in inputs.items() if v.grad is not None}
    return out | {f"up.{k}": u for k, u in ups.items()}
