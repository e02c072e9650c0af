def adam_init(P):
    """State of Adam for the parameters P: step count, first and second moments."""
    return {"t": 0, "m": {k: np.zeros_like(p) for k, p in P.items()},
            "v": {k: np.zeros_like(p) for k, p in P.items()}}


def adam_update(P, G, state, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """One step of Adam (Kingma and Ba 2015, Algorithm 1). Changes P and state in place."""
    state["t"] += 1
    step = float(lr) / (1 - beta1 ** state["t"])
    root = (1 - beta2 ** state["t"]) ** -0.5
    for k, g in G.items():
        m, v = state["m"][k], state["v"][k]
        m += (1 - beta1) * (g - m)
        v += (1 - beta2) * (g * g - v)
        P[k] -= step * m / (np.sqrt(v) * root + eps)
