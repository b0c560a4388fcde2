"""Diagonal systems: laws of kernels, responses against SciPy and more digits, conversions, and what is refused."""

import warnings
from dataclasses import replace

import array_api_strict
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg, signal

from lrtheory.ssm import AliasingWarning, DiagonalSSM, apply_bidirectional, bidirectional_kernel, s4d, vandermonde
from lrtheory.testing.strategies import diagonal_systems, seeds
from tests.ssm import plain_systems

KERNELS = [vandermonde.naive, vandermonde.gemm, vandermonde.recurrence, vandermonde.fastest]
each_kernel = pytest.mark.parametrize("algorithm", KERNELS, ids=lambda f: f.__name__)
systems = diagonal_systems()
lengths = st.integers(1, 150)


def close(got, expected, scale, tolerance=1e-13):
    assert got.shape == expected.shape
    assert np.max(np.abs(got - expected), initial=0.0) <= tolerance * scale


def lone(**changes):
    """A system of one channel with three modes."""
    given = {
        "A": np.array([-0.5 + 1j, -0.3 + 4j, -2.0 + 0j]),
        "B": np.array([1.0 + 0.5j, -0.4j, 0.7]),
        "C": np.array([0.3 - 1j, 1.0 + 1j, -0.6 + 0.2j]),
        "dt": 0.1,
    }
    return DiagonalSSM(**(given | changes))


# kernels (spec of the laws: linearity, symmetries, scaling, prefix, sums, bound)


@each_kernel
@given(system=systems, length=lengths)
def test_kernel_is_the_sum_of_powers(algorithm, system, length):
    expected = plain_systems.kernel(system, length)
    close(system.kernel(length, algorithm), expected, plain_systems.size(system), 1e-12)


@each_kernel
@given(system=systems, length=lengths, seed=seeds())
def test_kernel_is_linear_in_both_weights(algorithm, system, length, seed):
    generator = np.random.default_rng(seed)
    p, q = generator.standard_normal(2)
    for name in ("B", "C"):
        value = getattr(system, name)
        other = replace(system, **{name: np.roll(value, 1, axis=-1) * generator.standard_normal()})
        mixed = replace(system, **{name: p * value + q * getattr(other, name)})
        scale = (1 + abs(p) + abs(q)) * (plain_systems.size(system) + plain_systems.size(other))
        expected = p * system.kernel(length, algorithm) + q * other.kernel(length, algorithm)
        close(mixed.kernel(length, algorithm), expected, scale)


@each_kernel
@given(system=systems, length=lengths, seed=seeds())
def test_kernel_does_not_know_the_order_of_modes(algorithm, system, length, seed):
    order = np.random.default_rng(seed).permutation(system.modes)
    shuffled = replace(system, A=system.A[..., order], B=system.B[..., order], C=system.C[..., order])
    scale = plain_systems.size(system)
    close(shuffled.kernel(length, algorithm), system.kernel(length, algorithm), scale)


@each_kernel
@given(system=systems, length=lengths, s=st.complex_numbers(min_magnitude=0.1, max_magnitude=10))
def test_conjugation_and_scaling_leave_the_kernel(algorithm, system, length, s):
    scale = plain_systems.size(system)
    expected = system.kernel(length, algorithm)
    conjugate = replace(system, A=np.conj(system.A), B=np.conj(system.B), C=np.conj(system.C))
    close(conjugate.kernel(length, algorithm), expected, scale)
    close(replace(system, B=s * system.B, C=system.C / s).kernel(length, algorithm), expected, scale)


@each_kernel
@given(system=systems, length=lengths, r=st.floats(0.01, 100))
def test_another_unit_of_time_scales_the_kernel(algorithm, system, length, r):
    slower = replace(system, A=system.A / r, dt=system.dt * r)
    expected = r * system.kernel(length, algorithm)
    close(slower.kernel(length, algorithm), expected, r * plain_systems.size(system), 1e-12)


@each_kernel
@given(system=systems, length=lengths, more=st.integers(0, 300))
def test_kernel_is_a_prefix_of_a_longer_one(algorithm, system, length, more):
    longer = system.kernel(length + more, algorithm)
    close(system.kernel(length, algorithm), longer[..., :length], plain_systems.size(system), 1e-14)


