"""CUDA C of the Vandermonde products: `_gpu` starts it and says why it is as it is."""

from __future__ import annotations

from typing import Any

from lrtheory.operators._gpu_launch import Source

THREADS, OUTPUTS, LOW, MODES = 128, 8, 16, 32  # of the recurrence; modes that are in shared memory together
QUEUES = 8  # of the adjoint: threads that share the sum over giant steps

EXPONENTIAL = r"""
// exp(step x), correct to some units of rounding for integer steps up to 2^50; 0 below 2^lowest.
__device__ void exponential(double x_re, double x_im, double step, double lowest, double* re, double* im)
{
    // Re x / log 2 and 2 Im x / pi are high + low. Products that are rounded on purpose must not be contracted.
    const double y = x_re < -1e4 ? -1e4 : x_re;  // below, exp is 0 in any case
    double high = __dmul_rn(y, 1.4426950408889634);
    double low = fma(y, 1.4426950408889634, -high) + y * 2.0355273740931033e-17;
    double top = __dmul_rn(step, high), whole = rint(top);
    double rest = (top - whole) + (fma(step, high, -top) + step * low);
    double near = rint(rest);
    const double power = whole + near;
    if (power < lowest) { *re = 0.0; *im = 0.0; return; }
    const double size = ldexp(exp2(rest - near), (int)power);
    high = __dmul_rn(x_im, 0.6366197723675814);
    low = fma(x_im, 0.6366197723675814, -high) + x_im * -3.935735335036497e-17;
    high -= 4.0 * rint(0.25 * high);  // whole turns: steps are integers
    top = __dmul_rn(step, high);
    whole = rint(top);
    rest = (top - whole) + (fma(step, high, -top) + step * low);
    near = rint(rest);
    double sine, cosine;
    sincospi(0.5 * (rest - near), &sine, &cosine);
    const long long quarters = (long long)whole + (long long)near;
    const double a = quarters & 1 ? sine : cosine, b = quarters & 1 ? cosine : sine;
    *re = (quarters + 1) & 2 ? -size * a : size * a;
    *im = quarters & 2 ? -size * b : size * b;
}
"""

# A kernel finds its channels in the rows of `channels` (4, count): of the weights, of the nodes, the place of the
# result, and the number of samples computed. Channels with the same nodes are neighbours.

_FUSED = (
    EXPONENTIAL
    + r"""
#define HIGH (THREADS / LOW)
#define TABLE (LOW + HIGH + 1)

// out[place][l] = Re sum_n w_n exp(l x_n), 0 where not computed: block x is the tile blockIdx.x % tiles of a channel.
extern "C" __global__ void __launch_bounds__(THREADS) recurrence(
    const double* w, const double* x, const long long* channels, long long count, long long modes, long long length,
    long long tiles, double lowest, REAL* out)
{
    __shared__ double low_re[MODES][LOW], low_im[MODES][LOW], high_re[MODES][HIGH], high_im[MODES][HIGH];
    __shared__ REAL turn_re[MODES], turn_im[MODES];
    const int t = threadIdx.x;
    const long long h = blockIdx.x / tiles, start = (blockIdx.x % tiles) * (THREADS * OUTPUTS);
    const double *weights = w + 2 * modes * channels[h], *nodes = x + 2 * modes * channels[count + h];
    const long long computed = channels[3 * count + h];
    REAL sums[OUTPUTS];
    #pragma unroll
    for (int j = 0; j < OUTPUTS; ++j) sums[j] = (REAL)0;
    for (long long first = 0; first < modes && start < computed; first += MODES) {
        const int here = modes - first < MODES ? (int)(modes - first) : MODES;
        __syncthreads();
        for (int s = t; s < here * TABLE; s += THREADS) {
            const int n = s / TABLE, k = s % TABLE;
            const double* node = nodes + 2 * (first + n);
            const double step = k < LOW ? k : k < LOW + HIGH ? (double)(start + (k - LOW) * LOW) : THREADS;
            double re, im;
            exponential(node[0], node[1], step, lowest, &re, &im);
            if (k < LOW) {
                low_re[n][k] = re;
                low_im[n][k] = im;
            } else if (k < LOW + HIGH) {
                const double a = weights[2 * (first + n)], b = weights[2 * (first + n) + 1];
                high_re[n][k - LOW] = a * re - b * im;
                high_im[n][k - LOW] = a * im + b * re;
            } else {
                turn_re[n] = (REAL)re;
                turn_im[n] = (REAL)im;
            }
        }
        __syncthreads();
        for (int n = 0; n < here; ++n) {
            const double a = low_re[n][t % LOW], b = low_im[n][t % LOW];
            const double c = high_re[n][t / LOW], s = high_im[n][t / LOW];
            REAL re = (REAL)(a * c - b * s), im = (REAL)(a * s + b * c);
            const REAL cosine = turn_re[n], sine = turn_im[n];
#if TWO_TERM
            const REAL twice = (REAL)2 * cosine, square = cosine * cosine + sine * sine;
            REAL after = re * cosine - im * sine;
            #pragma unroll
            for (int j = 0; j < OUTPUTS; ++j) {
                sums[j] += re;
                const REAL next = twice * after - square * re;
                re = after;
                after = next;
            }
#else
            #pragma unroll
            for (int j = 0; j < OUTPUTS; ++j) {
                sums[j] += re;
                const REAL next = re * cosine - im * sine;
                im = re * sine + im * cosine;
                re = next;
            }
#endif
        }
    }
    REAL* row = out + channels[2 * count + h] * length;
    #pragma unroll
    for (int j = 0; j < OUTPUTS; ++j) {
        const long long l = start + t + j * THREADS;
        if (l < length) row[l] = l < computed ? sums[j] : (REAL)0;
    }
}
"""
)

