"""Numba kernels of Oja's family: one sweep over the rows, for dense rows and for rows in CSR form.

The three methods differ in one number a row, the rate eta_i of ``w <- w + eta_i <a_i, w> a_i``:

=============  =================================================================================
code           rate, with rho = <a, w>^2 / ||w||^2
=============  =================================================================================
`OJA`          eta
`KRASULINA`    eta / (1 - eta rho): ``w + eta (s a - rho w)`` is ``1 - eta rho`` times that step
`ADAOJA`       1 / b, after ``b^2 <- b^2 + ||a||^2 rho``
=============  =================================================================================

w is kept in float64 whatever the rows are, is never normalised, and is scaled by powers of two alone, so that scaling
changes no bit of its direction. A dense row is read once: the step along a row and the products with the next one
share a loop. Every row goes through that one loop, the first and the last of a call too (with a step of length 0):
cutting a stream into calls elsewhere gives the same bits, up to `WIDE` columns.

The fast-math flags allow sums to be reordered and multiply-adds to be fused; they never assume that NaN and infinity
are absent. What decides about overflow is computed without them: those functions say ``fastmath=False``, since a
function that says nothing is compiled with the flags of the one that calls it first.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from lrtheory._cpu_scatter import sparse_parts

FAST = {"reassoc", "contract", "nsz", "arcp"}
OJA, KRASULINA, ADAOJA = 0, 1, 2
NORM2, LOG_SCALE, B, BEFORE, SINCE, SCALARS = 0, 1, 2, 3, 4, 5
"""Entries of the scalars of a stream: ||w||^2; the logarithm of what w was divided by; AdaOja's b; the energies
``sum rho_i`` between the last two powers of two of the row count, and since the last one. Then their number."""
LARGE = 1e100  # w is scaled when its squared norm leaves [1 / LARGE, LARGE]
LONG_STEP = 1e20  # rate ||a||^2 from which a step is checked for overflow
WIDE = 1200  # columns from which four rows are taken at a time
COPIED_ENTRIES = 1 << 15  # of read-only rows, copied at a time: they stay in cache
BLOCK_GROWTH = 1e200  # squared norm at which a block of rows is cut short


@njit(cache=True, nogil=True, error_model="numpy", fastmath=False)
def _rate(kind, eta, s, r, norm2, b):
    """Return a row's rate, the factor by which ||w||^2 will grow, and b, for s = <a, w> and r = ||a||^2."""
    rho = s / norm2 * s
    if kind == 1:
        kept = 1.0 - eta * rho  # 0 makes the step infinitely long, see `_long_step`
        return eta / kept, (1.0 + eta * rho * (eta * max(r - rho, 0.0))) / kept / kept, b
    if kind == 2:
        total = b * b + r * rho
        b = math.sqrt(total) if 1e-290 < total < 1e300 else math.hypot(b, math.sqrt(r) * math.sqrt(rho))
        eta = 1.0 / b
    return eta, 1.0 + (2.0 * eta * rho + eta * r * (eta * rho)), b


@njit(cache=True, nogil=True, error_model="numpy", fastmath=False)
def _energy(s, norm2):
    """Return <a, w>^2 / ||w||^2; s^2 may overflow."""
    return s / norm2 * s


@njit(cache=True, nogil=True, error_model="numpy", fastmath=False)
def rescale(w, scalars):
    """Divide w by the power of two next to its norm, which is computed anew; return what it was multiplied by."""
    total = 0.0
    for j in range(w.size):
        total += w[j] * w[j]
    scalars[NORM2] = total
    if not (total > 0.0 and total < math.inf):
        return 1.0
    exponent = math.frexp(math.sqrt(total))[1]
    factor = math.ldexp(1.0, -exponent)
    for j in range(w.size):
        w[j] *= factor
    scalars[NORM2] = total * factor * factor
    scalars[LOG_SCALE] += exponent * math.log(2.0)
    return factor


