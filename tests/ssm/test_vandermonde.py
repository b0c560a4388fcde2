"""Vandermonde products against sums in 40 digits and plain NumPy; laws; gradients; the chooser; bad input."""

import os
import subprocess
import sys

import array_api_strict
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtheory import backend
from lrtheory.ssm import _cpu_products
from lrtheory.ssm.vandermonde import chirp_z, choose, fastest, gemm, naive, recurrence, two_term, vandermonde_vjp

INTERPRETED = os.environ.get("NUMBA_DISABLE_JIT") == "1"
GENERAL = (gemm, recurrence, fastest)
EPS = np.finfo(np.float64).eps

seeds = st.integers(0, 2**31 - 1)


def nodes(channels, modes, dt, seed=0, top=None):
    """Weights and nodes of decaying oscillations: S4D-Lin, or frequencies up to `top`."""
    generator = np.random.default_rng(seed)
    frequencies = np.pi * np.arange(modes) if top is None else generator.uniform(0, top, (channels, modes))
    x = np.broadcast_to(dt, channels)[:, None] * (-0.5 + 1j * frequencies)
    w = generator.standard_normal((channels, modes)) + 1j * generator.standard_normal((channels, modes))
    return w, x


def plain(w, x, steps):
    """The definition, as NumPy evaluates it."""
    return (w[..., None] * np.exp(x[..., None] * steps)).sum(-2).real


def exact(w, x, steps):
    """The definition in 40 digits, for the numbers that w and x ``(M,)`` hold."""
    with mpmath.workdps(40):
        pairs = [(mpmath.mpc(complex(c)), mpmath.mpc(complex(z))) for c, z in zip(w, x, strict=True)]
        return np.array([float(mpmath.fsum((c * mpmath.exp(int(s) * z)).real for c, z in pairs)) for s in steps])


def probes(length, count=60, seed=0):
    inside = np.random.default_rng(seed).integers(0, length, count)
    return np.unique(np.concatenate([np.arange(min(length, 70)), inside, [length - 1]]))


CASES = {
    "S4D-Lin": (16384, nodes(1, 32, 1e-3)),
    "nothing decays in time": (1 << 20, nodes(1, 32, 2e-5)),
    "fast oscillations": (1 << 20, nodes(1, 32, 2e-5, top=1300.0)),
    "aliased": (5000, nodes(1, 32, 1e-2, top=1e5)),
    "many turns": (1 << 20, nodes(1, 8, 1e-5, top=1e8)),
    "more turns than a float64 step can count": (1 << 20, nodes(1, 8, 1e-5, top=1e19)),
    "growing": (4000, (lambda w, x: (w, x + 0.1))(*nodes(1, 8, 1e-2))),
}


@pytest.mark.skipif(INTERPRETED, reason="takes hours interpreted")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("algorithm", [gemm, recurrence])
def test_40_digits(algorithm, name):
    length, (w, x) = CASES[name]
    found = algorithm(w, x, length, tolerance=0.0)
    steps = probes(length)
    gap = np.abs(found[0, steps] - exact(w[0], x[0], steps)).max()
    assert gap <= 2e-14 * np.abs(found).max()
    assert found.dtype == np.float64


def test_exponentials_in_40_digits():
    """To two units of rounding, for steps up to 26 bits and results over the whole range of numbers."""
    x = np.array([0.1 + 1j, -1e-7 + 1e7j, -0.02 - 3j, 1e-6 + 1e-9j, 3e-5 - 1e3j, -1e-9 + 2.5j])
    split = np.zeros((1, 6, len(x)))
    _cpu_products.split_nodes(x[None], split)
    re, im = np.empty(len(x)), np.empty(len(x))
    for step in (0, 1, 63, 64, 1024, 6144, 6912, (1 << 26) - 64):
        usable = np.abs(step * x.real) < 690
        _cpu_products.exponentials(split[0], float(step), -1000.0, re, im)
        with mpmath.workdps(40):
            exact = [mpmath.exp(step * mpmath.mpc(complex(z))) for z in x[usable]]
            off = [abs(mpmath.mpc(a, b) / e - 1) for a, b, e in zip(re[usable], im[usable], exact, strict=True)]
        assert max(off) <= 2 * EPS


