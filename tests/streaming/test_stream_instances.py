"""Instances: their spectrum and top direction against dense algebra, their rows against their definition."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtheory.streaming.instances import ORDERS, carried, generic, hard, heavy_subset, row_order, split
from lrtheory.streaming.metrics import sin2
from lrtheory.streaming.sampled import SpikedRows, drift, pareto, spiked, student
from lrtheory.streaming.theory import heavy_threshold

SPIKE = np.array([4.0, 2.0, 1.0, 1.0, 0.5])

FIXED = {
    "hard": lambda: hard(30, 4, 3.0),
    "hard, m": lambda: hard(7, 3, 2.0, 5),
    "decoy": lambda: hard(30, 4, 3.9, decoy=True),
    "split": lambda: split(6, 40, 4.0),
    "heavy subset": lambda: heavy_subset(12, 7.0, 20),
    "one heavy row": lambda: heavy_subset(1, 7.0),
    "generic": lambda: generic(60, 9, 2.5, stream=3),
    "carried": lambda: carried(100, 8, 3.0, stream=1),
    "pareto": lambda: pareto(80, 6, stream=2),
}


def dense(instance):
    rows = instance.rows
    return rows.toarray() if hasattr(rows, "tocsr") else rows


@pytest.mark.parametrize("name", FIXED)
def test_truth_is_that_of_the_matrix(name):
    instance = FIXED[name]()
    _, values, vectors = np.linalg.svd(dense(instance), full_matrices=False)
    energies = np.append(values**2, 0.0)
    assert np.allclose(instance.energies, energies[:2], rtol=1e-12, atol=1e-14)
    assert sin2(vectors[0], instance.direction) < 1e-24
    assert np.isclose(np.linalg.norm(instance.direction), 1.0, rtol=1e-14)
    if instance.energies[1]:
        assert np.isclose(instance.gap, energies[0] / energies[1], rtol=1e-12)
    else:
        assert math.isinf(instance.gap)
    assert np.allclose(instance.row_energies, np.sum(dense(instance) ** 2, axis=1), rtol=1e-14)
    assert (instance.n, instance.d) == dense(instance).shape


@given(d=st.integers(3, 60), k=st.integers(2, 6), gap=st.floats(1.1, 9.0), decoy=st.booleans())
def test_hard_instance_is_sparse_and_its_heavy_rows_are_those_of_the_top(d, k, gap, decoy):
    gap = min(gap, k - 0.1) if decoy else gap
    instance = hard(d, k, gap, decoy=decoy)
    m = math.ceil(3 * math.log(d))
    assert instance.rows.format == "csr"
    assert np.array_equal(np.diff(instance.rows.indptr), np.ones(instance.n))  # one stored number a row
    assert instance.n == k + (d - 2) * m + 1 if decoy else instance.n == k + (d - 1) * m
    moment = (instance.rows.T @ instance.rows).toarray()
    assert np.allclose(moment, np.diag([1.0] + [1 / gap] * (d - 1)), rtol=1e-13, atol=0)
    heaviest = dense(instance)[np.argmax(instance.row_energies)]
    if decoy:
        assert sin2(heaviest, instance.direction) == 1.0
    elif m > k / gap:
        assert sin2(heaviest, instance.direction) == 0.0


@pytest.mark.parametrize(("d", "k", "gap"), [(1000, 3, 3.0), (1000, 6, 6.0), (10000, 4, 4.0)])
def test_light_rows_of_the_hard_instance_are_light(d, k, gap):
    instance = hard(d, k, gap)
    heavy = instance.row_energies >= heavy_threshold(np.sum(instance.row_energies), d)
    assert np.array_equal(np.flatnonzero(heavy), np.arange(k))


def test_carried_rows():
    instance = carried(1000, 20, 5.0, share=0.1, stream=4)
    along = (instance.rows @ instance.direction) ** 2 / instance.row_energies
    assert np.all(along[:100] > 1 - 1e-12)
    assert np.all(along[100:] < 1e-24)
    assert np.allclose(np.linalg.svd(instance.rows, compute_uv=False) ** 2, [1] + [0.2] * 19, rtol=1e-12)
    assert 300 < np.sum(instance.rows @ np.ones(20) > 0) < 700  # random signs


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("instance", "ties"), [(carried(200, 8, 3.0), True), (hard(9, 3, 2.0), True), (pareto(50, 4), False)]
)
def test_orders_permute_the_rows(order, instance, ties):
    permutation = row_order(instance.rows, order, instance.direction, 5)
    assert np.array_equal(np.sort(permutation), np.arange(instance.n))
    ordered = instance.ordered(order, 5)
    assert np.array_equal(dense(ordered), dense(instance)[permutation])
    assert ordered.energies == instance.energies
    assert np.array_equal(row_order(instance.rows, order, instance.direction, 5), permutation)  # named, not consumed
    redrawn = row_order(instance.rows, order, instance.direction, 6)
    assert np.array_equal(redrawn, permutation) == (order == "stored" or (order != "random" and not ties))


def test_where_the_rows_of_the_top_direction_come():
    instance = carried(1000, 20, 5.0, share=0.1)

    def places(order):
        rows = instance.ordered(order, 7).rows
        return np.flatnonzero((rows @ instance.direction) ** 2 > 1e-6)

    assert np.array_equal(places("v1_first"), np.arange(100))
    assert np.array_equal(places("v1_last"), np.arange(900, 1000))
    assert np.array_equal(places("v1_middle"), np.arange(450, 550))
    shuffled = places("random")
    assert shuffled[0] < 100
    assert shuffled[-1] > 900
    # rows across v_1 are not sorted by rounding errors: their order is random
    tail = instance.ordered("v1_first", 7).rows[100:]
    assert abs(np.corrcoef(np.arange(900), np.abs(tail @ instance.rows[100]))[0, 1]) < 0.2
    parallel = np.abs(np.sum(tail[1:] * tail[:-1], axis=1)) > 0.5 * np.sum(tail[1:] ** 2, axis=1)
    assert np.mean(parallel) < 0.1  # of 19 axes; errors are those of the axis


def test_orders_by_norm_and_by_overlap_of_generic_rows():
    instance = pareto(400, 5, stream=8)
    assert np.all(np.diff(instance.ordered("norm_ascending").row_energies) > -1e-6 * instance.row_energies.max())
    assert np.all(np.diff(instance.ordered("norm_descending").row_energies) < 1e-6 * instance.row_energies.max())
    generic_rows = generic(300, 6, 3.0)
    along = (generic_rows.ordered("v1_last").rows @ generic_rows.direction) ** 2
    assert np.all(np.diff(along) > -1e-8 * along.max())
    middle = (generic_rows.ordered("v1_middle").rows @ generic_rows.direction) ** 2
    assert np.argmax(middle) in (149, 150)
    assert np.all(np.diff(middle[:150]) > -1e-8 * along.max())
    assert np.all(np.diff(middle[150:]) < 1e-8 * along.max())


def test_spiked_rows_come_in_chunks_and_again():
    chunks = SpikedRows(10000, SPIKE, stream=3, rotate=True)
    pieces = list(chunks)
    assert [len(p) for p in pieces] == [4096, 4096, 1808]
    instance = spiked(10000, SPIKE, stream=3, rotate=True)
    assert np.array_equal(np.concatenate(pieces), instance.rows)
    assert np.array_equal(np.concatenate(list(chunks)), instance.rows)
    assert np.array_equal(spiked(500, SPIKE, stream=3, rotate=True).rows, instance.rows[:500])
    assert np.array_equal(instance.direction, chunks.basis[:, 0])
    assert instance.energies == (40000.0, 20000.0)
    assert not np.array_equal(spiked(500, SPIKE, stream=4, rotate=True).rows, instance.rows[:500])
    single = spiked(500, SPIKE, stream=3, rotate=True, dtype="float32").rows
    assert single.dtype == np.float32
    assert np.array_equal(single, instance.rows[:500].astype(np.float32))


@pytest.mark.parametrize(
    "make",
    [
        lambda n: spiked(n, SPIKE, 1).rows,
        lambda n: spiked(n, SPIKE, 1, rotate=True).rows @ SpikedRows(n, SPIKE, 1, True).basis,
        lambda n: student(n, SPIKE, 8.0, 1).rows,
    ],
)
def test_sampled_rows_have_the_covariance_that_they_name(make):
    n = 40000
    rows = make(n)
    # each entry of the sample covariance within 5 of its own standard errors
    products = rows[:, :, None] * rows[:, None, :]
    error = products.std(axis=0) / math.sqrt(n)
    assert np.all(np.abs(products.mean(axis=0) - np.diag(SPIKE)) < 5 * error)
    assert error.max() < 0.1


def test_student_rows_have_heavier_tails_than_gaussian_ones():
    """The kurtosis of a coordinate is 3 (nu - 2) / (nu - 4), 4.5 at nu = 8."""
    rows = student(200000, np.array([2.0, 1.0]), 8.0, 2).rows
    kurtosis = np.mean(rows**4, axis=0) / np.mean(rows**2, axis=0) ** 2
    assert np.all(np.abs(kurtosis - 4.5) < 0.4)


def test_pareto_factors():
    """P(F > t) = t^{-tail}: the logarithm of the factor is exponential, with mean 1 / tail."""
    gaussian = pareto(20000, 3, stream=1, tail=1e9).rows  # factors are 1 within 1e-8
    rows = pareto(20000, 3, stream=1, tail=1.5).rows
    factors = np.linalg.norm(rows, axis=1) / np.linalg.norm(gaussian, axis=1)
    assert factors.min() >= 1 - 1e-7
    assert abs(np.mean(np.log(factors)) - 1 / 1.5) < 5 / 1.5 / math.sqrt(20000)
    assert np.allclose(rows / factors[:, None], gaussian, rtol=1e-6)
    scales = np.mean(gaussian**2, axis=0)
    assert np.allclose(scales, [6.25, 1, 1], rtol=0.06)


def test_drifting_rows_turn_with_the_direction():
    instance = drift(3000, SPIKE, 1e-3, stream=2)
    still = drift(3000, SPIKE, 0.0, stream=2)
    assert np.allclose(instance.direction, instance.direction_at(2999), atol=1e-15)
    assert instance.direction_at(np.arange(4).reshape(2, 2)).shape == (2, 2, 5)
    assert sin2(instance.direction, still.direction) == pytest.approx(math.sin(2.999) ** 2)
    # in the frame that turns, the rows are those that stand still
    along = np.sum(instance.rows * instance.direction_at(np.arange(3000)), axis=1)
    assert np.allclose(along, still.rows[:, 0], atol=1e-12)
    assert np.array_equal(instance.rows[:, 2:], still.rows[:, 2:])
    assert np.allclose(instance.row_energies, still.row_energies, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: hard(1, 3, 2.0), "d must be an integer >= 2, got 1"),
        (lambda: hard(10, 0, 2.0), "k must be"),
        (lambda: hard(10, 3, 1.0), "gap must be above 1, got 1.0"),
        (lambda: hard(10, 3, 3.0, decoy=True), "gap < k = 3"),
        (lambda: hard(10, 3, 2.0, 0), "m must be"),
        (lambda: split(1, 3, 2.0), "d must be"),
        (lambda: heavy_subset(5, 2.0, 5), "d must be an integer >= 6, got 5"),
        (lambda: heavy_subset(5, 0.0), "quotient must be finite and > 0"),
        (lambda: generic(5, 6, 2.0), "n must be an integer >= 6, got 5"),
        (lambda: generic(5, 5, math.nan), "gap must be finite"),
        (lambda: carried(100, 8, 2.0, share=1.0), "share"),
        (lambda: carried(5, 8, 2.0), "one for each of 7"),
        (lambda: spiked(10, [1.0, 1.0]), "strictly above"),
        (lambda: spiked(10, [3.0, 1.0, 2.0]), "must fall"),
        (lambda: spiked(10, [3.0]), "d >= 2"),
        (lambda: spiked(10, [3.0, -1.0]), "eigenvalues must be finite and >= 0, got -1"),
        (lambda: spiked(10, SPIKE, dtype="float16"), "float32"),
        (lambda: spiked(True, SPIKE), "n must be an integer"),
        (lambda: student(10, SPIKE, 2.0), "above 2"),
        (lambda: pareto(10, 3, tail=0.0), "tail"),
        (lambda: drift(10, SPIKE, math.inf), "rate must be finite"),
        (lambda: carried(100, 8, 2.0).ordered("v1_frist"), "did you mean v1_first"),
        (lambda: row_order(np.eye(3), "v1_last"), "needs a direction"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("eigenvalues", ["a", [[1.0], [1.0, 2.0]], [2.0 + 1j, 1.0]])
def test_what_is_no_spectrum_is_refused(eigenvalues):
    with pytest.raises(TypeError, match="eigenvalues"):
        spiked(10, eigenvalues)
