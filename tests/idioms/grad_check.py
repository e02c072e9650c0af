def grad_check(loss, P, G, rng, tol=1e-6, n=20, h=1e-5):
    """Compare the gradients G with central differences of loss(); return the worst relative error.

    `loss()` returns a float and reads the float64 arrays in P, whose entries are moved by +-h in
    place and put back. Of every tensor, n random entries and the n largest are tried, and
    ||G - numeric|| / (||G|| + ||numeric||) over them has to stay below tol (1e-6 for smooth
    functions, 1e-4 with kinks). Raises AssertionError that names the tensor.
    """
    assert P.keys() == G.keys(), f"tensors without their partner: {sorted(P.keys() ^ G.keys())}"
    worst = 0.0
    for name, p in P.items():
        g = np.asarray(G[name])
        assert p.dtype == np.float64, f"{name}: a check needs float64, got {p.dtype}"
        assert g.shape == p.shape, f"{name}: gradient of shape {g.shape}, expected {p.shape}"
        tried = np.union1d(rng.permutation(p.size)[:n], np.argsort(abs(g), axis=None)[-n:])
        numeric = np.empty(len(tried))
        for i, entry in enumerate(tried):
            value = p.flat[entry]
            p.flat[entry] = value + h
            up = loss()
            p.flat[entry] = value - h
            numeric[i] = (up - loss()) / (2 * h)
            p.flat[entry] = value
        analytic = g.flat[tried]
        norm = np.linalg.norm(analytic) + np.linalg.norm(numeric)
        assert norm > 0, f"{name}: the gradient vanishes, so there is nothing to compare"
        error = np.linalg.norm(analytic - numeric) / norm
        assert error < tol, f"{name}: relative error {error:.1e}, expected below {tol:.0e}"
        worst = max(worst, error)
    return worst