@njit(cache=True, nogil=True, error_model="numpy", fastmath=False)
def _long_step(kind, eta, rate, s, r, w, scalars):
    """Prepare a step that may exceed any float: scale w, and return the c for which w + c a is the new w.

    The new w is divided by ``|rate s| ||a||``, whose logarithm is kept.
    """
    length = math.sqrt(r)
    if not abs(rate * s) * length > math.sqrt(LONG_STEP * scalars[NORM2]):
        return rate * s
    kept, sign = 1.0, math.copysign(1.0, s)
    if kind == 1:
        rate, kept = eta, 1.0 - eta * _energy(s, scalars[NORM2])
        scalars[LOG_SCALE] -= math.log(max(abs(kept), 1e-300))  # growth is counted as Oja's, see `_rate`
    factor = kept / rate / abs(s) / length
    for j in range(w.size):
        w[j] *= factor
    scalars[LOG_SCALE] += math.log(rate) + math.log(abs(s)) + math.log(length)
    return sign / length


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST, forceinline=True)
def row_pass(rows, rates, kind, t, w, scalars):
    """Take the rows ``(m, d)`` with rates ``(m,)`` after t others, changing w and scalars; return sum ||a_i||^2."""
    m, d = rows.shape
    norm2, b, before, since = scalars[NORM2], scalars[B], scalars[BEFORE], scalars[SINCE]
    c, total, x = 0.0, 0.0, 0
    for i in range(m + 1):
        y = min(i, m - 1)
        s, r = 0.0, 0.0
        for j in range(d):  # in place: calling a function for each row costs as much as 64 columns
            v = w[j] + c * rows[x, j]
            w[j] = v
            a = np.float64(rows[y, j])
            s += v * a
            r += a * a
        if not (norm2 < LARGE and norm2 > 1.0 / LARGE):
            s *= rescale(w, scalars)
            norm2 = scalars[NORM2]
        if i == m:
            break
        x = i
        total += r
        row = t + i + 1
        if row & (row - 1) == 0:
            before, since = since, 0.0
        since += _energy(s, norm2)
        rate, growth, b = _rate(kind, rates[i], s, r, norm2, b)
        c = rate * s
        if abs(rate) * r <= LONG_STEP:
            norm2 *= growth
        elif s != 0.0:
            scalars[NORM2] = norm2
            c = _long_step(kind, rates[i], rate, s, r, w, scalars)
            norm2 = math.inf  # has it computed anew
        else:
            c = 0.0
    scalars[NORM2], scalars[B], scalars[BEFORE], scalars[SINCE] = norm2, b, before, since
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def tile_pass(rows, rates, kind, t, w, scalars):
    """`row_pass` by four rows at a time and the products of each two, which is exact: for rows beyond the first cache,
    where w would be fetched and stored for each of them."""
    m, d = rows.shape
    full = m // 4 * 4
    sums, squares, c = np.empty(4), np.empty((4, 4)), np.zeros(4)
    total = 0.0
    for i in range(0, full, 4):
        if not (scalars[NORM2] < LARGE and scalars[NORM2] > 1.0 / LARGE):
            rescale(w, scalars)
        s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
        r00, r01, r02, r03, r11, r12, r13, r22, r23, r33 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for j in range(d):
            v = w[j]
            a0, a1 = np.float64(rows[i, j]), np.float64(rows[i + 1, j])
            a2, a3 = np.float64(rows[i + 2, j]), np.float64(rows[i + 3, j])
            s0 += v * a0
            s1 += v * a1
            s2 += v * a2
            s3 += v * a3
            r00 += a0 * a0
            r01 += a0 * a1
            r02 += a0 * a2
            r03 += a0 * a3
            r11 += a1 * a1
            r12 += a1 * a2
            r13 += a1 * a3
            r22 += a2 * a2
            r23 += a2 * a3
            r33 += a3 * a3
        sums[0], sums[1], sums[2], sums[3] = s0, s1, s2, s3
        squares[0, 0], squares[1, 1], squares[2, 2], squares[3, 3] = r00, r11, r22, r33
        squares[0, 1], squares[0, 2], squares[0, 3] = r01, r02, r03
        squares[1, 2], squares[1, 3], squares[2, 3] = r12, r13, r23
        if not _tile(rates[i : i + 4], kind, t + i, sums, squares, c, scalars):
            total += row_pass(rows[i : i + 4], rates[i : i + 4], kind, t + i, w, scalars)
            continue
        total += (r00 + r11) + (r22 + r33)
        c0, c1, c2, c3 = c[0], c[1], c[2], c[3]
        for j in range(d):  # the four rows are still in a cache
            w[j] += (c0 * rows[i, j] + c1 * rows[i + 1, j]) + (c2 * rows[i + 2, j] + c3 * rows[i + 3, j])
    if full < m:
        total += row_pass(rows[full:], rates[full:], kind, t + full, w, scalars)
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=False)
def _tile(rates, kind, t, sums, squares, c, scalars):
    """Overwrite c with the four steps' coefficients, given <a_i, w> and <a_i, a_j> for the w before them all.

    Return False, having changed no scalar, if a step may be too long.
    """
    norm2, b, before, since = scalars[NORM2], scalars[B], scalars[BEFORE], scalars[SINCE]
    for i in range(4):
        s, r = sums[i], squares[i, i]
        for q in range(i):
            s += squares[q, i] * c[q]
        row = t + i + 1
        if row & (row - 1) == 0:
            before, since = since, 0.0
        since += _energy(s, norm2)
        rate, growth, b = _rate(kind, rates[i], s, r, norm2, b)
        if not abs(rate) * r <= LONG_STEP:
            return False
        c[i] = rate * s
        norm2 *= growth
    scalars[NORM2], scalars[B], scalars[BEFORE], scalars[SINCE] = norm2, b, before, since
    return True


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST, forceinline=True)
def _sparse_products(values, indices, first, last, w):
    s, r = 0.0, 0.0
    for p in range(first, last):
        v = np.float64(values[p])
        s += v * w[indices[p]]
        r += v * v
    return s, r


