"""Notebook 17: VAE, causal decoder and flow prior against PyTorch; bits-back coder, data, measures."""

import math
import re
from itertools import product

import numpy as np
import pytest

from tests.support import (
    Exercises,
    classroom,
    close,
    close_dicts,
    definitions,
    exercise_parts,
    golden,
    like_parameters,
    part,
    rng,
    text_and_code,
    untouched,
)

N = definitions(17)
CASES = golden("17")
# side, d, hidden, radius, channels, flow layers; as in tools/oracles/nb17.py
SHAPES = {"plain": (3, 2, 5, 0, 0, 0), "factorised": (3, 2, 5, 0, 4, 0), "local": (4, 3, 6, 1, 4, 0),
          "full": (4, 2, 5, 3, 3, 0), "flow": (3, 3, 5, 1, 4, 2), "nocode": (4, 0, 0, 1, 4, 0)}


def complete(space):
    """Constants that the notebook computes when it runs."""
    fine = 2**space["FINE"]
    space["EDGES"] = space["ndtri"](np.linspace(0, 1, fine + 1))
    space["MIDDLES"] = space["ndtri"]((np.arange(fine) + 0.5) / fine)
    space["UNIFORM"] = np.arange(fine + 1) << (space["BITS"] - space["FINE"])
    space["MASKS"], space["WHAT"] = space["outlines"]()
    return space


complete(N.push.__globals__)
MASKS, WHAT = N.outlines()


def see(name):
    side, _, _, r, _, _ = SHAPES[name]
    return N.window(side, r)


# --- what the mutation test breaks -----------------------------------------------------------------

def check_net_backward(space):
    case = CASES["net"]
    y, cache = space.net_forward(case["x"], part(case, "P."), "enc")
    close(y, case["y"], 1e-13)
    dx, G = space.net_backward(case["up.y"], cache)
    close(dx, case["dx"], 1e-12)
    close_dicts(G, part(case, "G."), 1e-12)


def check_reparam_backward(space):
    case = CASES["reparam"]
    z, cache = space.reparam_forward(case["s"], case["eps"])
    close(z, case["z"], 1e-13)
    close(space.reparam_backward(case["up.z"], cache), case["ds"], 1e-12)


def check_gauss_kl_backward(space):
    case = CASES["gauss_kl"]
    kl, cache = space.gauss_kl_forward(case["s"], None, None, {})
    close(kl, case["kl"], 1e-13)
    ds, dz, G = space.gauss_kl_backward(case["up.kl"], cache)
    close(ds, case["ds"], 1e-12)
    assert np.all(dz == 0) and G == {}


def check_bce_backward(space):
    case = CASES["bce"]
    rec, cache = space.bce_forward(case["t"], case["x"])
    close(rec, case["rec"], 1e-13)
    close(space.bce_backward(case["up.rec"], cache), case["dt"], 1e-13)


def check_pixels_backward(space):
    for r in range(4):
        case = CASES[f"pixels{r}"]
        t, cache = space.pixels_forward(case["c"], case["x"], part(case, "P."), space.window(4, r))
        close(t, case["t"], 1e-12)
        dc, G = space.pixels_backward(case["up.t"], cache)
        close(dc, case["dc"], 1e-12)
        close_dicts(G, part(case, "G."), 1e-12)


def check_vae_backward(space):
    for name in SHAPES:
        case = CASES[name]
        rec, kl, cache = space.vae_forward(case["x"], case["eps"], part(case, "P."), see(name))
        close(rec, case["rec"], 1e-12, f"{name}: rec")
        close(kl, case["kl"], 1e-12, f"{name}: kl")
        close_dicts(space.vae_backward(cache), part(case, "G."), 1e-11, name)


def check_flow_backward(space):
    for d in (2, 3, 4):
        case = CASES[f"flow{d}"]
        eps, logdet, cache = space.flow_forward(case["z"], part(case, "P."), "flow0")
        close(eps, case["eps"], 1e-12)
        close(logdet, case["logdet"], 1e-12)
        dz, G = space.flow_backward(case["up.eps"], case["up.logdet"], cache)
        close(dz, case["dz"], 1e-11)
        close_dicts(G, part(case, "G."), 1e-11)