@pytest.mark.skipif(INTERPRETED, reason="takes minutes interpreted")
def test_two_term_in_40_digits():
    """Away from Im x = 0; a double root of the recurrence amplifies rounding by up to 64^2 / 2."""
    w, x = nodes(1, 16, 1e-2, top=None)
    for shift, tolerance in ((1e-1, 2e-14), (0.0, 64**2 / 2 * 4 * EPS)):
        found = two_term(w, x + 1j * shift, 20000)
        steps = probes(20000)
        assert np.abs(found[0, steps] - exact(w[0], x[0] + 1j * shift, steps)).max() <= tolerance * np.abs(found).max()


@pytest.mark.skipif(INTERPRETED, reason="takes minutes interpreted")
@pytest.mark.parametrize("algorithm", [gemm, recurrence, two_term, chirp_z, naive])
def test_single_precision(algorithm):
    """The result is that of the float32 inputs, rounded: phases have float64 inside."""
    w, x = (a.astype(np.complex64) for a in nodes(1, 32, 1e-3))
    if algorithm is chirp_z:  # rounding to float32 makes the progression uneven
        x = (x[:, :1].real + 1j * np.arange(32) * np.float32(2**-8)).astype(np.complex64)
    found = algorithm(w, x, 16384)
    steps = probes(16384)
    assert found.dtype == np.float32
    assert np.abs(found[0, steps] - exact(w[0], x[0], steps)).max() <= 3e-7 * np.abs(found).max()


@given(seeds, st.integers(1, 9), st.integers(1, 700), st.floats(1e-4, 2.0))
def test_algorithms_agree(seed, modes, length, dt):
    """With the definition as NumPy evaluates it, whose phases are rounded: error l |Im x| eps."""
    if INTERPRETED:
        length = min(length, 70)
    w, x = nodes(2, modes, dt, seed, top=10 / dt)
    expected = plain(w, x, np.arange(length))
    size = np.abs(w).sum(axis=1, keepdims=True)
    rounding = size * (1e-14 + EPS * (np.arange(length) * np.abs(x).max() * np.exp(-dt / 2 * np.arange(length))))
    for algorithm in (*GENERAL, naive):
        assert (np.abs(algorithm(w, x, length) - expected) <= rounding).all(), algorithm


@given(seeds, st.integers(1, 40), st.integers(1, 2000), st.floats(1e-4, 0.5))
def test_chirp_z_agrees(seed, modes, length, dt):
    w, x = nodes(2, modes, dt, seed)
    if INTERPRETED:
        length, (w, x) = min(length, 40), (w[:, :3], x[:, :3])
    x = x + 1j * np.array([[0.0], [0.3]])
    expected = gemm(w, x, length)
    # an x that is only a progression to rounding turns by l eps |Im x| in l steps
    steps = np.arange(length)
    rounding = 1e-13 + 4 * EPS * (steps * np.abs(x).max() * np.exp(-dt / 2 * steps)).max()
    assert np.abs(chirp_z(w, x, length) - expected).max() <= rounding * np.abs(w).sum(axis=1).max()


@pytest.mark.skipif(INTERPRETED, reason="needs the compiler")
def test_kernels_are_compiled_for_two_precisions_only():
    """Compiling takes seconds: strides, real and read-only arrays are no kinds of their own."""
    w, x = nodes(3, 4, 0.05)
    g = np.ones((3, 70))
    for kind in (np.complex128, np.complex64):
        frozen = [a.astype(kind) for a in (w, x)]
        for a in frozen:
            a.flags.writeable = False
        for given_w, given_x in (frozen, (w.astype(kind)[:, ::-1], x[:, ::-1]), (w[0].real.astype(kind), x.real)):
            for algorithm in (gemm, recurrence, two_term):
                algorithm(given_w, given_x, 70)
            vandermonde_vjp(given_w, given_x, g.astype(np.float32))
            vandermonde_vjp(given_w, given_x, np.broadcast_to(1.0, (3, 70)))
    for kernel in (_cpu_products.gemm_units, _cpu_products.recurrence_units):
        assert len(kernel.signatures) <= 2
    assert len(_cpu_products.moment_units.signatures) <= 1


def test_chirp_z_refuses_other_nodes():
    w, x = nodes(1, 8, 0.01)
    for other in (x + 1e-9j * np.arange(8) ** 2, x - 1e-9 * np.arange(8)):
        with pytest.raises(ValueError, match="geometric progression"):
            chirp_z(w, other, 100)