@given(system=diagonal_systems(rules=("zoh", "impulse")), length=lengths)
def test_decimation_squares_the_poles(system, length):
    coarse = replace(system, dt=2 * system.dt)
    np.testing.assert_allclose(coarse.discretize()[0], system.discretize()[0] ** 2, rtol=1e-13)
    if system.discretization == "impulse":
        expected = 2 * system.kernel(2 * length)[..., ::2]
        close(coarse.kernel(length), expected, plain_systems.size(coarse))


@each_kernel
@given(system=systems, length=lengths)
def test_kernel_stays_under_its_envelope(algorithm, system, length):
    w, x = system.log_nodes()
    steps = np.arange(length)
    envelope = np.sum(np.abs(w)[..., None] * np.exp(np.real(x)[..., None] * steps), axis=-2)
    kernel = system.kernel(length, algorithm)
    assert np.all(np.abs(kernel) <= np.broadcast_to(envelope, kernel.shape) * (1 + 1e-12) + 1e-19)


@each_kernel
@given(system=diagonal_systems(feed_through=True), length=lengths)
def test_dc_gains(algorithm, system, length):
    poles, gains, c = plain_systems.nodes(system)
    scale = np.max(np.sum(np.abs(c * gains / (1 - poles)), axis=-1), initial=0.0) + np.max(np.abs(system.D))
    rest = np.sum(np.real(c * gains * poles**length / (1 - poles)), axis=-1)
    total = np.sum(system.kernel(length, algorithm), axis=-1) + rest + system.D
    close(system.dc_gain(discrete=True), total, scale, 1e-12)
    if system.discretization != "impulse":  # all other rules keep the gain
        close(system.dc_gain(), total, scale, 1e-12)
    a, b = system.A, system.B
    expected = np.broadcast_to(np.sum(np.real(-c * b / a), axis=-1) + system.D, system.channels)
    close(system.dc_gain(), expected, scale * (1 + np.max(np.abs(expected))), 1e-12)


# more digits


@pytest.mark.parametrize("rule", ["zoh", "impulse", "bilinear", "backward euler", 0.25])
def test_kernel_and_responses_against_forty_digits(rule):
    """With a step at which exp(dt a) - 1 and log abar would lose five digits in plain arithmetic."""
    system = lone(dt=1e-5, discretization=rule, D=0.25, allow_unstable=rule == 0.25)
    with mpmath.workdps(40):
        a, b, c = ([mpmath.mpc(z) for z in v] for v in (system.A, system.B, system.C))
        dt = mpmath.mpf(system.dt)
        if rule in ("zoh", "impulse"):
            poles = [mpmath.exp(dt * z) for z in a]
            gains = [y * (p - 1) / z if rule == "zoh" else y * dt for z, y, p in zip(a, b, poles, strict=True)]
        else:
            q = mpmath.mpf({"bilinear": 0.5, "backward euler": 1.0}.get(rule, rule))
            poles = [(1 + (1 - q) * dt * z) / (1 - q * dt * z) for z in a]
            gains = [dt * y / (1 - q * dt * z) for z, y in zip(a, b, strict=True)]
        modes = list(zip(c, gains, poles, strict=True))
        at = [0, 1, 7, 1000, 99999]
        expected = [float(2 * sum((z * g * p**l).real for z, g, p in modes)) for l in at]  # noqa: E741
        size = float(2 * sum(abs(z * g) for z, g, _ in modes))
        dc = float(2 * sum((z * g / (1 - p)).real for z, g, p in modes)) + 0.25
        w = mpmath.mpf(3)
        turn = mpmath.exp(-1j * w * dt)
        discrete = complex(
            sum(z * g / (1 - p * turn) + mpmath.conj(z * g) / (1 - mpmath.conj(p) * turn) for z, g, p in modes)
        )
        both = [(z * y, p) for z, y, p in zip(c, b, a, strict=True)]
        continuous = complex(sum(z / (1j * w - p) + mpmath.conj(z) / (1j * w - mpmath.conj(p)) for z, p in both))
        t = mpmath.mpf(1.7)
        impulse = float(2 * sum((z * mpmath.exp(t * p)).real for z, p in both))
    for algorithm in KERNELS:
        close(system.kernel(100000, algorithm)[at], np.array(expected), size, 2e-14)
    np.testing.assert_allclose(system.dc_gain(discrete=True), dc, rtol=1e-13)
    np.testing.assert_allclose(system.freqresp(np.array([3.0]), discrete=True), discrete + 0.25, rtol=1e-13)
    np.testing.assert_allclose(system.freqresp(3.0), continuous + 0.25, rtol=1e-14)
    np.testing.assert_allclose(system.impulse_response(np.array([1.7])), impulse, rtol=1e-13)


