"""Notebook 05: noisy weights and their message against PyTorch, codes, pruning, and where data come from."""

import inspect
import math
from itertools import product

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from tests.support import (
    Exercises,
    classroom,
    close,
    close_dicts,
    definitions,
    golden,
    like_parameters,
    part,
    refuses,
    rng,
    text_and_code,
    untouched,
)
from tools import notebook
from tools.catalogue import load

N = definitions(5)
CASES = golden("05")
SIZES = "two", "one", "three"
LN2 = math.log(2)


# --- what the mutation test breaks -----------------------------------------------------------------

def check_moments_backward(space):
    for K in (12, 7):
        case = CASES[f"moments{K}"]
        M, V, cache = space.moments_forward(case["A"], case["S2"], K)
        close(M, case["M"], 1e-13, "M")
        close(V, case["V"], 1e-13, "V")
        dA, dS2 = space.moments_backward(case["up.M"], case["up.V"], cache)
        close(dA, case["dA"], 1e-12, "dA")
        close(dS2, case["dS2"], 1e-12, "dS2")


def check_noisy_backward(space):
    for size in SIZES:
        case = CASES[f"noisy_{size}"]
        y, var, cache = space.noisy_forward(case["X"], part(case, "P."))
        close(y, case["y"], 1e-12, "y")
        close(var, case["var"], 1e-12, "var")
        close_dicts(space.noisy_backward(case["up.y"], case["up.var"], cache), part(case, "G."), 1e-11)


def check_misfit_backward(space):
    case = CASES["misfit"]
    nats, cache = space.misfit_forward(case["y"], case["var"], case["t"], {"lv": case["lv"]})
    close(nats, case["nats"], 1e-13, "nats")
    for name, d in zip(("y", "var", "lv"), space.misfit_backward(cache), strict=True):
        close(d, case[f"d{name}"], 1e-12, name)


def check_prior_backward(space):
    for size in SIZES:
        case = CASES[f"prior_{size}"]
        nats, cache = space.prior_forward(part(case, "P."))
        close(nats, case["nats"], 1e-12, "nats")
        close_dicts(space.prior_backward(cache), part(case, "G."), 1e-11)


def check_plain_backward(space):
    for act in ("tanh", "relu"):
        case = CASES[f"plain_{act}"]
        y, cache = space.plain_forward(case["X"], part(case, "P."), act)
        close(y, case["y"], 1e-13, "y")
        close_dicts(space.plain_backward(case["up.y"], cache), part(case, "G."), 1e-12)


def check_fit_backward(space):
    for act in ("tanh", "relu"):
        case = CASES[f"fit_{act}"]
        loss, cache = space.fit_forward(case["y"], case["t"])
        close(loss, case["loss"], 1e-13, "loss")
        close(space.fit_backward(cache), case["dy"], 1e-14, "dy")


CHECKS = {f"{name}_backward": globals()[f"check_{name}_backward"]
          for name in ("moments", "noisy", "misfit", "prior", "plain", "fit")}


@pytest.mark.parametrize("size", SIZES)
def test_the_whole_message(size):
    case = CASES[f"message_{size}"]
    data, weights, G = N.message(case["X"], case["t"], part(case, "P."), float(case["beta"]))
    close(data, case["data"], 1e-12, "data")
    close(weights, case["weights"], 1e-12, "weights")
    close_dicts(G, part(case, "G."), 1e-11)


# --- noisy networks --------------------------------------------------------------------------------

def small(R=2, n=9, D=6, H=3, J=2, seed=0, dtype=np.float64):
    """Inputs, targets and noisy networks away from their symmetric start."""
    r = rng(seed)
    X, t = r.normal(size=(R, n, D)), r.normal(size=(R, n))
    P = {k: p + 0.2 * r.normal(size=p.shape) for k, p in N.noisy_init(r, t, D, H, J).items()}
    return X.astype(dtype), t.astype(dtype), {k: p.astype(dtype) for k, p in P.items()}


@pytest.mark.parametrize("J", [2, 3])
def test_gradients_by_differences(J):
    X, t, P = small(J=J)
    assert N.check_message(P, X, t, rng(1)) < 1e-6


