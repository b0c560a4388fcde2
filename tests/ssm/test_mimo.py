"""Systems with many inputs and outputs (S5, LRU) and their scans against loops, dense systems and closed forms."""

import array_api_strict
import mpmath
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from lrtheory.random import Stream
from lrtheory.ssm import DiagonalSSM, MIMODiagonalSSM, associative_scan, hippo_legs, lru, s5, sequential_scan
from lrtheory.ssm.initialization import input_normalization
from lrtheory.testing.strategies import seeds

SCANS = [sequential_scan, associative_scan]


def random_system(seed, M, inputs, outputs, **options):
    s = Stream(seed)
    g = s.normal((2, M))
    B, C = s.child("B").normal((2, M, inputs)), s.child("C").normal((2, outputs, M))
    return MIMODiagonalSSM(-np.exp(g[0]) + 3j * g[1], B[0] + 1j * B[1], C[0] + 1j * C[1], **options)


def outputs_by_a_loop(system, u):
    """Exponentials, integrals and one step after another, per mode, in plain NumPy."""
    dt = np.broadcast_to(system.dt, system.A.shape)
    if system.discretization == "zoh":
        turn = np.exp(dt * system.A)
        gain = (turn - 1) / system.A
    elif system.discretization == "bilinear":
        turn, gain = (1 + dt * system.A / 2) / (1 - dt * system.A / 2), dt / (1 - dt * system.A / 2)
    else:
        turn, gain = np.exp(dt * system.A), dt
    x = np.zeros(len(system.A), complex)
    y = []
    for now in u:
        x = turn * x + gain * (system.B @ now)
        y.append(
            (2 if system.conjugate_pairs else 1) * (system.C @ x).real + (0 if system.D is None else system.D * now)
        )
    return np.array(y), x


@given(seeds(), st.integers(1, 4), st.integers(1, 40), st.sampled_from([(), (2,), (2, 3)]), st.booleans())
def test_scans_agree(seed, M, length, lead, with_state):
    """Both scans with a loop over time; poles shared between sequences or not."""
    g = Stream(seed).normal((2, M))
    for own in (False, True):
        x = -0.1 * np.exp(g[0]) + 1j * g[1]
        if own:
            x = x * np.linspace(1, 2, int(np.prod(lead))).reshape(*lead, 1)
        h = Stream(seed).child("v").normal((2, *lead, length, M))
        v = h[0] + 1j * h[1]
        state = v[..., 0, :] * 2 if with_state else None
        s, expected = (0 if state is None else state), []
        for k in range(length):
            s = np.exp(x) * s + v[..., k, :]
            expected.append(s)
        before = v.copy()
        for scan in SCANS:
            np.testing.assert_allclose(scan(x, v, state), np.stack(expected, axis=-2), rtol=0, atol=1e-12)
        np.testing.assert_array_equal(v, before)  # inputs are left alone


@given(
    seeds(),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from(SCANS),
    st.sampled_from(["zoh", "bilinear", "impulse"]),
)
def test_outputs_against_a_loop(seed, inputs, outputs, scan, rule):
    dt = Stream(seed).child("dt").draw(lambda generator: generator.uniform(0.05, 0.5, size=4))
    D = np.ones(inputs) * 0.3 if inputs == outputs else None
    system = random_system(seed, 4, inputs, outputs, dt=dt, D=D, discretization=rule, conjugate_pairs=seed % 2 == 0)
    u = Stream(seed).child("u").normal((17, inputs))
    expected, last = outputs_by_a_loop(system, u)
    y, state = system.apply(u, scan, return_state=True)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12 * (1 + np.abs(expected).max()))
    np.testing.assert_allclose(state, last, rtol=0, atol=1e-12 * (1 + np.abs(last).max()))


@given(seeds(), st.integers(1, 12), st.sampled_from(SCANS))
def test_a_sequence_in_parts(seed, cut, scan):
    system = random_system(seed, 3, 2, 2, dt=0.2)
    u = Stream(seed).child("u").normal((2, 13, 2))
    y, state = system.apply(u[:, :cut], scan, return_state=True)
    rest = system.apply(u[:, cut:], scan, state=state)
    np.testing.assert_allclose(np.concatenate([y, rest], axis=1), system.apply(u), rtol=0, atol=1e-12)


