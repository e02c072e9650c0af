"""Pipeline of 4 stages, 11 layers of 32, 128 rows in 4 micro-batches, momentum, float64.

Ours is the notebook's pipeline, a thread for each stage; PyTorch's takes the micro-batches in turn through
stages that are checkpointed, as one does on a single device. Both compute activations twice.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tools.benchmarks._torch import own

B, MICRO, STAGES, WIDTHS, LR = 128, 4, 4, [2] + [32] * 10 + [3], 0.01


def sequence(layers, P):
    """Some layers of the notebook as one module, in float64."""
    modules = []
    for layer in layers:
        linear = nn.Linear(layer.D_in, layer.D_out).double()
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(P[layer.name + ".W"].T))
            linear.bias.copy_(torch.from_numpy(P[layer.name + ".b"]))
        modules += [linear, nn.Tanh()] if layer.kind == "tanh" else [linear]
    return nn.Sequential(*modules)


def make(N, rng):
    x, t = N.spirals(rng, B)
    order = rng.permutation(B)                                   # the notebook's batches are shuffled
    x, t, layers = x[order], t[order], N.mlp(WIDTHS)
    P0 = N.init(layers, rng)

    def ours():
        P, V = own(P0), {}
        stages = N.cut(layers, P, STAGES)

        def step():
            loss, G, _ = N.pipeline_step(stages, x, t, MICRO)
            N.sgd(P, G, V, LR)
            return loss
        return step

    def pytorchs():
        stages = nn.ModuleList([sequence(stage.layers, P0) for stage in N.cut(layers, P0, STAGES)])
        rows, labels = torch.from_numpy(x).chunk(MICRO), torch.from_numpy(t).chunk(MICRO)
        sgd = torch.optim.SGD(stages.parameters(), LR, 0.9)

        def step():
            sgd.zero_grad()
            total = 0.0
            for y, target in zip(rows, labels, strict=True):
                for stage in stages:
                    y = checkpoint(stage, y, use_reentrant=False, preserve_rng_state=False)
                loss = F.cross_entropy(y, target, reduction="sum") / B
                loss.backward()
                total += loss.item()
            sgd.step()
            return total
        return step

    return ours, pytorchs
