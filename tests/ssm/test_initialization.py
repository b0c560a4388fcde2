"""Initialisations: formulas, weights, steps, groups, aliasing, and what is refused."""

import math
import warnings

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from lrtheory.random import Stream
from lrtheory.ssm import AliasingWarning, legs_spectrum, poles, s4d
from lrtheory.ssm.initialization import INITIALISATIONS, INPUT_WEIGHTS, OUTPUT_WEIGHTS, STEPS

PAIRED = [name for name in INITIALISATIONS if name != "real"]
RANDOM = ["rand", "imag_random", "real_random", "lru"]


def quiet(*arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AliasingWarning)
        return s4d(*arguments, **options)


@given(st.integers(1, 200))
def test_poles_against_their_formulas(M):
    N = 2 * M
    formulas = {
        "lin": lambda n: math.pi * n,
        "inv": lambda n: N / math.pi * (N / (2 * n + 1) - 1),
        "inv2": lambda n: N / math.pi * (N / (n + 1) - 1),
        "quad": lambda n: (1 + 2 * n) ** 2 / math.pi,
        "fourier": lambda n: 2 * math.pi * n,
        "dfout": lambda n: 2 * math.pi * n / (N * 0.25),
    }
    for init, frequency in formulas.items():
        a = poles(N, init, dt=0.25)
        np.testing.assert_array_equal(a.real, np.full(M, -0.5))
        np.testing.assert_allclose(a.imag, [frequency(n) for n in range(M)], rtol=1e-14)
    legs = poles(N, "legs")
    np.testing.assert_array_equal(legs.real, np.full(M, -0.5))
    np.testing.assert_array_equal(legs.imag, legs_spectrum(N)[0])
    np.testing.assert_array_equal(poles(M, "real"), -np.arange(1.0, M + 1))