@given(seeds(), st.integers(1, 3), st.integers(1, 3))
def test_kernel_is_the_response_to_impulses(seed, inputs, outputs):
    system = random_system(seed, 4, inputs, outputs, dt=0.3)
    kernel = system.kernel(15)
    for i in range(inputs):
        u = np.zeros((15, inputs))
        u[0, i] = 1
        np.testing.assert_allclose(system.apply(u), kernel[:, :, i], rtol=0, atol=1e-13 * (1 + np.abs(kernel).max()))


@given(seeds(), st.booleans())
def test_one_input_and_output_is_a_diagonal_system(seed, pairs):
    system = random_system(seed, 5, 1, 1, dt=0.2, conjugate_pairs=pairs)
    single = DiagonalSSM(system.A, system.B[:, 0], system.C[0], 0.2, conjugate_pairs=pairs)
    np.testing.assert_allclose(system.kernel(30)[:, 0, 0], single.kernel(30), rtol=0, atol=1e-13)


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_s5_is_the_normal_part_of_legs(blocks):
    """In the real basis: blocks of A + P P^T, real B0 and C0, by SciPy's exponential."""
    N, H, dt = 12, 5, 0.2
    system = s5(N, H, blocks=blocks, dt=dt, stream=3)
    A, _, P = hippo_legs(N // blocks)
    normal = A + np.outer(P, P)
    w, V = np.linalg.eigh(-1j * (normal + np.eye(len(A)) / 2))
    V = V[:, w > 0][:, ::-1]
    V = V * np.exp(1j * np.angle(V.conj().T @ P))  # the phase in which V^* P is positive
    V = scipy.linalg.block_diag(*[V] * blocks)
    B0, C0 = 2 * (V @ system.B).real, 2 * (system.C @ V.conj().T).real
    drawn = Stream(3).child("B").normal((N, H)) / np.sqrt(H), Stream(3).child("C").normal((H, N)) / np.sqrt(N)
    np.testing.assert_allclose(B0, drawn[0], atol=1e-12)
    np.testing.assert_allclose(C0, drawn[1], atol=1e-12)
    dense = scipy.linalg.block_diag(*[normal] * blocks)
    power = scipy.linalg.expm(dt * dense)
    gain = np.linalg.solve(dense, (power - np.eye(N)) @ B0)
    expected = np.array([C0 @ np.linalg.matrix_power(power, k) @ gain for k in range(9)])
    np.testing.assert_allclose(system.kernel(9), expected, atol=1e-12)


def test_s5_draws_with_the_stated_variances():
    """Means over 64 x 48 squares of normal numbers: five standard errors."""
    N, H = 64, 48
    system = s5(N, H, stream=8)
    spread = 5 * np.sqrt(2 / (N * H))
    assert abs(2 * np.sum(np.abs(system.B) ** 2) / N - 1) < spread  # the sum of squares of B0 is twice that of B
    assert abs(2 * np.sum(np.abs(system.C) ** 2) / H - 1) < spread
    assert system.dt.shape == (N // 2,)
    assert (system.dt >= 1e-3).all()
    assert (system.dt <= 1e-1).all()
    np.testing.assert_array_equal(s5(N, H, stream=8).B, system.B)
    assert not np.array_equal(s5(N, H, stream=9).B, system.B)


def test_lru_lies_on_its_ring_with_unit_variance():
    M, H, ring = 400, 30, (0.5, 0.99, 1.0)
    system = lru(M, H, ring=ring, stream=2)
    x, b = system.log_discretize()
    size = np.exp(x.real)
    assert (size >= 0.5).all()
    assert (size <= 0.99).all()
    assert (x.imag >= 0).all()
    assert (x.imag <= 1.0).all()
    # uniform on the ring: |abar|^2 is uniform on [r_min^2, r_max^2]; Kolmogorov-Smirnov at the 0.1 % level
    sample = np.sort((size**2 - 0.25) / (0.99**2 - 0.25))
    assert np.max(np.abs(sample - (np.arange(M) + 0.5) / M)) < 1.95 / np.sqrt(M)
    # white noise: the variance of a state is sum_l |abar|^2l sum_h |bbar_h|^2, mean 1 over draws of B
    variances = np.sum(np.abs(b) ** 2, axis=1) / (1 - size**2)
    assert abs(np.mean(variances) - 1) < 5 / np.sqrt(M * H)
    assert abs(np.sum(np.abs(system.C) ** 2) / H - 2) < 10 / np.sqrt(M * H)
    assert not system.conjugate_pairs


@given(st.floats(1e-12, 5.0))
def test_input_normalization_in_forty_digits(decay):
    with mpmath.workdps(40):
        expected = float(mpmath.sqrt(1 - mpmath.exp(-2 * mpmath.mpf(decay))))
    assert input_normalization(np.array([-decay + 1j]))[0] == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("scan", SCANS)
def test_libraries_and_precisions(scan):
    system = random_system(1, 3, 2, 2, dt=np.array([0.1, 0.2, 0.3]), D=np.ones(2))
    u = Stream(1).normal((7, 2))
    y = system.apply(u, scan)
    arrays = {name: array_api_strict.asarray(getattr(system, name)) for name in ("A", "B", "C", "dt", "D")}
    strict = MIMODiagonalSSM(**arrays)
    state = array_api_strict.zeros(3, dtype=array_api_strict.complex128)
    found = strict.apply(array_api_strict.asarray(u), scan, state=state)
    np.testing.assert_allclose(np.asarray(found), y, rtol=0, atol=1e-13)
    np.testing.assert_allclose(np.asarray(strict.kernel(5)), system.kernel(5), rtol=0, atol=1e-13)
    narrow = MIMODiagonalSSM(*(v.astype(np.complex64) for v in (system.A, system.B, system.C)), system.dt, np.ones(2))
    assert narrow.apply(u, scan).dtype == np.float32
    np.testing.assert_allclose(narrow.apply(u, scan), y, atol=5e-6 * np.abs(y).max())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"A": np.array([0.0, -1.0])}, "real parts of A"),
        ({"A": np.full(2, np.nan)}, "A must be finite"),
        ({"B": np.ones((3, 2))}, "A, B and C must be"),
        ({"C": np.ones(2)}, "A, B and C must be"),
        ({"D": np.ones(1)}, "D must be"),
        ({"dt": np.ones(3)}, "dt must be a number"),
        ({"dt": 0.0}, "dt must be positive"),
        ({"discretization": "zho"}, "did you mean zoh"),
        ({"discretization": "forward euler", "dt": 3.0}, "out of the unit circle"),
        ({"D": np.ones(3) * 1j}, "D must be real"),
        ({"dt": np.array([1.0, 1j])}, "dt must be real"),
        ({"conjugate_pairs": "no"}, "conjugate_pairs must be True or False"),
    ],
)
def test_bad_input_is_refused(change, message):
    good = {"A": -np.ones(2), "B": np.ones((2, 3)), "C": np.ones((3, 2)), "D": np.ones(3)}
    with pytest.raises((ValueError, TypeError), match=message):
        MIMODiagonalSSM(**(good | change))