@pytest.mark.parametrize("rule", ["zoh", "bilinear"])
def test_single_precision(rule):
    """Kernels of float32 systems within 5e-6 of float64 ones, though their phases reach 3000 radians."""
    generator = np.random.default_rng(1)
    a = (-0.5 + 1j * np.pi * np.arange(32)).astype(np.complex64)
    c = (generator.standard_normal((4, 32)) + 1j * generator.standard_normal((4, 32))).astype(np.complex64)
    dt = np.array([1e-3, 3e-3, 1e-2, 1e-2], np.float32)
    system = DiagonalSSM(a, np.ones_like(a), c, dt, discretization=rule)
    wide = DiagonalSSM(a.astype(complex), np.ones(32), c.astype(complex), dt.astype(float), discretization=rule)
    expected = wide.kernel(4096)
    assert expected.dtype == np.float64
    for algorithm in KERNELS:
        got = system.kernel(4096, algorithm)
        assert got.dtype == np.float32
        assert np.all(np.abs(got - expected) <= 5e-6 * np.max(np.abs(expected), axis=-1, keepdims=True))
    w = np.linspace(0, 100, 7)
    for name, arguments in (("freqresp", (w,)), ("impulse_response", (w,)), ("dc_gain", ()), ("to_dense", ())):
        got, expected = getattr(system, name)(*arguments), getattr(wide, name)(*arguments)
        for g, e in zip(got, expected, strict=True):
            assert g.dtype in (np.float32, np.complex64)
            assert np.max(np.abs(g - e)) <= 1e-6 * np.max(np.abs(e), initial=0.0)


# other libraries


@pytest.mark.parametrize("pairs", [True, False])
def test_dense_form_in_scipy(pairs):
    system = lone(conjugate_pairs=pairs, D=0.4)
    generator = np.random.default_rng(0)
    u = generator.standard_normal(60)
    y = system.apply(u)
    discrete = signal.StateSpace(*system.to_dense(discrete=True), dt=system.dt)
    np.testing.assert_allclose(signal.dlsim(discrete, u)[1][:, 0], y, rtol=0, atol=1e-12)
    continuous = system.to_dense()
    assert continuous[0].shape == (6, 6)
    t = system.dt * np.arange(61)
    held = signal.lsim(continuous, np.append(u, 0.0), t, interp=False)[1][1:]  # the state after u_k was held
    np.testing.assert_allclose(held - continuous[3][0, 0] * np.append(u[1:], 0.0) + 0.4 * u, y, rtol=0, atol=1e-12)
    w = np.array([0.0, 0.3, 4.0, 50.0])
    np.testing.assert_allclose(system.freqresp(w), signal.freqresp(signal.StateSpace(*continuous), w)[1], rtol=1e-12)
    np.testing.assert_allclose(system.dc_gain(), system.freqresp(0.0)[0].real, rtol=1e-13)
    expected = [continuous[2] @ linalg.expm(s * continuous[0]) @ continuous[1] for s in t[:9]]
    np.testing.assert_allclose(system.impulse_response(t[:9]), np.ravel(expected), rtol=1e-12)
    if pairs:
        found = np.linalg.eigvals(continuous[0])
        assert np.max(np.min(np.abs(system.poles[:, None] - found), axis=1)) < 1e-7  # the real pole counts twice