_TABLES = (
    EXPONENTIAL
    + r"""
// left[h][q] = [Re g, Im g] (2 M numbers), g_n = w_n exp(q step x_n): thread x of block y is the mode, thread y of
// block x the row h, q.
extern "C" __global__ void left_table(
    const double* w, const double* x, const long long* channels, long long count, long long modes, long long giants,
    long long step, double lowest, REAL* left)
{
    const long long row = (long long)blockIdx.x * blockDim.y + threadIdx.y, n = blockIdx.y * 32 + threadIdx.x;
    if (row >= count * giants || n >= modes) return;
    const long long h = row / giants, l = row % giants * step;
    double re = 0.0, im = 0.0;
    if (l < channels[3 * count + h]) {
        const double *node = x + 2 * (modes * channels[count + h] + n), *weight = w + 2 * (modes * channels[h] + n);
        exponential(node[0], node[1], (double)l, lowest, &re, &im);
        const double a = weight[0] * re - weight[1] * im;
        im = weight[0] * im + weight[1] * re;
        re = a;
    }
    left[2 * modes * row + n] = (REAL)re;
    left[2 * modes * row + modes + n] = (REAL)im;
}

// right[g][n][r] = Re e and right[g][M + n][r] = -Im e, e = exp(r x_n), for the g-th row of nodes, which `together`
// channels share: thread x of block y is r < step, thread y of block x the row g, n.
extern "C" __global__ void right_table(
    const double* x, const long long* channels, long long count, long long modes, long long together, long long step,
    double lowest, REAL* right)
{
    const long long row = (long long)blockIdx.x * blockDim.y + threadIdx.y, r = blockIdx.y * 32 + threadIdx.x;
    if (row >= count / together * modes || r >= step) return;
    const long long g = row / modes, n = row % modes;
    double re = 0.0, im = 0.0;
    if (r < channels[3 * count + g * together]) {  // beyond, a growing mode may overflow, and infinity times 0 is NaN
        const double* node = x + 2 * row;
        exponential(node[0], node[1], (double)r, lowest, &re, &im);
    }
    right[(2 * modes * g + n) * step + r] = (REAL)re;
    right[(2 * modes * g + modes + n) * step + r] = (REAL)-im;
}

// out[place][l] = product[h][l], 0 where not computed: block x is the part blockIdx.x % parts of a channel.
extern "C" __global__ void place_rows(
    const REAL* product, const long long* channels, long long count, long long samples, long long length,
    long long parts, REAL* out)
{
    const long long h = blockIdx.x / parts, l = blockIdx.x % parts * blockDim.x + threadIdx.x;
    if (l < length)
        out[channels[2 * count + h] * length + l] = l < channels[3 * count + h] ? product[h * samples + l] : (REAL)0;
}
"""
)

