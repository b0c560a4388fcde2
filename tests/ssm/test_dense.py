"""Dense systems against 40-digit arithmetic, plain NumPy, closed forms and SciPy; diagonalisation (T10)."""

import array_api_strict
import mpmath
import numpy as np
import pytest
import scipy.linalg
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st

from lrtheory.ssm import DenseSSM, companion, hippo_legs
from lrtheory.testing.strategies import seeds

EPS = np.finfo(np.float64).eps
RULES = ["zoh", "impulse", "bilinear", "forward euler", "backward euler", 0.25]


def random_system(seed, N, **options):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(N, N)) / np.sqrt(N) - 1.5 * np.eye(N)  # stable for almost every draw, never far from it
    return DenseSSM(A, rng.normal(size=N), rng.normal(size=N), **options)


def kernel_in_forty_digits(system, length):
    """The definition, in mpmath: exponentials by Taylor series, ZOH's integral by its own series, powers one by one."""
    with mpmath.workdps(40):
        A, B, C = (mpmath.matrix(v.tolist()) for v in (system.A, system.B, system.C))
        N, dt = A.rows, mpmath.mpf(float(system.dt))
        eye, step = mpmath.eye(N), A * dt
        if system.discretization in ("zoh", "impulse"):
            term, power, integral = eye.copy(), mpmath.zeros(N), mpmath.zeros(N)
            for k in range(1, 200):
                power += term
                integral += term * (dt / k)
                term = term * step / k
            b = integral * B if system.discretization == "zoh" else B * dt
        else:
            rules = {"bilinear": 0.5, "forward euler": 0, "backward euler": 1}
            p = mpmath.mpf(rules.get(system.discretization, system.discretization))
            inverse = mpmath.inverse(eye - step * p)
            power, b = inverse * (eye + step * (1 - p)), inverse * B * dt
        kernel = []
        for _ in range(length):
            kernel.append(float((C.T * b)[0]))
            b = power * b
    return np.array(kernel)


@given(seeds(), st.integers(1, 5), st.sampled_from(RULES), st.floats(0.01, 2.0), st.integers(1, 20))
def test_kernel_against_forty_digits(seed, N, rule, dt, length):
    system = random_system(seed, N, dt=dt, discretization=rule)
    expected = kernel_in_forty_digits(system, length)
    scale = np.abs(system.B).sum() * np.abs(system.C).sum() * (1 + np.abs(expected).max())
    np.testing.assert_allclose(system.kernel(length), expected, rtol=0, atol=1e-12 * scale)


def test_long_kernel_against_scipy_and_steps():
    """1000 steps one by one, from SciPy's own discretisation."""
    system = random_system(3, 6, dt=0.05)
    a, b, c, _, _ = scipy.signal.cont2discrete((system.A, system.B[:, None], system.C[None], 0), 0.05, "zoh")
    state, expected = b[:, 0], []
    for _ in range(1000):
        expected.append(c[0] @ state)
        state = a @ state
    np.testing.assert_allclose(system.kernel(1000), expected, rtol=0, atol=1e-13 * np.abs(expected).max())


def test_legs_kernel_against_forty_digits():
    A, B, _ = hippo_legs(8)
    for rule in ("zoh", "bilinear"):
        system = DenseSSM(A, B, np.linspace(-1, 1, 8), 0.1, rule)
        np.testing.assert_allclose(system.kernel(30), kernel_in_forty_digits(system, 30), rtol=0, atol=1e-13)


def test_a_singular_matrix_has_a_hold():
    """A = 0 integrates: every sample is dt C B."""
    system = DenseSSM(np.zeros((3, 3)), np.array([1.0, 2.0, 3.0]), np.ones(3), 0.25)
    np.testing.assert_allclose(system.kernel(5), np.full(5, 1.5), rtol=4 * EPS)


def test_legs_impulse_response_is_legendre():
    A, B, _ = hippo_legs(6)
    t = np.linspace(0.0, 5.0, 11)
    for n in range(6):
        expected = np.sqrt(2 * n + 1) * np.exp(-t) * np.polynomial.legendre.Legendre.basis(n)(2 * np.exp(-t) - 1)
        np.testing.assert_allclose(DenseSSM(A, B, np.eye(6)[n]).impulse_response(t), expected, atol=1e-13)


