"""Triton kernels for softmax_peers.py: a program takes R rows of one block each, or a row in blocks, read twice."""
import triton
import triton.language as tl


@triton.jit
def rows_forward(X, O, N, D: tl.constexpr, R: tl.constexpr, B: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    col = tl.arange(0, B)
    at = row[:, None] * D + col[None, :]
    there = (row[:, None] < N) & (col[None, :] < D)
    x = tl.load(X + at, mask=there, other=-float("inf")).to(tl.float32)
    e = tl.exp(x - tl.max(x, 1)[:, None])
    tl.store(O + at, (e / tl.sum(e, 1)[:, None]).to(O.dtype.element_ty), mask=there)


@triton.jit
def rows_backward(O, dO, dX, N, D: tl.constexpr, R: tl.constexpr, B: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    col = tl.arange(0, B)
    at = row[:, None] * D + col[None, :]
    there = (row[:, None] < N) & (col[None, :] < D)
    o = tl.load(O + at, mask=there, other=0.0).to(tl.float32)
    g = tl.load(dO + at, mask=there, other=0.0).to(tl.float32)
    s = tl.sum(o * g, 1)
    tl.store(dX + at, (o * (g - s[:, None])).to(dX.dtype.element_ty), mask=there)


@triton.jit
def rows_cross_entropy(X, T, L, dX, N, D: tl.constexpr, R: tl.constexpr, B: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    col = tl.arange(0, B)
    at = row[:, None] * D + col[None, :]
    there = (row[:, None] < N) & (col[None, :] < D)
    x = tl.load(X + at, mask=there, other=-float("inf")).to(tl.float32)
    hit = col[None, :] == tl.load(T + row, mask=row < N, other=0)[:, None]
    top = tl.max(x, 1)
    e = tl.exp(x - top[:, None])
    s = tl.sum(e, 1)
    tl.store(L + row, tl.log(s) + top - tl.sum(tl.where(hit, x, 0.0), 1), mask=row < N)
    g = (e / s[:, None] - tl.where(hit, 1.0, 0.0)) / N
    tl.store(dX + at, g.to(dX.dtype.element_ty), mask=there)


@triton.jit
def loop_sum(X, D: tl.constexpr, B: tl.constexpr):
    col = tl.arange(0, B)
    top = tl.full([B], -float("inf"), tl.float32)
    s = tl.zeros([B], tl.float32)
    for start in range(0, D, B):
        x = tl.load(X + start + col, mask=start + col < D, other=-float("inf")).to(tl.float32)
        new = tl.maximum(top, x)
        s = s * tl.exp(top - new) + tl.exp(x - new)
        top = new
    most = tl.max(top, 0)
    return most, tl.sum(s * tl.exp(top - most), 0)


@triton.jit
def loop_forward(X, O, D: tl.constexpr, B: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * D
    col = tl.arange(0, B)
    top, s = loop_sum(X + first, D, B)
    for start in range(0, D, B):
        x = tl.load(X + first + start + col, mask=start + col < D, other=0.0).to(tl.float32)
        tl.store(O + first + start + col, (tl.exp(x - top) / s).to(O.dtype.element_ty), mask=start + col < D)


@triton.jit
def loop_backward(O, dO, dX, D: tl.constexpr, B: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * D
    col = tl.arange(0, B)
    sums = tl.zeros([B], tl.float32)
    for start in range(0, D, B):
        o = tl.load(O + first + start + col, mask=start + col < D, other=0.0).to(tl.float32)
        g = tl.load(dO + first + start + col, mask=start + col < D, other=0.0).to(tl.float32)
        sums += o * g
    s = tl.sum(sums, 0)
    for start in range(0, D, B):
        o = tl.load(O + first + start + col, mask=start + col < D, other=0.0).to(tl.float32)
        g = tl.load(dO + first + start + col, mask=start + col < D, other=0.0).to(tl.float32)
        tl.store(dX + first + start + col, (o * (g - s)).to(dX.dtype.element_ty), mask=start + col < D)


@triton.jit
def loop_cross_entropy(X, T, L, dX, N, D: tl.constexpr, B: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    first = row * D
    col = tl.arange(0, B)
    top, s = loop_sum(X + first, D, B)
    t = tl.load(T + row)
    tl.store(L + row, tl.log(s) + top - tl.load(X + first + t).to(tl.float32))
    for start in range(0, D, B):
        x = tl.load(X + first + start + col, mask=start + col < D, other=0.0).to(tl.float32)
        g = (tl.exp(x - top) / s - tl.where(start + col == t, 1.0, 0.0)) / N
        tl.store(dX + first + start + col, g.to(dX.dtype.element_ty), mask=start + col < D)


def triton_variants(N, D):
    """(how it is called in the results, forward, backward, cross-entropy): functions that launch."""
    B = triton.next_power_of_2(D)
    if B <= 1024:
        blocks = [(max(1, 2048 // B), 4), (1, 1 if B <= 256 else 4)]
    elif B <= 32768:
        warps = 4 if B <= 2048 else 8 if B <= 8192 else 16
        blocks = [(1, warps), (1, 2 * warps)]
    else:
        blocks = [(1, 32)] if B <= 131072 else []
    for R, warps in blocks:
        grid, fixed = (-(-N // R),), dict(D=D, R=R, B=B, num_warps=warps)
        yield (
            f"triton, {R} rows, {warps} warps",
            lambda x, o, grid=grid, k=fixed: rows_forward[grid](x, o, N, **k),
            lambda o, g, r, grid=grid, k=fixed: rows_backward[grid](o, g, r, N, **k),
            lambda x, t, l, r, grid=grid, k=fixed: rows_cross_entropy[grid](x, t, l, r, N, **k),
        )
    for block, warps in ((4096, 8), (16384, 32)) if B > 32768 else ():
        fixed = dict(D=D, B=block, num_warps=warps)
        yield (
            f"triton, loop of {block}",
            lambda x, o, k=fixed: loop_forward[(N,)](x, o, **k),
            lambda o, g, r, k=fixed: loop_backward[(N,)](o, g, r, **k),
            lambda x, t, l, r, k=fixed: loop_cross_entropy[(N,)](x, t, l, r, N, **k),
        )
