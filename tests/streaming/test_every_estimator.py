"""What every estimator owes: the same rows give the same result in whatever form, pieces and unit they come."""

import copy
import math
import pickle

import numpy as np
import pytest
from scipy.sparse import csr_array

from lrtheory.streaming import (
    CCIPCA,
    AdaOja,
    BlockPower,
    ClippedOja,
    CountSketch,
    FrequentDirections,
    GaussianSketch,
    GeometricMedianOja,
    HeavyBlockPower,
    HeavyHistory,
    HeavyRows,
    HistoryPCA,
    IncrementalSVD,
    Krasulina,
    MatrixKrasulina,
    Oja,
    OjaGrid,
    OjaPlusPlus,
    RowSampler,
    metrics,
)
from lrtheory.streaming._merging import MergeableEstimator

N, D = 120, 6
ROWS = np.random.default_rng(0).standard_normal((N, D)) * np.array([3.0, 2, 1, 1, 1, 1])
RATE = 0.01
MADE = [
    Oja(RATE),
    Oja(np.geomspace(1e-3, 1e-1, 20)),
    Oja(RATE, n_components=2),
    Krasulina(RATE),
    MatrixKrasulina(RATE),
    AdaOja(),
    AdaOja(batch_size=7),
    AdaOja(n_components=2),
    BlockPower(block_size=20),
    HistoryPCA(),
    HistoryPCA(7, inner=2, n_components=2),
    HeavyRows(8),
    HeavyBlockPower(5, block_size=20, n_buckets=32),
    HeavyBlockPower(5, block_size=20, n_buckets=32, combine="select"),
    HeavyHistory(5),
    OjaGrid(),
    OjaPlusPlus(RATE, phase_rows=9),
    FrequentDirections(4),
    FrequentDirections(4, robust=True, n_components=2),
    IncrementalSVD(2, batch_size=7),
    CCIPCA(2),
    CountSketch(16),
    GaussianSketch(16),
    RowSampler(16),
    ClippedOja(RATE),
    GeometricMedianOja(RATE, n_runs=3),
]


def named(made):
    return repr(made) if np.ndim(getattr(made, "step_size", 0)) == 0 else "Oja(20 rates)"


by_estimator = pytest.mark.parametrize("made", MADE, ids=named)


def fresh(made, **more):
    return type(made)(**made.get_params() | more)


def read(made, *chunks, **more):
    found = fresh(made, **more)
    for chunk in chunks:
        found.partial_fit(chunk)
    return found


def assert_alike(found, expected, tolerance=1e-12):
    assert np.all(metrics.sin2(found, expected) <= tolerance**2)


@by_estimator
def test_attributes_are_those_of_the_rows(made):
    """P21: unit vectors, of which the largest entry is positive."""
    found = read(made, ROWS)
    assert (found.n_seen_, found.n_features_in_) == (N, D)
    assert found.frobenius2_ == pytest.approx(np.sum(ROWS**2), rel=1e-13)
    v = found.components_.reshape(-1, D)
    np.testing.assert_allclose(np.linalg.norm(v, axis=1), 1, atol=1e-12)
    assert np.all(v[np.arange(len(v)), np.abs(v).argmax(1)] > 0)
    assert found.explained_energy_.shape == found.components_.shape[:-1]
    assert found.state_floats_ >= v.size
    assert fresh(made).fit(ROWS).fit(ROWS[:50]).n_seen_ == 50


@by_estimator
def test_the_form_of_the_rows_does_not_matter(made):
    expected, kept = read(made, ROWS).components_, ROWS.copy()
    fixed = ROWS.copy()
    fixed.flags.writeable = False
    for rows in (fixed, np.asfortranarray(ROWS), ROWS.astype(">f8")):
        np.testing.assert_array_equal(read(made, rows).components_, expected)
    np.testing.assert_array_equal(ROWS, kept)
    single = read(made, ROWS.astype(np.float32)).components_
    assert single.dtype == np.float32
    assert read(made, ROWS[:50].astype(np.float32), ROWS[50:]).components_.dtype == np.float64
    assert_alike(single.astype(np.float64), expected, 1e-4)


@by_estimator
def test_read_only_rows_that_kernels_copy_in_parts(made):
    rows = np.tile(ROWS, (60, 1)) * np.linspace(1, 2, 60 * N)[:, None]
    fixed = rows.copy()
    fixed.flags.writeable = False
    found, expected = read(made, fixed), read(made, rows)
    np.testing.assert_array_equal(found.components_, expected.components_)
    np.testing.assert_array_equal(found.explained_energy_, expected.explained_energy_)
    assert found.frobenius2_ == pytest.approx(np.sum(rows**2), rel=1e-12)


