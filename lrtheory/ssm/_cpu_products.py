"""Numba kernels of the Vandermonde products: exact exponentials, the product, recurrences, the adjoint.

Measured on one core (Zen 4), M = 32 modes: exp(l x) takes 2.6 ns an entry, against 52 ns by NumPy, because the loop has
no branch and no call and so fills the vector registers; the product runs at 55 GFlop/s in float64, where a large matrix
product by BLAS runs at 48, because panel and table stay in cache and its width is known when it is compiled.

Phases never lose digits, however long the kernel: Im x is kept in quarter turns, as three numbers of which the first
two have 26 bits, so that their products with a step number of 26 bits are exact and whole turns are taken off before
anything is rounded. Re x is treated likewise, in powers of two. Step numbers are multiples of large powers of two.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

STEP = 64  # samples of a row: the table of exp(r x), r = 0..63, of 32 modes fills the first-level cache
ROWS = 16  # rows of a panel, which starts from exact exponentials
PANEL = STEP * ROWS
PANELS = 64  # of a unit of work
BLOCK = 64  # steps of a recurrence from exact exponentials
SUMS = {"reassoc", "contract", "nsz"}

LOWEST = {np.float64: -200.0, np.float32: -50.0}
"""Exponentials below 2 to this power are 0: products of two tables must stay clear of subnormal numbers, which slow
arithmetic down a hundredfold."""

_WHOLE = 1.5 * 2.0**52  # adding it rounds to an integer, and leaves that in the low bits
_SPLIT = 2.0**27 + 1
_QUARTERS = (2 / math.pi, -3.935735335036497e-17)  # 2 / pi, as a sum
_POWERS = (1 / math.log(2), 2.0355273740931033e-17)  # 1 / log 2, as a sum
_LOG2 = math.log(2)
_QUARTER = math.pi / 2


@njit(cache=True, nogil=True, fastmath=False)
def _split(y, high, low):
    """Return y (high + low) as a sum of three numbers: two of 26 bits and a small one."""
    c = _SPLIT * y
    y1 = c - (c - y)
    y2 = y - y1
    c = _SPLIT * high
    h1 = c - (c - high)
    h2 = high - h1
    top = y * high
    rest = ((y1 * h1 - top) + y1 * h2 + y2 * h1) + y2 * h2 + y * low  # what the product lost
    c = _SPLIT * top
    top1 = c - (c - top)
    return top1, top - top1, rest


@njit(cache=True, nogil=True)
def split_nodes(x, nodes):
    """Overwrite nodes ``(nx, 6, M')`` with Re x in powers of two and Im x in quarter turns, three parts each.

    Whole turns are left out: steps are integers. Below -1e4, where exp is 0, Re x makes no difference.
    """
    for g in range(x.shape[0]):
        for n in range(x.shape[1]):
            re = max(x[g, n].real, -1e4)
            nodes[g, 0, n], nodes[g, 1, n], nodes[g, 2, n] = _split(re, _POWERS[0], _POWERS[1])
            top, middle, rest = _split(x[g, n].imag, _QUARTERS[0], _QUARTERS[1])
            top, middle = top - 4.0 * np.rint(top / 4.0), middle - 4.0 * np.rint(middle / 4.0)
            nodes[g, 3, n], nodes[g, 4, n], nodes[g, 5, n] = top, middle, rest


@njit(cache=True, nogil=True, fastmath={"contract"}, forceinline=True)
def _exp(r):
    """Taylor's sum for |r| <= log(2) / 2, to rounding."""
    p = r / 6227020800.0 + 1 / 479001600.0
    p = p * r + 1 / 39916800.0
    p = p * r + 1 / 3628800.0
    p = p * r + 1 / 362880.0
    p = p * r + 1 / 40320.0
    p = p * r + 1 / 5040.0
    p = p * r + 1 / 720.0
    p = p * r + 1 / 120.0
    p = p * r + 1 / 24.0
    p = p * r + 1 / 6.0
    return ((p * r + 0.5) * r + 1.0) * r + 1.0


@njit(cache=True, nogil=True, fastmath={"contract"}, forceinline=True)
def _sin(r):
    """Taylor's sum for |r| <= pi / 4, to rounding."""
    q = r * r
    p = q / -1307674368000.0 + 1 / 6227020800.0
    p = p * q - 1 / 39916800.0
    p = p * q + 1 / 362880.0
    p = p * q - 1 / 5040.0
    p = p * q + 1 / 120.0
    p = p * q - 1 / 6.0
    return r + r * q * p


@njit(cache=True, nogil=True, fastmath={"contract"}, forceinline=True)
def _cos(r):
    """Taylor's sum for |r| <= pi / 4, to rounding."""
    q = r * r
    p = q / 20922789888000.0 - 1 / 87178291200.0
    p = p * q + 1 / 479001600.0
    p = p * q - 1 / 3628800.0
    p = p * q + 1 / 40320.0
    p = p * q - 1 / 720.0
    p = p * q + 1 / 24.0
    return 1 + q * (q * p - 0.5)


@njit(cache=True, nogil=True, fastmath=False)
def exponentials(nodes, step, lowest, re, im):
    """Overwrite re + i im with exp(step x_n), correct to 2 units of rounding for any step of at most 26 bits."""
    a1, a2, a3, b1, b2, b3 = nodes[0], nodes[1], nodes[2], nodes[3], nodes[4], nodes[5]
    for n in range(re.size):
        u, v = step * a1[n], step * a2[n]
        ku, kv = (u + _WHOLE) - _WHOLE, (v + _WHOLE) - _WHOLE
        f = ((u - ku) + (v - kv)) + step * a3[n]
        k = (f + _WHOLE) - _WHOLE
        power = ku + kv + k
        bits = np.int64(max(min(power, 1023.0), -1022.0) + 1023.0) << np.int64(52)
        size = _exp((f - k) * _LOG2) * np.int64(bits).view(np.float64)
        size = 0.0 if power < lowest else size
        u, v = step * b1[n], step * b2[n]
        ku, kv = (u + _WHOLE) - _WHOLE, (v + _WHOLE) - _WHOLE
        f = ((u - ku) + (v - kv)) + step * b3[n]
        k = (f + _WHOLE) - _WHOLE
        r = (f - k) * _QUARTER
        turns = (
            np.float64(ku + _WHOLE).view(np.int64)
            + np.float64(kv + _WHOLE).view(np.int64)
            + np.float64(k + _WHOLE).view(np.int64)
        )
        c, s = _cos(r), _sin(r)
        odd = (turns & 1) != 0
        x = s if odd else c
        y = c if odd else s
        re[n] = size * (-x if ((turns + 1) & 2) != 0 else x)
        im[n] = size * (-y if (turns & 2) != 0 else y)


@njit(cache=True, nogil=True, fastmath={"contract"}, forceinline=True)
def _doubled(nodes, step, lowest, re, im):
    """Overwrite re + i im ``(2^k, M')`` with exp(step i x_n), i = 0..2^k - 1: products of at most k exact ones."""
    re[0], im[0] = 1.0, 0.0
    width = 1
    while width < re.shape[0]:
        exponentials(nodes, step * width, lowest, re[width], im[width])
        for i in range(1, width):
            for n in range(nodes.shape[1]):
                c, s = re[width, n], im[width, n]
                re[width + i, n] = re[i, n] * c - im[i, n] * s
                im[width + i, n] = re[i, n] * s + im[i, n] * c
        width *= 2


@njit(cache=True, nogil=True, fastmath={"contract"}, forceinline=True)
def _row_table(nodes, lowest, work, table):
    """Overwrite table ``(2 M' * 64,)`` with Re exp(r x_n), r = 0..63, for each n, and then -Im of the same.

    Eight entries of all modes, then eight times as many of one mode after the other: both loops are wide.
    """
    modes = nodes.shape[1]
    _doubled(nodes, 1.0, lowest, work[0:8], work[8:16])
    for k in range(3):
        exponentials(nodes, 8.0 * 2**k, lowest, work[16 + k], work[19 + k])
    re, im = np.empty(STEP), np.empty(STEP)
    for n in range(modes):
        for r in range(8):
            re[r], im[r] = work[r, n], -work[8 + r, n]
        width = 8
        for k in range(3):
            c, s = work[16 + k, n], work[19 + k, n]
            for r in range(width):
                u, v = re[r], im[r]
                re[width + r] = u * c + v * s
                im[width + r] = v * c - u * s
            width *= 2
        for r in range(STEP):
            table[n * STEP + r] = re[r]
            table[(modes + n) * STEP + r] = im[r]


@njit(cache=True, nogil=True, fastmath={"contract"}, forceinline=True)
def _product(left, table, rows, out):
    """Overwrite out ``(rows * 64,)`` with left ``(>= rows, k)`` times table ``(k * 64,)``; 4 divides rows and k."""
    for i in range(0, rows, 4):
        c = out[i * STEP : (i + 4) * STEP]
        for k in range(0, left.shape[1], 4):
            b = table[k * STEP : (k + 4) * STEP]
            a00, a01, a02, a03 = left[i, k], left[i, k + 1], left[i, k + 2], left[i, k + 3]
            a10, a11, a12, a13 = left[i + 1, k], left[i + 1, k + 1], left[i + 1, k + 2], left[i + 1, k + 3]
            a20, a21, a22, a23 = left[i + 2, k], left[i + 2, k + 1], left[i + 2, k + 2], left[i + 2, k + 3]
            a30, a31, a32, a33 = left[i + 3, k], left[i + 3, k + 1], left[i + 3, k + 2], left[i + 3, k + 3]
            if k == 0:
                for j in range(STEP):
                    b0, b1, b2, b3 = b[j], b[STEP + j], b[2 * STEP + j], b[3 * STEP + j]
                    c[j] = a00 * b0 + a01 * b1 + a02 * b2 + a03 * b3
                    c[STEP + j] = a10 * b0 + a11 * b1 + a12 * b2 + a13 * b3
                    c[2 * STEP + j] = a20 * b0 + a21 * b1 + a22 * b2 + a23 * b3
                    c[3 * STEP + j] = a30 * b0 + a31 * b1 + a32 * b2 + a33 * b3
            else:
                for j in range(STEP):
                    b0, b1, b2, b3 = b[j], b[STEP + j], b[2 * STEP + j], b[3 * STEP + j]
                    c[j] += a00 * b0 + a01 * b1 + a02 * b2 + a03 * b3
                    c[STEP + j] += a10 * b0 + a11 * b1 + a12 * b2 + a13 * b3
                    c[2 * STEP + j] += a20 * b0 + a21 * b1 + a22 * b2 + a23 * b3
                    c[3 * STEP + j] += a30 * b0 + a31 * b1 + a32 * b2 + a33 * b3


@njit(cache=True, nogil=True, fastmath={"contract"})
def gemm_units(w, weight_of, nodes, node_of, place, computed, channels, chunks, lowest, first, last, out):
    """Overwrite out ``(H, L)`` with the kernels of the units first..last-1.

    Unit u is the channels ``channels * (u // chunks)`` and following and, of each, the chunk ``u % chunks`` of panels.
    Channel h has the weights ``w[weight_of[h]]`` and the nodes ``nodes[node_of[h]]``, and is ``out[place[h]]``, whose
    first ``computed[node_of[h]]`` samples are wanted. Neighbours with the same nodes share the tables.
    """
    modes = nodes.shape[2]
    work = np.empty((22, modes))
    table = np.empty(2 * modes * STEP, out.dtype)
    within_re, within_im = np.empty((ROWS, modes)), np.empty((ROWS, modes))
    left = np.empty((ROWS, 2 * modes), out.dtype)
    start_re, start_im = np.zeros(modes), np.zeros(modes)
    spare = np.empty(PANEL, out.dtype)
    for unit in range(first, last):
        known = -1
        begin = channels * (unit // chunks)
        for h in range(begin, min(begin + channels, place.size)):
            g = node_of[h]
            if g != known:
                _row_table(nodes[g], lowest, work, table)
                _doubled(nodes[g], float(STEP), lowest, within_re, within_im)
                known = g
            weights = w[weight_of[h]]
            begins = unit % chunks * PANELS * PANEL
            for sample in range(begins, min(begins + PANELS * PANEL, computed[g]), PANEL):
                exponentials(nodes[g], float(sample), lowest, start_re, start_im)
                for n in range(weights.size):
                    c, s = start_re[n], start_im[n]
                    start_re[n] = weights[n].real * c - weights[n].imag * s
                    start_im[n] = weights[n].real * s + weights[n].imag * c
                start_re[weights.size :] = 0.0
                start_im[weights.size :] = 0.0
                count = min(PANEL, computed[g] - sample)
                rows = -(-count // (4 * STEP)) * 4
                for i in range(rows):
                    for n in range(modes):
                        left[i, n] = start_re[n] * within_re[i, n] - start_im[n] * within_im[i, n]
                        left[i, modes + n] = start_re[n] * within_im[i, n] + start_im[n] * within_re[i, n]
                if rows * STEP == count:
                    _product(left, table, rows, out[place[h], sample : sample + count])
                else:
                    _product(left, table, rows, spare)
                    out[place[h], sample : sample + count] = spare[:count]


@njit(cache=True, nogil=True, fastmath=SUMS, forceinline=True)
def _recurrence_block(turn_re, turn_im, re, im, out):
    """Overwrite out with ``sum_n re_n`` while re + i im is multiplied by turn at each step."""
    for r in range(out.size):
        total = 0.0
        for n in range(re.size):
            total += re[n]
            c, s = turn_re[n], turn_im[n]
            x = re[n] * c - im[n] * s
            im[n] = re[n] * s + im[n] * c
            re[n] = x
        out[r] = total


@njit(cache=True, nogil=True, fastmath=SUMS, forceinline=True)
def _two_term_block(double, square, now, after, out):
    """The same by k_l = 2 Re(z) k_(l-1) - |z|^2 k_(l-2) for each mode, from its first two samples."""
    for r in range(out.size):
        total = 0.0
        for n in range(now.size):
            total += now[n]
            x = double[n] * after[n] - square[n] * now[n]
            now[n] = after[n]
            after[n] = x
        out[r] = total


@njit(cache=True, nogil=True)
def recurrence_units(w, weight_of, nodes, node_of, place, computed, two_term, lowest, first, last, out):
    """Overwrite out ``(H, L)`` for the channels first..last-1, see `gemm_units`; exact exponentials every 64 steps."""
    modes = nodes.shape[2]
    turn_re, turn_im = np.empty(modes), np.empty(modes)
    re, im = np.empty(modes), np.empty(modes)
    double, square = np.empty(modes), np.empty(modes)
    for h in range(first, last):
        g = node_of[h]
        exponentials(nodes[g], 1.0, lowest, turn_re, turn_im)
        for n in range(modes):
            double[n], square[n] = 2.0 * turn_re[n], turn_re[n] * turn_re[n] + turn_im[n] * turn_im[n]
        weights = w[weight_of[h]]
        for sample in range(0, computed[g], BLOCK):
            exponentials(nodes[g], float(sample), lowest, re, im)
            for n in range(weights.size):
                c, s = re[n], im[n]
                re[n] = weights[n].real * c - weights[n].imag * s
                im[n] = weights[n].real * s + weights[n].imag * c
            re[weights.size :] = 0.0
            im[weights.size :] = 0.0
            block = out[place[h], sample : min(sample + BLOCK, computed[g])]
            if two_term:
                for n in range(modes):
                    im[n] = re[n] * turn_re[n] - im[n] * turn_im[n]
                _two_term_block(double, square, re, im, block)
            else:
                _recurrence_block(turn_re, turn_im, re, im, block)


@njit(cache=True, nogil=True, fastmath=SUMS, forceinline=True)
def _along_rows(modes, table, rows, moments):
    """Overwrite moments ``(6, M')`` with the sums over r of e_r U_r, r e_r U_r and e_r V_r, real and imaginary parts.

    The table holds e; the rows ``(4 M' * 64,)`` hold Re U, Im U, Re V and Im V.
    """
    for n in range(modes):
        re, im = table[n * STEP : (n + 1) * STEP], table[(modes + n) * STEP : (modes + n + 1) * STEP]
        u_re, u_im = rows[n * STEP : (n + 1) * STEP], rows[(modes + n) * STEP : (modes + n + 1) * STEP]
        v_re = rows[(2 * modes + n) * STEP : (2 * modes + n + 1) * STEP]
        v_im = rows[(3 * modes + n) * STEP : (3 * modes + n + 1) * STEP]
        s0, s1, s2, s3, s4, s5 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for r in range(STEP):
            x = re[r] * u_re[r] + im[r] * u_im[r]
            y = re[r] * u_im[r] - im[r] * u_re[r]
            s0 += x
            s1 += y
            s2 += r * x
            s3 += r * y
            s4 += re[r] * v_re[r] + im[r] * v_im[r]
            s5 += re[r] * v_im[r] - im[r] * v_re[r]
        moments[0, n], moments[1, n], moments[2, n] = s0, s1, s2
        moments[3, n], moments[4, n], moments[5, n] = s3, s4, s5


@njit(cache=True, nogil=True, fastmath={"contract"})
def moment_units(cotangent, nodes, node_of, place, computed, channels, chunks, lowest, first, last, out):
    """Overwrite out ``(H, chunks, 2, M')`` with sum_l g_l exp(l x_n) and sum_l l g_l exp(l x_n), see `gemm_units`.

    The product runs with the transposed operands: first over the rows of a panel, which is the longer sum's half that
    is done with matrices, then along them.
    """
    modes = nodes.shape[2]
    work = np.empty((22, modes))
    table = np.empty(2 * modes * STEP)
    within_re, within_im = np.empty((ROWS, modes)), np.empty((ROWS, modes))
    left = np.empty((4 * modes, ROWS))
    rows = np.empty(4 * modes * STEP)
    moments = np.empty((6, modes))
    start_re, start_im = np.empty(modes), np.empty(modes)
    panel = np.empty(PANEL)
    for unit in range(first, last):
        known = -1
        begin = channels * (unit // chunks)
        chunk = unit % chunks
        for h in range(begin, min(begin + channels, place.size)):
            g = node_of[h]
            if g != known:
                _row_table(nodes[g], lowest, work, table)
                _doubled(nodes[g], float(STEP), lowest, within_re, within_im)
                # beyond the kernel a growing mode may overflow, and 0 times infinity would be NaN
                for r in range(computed[g], STEP):
                    table[r::STEP] = 0.0
                within_re[-(-computed[g] // STEP) :] = 0.0
                within_im[-(-computed[g] // STEP) :] = 0.0
                for i in range(ROWS):
                    for n in range(modes):
                        left[n, i], left[modes + n, i] = within_re[i, n], within_im[i, n]
                        left[2 * modes + n, i] = i * STEP * within_re[i, n]
                        left[3 * modes + n, i] = i * STEP * within_im[i, n]
                known = g
            total = out[place[h], chunk]
            total[:] = 0.0
            begins = chunk * PANELS * PANEL
            for sample in range(begins, min(begins + PANELS * PANEL, computed[g]), PANEL):
                exponentials(nodes[g], float(sample), lowest, start_re, start_im)
                count = min(PANEL, computed[g] - sample)
                panel[:count] = cotangent[place[h], sample : sample + count]
                panel[count:] = 0.0
                _product(left, panel, 4 * modes, rows)
                _along_rows(modes, table, rows, moments)
                for n in range(modes):
                    start = start_re[n] + 1j * start_im[n]
                    zeroth = moments[0, n] + 1j * moments[1, n]
                    rest = (moments[2, n] + moments[4, n]) + 1j * (moments[3, n] + moments[5, n])
                    total[0, n] += start * zeroth
                    total[1, n] += start * (rest + sample * zeroth)