def test_one_component_has_no_choice():
    X, t, P = small(J=1)
    assert np.abs(N.message(X, t, P)[2]["logit"]).max() < 1e-12
    moved = N.message(X, t, P | {"logit": P["logit"] + 3})
    close(moved[1], N.message(X, t, P)[1], 1e-12)


def test_gradients_keep_names_shapes_and_dtype_and_write_nothing():
    X, t, P = small(dtype=np.float32)
    with untouched(P | {"X": X, "t": t}):
        like_parameters(N.message(X, t, P, np.float32(0.5))[2], P)


def test_float32_agrees_with_float64():
    X, t, P = small()
    exact = N.message(X, t, P)
    rough = N.message(X.astype(np.float32), t.astype(np.float32),
                      {k: p.astype(np.float32) for k, p in P.items()})
    close(rough[0], exact[0], 1e-4)
    close(rough[1], exact[1], 1e-5)
    close_dicts({k: g.astype(float) for k, g in rough[2].items()}, exact[2], 1e-3)


def test_runs_do_not_see_each_other():
    X, t, P = small(R=3)
    data, weights, G = N.message(X, t, P)
    for r in range(3):
        alone = N.message(X[[r]], t[[r]], {k: p[[r]] for k, p in P.items()})
        close(alone[0], data[[r]], 1e-12)
        close(alone[1], weights[[r]], 1e-12)
        close_dicts(alone[2], {k: g[[r]] for k, g in G.items()}, 1e-11)


def test_moments_are_the_integrals():
    for A, S in product((-2.0, 0.3), (0.2, 0.7)):
        M, V, _ = N.moments_forward(np.array([A]), np.array([S * S]), 40)
        first, second = (quad(lambda a, p=p, A=A, S=S: np.tanh(a) ** p * norm.pdf(a, A, S),
                              A - 9 * S, A + 9 * S)[0] for p in (1, 2))
        close(M, [first], 1e-8)
        close(V, [second - first**2], 1e-8)


def test_moments_for_little_and_for_much_noise():
    M, V, _ = N.moments_forward(np.array([0.5]), np.array([1e-8]))
    close(M, np.tanh([0.5]), 1e-7)
    close(V / 1e-8, [(1 - np.tanh(0.5) ** 2) ** 2], 1e-3)
    M, V, _ = N.moments_forward(np.array([0.0]), np.array([400.0]), 200)
    assert abs(M[0]) < 1e-12 and 0.9 < V[0] <= 1


def test_expected_error_against_sampled_networks():
    X, t, P = small(R=1, D=5)
    y, var, _ = N.noisy_forward(X, P)
    drawn = N.sample_outputs(P, X[0], 200_000, rng(3))
    close(y[0], drawn.mean(0), 0.02)
    close(var[0], drawn.var(0), 0.03)
    nats, (_, e, _) = N.misfit_forward(y, var, t, P)
    close(e[0], np.square(drawn - t[0]).mean(0), 0.03)
    by_samples = -norm.logpdf(t[0], drawn, np.exp(P["lv"][0] / 2)).sum(1).mean()
    assert abs(nats[0] - by_samples) < 0.1


def test_one_component_costs_the_divergence_and_more_cost_at_least_it():
    _, _, P = small(J=1)
    sd, s = np.exp(P["rho"]), np.exp(P["ls"])[:, None]
    KL = np.log(s / sd) + (sd**2 + (P["mu"] - P["m"][:, None]) ** 2) / (2 * s**2) - 0.5
    KL_v = -P["tau"] + (np.exp(2 * P["tau"]) + P["v"] ** 2) / 2 - 0.5
    close(N.prior_forward(P)[0], KL.sum((1, 2)) + KL_v.sum(1), 1e-12)
    close(N.divergence(P), KL.sum((1, 2)), 1e-3)
    for J in (2, 3):
        _, _, P = small(J=J)
        hidden = N.prior_forward(P | {"v": 0 * P["v"], "tau": 0 * P["tau"]})[0]
        assert (hidden >= N.divergence(P) - 1e-6).all() and (hidden > N.divergence(P) + 0.01).any()


