"""The CUDA kernels of Vandermonde products, run on the CPU by emulation, against sums in 40 digits, plain NumPy and
the CPU's kernels."""

import shutil
from functools import partial
from pathlib import Path

import mpmath
import numpy as np
import pytest

from lrtheory.operators import _gpu_launch
from lrtheory.ssm import _cpu, _gpu, _gpu_sources, vandermonde
from lrtheory.testing.kernels import check_kernel_twins
from tests.operators.cuda_emulation import Emulator

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="emulating CUDA C on the CPU needs g++")

TILE = _gpu_sources.THREADS * _gpu_sources.OUTPUTS


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    return Emulator(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(autouse=True)
def emulated(emulator, monkeypatch):
    """Every public function takes the kernels for devices; `emulator.started` counts them."""
    monkeypatch.setattr(_gpu_launch, "launch", emulator.launch)
    monkeypatch.setattr(vandermonde, "twin", lambda name, *arrays: _gpu)
    return emulator


def nodes(w_shape, x_shape, dt=1e-2, seed=0, top=40.0):
    generator = np.random.default_rng(seed)
    w = generator.standard_normal((*w_shape, 2)) @ np.array([1, 1j])
    x = dt * (-generator.uniform(0.3, 0.7, x_shape) + 1j * generator.uniform(0, top, x_shape))
    return w, x


def plain(w, x, length):
    return (w[..., None] * np.exp(x[..., None] * np.arange(length))).sum(-2).real


def exact(w, x, steps):
    """The definition in 40 digits, for the numbers that w and x ``(M,)`` hold."""
    with mpmath.workdps(40):
        pairs = [(mpmath.mpc(complex(c)), mpmath.mpc(complex(z))) for c, z in zip(w, x, strict=True)]
        return np.array([float(mpmath.fsum((c * mpmath.exp(int(s) * z)).real for c, z in pairs)) for s in steps])


def everything(length):
    """A number of samples for each of so many rows of nodes."""
    return lambda x: np.full(int(np.prod(x.shape[:-1])), length, np.int64)


SHAPES = {
    "one": ((3,), (3,)),
    "many modes": ((2, 35), (2, 35)),
    "nodes shared": ((2, 3, 4), (2, 1, 4)),
    "nodes shared, out of order": ((3, 2, 4), (1, 2, 4)),
    "weights shared": ((1, 4), (5, 4)),
    "both": ((3, 1, 4), (1, 2, 4)),
}


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", ["gemm", "recurrence", "two_term"])
def test_kernels_are_twins_of_the_cpus(name, dtype, shapes):
    """Whole lengths and others, one tile and more, and rows that end at different samples."""
    name, more = ("recurrence", (True,)) if name == "two_term" else (name, ())

    def cases():
        for length in (1, 64, 100, 256, TILE, TILE + 77):
            w, x = nodes(*SHAPES[shapes], seed=length)
            lead = np.broadcast_shapes(w.shape, x.shape)[:-1]
            computed = everything(length)(x)
            yield w, x, lead, computed, length
            if computed.size > 1 and length > 64:
                computed = np.minimum(64 * (1 + np.arange(computed.size)), length)
                yield w, x, lead, computed, length

    tolerance = 1e-12 if dtype == np.float64 else 3e-6
    ours, theirs = (partial(_in_dtype, getattr(module, name), dtype, more) for module in (_gpu, _cpu))
    assert check_kernel_twins(ours, theirs, cases(), rtol=tolerance) >= 6


def _in_dtype(kernel, dtype, more, *case):
    return kernel(*case, dtype, *more)


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_moments_are_twins_of_the_cpus(dtype, shapes):
    def cases():
        for length in (1, 64, 100, 256, 700):
            w, x = nodes(*SHAPES[shapes], seed=length)
            lead = np.broadcast_shapes(w.shape, x.shape)[:-1]
            g = np.random.default_rng(length).standard_normal((*lead, length)).astype(dtype)
            computed = everything(length)(x)
            yield w, x, lead, g, computed
            if computed.size > 1 and length > 64:
                yield w, x, lead, g, np.minimum(64 * (1 + np.arange(computed.size)), length)

    assert check_kernel_twins(_gpu.moments, _cpu.moments, cases()) >= 5


LONG = {
    "decaying": nodes((1, 8), (1, 8), dt=1e-5, top=100.0),
    "fast oscillations": nodes((1, 8), (1, 8), dt=2e-5, top=4e4),
    "many turns": nodes((1, 8), (1, 8), dt=1e-5, top=1e8),
    "growing": (lambda w, x: (w, x + 6e-4))(*nodes((1, 8), (1, 8), dt=1e-5)),
}


def contracts():
    """Whether this machine, as a device, can round a product and a sum together."""
    info = Path("/proc/cpuinfo")
    return info.exists() and " fma " in info.read_text()


@pytest.fixture(params=["separate", "contracted"])
def rounding(request, tmp_path, monkeypatch):
    """Compilers for devices contract; g++ does where it is told to."""
    if request.param == "contracted":
        if not contracts():
            pytest.skip("this processor has no fused multiply-add")
        monkeypatch.setattr(_gpu_launch, "launch", Emulator(tmp_path, ("-mfma", "-ffp-contract=fast")).launch)


@pytest.mark.parametrize("case", LONG)
def test_exponentials_in_40_digits(rounding, case):
    """A table's entries at steps up to 2^20, with phases up to 1e9."""
    w, x = LONG[case]
    giants, step = 5, 2**20 // 4 - 1
    table = _gpu._Channels.of(w, x, (1,), np.array([2**40])).table
    left = np.empty((1, giants, 16))
    views = w.view(np.float64), x.view(np.float64)
    _gpu._lines(
        _gpu.TABLES, "left_table", (giants, 8), (*views, table, 1, 8, giants, step, -1e3, left), {"REAL": "double"}
    )
    with mpmath.workdps(40):
        for q in range(giants):
            for n in range(8):
                value = mpmath.mpc(complex(w[0, n])) * mpmath.exp(q * step * mpmath.mpc(complex(x[0, n])))
                found = mpmath.mpc(left[0, q, n], left[0, q, 8 + n])
                assert abs(found - value) <= 1e-15 * abs(value)


@pytest.mark.parametrize(("dtype", "lowest"), [(np.float64, -200), (np.float32, -50)])
def test_exponentials_below_the_lowest_are_zero(dtype, lowest):
    """One mode, whose samples are single products of two exponentials: nothing subnormal comes from these."""
    found = _gpu.gemm(np.ones((1, 1), complex), np.full((1, 1), -np.log(2) + 0j), (1,), np.array([640]), 640, dtype)
    last = (-lowest) // 64 * 64 + min(63, -lowest)  # starts of rows and steps within them are cut separately
    expected = np.where(np.arange(640) <= last, 0.5 ** np.arange(640), 0.0)
    assert np.allclose(found[0], expected.astype(dtype), rtol=1e-6 if dtype == np.float32 else 1e-14, atol=0)


@pytest.mark.parametrize("case", LONG)
@pytest.mark.parametrize("algorithm", [vandermonde.gemm, vandermonde.recurrence])
def test_kernels_in_40_digits(algorithm, case):
    w, x = LONG[case]
    length = 70_000
    found = algorithm(w, x, length, tolerance=0.0)
    steps = np.unique(np.concatenate([np.arange(70), np.random.default_rng(0).integers(0, length, 60), [length - 1]]))
    assert found.dtype == np.float64
    assert np.abs(found[0, steps] - exact(w[0], x[0], steps)).max() <= 2e-14 * np.abs(found).max()


@pytest.mark.parametrize("algorithm", [vandermonde.gemm, vandermonde.recurrence])
def test_single_precision(algorithm):
    """Phases have float64 inside; what is left is the rounding of 64 numbers, and of eight steps of the recurrence."""
    w = np.random.default_rng(0).standard_normal((1, 32, 2)) @ np.array([1, 1j])
    x = 1e-3 * (-0.5 + 1j * np.pi * np.arange(32))[None]
    w = w.astype(np.complex64)
    found = algorithm(w, x, 8192)
    steps = np.random.default_rng(1).integers(0, 8192, 400)
    assert found.dtype == np.float32
    error = np.abs(found[0, steps] - exact(w[0], x[0], steps)).max() / np.abs(found).max()
    assert error <= 1e-6


def test_public_functions_reach_the_kernels(emulated):
    """Checks, tails below the tolerance and gradients are those of all arrays; only the kernels change."""
    w, x = nodes((2, 5), (2, 5), dt=np.array([[1.0], [0.05]]))
    for algorithm, started in ((vandermonde.gemm, 3), (vandermonde.recurrence, 1), (vandermonde.fastest, 1)):
        before = emulated.started
        found = algorithm(w, x, 5000)
        assert emulated.started - before == started
        expected = plain(w, x, 5000)
        assert np.abs(found - expected).max() <= 1e-12 * np.abs(expected).max()
        ends = [int(np.log(1e-20) / x[h].real.max()) // 64 * 64 + 64 for h in (0, 1)]
        for h, end in enumerate(ends):
            assert end < 5000
            assert found[h, end - 64 : end].any()
            assert not found[h, end:].any()
    with pytest.raises(OverflowError):
        vandermonde.gemm(w, x + 1, 5000)


def test_the_recurrence_is_chosen_where_tables_would_be_larger():
    w, x = nodes((2, 5), (2, 5), dt=1e-6)
    for shapes, length, algorithm in (
        (((2, 5), (2, 5)), 4096, vandermonde.recurrence),
        (((2, 5), (2, 5)), 4097, vandermonde.gemm),
        (((8, 5), (1, 5)), 512, vandermonde.recurrence),
        (((8, 5), (1, 5)), 513, vandermonde.gemm),
    ):
        w, x = nodes(*shapes, dt=1e-6)
        choice = vandermonde.choose(w, x, length)
        assert choice.algorithm is algorithm
        assert ("4096" in choice.reason) == (algorithm is vandermonde.recurrence)


@pytest.mark.parametrize("shapes", SHAPES)
def test_gradients_are_those_of_the_definition(shapes):
    w, x = nodes(*SHAPES[shapes])
    lead = np.broadcast_shapes(w.shape, x.shape)[:-1]
    g = np.random.default_rng(1).standard_normal((*lead, 150))
    powers = np.exp(x[..., None] * np.arange(150))
    full = np.broadcast_shapes(w.shape, x.shape)
    grads = (
        np.broadcast_to(np.conj((g[..., None, :] * powers).sum(-1)), full),
        np.conj(w * (np.arange(150) * g[..., None, :] * powers).sum(-1)),
    )
    for found, a, grad in zip(vandermonde.vandermonde_vjp(w, x, g), (w, x), grads, strict=True):
        grad = grad.sum(axis=tuple(range(grad.ndim - a.ndim)))
        axes = tuple(i for i in range(a.ndim) if a.shape[i] == 1 and grad.shape[i] != 1)
        grad = grad.sum(axis=axes, keepdims=True)
        assert found.shape == a.shape
        assert np.abs(found - grad).max() <= 1e-12 * np.abs(grad).max()


@pytest.mark.parametrize("algorithm", [vandermonde.gemm, vandermonde.recurrence, vandermonde.two_term])
def test_growing_modes_stay_within_their_kernel(algorithm):
    """Tables and tiles go beyond a short kernel, where exp overflows; no infinity and no NaN may reach it."""
    w, x = np.ones((1, 2), complex), np.array([[11.6, -1.0]]) + 0j  # exp(64 * 11.6) is infinite
    expected = plain(w, x, 60)
    assert np.abs(algorithm(w, x, 60) / expected - 1).max() < 1e-12
    g = np.ones((1, 60))
    for grad, steps in zip(vandermonde.vandermonde_vjp(w, x, g), (np.ones(60), np.arange(60)), strict=True):
        wanted = (steps * np.exp(x[..., None].real * np.arange(60))).sum(-1)
        assert np.abs(grad / wanted - 1).max() < 1e-12


@pytest.mark.parametrize("algorithm", [vandermonde.gemm, vandermonde.recurrence, vandermonde.two_term])
def test_odd_inputs(algorithm):
    w, x = nodes((3, 4), (3, 4))
    expected = algorithm(w, x, 70)
    assert algorithm(w[:0], x[:0], 70).shape == (0, 70)
    assert [grad.shape for grad in vandermonde.vandermonde_vjp(w[:0], x[:0], np.ones((0, 9)))] == [(0, 4)] * 2
    strided = [np.repeat(np.asfortranarray(a), 2, axis=1)[:, ::2] for a in (w, x)]
    assert np.array_equal(algorithm(*strided, 70), expected)
    gone = np.concatenate([x, np.full((3, 1), -1e4)], axis=1)  # how a node at 0 is written
    found = algorithm(np.concatenate([w, np.ones((3, 1))], axis=1), gone, 70)
    assert np.allclose(found, expected + (np.arange(70) == 0), atol=1e-12)
    far = algorithm(np.ones((1, 1), complex), np.array([[-1e9 + 1j]]), 70, tolerance=0.0)  # 2 to -1e11 is no int
    assert np.array_equal(far, np.eye(1, 70))


@pytest.mark.parametrize("algorithm", [vandermonde.recurrence, vandermonde.two_term])
def test_bits_depend_on_the_channel_alone(algorithm):
    w, x = nodes((3, 5), (3, 5))
    whole = algorithm(w, x, 3000)
    for length in (1, 100, TILE, TILE + 1):
        assert np.array_equal(algorithm(w, x, length), whole[:, :length])
    assert np.array_equal(algorithm(w[1], x[1], 3000), whole[1])


def test_tables_are_square_enough():
    """Both tables together hold at most 3 sqrt(samples of a row of nodes) lines, or are at their smallest."""
    for count, rows, longest in ((1, 1, 1), (1, 1, 65), (4, 4, 4096), (64, 1, 1000), (6, 3, 2**20), (10**4, 1, 10)):
        x = np.full((rows, 1), -1.0 + 0j)
        w = np.ones((count // rows, rows, 1), complex)
        given = _gpu._Channels.of(w, x, (count // rows, rows), np.full(rows, longest))
        step, giants = given.steps()
        assert giants * step >= longest > (giants - 1) * step
        assert given.together == count // rows
        assert step == 64 or step + given.together * giants <= 3.1 * np.sqrt(given.together * longest) + given.together