def check_prior_backward(space):
    for d in (2, 3, 4):
        case = CASES[f"prior{d}"]
        log_p, eps, cache = space.prior_forward(case["z"], part(case, "P."))
        close(log_p, case["log_p"], 1e-12)
        close(eps, case["eps"], 1e-12)
        dz, G = space.prior_backward(case["up.log_p"], cache)
        close(dz, case["dz"], 1e-11)
        close_dicts(G, part(case, "G."), 1e-11)


def check_flow_kl_backward(space):
    for d in (2, 3, 4):
        case = CASES[f"flow_kl{d}"]
        kl, cache = space.flow_kl_forward(case["s"], case["noise"], case["z"], part(case, "P."))
        close(kl, case["kl"], 1e-12)
        ds, dz, G = space.flow_kl_backward(case["up.kl"], cache)
        close(ds, case["ds"], 1e-12)
        close(dz, case["dz"], 1e-11)
        close_dicts(G, part(case, "G."), 1e-11)


CHECKS = {f"{name}_backward": globals()[f"check_{name}_backward"] for name in (
    "net", "reparam", "gauss_kl", "bce", "pixels", "vae", "flow", "prior", "flow_kl")}


# --- the model -------------------------------------------------------------------------------------

def model(kind, dtype=np.float64, seed=0):
    """Parameters with noise, images, noise and window of a small model of this kind."""
    r = rng(seed)
    kw = {"plain": {}, "factorised": {"H": 4}, "local": {"H": 4, "r": 1}, "full": {"H": 3, "r": 3},
          "nocode": {"H": 4, "r": 1, "code": False}, "flow": {"H": 4, "r": 1}}[kind]
    P = N.init(r, 16, 3, 6, **kw) | (N.new_flow(r, 3, 2, 7) if kind == "flow" else {})
    P = {k: (p + 0.1 * r.normal(size=p.shape)).astype(dtype) for k, p in P.items()}
    x = (r.random((5, 16)) < 0.4).astype(dtype)
    return P, x, r.normal(size=(5, 3)).astype(dtype), N.window(4, kw.get("r", 0))


KINDS = "plain", "factorised", "local", "full", "nocode", "flow"


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_by_differences_and_none_is_missing(kind):
    """The mistake to avoid: a variational autoencoder without any gradient."""
    P, x, eps, window = model(kind)
    assert N.check_vae(P, x, eps, window) < 1e-5
    G = N.vae_backward(N.vae_forward(x, eps, P, window)[2])
    like_parameters(G, P)
    assert all(np.abs(g).max() > 1e-6 for g in G.values())


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_written_and_float32_stays_and_agrees(kind):
    P, x, eps, window = model(kind, np.float32)
    with untouched(P | {"x": x, "eps": eps}):
        rec, kl, cache = N.vae_forward(x, eps, P, window)
        G = N.vae_backward(cache)
    assert rec.dtype == kl.dtype == np.float32
    like_parameters(G, P)
    P64 = {k: p.astype(float) for k, p in P.items()}
    rec64, kl64, cache64 = N.vae_forward(x.astype(float), eps.astype(float), P64, window)
    close(rec.astype(float), rec64, 1e-5)
    close(kl.astype(float), kl64, 1e-5)
    close_dicts({k: g.astype(float) for k, g in G.items()}, N.vae_backward(cache64), 1e-4)


def test_backward_functions_leave_their_caches_alone():
    P, x, eps, window = model("flow")
    cache = N.vae_forward(x, eps, P, window)[2]
    first, second = N.vae_backward(cache), N.vae_backward(cache)
    close_dicts(second, first, 0)


