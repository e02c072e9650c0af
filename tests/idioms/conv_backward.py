def conv_backward(dy, cache, need_dx=True):
    """Gradients of conv_forward: dx (C, H, W, N), or None for images that need none, and G like P."""
    col, P, (C, H, W, N), stride, pad, dilation = cache
    O, _, k, _ = P["W"].shape
    rows, columns = dy.shape[1:3]
    dy = dy.reshape(O, -1)
    G = {"W": (dy @ col.T).reshape(P["W"].shape)}
    if "b" in P:
        G["b"] = dy.sum(1)
    if not need_dx:
        return None, G
    dcol = (P["W"].reshape(O, -1).T @ dy).reshape(C, k, k, rows, columns, N)
    dx = np.zeros((C, H, W, N), dy.dtype)
    for i in range(k):
        for j in range(k):                                   # a pixel sums over the taps that saw it
            dx[:, i * dilation:i * dilation + stride * rows:stride,
               j * dilation:j * dilation + stride * columns:stride] += dcol[:, i, j]
    return dx[:, pad:H - pad, pad:W - pad], G
