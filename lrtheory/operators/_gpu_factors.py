"""CUDA kernels between two passes of gradient descent on factors: the estimate, the update, and the frozen elements.

Together with the fused pass they make a whole step out of five launches on arrays that are allocated once, without a
library call and without a word to the host, so that a run of steps can be captured as a graph. For the sizes where
launches cost more than arithmetic; larger ones take cuBLAS. Not measured on a device yet.

An element's iterate is the last finite one: `update` marks an element whose new factors are not finite, for good, and
`settle` puts its old factors back and counts the step for all others.
"""

from __future__ import annotations

from typing import Any

from lrtheory.backend import Array, namespace
from lrtheory.factors import Factors
from lrtheory.operators import _gpu_launch
from lrtheory.operators._gpu import fused_shape, start_fused
from lrtheory.operators._gpu_launch import Source

THREADS = 256

_CODE = r"""
// Column p of row format: entry (i, j) of the matrix, or of its upper triangle row by row.
__device__ long long column(long long i, long long j, long long n2)
{
#if PACKED
    if (i > j) { const long long other = i; i = j; j = other; }
    return i * n2 - i * (i - 1) / 2 + (j - i);
#else
    return i * n2 + j;
#endif
}

// z[trial][column(i, j)] = <F_i, G_j>, symmetrised in the packed format; block y is the trial.
extern "C" __global__ void estimate(
    const double* left, const double* right, long long n1, long long n2, long long k, long long d, double* z)
{
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x, trial = blockIdx.y;
    const long long i = at / n2, j = at % n2;
    if (i >= n1) return;
    const double *f = left + trial * n1 * k, *g = right + trial * n2 * k;
    double s = 0.0;
#if PACKED
    if (i > j) return;
    for (long long c = 0; c < k; ++c) s += f[i * k + c] * g[j * k + c] + f[j * k + c] * g[i * k + c];
    s *= 0.5;
#else
    for (long long c = 0; c < k; ++c) s += f[i * k + c] * g[j * k + c];
#endif
    z[trial * d + column(i, j, n2)] = s;
}

// Entry (i, j) of R. The gradient in the packed format halves what belongs to two entries.
__device__ double pulled(const double* r, long long i, long long j, long long n2)
{
#if PACKED
    const double entry = r[column(i, j, n2)];
    return i == j ? entry : 0.5 * entry;
#else
    return r[column(i, j, n2)];
#endif
}

// F - eta R G into new_left, and G - eta R^T F into new_right if that is another array (rows n1.. of the grid); with
// symmetrise, (R + R^T) / 2 takes the place of R. r has stride d + 1. Marks the trials with a new number that is not
// finite.
extern "C" __global__ void update(
    const double* left, const double* right, const double* r, const double* eta, long long n1, long long n2,
    long long k, long long d, long long symmetrise, double* new_left, double* new_right, int* stopped)
{
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x, trial = blockIdx.y;
    const long long row = at / k, c = at % k;
    const double *f = left + trial * n1 * k, *g = right + trial * n2 * k, *residual = r + trial * (d + 1);
    double s = 0.0, *place;
    if (row < n1) {
        for (long long j = 0; j < n2; ++j) {
            double entry = pulled(residual, row, j, n2);
            if (symmetrise) entry = 0.5 * (entry + pulled(residual, j, row, n2));
            s += entry * g[j * k + c];
        }
        s = f[row * k + c] - eta[trial] * s;
        place = new_left + (trial * n1 + row) * k + c;
    } else if (row < n1 + n2 && new_left != new_right) {
        const long long j = row - n1;
        for (long long i = 0; i < n1; ++i) s += pulled(residual, i, j, n2) * f[i * k + c];
        s = g[j * k + c] - eta[trial] * s;
        place = new_right + (trial * n2 + j) * k + c;
    } else {
        return;
    }
    *place = s;
    if (!(0.0 * s == 0.0)) stopped[trial] = 1;
}

// Puts the old factors of frozen trials back, and counts a step of the others.
extern "C" __global__ void settle(
    const double* left, const double* right, const unsigned char* active, const int* stopped, long long n1,
    long long n2, long long k, double* new_left, double* new_right, long long* taken)
{
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x, trial = blockIdx.y;
    if (active[trial] && !stopped[trial]) {
        if (at == 0) taken[trial] += 1;
        return;
    }
    if (at < n1 * k) new_left[trial * n1 * k + at] = left[trial * n1 * k + at];
    else if (at < (n1 + n2) * k && new_left != new_right)
        new_right[trial * n2 * k + at - n1 * k] = right[trial * n2 * k + at - n1 * k];
}
"""