@pytest.mark.parametrize("kind", ["plain", "local", "flow"])
def test_training_lowers_the_bound_and_only_what_it_should(kind):
    x = N.small_images(rng(1), 500)[0]
    P, _, _, window = model(kind, np.float32)
    before = {k: p.copy() for k, p in P.items()}
    curve = N.train(P, x, rng(2), 200, 1e-2, window, B=32)
    assert curve.shape == (200, 2)
    assert curve[-30:].sum(1).mean() < curve[:10].sum(1).mean() - 1.5
    assert all(not np.array_equal(P[k], before[k]) for k in P)
    if kind == "flow":
        before = {k: p.copy() for k, p in P.items()}
        N.train(P, x, rng(3), 3, 1e-2, window, only="flow")
        assert {k for k in P if not np.array_equal(P[k], before[k])} == {k for k in P if k[:4] == "flow"}


def test_prices_average_over_noise():
    P, x, _, window = model("local", np.float32)
    rec, kl = N.prices(P, x, rng(0), window, times=3)
    draws, r = [], rng(0)
    for _ in range(3):
        draws.append(N.vae_forward(x, r.standard_normal((5, 3), np.float32), P, window)[:2])
    close(rec, np.mean([a for a, _ in draws], 0), 1e-6)
    close(kl, draws[0][1], 1e-6)


def test_fresh_parameters():
    size = {r: sum(p.size for p in N.init(rng(), 144, 8, H=12, r=r).values()) for r in (0, 1, 2, 11)}
    assert size[1] - size[0] == 4 * 12 and size[2] - size[0] == 12 * 12 and size[11] - size[0] == 264 * 12
    P = N.init(rng(), 144, 8, H=12, r=1)
    assert all(p.dtype == np.float32 for p in P.values())
    assert 0.9 / 12 < abs(P["enc.W1"]).max() <= 1 / 12
    assert abs(P["enc.W2"]).max() <= 0.3 / 8
    P = N.init(rng(), 144, 8, H=12, r=1, code=False)
    assert P.keys() == {"dec.b2", "W_c", "W_h", "b_h", "w_o", "b_o"}
    assert N.init(rng(), 16, 2, 32)["dec.W2"].shape == (32, 16)


def test_noise_and_price_by_hand():
    s, eps = np.array([[1.0, -2.0, 0.0, math.log(4)]]), np.array([[0.5, -1.0]])
    close(N.reparam_forward(s, eps)[0], [[1.5, -4.0]], 1e-15)
    kl = N.gauss_kl_forward(s, eps, None, {})[0]
    close(kl, [0.5 + 0.5 * (4 + 4 - 1 - math.log(4))], 1e-14)
    r = rng(3)
    draws = r.normal(size=(200_000, 2))
    z, (sigma, _) = N.reparam_forward(np.repeat(s, len(draws), 0), draws)
    log_q = (-0.5 * draws**2 - np.log(sigma)).sum(1)
    assert abs((log_q + 0.5 * (z**2).sum(1)).mean() - kl[0]) < 0.03
    for shape in ((1, 3), (1, 5), (2, 4)):
        with pytest.raises(ValueError, match="expected"):
            N.reparam_forward(np.zeros(shape), eps)


def test_pixels_cost():
    t = np.array([[0.0, 1e4, -1e4, 2.0]])
    rec, cache = N.bce_forward(t, np.array([[1.0, 1, 0, 0]]))
    close(rec, [math.log(2) + math.log1p(math.exp(2))], 1e-12)
    with np.errstate(over="raise"):
        assert np.isfinite(N.bce_backward(np.ones(1), cache)).all()


# --- the window ------------------------------------------------------------------------------------

@pytest.mark.parametrize("side, r", list(product((3, 5), (0, 1, 2))))
def test_window_by_loops(side, r):
    taps, order, start = N.window(side, r)
    seen = set()
    for j, i in product(range(side**2), repeat=2):
        (jy, jx), (iy, ix) = divmod(j, side), divmod(i, side)
        inside = j < i and iy - jy <= r and abs(jx - ix) <= r
        assert (taps[j, i] >= 0) == inside
        if inside:
            seen.add((taps[j, i], jy - iy, jx - ix))
    assert len(seen) == len({tap for tap, _, _ in seen}) == 2 * r * (r + 1)
    flat = taps.ravel()[order]
    assert (flat >= 0).all() and (np.diff(flat) >= 0).all() and len(flat) == (taps >= 0).sum()
    assert list(flat[start]) == sorted({tap for tap, _, _ in seen})


