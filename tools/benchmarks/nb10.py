"""Residual network of 30 layers, shortcuts of option A: 64 images of 12 x 12, momentum.

The rate is the one after the warm-up; running moments are kept on both sides.
"""

import torch
from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import fill, fill_linear, own, tensor, trainer

B, SIDE, n, C, LR, DECAY = 64, 12, 7, 8, 0.1, 1e-4


class Unit(nn.Sequential):
    """Convolution without a bias, then batch normalisation."""

    def __init__(self, C_in, C_out, stride=1):
        super().__init__(nn.Conv2d(C_in, C_out, 3, stride, 1, bias=False), nn.BatchNorm2d(C_out))


class Block(nn.Module):
    def __init__(self, C_in, C_out):
        super().__init__()
        self.stride = 1 if C_in == C_out else 2
        self.first, self.second = Unit(C_in, C_out, self.stride), Unit(C_out, C_out)

    def forward(self, x):
        y = self.second(F.relu(self.first(x)))
        if self.stride > 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        return F.relu(y + x)


class ResNet(nn.Module):
    def __init__(self, P):
        super().__init__()
        self.stem, self.fc = Unit(3, C, 2), nn.Linear(2 * C, 10)
        self.blocks = nn.Sequential(*[Block(C if k <= n else 2 * C, C if k < n else 2 * C)
                                      for k in range(2 * n)])
        units = {"stem": self.stem}
        for k, block in enumerate(self.blocks):
            units |= {f"b{k}.1": block.first, f"b{k}.2": block.second}
        for name, (conv, norm) in units.items():
            fill(conv.weight, P[f"{name}.W"])
            fill(norm.weight, P[f"{name}.gamma"])
            fill(norm.bias, P[f"{name}.beta"])
        fill_linear(self.fc, P["fc.W"], P["fc.b"])

    def forward(self, x):
        return self.fc(self.blocks(F.relu(self.stem(x - 0.5))).mean((2, 3)))


def make(N, rng):
    x, labels, _ = N.make_shapes(B, rng, side=SIDE, noise=0.08, light=0.15, jitter=0.15)
    P0 = N.init_resnet(rng, n, "A", C)

    def ours():
        P, stats = own(P0), N.neutral_stats(P0)
        V = {name: 0 * p for name, p in P.items()}

        def step():
            loss, G, _, cache = N.loss_and_gradients(x, labels, P, "A")
            N.sgd_step(P, G, V, LR)
            for u, moments in N.moments_of(cache).items():
                new = N.running_update(N.below(stats, u), *moments)
                stats.update({f"{u}.{what}": value for what, value in new.items()})
            return loss
        return step

    def pytorchs():
        model, images, classes = ResNet(P0), tensor(x.transpose(3, 0, 1, 2)), tensor(labels)
        weights, others = ([p for p in model.parameters() if (p.ndim > 1) == many] for many in (True, False))
        sgd = torch.optim.SGD([{"params": weights, "weight_decay": DECAY}, {"params": others}], LR, 0.9)
        return trainer(model, sgd, lambda m: F.cross_entropy(m(images), classes))

    return ours, pytorchs
