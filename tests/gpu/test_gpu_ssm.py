"""On a device: kernels of diagonal systems and their application against 40 digits, the definition and the CPU."""

import mpmath
import numpy as np
import pytest

from lrtheory import backend, ssm
from lrtheory.backend import as_array, to_numpy
from lrtheory.ssm import _cpu, _cpu_application, _gpu, _gpu_application, application, vandermonde
from lrtheory.testing.kernels import check_kernel_twins

pytestmark = pytest.mark.gpu

ALGORITHMS = (vandermonde.gemm, vandermonde.recurrence, vandermonde.two_term, vandermonde.fastest, vandermonde.naive)
APPLICATIONS = (
    application.scan,
    application.chunked,
    application.fft,
    application.associative,
    application.fastest,
)
SHAPES = (
    ((3,), (3,)),
    ((2, 35), (2, 35)),
    ((2, 3, 4), (2, 1, 4)),
    ((3, 2, 4), (1, 2, 4)),
    ((1, 4), (5, 4)),
    ((3, 1, 4), (1, 2, 4)),
    ((300, 32), (300, 32)),
)


def on_device(a):
    return as_array(a, "cuda")


def complex_normal(generator, *shape):
    return generator.standard_normal((*shape, 2)) @ np.array([1, 1j])


def nodes(w_shape, x_shape, dt=1e-2, seed=0, top=40.0):
    generator = np.random.default_rng(seed)
    x = dt * (-generator.uniform(0.3, 0.7, x_shape) + 1j * generator.uniform(0, top, x_shape))
    return complex_normal(generator, *w_shape), x


def exact(w, x, steps):
    with mpmath.workdps(40):
        pairs = [(mpmath.mpc(complex(c)), mpmath.mpc(complex(z))) for c, z in zip(w, x, strict=True)]
        return np.array([float(mpmath.fsum((c * mpmath.exp(int(s) * z)).real for c, z in pairs)) for s in steps])


def close(got, expected, tolerance):
    got, expected = to_numpy(got), to_numpy(expected)
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    assert np.abs(got - expected).max(initial=0.0) <= tolerance * np.abs(expected).max(initial=0.0)


def on_the_cpu(kernel, dtype=None):
    """The CPU's kernel for arguments on a device; `computed` and `row_of` are on the host anyway."""

    def call(*case):
        host = [to_numpy(a) if backend.is_cupy(a) else a for a in case]
        result = kernel(*host) if dtype is None else kernel(*host, dtype)
        for given, changed in zip(case, host, strict=True):
            if backend.is_cupy(given):
                given[...] = on_device(changed)
        return result

    return call


def test_the_twins_are_these():
    a = on_device(np.zeros(1))
    assert backend.twin("lrtheory.ssm.", a) is _gpu
    assert backend.twin("lrtheory.ssm.application", a) is _gpu_application


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", ["gemm", "recurrence"])
def test_kernels(name, dtype, shapes):
    def cases():
        for length in (1, 64, 100, 1024, 1101, 65536 if shapes[0][0] < 300 else 4096):
            w, x = nodes(*shapes, seed=length)
            lead = np.broadcast_shapes(w.shape, x.shape)[:-1]
            rows = int(np.prod(x.shape[:-1]))
            for computed in (np.full(rows, length), np.minimum(64 * (1 + np.arange(rows)), length)):
                yield on_device(w), on_device(x), lead, computed, length

    tolerance = 1e-12 if dtype == np.float64 else 3e-6
    ours = getattr(_gpu, name)
    check_kernel_twins(
        lambda *case: ours(*case, dtype), on_the_cpu(getattr(_cpu, name), dtype), cases(), rtol=tolerance
    )


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_moments(dtype, shapes):
    def cases():
        for length in (1, 64, 100, 1024, 5000):
            w, x = nodes(*shapes, seed=length)
            lead = np.broadcast_shapes(w.shape, x.shape)[:-1]
            rows = int(np.prod(x.shape[:-1]))
            g = np.random.default_rng(length).standard_normal((*lead, length)).astype(dtype)
            for computed in (np.full(rows, length), np.minimum(64 * (1 + np.arange(rows)), length)):
                yield on_device(w), on_device(x), lead, on_device(g), computed

    check_kernel_twins(_gpu.moments, on_the_cpu(_cpu.moments), cases())