FACTORS = Source(_CODE, ({"PACKED": 0}, {"PACKED": 1}))
SOURCES = (FACTORS,)


class CompiledSteps:
    """Steps of gradient descent through stored rows, from one pair of factors to another that is kept beside it.

    Parameters
    ----------
    rows : array ``(m, d)``
    packed, symmetric : bool
        The rows are upper triangles; the operator's matrices are symmetric.
    x : Factors
        float64, with one batch axis.
    y : array ``(B or 1, m)``, float64
    scale : float
    eta : array ``(B,)``, float64
    active : array ``(B,)``, bool
    """

    def __init__(
        self,
        rows: Array,
        packed: bool,
        symmetric: bool,
        x: Factors,
        y: Array,
        scale: float,
        eta: Array,
        active: Array,
    ) -> None:
        xp = namespace(rows, x.left)
        self.rows, self.y, self.scale = xp.ascontiguousarray(rows), xp.ascontiguousarray(y), scale
        self.eta, self.active = xp.ascontiguousarray(eta), xp.ascontiguousarray(active)
        self.macros: dict[str, Any] = {"PACKED": int(packed)}
        self.symmetrise = int(x.symmetric and not symmetric)
        self.symmetric = x.symmetric
        self.buffers = []
        for fill in (lambda a: xp.array(a, order="C", copy=True), lambda a: xp.empty(a.shape)):
            left = fill(x.left)
            self.buffers.append((left, left if x.symmetric else fill(x.right)))
        self.trials, self.n1, self.k = x.left.shape
        self.n2 = x.right.shape[1]
        m, self.d = rows.shape
        self.z = xp.empty((self.trials, self.d))
        self.partials = xp.empty((self.trials, fused_shape(m, self.d)[0], self.d + 1))
        self.totals = xp.empty((self.trials, self.d + 1))
        self.stopped = xp.zeros(self.trials, dtype=xp.int32)
        self.taken = xp.zeros(self.trials, dtype=xp.int64)

    def step(self, source: int) -> None:
        """Start the step from buffer `source`, 0 or 1, to the other."""
        (left, right), (new_left, new_right) = self.buffers[source], self.buffers[1 - source]
        n1, n2, k, d = self.n1, self.n2, self.k, self.d
        self._start("estimate", n1 * n2, (left, right, n1, n2, k, d, self.z))
        start_fused(self.rows, self.z, self.y, self.scale, 0, 1.0, self.partials, self.totals)
        moved = n1 * k if self.symmetric else (n1 + n2) * k
        residual = (left, right, self.totals, self.eta, n1, n2, k, d, self.symmetrise)
        self._start("update", moved, (*residual, new_left, new_right, self.stopped))
        frozen = (left, right, self.active, self.stopped, n1, n2, k)
        self._start("settle", moved, (*frozen, new_left, new_right, self.taken))

    def result(self, source: int) -> Factors:
        """Return buffer `source`."""
        left, right = self.buffers[source]
        return Factors(left) if self.symmetric else Factors(left, right)

    def _start(self, kernel: str, work: int, arguments: tuple[Any, ...]) -> None:
        _gpu_launch.launch(FACTORS, kernel, (-(-work // THREADS), self.trials), (THREADS,), arguments, self.macros)


def run(steps: Any, n_steps: int, pairs: int) -> int:
    """Take n_steps steps; return the buffer that holds the result.

    Pairs of steps, which end where they began, are captured once, `pairs` of them as one graph, and replayed as often
    as they fit. The rest runs first and loads what a capture must not load.
    """
    replays, rest = divmod(n_steps // 2, pairs)
    if rest == 0 and replays > 0:
        replays, rest = replays - 1, pairs

    def together(count: int) -> None:
        for _ in range(count):
            steps.step(0)
            steps.step(1)

    together(rest)
    if replays > 0:
        graph = _gpu_launch.capture(lambda: together(pairs))
        for _ in range(replays):
            graph.launch()
    if n_steps % 2:
        steps.step(0)
    return n_steps % 2