def test_window_refuses():
    for side, r in ((4, -1), (4, 4), (12, 12)):
        with pytest.raises(ValueError, match="radius"):
            N.window(side, r)
    taps = N.window(12, 11)[0]
    assert ((taps >= 0) == np.triu(np.ones((144, 144), bool), 1)).all()


@pytest.mark.parametrize("r", [0, 1, 2, 3])
def test_no_pixel_sees_itself_or_what_follows(r):
    P = model("local")[0] | N.init(rng(4), 16, 3, 6, H=4, r=r, code=False)
    P = {k: p.astype(float) for k, p in P.items()}
    if r == 0:
        P.pop("W_c", None)
    window, x = N.window(4, r), (rng(5).random((1, 16)) < 0.5) * 1.0
    c = rng(6).normal(size=(1, 64))
    t = N.pixels_forward(c, x, P, window)[0][0]
    for i in range(16):
        y = x.copy()
        y[0, i] = 1 - y[0, i]
        moved = N.pixels_forward(c, y, P, window)[0][0] != t
        assert not moved[window[0][i] < 0].any()
        assert not moved[:i + 1].any()
        if r and i < 15:
            assert moved.any() or not (window[0][i] >= 0).any()


@pytest.mark.parametrize("r", [0, 1, 3])
def test_decompress_draws_what_the_forward_pass_says(r):
    """A drawing is certain if the logits are large: then forward must predict every pixel of it."""
    g = N.decompress.__globals__
    old, g["SIDE"] = g["SIDE"], 4
    try:
        r_ = rng(r)
        P = {k: 6 * p.astype(float) for k, p in N.init(r_, 16, 3, 6, H=5, r=r).items()}
        z, draws = r_.normal(size=(3, 3)), []
        y = N.decompress(np.repeat(z, 1500, 0), P, N.window(4, r), rng(7)).reshape(3, 1500, 16)
        for k in range(3):
            c = np.repeat(N.net_forward(z[k:k + 1], P, "dec")[0], 1500, 0)
            p = N.expit(N.pixels_forward(c, y[k].astype(float), P, N.window(4, r))[0])
            draws.append((y[k] - p).mean(0))
        assert np.abs(draws).max() < 0.06
        assert set(np.unique(y)) <= {0, 1}
    finally:
        g["SIDE"] = old


# --- data and measures -----------------------------------------------------------------------------

def test_patterns():
    clean, kind, weight = N.patterns()
    assert clean.shape == (12, 16) and len({tuple(c) for c in clean}) == 12
    assert list(np.bincount(kind)) == [4, 4, 2, 2]
    close([weight[kind == k].sum() for k in range(4)], [0.25] * 4, 1e-15)
    assert list(clean.sum(1)) == [4] * 10 + [8] * 2
    x, which = N.small_images(rng(1), 20_000)
    assert x.dtype == np.float32 and set(np.unique(x)) == {0, 1}
    assert abs((x != clean[which]).mean() - 0.03) < 0.002
    close(np.bincount(which) / 20_000, weight, 0.01)


def test_small_log_p_by_counting():
    x, _ = N.small_images(rng(2), 200_000)
    codes = (x.astype(int) << np.arange(16)).sum(1)
    seen = np.bincount(codes, minlength=2**16) / len(x)
    for k in np.argsort(-seen)[:20]:
        image = (np.array([[k]]) >> np.arange(16) & 1).astype(float)
        assert abs(math.exp(N.small_log_p(image)[0]) - seen[k]) < 5 * math.sqrt(seen[k] / len(x))


