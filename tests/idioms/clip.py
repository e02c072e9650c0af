def clip_by_norm(G, max_norm):
    """Scale all gradients in place so that their joint L2 norm is at most max_norm; return it."""
    norm = sum(float(np.vdot(g, g)) for g in G.values()) ** 0.5
    if norm > max_norm:
        for g in G.values():
            g *= max_norm / norm
    return norm
