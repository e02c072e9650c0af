"""Notebook 12: message passing against PyTorch, molecules, orbitals, the split by graph, invariance."""

import ast
import itertools
import re

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
    refuses,
    rng,
    text_and_code,
    untouched,
)
from tools import notebook
from tools.catalogue import load

N = definitions(12)
CASES = golden("12")
NETS = {"sum": N.Net(3), "mean": N.Net(2, pool="mean", head=True), "max": N.Net(2, "relu", "max"),
        "tied": N.Net(3, "gru", "set2set", True, True), "relu_tied": N.Net(3, "relu", "sum", True, True),
        "none": N.Net(0), "edges": N.Net(2, head=True)}


def add_molecules(space):
    """Run the assignments of the notebook that name a molecule, so that BENZENE and the like exist."""
    for cell in notebook.code_cells(notebook.read(load()[0][12].path)):
        for node in ast.parse(cell.source).body:
            if isinstance(node, ast.Assign) and "= Molecule(" in ast.unparse(node) \
                    and getattr(node.targets[0], "id", "").isupper():
                exec(ast.unparse(node), space)
    return space


add_molecules(vars(N))


# --- what the mutation test breaks -----------------------------------------------------------------

def check_message_backward(space):
    case = CASES["message"]
    m, cache = space.message_forward(case["h"], case["C"], case["A"])
    close(m, case["m"], 1e-13, "m")
    for gradient, name in zip(space.message_backward(case["up.m"], cache, True), "hAC", strict=True):
        close(gradient, case[f"d{name}"], 1e-12, name)
    assert space.message_backward(case["up.m"], cache)[2] is None


def check_edge_backward(space):
    case = CASES["edge"]
    C, cache = space.edge_forward(case["e"], part(case, "P."))
    close(C, case["C"], 1e-13, "C")
    close_dicts(space.edge_backward(case["up.C"], cache), part(case, "G."), 1e-12)


def check_update(space, name):
    case = CASES[name]
    y, cache = getattr(space, f"{name}_forward")(case["h"], case["m"], part(case, "P."), 1)
    close(y, case["y"], 1e-13, "new h")
    dh, dm, G = getattr(space, f"{name}_backward")(case["up.y"], cache)
    close(dh, case.get("dh", np.zeros_like(dh)), 1e-12, "dh")
    close(dm, case["dm"], 1e-12, "dm")
    close_dicts(G, {k: g[1] for k, g in part(case, "G.").items()}, 1e-12)


def check_gru_backward(space):
    check_update(space, "gru")


def check_relu_backward(space):
    check_update(space, "relu")


def check_gate_backward(space):
    case = CASES["gate"]
    u, cache = space.gate_forward(case["h"], case["h0"], part(case, "P."))
    close(u, case["u"], 1e-13, "u")
    dh, dh0, G = space.gate_backward(case["up.u"], cache)
    close(dh, case["dh"], 1e-12, "dh")
    close(dh0, case["dh0"], 1e-12, "dh0")
    close_dicts(G, part(case, "G."), 1e-12)


def check_pool(space, pool):
    case = CASES[f"pool_{pool}"]
    R, cache = space.pool_forward(case["u"], part(case, "P."), pool)
    close(R, case["R"], 1e-13, pool)
    du, G = space.pool_backward(case["up.R"], cache, pool)
    close(du, case["du"], 1e-12, f"{pool}: du")
    close_dicts(G, part(case, "G."), 1e-12)


def check_pool_backward(space):
    for pool in N.POOLS:
        check_pool(space, pool)


def check_set2set_backward(space):
    check_pool(space, "set2set")


def check_net(space, name):
    case = CASES[f"net_{name}"]
    y, cache = space.mpnn_forward(case["X"], case["C"], part(case, "P."), NETS[name])
    close(y, case["y"], 1e-12, f"{name}: y")
    close_dicts(space.mpnn_backward(case["dy"], cache), part(case, "G."), 1e-11, f"{name}: gradient of")