def test_clean_and_sheet():
    clean = N.patterns()[0].copy()
    assert N.clean(clean) == 1
    clean[:6, 0] = 1 - clean[:6, 0]
    assert N.clean(clean) == 1
    clean[:6, 15] = 1 - clean[:6, 15]
    assert N.clean(clean) == 0.5
    page = N.sheet(np.arange(6 * 4).reshape(6, 4) * 1.0, 3, 2)
    assert page.shape == (5, 8) and page[0, 3] == 4 and page[3, 0] == 12 and page[2, 0] == 0.5


def test_outlines_and_texture():
    assert MASKS.shape == (108, 12, 12) and len({m.tobytes() for m in MASKS}) == 108
    assert sorted({int(m.sum()) for m in MASKS}) == [21, 25]
    for (k, cy, cx), mask in zip(WHAT, MASKS, strict=True):
        rows, columns = np.nonzero(mask)
        assert (rows.mean(), columns.mean()) == (cy, cx)
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == ((5, 5), (3, 7), (7, 3))[k]
    x = N.fill(rng(3), MASKS[np.arange(20_000) % 108]).reshape(-1, 12, 12)
    masks = MASKS[np.arange(20_000) % 108]
    assert not x[~masks].any() and abs(x[masks].mean() - 0.5) < 0.01
    inner = masks[:, :, 1:] & masks[:, :, :-1]
    agree = (x[:, :, 1:] == x[:, :, :-1])[inner].mean()
    assert abs(agree - 2 * 0.03 * 0.97) < 0.005
    below = masks[:, 1:] & masks[:, :-1]
    assert abs((x[:, 1:] == x[:, :-1])[below].mean() - 0.5) < 0.01        # rows are independent


def test_log_p_given_outline_by_loops():
    x = N.fill(rng(4), MASKS[[5, 50, 100]])
    x[2, 0] = 1
    table = N.log_p_given_outline(x, 0.1, 0.02)
    for b, k in product(range(3), (0, 5, 50, 100, 107)):
        image, mask, total = x[b].reshape(12, 12), MASKS[k], 0.0
        for i in range(12):
            ways = [0.5, 0.5]
            for j in range(12):
                if not mask[i, j]:
                    total += math.log(0.02 if image[i, j] else 0.98)
                    continue
                for coin in range(2):
                    ways[coin] *= 0.9 if image[i, j] == (j + coin) % 2 else 0.1
            total += math.log(sum(ways))
        assert abs(table[b, k] - total) < 1e-9


def test_exact_probability_is_the_best_on_average():
    """The generator's own log p beats the same formula with a wrong flip rate."""
    x = N.fill(rng(5), MASKS[rng(6).integers(108, size=2000)])
    mean = {flip: N.logsumexp(N.log_p_given_outline(x, flip), axis=1).mean() for flip in (0.01, 0.03, 0.08)}
    assert mean[0.03] > max(mean[0.01], mean[0.08])


def test_overlap_and_agreement():
    truth = MASKS[rng(7).integers(108, size=600)]
    x, fresh = N.fill(rng(8), truth), N.fill(rng(9), truth)
    assert N.iou(truth, x) > 0.97 and N.iou(truth, fresh) > 0.97
    assert N.iou(truth, np.roll(x, 1, 0)) < 0.3
    close(N.agreement(truth, x, x), 1.0, 1e-12)
    close(N.agreement(truth, x, 1 - x), -1.0, 1e-12)
    assert abs(N.agreement(truth, x, fresh)) < 0.05       # an outline alone earns nothing
    a, b = MASKS[:1], N.fill(rng(10), MASKS[6:7], 0.0)    # one row further down: 4 of 6 rows common
    close(N.iou(a, b), 20 / 30, 1e-12)


# --- bits back -------------------------------------------------------------------------------------