def test_divergence_is_the_integral():
    P = {"mu": np.full((1, 1, 1), 0.3), "rho": np.full((1, 1, 1), np.log(0.2)),
         "logit": np.log([[0.7, 0.3]]) + 5, "m": np.array([[0.0, 0.1]]), "ls": np.log([[0.05, 0.6]])}

    def integrand(w):
        p = 0.7 * norm.pdf(w, 0, 0.05) + 0.3 * norm.pdf(w, 0.1, 0.6)
        return norm.pdf(w, 0.3, 0.2) * (norm.logpdf(w, 0.3, 0.2) - np.log(p))
    assert abs(N.divergence(P)[0] - quad(integrand, -1.2, 1.8, points=[0, 0.1, 0.3], limit=200)[0]) < 1e-4


def test_a_prior_equal_to_the_weights_is_free():
    P = {k: np.zeros((1, 2)) for k in ("v", "tau", "logit", "m", "ls")}
    P |= {"mu": np.zeros((1, 4, 2)), "rho": np.zeros((1, 4, 2))}
    close(N.prior_forward(P)[0], [0], 1e-13)


def test_silent_network_costs_what_the_null_model_costs():
    X, t, P = small()
    P |= {"v": 0 * P["v"], "tau": P["tau"] - 30, "b": t.mean(1), "lv": np.log(t.var(1))}
    close(N.message(X, t, P)[0], 9 / 2 * np.log(2 * np.pi * np.e * t.var(1)), 1e-10)


@pytest.mark.parametrize("J", [1, 2, 3])
def test_fresh_noisy_networks(J):
    P = N.noisy_init(rng(), rng(1).normal(size=(4, 20)), 129, 4, J)
    assert len(P) == 9 and all(p.dtype == np.float32 for p in P.values())
    assert P["mu"].shape == P["rho"].shape == (4, 129, 4) and P["logit"].shape == (4, J)
    assert (np.exp(P["ls"]).min(1) < 0.11).all() and not P["m"].any()


def test_price_rises_and_the_mixture_waits(monkeypatch):
    seen = []
    space = classroom(5)
    original = space["message"]
    space["message"] = lambda X, t, P, beta=1: (seen.append((float(beta), P["ls"].copy())),
                                                original(X, t, P, beta))[1]
    X, t, P = small(dtype=np.float32)
    start = P["ls"].copy()
    space["train_noisy"](X, t, P, steps=20)
    prices = [b for b, _ in seen]
    close(prices[:10], np.arange(1, 11) / 10, 1e-6)
    assert prices[10:] == [1.0] * 11
    assert all(np.array_equal(ls, start) for _, ls in seen[:11]) and not np.array_equal(P["ls"], start)


def test_training_shortens_the_message():
    _, ((X, t), _, _) = N.make_tasks(3, (2,), 2, (60, 5, 5))
    P = N.noisy_init(rng(), t, 129, 4, 2)
    before = sum(N.message(X, t, P)[:2])
    data, weights = N.train_noisy(X, t, P, steps=600)
    null = 30 * np.log(2 * np.pi * np.e * t.var(1))
    assert (data + weights < before - 100).all() and (data + weights < null + 20).all()


# --- where data come from: one teacher, one set of centres ---------------------------------------

def test_train_validation_and_test_share_their_teacher_and_no_case():
    teachers, sets = N.make_tasks(1, (4, 128), 2, (105, 50, 3000))
    assert [X.shape for X, _ in sets] == [(4, 105, 129), (4, 50, 129), (4, 3000, 129)]
    for r, T in enumerate(teachers):
        assert (np.count_nonzero(T["W"], 0) == (4, 4, 128, 128)[r]).all()
        for X, t in sets:
            assert (X[r, :, -1] == 1).all()
            residue = t[r] - N.signal(X[r], T)
            assert abs(residue.std() - 0.3) < 0.08                # this teacher, on every set
            assert np.std(t[r] - N.signal(X[r], teachers[r - 1])) > 0.8    # and no other
        rows = np.concatenate([X[r] for X, _ in sets])
        assert len(np.unique(rows, axis=0)) == len(rows)
    best = N.relative_error(np.stack([N.signal(X, T) for X, T in zip(sets[2][0], teachers, strict=True)]),
                            sets[2][1])
    close(best, np.full(4, 0.09 / 1.09), 0.02)