def check_mpnn_backward(space):
    for name in NETS:
        check_net(space, name)


def check_loss_backward(space):
    case = CASES["net_sum"]
    loss, cache = space.loss_forward(case["y"], case["target"])
    close(loss, case["loss"], 1e-13, "loss")
    close(space.loss_backward(cache), case["dy"], 1e-14, "dy")


CHECKS = {f"{name}_backward": globals()[f"check_{name}_backward"]
          for name in ("message", "edge", "gru", "relu", "gate", "pool", "set2set", "mpnn", "loss")}
CHECKS |= {"look_backward": check_set2set_backward, "rounds_backward": check_mpnn_backward}


@pytest.mark.parametrize("name", NETS)
def test_loss_and_gradients_of_whole_networks(name):
    case = CASES[f"net_{name}"]
    loss, G = N.gradients(part(case, "P."), case["X"], case["C"], case["target"], NETS[name])
    close(loss, case["loss"], 1e-12)
    close_dicts(G, part(case, "G."), 1e-11)


# --- molecules -------------------------------------------------------------------------------------

def ring(n):
    return N.Molecule("C" * n, tuple((i, (i + 1) % n, 1 + i % 2) for i in range(n)))


@pytest.mark.parametrize("n", [4, 6, 10])
def test_rings_have_the_orbitals_of_the_textbook(n):
    """With all k = 1 the levels of a ring are 2 cos(2 pi j / n)."""
    atom, bond = ring(n).arrays()
    x, energy, gap = N.huckel(atom, bond.any(1) * 1.0)
    close(x[0], np.sort(2 * np.cos(2 * np.pi * np.arange(n) / n))[::-1], 1e-12)
    close(energy[0], 2 * x[0, :n // 2].sum(), 1e-12)
    close(gap[0], x[0, n // 2 - 1] - x[0, n // 2], 1e-12)


def test_ethene_and_formaldehyde_by_hand():
    k = np.exp(0.03 / 0.31)
    for letters, h in (("CC", 0.0), ("CN", 0.5), ("CO", 1.0)):
        atom, bond = N.Molecule(letters, ((0, 1, 2),)).arrays()
        (x,), (energy,), (gap,) = N.huckel(atom, N.strengths(bond))
        root = np.sqrt(h * h / 4 + k * k)
        close(x, [h / 2 + root, h / 2 - root], 1e-12)
        close([energy, gap], [h + 2 * root, 2 * root], 1e-12)


def test_strengths():
    close(N.resonance((1.40, 1.47, 1.37)), [1, 0.7979, 1.1016], 1e-4)
    atom, bond = N.Molecule("CCC", ((0, 1, 1), (1, 2, 2))).arrays()
    k = N.strengths(bond)[0]
    close(k[0, 1], N.resonance(1.47))
    close(k[2, 1], N.resonance(1.37))
    assert k[0, 2] == 0 and atom.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("n", [2, 6, 8, 12])
def test_random_molecules_obey_the_rules(n):
    atom, bond = N.random_molecules(rng(n), 400, n)
    assert atom.shape == (400, n) and bond.shape == (400, 2, n, n) and bond.dtype == bool
    assert (bond[:, 1].sum(2) == 1).all() and not bond.all(1).any()
    assert np.array_equal(bond, bond.swapaxes(2, 3)) and not bond[:, :, range(n), range(n)].any()
    degree = bond.any(1).sum(2)
    assert degree.max() <= 3 and (atom[degree == 3] == 0).all() and (atom[degree == 2] < 2).all()
    rings = degree.sum(1) // 2 - n + 1
    assert set(rings) <= {0, 1, 2} and (n < 6 or len(set(rings)) > 1)
    A = bond.any(1).astype(float)
    cubed = A @ A @ A
    assert not np.trace(cubed, axis1=1, axis2=2).any()                  # no ring of three
    two = A @ A
    off = ~np.eye(n, dtype=bool)
    assert two[:, off].max(initial=0) <= 1                               # no ring of four
    if n == 12:
        share = np.bincount(atom.ravel(), minlength=3) / atom.size
        assert (share > 0.02).all() and share[0] > 0.6


def test_first_atoms_are_not_special():
    atom, bond = N.random_molecules(rng(1), 4000, 8)
    degree = bond.any(1).sum(2).mean(0)
    assert np.ptp(degree) < 0.1


def test_path_lengths_by_breadth_first_search():
    _, bond = N.random_molecules(rng(2), 20, 10)
    d = N.path_lengths(bond.any(1), 10)
    for one, table in zip(bond.any(1), d, strict=True):
        for start in range(10):
            seen, front, step = {start: 0}, [start], 0
            while front:
                step += 1
                front = [w for w in range(10) if w not in seen and any(one[v, w] for v in front)]
                seen |= dict.fromkeys(front, step)
            assert [seen[v] for v in range(10)] == table[start].tolist()
    assert N.path_lengths(bond.any(1), 4).max() == 4


def test_pick():
    allowed = rng(3).random((500, 6)) > 0.7
    index, found = N.pick(rng(4), allowed)
    assert np.array_equal(found, allowed.any(1)) and allowed[found, index[found]].all()
    index, _ = N.pick(rng(5), np.ones((6000, 3), bool))
    assert np.abs(np.bincount(index) / 6000 - 1 / 3).max() < 0.03


def test_relabel_moves_atoms_with_their_bonds():
    atom, bond = N.random_molecules(rng(6), 30, 8)
    order = rng(7).permuted(np.tile(np.arange(8), (30, 1)), axis=1)
    new_atom, new_bond = N.relabel(atom, bond, order)
    for b, v, w in itertools.product(range(30), range(8), range(8)):
        assert new_atom[b, v] == atom[b, order[b, v]]
        assert np.array_equal(new_bond[b, :, v, w], bond[b, :, order[b, v], order[b, w]])
    close(N.huckel(new_atom, N.strengths(new_bond))[0], N.huckel(atom, N.strengths(bond))[0], 1e-12)


def test_counts_and_features():
    atom, bond = N.Molecule("CNOC", ((0, 1, 2), (1, 2, 1), (0, 3, 1))).arrays()
    c = N.counts(atom, bond)
    assert c.tolist() == [[2, 1, 1, 2, 1]]
    assert N.linear(c).tolist() == [[2, 1, 1, 2, 1, 1]]
    q = sorted(N.quadratic(c)[0])
    wanted = sorted(a * b for a, b in itertools.combinations_with_replacement([2, 1, 1, 2, 1, 1], 2))
    assert q == wanted


# --- the split -------------------------------------------------------------------------------------

def small_data(total=900, seed=8):
    return N.make_data(rng(seed), total)


def canonical(atom, bond):
    """Smallest relabelling of a small molecule, by trying all orders."""
    n = len(atom)
    code = bond[0] + 2 * bond[1]
    return min((tuple(atom[list(p)]), tuple(code[np.ix_(p, p)].ravel()))
               for p in itertools.permutations(range(n)))


def test_no_graph_is_on_both_sides():
    """By brute force over all orders of six atoms, not by orbital energies."""
    d = N.sample(rng(9), 6, 120)
    keys = np.array([hash(canonical(a, b)) for a, b in zip(d["atom"], d["bond"], strict=True)])
    assert not set(keys[d["part"] == N.HELD]) & set(keys[d["part"] != N.HELD])
    assert set(keys[d["part"] == N.RANDOM]) & set(keys[d["part"] == N.TRAIN])        # the leak
    for key in set(keys):
        assert len(set(d["kind"][keys == key])) == 1


def test_sizes_and_parts():
    data = N.make_data(rng(10), 6000)
    assert [d["atom"].shape for d in data] == [(300, 6), (900, 8), (1800, 10), (3000, 12)]
    part_ = np.concatenate([d["part"] for d in data])
    assert abs((part_ == N.HELD).mean() - 0.2) < 0.04 and abs((part_ == N.RANDOM).mean() - 0.08) < 0.02
    for d in data:
        assert d["once"].sum() == len(set(d["kind"])) and len(set(d["kind"][d["once"]])) == d["once"].sum()
        x, energy, gap = N.huckel(d["atom"], N.strengths(d["bond"]))
        close(d["energy"], energy, 1e-12)
        close(d["gap"], gap, 1e-12)
        close(d["levels"], x, 1e-6)
        assert (N.held_out(d) <= (d["part"] == N.HELD)).all() and not (N.held_out(d) & N.trained(d)).any()


def test_the_fit_sees_training_molecules_only():
    data = small_data()
    fit = N.fit_counts(data, "energy", N.linear)
    spoiled = [d | {"energy": np.where(d["part"] == N.TRAIN, d["energy"], 99)} for d in data]
    for a, b in zip(fit, N.fit_counts(spoiled, "energy", N.linear), strict=True):
        close(a, b, 1e-9)
    targets, unit = N.residuals(data, "energy")
    left = np.concatenate([t[N.trained(d)] for t, d in zip(targets, data, strict=True)]).astype(float)
    close([left.mean(), left.std()], [0, 1], 1e-4)
    close(N.mean_error(data, "energy", fit, N.held_out),
          unit * np.mean(np.concatenate([abs(t[N.held_out(d)]) for t, d in zip(targets, data, strict=True)])),
          1e-5)


def test_relatives_are_new_fulvalenes():
    d = N.sample(rng(11), 10, 1500)
    more = N.relatives(rng(12), d, 6000)
    k = more["part"] == N.RELATIVE
    assert 0 < k.sum() < 400 and np.array_equal(more["atom"][~k], d["atom"])
    assert N.fulvalenes(more["bond"][k]).all()
    known = {x.tobytes() for x in d["levels"][N.trained(d)]}
    assert not known & {x.tobytes() for x in more["levels"][k]}


# --- the network -----------------------------------------------------------------------------------

def network(net, K=2, H=6, seed=0, F=0, D=3):
    P = N.init(rng(seed), net, K, D, H, F, np.float64)
    return {k: p + 0.2 * rng(seed + 1).normal(size=p.shape) for k, p in P.items()}


CHANNELS = {"typed": N.typed, "hidden": N.hidden, "gcn": N.gcn, "virtual": N.virtual,
            "distance": N.by_distance}


def answers(atom, bond, P, net, channels):
    return N.mpnn_forward(N.one_hot(atom).astype(float), channels(bond).astype(float), P, net)[0]


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("pool", N.POOLS)
def test_order_of_atoms_does_not_matter(channels, pool):
    atom, bond = N.random_molecules(rng(13), 40, 10)
    net = N.Net(3, pool=pool, head=True)
    P = network(net, CHANNELS[channels](bond).shape[2])
    order = rng(14).permuted(np.tile(np.arange(10), (40, 1)), axis=1)
    y = answers(atom, bond, P, net, CHANNELS[channels])
    close(answers(*N.relabel(atom, bond, order), P, net, CHANNELS[channels]), y, 1e-11)
    assert np.ptp(y) > 1e-3
    assert N.invariance_gap(atom, bond, P, net, rng(15), CHANNELS[channels]) < 1e-4


def test_moving_atoms_without_their_bonds_does_matter():
    atom, bond = N.random_molecules(rng(16), 40, 10)
    net = N.Net(3)
    P = network(net)
    y = answers(atom, bond, P, net, N.typed)
    assert abs(answers(atom[:, ::-1], bond, P, net, N.typed) - y).max() > 0.01


def test_bond_kinds_reach_the_answer_unless_hidden():
    """Edge features that are never set would leave all bonds alike."""
    _, bond = N.random_molecules(rng(17), 10, 8)
    atom = np.zeros((10, 8), int)
    assert bond.any((2, 3)).all()                                      # both kinds in every molecule
    for channels, differs in ((N.typed, True), (N.hidden, False), (N.gcn, False)):
        net = N.Net(2)
        P = network(net, channels(bond).shape[2])
        y = answers(atom, bond, P, net, channels)
        change = abs(answers(atom, bond[:, ::-1], P, net, channels) - y)
        assert (change.max() > 1e-3) == differs


def test_without_rounds_the_answer_is_linear_in_the_counts():
    atom, bond = N.random_molecules(rng(18), 200, 10)
    y = answers(atom, bond, network(N.Net(0)), N.Net(0), N.typed)
    F = N.linear(N.counts(atom, bond))
    close(F @ np.linalg.lstsq(F, y, rcond=None)[0], y, 1e-10)
    y = answers(atom, bond, network(N.Net(1)), N.Net(1), N.typed)
    assert abs(F @ np.linalg.lstsq(F, y, rcond=None)[0] - y).max() > 1e-3


@pytest.mark.parametrize("update", ["gru", "relu"])
def test_news_travels_one_bond_a_round(update):
    net = N.Net(4, update)
    P = network(net)
    bonds = tuple((i, i + 1, 2 - i % 2) for i in range(9))
    states = []
    for letters in ("C" * 10, "N" + "C" * 9):
        atom, bond = N.Molecule(letters, bonds).arrays()
        states.append(np.stack(N.states_forward(N.one_hot(atom).astype(float), N.typed(bond), P, net)[0]))
    change = abs(states[0] - states[1]).max(2)
    t, v = np.indices(change.shape)
    assert not change[v > t].any() and (change[v == t] > 0).all()


def test_messages_by_hand():
    atom, bond = N.random_molecules(rng(19), 3, 8)
    h, A = rng(20).normal(size=(3, 8, 4)), rng(21).normal(size=(2, 4, 5))
    m, _ = N.message_forward(h, N.typed(bond), A)
    for b in range(3):
        lists = [[(w, k) for k in range(2) for w in range(8) if bond[b, k, v, w]] for v in range(8)]
        close(m[b], N.message_by_hand(h[b], lists, A), 1e-12)


def test_channels():
    atom, bond = N.Molecule("CCC", ((0, 1, 2), (1, 2, 1))).arrays()
    assert N.typed(bond)[0, 1].tolist() == [[0, 0, 1], [1, 0, 0]]
    assert N.hidden(bond)[0, :, 0].tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    root = 6 ** -0.5
    close(N.gcn(bond)[0, :, 0], [[1 / 2, root, 0], [root, 1 / 3, root], [0, root, 1 / 2]], 1e-6)
    close(N.virtual(bond)[0, :, 2], [[0, 0, 1 / 3], [0, 0, 0], [1 / 3, 0, 0]], 1e-6)
    close(N.by_distance(bond)[0, :, 2], [[0, 0, 0.5], [0, 0, 0], [0.5, 0, 0]], 1e-6)
    assert not N.by_distance(bond)[0, :, 3:].any()
    X, C = N.with_master(N.one_hot(atom), N.typed(bond))
    assert X[0].tolist() == [[1, 0, 0, 0]] * 3 + [[0, 0, 0, 1]] and C.shape == (1, 4, 4, 4)
    assert np.array_equal(C[:, :3, :2, :3], N.typed(bond)) and not C[:, 3, :3].any()
    close(C[0, :, 2], [[0, 0, 0, 1]] * 3 + [[0] * 4], 1e-6)
    close(C[0, 3, 3], [1 / 3] * 3 + [0], 1e-6)
    assert not C[0, :3, 3].any()


@pytest.mark.parametrize("pool", N.POOLS)
def test_only_the_sum_notices_a_second_copy(pool):
    u, P = rng(22).normal(size=(4, 5, 3)), {"s2s.W": rng(23).normal(size=(6, 12)), "s2s.b": np.ones(12)}
    once, _ = N.pool_forward(u, P, pool)
    twice, _ = N.pool_forward(np.concatenate([u, u], 1), P, pool)
    close(twice, 2 * once if pool == "sum" else once, 1e-12)
    assert np.ptp(once) > 0.1


def test_edge_network_with_indicators_is_two_matrices():
    """On features that only name the kind, K learned channels are two matrices in disguise."""
    atom, bond = N.random_molecules(rng(24), 5, 8)
    e = bond.transpose(0, 2, 3, 1).astype(float)
    P = {"edge.W": rng(25).normal(size=(2, 6)), "edge.b": rng(26).normal(size=6)}
    A, h = rng(27).normal(size=(6, 4, 4)), rng(28).normal(size=(5, 8, 4))
    C, _ = N.edge_forward(e, P)
    kinds = np.einsum("ok,kij->oij", np.tanh(np.eye(2) @ P["edge.W"] + P["edge.b"]), A)
    close(N.message_forward(h, C, A)[0], N.message_forward(h, N.typed(bond), kinds)[0], 1e-6)


def test_stretched_bonds():
    d = N.stretched(N.sample(rng(29), 8, 50), rng(30))
    bonded = d["bond"].any(1)
    r = np.where(bonded, 1.42 + 0.07 * d["e"][..., 2], 0)
    close(r, r.swapaxes(1, 2), 1e-6)
    k = np.where(bonded, N.resonance(r), 0)
    k = (k + k.swapaxes(1, 2)) / 2
    close(d["energy"], N.huckel(d["atom"], k)[1], 1e-5)
    close(d["counts"][:, 5], k.sum((1, 2)) / 2, 1e-5)
    off = (r - np.where(d["bond"][:, 1], 1.37, 1.47))[bonded]
    assert not d["e"][~bonded].any() and 0.04 < off.std() < 0.06


def test_the_twins():
    for channels, same in ((N.typed, True), (N.virtual, True), (N.by_distance, False)):
        for pool in ("sum", "set2set"):
            net = N.Net(9, pool=pool)
            y = []
            for m in (N.NAPHTHALENE, N.FULVALENE):
                atom, bond = m.arrays()
                y.append(answers(atom, bond, network(net, channels(bond).shape[2]), net, channels)[0])
            assert (abs(y[0] - y[1]) < 1e-9) == same
    arrays = [m.arrays() for m in (N.NAPHTHALENE, N.FULVALENE)]
    energy = [N.huckel(atom, N.strengths(bond))[1][0] for atom, bond in arrays]
    assert abs(energy[0] - energy[1]) > 0.4
    close(*[N.counts(*a) for a in arrays], 0)
    pentalene = N.Molecule("C" * 8, ((0, 1, 2), (1, 2, 1), (2, 3, 2), (3, 4, 1), (4, 0, 1), (1, 5, 1),
                                     (5, 6, 2), (6, 7, 1), (7, 0, 1)))
    for molecule in (N.NAPHTHALENE, N.FULVALENE, N.BENZENE, pentalene):
        assert N.fulvalenes(molecule.arrays()[1])[0] == (molecule is N.FULVALENE)


def test_softmax_and_sigmoid_at_the_ends():
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        close(N.softmax(np.array([[1e4, 0.0, -1e4]])), [[1, 0, 0]], 1e-15)
        close(N.sigmoid(np.array([-1e4, 0, 1e4])), [0, 0.5, 1], 1e-15)


@pytest.mark.parametrize("name", NETS)
def test_gradients_keep_names_shapes_and_dtype_and_write_nothing(name):
    F = 3 if name == "edges" else 0
    P = N.init(rng(31), NETS[name], 2, 3, 8, F)
    atom, bond = N.random_molecules(rng(32), 5, 8)
    C = N.edge_features(bond, 1.42 + 0.1 * bond[:, 0]) if F else N.typed(bond)
    X, target = N.one_hot(atom), np.zeros(5, np.float32)
    with untouched(P | {"X": X, "C": C}):
        _, G = N.gradients(P, X, C, target, NETS[name])
    like_parameters(G, P)


def test_fresh_parameters():
    size = {T: sum(p.size for p in N.init(rng(), N.Net(T)).values()) for T in (0, 1, 6)}
    assert size[0] == 3 * 32 + 64 * 32 + 32 + 32 * 32 + 32 + 32 + 1
    assert size[6] - size[0] == 6 * (size[1] - size[0]) and size[6] == 52993
    tied = N.init(rng(), N.Net(6, tied=True))
    assert sum(p.size for p in tied.values()) == size[1]
    assert all(p.dtype == np.float32 for p in tied.values())
    P = N.init(rng(), N.Net(6, pool="set2set", head=True), F=3)
    assert P["out.W"].shape == (64, 1) and P["f.W"].shape == (64, 64) and P["edge.W"].shape == (3, 2)
    assert abs(P["msg.A"].std() * 32 ** 0.5 - 1) < 0.02


def test_training_beats_counting_and_run_reports_held_out_graphs():
    data = small_data(3000)
    error, P = N.run(data, "energy", N.Net(3), 250, 0)
    base = N.mean_error(data, "energy", N.fit_counts(data, "energy", N.linear), N.held_out)
    assert error < 0.85 * base
    close(N.deviations(data, "energy", P, N.Net(3), N.held_out).mean(), error, 1e-6)
    again, _ = N.run(data, "energy", N.Net(3), 250, 0)
    assert again == error


def test_examples():
    data = small_data(300)
    targets, _ = N.residuals(data, "gap")
    sets = N.examples(data, targets, N.trained)
    for (X, C, y), d, t in zip(sets, data, targets, strict=True):
        k = d["part"] == N.TRAIN
        assert np.array_equal(X.argmax(2), d["atom"][k]) and np.array_equal(y, t[k])
        assert np.array_equal(C, N.typed(d["bond"][k]))
    assert N.examples(data, targets, N.trained, master=True)[0][0].shape[1:] == (7, 4)


# --- bad input -------------------------------------------------------------------------------------

def forward(X, C, net=None, K=2):
    net = net or N.Net(2)
    return N.mpnn_forward(np.ones(X), np.ones(C), network(net, K), net)


@pytest.mark.parametrize("call, words", [
    (lambda: N.Molecule("CX", ((0, 1, 2),)), "atoms 'CX'"),
    (lambda: N.Molecule("", ()), "atoms ''"),
    (lambda: N.Molecule("CC", ((0, 2, 2),)), r"bond \(0, 2, 2\)"),
    (lambda: N.Molecule("CC", ((0, 0, 2),)), r"bond \(0, 0, 2\)"),
    (lambda: N.Molecule("CC", ((-1, 1, 2),)), r"bond \(-1, 1, 2\)"),
    (lambda: N.Molecule("CC", ((0, 1, 3),)), r"bond \(0, 1, 3\)"),
    (lambda: N.huckel(np.zeros((1, 3), int), np.zeros((1, 3, 3))), "3 atoms"),
    (lambda: N.huckel(np.zeros((1, 2), int), np.array([[[0.0, 1], [2, 0]]])), "2 atoms"),
    (lambda: N.random_molecules(rng(), 3, 7), "7 atoms"),
    (lambda: N.random_molecules(rng(), 3, 0), "0 atoms"),
    (lambda: N.Net(-1), "-1 rounds"),
    (lambda: N.Net(2, "lstm"), "update 'lstm'"),
    (lambda: N.Net(2, pool="median"), "pool 'median'"),
    (lambda: forward((2, 4, 5), (2, 4, 2, 4)), r"atoms \(2, 4, 5\)"),
    (lambda: forward((2, 4, 3), (2, 4, 3, 4)), r"channels \(2, 4, 3, 4\)"),
    (lambda: forward((2, 4, 3), (2, 5, 2, 5)), r"channels \(2, 5, 2, 5\)"),
    (lambda: forward((2, 4, 3), (3, 4, 2, 4)), r"channels \(3, 4, 2, 4\)"),
])
def test_bad_input_is_refused_with_the_value_and_what_was_expected(call, words):
    refuses(call, words)


# --- exercises and text ----------------------------------------------------------------------------

def readers_space():
    """Globals for a reader's cells: few molecules, short runs."""
    space = classroom(12)
    space |= {"data": N.make_data(rng(33), 400), "SHORT": 20, "SEED": 0, "ladder": {6: 0.0}}
    return add_molecules(space)


ORDERLESS = ("def wl_colours(molecule, rounds):\n    near = [[] for _ in molecule.atoms]\n"
             "    for i, j, order in molecule.bonds:\n        near[i].append(j)\n        near[j].append(i)\n"
             "    c = list(molecule.atoms)\n    for _ in range(rounds):\n"
             "        c = [hash((c[v], tuple(sorted(c[w] for w in near[v])))) for v in range(len(c))]\n"
             "    return sorted(c)\n")
UNSORTED = ("def wl_colours(molecule, rounds):\n    near = [[] for _ in molecule.atoms]\n"
            "    for i, j, order in molecule.bonds:\n        near[i].append((order, j))\n"
            "        near[j].append((order, i))\n    c = list(molecule.atoms)\n    for _ in range(rounds):\n"
            "        c = [hash((c[v], tuple((o, c[w]) for o, w in near[v]))) for v in range(len(c))]\n"
            "    return c\n")
EXERCISES = Exercises(space=readers_space, wrong=(
    ("mean_channels = lambda bond: typed(bond)", 0),
    ("mean_channels = lambda bond: typed(bond) / np.maximum(bond.any(1).sum(2), 1)[:, :, None, None]", 0),
    ("mean_channels = lambda bond: typed(bond) / bond.shape[3]", 0),
    ("mean_channels = lambda bond: hidden(bond)", 0),
    ("wl_colours = lambda molecule, rounds: sorted(molecule.atoms)", 1),
    (ORDERLESS, 1),
    (UNSORTED, 1),
    ("wl_colours = lambda molecule, rounds: (molecule.atoms, molecule.bonds)", 1)))


def test_edge_update_of_the_solution():
    space = readers_space()
    exec(exercise_parts(12)[0][-1], space)
    atom, bond = N.random_molecules(rng(34), 4, 8)
    order = rng(35).permuted(np.tile(np.arange(8), (4, 1)), axis=1)
    h, U, V = rng(36).normal(size=(4, 8, 5)), rng(37).normal(size=(3, 3)), rng(38).normal(size=(5, 3))
    results = []
    _, new_bond = N.relabel(atom, bond, order)
    for bonds, state in ((bond, h), (new_bond, np.take_along_axis(h, order[..., None], 1))):
        e = N.edge_features(bonds, 1.42 + 0.1 * bonds[:, 0]).astype(float)
        results.append(space["edge_update"](e, state, bonds.any(1), U, V))
    e, moved = results
    close(e, e.swapaxes(1, 2), 1e-12)
    assert not e[~bond.any(1)].any() and np.abs(e[bond.any(1)]).min() > 0
    for b in range(4):
        close(moved[b], e[b][np.ix_(order[b], order[b])], 1e-12)


def test_numbers_in_the_text_are_those_of_the_code():
    text, code = text_and_code(12)
    assert "24,000 molecules" in text and "total=24000" in code
    assert "300 steps" in text and "SHORT = 300" in code
    assert "1,700 steps or fewer" in text
    assert "ENERGY_NET, 1700, SEED" in code and "GAP_NET, 1700, SEED, lr=2e-3" in code
    assert "Batches of 32, Adam at 0.004" in text and "lr=4e-3, B=32" in code
    assert "30,000 more of twelve atoms" in text and "N=30000" in code
    assert "0.016 $\\lvert\\beta\\rvert$" in text and "CHEMICAL = 0.016" in code
    assert abs(0.043 / 2.7 - 0.016) < 1e-3
    assert not re.search(r"\b320\b|\b400\b", text)