@given(seeds(), st.integers(1, 8))
def test_freqresp_against_solves(seed, N):
    system = random_system(seed, N)
    w = np.array([-3.0, 0.0, 0.1, 1.0, 100.0])
    expected = [system.C @ np.linalg.solve(1j * s * np.eye(N) - system.A, system.B.astype(complex)) for s in w]
    closest = min(np.linalg.svd(1j * s * np.eye(N) - system.A, compute_uv=False)[-1] for s in w)
    scale = np.linalg.norm(system.B) * np.linalg.norm(system.C) * np.linalg.norm(system.A, 2) / closest**2
    np.testing.assert_allclose(system.freqresp(w), expected, rtol=0, atol=1e-14 * (1 + scale))


@given(seeds(), st.integers(1, 4), st.sampled_from(RULES))
def test_channels_are_systems_of_their_own(seed, H, rule):
    rng = np.random.default_rng(seed)
    A, B, C = rng.normal(size=(4, 4)) - 3 * np.eye(4), rng.normal(size=(H, 4)), rng.normal(size=4)
    dt = rng.uniform(0.05, 0.5, size=H)
    together = DenseSSM(A, B, C, dt, rule)
    for h in range(H):
        alone = DenseSSM(A, B[h], C, dt[h], rule)
        np.testing.assert_allclose(together.kernel(9)[h], alone.kernel(9), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(together.freqresp(np.ones(1))[h], alone.freqresp(np.ones(1)), rtol=1e-12)
        np.testing.assert_allclose(
            together.impulse_response(np.ones(2))[h], alone.impulse_response(np.ones(2)), rtol=1e-12, atol=1e-14
        )


@given(seeds(), st.integers(1, 8), st.booleans(), st.sampled_from(["zoh", "bilinear"]))
def test_almost_every_system_is_diagonal(seed, N, pairs, rule):
    """T10: the diagonal system has the same kernel to cond(V) eps."""
    system = random_system(seed, N, dt=0.1, discretization=rule)
    found = system.diagonalize(pairs)
    V = np.linalg.eig(system.A)[1]
    assert found.condition == pytest.approx(np.linalg.norm(V, 2) * np.linalg.norm(np.linalg.inv(V), 2), rel=1e-6)
    assert found.system.conjugate_pairs is pairs
    kept = int(np.sum(np.linalg.eigvals(system.A).imag >= 0)) if pairs else N
    assert found.system.modes == kept
    expected = system.kernel(50)
    scale = np.linalg.norm(system.B) * np.linalg.norm(system.C) * max(1, np.abs(expected).max())
    np.testing.assert_allclose(found.system.kernel(50), expected, rtol=0, atol=100 * EPS * found.condition * scale)


@given(seeds(), st.integers(2, 5))
def test_eigenvectors_are_returned(seed, N):
    system = random_system(seed, N)
    found = system.diagonalize()
    rebuilt = (found.V * found.system.A) @ np.linalg.inv(found.V)
    np.testing.assert_allclose(rebuilt, system.A, atol=1e-13 * found.condition)


def test_legs_must_not_be_diagonalised():
    A, B, _ = hippo_legs(32)
    with pytest.raises(ValueError, match="perturb_then_diagonalize"):
        DenseSSM(A, B, B).diagonalize()
    with pytest.raises(ValueError, match="condition number"):
        DenseSSM(np.array([[1.0, 1.0], [0.0, 1.0]]), np.ones(2), np.ones(2)).diagonalize()


@given(seeds(), st.integers(1, 6))
def test_companion_is_the_quotient_of_its_polynomials(seed, N):
    rng = np.random.default_rng(seed)
    roots = -rng.uniform(0.5, 2.0, size=N)
    p = np.poly(roots)[1:][::-1]
    q = rng.normal(size=N)
    w = np.array([0.0, 0.3, 2.0])
    expected = np.polyval(q[::-1], 1j * w) / np.prod(1j * w[:, None] - roots, axis=1)
    np.testing.assert_allclose(companion(p, q).freqresp(w), expected, rtol=1e-9)


def test_libraries_and_precisions():
    system = random_system(5, 4, dt=0.2)
    strict = DenseSSM(*(array_api_strict.asarray(v) for v in (system.A, system.B, system.C)), dt=0.2)
    kernel = strict.kernel(12)
    assert isinstance(kernel, type(strict.A))
    np.testing.assert_array_equal(np.asarray(kernel), system.kernel(12))
    single = DenseSSM(*(v.astype(np.float32) for v in (system.A, system.B, system.C)), dt=0.2)
    assert single.kernel(12).dtype == np.float32
    assert single.freqresp(np.ones(1)).dtype == np.complex64
    assert single.diagonalize().system.A.dtype == np.complex64
    np.testing.assert_allclose(single.kernel(12), system.kernel(12), atol=5e-6 * np.abs(system.kernel(12)).max())
    integers = DenseSSM(
        -np.eye(2, dtype=int), np.ones(2, dtype=int), np.ones(2, dtype=int), dt=1, discretization="bilinear"
    )
    np.testing.assert_allclose(integers.kernel(3), [4 / 3, 4 / 9, 4 / 27], rtol=4 * EPS)
    frozen = system.A.T.copy().T
    frozen.flags.writeable = False
    np.testing.assert_array_equal(DenseSSM(frozen, system.B, system.C, 0.2).kernel(12), system.kernel(12))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"A": np.ones((2, 3))}, "A must be"),
        ({"A": np.ones(3)}, "A must be"),
        ({"A": np.full((3, 3), np.nan)}, "A must be finite"),
        ({"A": np.ones((3, 3), complex)}, "A must be real"),
        ({"B": np.ones(4)}, "B"),
        ({"B": np.ones((2, 3)), "C": np.ones((5, 3))}, "channels of A .* must broadcast"),
        ({"dt": 0.0}, "dt must be positive"),
        ({"dt": np.array([0.1, np.inf])}, "dt must be positive"),
        ({"dt": np.array([1j])}, "dt must be real"),
        ({"discretization": "bilinar"}, "did you mean bilinear"),
    ],
)
def test_bad_input_is_refused(change, message):
    with pytest.raises((ValueError, TypeError), match=message):
        DenseSSM(**({"A": -np.eye(3), "B": np.ones(3), "C": np.ones(3)} | change))