@pytest.mark.parametrize("seed", range(3))
def test_push_and_pop_are_inverse_and_cost_what_they_should(seed):
    r = rng(seed)
    cum = N.shares(r.random(9) ** 4)
    assert cum[0] == 0 and cum[-1] == 2**N.BITS and np.diff(cum).min() >= 1
    state, cost = 1 << 200, 0.0
    symbols = r.integers(9, size=200)
    for k in symbols:
        state = N.push(state, int(k), cum)
        cost -= math.log2((cum[k + 1] - cum[k]) / 2**N.BITS)
    assert abs(state.bit_length() - 201 - cost) < 2
    for k in symbols[::-1]:
        back, state = N.pop(state, cum)
        assert back == k
    assert state == 1 << 200


def test_pop_draws_from_random_bits():
    cum, r, count = N.shares(np.array([0.1, 0.6, 0.3])), rng(1), np.zeros(3)
    for _ in range(4000):
        count[N.pop(int(r.integers(2**60)), cum)[0]] += 1
    close(count / 4000, [0.1, 0.6, 0.3], 0.03)


def test_shares_survive_zeros():
    cum = N.shares(np.array([0.0, 1.0, 0.0]))
    assert np.diff(cum).min() >= 1 and cum[-1] == 2**N.BITS


def test_bits_back_is_lossless_and_as_long_as_the_bound():
    P = {k: p.astype(np.float32) for k, p in N.init(rng(2), 16, 2, 8).items()}
    x = N.small_images(rng(3), 1400)[0]
    N.train(P, x, rng(4), 600, 1e-2)
    start = state = int.from_bytes(rng(5).bytes(16), "little") | 1 << 128
    back = []
    for image in x[:400]:
        state, bits = N.encode(state, image, P)
        back.append(bits)
    rec, kl = N.prices(P, x[:400], rng(6), times=10)
    per_image = (state.bit_length() - start.bit_length()) / 400
    assert abs(per_image - (rec + kl).mean() / math.log(2)) < 0.3
    assert abs(2 * N.FINE - np.mean(back) - kl.mean() / math.log(2)) < 0.2
    for image in x[:400][::-1]:
        y, state = N.decode(state, 2, P)
        assert np.array_equal(image, y)
    assert state == start


# --- the flow --------------------------------------------------------------------------------------

@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_flow_is_autoregressive_and_inverts(d):
    P = {k: p + 0.3 * rng(1).normal(size=p.shape) for k, p in N.new_flow(rng(), d, 3, 9).items()}
    z = rng(2).normal(size=(4, d))
    for i in range(d):
        moved = z.copy()
        moved[:, i] += 1
        eps, eps_moved = (N.flow_forward(v, P, "flow0")[0] for v in (z, moved))
        change = np.abs(eps - eps_moved).max(0)
        assert (change[:i] == 0).all() and (change[i:] > 0).all()
    log_p, eps, _ = N.prior_forward(z, P)
    with untouched({"eps": eps}):
        close(N.flow_sample(eps, P), z, 1e-10)
    if f"prior{d}" in CASES:
        case = CASES[f"prior{d}"]
        log_p, eps, _ = N.prior_forward(case["z"], part(case, "P."))
        log_normal = -0.5 * (eps**2).sum(1) - d / 2 * math.log(2 * math.pi)
        close(log_p - log_normal, case["logdet"], 1e-10)


def test_flow_density_has_mass_one():
    P = {k: p + 0.2 * rng(3).normal(size=p.shape) for k, p in N.new_flow(rng(), 2, 2, 9).items()}
    axis = np.linspace(-25, 25, 1001)
    plane = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    assert abs(np.exp(N.prior_forward(plane, P)[0]).sum() * 0.05**2 - 1) < 0.005


def test_the_identity_flow_is_the_gaussian_prior():
    """With all outputs zero z = eps, and the price at the draw averages to the closed form."""
    P = {k: 0 * p for k, p in N.new_flow(rng(), 3, 2, 9).items()}
    s = np.repeat(rng(4).normal(size=(1, 6)), 200_000, 0)
    eps = rng(5).normal(size=(200_000, 3))
    z = N.reparam_forward(s, eps)[0]
    assert abs(N.flow_kl_forward(s, eps, z, P)[0].mean() - N.gauss_kl_forward(s, eps, z, P)[0][0]) < 0.02