def test_other_refusals():
    system = random_system(0, 2, 3, 3)
    with pytest.raises(ValueError, match="u must be"):
        system.apply(np.ones((4, 2)))
    with pytest.raises(ValueError, match="u must be"):
        system.apply(np.ones((0, 3)))
    with pytest.raises(ValueError, match="state must be"):
        system.apply(np.ones((4, 3)), state=np.ones(5))
    with pytest.raises(ValueError, match="state must be finite"):
        system.apply(np.ones((4, 3)), state=np.full(2, np.nan))
    with pytest.raises(TypeError, match="state must be an array"):
        system.apply(np.ones((4, 3)), state=[0.0, 0.0])
    with pytest.raises(TypeError, match="u must be real"):
        system.apply(np.ones((4, 3)) * 1j)
    with pytest.raises(TypeError, match="B must be an array"):
        MIMODiagonalSSM(-np.ones(1), [[1.0]], np.ones((1, 1)))
    with pytest.raises(ValueError, match="multiple of 2 blocks = 6"):
        s5(16, 4, blocks=3)
    with pytest.raises(ValueError, match="H must be an integer >= 1"):
        lru(4, 0)
    with pytest.raises(ValueError, match="ring"):
        lru(4, 2, ring=(0.9, 0.5, 1.0))