@njit(cache=True, nogil=True, error_model="numpy")
def csr_pass(values, indices, pointers, rates, kind, t, w, scalars):
    """`row_pass` for rows in CSR form without duplicate entries: O(nnz), w is touched as a whole by scaling only."""
    total = 0.0
    for i in range(pointers.size - 1):
        first, last = pointers[i], pointers[i + 1]
        s, r = _sparse_products(values, indices, first, last, w)
        total += r
        row = t + i + 1
        if row & (row - 1) == 0:
            scalars[BEFORE], scalars[SINCE] = scalars[SINCE], 0.0
        scalars[SINCE] += _energy(s, scalars[NORM2])
        rate, growth, scalars[B] = _rate(kind, rates[i], s, r, scalars[NORM2], scalars[B])
        if s == 0.0:
            continue
        c = rate * s
        if abs(rate) * r <= LONG_STEP:
            scalars[NORM2] *= growth
        else:
            c = _long_step(kind, rates[i], rate, s, r, w, scalars)
            scalars[NORM2] = math.inf
        for p in range(first, last):
            w[indices[p]] += c * values[p]
        if not (scalars[NORM2] < LARGE and scalars[NORM2] > 1.0 / LARGE):
            rescale(w, scalars)
    return total


def dense_rows(rows, rates, kind, t, w, scalars):
    """`row_pass` or `tile_pass`. Read-only rows, another signature to compile, are copied a few at a time."""
    kernel = row_pass if rows.shape[1] < WIDE else tile_pass
    if rows.flags.writeable:
        return kernel(rows, rates, kind, t, w, scalars)
    total, step = 0.0, max(4, COPIED_ENTRIES // rows.shape[1] // 4 * 4)
    for i in range(0, rows.shape[0], step):
        total += kernel(rows[i : i + step].copy(), rates[i : i + step], kind, t + i, w, scalars)
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def block_steps(products, squares, rates, kind, t, scalars):
    """Overwrite products ``<a_i, w_b>``, ``(m, B)``, with the coefficients c of the steps ``w_b <- w_b + c_ib a_i``.

    With s_i = <a_i, w> for the w before all of them, ``c_i = rate_i (s_i + sum_(q < i) <a_i, a_q> c_q)``: exactly what
    steps one after another would give.

    Parameters
    ----------
    squares : array ``(m, m)``
        ``<a_i, a_q>``.
    rates : array ``(m, B)``
    scalars : array ``(SCALARS, B)``

    Returns
    -------
    done : int
        Rows that were taken.
    stuck : bool
        Whether the next row's step may be too long for this function.
    """
    m, trials = products.shape
    norm2, before, since = scalars[NORM2], scalars[BEFORE], scalars[SINCE]
    for i in range(m):
        s, r = products[i], squares[i, i]
        q = 0
        while q + 4 <= i:
            g0, g1, g2, g3 = squares[i, q], squares[i, q + 1], squares[i, q + 2], squares[i, q + 3]
            c0, c1, c2, c3 = products[q], products[q + 1], products[q + 2], products[q + 3]
            for b in range(trials):
                s[b] += (g0 * c0[b] + g1 * c1[b]) + (g2 * c2[b] + g3 * c3[b])
            q += 4
        while q < i:
            g0, c0 = squares[i, q], products[q]
            for b in range(trials):
                s[b] += g0 * c0[b]
            q += 1
        longest = 0.0
        for b in range(trials):
            longest += abs(_rate(kind, rates[i, b], s[b], r, norm2[b], scalars[B, b])[0]) if kind else rates[i, b]
        if not longest * r <= LONG_STEP:
            return i, True
        row = t + i + 1
        if row & (row - 1) == 0:
            for b in range(trials):
                before[b], since[b] = since[b], 0.0
        largest = 0.0
        if kind == 0:
            for b in range(trials):
                eta = rates[i, b]
                rho = _energy(s[b], norm2[b])
                since[b] += rho
                norm2[b] *= 1.0 + (2.0 * eta * rho + eta * r * (eta * rho))
                largest += norm2[b]
                s[b] *= eta
        else:
            for b in range(trials):
                since[b] += _energy(s[b], norm2[b])
                rate, growth, scalars[B, b] = _rate(kind, rates[i, b], s[b], r, norm2[b], scalars[B, b])
                norm2[b] *= growth
                largest += norm2[b]
                s[b] *= rate
        if not largest <= BLOCK_GROWTH:
            return i + 1, False
    return m, False


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def subspace_steps(products, squares, rates, t, factors, before, since, spread):
    """`block_steps` of Oja's method for B members of k components.

    Parameters
    ----------
    products : array ``(m, B k)``
        ``<a_i, w_bj>``, overwritten with the coefficients of the steps.
    squares, rates : arrays ``(m, m)`` and ``(m, B)``
    factors : array ``(B, k, k)``
        Cholesky factors of each member's ``W W^T``, on entry the identity; overwritten with those after the block.
    before, since : arrays ``(B, k)``
        The energies of each component, after those before it, are added.
    spread : float
        Steps end when a component has grown so much.

    Returns
    -------
    int
        Rows that were taken; 0 if the first one's step is too long.
    """
    m = products.shape[0]
    members, k = since.shape
    y, z = np.empty(k), np.empty(k)
    for i in range(m):
        s, r = products[i], squares[i, i]
        longest = 0.0
        for b in range(members):
            longest += rates[i, b]
        if not longest * r <= spread:
            return i
        for q in range(i):
            g0, c0 = squares[i, q], products[q]
            for b in range(members * k):
                s[b] += g0 * c0[b]
        row = t + i + 1
        if row & (row - 1) == 0:
            before[:] = since
            since[:] = 0.0
        grown = False
        for b in range(members):
            factor = factors[b]
            eta = rates[i, b]
            root = math.sqrt(2.0 * eta + eta * eta * r)
            for j in range(k):  # L y = s: y_j is the row along component j without those before
                total = s[b * k + j]
                for q in range(j):
                    total -= factor[j, q] * y[q]
                y[j] = total / factor[j, j]
                since[b, j] += y[j] * y[j]
                z[j] = root * s[b * k + j]
            for j in range(k):  # L L^T + z z^T
                old = factor[j, j]
                new = math.hypot(old, z[j])
                cosine, sine = new / old, z[j] / old
                factor[j, j] = new
                grown = grown or not new <= spread
                for q in range(j + 1, k):
                    factor[q, j] = (factor[q, j] + sine * z[q]) / cosine
                    z[q] = cosine * z[q] - sine * factor[q, j]
                s[b * k + j] *= eta
        if grown:
            return i + 1
    return m


def csr_rows(rows, rates, kind, t, w, scalars):
    """`csr_pass` for rows in CSR form with sorted indices."""
    values, indices, pointers = sparse_parts(rows)
    return csr_pass(values, indices, pointers, rates, kind, t, w, scalars)


def add_product(w, c, x):
    """Add ``c^T x`` to w ``(B, d)``, in place: c ``(m, B)`` and x ``(m, d)``, float64."""
    from scipy.linalg.blas import dgemm

    # column-major, these are x^T (d, m), c^T (B, m) and w^T (d, B)
    dgemm(1.0, x.T, c.T, beta=1.0, c=w.T, trans_b=True, overwrite_c=True)