@by_estimator
def test_csr_rows_with_long_unsorted_and_repeated_indices(made):
    sparse = csr_array(np.where(np.abs(ROWS) > 0.5, ROWS, 0.0)).tocoo()
    order = np.random.default_rng(1).permutation(2 * sparse.nnz)
    row, column, half = (np.tile(part, 2)[order] for part in (sparse.row, sparse.col, sparse.data / 2))
    by_row = np.argsort(row, kind="stable")
    pointers = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=N))]).astype(np.int64)
    rows = csr_array((half[by_row], column[by_row].astype(np.int64), pointers), shape=(N, D))
    found, expected = read(made, rows), read(made, sparse.toarray())
    assert_alike(found.components_, expected.components_, 1e-9)
    assert found.frobenius2_ == pytest.approx(expected.frobenius2_, rel=1e-13)


@by_estimator
def test_rows_one_by_one_and_zero_rows_between_them(made):
    pieces = [row[None] for row in ROWS[:60]]
    pieces[30:30] = [np.zeros((0, D)), csr_array((0, D))]
    found, expected = read(made, *pieces), read(made, ROWS[:60])
    assert_alike(found.components_, expected.components_, 1e-9)
    np.testing.assert_allclose(found.explained_energy_, expected.explained_energy_, rtol=1e-9)
    after_zeros = read(made, np.zeros((3, D)), ROWS[:40], np.zeros((50, D)), ROWS[40:])
    assert np.isfinite(after_zeros.components_).all()
    assert after_zeros.frobenius2_ == pytest.approx(np.sum(ROWS**2), rel=1e-13)


@by_estimator
@pytest.mark.parametrize("form", [np.asarray, csr_array])
def test_zero_rows_are_no_steps(made, form):
    """P11, where no block, batch or average counts rows and no row is hashed by its number."""
    row_by_row = type(made) in (Oja, Krasulina, MatrixKrasulina, OjaGrid, HeavyRows, RowSampler, ClippedOja)
    if not row_by_row and not (isinstance(made, AdaOja) and made.batch_size == 1):
        return
    with_zeros = np.insert(ROWS, [0, 0, 30, 77, 77, N], 0.0, axis=0)
    assert len(with_zeros) == N + 6
    assert_alike(read(made, form(with_zeros)).components_, read(made, ROWS).components_, 1e-10)


def in_unit(made, unit):
    """The estimator for rows that are so many times as long."""
    if isinstance(made, AdaOja):
        return fresh(made, first_b=made.first_b * unit**2)
    return fresh(made, step_size=made.step_size / unit**2) if hasattr(made, "step_size") else fresh(made)


@by_estimator
@pytest.mark.parametrize("power", [498, 250, -250, -498])
def test_rows_of_norm_1e150_and_of_1e_150(made, power):
    """P2, to the ends of what can be squared: with rates in the unit of the rows, directions are the same."""
    unit = 2.0**power
    found, expected = read(in_unit(made, unit), ROWS * unit), read(made, ROWS)
    assert_alike(found.components_, expected.components_, 1e-10)
    np.testing.assert_allclose(found.explained_energy_ / unit / unit, expected.explained_energy_, rtol=1e-9)


@by_estimator
def test_rows_beyond_need_a_scale(made):
    expected = read(made, ROWS)
    for unit in (2.0**520, 2.0**-600):
        with pytest.raises(ValueError, match="scale"):
            fresh(made).fit(ROWS * unit)
        assert_alike(read(made, ROWS * unit, scale=unit).components_, expected.components_, 1e-10)
        by_itself = read(made, csr_array((1, D)), np.zeros((2, D)), csr_array(ROWS * unit), scale="first_row")
        assert by_itself.scale_ == unit * 2.0 ** math.frexp(np.abs(ROWS[0]).max())[1]
    for largest in (1.7e308, 5e-324):
        assert np.isfinite(read(made, np.eye(D) * largest, scale="first_row").components_).all()


@by_estimator
def test_a_scale_may_leave_the_range_of_single_precision(made):
    rows = ROWS.astype(np.float32)
    found = read(in_unit(made, 2.0**200), rows, scale=2.0**-200)
    assert_alike(found.components_.astype(np.float64), read(made, rows).components_.astype(np.float64), 1e-6)


@by_estimator
def test_the_sum_of_all_squares_may_not_overflow(made):
    """Though that of each chunk does not."""
    rows = np.full((1, D), 5e153)  # of squared norm 1.5e308
    found = read(made, rows)
    with pytest.raises(ValueError, match=r"overflows in rows 1 to 1 of the stream.*scale"):
        found.partial_fit(rows)
    assert (found.n_seen_, found.frobenius2_) == (1, pytest.approx(1.5e308))