def test_tasks_do_not_depend_on_the_sizes_of_other_sets():
    T, ((X, t), *_) = N.make_tasks(1, (4,), 1, (30, 10, 10))
    T_again, ((X_again, t_again), *_) = N.make_tasks(1, (4,), 1, (30, 99, 7))
    assert np.array_equal(X, X_again) and np.array_equal(t, t_again)
    assert np.array_equal(T[0]["W"], T_again[0]["W"])
    assert not np.array_equal(N.make_tasks(2, (4,), 1, (30, 10, 10))[1][0][0], X)


def test_teacher():
    T = N.teacher(rng(), 5)
    assert T["W"].shape == (128, 2) and (np.count_nonzero(T["W"], 0) == 5).all()
    close(np.linalg.norm(T["W"], axis=0), [1.2, 1.2], 1e-12)
    X, _ = N.draw(rng(1), T, 50_000)
    assert abs(N.signal(X, T).std() - 1) < 0.03 and X.dtype == np.float32


def test_blobs_lie_around_the_given_centres():
    """A generator that draws centres itself gives a test set of another task: accuracy near chance."""
    assert list(inspect.signature(N.blobs).parameters) == ["rng", "centres", "n"]
    centres = rng(1).normal(0, 2, (3, 20))
    for seed in (2, 3):
        X, y = N.blobs(rng(seed), centres, 3000)
        assert X.shape == (3000, 21) and X.dtype == np.float32 and (X[:, -1] == 1).all()
        for c in range(3):
            close(X[y == c, :-1].mean(0), centres[c], 0.1)
        nearest = np.square(X[:, None, :-1] - centres).sum(-1).argmin(1)
        assert (nearest == y).mean() > 0.99
    assert not np.array_equal(N.blobs(rng(2), centres, 9)[0], N.blobs(rng(3), centres, 9)[0])


def code():
    return [cell.source for cell in notebook.code_cells(notebook.read(load()[0][5].path))]


def test_the_notebook_gives_both_blob_sets_the_same_centres():
    cell = next(c for c in code() if "N_BLOBS = 600" in c)
    space = classroom(5) | {"SEED": 7}
    exec(cell.split("wide =")[0], space)
    for X, y in (space["blob_train"], space["blob_test"]):
        for i, centres in enumerate(space["centres"]):
            for c in range(3):
                close(X[i][y[i] == c][:, :-1].mean(0), centres[c], 0.4)
    assert space["blob_train"][0].shape == (3, 600, 21) and space["blob_test"][0].shape == (3, 2000, 21)
    assert np.array_equal(space["XB"][3:6], space["blob_train"][0])


# --- bits ------------------------------------------------------------------------------------------