def test_names_of_flow_layers():
    P = N.new_flow(rng(), 2, 3)
    assert N.flow_names(P) == ["flow0", "flow1", "flow2"] and N.flow_names({"enc.W1": 0}) == []
    assert N.kl_forward(P) is N.flow_kl_forward and N.kl_forward({}) is N.gauss_kl_forward
    base = N.init(rng(), 16, 2, 8)
    both = N.with_flow(base, rng(), 2, 3)
    assert both.keys() == base.keys() | P.keys() and both["enc.W1"] is not base["enc.W1"]


def test_draw():
    P = N.init(rng(), 16, 2, 8)
    p = N.draw(np.zeros((3, 2)), P)
    assert p.shape == (3, 16) and (0 < p).all() and (p < 1).all()
    x = np.mean([N.draw(np.zeros((3, 2)), P, rng(k)) for k in range(400)], 0)
    close(x, p, 0.12)


# --- exercises and text ----------------------------------------------------------------------------

def readers_space():
    """Globals for a reader's cells, with a small untrained VAE instead of the trained one."""
    space = complete(classroom(17))
    space["small"] = N.init(rng(), 16, 2, 8)
    space["small_test"] = N.small_images(rng(1), 50)[0]
    return space


EXERCISES = Exercises(space=readers_space, wrong=(
    ("kl_normal = lambda m1, v1, m2, v2: 0.5 * ((v1 + (m1 - m2) ** 2) / v2 - 1)", 0),
    ("kl_normal = lambda m1, v1, m2, v2: 0.5 * (v1 + m1 ** 2 - 1 - np.log(v1))", 0),
    ("kl_normal = lambda m1, v1, m2, v2: 0.5 * ((v1 + (m1 - m2) ** 2) / v2 - 1 + np.log(v1 / v2))", 0),
    ("many_draws = lambda log_w: log_w.mean(0)", 1),
    ("many_draws = lambda log_w: np.log(np.exp(log_w).mean(0))", 1),
    ("many_draws = lambda log_w: np.log(np.exp(log_w - log_w.max(0)).sum(0)) + log_w.max(0)", 1),
    ("free_bits = lambda kl, lam: (kl.mean(0).sum(), np.full(kl.shape, 1 / len(kl)))", 2),
    ("free_bits = lambda kl, lam: (np.maximum(lam, kl.mean(0)).sum(), np.full(kl.shape, 1 / len(kl)))", 2),
    ("free_bits = lambda kl, lam: (np.maximum(lam, kl).mean(0).sum(), (kl > lam) / len(kl))", 2)))


def test_many_draws_tighten_the_bound():
    space = readers_space()
    for code in exercise_parts(17)[0]:
        exec(code, space)
    assert space["log_w"].mean() < space["many_draws"](space["log_w"]).mean()


def test_numbers_in_the_text_are_those_of_the_code():
    text, code = text_and_code(17)
    assert "1,500 steps" in text and re.search(r"^STEPS, H = 1500, 12$", code, flags=re.M)
    assert r"$\log 108=4.68$" in text and round(math.log(108), 2) == 4.68
    assert "4,096 bins" in text and 2**N.FINE == 4096 and N.BITS == 24 and "$2^{24}$" in text
    assert "costs 24 bits" in text and 2 * N.FINE == 24
    assert r"$16\log 2=11.09$" in text and round(16 * math.log(2), 2) == 11.09
    assert "87.55" in text and "79.03" in text and round(87.55 - 79.03, 2) == 8.52
    assert "variances are 4 and 30" in text
    eps = rng().normal(size=2_000_000)
    close([(-2 * (eps - 1)).var(), ((eps - 1) ** 2 * eps).var()], [4, 30], 0.02)
    assert (N.window(12, 1)[0] >= 0).sum(0).max() == 4 and (N.window(12, 2)[0] >= 0).sum(0).max() == 12
