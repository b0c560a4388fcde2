"""CUDA kernel of rank-one measurements ``A_i = a_i b_i^T``: what lies between the matrix products of a pass.

A pass is four products of tall matrices, ``a F`` and ``b G`` before and ``a^T (w V)`` and ``b^T (w U)`` after, which
are cuBLAS's, and one kernel between them that reads both results once: dot products, link, weights and value. No matrix
A_i is ever formed, and nothing of size n1 n2. Not measured on a device yet.
"""

from __future__ import annotations

from typing import Any

from lrtheory.backend import Array, namespace
from lrtheory.operators import _gpu_launch
from lrtheory.operators._gpu import LINK, start_add_chunks
from lrtheory.operators._gpu_launch import Source

THREADS = 256

_CODE = (
    LINK
    + r"""
// r_i = scale <u_i, v_i> - y_i for trial y: weights[i][trial] = scale link(r_i), and sum phi(r_i) over each block of
// threads in partials[trial][block]. u and v are (m, trials, k).
extern "C" __global__ void __launch_bounds__(THREADS) weigh(
    const double* u, const double* v, const double* y, long long m, long long k, long long y_stride,
    double scale, long long code, double threshold, double* weights, double* partials)
{
    __shared__ double sums[THREADS / 32];
    const long long i = (long long)blockIdx.x * THREADS + threadIdx.x, trial = blockIdx.y;
    double phi = 0.0;
    if (i < m) {
        const long long at = (i * gridDim.y + trial) * k;
        double s = 0.0;
        for (long long c = 0; c < k; ++c) s += u[at + c] * v[at + c];
        weights[i * gridDim.y + trial] = scale * link(scale * s - y[trial * y_stride + i], (int)code, threshold, &phi);
    }
    for (int step = 16; step > 0; step /= 2) phi += __shfl_down_sync(0xffffffffu, phi, step);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = phi;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int w = 1; w < THREADS / 32; ++w) phi += sums[w];
        partials[trial * gridDim.x + blockIdx.x] = phi;
    }
}
"""
)

WEIGH = Source(_CODE, ({"THREADS": THREADS},))
SOURCES = (WEIGH,)


def factored_pass(
    a: Array, b: Array, left: Array, right: Array, y: Array, scale: float, code: int, threshold: float
) -> tuple[Any, Any, Any]:
    """One pass at the estimate ``F G^T``: values ``(B,)``, ``R G`` and ``R^T F``, ``R = scale sum_i link(r_i) A_i``.

    Parameters
    ----------
    a : array ``(m, n1)``
    b : array ``(m, n2)``
        The same array for symmetric measurements.
    left, right : array ``(B, n1, k)`` and ``(B, n2, k)``
    y : array ``(B, m)`` or ``(1, m)``
    scale, code, threshold
        See `_links`.

    Notes
    -----
    Two products less where b is a and right is left. Arithmetic between the products is float64.
    """
    same = b is a and right is left
    u = _seen(a, left)
    v = u if same else _seen(b, right)
    value, weights = weigh(u, v, y, scale, code, threshold)
    weights = namespace(u).astype(weights, u.dtype, copy=False)[:, :, None]
    pulled_left = _back(a, weights * v)
    return value, pulled_left, pulled_left if same else _back(b, weights * u)


def weigh(u: Array, v: Array, y: Array, scale: float, code: int, threshold: float) -> tuple[Any, Any]:
    """Return values ``(B,)`` and weights ``(m, B)``, ``scale link(r_i)`` for ``r_i = scale <u_i, v_i> - y_i``.

    u and v are ``(m, B, k)``, y is ``(B, m)`` or ``(1, m)``; results are float64.
    """
    xp = namespace(u, v, y)
    same = v is u
    u, y = (xp.ascontiguousarray(xp.astype(x, xp.float64, copy=False)) for x in (u, y))
    v = u if same else xp.ascontiguousarray(xp.astype(v, xp.float64, copy=False))
    m, trials, k = u.shape
    blocks = -(-m // THREADS)
    weights, partials, value = xp.empty((m, trials)), xp.empty((trials, blocks, 1)), xp.empty((trials, 1))
    stride = m if y.shape[0] > 1 else 0
    arguments = (u, v, y, m, k, stride, float(scale), int(code), float(threshold), weights, partials)
    _gpu_launch.launch(WEIGH, "weigh", (blocks, trials), (THREADS,), arguments, {"THREADS": THREADS})
    start_add_chunks(partials, value)
    return value[:, 0], weights


def _seen(a: Array, x: Array) -> Array:
    """Return ``a x`` for all trials by one product: x ``(B, n, k)`` to ``(m, B, k)``."""
    trials, n, k = x.shape
    return (a @ x.transpose(1, 0, 2).reshape(n, trials * k)).reshape(a.shape[0], trials, k)


def _back(a: Array, u: Array) -> Array:
    """Return ``a^T u`` for all trials by one product: u ``(m, B, k)`` to ``(B, n, k)``."""
    m, trials, k = u.shape
    return (a.T @ u.reshape(m, trials * k)).reshape(a.shape[1], trials, k).transpose(1, 0, 2)