@pytest.mark.parametrize(
    ("dt", "top", "growth"), [(1e-5, 100.0, 0.0), (2e-5, 4e4, 0.0), (1e-5, 1e8, 0.0), (1e-5, 40.0, 6e-4)]
)
@pytest.mark.parametrize("algorithm", [vandermonde.gemm, vandermonde.recurrence])
def test_40_digits(algorithm, dt, top, growth):
    """A million samples, fast oscillations, many turns, growth."""
    w, x = nodes((1, 8), (1, 8), dt=dt, top=top)
    x = x + growth
    length = 1 << 20
    found = to_numpy(algorithm(on_device(w), on_device(x), length, tolerance=0.0))
    steps = np.unique(np.concatenate([np.arange(70), np.random.default_rng(0).integers(0, length, 60), [length - 1]]))
    assert np.abs(found[0, steps] - exact(w[0], x[0], steps)).max() <= 2e-14 * np.abs(found).max()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dtype", [np.complex128, np.complex64])
def test_public_functions_equal_the_cpus(algorithm, dtype):
    """With tails below the tolerance, which are 0."""
    w, x = nodes((3, 5), (3, 5), dt=np.array([[1.0], [0.05], [1e-3]]))
    w = w.astype(dtype)
    ends = [int(np.log(1e-20) / x[h].real.max()) // 64 * 64 + 64 for h in range(3)]
    for length in (64, 3000, 9000):
        found, expected = algorithm(on_device(w), on_device(x), length), algorithm(w, x, length)
        assert backend.is_cupy(found)
        close(found, expected, 1e-12 if dtype == np.complex128 else 3e-6)
        for row, end in zip(to_numpy(found), ends, strict=True):
            assert algorithm is vandermonde.naive or not row[end:].any()


def test_chirp_z():
    w, _ = nodes((2, 9), (2, 9))
    x = 1e-3 * (-0.5 + 1j * np.pi * np.arange(9)) * np.array([[1.0], [2.0]])
    close(vandermonde.chirp_z(on_device(w), on_device(x), 5000), vandermonde.chirp_z(w, x, 5000), 1e-12)


@pytest.mark.parametrize("shapes", SHAPES[:-1])
def test_gradients_equal_the_cpus(shapes):
    w, x = nodes(*shapes)
    lead = np.broadcast_shapes(w.shape, x.shape)[:-1]
    g = np.random.default_rng(1).standard_normal((*lead, 700))
    found = vandermonde.vandermonde_vjp(on_device(w), on_device(x), on_device(g))
    for got, expected in zip(found, vandermonde.vandermonde_vjp(w, x, g), strict=True):
        close(got, expected, 1e-12)


def test_growth_overflow_and_empty_channels():
    w, x = np.ones((1, 2), complex), np.array([[11.6, -1.0]]) + 0j
    expected = (np.exp(x[..., None] * np.arange(60))).sum(-2).real
    for algorithm in (vandermonde.gemm, vandermonde.recurrence):
        assert np.abs(to_numpy(algorithm(on_device(w), on_device(x), 60)) / expected - 1).max() < 1e-12
        with pytest.raises(OverflowError):
            algorithm(on_device(w), on_device(x), 70)
        assert algorithm(on_device(w[:0]), on_device(x[:0]), 60).shape == (0, 60)
    grads = vandermonde.vandermonde_vjp(on_device(w), on_device(x), on_device(np.ones((1, 60))))
    assert all(np.isfinite(to_numpy(grad)).all() for grad in grads)


def test_two_runs_give_the_same_bits():
    w, x = (on_device(a) for a in nodes((20, 32), (20, 32), dt=1e-3))
    g = on_device(np.random.default_rng(0).standard_normal((20, 10_000)))

    def bits():
        runs = (vandermonde.gemm(w, x, 10_000), vandermonde.recurrence(w, x, 10_000))
        return [to_numpy(a).tobytes() for a in (*runs, *vandermonde.vandermonde_vjp(w, x, g))]

    first = bits()
    assert all(bits() == first for _ in range(10))


def test_more_channels_than_a_grid_is_high():
    w, x = nodes((70_000, 1), (70_000, 1), dt=0.1)
    g = np.random.default_rng(0).standard_normal((70_000, 64))
    for algorithm in (vandermonde.gemm, vandermonde.recurrence):
        close(algorithm(on_device(w), on_device(x), 64), algorithm(w, x, 64), 1e-12)
    found = vandermonde.vandermonde_vjp(on_device(w), on_device(x), on_device(g))
    for got, expected in zip(found, vandermonde.vandermonde_vjp(w, x, g), strict=True):
        close(got, expected, 1e-12)
    y, z = application.scan(*(on_device(a) for a in (x, w, w, g)), None, True)
    for got, expected in zip((y, z), application.scan(x, w, w, g, None, True), strict=True):
        close(got, expected, 1e-12)


@pytest.mark.parametrize("algorithm", APPLICATIONS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_response_and_state(algorithm, dtype):
    for of_system, of_input, of_state in (
        ((3,), (), ()),
        ((70,), (2,), ()),
        ((3, 4), (3,), (3,)),
        ((4,), (2, 3), (3,)),
        ((2, 1, 4), (3,), (2, 1)),
    ):
        generator = np.random.default_rng(0)
        x = -generator.uniform(0, 0.04, of_system) + 1j * generator.uniform(-3, 3, of_system)
        b, c = complex_normal(generator, *of_system), complex_normal(generator, *of_system)
        for length in (1, 65, 3000):
            u = generator.standard_normal((*of_input, length)).astype(dtype)
            for state in (None, complex_normal(generator, *of_state, of_system[-1])):
                y, last = algorithm(
                    *(on_device(a) for a in (x, b, c, u)), None if state is None else on_device(state), True
                )
                expected, end = application.scan(x, b, c, u.astype(np.float64), state, True)
                single = dtype == np.float32
                assert y.dtype == dtype
                close(to_numpy(y).astype(np.float64), expected, 1e-5 if single else 1e-11)
                close(to_numpy(last).astype(np.complex128), end, 1e-5 if single else 1e-11)


@pytest.mark.parametrize("chunks", [1, 16, 17, 2000])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_carried_states(chunks, dtype):
    generator = np.random.default_rng(chunks)
    turn = np.exp(-generator.uniform(0, 0.1, (2, 35)) + 1j * generator.uniform(-3, 3, (2, 35)))
    row_of = np.array([[0, 0, 1], [1, 0, 1], [2, 0, 1]])
    added = generator.standard_normal((2, chunks, 70)).astype(dtype)
    arrays = (turn, added, complex_normal(generator, 3, 35), np.zeros((3, chunks, 70), dtype))
    turn, added, z, before = (on_device(a) for a in arrays)
    case = (turn, added, row_of, z, before)
    tolerance = 1e-12 if dtype == np.float64 else 1e-6
    check_kernel_twins(_gpu_application.carry, on_the_cpu(_cpu_application.carry), [case], rtol=tolerance)


def test_a_nan_is_never_lost():
    w, x = nodes((2, 5), (2, 5))
    u = np.ones((2, 300))
    u[1, 100] = np.nan
    y, z = application.scan(*(on_device(a) for a in (x, w, w, u)), None, True)
    y, z = to_numpy(y), to_numpy(z)
    assert np.isfinite(y[0]).all()
    assert np.isfinite(y[1, :100]).all()
    assert np.isnan(y[1, 100:]).all()
    assert np.isnan(z[1]).all()


@pytest.mark.parametrize("name", ["scan", "chunked", "fft"])
def test_what_is_recommended_runs(name, monkeypatch):
    monkeypatch.setattr(_gpu_application, "recommended", lambda *counts: (name, "asked for"))
    w, x = nodes((2, 5), (2, 5))
    u = np.random.default_rng(0).standard_normal((2, 300))
    arrays = tuple(on_device(a) for a in (x, w, w, u))
    assert application.chosen(*arrays).algorithm is getattr(application, name)
    close(application.fastest(*arrays)[0], application.scan(x, w, w, u)[0], 1e-11)


@pytest.mark.parametrize("single", [False, True])
def test_a_system_on_the_device_equals_the_cpus(single):
    """From the poles to the response, all arrays on the device."""
    host = ssm.s4d(N=64, H=4, init="lin", dt_min=1e-3, dt_max=1e-1, stream=0)
    kinds = (np.complex64, np.float32) if single else (np.complex128, np.float64)
    parts = [a.astype(kinds[0]) for a in (host.A, host.B, host.C)]
    dt = np.asarray(host.dt).astype(kinds[1])
    u = np.random.default_rng(0).standard_normal((4, 2000)).astype(kinds[1])
    expected = ssm.DiagonalSSM(*parts, dt)
    moved = ssm.DiagonalSSM(*(on_device(a) for a in (*parts, dt)))
    tolerance = 1e-5 if single else 1e-11
    close(moved.kernel(2000), expected.kernel(2000), tolerance)
    y, state = moved.apply(on_device(u), return_state=True)
    assert backend.is_cupy(y, state)
    wanted = expected.apply(u, return_state=True)
    close(y, wanted[0], tolerance)
    close(to_numpy(state).astype(np.complex128), wanted[1].astype(np.complex128), tolerance)
    assert "by count" in moved.choose(on_device(u)).reason
