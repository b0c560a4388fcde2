"""The geometry of matrices of rank k, against the formulas with whole matrices."""

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtheory.factors import Factors, transpose
from lrtheory.low_rank.tangent import Tangent, TangentSpace
from lrtheory.random import Stream
from lrtheory.testing import strategies


class Operand:
    """A matrix of which nothing but products with thin matrices is asked."""

    __array_ufunc__ = None

    def __init__(self, a):
        self.a = a

    def __matmul__(self, b):
        return self.a @ b


class Transposable(Factors):
    """Stands for any object that `lrtheory.factors.transpose` transposes."""

    def __init__(self, a):
        self.a = a

    def __matmul__(self, b):
        return self.a @ b

    def transposed(self):
        return Operand(self.a.T)


@st.composite
def points(draw):
    n1, n2 = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    k = draw(st.integers(1, min(n1, n2)))
    x = draw(strategies.factors(n1, n2, k=k, symmetric=False))
    return x, draw(strategies.streams()).child("ambient").normal((n1, n2))


def plain_projection(x, matrix):
    u, v = np.linalg.qr(x.left)[0], np.linalg.qr(x.right)[0]
    p, q = u @ u.T, v @ v.T
    return p @ matrix + matrix @ q - p @ matrix @ q


def whole(space, tangent):
    return space.factors(tangent).product()


@given(points())
def test_projection_against_the_formula(point):
    x, matrix = point
    space = TangentSpace.at(x)
    expected = plain_projection(x, matrix)
    for form in (matrix, Transposable(matrix), Factors(matrix, np.eye(matrix.shape[1]))):
        np.testing.assert_allclose(whole(space, space.project(form)), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(space.left @ space.core @ space.right.T, x.product(), rtol=0, atol=1e-13)


@given(points())
def test_projection_is_idempotent_and_orthogonal(point):
    x, matrix = point
    space = TangentSpace.at(x)
    tangent = space.project(matrix)
    inside = whole(space, tangent)
    again = space.project(inside)
    np.testing.assert_allclose(whole(space, again), inside, rtol=0, atol=1e-12)
    np.testing.assert_allclose(whole(space, space.project(space.factors(tangent))), inside, rtol=0, atol=1e-12)
    rest = matrix - inside
    other = whole(space, space.project(np.roll(matrix, 1)))
    assert abs(np.sum(rest * other)) < 1e-11
    # the parts are orthogonal: the inner product needs no whole matrix
    np.testing.assert_allclose(tangent.inner(tangent), np.sum(inside**2), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(tangent.inner(space.project(other)), np.sum(inside * other), rtol=0, atol=1e-11)
    np.testing.assert_allclose(space.left.T @ tangent.left, 0, rtol=0, atol=1e-13)
    np.testing.assert_allclose(space.right.T @ tangent.right, 0, rtol=0, atol=1e-13)


@given(points())
def test_the_matrix_itself_is_tangent(point):
    x, _ = point
    space = TangentSpace.at(x)
    np.testing.assert_allclose(whole(space, space.project(x)), x.product(), rtol=0, atol=1e-12)


@given(points(), st.floats(-2, 2))
def test_tangent_vectors_are_a_vector_space(point, c):
    x, matrix = point
    space = TangentSpace.at(x)
    a, b = space.project(matrix), space.project(np.roll(matrix, 1))
    expected = whole(space, a) + c * whole(space, b)
    np.testing.assert_allclose(whole(space, a + b * c), expected, rtol=0, atol=1e-12)


@given(points(), st.sampled_from([1.0, 0.3, 0.0]))
def test_retraction_is_the_best_approximation_of_the_sum(point, size):
    x, matrix = point
    space = TangentSpace.at(x)
    tangent = space.project(size * matrix)
    moved = space.retract(tangent)
    target = x.product() + whole(space, tangent)
    s = np.linalg.svd(target, compute_uv=False)
    assert moved.k == x.k
    np.testing.assert_allclose(
        np.linalg.norm(target - moved.product()), np.linalg.norm(s[x.k :]), rtol=0, atol=1e-12 * max(s[0], 1)
    )


def test_retraction_is_of_first_order():
    """|retract(t D) - (Z + t D)| falls as t^2, and not as t."""
    x = Factors(*(Stream(3).child(i).normal((n, 2)) for i, n in enumerate((9, 7))))
    space = TangentSpace.at(x)
    tangent = space.project(Stream(4).normal((9, 7)))
    times = np.array([1e-1, 1e-2, 1e-3, 1e-4])
    errors = [
        np.linalg.norm(space.retract(tangent * t).product() - x.product() - t * whole(space, tangent)) for t in times
    ]
    orders = np.diff(np.log10(errors)) / np.diff(np.log10(times))
    assert (orders > 1.9).all()
    assert errors[0] > 1e-4  # the second order is there to be seen


def test_a_matrix_of_smaller_rank_still_has_bases():
    x = Factors(np.diag([1.0, 0.0, 0.0])[:, :2], np.ones((4, 2)))
    space = TangentSpace.at(x)
    for basis in (space.left, space.right):
        np.testing.assert_allclose(basis.T @ basis, np.eye(2), rtol=0, atol=1e-14)
    np.testing.assert_allclose(space.retract(space.project(0 * x.product())).product(), x.product(), atol=1e-14)


@pytest.mark.parametrize("library", [np, array_api_strict])
def test_batches_and_libraries(library):
    stream = Stream(np.arange(3))
    left, right = stream.child("left").normal((8, 2)), stream.child("right").normal((6, 2))
    matrix, sizes = stream.child("matrix").normal((8, 6)), np.array([0.1, 0.5, 2.0])
    space = TangentSpace.at(Factors(library.asarray(left), library.asarray(right)))
    tangent = space.project(library.asarray(matrix)) * library.asarray(sizes)
    together = space.retract(tangent)
    inner = tangent.inner(tangent)
    assert type(together.left) is type(space.left)
    for i in range(3):
        alone = TangentSpace.at(Factors(left[i], right[i]))
        expected = alone.project(matrix[i]) * sizes[i]
        z = np.asarray(together.left)[i] @ np.asarray(together.right)[i].T
        np.testing.assert_allclose(z, alone.retract(expected).product(), rtol=0, atol=1e-12)
        np.testing.assert_allclose(np.asarray(inner)[i], expected.inner(expected), rtol=1e-12)


def test_a_matrix_that_is_not_finite_is_no_affair_of_the_others():
    x = Factors(Stream(0).normal((2, 6, 2)), Stream(1).normal((2, 5, 2)))
    matrix = Stream(2).normal((2, 6, 5))
    matrix[1, 0, 0] = np.inf
    space = TangentSpace.at(x)
    with np.errstate(all="ignore"):
        moved = space.retract(space.project(matrix))
    assert np.isnan(moved.left[1]).all()
    assert np.isfinite(moved.left[0]).all()


def test_single_precision_stays_single():
    x = Factors(Stream(0).normal((6, 2)).astype(np.float32), Stream(1).normal((5, 2)).astype(np.float32))
    space = TangentSpace.at(x)
    tangent = space.project(Stream(2).normal((6, 5)).astype(np.float32)) * 0.5
    assert isinstance(tangent, Tangent)
    assert tangent.core.dtype == tangent.left.dtype == space.retract(tangent).dtype == np.float32
    assert transpose(space.factors(tangent)).dtype == np.float32