def test_dense_form_of_real_poles_and_of_channels():
    system = DiagonalSSM(-np.arange(1.0, 5.0), np.ones(4), np.ones((3, 4)), np.array([0.1, 0.2, 0.3]), D=np.arange(3.0))
    real = replace(system, conjugate_pairs=False)
    a, b, c, d = real.to_dense()
    assert (a.shape, b.shape, c.shape, d.shape) == ((3, 4, 4), (3, 4, 1), (3, 1, 4), (3, 1, 1))
    assert real.state_size == 4
    assert system.state_size == 8
    assert np.array_equal(real.poles, -np.arange(1.0, 5.0))
    u = np.random.default_rng(0).standard_normal((3, 40))
    discrete = real.to_dense(discrete=True)
    for i, got in enumerate(real.apply(u)):
        plain = signal.dlsim((*(matrix[i] for matrix in discrete), real.dt[i]), u[i])[1][:, 0]
        np.testing.assert_allclose(got, plain, rtol=0, atol=1e-13)
    np.testing.assert_allclose(system.kernel(20), 2 * real.kernel(20), rtol=1e-14)


@given(system=diagonal_systems(feed_through=True), seed=seeds())
def test_discrete_frequency_response_is_the_transform_of_the_kernel(system, seed):
    w = np.random.default_rng(seed).uniform(-3, 3, 4) / np.max(system.dt)
    length = 2000
    steps = np.arange(length) * np.broadcast_to(system.dt, system.channels)[..., None, None]
    expected = np.sum(system.kernel(length)[..., None, :] * np.exp(-1j * w[:, None] * steps), axis=-1)
    expected = expected + np.broadcast_to(system.D, system.channels)[..., None]
    poles, gains, c = plain_systems.nodes(system)
    scale = np.sum(np.abs(c * gains) / (1 - np.abs(poles)), axis=-1)
    rest = np.sum(np.abs(c * gains) * np.abs(poles) ** length / (1 - np.abs(poles)), axis=-1)
    error = np.abs(system.freqresp(w, discrete=True) - expected)
    assert np.all(error <= (1e-12 * scale + rest)[..., None])


def test_basis_is_what_the_readout_combines():
    system = lone()
    t = np.linspace(0, 3, 7)
    basis = system.basis(t)
    assert basis.shape == (3, 7)
    np.testing.assert_allclose(basis[1], system.B[1] * np.exp(t * system.A[1]), rtol=1e-14)
    np.testing.assert_allclose(system.impulse_response(t), 2 * np.real(system.C @ basis), rtol=1e-13)
    grouped = replace(system, C=np.ones((5, 3)), dt=np.full(5, 0.1))
    assert grouped.impulse_response(t).shape == (5, 7)
    assert grouped.freqresp(t).shape == (5, 7)


# rates, aliases, both directions


def test_sampling_rate():
    system = lone()
    np.testing.assert_array_equal(system.kernel(30, rate=2.5), replace(system, dt=0.25).kernel(30))
    np.testing.assert_array_equal(system.at_rate(0.5).kernel(9), replace(system, dt=0.05).kernel(9))
    for rate in (0, -1.0, float("nan"), float("inf"), "2", True):
        with pytest.raises((ValueError, TypeError), match="rate must be"):
            system.at_rate(rate)