@by_estimator
@pytest.mark.parametrize("form", [np.asarray, csr_array])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("error")
def test_a_row_that_is_not_finite_is_named_and_leaves_no_trace(made, form, value):
    bad = ROWS[50:100].copy()
    bad[3, 0], bad[10, 0] = value, np.nan  # of CSR rows the first entry
    found = read(made, ROWS[:50])
    with pytest.raises(ValueError, match="row 53 of the stream is not finite"):
        found.partial_fit(form(bad))
    assert found.n_seen_ == 50
    np.testing.assert_array_equal(
        found.partial_fit(ROWS[50:]).components_, read(made, ROWS[:50], ROWS[50:]).components_
    )


@by_estimator
def test_results_are_snapshots_and_copies_go_on_alike(made):
    found, last = read(made, ROWS[:50]), ROWS[50:].copy()
    components, energies = found.components_, found.explained_energy_
    kept = components.copy(), energies.copy()
    copies = [pickle.loads(pickle.dumps(found)), copy.deepcopy(found), copy.copy(found)]
    for copied in copies:
        np.testing.assert_array_equal(copied.partial_fit(last).components_, read(made, ROWS[:50], last).components_)
    np.testing.assert_array_equal(found.components_, kept[0])  # the copies' rows are theirs
    found.partial_fit(last)
    np.testing.assert_array_equal(components, kept[0])
    np.testing.assert_array_equal(energies, kept[1])
    expected = copies[0].components_
    components[:], last[:] = 0, 7  # neither the result nor the rows are the state
    np.testing.assert_array_equal(found.components_, expected)


@by_estimator
def test_streams_without_a_direction_are_refused(made):
    for nothing in (np.zeros((0, D)), iter([])):
        with pytest.raises(ValueError, match="no rows"):
            fresh(made).fit(nothing)
    with pytest.raises(ValueError, match="all 8 rows are zero"):
        fresh(made).fit(np.zeros((8, D)))
    for name in ("components_", "explained_energy_", "state_floats_", "status_"):
        if name == "status_" and not isinstance(vars(type(made)).get(name), property):
            continue
        with pytest.raises(AttributeError, match="no rows"):
            getattr(fresh(made), name)


@by_estimator
def test_rows_of_another_width_or_kind_are_refused(made):
    found = read(made, ROWS)
    for rows, words in (
        (ROWS[:, :4], "6 and then 4"),
        (csr_array(ROWS[:, :4]), "6 and then 4"),
        (ROWS[0], r"X\[None, :\]"),
        (ROWS.astype(complex), "complex128"),
        (ROWS.astype(object), "object"),
    ):
        with pytest.raises(ValueError, match=words):
            found.partial_fit(rows)
    assert found.n_seen_ == N


@by_estimator
def test_centred_rows_are_those_about_their_mean(made):
    """The rows sqrt((t - 1) / t) (a_t - mean before), in any chunks; their outer products sum to the covariance."""
    shifted, t = ROWS + 7, np.arange(1, N + 1)[:, None]
    before = np.concatenate([np.zeros((1, D)), np.cumsum(shifted, axis=0)[:-1] / t[:-1]])
    found, expected = (
        read(made, shifted[:1], shifted[1:70], shifted[70:], center=True),
        read(made, np.sqrt((t - 1) / t) * (shifted - before)),
    )
    np.testing.assert_allclose(found.mean_, shifted.mean(0), rtol=1e-12)
    assert found.frobenius2_ == pytest.approx(np.sum((shifted - shifted.mean(0)) ** 2), rel=1e-10)
    assert_alike(found.components_, expected.components_, 1e-9)
    assert found.state_floats_ == expected.state_floats_ + D
    with pytest.raises(ValueError, match="sparse"):
        read(made, csr_array(shifted), center=True)


@by_estimator
def test_parameters_are_scikit_learns(made):
    base = pytest.importorskip("sklearn.base", reason="scikit-learn is not installed")
    copied = base.clone(made)
    assert copied is not made
    assert repr(copied) == repr(made)
    with pytest.raises(ValueError, match="scal"):
        copied.set_params(scalee=2)
    for name, value, error in (
        ("n_components", D + 1, ValueError),
        ("n_components", 0, ValueError),
        ("scale", 0.0, ValueError),
        ("scale", "first", ValueError),
        ("center", "running", TypeError),
        ("check_finite", "no", TypeError),
    ):
        if name in made.get_params():
            with pytest.raises(error, match=f"{name}|Krasulina has one component"):
                fresh(made, **{name: value}).fit(ROWS)


@by_estimator
def test_what_is_not_mergeable_has_no_merge(made):
    mergeable = (HeavyRows, FrequentDirections, CountSketch, GaussianSketch, RowSampler)
    assert hasattr(made, "merge") == isinstance(made, MergeableEstimator) == isinstance(made, mergeable)
