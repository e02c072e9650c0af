"""Lossy VAE, code of 8 numbers, decoder sees 4 pixels: 64 images of 12 x 12, Adam.

The noise of the code is drawn outside of the step, the same for both sides.
"""

from itertools import cycle

import numpy as np
from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import adam, fill, fill_linear, own, parameter, tensor, trainer

B, SIDE, D, HIDDEN, H, RADIUS, LR, CLIP = 64, 12, 8, 64, 12, 1, 3e-3, 20
PIXELS = SIDE * SIDE


def two_layers(P, name, W2, b2):
    net = nn.Sequential(nn.Linear(*P[name + ".W1"].shape), nn.ReLU(), nn.Linear(*W2.shape))
    fill_linear(net[0], P[name + ".W1"], P[name + ".b1"])
    fill_linear(net[2], W2, b2)
    return net


class LossyVAE(nn.Module):
    def __init__(self, P):
        super().__init__()

        def planes(a):
            """(..., pixels H) -> (..., H pixels): channels first, as PyTorch has them."""
            return a.reshape(*a.shape[:-1], PIXELS, H).swapaxes(-1, -2).reshape(a.shape)
        self.encoder = two_layers(P, "enc", P["enc.W2"], P["enc.b2"])
        self.decoder = two_layers(P, "dec", planes(P["dec.W2"]), planes(P["dec.b2"]))
        self.taps = parameter(P["W_c"].T)                        # upper left, above, upper right, left
        self.mix, self.out = nn.Conv2d(H, H, 1), nn.Conv2d(H, 1, 1)
        fill(self.mix.weight, P["W_h"].T[..., None, None])
        fill(self.mix.bias, P["b_h"])
        fill(self.out.weight, P["w_o"][None, :, None, None])
        fill(self.out.bias, P["b_o"])

    def forward(self, x, eps):
        """The bound in nats: pixels and code, the mean over images."""
        mu, logvar = self.encoder(x.flatten(1)).chunk(2, 1)
        code = self.decoder(mu + (0.5 * logvar).exp() * eps).view(B, H, SIDE, SIDE)
        kernel = F.pad(self.taps, (0, 5)).view(H, 1, 3, 3)       # causal: nothing from the centre on
        t = self.out(F.relu(self.mix(F.relu(code + F.conv2d(x, kernel, padding=RADIUS)))))
        pixels = F.binary_cross_entropy_with_logits(t, x, reduction="sum")
        return (pixels + 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum()) / B


def make(N, rng):
    masks, _ = N.outlines()
    x, see = N.fill(rng, masks[rng.integers(len(masks), size=B)]), N.window(SIDE, RADIUS)
    P0 = N.init(rng, PIXELS, D, HIDDEN, H, RADIUS)
    noise = [rng.standard_normal((B, D), np.float32) for _ in range(8)]

    def ours():
        P, eps = own(P0), cycle(noise)
        state = N.adam_init(P)

        def step():
            rec, kl, cache = N.vae_forward(x, next(eps), P, see)
            G = N.vae_backward(cache)
            N.clip_by_norm(G, CLIP)
            N.adam_update(P, G, state, LR)
            return float(rec.mean() + kl.mean())
        return step

    def pytorchs():
        model, images = LossyVAE(P0), tensor(x).view(B, 1, SIDE, SIDE)
        eps = cycle([tensor(e) for e in noise])
        return trainer(model, adam(model, LR), lambda m: m(images, next(eps)), clip=CLIP)

    return ours, pytorchs