def test_aliases_are_counted_and_removed():
    system = lone(A=np.array([-0.5 + 20j, -0.5 - 40j, -0.5 + 3j]))  # Nyquist's frequency is 10 pi
    assert system.aliased.tolist() == [False, True, False]
    limited = system.bandlimit()
    assert limited.C.tolist() == [system.C[0], 0, system.C[2]]
    assert not limited.aliased.any()
    assert system.bandlimit(0.5).C.tolist() == [0, 0, system.C[2]]
    at_nyquist = lone(A=np.full(3, -0.5 + 1j * np.pi), dt=1.0)
    assert not at_nyquist.bandlimit().C.any()  # the limit itself is out
    assert not at_nyquist.aliased.any()
    with pytest.warns(AliasingWarning, match=r"at 2 times the step, 1 of 3 modes"):
        system.kernel(4, rate=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        limited.at_rate(0.5)
        system.bandlimit(0.5).at_rate(2)
        replace(system, discretization="bilinear").at_rate(2)  # which bends frequencies instead
    assert not replace(system, discretization="bilinear").aliased.any()
    with pytest.raises(ValueError, match="fraction must be positive"):
        system.bandlimit(0)


@given(forward=diagonal_systems(channels=False), seed=seeds(), length=st.integers(1, 40))
def test_both_directions(forward, seed, length):
    backward = replace(forward, C=np.roll(forward.C, 1) * 1.5)
    u = np.random.default_rng(seed).standard_normal((2, length))
    ahead, behind = plain_systems.kernel(forward, length), plain_systems.kernel(backward, length)
    matrix = np.array([[ahead[k - j] if k >= j else behind[j - k - 1] for j in range(length)] for k in range(length)])
    scale = plain_systems.size(forward, length) + plain_systems.size(backward, length)
    close(apply_bidirectional(forward, backward, u), u @ matrix.T, 10 * scale)
    both = bidirectional_kernel(forward, backward, length)
    close(both, np.concatenate([ahead, behind[::-1]]), scale)
    circular = np.fft.irfft(np.fft.rfft(both) * np.fft.rfft(u, 2 * length), 2 * length)[:, :length]
    close(circular, u @ matrix.T, 10 * scale)


def test_other_array_libraries():
    system = lone(C=np.array([[0.3 - 1j, 1.0 + 1j, 0.2], [1j, 2.0, 1.0]]), dt=np.array([0.1, 0.2]), D=np.ones(2))
    xp = array_api_strict
    strict = DiagonalSSM(
        *(xp.asarray(v) for v in (system.A, system.B, system.C, system.dt, system.D)), discretization="zoh"
    )
    grid = np.linspace(0.0, 2.0, 5)
    calls = [
        ("kernel", (30,), {}),
        ("kernel", (30, vandermonde.naive), {"rate": 0.5}),
        ("basis", (grid,), {}),
        ("impulse_response", (grid,), {}),
        ("freqresp", (grid,), {}),
        ("freqresp", (grid,), {"discrete": True}),
        ("dc_gain", (), {}),
        ("dc_gain", (), {"discrete": True}),
    ]
    for name, arguments, options in calls:
        given = [xp.asarray(v) if isinstance(v, np.ndarray) else v for v in arguments]
        got = getattr(strict, name)(*given, **options)
        np.testing.assert_allclose(
            np.asarray(got), getattr(system, name)(*arguments, **options), rtol=1e-12, err_msg=name
        )
    for got, expected in zip(strict.to_dense(discrete=True), system.to_dense(discrete=True), strict=True):
        np.testing.assert_allclose(np.asarray(got), expected, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(np.asarray(strict.poles), system.poles)
    assert np.asarray(strict.bandlimit(0.1).aliased).tolist() == system.bandlimit(0.1).aliased.tolist()


# corners and bad input


def test_corners():
    empty = DiagonalSSM(np.full((0, 2), -1.0 + 0j), np.ones((0, 2)), np.ones((0, 2)), 0.1)
    assert empty.kernel(5).shape == (0, 5)
    assert empty.apply(np.ones((0, 7))).shape == (0, 7)
    whole = DiagonalSSM(np.array([-1, -2]), np.array([1, 1]), np.array([1, 2]), 0.1, conjugate_pairs=False)
    assert whole.kernel(3).dtype == np.float64
    np.testing.assert_allclose(whole.kernel(1), [1 - np.exp(-0.1) + (1 - np.exp(-0.2))], rtol=1e-14)
    a = np.asfortranarray(np.full((3, 4), -1.0 + 2j))[::2, ::-1]
    a.flags.writeable = False
    strided = DiagonalSSM(a, np.ones(4), np.ones(4), 0.1)
    close(strided.kernel(9), plain_systems.kernel(strided, 9), 8.0)
    integrator = DiagonalSSM(np.array([0.0]), np.ones(1), np.ones(1), 0.5, conjugate_pairs=False, allow_unstable=True)
    np.testing.assert_array_equal(integrator.apply(np.ones(5)), 0.5 * np.arange(1, 6))
    with pytest.raises(ValueError, match="no DC gain"):
        integrator.dc_gain()
    deadbeat = DiagonalSSM(
        np.array([-2.0]), np.ones(1), np.ones(1), 1.0, discretization="bilinear", conjugate_pairs=False
    )
    np.testing.assert_array_equal(deadbeat.kernel(4), [0.5, 0, 0, 0])  # a pole at 0
    np.testing.assert_array_equal(deadbeat.apply(np.arange(20.0)), 0.5 * np.arange(20.0))
    wide = lone(D=np.arange(4.0))
    assert wide.kernel(6).shape == (4, 6)  # D has channels that nothing else has
    assert wide.apply(np.ones(6)).shape == (4, 6)


def test_growth_that_overflows_is_refused():
    single = np.array([0.5 + 1j], np.complex64)
    with pytest.raises(OverflowError, match=r"grows by exp\(100\) over 200 samples; .*float32.* holds exp\(88\)"):
        DiagonalSSM(single, single, single, 1.0, allow_unstable=True).kernel(200)
    wide = DiagonalSSM(single.astype(complex), np.ones(1), np.ones(1), 1.0, allow_unstable=True)
    close(wide.kernel(200), plain_systems.kernel(wide, 200), np.exp(100.0), 1e-12)
    with pytest.raises(OverflowError, match=r"exp\(1000\)"):
        wide.apply(np.ones(2000))


ONES = np.ones(3)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"A": [-1.0]}, TypeError, "A must be an array, got list"),
        ({"B": np.array(["a"])}, TypeError, "B must be of single or double precision"),
        ({"B": np.array(1.0)}, ValueError, r"B must have shape \(..., M\) with M >= 1, got \(\)"),
        ({"C": np.ones((3, 0))}, ValueError, r"C must have shape .*, got \(3, 0\)"),
        ({"C": np.array([1.0, np.nan, 0.0])}, ValueError, "C must be finite"),
        ({"A": np.array([-1.0, -np.inf, -1.0])}, ValueError, "A must be finite"),
        ({"C": np.ones(4)}, ValueError, r"one number of modes, got shapes A \(3,\), B \(3,\), C \(4,\)"),
        ({"C": np.ones((2, 3)), "dt": ONES}, ValueError, r"must broadcast, got A \(3,\), .* C \(2, 3\), dt \(3,\)"),
        ({"dt": 0.0}, ValueError, "dt must be positive"),
        ({"dt": np.array([1.0, -1.0])}, ValueError, "dt must be positive"),
        ({"dt": float("nan")}, ValueError, "dt must be positive"),
        ({"dt": "1"}, TypeError, "dt must be a real number or an array"),
        ({"dt": True}, TypeError, "dt must be a real number or an array"),
        ({"dt": np.array([1j])}, TypeError, "dt must be real"),
        ({"D": 1j}, TypeError, "D must be a real number or an array"),
        ({"D": np.array([np.inf])}, ValueError, "D must be finite"),
        ({"discretization": "zho"}, ValueError, "did you mean zoh"),
        ({"discretization": 1.5}, ValueError, r"number in \[0, 1\]"),
        ({"conjugate_pairs": 1}, TypeError, "conjugate_pairs must be True or False"),
        ({"A": np.array([-1.0, 0.0, 0.5])}, ValueError, "must be negative, got up to 0.5; allow_unstable=True"),
        ({"A": np.array([-30.0, -1, -1]), "discretization": "forward euler"}, ValueError, "needs a smaller dt"),
        ({"A": 20 * ONES, "discretization": "bilinear", "allow_unstable": True}, ValueError, "dt a must not be 2"),
    ],
)
def test_systems_that_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        lone(**changes).kernel(3)


def test_requests_that_are_refused():
    system = lone()
    for length in (0, -1, 2.0, True, None):
        with pytest.raises(ValueError, match="length must be an integer >= 1"):
            system.kernel(length)
    with pytest.raises(ValueError, match="t must not be negative"):
        system.impulse_response(np.array([1.0, -1.0]))
    with pytest.raises(TypeError, match="w must be real"):
        system.freqresp(np.array([1j]))
    with pytest.raises(ValueError, match="w must be finite"):
        system.freqresp(np.inf)


def test_initialisations_apply():
    system = s4d(16, 3, init="lin", dt=1e-2, D="random")
    u = np.random.default_rng(0).standard_normal((3, 200))
    expected, last = plain_systems.run(system, u)
    y, state = system.apply(u, return_state=True)
    close(y, expected, np.max(np.abs(expected)))
    close(state, last, np.max(np.abs(last)))