@pytest.mark.parametrize("algorithm", [*GENERAL, naive, two_term])
@pytest.mark.parametrize(
    ("w_shape", "x_shape"),
    [
        ((5, 4), (1, 4)),
        ((5, 4), (4,)),
        ((4,), (5, 4)),
        ((2, 3, 4), (2, 1, 4)),
        ((2, 3, 4), (3, 4)),
        ((1, 3, 4), (2, 1, 4)),
    ],
)
def test_channels_broadcast(algorithm, w_shape, x_shape):
    """A channel's bits do not depend on how it was reached."""
    generator = np.random.default_rng(3)
    w = generator.standard_normal(w_shape) + 1j * generator.standard_normal(w_shape)
    x = -generator.uniform(0.01, 0.1, x_shape) + 1j * generator.uniform(0, 3, x_shape)
    length = 66 if INTERPRETED else 1300
    found = algorithm(w, x, length)
    full = np.broadcast_shapes(w_shape, x_shape)
    w, x = np.broadcast_to(w, full), np.broadcast_to(x, full)
    assert found.shape == (*full[:-1], length)
    for index in np.ndindex(full[:-1]):
        alone = algorithm(w[index], x[index], length)
        assert np.allclose(found[index], plain(w[index], x[index], np.arange(length)), atol=1e-12)
        if algorithm not in (fastest, naive):
            assert np.array_equal(found[index], alone)


@pytest.mark.skipif(INTERPRETED, reason="threads are for compiled code")
@pytest.mark.parametrize("algorithm", [gemm, recurrence, two_term])
@pytest.mark.parametrize(("channels", "length"), [(1, 200_000), (70, 1100), (3, 70_000)])
def test_any_number_of_threads_gives_the_same_bits(algorithm, channels, length):
    w, x = nodes(channels, 6, 1e-4)
    g = np.random.default_rng(0).standard_normal((channels, length))

    def call():
        return [algorithm(w, x, length), *vandermonde_vjp(w, x, g)]

    one = call()
    try:
        for threads in (2, 5):
            backend.set_threads(threads)
            for found, expected in zip(call(), one, strict=True):
                assert np.array_equal(found, expected)
    finally:
        backend.set_threads(1)


@pytest.mark.parametrize("algorithm", [gemm, recurrence, two_term])
def test_a_shorter_kernel_is_a_prefix(algorithm):
    w, x = nodes(2, 5, [1e-3, 1e-2])
    longest = 130 if INTERPRETED else 5000
    whole = algorithm(w, x, longest)
    for length in (1, 2, 63, 64, 65, 127, longest - 1):
        assert np.array_equal(algorithm(w, x, length), whole[:, :length])