def test_random_poles_have_their_distributions():
    N = 4000
    copies = {name: poles(N, name, copies=2, stream=3) for name in RANDOM}
    for name, a in copies.items():
        assert a.shape == (2, N // 2)
        assert not np.array_equal(a[0], a[1]), name
        np.testing.assert_array_equal(a, poles(N, name, copies=3, stream=3)[:2])
        assert (a.real < 0).all()
    checks = [
        (np.log(copies["rand"].imag), "norm"),
        (copies["imag_random"].imag / (N // 2), "uniform"),
        (-copies["real_random"].real, "uniform"),
        (np.exp(2 * copies["lru"].real), "uniform"),  # |abar|^2: uniform on the disc
        (copies["lru"].imag / (2 * math.pi) + 0.5, "uniform"),
    ]
    for sample, law in checks:
        assert scipy.stats.kstest(sample.ravel(), law).pvalue > 1e-3
    np.testing.assert_array_equal(copies["rand"].real, np.full((2, N // 2), -0.5))
    np.testing.assert_allclose(copies["real_random"][0].imag, math.pi * np.arange(N // 2))


@given(st.floats(0.0, 0.99), st.floats(0.001, 1.0), st.floats(0.01, 6.28), st.integers(0, 99))
def test_the_ring_bounds_modulus_and_phase(r_min, width, max_phase, seed):
    r_max = min(1.0, r_min + width)
    abar = np.exp(poles(40, "lru", ring=(r_min, r_max, max_phase), stream=seed))
    assert (np.abs(abar) >= r_min - 1e-12).all()
    assert (np.abs(abar) <= r_max).all()
    phase = np.angle(abar) % (2 * math.pi)
    assert (phase <= max_phase + 1e-12).all()


def test_the_ring_is_discrete():
    system = s4d(16, 3, "lru", C="ones", stream=1)
    abar, bbar = system.discretize()
    np.testing.assert_allclose(abar, np.exp(poles(16, "lru", stream=1)), rtol=1e-14)
    np.testing.assert_allclose(bbar, np.sqrt(1 - np.abs(abar) ** 2), rtol=1e-12)
    kernel = [2 * np.sum(bbar * abar**k).real for k in range(6)]
    np.testing.assert_allclose(system.kernel(6), np.broadcast_to(kernel, (3, 6)), rtol=1e-12)


def test_dfout_poles_lie_on_the_discrete_fourier_grid():
    system = quiet(16, 4, "dfout")
    abar = system.discretize()[0]
    assert abar.shape == (4, 8)
    # the N-th powers of all modes of a channel are one number, exp(-N dt / 2)
    np.testing.assert_allclose(abar**16, np.exp(-8 * system.dt)[:, None] * np.ones(8), rtol=1e-11)
    np.testing.assert_allclose(np.angle(abar[:, 1]), 2 * math.pi / 16, rtol=1e-12)


@pytest.mark.parametrize("init", INITIALISATIONS)
@pytest.mark.parametrize("n_ssm", [1, 2, 3, 6])
def test_shapes_and_groups(init, n_ssm):
    N, H = 8, 6
    system = quiet(N, H, init, n_ssm=n_ssm, B="random", stream=5)
    M = 8 if init == "real" else 4
    channels = (n_ssm, H // n_ssm) if 1 < n_ssm < H else (H,)
    shared = (M,) if n_ssm == 1 else (H, M) if n_ssm == H else (n_ssm, 1, M)
    assert system.channels == channels
    assert system.C.shape == (*channels, M)
    assert system.B.shape == shared
    assert system.A.shape == ((*channels, M) if init == "dfout" else shared)
    assert system.state_size == N
    kernel = system.kernel(5).reshape(H, 5)
    # the same channels one by one
    dt = np.broadcast_to(system.dt, channels).reshape(H)
    A, B, C = (np.broadcast_to(v, (*channels, M)).reshape(H, M) for v in (system.A, system.B, system.C))
    for h in range(H):
        alone = type(system)(
            A[h], B[h], C[h], float(dt[h]), None, system.discretization, conjugate_pairs=system.conjugate_pairs
        )
        np.testing.assert_allclose(kernel[h], alone.kernel(5), rtol=1e-12, atol=1e-13)
    groups = B.reshape(n_ssm, H // n_ssm, M)
    assert (groups == groups[:, :1]).all()
    assert len(np.unique(groups[:, 0, 0])) == n_ssm


@pytest.mark.parametrize("init", INITIALISATIONS)
@pytest.mark.parametrize("B", INPUT_WEIGHTS)
@pytest.mark.parametrize("C", OUTPUT_WEIGHTS)
def test_every_combination_gives_a_kernel(init, B, C):
    kernel = quiet(8, 2, init, B=B, C=C).kernel(4)
    assert kernel.shape == (2, 4)
    assert np.isfinite(kernel).all()


def test_real_systems_are_real_and_not_doubled():
    system = s4d(6, init="real", C="ones", dt=0.1)
    assert not system.conjugate_pairs
    assert all(v.dtype == np.float64 for v in (system.A, system.B, system.C))
    assert s4d(7, init="real").modes == 7  # no pairs, hence any N
    n = np.arange(1.0, 7)
    kernel = [np.sum((1 - np.exp(-0.1 * n)) / n * np.exp(-0.1 * n * k)) for k in range(4)]
    np.testing.assert_allclose(system.kernel(4)[0], kernel, rtol=1e-13)


def test_exact_input_weights():
    np.testing.assert_array_equal(quiet(64).B, legs_spectrum(64)[1])
    assert math.isclose(2 * np.sum(np.abs(quiet(64).B) ** 2), 64**2, rel_tol=1e-12)
    np.testing.assert_array_equal(quiet(64, B_scale=0.5).B, legs_spectrum(64)[1] / 2)
    np.testing.assert_allclose(quiet(8, init="fourier").B, [math.sqrt(0.5), 1, 1, 1])
    for init in ("lin", "inv", "inv2", "quad", "rand", "dfout", "real_random"):
        np.testing.assert_array_equal(quiet(8, init=init).B, np.ones(4))
        np.testing.assert_array_equal(quiet(8, init=init, B="clipped").B, np.ones(4))
    np.testing.assert_array_equal(quiet(64, B="ones").B, np.ones(32))


def test_clipped_input_weights_lower_the_fastest_modes():
    """Squared ratios to the exact weights, from an independent computation with the released code's rule."""
    ratio = np.abs(quiet(64, B="clipped").B / quiet(64, B="exact").B) ** 2
    np.testing.assert_allclose(ratio[:6], [0.0024, 0.0216, 0.060, 0.116, 0.189, 0.279], rtol=0.03)
    assert (ratio <= 1).all()
    assert ratio[-1] == 1


def test_random_weights_have_mean_square_one():
    for init in ("lin", "real"):
        system = quiet(64, 500, init, B="random", D="random", n_ssm=500)
        for weights in (system.B, system.C):
            squares = np.abs(weights) ** 2
            assert abs(squares.mean() - 1) < 5 * squares.std() / math.sqrt(squares.size)
        for part in (system.C.real, system.C.imag) if init == "lin" else (system.C,):
            deviation = math.sqrt(0.5) if init == "lin" else 1.0
            assert scipy.stats.kstest(part.ravel()[::10] / deviation, "norm").pvalue > 1e-3
        assert scipy.stats.kstest(system.D, "norm").pvalue > 1e-3
        assert not np.array_equal(system.B, system.C)


def test_channels_and_modes_are_prefixes():
    """A channel's numbers depend on its index alone, and fewer modes are the first of more."""
    few, many = quiet(16, 3, "rand", n_ssm=3, stream=7), quiet(32, 5, "rand", n_ssm=5, stream=7)
    np.testing.assert_array_equal(few.C, many.C[:3, :8])
    np.testing.assert_array_equal(few.dt, many.dt[:3])
    np.testing.assert_array_equal(few.A, many.A[:3, :8])
    other = quiet(16, 3, "rand", n_ssm=3, stream=Stream(8))
    assert not np.array_equal(few.C, other.C)
    np.testing.assert_array_equal(quiet(16, 3, "rand", stream=Stream(7)).C, few.C)


@given(st.floats(-6.0, 0.0), st.floats(0.0, 4.0), st.integers(0, 999))
def test_steps_lie_in_their_interval(low, decades, seed):
    dt_min, dt_max = 10.0**low, 10.0 ** (low + decades)
    dt = quiet(2, 50, "lin", dt_min=dt_min, dt_max=dt_max, stream=seed).dt
    assert dt.shape == (50,)
    assert ((dt >= dt_min) & (dt <= dt_max)).all()


def test_steps_are_log_uniform():
    dt = quiet(2, 2000, "lin", stream=11).dt
    share = (np.log(dt) - math.log(1e-3)) / math.log(100)
    assert scipy.stats.kstest(share, "uniform").pvalue > 1e-3


def test_given_and_geometric_steps():
    np.testing.assert_allclose(quiet(4, 3, "lin", dt="geometric").dt, [1e-3, 1e-2, 1e-1], rtol=1e-14)
    assert quiet(4, 3, "lin", dt=0.25).dt == 0.25
    np.testing.assert_array_equal(quiet(4, 2, "lin", dt=np.array([0.1, 0.2])).dt, [0.1, 0.2])
    assert quiet(4, 4, "lin", dt=np.full(4, 0.1), n_ssm=2).dt.shape == (2, 2)
    assert quiet(4, 1, "lin", dt="geometric").dt[0] == 1e-3


def test_given_weights():
    C = np.arange(4) + 1j
    system = quiet(8, 3, "lin", B=2 * np.ones(4), C=C, D=np.ones(3))
    np.testing.assert_array_equal(system.C, np.broadcast_to(C, (3, 4)))
    np.testing.assert_array_equal(system.B, 2 * np.ones(4))
    np.testing.assert_array_equal(system.D, np.ones(3))


def test_scales():
    plain, scaled = poles(8, "inv"), poles(8, "inv", real_scale=3.0, imag_scale=0.5)
    np.testing.assert_allclose(scaled, 3 * plain.real + 0.5j * plain.imag)
    np.testing.assert_allclose(poles(4, "real", real_scale=2.0), [-2, -4, -6, -8])


# modes beyond Nyquist at dt = 1e-3, 1e-2, 1e-1 and N = 64, counted independently
ALIASED = {"legs": (0, 2, 15), "inv": (0, 2, 13), "lin": (0, 0, 21), "quad": (0, 16, 27)}


@pytest.mark.parametrize("init", ALIASED)
def test_aliasing_is_counted_in_one_warning_and_removed_by_the_band_limit(init):
    for dt, count in zip((1e-3, 1e-2, 1e-1), ALIASED[init], strict=True):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            full = s4d(64, 1, init, dt=dt)
        assert [w.category for w in caught] == [AliasingWarning] * (count > 0)
        assert all(str(w.message).startswith(f"{count} of 32 modes") for w in caught)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            limited = s4d(64, 1, init, dt=dt, bandlimit=1)
        kept = dt * np.abs(full.A.imag) / (2 * math.pi) < 0.5
        np.testing.assert_array_equal(limited.C, np.where(kept, full.C, 0))
        np.testing.assert_array_equal(limited.A, full.A)
        half = s4d(64, 1, init, dt=dt, bandlimit=0.5)
        np.testing.assert_array_equal(half.C[0] != 0, dt * np.abs(full.A.imag) < math.pi / 2)


def test_the_warning_counts_over_channels():
    with pytest.warns(AliasingWarning, match="^17 of 96 modes"):
        s4d(64, 3, "legs", dt=np.array([1e-3, 1e-2, 1e-1]))


def test_the_bilinear_rule_folds_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        s4d(64, 1, "quad", dt=0.1, discretization="bilinear")


def test_no_channels():
    for init in INITIALISATIONS:
        assert s4d(8, 0, init, B="random", D="random").kernel(5).shape == (0, 5)
    assert s4d(8, 0, dt="geometric").kernel(5).shape == (0, 5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"N": 7}, ValueError, "N must be a positive even integer, got 7"),
        ({"N": 0}, ValueError, "N must be a positive even integer"),
        ({"N": 0, "init": "real"}, ValueError, "N must be a positive integer"),
        ({"N": -4}, ValueError, "N must be"),
        ({"N": 4.0}, ValueError, "N must be"),
        ({"H": -1}, ValueError, "H must be an integer >= 0"),
        ({"H": 2.0}, ValueError, "H must be"),
        ({"init": "lines"}, ValueError, "did you mean lin"),
        ({"init": 3}, ValueError, "no init 3"),
        ({"B": "exactly"}, ValueError, "did you mean exact"),
        ({"C": "one"}, ValueError, "did you mean ones"),
        ({"D": "on"}, ValueError, "no D 'on'"),
        ({"dt": "log"}, ValueError, "no dt 'log'"),
        ({"dt": 0.0}, ValueError, "dt must be positive"),
        ({"dt": math.nan}, ValueError, "dt must be positive"),
        ({"dt": math.inf}, ValueError, "dt must be positive"),
        ({"dt": np.array([0.1, 1j])}, TypeError, "dt must be real"),
        ({"bandlimit": "1"}, TypeError, "bandlimit must be a real number"),
        ({"dt": [0.1, 0.2]}, TypeError, "dt must be a name, a number or an array"),
        ({"dt": np.ones(3)}, ValueError, "each of the 2 channels"),
        ({"dt_min": 0.2}, ValueError, "dt_min <= dt_max"),
        ({"dt_min": 0.0}, ValueError, "0 < dt_min"),
        ({"dt_max": math.inf}, ValueError, "dt_max < inf"),
        ({"dt_min": math.nan}, ValueError, "dt_min"),
        ({"n_ssm": 0}, ValueError, "n_ssm must be an integer >= 1"),
        ({"n_ssm": 2, "H": 0}, ValueError, "n_ssm must be a positive divisor"),
        ({"n_ssm": 3}, ValueError, "n_ssm must be a positive divisor of H = 2, got 3"),
        ({"real_scale": 0.0}, ValueError, "real_scale must be positive"),
        ({"real_scale": -1.0}, ValueError, "real_scale must be positive"),
        ({"imag_scale": math.nan}, ValueError, "imag_scale must be positive"),
        ({"B_scale": math.nan}, ValueError, "B_scale must be finite"),
        ({"bandlimit": 0.0}, ValueError, "bandlimit must be positive"),
        ({"bandlimit": math.nan}, ValueError, "bandlimit must be positive"),
        ({"ring": (0.9, 0.5, 1.0), "init": "lru"}, ValueError, "r_min < r_max"),
        ({"ring": (0.0, 1.5, 1.0), "init": "lru"}, ValueError, "r_max <= 1"),
        ({"init": "lru", "dt": 0.1}, ValueError, "dt is 1 for lru"),
        ({"init": "lru", "dt": np.ones(2)}, ValueError, "dt is 1 for lru"),
        ({"init": "lru", "discretization": "zoh"}, ValueError, '"impulse" for lru'),
        ({"discretization": "zho"}, ValueError, "did you mean zoh"),
        ({"B": np.ones(3)}, ValueError, "B must have a shape that broadcasts to"),
        ({"C": np.ones((3, 2))}, ValueError, "C must have a shape that broadcasts to"),
        ({"C": np.ones((5, 2, 2))}, ValueError, "C must have a shape"),
        ({"C": [1.0, 2.0]}, TypeError, "C must be a name or an array"),
        ({"B": np.array([np.nan, 1.0])}, ValueError, "B must be finite"),
        ({"stream": 1.5}, TypeError, "stream must be"),
        ({"device": "gpu"}, ValueError, "no device"),
    ],
)
def test_bad_input_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        quiet(**({"N": 4, "H": 2, "init": "lin"} | options))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"copies": 0}, "copies must be"), ({"dt": -1.0, "init": "dfout"}, "dt must be"), ({"init": "x"}, "no init")],
)
def test_bad_input_of_poles_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        poles(4, **options)


def test_names_are_as_documented():
    for argument, names in (("init", INITIALISATIONS), ("B", INPUT_WEIGHTS), ("C", OUTPUT_WEIGHTS), ("dt", STEPS)):
        text = (poles.__doc__ or "") + (s4d.__doc__ or "")
        assert all(f'"{name}"' in text for name in names), argument