def test_other_refusals():
    system = random_system(0, 3)
    with pytest.raises(ValueError, match="length"):
        system.kernel(0)
    with pytest.raises(TypeError, match="A must be an array"):
        DenseSSM([[1.0]], np.ones(1), np.ones(1))
    with pytest.raises(ValueError, match="eigenvalue 2"):
        DenseSSM(2 * np.eye(2), np.ones(2), np.ones(2), 1.0, "bilinear").discretize()
    with pytest.raises(ValueError, match="single A"):
        DenseSSM(np.stack([system.A] * 2), system.B, system.C).diagonalize(pairs=True)
    with pytest.raises(ValueError, match="coefficients"):
        companion(np.ones(3), np.ones(2))
    with pytest.raises(TypeError, match="numerator must be real"):
        companion(np.ones(2), np.ones(2) * 1j)
    with pytest.raises(TypeError, match="w must be real"):
        system.freqresp(np.array([1j]))
    with pytest.raises(ValueError, match="w must be finite"):
        system.freqresp(np.array([np.nan]))
    with pytest.raises(ValueError, match="without negative times"):
        system.impulse_response(np.array([-1.0]))


def test_the_eigenvector_condition_of_legs_grows_as_published():
    """8e10 at N = 16 (an independent computation); the exact eigenvectors are rational, so 40 digits settle it."""
    A, B, _ = hippo_legs(16)
    with mpmath.workdps(40):
        columns = []
        for k in range(16):  # (A + (k + 1) I) x = 0 by forward substitution from x_k = 1
            x = [mpmath.mpf(0)] * 16
            x[k] = mpmath.mpf(1)
            for n in range(k + 1, 16):
                total = mpmath.fsum(mpmath.sqrt((2 * n + 1) * (2 * m + 1)) * x[m] for m in range(k, n))
                x[n] = -total / (n - k)
            norm = mpmath.sqrt(mpmath.fsum(v * v for v in x))
            columns.append([v / norm for v in x])
        V = mpmath.matrix(columns).T
        exact = float(mpmath.svd_r(V, compute_uv=False)[0] / mpmath.svd_r(V, compute_uv=False)[15])
    assert exact == pytest.approx(8e10, rel=0.1)
    assert DenseSSM(A, B, B).diagonalize().condition == pytest.approx(exact, rel=0.05)
