SHAPES = ("disc", "square", "triangle", "ring", "plus")


def make_shapes(n, rng, shapes=SHAPES, side=16, noise=0.1, light=0.2, jitter=0.25, turn=0.2,
                size=(0.6, 0.85)):
    """Draw n coloured shapes, each shape in a warm and in a cool hue: 2 len(shapes) classes.

    Random are the place (up to jitter), the size (half of it), the rotation (up to turn radians), the
    colours, the shading of the ground, the colour of the light (std light) and the pixels' noise (std
    noise); lengths are in half images. Returns images (3, side, side, n) float32 in [0, 1], the batch
    last, labels (n,) = 2 shape + cool, and masks (side, side, n), True on the object.
    """
    labels = rng.permutation(np.arange(n) % (2 * len(shapes)))
    kind, cool = np.array(shapes)[labels // 2], labels % 2
    angle = rng.uniform(-turn, turn, n)
    half = rng.uniform(*size, n)
    centre = rng.uniform(-jitter, jitter, (2, n))
    axis = (np.arange(side) + 0.5) * 2 / side - 1
    X, Y = axis[None, :, None] - centre[0], axis[:, None, None] - centre[1]
    u = (np.cos(angle) * X + np.sin(angle) * Y) / half       # (side, side, n), the shape's own axes
    v = (np.cos(angle) * Y - np.sin(angle) * X) / half
    r, a, b = np.hypot(u, v), np.abs(u), np.abs(v)
    inside = {"disc": r < 0.9, "square": np.maximum(a, b) < 0.8,
              "triangle": (v < 0.7) & (v > 1.9 * a - 0.95), "ring": (r < 0.95) & (r > 0.55),
              "plus": (np.minimum(a, b) < 0.28) & (np.maximum(a, b) < 0.95),
              "bar": (a < 0.95) & (b < 0.35), "diamond": a + b < 1,
              "cross": (np.abs(a - b) < 0.36) & (np.maximum(a, b) < 0.85),
              "arc": (r < 0.95) & (r > 0.5) & (v < 0.1)}
    unknown = [name for name in shapes if name not in inside]
    if unknown:
        raise ValueError(f"no shape is called {unknown[0]!r}; there are {', '.join(inside)}")
    masks = np.zeros((side, side, n), bool)
    for name in shapes:
        masks |= inside[name] & (kind == name)
    warm = np.stack([rng.uniform(0.6, 1.0, n), rng.uniform(0.2, 0.6, n), rng.uniform(0.0, 0.4, n)])
    ink = np.where(cool, warm[::-1], warm)                   # (3, n): red over blue, or blue over red
    slope = rng.uniform(-0.2, 0.2, (2, n))
    shade = slope[0] * axis[:, None, None] + slope[1] * axis[None, :, None]
    ground = rng.uniform(0.1, 0.9, (3, 1, 1, n)) + shade
    images = np.where(masks, ink[:, None, None], ground)
    images = images * rng.normal(1, light, (3, 1, 1, n)) + rng.normal(0, noise, (3, side, side, n))
    return images.clip(0, 1).astype(np.float32), labels, masks
