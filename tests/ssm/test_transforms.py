"""Real parts that stay negative: forward and inverse maps, slopes, the floor."""

import array_api_strict
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtheory.ssm import real_part, real_part_parameter, real_part_slope
from lrtheory.ssm.transforms import FLOOR, TRANSFORMS

FORMULAS = {
    "exp": mpmath.exp,
    "relu": lambda x: max(x, mpmath.mpf(0)) + mpmath.mpf(FLOOR),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "none": lambda x: x,
}

transforms = st.sampled_from(TRANSFORMS)


@given(transforms, st.floats(-30.0, 30.0))
def test_forward_against_its_formula(transform, theta):
    with mpmath.workdps(40):
        true = -float(FORMULAS[transform](mpmath.mpf(theta)))
    # exp of x is off by eps |x| relative
    assert abs(float(real_part(np.array([theta]), transform)[0]) - true) <= 1e-14 * abs(true)


@given(transforms, st.floats(-30.0, 30.0).filter(lambda theta: abs(theta) > 1e-3))
def test_slope_is_the_derivative(transform, theta):
    with mpmath.workdps(60):
        true = -float(mpmath.diff(FORMULAS[transform], mpmath.mpf(theta)))
    assert abs(float(real_part_slope(np.array([theta]), transform)[0]) - true) <= 1e-13 * abs(true)


@given(transforms, st.floats(-4.0, 3.0))
def test_inverse_undoes_forward(transform, exponent):
    re = np.array([-(10.0**exponent)])
    if transform == "sigmoid" and re[0] <= -1:
        with pytest.raises(ValueError, match="above -1"):
            real_part_parameter(re, transform)
        return
    # relu cancels its floor: eps of re + 1e-4
    np.testing.assert_allclose(real_part(real_part_parameter(re, transform), transform), re, rtol=1e-12)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_slow_and_unstable_poles_are_taken_to_the_floor(transform):
    re = np.array([0.0, 3.0, -1e-9, -FLOOR])
    np.testing.assert_allclose(real_part(real_part_parameter(re, transform), transform), -FLOOR, rtol=1e-12)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_only_the_identity_can_become_unstable(transform):
    theta = np.array([-700.0, -20.0, 0.0, 20.0, 700.0])
    assert (real_part(theta, transform)[1:] <= 0).all() == (transform != "none")
    assert np.isfinite(real_part(theta, transform)).all()
    assert np.isfinite(real_part_slope(theta, transform)).all()


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_other_libraries_and_precisions(transform):
    theta = np.array([-2.0, 0.5], dtype=np.float32)
    re = np.array([-0.5, -1e-5], dtype=np.float32)
    for function, x in ((real_part, theta), (real_part_slope, theta), (real_part_parameter, re)):
        ours = function(x, transform)
        assert ours.dtype == np.float32
        strict = np.asarray(function(array_api_strict.asarray(x), transform))
        np.testing.assert_allclose(strict, ours, rtol=1e-6)


@pytest.mark.parametrize("function", [real_part, real_part_slope, real_part_parameter])
def test_unknown_transforms_are_refused(function):
    with pytest.raises(ValueError, match="did you mean softplus"):
        function(np.ones(1), "softplis")


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_nan_stays_nan(transform):
    """A parameter that has diverged must not look like a slow pole."""
    assert np.isnan(real_part(np.array([np.nan]), transform)).all()
    assert np.isnan(real_part_parameter(np.array([np.nan]), transform)).all()
