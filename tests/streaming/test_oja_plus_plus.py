"""Oja++ against its steps in NumPy, against `Oja`."""

from __future__ import annotations

import itertools
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from lrtheory.streaming import Oja, OjaPlusPlus, metrics

D = 9


def rows_of(n, d=D, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)) * np.geomspace(1, 0.3, d)


def orthonormal(w):
    return np.linalg.qr(w.T)[0].T


def plain(rows, start, groups, length, step_size, t0):
    """Return W and energies, row by row with a QR decomposition after each.

    Energies count a row of W from its entry, and no rows of the first half, to the power of two, of the stream.
    """
    arrive = {length * p: sum(groups[: p + 1]) for p in range(len(groups))}
    end = length * len(groups)
    w = np.empty((0, rows.shape[1]))
    first = 2 ** max(math.floor(math.log2(len(rows))) - 1, 0) - 1
    energies, counted = np.zeros(sum(groups)), np.zeros(sum(groups))
    for i, a in enumerate(rows):
        if i in arrive:
            w = orthonormal(np.concatenate([w, start[len(w) : arrive[i]]]))
        if i >= first:
            energies[: len(w)] += (w @ a) ** 2
            counted[: len(w)] += 1
        rate = step_size if i + 1 <= end else step_size * t0 / (t0 + i + 1 - end)
        w = orthonormal(w + rate * np.outer(w @ a, a))
    return w, (energies[: len(w)] * len(rows) / counted[: len(w)])


@pytest.mark.parametrize("form", [np.asarray, csr_array])
@pytest.mark.parametrize(("k", "groups"), [(1, [1]), (2, [1, 1]), (3, [2, 1]), (7, [4, 2, 1]), (6, [3, 2, 1])])
@pytest.mark.parametrize("n", [1, 10, 11, 25, 80])
def test_steps_are_those_of_the_definition(form, k, groups, n):
    rows, start = rows_of(n), np.random.default_rng(1).standard_normal((k, D))
    found = OjaPlusPlus(0.2, phase_rows=10, t0=4, n_components=k, start=start).fit(form(rows))
    expected, energies = plain(rows, start, groups, 10, 0.2, 4.0)
    assert found.components_.shape == expected.shape
    np.testing.assert_allclose(metrics.corr2(found.components_, expected), 1, atol=1e-10)
    np.testing.assert_allclose(found.components_ @ found.components_.T, np.eye(len(expected)), atol=1e-12)
    np.testing.assert_allclose(found.explained_energy_, energies, rtol=1e-9)


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(0, 60), max_size=4), k=st.integers(1, 5))
def test_chunks_change_rounding_only(cuts, k):
    rows = rows_of(60)
    whole = OjaPlusPlus(0.1, phase_rows=7, n_components=k).fit(rows)
    parts = OjaPlusPlus(0.1, phase_rows=7, n_components=k)
    edges = [0, *sorted(cuts), 60]
    for i, j in itertools.pairwise(edges):
        parts.partial_fit(rows[i:j])
    np.testing.assert_allclose(parts.components_, whole.components_, atol=1e-9)
    np.testing.assert_allclose(parts.explained_energy_, whole.explained_energy_, rtol=1e-9)
    np.testing.assert_allclose(parts.log_growth_, whole.log_growth_, atol=1e-9)


def test_one_component_is_oja_with_a_rate_that_is_constant_and_falls():
    rows = rows_of(200)
    t = np.arange(1, 201)
    table = np.where(t <= 50, 1.0, 20 / (20 + np.maximum(t - 50, 0)))
    start = np.random.default_rng(2).standard_normal(D)
    found = OjaPlusPlus(0.3, phase_rows=50, t0=20, n_components=1, start=start).fit(rows)
    oja = Oja(0.3, schedule=table, start=start).fit(rows)
    np.testing.assert_allclose(found.components_, oja.components_, atol=1e-11)
    np.testing.assert_allclose(found.log_growth_, np.array([oja.log_growth_]), rtol=1e-10)
    np.testing.assert_allclose(found.explained_energy_, oja.explained_energy_, rtol=1e-9)


def test_members_of_a_batch_are_single_runs():
    rows, rates = rows_of(90), np.array([0.05, 0.2, 0.6])
    start = np.random.default_rng(3).standard_normal((4, D))
    batch = OjaPlusPlus(rates, phase_rows=20, n_components=4, start=start).fit(rows)
    assert batch.components_.shape == (3, 4, D)
    for b, rate in enumerate(rates):
        single = OjaPlusPlus(rate, phase_rows=20, n_components=4, start=start).fit(rows)
        np.testing.assert_allclose(batch.components_[b], single.components_, atol=1e-9)
        np.testing.assert_allclose(batch.explained_energy_[b], single.explained_energy_, rtol=1e-9)


def test_an_error_leaves_the_state_before_the_chunk():
    rows = rows_of(40)
    bad = rows[20:].copy()
    bad[13, 2] = math.nan
    found = OjaPlusPlus(0.1, phase_rows=8, n_components=4).partial_fit(rows[:20])
    with pytest.raises(ValueError, match="row 33 of the stream is not finite"):
        found.partial_fit(bad)
    found.partial_fit(rows[20:])
    np.testing.assert_array_equal(
        found.components_,
        OjaPlusPlus(0.1, phase_rows=8, n_components=4).partial_fit(rows[:20]).partial_fit(rows[20:]).components_,
    )
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(found)).components_, found.components_)


def test_the_leading_space_is_found():
    """Five directions of variance 9 among forty: the error falls as the inverse of the number of rows."""
    generator, d, k = np.random.default_rng(5), 40, 5
    spread = np.ones(d)
    spread[:k] = 3.0
    errors = []
    for n in (2000, 32_000):
        rows = generator.standard_normal((n, d)) * spread
        found = OjaPlusPlus(0.01, phase_rows=300, t0=50, n_components=k).fit(rows).components_
        errors.append(k - np.sum(found[:, :k] ** 2))
    assert errors[1] < errors[0] / 8
    assert errors[1] < 0.05


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (dict(step_size=-1.0), "step_size"),
        (dict(phase_rows=0), "phase_rows"),
        (dict(t0=0), "t0"),
        (dict(n_components=D + 1), "n_components"),
    ],
)
def test_bad_parameters_are_named(options, named):
    with pytest.raises(ValueError, match=named):
        OjaPlusPlus(**{"step_size": 0.1, "phase_rows": 5, **options}).fit(rows_of(10))
