"""Small AlexNet, two convolutions and two layers: 64 images of 24 x 24, dropout, momentum.

The images are drawn and altered outside of the step; so are the masks of dropout, the same for both sides.
"""

from itertools import cycle

import torch
from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import fill, own, tensor, trainer

B, LR, DECAY = 64, 0.02, 5e-4


class AlexNet(nn.Module):
    def __init__(self, P):
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(3, 12, 5, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                                  nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.fc1, self.fc2 = nn.Linear(24 * 2 * 2, 128), nn.Linear(128, 10)
        for layer, name in ((self.maps[0], "conv1"), (self.maps[3], "conv2"), (self.fc1, "fc1"),
                            (self.fc2, "fc2")):
            fill(layer.weight, P[name + ".W"].reshape(layer.weight.shape))
            fill(layer.bias, P[name + ".b"])

    def forward(self, x, mask):
        return self.fc2(F.relu(self.fc1(self.maps(x).flatten(1))) * mask)


def make(N, rng):
    raw, labels, _ = N.draw(B, 0)
    x, P0 = N.normaliser(raw)(raw), N.init(rng)
    masks = [N.dropout_mask(rng, (128, 1, 1, B)) for _ in range(8)]

    def ours():
        P, mask = own(P0), cycle(masks)
        V = {k: 0 * p for k, p in P.items()}

        def step():
            loss, G, _ = N.loss_and_gradients(x, labels, P, N.NET, next(mask))
            N.momentum_step(P, G, V, LR, DECAY)
            return loss
        return step

    def pytorchs():
        model, images, classes = AlexNet(P0), tensor(x.transpose(3, 0, 1, 2)), tensor(labels)
        mask = cycle([tensor(m[:, 0, 0].T) for m in masks])
        weights, biases = ([p for p in model.parameters() if (p.ndim > 1) == many] for many in (True, False))
        sgd = torch.optim.SGD([{"params": weights, "weight_decay": DECAY}, {"params": biases}], LR, 0.9)
        return trainer(model, sgd, lambda m: F.cross_entropy(m(images, next(mask)), classes))

    return ours, pytorchs
