"""Dilated network, seven convolutions of 12 channels: 8 scenes of 32 x 32, Adam."""

import numpy as np
from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import adam, fill, own, tensor, trainer

B, C, DILATIONS, LR = 8, 12, (1, 1, 1, 2, 4, 8, 1), 0.01


class Dilated(nn.Sequential):
    def __init__(self, P, K):
        layers = []
        for i, dilation in enumerate(DILATIONS):
            layers += [nn.Conv2d(C if i else 3, C, 3, padding=dilation, dilation=dilation), nn.ReLU()]
        super().__init__(*layers, nn.Conv2d(C, K, 1))
        for conv, name in zip([*self][::2], (*range(len(DILATIONS)), "y"), strict=True):
            fill(conv.weight, P[f"{name}.W"])
            fill(conv.bias, P[f"{name}.b"])


def make(N, rng):
    x, labels = N.make_scenes(B, rng)
    shares = np.bincount(labels.ravel(), minlength=N.K) / labels.size
    P0 = N.net_init(rng, DILATIONS, C, shares=shares)

    def ours():
        P = own(P0)
        state = N.adam_init(P)
        return lambda: N.step_of(P, state, DILATIONS, x, labels, LR)

    def pytorchs():
        model, images = Dilated(P0, N.K), tensor(x.transpose(3, 0, 1, 2))
        classes, optimizer = tensor(labels.transpose(2, 0, 1)), adam(model, LR, betas=(0.9, 0.99))
        return trainer(model, optimizer, lambda m: F.cross_entropy(m(images), classes))

    return ours, pytorchs