_MOMENTS = (
    EXPONENTIAL
    + r"""
// rows[h][l] = g[place][l], 0 where not computed, for l < samples: blocks as for place_rows.
extern "C" __global__ void gather_rows(
    const REAL* g, const long long* channels, long long count, long long samples, long long length, long long parts,
    double* rows)
{
    const long long h = blockIdx.x / parts, l = blockIdx.x % parts * blockDim.x + threadIdx.x;
    if (l < samples)
        rows[h * samples + l] = l < channels[3 * count + h] ? (double)g[channels[2 * count + h] * length + l] : 0.0;
}

// table[g][r] = [Re e, Im e, r Re e, r Im e] (4 M numbers), e = exp(r x_n): thread x of block y is the mode, thread y
// of block x the row g, r.
extern "C" __global__ void moment_table(
    const double* x, const long long* channels, long long count, long long modes, long long together, long long step,
    double lowest, double* table)
{
    const long long row = (long long)blockIdx.x * blockDim.y + threadIdx.y, n = blockIdx.y * 32 + threadIdx.x;
    if (row >= count / together * step || n >= modes) return;
    const long long g = row / step, r = row % step;
    double re = 0.0, im = 0.0;
    if (r < channels[3 * count + g * together]) {
        const double* node = x + 2 * (modes * g + n);
        exponential(node[0], node[1], (double)r, lowest, &re, &im);
    }
    double* line = table + 4 * modes * row + n;
    line[0] = re;
    line[modes] = im;
    line[2 * modes] = (double)r * re;
    line[3 * modes] = (double)r * im;
}

// out[place] = [sum_l g_l exp(l x_n), sum_l l g_l exp(l x_n)] from parts[h][q] = sum_r g_(q step + r) table[r]: block x
// is the channel h, thread x of block y the mode; the QUEUES threads y share the giant steps q.
extern "C" __global__ void add_moments(
    const double* x, const long long* channels, const double* parts, long long count, long long modes,
    long long giants, long long step, double lowest, double* out)
{
    __shared__ double sums[4][QUEUES][32];
    const int t = threadIdx.x, y = threadIdx.y;
    const long long h = blockIdx.x, n = blockIdx.y * 32 + t, computed = channels[3 * count + h];
    double s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0;
    for (long long q = y; q < giants && q * step < computed && n < modes; q += QUEUES) {
        const double* node = x + 2 * (modes * channels[count + h] + n);
        const double* part = parts + 4 * modes * (h * giants + q) + n;
        const double l = (double)(q * step), a = part[0], b = part[modes];
        const double c = part[2 * modes] + l * a, d = part[3 * modes] + l * b;
        double re, im;
        exponential(node[0], node[1], l, lowest, &re, &im);
        s0 += re * a - im * b;
        s1 += re * b + im * a;
        s2 += re * c - im * d;
        s3 += re * d + im * c;
    }
    sums[0][y][t] = s0;
    sums[1][y][t] = s1;
    sums[2][y][t] = s2;
    sums[3][y][t] = s3;
    __syncthreads();
    if (y > 0 || n >= modes) return;
    for (int k = 1; k < QUEUES; ++k) {
        s0 += sums[0][k][t];
        s1 += sums[1][k][t];
        s2 += sums[2][k][t];
        s3 += sums[3][k][t];
    }
    double* line = out + 4 * modes * channels[2 * count + h] + 2 * n;
    line[0] = s0;
    line[1] = s1;
    line[2 * modes] = s2;
    line[2 * modes + 1] = s3;
}
"""
)

REAL = {"float64": "double", "float32": "float"}


def fused_macros(dtype: str, two_term: bool) -> dict[str, Any]:
    """Return the macros of the recurrence."""
    shape = {"THREADS": THREADS, "OUTPUTS": OUTPUTS, "LOW": LOW, "MODES": MODES}
    return {"REAL": REAL[dtype], "TWO_TERM": int(two_term), **shape}


FUSED = Source(_FUSED, tuple(fused_macros(dtype, two_term) for dtype in REAL for two_term in (False, True)))
TABLES = Source(_TABLES, tuple({"REAL": real} for real in REAL.values()))
MOMENTS = Source(_MOMENTS, tuple({"REAL": real, "QUEUES": QUEUES} for real in REAL.values()))
SOURCES = (FUSED, TABLES, MOMENTS)
