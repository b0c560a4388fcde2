"""Factors: a point of the space in which factored methods move."""

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtheory.factors import Factors, concatenate, transpose
from lrtheory.testing import strategies


@given(strategies.factors(4, 3), strategies.seeds())
def test_products_never_need_the_matrix(x, seed):
    b = np.random.default_rng(seed).normal(size=(3, 2))
    assert x.shape == (4, 3)
    # eps times the inner dimensions, relative to sums of absolute values
    np.testing.assert_allclose(x @ b, x.left @ x.right.T @ b, rtol=0, atol=1e-13)
    np.testing.assert_allclose(x.transposed().product(), x.product().T, rtol=0, atol=1e-15)


@given(st.data(), st.floats(-2, 2))
def test_arithmetic_acts_on_the_factors(data, c):
    symmetric = data.draw(st.booleans())
    a, b = (data.draw(strategies.factors(4, k=2, symmetric=symmetric)) for _ in range(2))
    for got, left, right in (
        (a + b, a.left + b.left, a.right + b.right),
        (a - b, a.left - b.left, a.right - b.right),
        (-a, -a.left, -a.right),
        (a * c, a.left * c, a.right * c),
        (c * a, a.left * c, a.right * c),
        (np.float64(c) * a, a.left * c, a.right * c),
        (a / 3.0, a.left / 3.0, a.right / 3.0),
    ):
        assert got.symmetric == symmetric
        assert np.array_equal(got.left, left)
        assert np.array_equal(got.right, right)


def test_arrays_from_the_left_scale_each_element():
    x = Factors(np.ones((2, 3, 1)), np.ones((2, 4, 1)))
    scaled = np.array([2.0, 3.0])[:, None, None] * x
    assert isinstance(scaled, Factors)
    assert np.array_equal(scaled.left[:, 0, 0], [2, 3])
    assert np.array_equal(scaled.right[:, 0, 0], [2, 3])


@given(st.data())
def test_concatenate_adds_matrices(data):
    a, b = data.draw(strategies.factors(4)), data.draw(strategies.factors(4))
    for sign in (1.0, -1.0):
        both = concatenate(a, b, sign)
        assert not both.symmetric
        np.testing.assert_allclose(both.product(), a.product() + sign * b.product(), rtol=0, atol=1e-13)


def test_concatenate_broadcasts_batches():
    a, b = Factors(np.ones((2, 1, 4, 3))), Factors(np.ones((5, 4, 2)))
    assert concatenate(a, b).batch_shape == (2, 5)


@given(st.data())
def test_inner_is_the_inner_product_of_the_factors(data):
    symmetric = data.draw(st.booleans())
    a, b = (data.draw(strategies.factors(4, k=3, symmetric=symmetric)) for _ in range(2))
    expected = np.sum(a.left * b.left) + (0 if symmetric else np.sum(a.right * b.right))
    assert np.isclose(a.inner(b), expected, rtol=1e-13, atol=1e-14)


def test_properties():
    x = Factors(np.ones((2, 5, 3, 1), dtype=np.float32))
    assert (x.symmetric, x.k, x.shape, x.batch_shape, x.dtype) == (True, 1, (3, 3), (2, 5), np.float32)
    assert x.right is x.left
    assert x.transposed() is x
    assert repr(Factors(np.ones((3, 1)), np.ones((4, 1)))) == "Factors((3, 1), (4, 1))"
    assert np.array_equal(transpose(np.arange(6.0).reshape(2, 3)), np.arange(6.0).reshape(2, 3).T)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones(3),), r"left factor .*\(3,\)"),
        (([[1.0]],), "left factor .*list"),
        ((np.ones((3, 2)), np.ones(2)), "right factor"),
        ((np.ones((3, 2)), np.ones((3, 1))), r"left \(3, 2\) and right \(3, 1\)"),
        ((np.ones((2, 3, 1)), np.ones((3, 1))), "batch"),
    ],
)
def test_bad_factors_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Factors(*arguments)


def test_kinds_do_not_mix():
    with pytest.raises(TypeError, match="cannot combine"):
        Factors(np.ones((3, 1))) + Factors(np.ones((3, 1)), np.ones((3, 1)))
    with pytest.raises(TypeError, match="cannot combine"):
        Factors(np.ones((3, 1))) + np.ones((3, 1))


def test_other_libraries():
    left = array_api_strict.asarray(np.arange(6.0).reshape(3, 2))
    x = Factors(left, left * 2.0)
    assert np.array_equal(np.asarray((x - x * 0.5).product()), 0.25 * np.asarray(x.product()))
    assert np.array_equal(np.asarray(x.inner(x)), 5 * np.sum(np.arange(6.0) ** 2))
