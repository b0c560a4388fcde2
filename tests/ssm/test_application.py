"""Applying diagonal systems: every algorithm against the definition, and states that are carried on."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtheory import backend
from lrtheory.ssm import DiagonalSSM, _cpu_application, application
from lrtheory.testing.strategies import diagonal_systems, seeds
from tests.ssm import plain_systems

INTERPRETED = os.environ.get("NUMBA_DISABLE_JIT") == "1"
ALGORITHMS = [
    application.scan,
    application.chunked,
    partial(application.chunked, chunk=5),
    application.fft,
    application.associative,
    application.fastest,
]
NAMES = ["scan", "chunked", "chunks of 5", "fft", "associative", "fastest"]
each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS, ids=NAMES)
systems = diagonal_systems(feed_through=True)
lengths = st.integers(1, 40 if INTERPRETED else 300)


def signals(system, length, seed, batch=()):
    """An input for every channel and a state to start from."""
    generator = np.random.default_rng(seed)
    u = generator.standard_normal((*batch, *system.channels, length))
    x = generator.standard_normal((*batch, *system.channels, system.modes, 2)) @ np.array([1, 1j])
    return u, x


def scale_of(system, u, x=None):
    """Bounds of responses and of states, for the tolerances."""
    poles, gains, c = plain_systems.nodes(system)
    memory = np.minimum(1 / (1 - np.abs(poles)), u.shape[-1])
    states = np.max(np.abs(gains) * memory, initial=0.0) * np.max(np.abs(u), initial=1.0)
    states += 0.0 if x is None else np.max(np.abs(x), initial=0.0)
    feed = 0.0 if system.D is None else np.max(np.abs(system.D), initial=0.0) * np.max(np.abs(u), initial=0.0)
    return states * np.max(np.sum(np.abs(c), axis=-1), initial=0.0) + feed, states


def close(got, expected, scale, tolerance=1e-12):
    assert got.shape == expected.shape
    assert np.max(np.abs(got - expected), initial=0.0) <= tolerance * scale


@each_algorithm
@given(system=systems, length=lengths, seed=seeds())
def test_response_and_state_are_those_of_the_definition(algorithm, system, length, seed):
    u, x = signals(system, length, seed)
    for start in (None, x):
        kept = u.copy()
        y, state = system.apply(u, start, algorithm, return_state=True)
        assert np.array_equal(u, kept)
        expected, last = plain_systems.run(system, u, start)
        sizes = scale_of(system, u, start)
        close(y, expected, sizes[0])
        close(state, last, sizes[1])
        close(system.forward_state(u, start), last, sizes[1])
        assert np.array_equal(system.apply(u, start, algorithm), y)


@each_algorithm
@given(system=diagonal_systems(channels=False), length=lengths, seed=seeds())
def test_response_is_the_convolution_with_the_kernel(algorithm, system, length, seed):
    u, _ = signals(system, length, seed)
    size = scale_of(system, u)[0]
    close(system.apply(u, algorithm=algorithm), np.convolve(plain_systems.kernel(system, length), u)[:length], size)
    impulse = np.eye(length)[0]
    close(system.apply(impulse, algorithm=algorithm), plain_systems.kernel(system, length), plain_systems.size(system))


@each_algorithm
@given(system=systems, length=lengths, seed=seeds(), cut=st.floats(0, 1))
def test_the_future_does_not_matter(algorithm, system, length, seed, cut):
    u, x = signals(system, length, seed)
    first = int(cut * length)
    other = u.copy()
    other[..., first:] = signals(system, length, seed + 1)[0][..., first:]
    y, z = (system.apply(v, x, algorithm)[..., :first] for v in (u, other))
    if algorithm is application.scan:
        assert np.array_equal(y, z)
    close(y, z, scale_of(system, u, x)[0] + scale_of(system, other, x)[0])


@each_algorithm
@given(system=systems, length=st.integers(2, 300), seed=seeds(), cut=st.floats(0, 1))
def test_a_signal_in_two_parts(algorithm, system, length, seed, cut):
    u, x = signals(system, length, seed)
    first = min(max(1, int(cut * length)), length - 1)
    head, state = system.apply(u[..., :first], x, algorithm, return_state=True)
    tail, last = system.apply(u[..., first:], state, algorithm, return_state=True)
    expected, end = system.apply(u, x, algorithm, return_state=True)
    sizes = scale_of(system, u, x)
    close(np.concatenate([head, tail], axis=-1), expected, sizes[0])
    close(last, end, sizes[1])


@given(system=systems, length=st.integers(1, 30), seed=seeds())
def test_steps_are_the_recurrence(system, length, seed):
    u, _ = signals(system, length, seed)
    expected, last = plain_systems.run(system, u)
    state, y = None, []
    for k in range(length):
        now, state = system.step(u[..., k], state)
        y.append(now)
    sizes = scale_of(system, u)
    close(np.stack(y, axis=-1), expected, sizes[0])
    close(state, last, sizes[1])


@each_algorithm
@pytest.mark.parametrize("shape", [(), (4,), (2, 1), (5, 2, 4), (5, 1, 1)])
def test_inputs_broadcast_against_channels(algorithm, shape):
    generator = np.random.default_rng(0)
    a = -0.2 + 1j * generator.uniform(0, 2, (2, 1, 3))  # two groups of four channels
    c = generator.standard_normal((2, 4, 3)) + 0j
    system = DiagonalSSM(a, np.ones((2, 1, 3)), c, np.full((2, 4), 0.3))
    u = generator.standard_normal((*shape, 21))
    for start in (None, generator.standard_normal((1, 4, 3)), np.ones((6, 1, 1, 1, 3)) * 1j):
        batch = np.broadcast_shapes(shape, (2, 4), () if start is None else start.shape[:-1])
        y, state = system.apply(u, start, algorithm, return_state=True)
        whole = np.broadcast_to(u, (*batch, 21))
        expected, last = plain_systems.run(system, whole, 0 if start is None else start)
        close(y, expected, 50)
        close(state, last, 50)
        close(system.forward_state(u, start), last, 50)
    one, after = system.step(u[..., 0])
    close(one, plain_systems.run(system, np.broadcast_to(u, (*np.broadcast_shapes(shape, (2, 4)), 21)))[0][..., 0], 50)
    assert after.shape == (*one.shape, 3)


@each_algorithm
def test_long_memories_against_more_digits(algorithm):
    """Errors do not grow with the number of samples: 20,000 of them, memories of 20,000 steps, 64-bit mantissas."""
    length = 2000 if INTERPRETED else 20000
    generator = np.random.default_rng(0)
    x = -5e-5 + 1j * np.array([0.0, 3e-4, 6e-3, 0.09, 3.0])
    b, c = 1e-4 * np.ones(5, complex), generator.standard_normal(5) + 1j * generator.standard_normal(5)
    u = generator.standard_normal(length)
    poles, now = np.exp(x.astype(np.clongdouble)), np.zeros(5, np.clongdouble)
    expected = np.empty(length, np.longdouble)
    for k in range(length):
        now = poles * now + b * np.longdouble(u[k])
        expected[k] = np.sum(np.real(c * now))
    y, last = algorithm(x, b, c, u, None, True)
    assert np.max(np.abs(y - expected)) <= 2e-13 * np.max(np.abs(expected))
    assert np.max(np.abs(last - now)) <= 2e-13 * np.max(np.abs(now))


@each_algorithm
def test_single_precision(algorithm):
    generator = np.random.default_rng(0)
    a = (-0.5 + 1j * np.pi * np.arange(16)).astype(np.complex64)
    c = (generator.standard_normal((2, 16)) + 1j * generator.standard_normal((2, 16))).astype(np.complex64)
    system = DiagonalSSM(a, np.ones_like(a), c, np.array([1e-3, 1e-2], np.float32))
    wide = replace(system, A=a.astype(complex), B=np.ones(16), C=c.astype(complex), dt=system.dt.astype(float))
    u = generator.standard_normal((2, 400 if INTERPRETED else 5000)).astype(np.float32)
    expected, last = wide.apply(u, return_state=True)
    assert expected.dtype == np.float64  # the wider of system and input
    assert system.apply(u.astype(float), algorithm=algorithm).dtype == np.float64
    y, state = system.apply(u, algorithm=algorithm, return_state=True)
    assert y.dtype == np.float32
    assert np.max(np.abs(y - expected)) <= 5e-6 * np.max(np.abs(expected))
    assert np.max(np.abs(state - last)) <= 5e-6 * np.max(np.abs(last))


@each_algorithm
def test_other_array_libraries(algorithm):
    generator = np.random.default_rng(0)
    system = DiagonalSSM(-0.3 + 1j * np.arange(4), np.ones(4), generator.standard_normal((2, 4)) + 1j, 0.1, 0.5)
    u, x = signals(system, 37, 0, batch=(3,))
    xp = array_api_strict
    strict = replace(system, A=xp.asarray(system.A), B=xp.asarray(system.B), C=xp.asarray(system.C))
    for start in (None, x):
        expected, last = plain_systems.run(system, u, start)
        given = None if start is None else xp.asarray(start)
        y, state = strict.apply(xp.asarray(u), given, algorithm, return_state=True)
        np.testing.assert_allclose(np.asarray(y), expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(np.asarray(state), last, rtol=0, atol=1e-12)
        np.testing.assert_allclose(np.asarray(strict.forward_state(xp.asarray(u), given)), last, rtol=0, atol=1e-12)
    y, state = strict.step(0.5)
    np.testing.assert_allclose(np.asarray(y), system.step(0.5)[0], rtol=1e-13)


# kernels


def arguments(rows, systems, modes, length, seed=0, dtype=np.float64):
    generator = np.random.default_rng(seed)
    shape = (systems, modes)
    x = -generator.uniform(1e-4, 0.3, shape) + 1j * generator.uniform(-3, 3, shape)
    b, c = (generator.standard_normal((*shape, 2)) @ np.array([1, 1j]) for _ in range(2))
    u = generator.standard_normal((rows, systems, length)).astype(dtype)
    state = generator.standard_normal((rows, systems, modes, 2)) @ np.array([1, 1j])
    return x, b, c, u, state


@pytest.mark.parametrize("modes", [1, 7, 8, 33, 130])
@pytest.mark.parametrize("length", [1, 7, 8, 65, 530])
def test_compiled_scan_is_the_plain_one(modes, length):
    if INTERPRETED and modes * length > 600:
        pytest.skip("too slow without the compiler")
    x, b, c, u, state = arguments(2, 3, modes, length)
    for start in (None, state):
        y, last = application.scan(x, b, c, u, start, True)
        expected, end = application._plain_scan(x, b, c, u, start, True)
        close(y, expected, np.max(np.abs(expected)))
        close(last, end, np.max(np.abs(end)))


@pytest.mark.skipif(INTERPRETED, reason="needs the compiler")
def test_kernels_are_compiled_for_two_kinds_of_signals_only():
    """Compiling takes seconds: systems of other precisions, strides and read-only arrays are no kinds of their own."""
    for dtype in (np.float64, np.float32):
        x, b, c, u, state = arguments(2, 1, 3, 20, dtype=dtype)
        frozen = [a.copy() for a in (x, b, c, u, state)]
        for a in frozen:
            a.flags.writeable = False
        for system in (
            frozen,
            (x, b.astype(np.complex64), c.astype(np.complex64), u, state.astype(np.complex64)),
            (x[:, ::-1], b[0], c[:, ::-1], u[..., ::-1], state),
        ):
            expected = application._plain_scan(*system, True)
            for algorithm in (application.scan, application.chunked):
                found = algorithm(*system, True)
                for got, want in zip(found, expected, strict=True):
                    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 if dtype == np.float32 else 1e-12)
    assert len(_cpu_application.scan_rows.signatures) <= 2
    assert len(_cpu_application.carry_rows.signatures) <= 2


@pytest.mark.skipif(INTERPRETED, reason="needs the compiler")
def test_threads_do_not_change_a_bit():
    given = arguments(3, 5, 9, 200)
    before = backend.threads()
    try:
        results = []
        for n in (1, 3):
            backend.set_threads(n)
            results.append([f(*given, True) for f in (application.scan, application.chunked)])
    finally:
        backend.set_threads(before)
    for one, three in zip(*results, strict=True):
        assert np.array_equal(one[0], three[0])
        assert np.array_equal(one[1], three[1])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # which NumPy's scalars give without the compiler
def test_scan_lets_nan_and_infinity_through():
    x, b, c, u, _ = arguments(1, 1, 9, 40)
    for value in (np.nan, np.inf):
        u[..., 17] = value
        y, state = application.scan(x, b, c, u, None, True)
        assert np.all(np.isfinite(y[..., :16]))
        assert not np.any(np.isfinite(y[..., 17:]))
        assert not np.any(np.isfinite(state))


@pytest.mark.parametrize("algorithm", [application.scan, application.chunked])
@pytest.mark.parametrize("length", [3000] if INTERPRETED else [14400, 60000])  # exp(-0.05 * 14400) is subnormal
def test_states_that_die_away_become_zero(algorithm, length):
    """Numbers below the smallest normal one slow every operation down a hundredfold."""
    x = np.array([-0.5 + 0.3j, -0.05 + 1j])
    u = np.eye(1, length)[0]
    one = np.ones(2, complex)
    _, state = algorithm(x, one, one, u, None, True)
    parts = np.concatenate([state.real, state.imag])
    assert np.all((parts == 0) | (np.abs(parts) > np.finfo(float).tiny))
    assert state[0] == 0


@pytest.mark.skipif(INTERPRETED, reason="is the run without the compiler")
def test_kernels_without_the_compiler():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-qxp", "no:cacheprovider", __file__, "-k", "scan or chunk"],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# the chooser, and bad input


def test_chooser_reports():
    choice = application.choose(16384, 32)
    assert choice.algorithm is application.scan
    assert set(choice.seconds) == {"scan", "chunked", "fft"}
    assert min(choice.seconds, key=choice.seconds.get) == "scan"
    assert "16384" in choice.reason
    for length, modes, rows, systems in [(1, 1, 1, 1), (10**6, 4, 1, 1), (4096, 512, 256, 1), (0, 1, 0, 0)]:
        found = application.choose(length, modes, rows, systems)
        assert found.seconds[found.algorithm.__name__] == min(found.seconds.values())
    assert application.choose(4096, 512, 256, 1).algorithm is application.fft  # one kernel serves 256 signals
    assert application.choose(65536, 32, 64, 1, single=True).algorithm is application.chunked
    slow, quick = (application.choose(65536, 512, memory=m).seconds["fft"] for m in (np.inf, 100))
    assert quick < slow
    system = system_of_three()
    assert system.choose(np.ones(40)).reason.startswith("3 signals of 40 samples, 3 systems of 2 modes: scan")
    x, b, c, u, _ = arguments(2, 3, 8, 40)
    assert application.chosen(x, b, c, u).reason.startswith("6 signals of 40 samples, 3 systems of 8 modes: scan")
    u = np.ones(10_000)
    quick, slow = (application.chosen(rate + 1j * np.ones(8), b, c, u).seconds["fft"] for rate in (-1.0, -1e-6))
    assert quick < slow  # a kernel that ends early costs less


@pytest.mark.skipif(INTERPRETED, reason="would time nothing")
def test_benchmark_rows():
    """Its candidates are compared with each other before they are timed."""
    from benchmarks.ssm_application import application_rows, step_row

    found = [*application_rows(64, 3, 1, np.float64, 1), *application_rows(64, 3, 2, np.float32, 1), step_row(3, 1, 1)]
    assert [row.name.split(",")[1].split()[0] for row in found if "FFT" in row.peer] == 2 * [
        "scan",
        "chunked",
        "fft",
        "associative",
    ]
    assert all(row.ours_s > 0 and row.peer_s > 0 for row in found)
    assert sum("(chosen)" in row.name for row in found) == 3


def system_of_three():
    return DiagonalSSM(-np.ones(2) + 1j, np.ones(2), np.ones((3, 2)), 0.1)


@pytest.mark.parametrize(
    ("u", "x0", "error", "message"),
    [
        ([1.0, 2.0], None, TypeError, "u must be an array, got list"),
        (np.ones(4) * 1j, None, TypeError, "u must be real: give Re u and Im u"),
        (np.ones(4, bool), None, TypeError, "u must be of single or double precision, got dtype bool"),
        (np.ones(4, np.float16), None, TypeError, "got dtype float16"),
        (np.ones((3, 0)), None, ValueError, r"u must have shape \(..., L\) with L >= 1, got \(3, 0\)"),
        (np.array(1.0), None, ValueError, r"with L >= 1, got \(\)"),
        (np.array([1.0, np.nan]), None, ValueError, "u must be finite"),
        (np.ones((2, 4)), None, ValueError, r"must broadcast, got u \(2, 4\), channels \(3,\)"),
        (np.ones(4), np.ones(3), ValueError, r"x0 must have shape \(..., 2\), a number for each mode, got \(3,\)"),
        (np.ones(4), np.ones((2, 2)), ValueError, r"must broadcast, got .* x0 \(2, 2\)"),
        (np.ones(4), np.array([1.0, np.inf]), ValueError, "x0 must be finite"),
        (np.ones(4), [1.0, 1.0], TypeError, "x0 must be an array"),
    ],
)
def test_inputs_that_are_refused(u, x0, error, message):
    for call in (system_of_three().apply, system_of_three().forward_state):
        with pytest.raises(error, match=message):
            call(u, x0)


def test_steps_that_are_refused():
    system = system_of_three()
    with pytest.raises(TypeError, match="u must be a real number or an array"):
        system.step(1j)
    with pytest.raises(TypeError, match="u must be real"):
        system.step(np.ones(3) * 1j)
    with pytest.raises(ValueError, match="chunk must be at least 1"):
        application.chunked(*arguments(1, 1, 2, 5), chunk=0)


@each_algorithm
def test_inputs_of_other_kinds(algorithm):
    system = system_of_three()
    whole = np.arange(12).reshape(3, 4)
    expected = plain_systems.run(system, whole.astype(float))[0]
    close(system.apply(whole, algorithm=algorithm), expected, 20)
    frozen = whole.astype(float)
    frozen.flags.writeable = False
    close(system.apply(frozen, algorithm=algorithm), expected, 20)
    turned = np.asfortranarray(np.repeat(whole.astype(float), 2, axis=1))[:, ::2]
    close(system.apply(turned, algorithm=algorithm), expected, 20)
