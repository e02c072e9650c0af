def conv_forward(x, P, stride=1, pad=0, dilation=1):
    """Slide filters over a batch of images: one matrix product does it for all of them.

    x (C, H, W, N), the batch last; P["W"] (O, C, k, k), P["b"] (O,) if there is a bias.
    Returns y (O, H', W', N) with H' = (H + 2 pad - dilation (k - 1) - 1) // stride + 1, and the cache.
    """
    C, H, W, N = x.shape
    O, C_filter, k, _ = P["W"].shape
    if C != C_filter:
        raise ValueError(f"the images have {C} channels, the filters expect {C_filter}")
    rows, columns = ((s + 2 * pad - dilation * (k - 1) - 1) // stride + 1 for s in (H, W))
    if rows < 1 or columns < 1:
        raise ValueError(f"a {k}x{k} filter with dilation {dilation} needs an image of at least "
                         f"{dilation * (k - 1) + 1} pixels a side; {H}x{W} with padding {pad} is less")
    if pad:
        padded = np.zeros((C, H + 2 * pad, W + 2 * pad, N), x.dtype)
        padded[:, pad:pad + H, pad:pad + W] = x
        x = padded
    col = np.empty((C, k, k, rows, columns, N), x.dtype)     # what each filter tap sees
    for i in range(k):
        for j in range(k):
            col[:, i, j] = x[:, i * dilation:i * dilation + stride * rows:stride,
                             j * dilation:j * dilation + stride * columns:stride]
    col = col.reshape(C * k * k, -1)
    y = P["W"].reshape(O, -1) @ col
    if "b" in P:
        y += P["b"][:, None]
    return y.reshape(O, rows, columns, N), (col, P, x.shape, stride, pad, dilation)