@pytest.mark.skipif(INTERPRETED, reason="takes minutes interpreted")
@pytest.mark.parametrize("algorithm", [gemm, recurrence, two_term, chirp_z])
def test_the_tail_is_cut_below_the_tolerance(algorithm):
    w, x = nodes(2, 4, [1e-2, 1e-3])
    for tolerance in (1e-20, 1e-6):
        ends = [int(-np.log(tolerance) / (0.5 * dt)) // 64 * 64 + 64 for dt in (1e-2, 1e-3)]
        assert choose(w, x, 200_000, tolerance=tolerance).samples == max(ends)
        found = algorithm(w, x, 200_000, tolerance=tolerance)
        whole = algorithm(w, x, 200_000, tolerance=0.0)
        for h, end in enumerate(ends if algorithm is not chirp_z else [max(ends)] * 2):
            assert not found[h, end:].any()
            assert np.abs(found[h, :end] - whole[h, :end]).max() <= 1e-13 * np.abs(whole[h]).max()
            assert np.abs(whole[h, end:]).max() <= tolerance * np.abs(w[h]).sum() * 1.01
        assert np.abs(whole[:, ends[1] :]).any()


@pytest.mark.skipif(INTERPRETED, reason="takes minutes interpreted")
@pytest.mark.parametrize("dtype", [np.complex128, np.complex64])
@pytest.mark.parametrize("algorithm", [gemm, recurrence])
def test_nothing_subnormal(algorithm, dtype):
    """S4D-Real to its end: modes that decay at rates from 1 to 64. Subnormal numbers would take 100 times as long."""
    x = (-0.01 * np.arange(1, 65) + 0j)[None].astype(dtype)
    w = np.ones((1, 64), dtype)
    found = np.abs(algorithm(w, x, 200_000, tolerance=0.0))
    assert not ((found > 0) & (found < np.finfo(found.dtype).tiny)).any()
    assert found[0, 0] == pytest.approx(64)


@pytest.mark.skipif(INTERPRETED, reason="takes minutes interpreted")
@pytest.mark.parametrize("dtype", [np.complex128, np.complex64])
@pytest.mark.parametrize("algorithm", [gemm, recurrence])
def test_nothing_subnormal_where_no_slower_mode_hides_it(algorithm, dtype):
    """One mode each: at these rates a kernel passes the subnormal numbers at different places of a panel.

    A recurrence meets them, for some twenty samples, where a mode decays by 2^-76 within the 64 steps of a block.
    """
    rates = np.geomspace(0.02, 5 if algorithm is gemm else 0.8, 40)
    found = np.abs(algorithm(np.ones((40, 1), dtype), (-rates + 0j)[:, None].astype(dtype), 40_000, tolerance=0.0))
    assert not ((found > 0) & (found < np.finfo(found.dtype).tiny)).any()
    assert (found[:, 0] == 1).all()


@pytest.mark.parametrize("algorithm", [*GENERAL, naive, two_term])
def test_the_weights_precision_is_the_results(algorithm):
    """Logarithms of nodes may be kept in double precision beside weights in single precision."""
    w, x = nodes(1, 4, 0.05)
    wide, narrow = algorithm(w, x.astype(np.complex64), 70), algorithm(w.astype(np.complex64), x, 70)
    assert (wide.dtype, narrow.dtype) == (np.float64, np.float32)
    assert np.abs(narrow - algorithm(w, x, 70)).max() <= 1e-6 * np.abs(narrow).max()


def test_overflow_is_an_error():
    w, x = np.ones((2, 1), complex), np.array([[-1.0], [0.08]]) + 0j
    for algorithm in (*GENERAL, naive, two_term, chirp_z, choose):
        with pytest.raises(OverflowError, match="L max Re x"):
            algorithm(w, x, 10_000)
        with pytest.raises(OverflowError, match="88"):
            algorithm(w.astype(np.complex64), x.astype(np.complex64), 1200)
    found = gemm(w, x, 1200)[1]
    assert found == pytest.approx(np.exp(0.08 * np.arange(1200)), rel=1e-12)


@pytest.mark.parametrize("algorithm", [*GENERAL, naive, two_term, chirp_z])
def test_odd_inputs(algorithm):
    w, x = nodes(3, 4, 0.05)
    expected = algorithm(w, x, 70)
    assert algorithm(w, x, 1) == pytest.approx(w.sum(1, keepdims=True).real)
    empty = algorithm(w[:0], x[:0], 70)
    assert empty.shape == (0, 70)
    assert empty.dtype == np.float64
    strided = [np.repeat(np.asfortranarray(a), 2, axis=1)[:, ::2] for a in (w, x)]
    frozen = [a.copy() for a in (w, x)]
    for a in frozen:
        a.flags.writeable = False
    for given_w, given_x in (strided, frozen):
        assert np.array_equal(algorithm(given_w, given_x, 70), expected)
    real = algorithm(w.real.copy(), x.real.copy(), 70)
    assert np.allclose(real, (w.real[..., None] * np.exp(x.real[..., None] * np.arange(70))).sum(1), atol=1e-13)
    for zero in (-1e4, -1e305) if algorithm is not chirp_z else ():  # how a node at 0 is written
        gone = np.concatenate([x, np.full((3, 1), zero)], axis=1)
        found = algorithm(np.concatenate([w, np.ones((3, 1))], axis=1), gone, 70)
        assert np.allclose(found, expected + (np.arange(70) == 0), atol=1e-12)


@pytest.mark.parametrize("algorithm", [*GENERAL, naive, two_term, chirp_z])
def test_array_api(algorithm):
    w, x = nodes(2, 5, [0.01, 0.1])
    expected = algorithm(w, x, 300)
    found = algorithm(*(array_api_strict.asarray(a) for a in (w, x)), 300)
    assert found.dtype == array_api_strict.float64
    assert np.abs(np.asarray(found) - expected).max() <= 1e-12 * np.abs(expected).max()
    single = (
        algorithm(*(array_api_strict.asarray(a.astype(np.complex64)) for a in (w, x)), 300)
        if (algorithm is not chirp_z)
        else None
    )
    if single is not None:
        assert single.dtype == array_api_strict.float32
        assert np.abs(np.asarray(single) - expected).max() <= 2e-5 * np.abs(expected).max()  # x is rounded, 300 steps


def dense_gradient(w, x, g):
    """Derivatives of sum g K with respect to real and imaginary parts, from the definition."""
    steps = np.arange(g.shape[-1])
    e = np.exp(x[..., None] * steps)
    g = g[..., None, :]
    by_w = (g * e).sum(-1)
    by_x = (g * steps * w[..., None] * e).sum(-1)
    return by_w.conj(), by_x.conj()


@given(seeds, st.integers(1, 9), st.integers(1, 3000), st.floats(1e-3, 0.5))
def test_gradient_is_that_of_the_definition(seed, modes, length, dt):
    if INTERPRETED:
        length = min(length, 20)
    w, x = nodes(3, modes, dt * np.array([1.0, 0.7, 0.4]), seed)
    g = np.random.default_rng(seed).standard_normal((3, length))
    for found, expected in zip(vandermonde_vjp(w, x, g), dense_gradient(w, x, g), strict=True):
        assert np.abs(found - expected).max() <= 1e-11 * np.abs(expected).max() + 1e-12


@pytest.mark.skipif(INTERPRETED, reason="takes minutes interpreted")
def test_gradient_of_long_kernels():
    """Longer than the units that they are cut into."""
    w, x = nodes(2, 3, np.array([1e-5, 3e-5]))
    g = np.random.default_rng(0).standard_normal((2, 150_001))
    for found, expected in zip(vandermonde_vjp(w, x, g), dense_gradient(w, x, g), strict=True):
        assert np.abs(found - expected).max() <= 1e-12 * np.abs(expected).max()


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")  # beyond the kernel, interpreted
@pytest.mark.parametrize("length", [1, 5, 27, 65] if INTERPRETED else [1, 5, 27, 64, 65, 200, 1000, 1100])
def test_gradient_of_growing_modes(length):
    """Up to the end of the range: what lies beyond the kernel must not overflow into it."""
    w, _ = nodes(1, 3, 0.05)
    g = np.random.default_rng(0).standard_normal((1, length))
    for growth in (1.0, 30.0, 600.0):
        x = np.array([[growth / length + 1j, 0.5 * growth / length, -0.2 + 0.5j]])
        for found, expected in zip(vandermonde_vjp(w, x, g), dense_gradient(w, x, g), strict=True):
            # the phase of the definition is rounded
            assert np.all(np.abs(found - expected) <= 1e-12 * np.abs(expected) + 1e-12)


def test_gradient_is_that_of_finite_differences():
    w, x = nodes(1, 3, 0.05)
    g = np.random.default_rng(0).standard_normal((1, 100))
    grads = vandermonde_vjp(w, x, g)
    h = 1e-5
    for which, grad in enumerate(grads):
        for n in range(3):
            for direction in (1.0, 1j):
                values = []
                for sign in (1, -1):
                    moved = [w.copy(), x.copy()]
                    moved[which][0, n] += sign * h * direction
                    values.append((g * gemm(*moved, 100)).sum())
                difference = (values[0] - values[1]) / (2 * h)
                assert (np.conj(grad[0, n]) * direction).real == pytest.approx(difference, rel=1e-6, abs=1e-6)


def test_gradient_of_broadcast_and_real_inputs():
    generator = np.random.default_rng(1)
    w, x = nodes(6, 4, 0.05)
    w = w.reshape(2, 3, 4)
    x = x[:2].reshape(2, 1, 4)
    g = generator.standard_normal((2, 3, 90))
    by_w, by_x = dense_gradient(w, x, g)
    for namespace in (np, array_api_strict):
        found = vandermonde_vjp(*(namespace.asarray(a) for a in (w, x, g)))
        assert np.allclose(np.asarray(found[0]), by_w, rtol=1e-11)
        assert np.allclose(np.asarray(found[1]), by_x.sum(axis=1, keepdims=True), rtol=1e-11)
    shared = vandermonde_vjp(w[0], x[0, 0], g[0])[1]
    assert np.allclose(shared, by_x[0].sum(axis=0), rtol=1e-11)
    real = vandermonde_vjp(w.real.copy(), x.real.copy(), g)
    expected = dense_gradient(w.real, x.real, g)
    assert [a.dtype for a in real] == [np.float64, np.float64]
    assert np.allclose(real[0], expected[0].real, rtol=1e-11)
    assert np.allclose(real[1], expected[1].real.sum(axis=1, keepdims=True), rtol=1e-11)
    single = vandermonde_vjp(w.astype(np.complex64), x.astype(np.complex64), g.astype(np.float32))
    assert [a.dtype for a in single] == [np.complex64, np.complex64]
    assert np.allclose(single[0], by_w, atol=1e-4 * np.abs(by_w).max())
    none = vandermonde_vjp(w[:0], x[:0], g[:0])
    assert [a.shape for a in none] == [(0, 3, 4), (0, 1, 4)]


def test_the_chooser_reports():
    w, x = nodes(3, 4, 0.5)
    short = choose(w, x, 100)
    assert short.algorithm is recurrence
    assert short.samples == 100
    assert short.aliased == np.count_nonzero(0.5 * np.pi * np.arange(4) > np.pi) * 3
    assert "samples" in short.reason
    assert choose(w, x, 10**6).samples == 192  # 46 / 0.25, in rows of 64
    slow = nodes(3, 4, 1e-3)
    assert choose(*slow, 10_000).algorithm is gemm
    assert choose(*slow, 10_000).aliased == 0
    assert choose(w, x[:1], 200).algorithm is gemm  # three channels share tables
    many = nodes(1, 2048, 1e-7)
    assert choose(*many, 1 << 16).algorithm is chirp_z
    assert choose(many[0], many[1] + 1e-4j * np.arange(2048) ** 2, 1 << 16).algorithm is gemm


BAD = [
    ({"w": [1.0]}, TypeError, "w must be an array, got list"),
    ({"x": np.array([1, 2])}, TypeError, "x must be a floating-point array"),
    ({"w": np.array(1.0 + 0j)}, ValueError, "w must have an axis of modes"),
    ({"w": np.array([np.nan, 1.0])}, ValueError, "w must be finite"),
    ({"x": np.array([-np.inf, -1.0]) + 0j}, ValueError, "x must be finite"),
    ({"w": np.ones((2, 3))}, ValueError, "same number of modes"),
    ({"w": np.ones((2, 0)), "x": np.ones((2, 0))}, ValueError, "at least 1"),
    ({"w": np.ones((2, 2)), "x": -np.ones((3, 2))}, ValueError, "must broadcast"),
    ({"length": 0}, ValueError, "length must be an integer >= 1, got 0"),
    ({"length": 2.0}, ValueError, "length"),
    ({"length": True}, ValueError, "length"),
    ({"tolerance": 1.0}, ValueError, "tolerance"),
    ({"tolerance": -1e-3}, ValueError, "tolerance"),
    ({"tolerance": np.nan}, ValueError, "tolerance"),
]


@pytest.mark.parametrize(("change", "kind", "words"), BAD)
@pytest.mark.parametrize("algorithm", [*GENERAL, naive, two_term, chirp_z, choose])
def test_bad_input(algorithm, change, kind, words):
    arguments = {"w": np.ones(2), "x": -np.ones(2), "length": 5, "tolerance": 0.0} | change
    with pytest.raises(kind, match=words):
        algorithm(arguments["w"], arguments["x"], arguments["length"], tolerance=arguments["tolerance"])


@pytest.mark.parametrize(
    ("g", "kind"),
    [
        (np.ones(4) + 0j, TypeError),
        ([1.0], TypeError),
        (np.array(1.0), ValueError),
        (np.array([np.inf, 1.0]), ValueError),
        (np.ones((3, 4)), ValueError),
    ],
)
def test_bad_cotangent(g, kind):
    with pytest.raises(kind, match="cotangent"):
        vandermonde_vjp(np.ones((2, 2)), -np.ones((2, 2)), g)


@pytest.mark.skipif(INTERPRETED, reason="it is the child")
def test_without_the_compiler():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", __file__],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
