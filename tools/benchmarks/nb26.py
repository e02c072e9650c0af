"""Small CNN, two convolutions and two layers: 64 images of 16 x 16, weight decay, momentum."""

import torch
from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import fill, fill_linear, own, tensor, trainer

B, LR, DECAY = 64, 0.03, 0.003


def cnn(P):
    """conv, pool, ReLU, twice; a hidden layer; scores."""
    net = nn.Sequential(nn.Conv2d(3, 12, 5, padding=2), nn.MaxPool2d(2), nn.ReLU(),
                        nn.Conv2d(12, 24, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(),
                        nn.Flatten(), nn.Linear(384, 64), nn.ReLU(), nn.Linear(64, 10))
    for i, name in ((0, "conv1"), (3, "conv2")):
        fill(net[i].weight, P[name + ".W"])
        fill(net[i].bias, P[name + ".b"])
    for i, name in ((7, "fc1"), (9, "fc2")):
        fill_linear(net[i], P[name + ".W"], P[name + ".b"])
    return net


def make(N, rng):
    raw, labels, _ = N.make_shapes(B, rng, **N.HARD)
    x, P0 = N.prepare(raw, N.fit_scaling(raw)), N.init(rng, N.CNN)

    def ours():
        P = own(P0)
        state = N.adam_init(P)

        def step():
            loss, G = N.loss_and_gradients(x, labels, P, decay=DECAY)
            N.momentum_update(P, G, state, LR)
            return float(loss)
        return step

    def pytorchs():
        net, images, classes = cnn(P0), tensor(x.transpose(3, 0, 1, 2)), tensor(labels)
        weights, biases = ([p for p in net.parameters() if (p.ndim > 1) == many] for many in (True, False))
        sgd = torch.optim.SGD([{"params": weights, "weight_decay": DECAY}, {"params": biases}], LR, 0.9)
        fit = trainer(net, sgd, lambda m: F.cross_entropy(m(images), classes))

        @torch.no_grad()
        def penalty():
            """What weight decay adds to the loss; the notebook reports it, the optimiser does not."""
            return 0.5 * DECAY * sum(w.square().sum() for w in weights).item()
        return lambda: penalty() + fit()

    return ours, pytorchs