def test_bits_are_nats_over_ln2():
    assert N.LN2 == LN2
    close(N.density_bits(np.array([0.0, LN2]), 10), [10 * math.log2(20), 1 + 10 * math.log2(20)], 1e-13)
    y = np.log(np.array([[[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]]))
    close(N.label_bits(y, np.array([[0, 1]])), 1 + 2, 1e-12)     # one bit and two bits


def test_label_bits_of_numbers():
    r = rng(4)
    t = r.normal(size=(1, 40))
    y = t + 0.3 * r.normal(size=(1, 40))
    sd = np.sqrt(np.square(y - t).mean())
    close(N.label_bits(y[..., None], t), (-norm.logpdf(t, y, sd) / LN2 - math.log2(0.05)).sum(), 1e-10)
    perfect = N.label_bits(t[..., None], t)
    close(perfect, 40 * math.log2(math.sqrt(2 * math.pi)), 1e-10)    # a positive number of bits
    assert perfect > 0


def test_gaussian_mass_is_a_code():
    for width, mean, sd in ((0.3, 0.0, 1.0), (2.0, 0.0, 1.0), (0.01, 0.8, 0.1)):
        q = np.arange(-2000, 2001)
        mass = N.gaussian_mass(q, width, mean, sd)
        assert abs(mass.sum() - 1) < 1e-9 and (mass >= 0).all()
    close(N.gaussian_mass(np.array([0]), 2.0, 0, 1), [norm.cdf(1) - norm.cdf(-1)], 1e-14)
    tail = N.gaussian_mass(np.array([-20, 20]), 1.0, 0, 1)
    assert tail[0] == tail[1] > 0


def test_mask_bits_count_the_masks():
    w = np.array([0.0, 0.0, 1.0, 0.0, -1.0])
    mask, values, q = N.weight_bits(w, 0.5)
    close(mask, math.log2(6) + math.log2(math.comb(5, 2)), 1e-10)
    s = 1.0
    each = -math.log2(norm.cdf(1.25 / s) - norm.cdf(0.75 / s))
    close(values, 2 * each, 1e-10)
    assert q.tolist() == w.tolist()
    no_mask, more, _ = N.weight_bits(w, 0.5, masked=False)
    assert no_mask == 0
    close(more, values + 3 * -math.log2(2 * norm.cdf(0.25) - 1), 1e-10)
    total = sum(math.comb(9, k) * 2.0 ** -(math.log2(10) + math.log2(math.comb(9, k))) for k in range(10))
    assert abs(total - 1) < 1e-12                                    # Kraft


def test_a_kept_weight_costs_more_than_one_bit():
    w = rng(5).normal(size=500)
    per_weight = N.weight_bits(w, 0.1, masked=False)[1] / 500
    entropy = math.log2(math.sqrt(2 * math.pi * math.e) / 0.1)
    assert abs(per_weight - entropy) < 0.15 and per_weight > 5


@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_two_part_bits_take_the_shortest(kind):
    r = rng(6)
    P = N.plain_init(r, 2, 5, 4, 1 if kind == "numbers" else 3)
    X = r.normal(size=(2, 60, 5)).astype(np.float32)
    act = "tanh" if kind == "numbers" else "relu"
    y = N.plain_forward(X, P, act)[0]
    t = y[..., 0] if kind == "numbers" else y.argmax(-1)
    got = N.two_part_bits(P, X, t, act)
    assert got.shape == (2, 2) and (got > 0).all()
    for i in range(2):
        w = np.concatenate([P["W"][i].ravel(), P["v"][i].ravel()]).astype(float)
        totals = []
        for j, masked in product(range(-6, 2), (False, True)):
            mask, values, q = N.weight_bits(w, math.sqrt((w**2).mean()) * 2.0**j, masked)
            Q = {"W": q[:20].reshape(1, 5, 4), "v": q[20:].reshape(1, 4, -1), "b": P["b"][[i]]}
            totals.append(N.label_bits(N.plain_forward(X[[i]], Q, act)[0], t[[i]]) + mask + values + 4)
        close(got[:, i].sum(), min(totals), 1e-9)


def test_more_zeros_make_shorter_weights():
    P, X = N.plain_init(rng(7), 1, 20, 10), rng(8).normal(size=(1, 30, 20)).astype(np.float32)
    mask = N.keep_mask({"W": np.abs(P["W"])}, 0.9)
    thin = N.cut(P, mask)
    t = N.plain_forward(X, thin)[0][..., 0]
    assert N.two_part_bits(thin, X, t).sum() < N.two_part_bits(P, X, t).sum() - 100


# --- plain networks and pruning --------------------------------------------------------------------

def test_penalties_are_there_and_do_what_they_say():
    """L1 and L2 both shrink, only L1 makes most weights tiny."""
    r = rng(9)
    X, t = r.normal(size=(3, 40, 30)).astype(np.float32), r.normal(size=(3, 40)).astype(np.float32)
    P = {k: np.repeat(p, 3, 0) for k, p in N.plain_init(r, 1, 30, 4).items()}
    N.train_plain(X[[0, 0, 0]], t[[0, 0, 0]], P, np.array([0, 0, 0.03]), np.array([0, 0.1, 0]), steps=800)
    size = np.abs(P["W"]).mean((1, 2))
    assert size[1] < 0.8 * size[0] and size[2] < 0.8 * size[0]
    tiny = (np.abs(P["W"]) < 0.005).mean((1, 2))
    assert tiny[2] > 0.4 and tiny[2] > tiny[1] + 0.2


def test_l2_gradient_step_is_the_penalty_s():
    """A network that fits already moves only because of its penalty."""
    P = {"W": np.zeros((1, 2, 1), np.float32), "v": np.zeros((1, 1, 1), np.float32),
         "b": np.zeros((1, 1), np.float32)}
    P["W"][0, 0] = 1.0
    X, t = np.ones((1, 3, 2), np.float32), np.zeros((1, 3), np.float32)
    for l1, l2 in ((0.1, 0), (0, 0.1)):
        Q = {k: p.copy() for k, p in P.items()}
        N.train_plain(X, t, Q, l1, l2, steps=1, lr=0.01)
        assert Q["W"][0, 0, 0] < 0.995 and Q["W"][0, 1, 0] == 0
    Q = {k: p.copy() for k, p in P.items()}
    N.train_plain(X, t, Q, 0, 0, steps=1, lr=0.01)
    assert Q["W"][0, 0, 0] == 1.0


def test_pruned_weights_stay_zero_while_the_rest_is_tuned():
    r = rng(10)
    X, t = r.normal(size=(2, 30, 6)).astype(np.float32), r.integers(3, size=(2, 30))
    P = N.plain_init(r, 2, 6, 8, 3)
    mask = N.keep_mask({k: np.abs(P[k]) for k in ("W", "v")}, 0.6)
    thin = N.cut(P, mask)
    before = N.fit_forward(N.plain_forward(X, thin, "relu")[0], t)[0]
    kept = {k: p.copy() for k, p in thin.items()}
    N.train_plain(X, t, thin, 0.01, 0.01, 200, mask=mask, act="relu")
    for k in ("W", "v"):
        assert (thin[k][mask[k] == 0] == 0).all() and (thin[k][mask[k] == 1] != kept[k][mask[k] == 1]).any()
    assert (N.fit_forward(N.plain_forward(X, thin, "relu")[0], t)[0] < before - 0.1).all()


@pytest.mark.parametrize("share", [0, 0.19, 0.5, 0.95])
def test_masks_remove_the_share_with_the_smallest_scores(share):
    scores = {"a": rng(11).random((3, 10, 4)), "b": rng(12).random((3, 20))}
    mask = N.keep_mask(scores, share)
    for r in range(3):
        flat = np.concatenate([scores["a"][r].ravel(), scores["b"][r]])
        keep = np.concatenate([mask["a"][r].ravel(), mask["b"][r]])
        assert (keep == 0).sum() == round(share * 60)
        assert share == 0 or flat[keep == 0].max() <= flat[keep == 1].min()


def test_rounds_go_on_from_the_tuned_network_and_shots_do_not():
    r = rng(13)
    X, t = r.normal(size=(1, 20, 10)).astype(np.float32), r.normal(size=(1, 20)).astype(np.float32)
    P = N.plain_init(r, 1, 10, 4)
    with untouched(P):
        shot = N.prune_and_tune(X, t, P, (0.5, 0.8), 0, 0, rounds=False, steps=60)
        turns = N.prune_and_tune(X, t, P, (0.5, 0.8), 0, 0, steps=60)
    for cuts, tuned, free in (shot, turns):
        for share, nets in zip((0.5, 0.8), zip(cuts, tuned, free, strict=True), strict=True):
            assert all((p["W"] == 0).sum() == round(40 * share) for p in nets)
    kept = shot[0][1]["W"] != 0
    assert np.array_equal(shot[0][1]["W"][kept], P["W"][kept])
    kept = turns[0][1]["W"] != 0
    assert np.array_equal(turns[0][1]["W"][kept], turns[1][0]["W"][kept])


def test_noisy_weights_that_are_cut_are_zero_and_silent():
    X, _, P = small(dtype=np.float32)
    keep = N.keep_mask({"W": np.abs(P["mu"])}, 0.7)["W"]
    with untouched(P):
        thin = N.cut_noisy(P, keep)
    assert thin["rho"].dtype == np.float32
    assert (thin["mu"][keep == 0] == 0).all() and (np.exp(thin["rho"])[keep == 0] < 1e-12).all()
    assert np.array_equal(thin["mu"][keep == 1], P["mu"][keep == 1])
    assert N.noisy_forward(X, N.cut_noisy(P, 0 * keep))[0].std(1).max() < 1e-6


def test_relative_error():
    t = rng(14).normal(size=(2, 50))
    close(N.relative_error(np.repeat(t.mean(1, keepdims=True), 50, 1), t), [1, 1], 1e-12)
    close(N.relative_error(t, t), [0, 0], 1e-15)


def test_fresh_plain_networks():
    P = N.plain_init(rng(), 5, 129, 4)
    assert {k: p.shape for k, p in P.items()} == {"W": (5, 129, 4), "v": (5, 4, 1), "b": (5, 1)}
    assert abs(P["W"].std() * math.sqrt(129) - 1) < 0.1 and all(p.dtype == np.float32 for p in P.values())
    assert N.plain_init(rng(), 9, 21, 50, 3)["v"].shape == (9, 50, 3)


# --- bad input -------------------------------------------------------------------------------------

@pytest.mark.parametrize("call, words", [
    (lambda: N.teacher(rng(), 0), "0 weights a unit"),
    (lambda: N.teacher(rng(), 129), "129 weights a unit"),
    (lambda: N.plain_forward(np.ones((1, 2, 3)), N.plain_init(rng(), 1, 3, 2), "gelu"), "activation 'gelu'"),
    (lambda: N.moments_forward(np.zeros(2), np.array([1.0, 0.0])), "variance 0.0"),
    (lambda: N.moments_forward(np.zeros(2), np.array([1.0, -0.5])), "variance -0.5"),
    (lambda: N.noisy_init(rng(), np.ones((1, 5)), 3, 2, 4), "J = 4"),
    (lambda: N.noisy_init(rng(), np.ones((1, 5)), 3, 2, 0), "J = 0"),
    (lambda: N.keep_mask({"W": np.ones((1, 4))}, 1), "share 1"),
    (lambda: N.keep_mask({"W": np.ones((1, 4))}, -0.1), "share -0.1"),
    (lambda: N.weight_bits(np.ones(3), 0.0), "width 0.0, 3 weights"),
    (lambda: N.weight_bits(np.zeros(3), 0.1), "width 0.1, 0 weights"),
    (lambda: N.blobs(rng(), np.zeros((1, 4)), 5), r"centres of shape \(1, 4\)"),
    (lambda: N.blobs(rng(), np.zeros(4), 5), r"centres of shape \(4,\)"),
])
def test_bad_input_is_refused_with_the_value_and_what_was_expected(call, words):
    refuses(call, words)


# --- exercises and text ----------------------------------------------------------------------------

def readers_space():
    """Globals for a reader's cells: the sparse task in small instead of the trained notebook."""
    space = classroom(5)
    _, (train_set, val_set, test_set) = N.make_tasks(0, (4,), 1, (40, 5, 50))
    n = 40
    space |= {"train_set": train_set, "test_set": test_set, "SPARSE": np.arange(1), "COPIES": 1,
              "N": n, "D": 129, "H": 4,
              "null": N.density_bits(n / 2 * np.log(2 * np.pi * np.e * train_set[1].var(1)), n)}
    return space


EXERCISES = Exercises(space=readers_space, wrong=(
    ("best_sd = lambda c: 1 / (1 + c)", 0),
    ("best_sd = lambda c: 1 / np.sqrt(max(c, 1))", 0),
    ("best_sd = lambda c: np.sqrt(1 + c)", 0),
    ("slope_of_S = lambda A, S, z: 1 - np.tanh(A + S * z) ** 2", 1),
    ("slope_of_S = lambda A, S, z: np.tanh(A + S * z) * z", 1),
    ("slope_of_S = lambda A, S, z: (1 - np.tanh(A + S * z)) * z", 1),
    ("slope_of_S = lambda A, S, z: 2 * S * moments_backward(np.ones(1), np.zeros(1), "
     "moments_forward(A[:1], S[:1] ** 2)[2])[1] * np.ones_like(z)", 1)))


def test_numbers_in_the_text_are_those_of_the_code():
    text = text_and_code(5)[0]
    source = "\n".join(code())
    assert "516 weights" in text and 129 * 4 == 516
    assert "nine groups" in text and len(small()[2]) == 9
    assert "108 networks" in text and 12 * (1 + 4 + 4) == 108
    assert "17 bits" in text and round(5 * math.log2(105) / 2) == 17 and "5 * np.log2(N) / 2" in source
    assert "1,200 weights" in text and 21 * 50 + 50 * 3 == 1200
    assert "costs 3.3 bits and returns 3.3 bits" in text and round(math.log2(10), 1) == 3.3
    KL = (math.log(10) + (0.01 + 0.64 - 1) / 2) / LN2
    assert f"its {KL:.3f} bits" in text
    assert "step of 0.05" in text and N.STEP == 0.05
