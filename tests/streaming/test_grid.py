"""The grid of rates against Oja's method rate by rate, on streams whose best rate is known, and where no rate works."""

import math

import numpy as np
import pytest
from scipy.sparse import csr_array

from lrtheory.streaming import instances, metrics
from lrtheory.streaming.certificates import certify, energy_guarantee
from lrtheory.streaming.grid import SKIPPED, OjaGrid
from lrtheory.streaming.oja import Oja

D = 12


def rows_of(n=600, seed=0, growing=False):
    generator = np.random.default_rng(seed)
    rows = generator.standard_normal((n, D)) * np.array([2.0] + [1.0] * (D - 1))
    return rows * np.geomspace(1e-3, 10, n)[:, None] if growing else rows


@pytest.mark.parametrize("growing", [False, True])
def test_candidates_are_those_of_each_rate_over_the_whole_stream(growing):
    """But for the rows before a rate joins, which would have turned its vector by `SKIPPED` at most."""
    rows, start = rows_of(growing=growing), np.random.default_rng(1).standard_normal(D)
    found = OjaGrid(start=start).fit(rows)
    alone = Oja(found.rates_, start=start).fit(rows).components_[:, 0]
    turned = np.sqrt(metrics.sin2(found.candidates_[:-1], alone))
    assert turned.max() < 2 * SKIPPED
    assert turned[-1] < 1e-7 or growing  # the largest rate was there from the first row on
    np.testing.assert_array_equal(found.rates_, 2.0 ** np.log2(found.rates_).round())
    total = np.sum(rows**2)
    assert found.rates_[0] * total <= SKIPPED < 2.1 * found.rates_[0] * total
    assert found.rates_[-1] * total >= 2 ** (math.ceil(math.log2(D)) + 5) * math.log(D) / 2


def test_the_heaviest_row_is_a_candidate_and_energies_are_those_of_the_sketch():
    rows = rows_of()
    rows[77] *= 5
    found = OjaGrid(stream=3).fit(rows)
    np.testing.assert_array_equal(found.heaviest_row_, rows[77])
    np.testing.assert_array_equal(OjaGrid(scale=4.0).fit(rows).heaviest_row_, rows[77])
    np.testing.assert_allclose(found.candidates_[-1], rows[77] / np.linalg.norm(rows[77]), atol=1e-15)
    exact = np.sum((rows @ found.candidates_.T) ** 2, axis=0)
    np.testing.assert_allclose(found.candidate_energies_, exact, rtol=0.5)  # five deviations of 256 buckets
    winner = found.candidates_[np.argmax(found.candidate_energies_)]
    np.testing.assert_allclose(metrics.corr2(found.components_[0], winner), 1, atol=1e-14)
    assert found.explained_energy_[0] == found.candidate_energies_.max()
    low = energy_guarantee(found.candidate_energies_.max(), 256, 0.9, candidates=len(found.candidates_))[0]
    assert found.evidence(confidence=0.9)["energy"] == low


def test_a_winner_that_has_not_grown_says_so():
    """One rate, of log(d) / F^2 at most, and a start along v_1: it is better than any row, and has not been tested."""
    made = instances.generic(600, D, 4.0)
    found = OjaGrid(n_rates=1, start=made.direction).fit(made.rows)
    assert metrics.corr2(found.components_[0], made.direction) > 0.99
    assert 0 < found.log_growth_.max() < 1
    assert found.status_ == "no_growth"


def test_chunks_and_sparse_rows_change_nothing():
    rows = rows_of(growing=True)
    whole = OjaGrid().fit(rows)
    parts = OjaGrid()
    for first, last in ((0, 1), (1, 90), (90, 90), (90, 600)):
        parts.partial_fit(rows[first:last])
    sparse = OjaGrid().fit(csr_array(rows))
    for other in (parts, sparse):
        np.testing.assert_array_equal(other.rates_, whole.rates_)
        np.testing.assert_allclose(metrics.corr2(other.candidates_, whole.candidates_), 1, atol=1e-10)


def test_leading_zeros_wait_for_a_rate():
    rows = np.concatenate([np.zeros((5, D)), rows_of(50)])
    found = OjaGrid(start=np.ones(D)).fit(rows)
    np.testing.assert_allclose(found.candidates_, OjaGrid(start=np.ones(D)).fit(rows[5:]).candidates_, atol=1e-12)


@pytest.mark.parametrize("order", ["random", "v1_first", "v1_last", "v1_middle"])
@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e6])
def test_one_rate_suits_every_order_and_unit(order, unit):
    made = instances.carried(2000, 30, 4.0).ordered(order)
    found = OjaGrid().fit(made.rows * unit)
    assert metrics.corr2(found.components_[0], made.direction) > 0.99
    assert found.status_ == "ok"


def test_on_the_hard_stream_the_heaviest_row_saves_it_and_a_decoy_does_not():
    """k = R = 3 and d = 500, where no rate works for almost every start; medians over starts."""
    plain, decoy = instances.hard(500, 3, 3.0), instances.hard(500, 3, 2.9, decoy=True)
    found = [
        [metrics.corr2(OjaGrid(stream=seed).fit(made.rows).components_[0], made.direction) for seed in range(9)]
        for made in (plain, decoy)
    ]
    assert np.median(found[0]) > 0.999
    assert np.median(found[1]) < 0.5


def test_an_easy_vector_is_trusted_and_a_false_one_never():
    """The growth bound and the sketch's interval hold for the winner; 200 streams of few rows at any ratio."""
    easy = instances.carried(4000, 20, 1e4)
    found = OjaGrid(n_buckets=1 << 14).fit(easy.rows)
    assert certify(found.components_[0], **found.evidence()).trusted(0.25)
    generator, certified = np.random.default_rng(0), 0
    for seed in range(200):
        rows = generator.standard_normal((40, 5)) * np.array([generator.choice([1, 2, 30.0]), 1, 1, 1, 1])
        rows[generator.integers(40)] *= generator.choice([1.0, 20.0])
        found = OjaGrid(n_buckets=1 << 12, stream=seed).fit(rows)
        v = found.components_[0]
        truth = np.linalg.svd(rows)[2][0]
        certificate = certify(v, **found.evidence(confidence=0.9999))
        assert metrics.sin2(v, truth) <= certificate.sin2 + 1e-12
        certified += certificate.sin2 < 0.9
    assert certified > 20


def test_rates_reach_down_to_the_largest_rows():
    """Rows so long that the rates are below 2^-1000: they are those of other rows, divided."""
    rows, unit = rows_of(60), 2.0**500
    found, expected = OjaGrid().fit(rows * unit), OjaGrid().fit(rows)
    np.testing.assert_array_equal(found.rates_ * unit * unit, expected.rates_)
    np.testing.assert_allclose(metrics.corr2(found.candidates_, expected.candidates_), 1, atol=1e-9)


def test_a_stream_of_one_row_has_an_answer():
    found = OjaGrid().fit(np.eye(D)[:1] * 3)
    np.testing.assert_allclose(found.components_, np.eye(D)[:1])


@pytest.mark.parametrize(
    ("options", "named"),
    [(dict(n_rates=0), "n_rates"), (dict(n_buckets=0), "n_buckets"), (dict(start=np.ones(3)), "start")],
)
def test_bad_parameters_are_named(options, named):
    with pytest.raises(ValueError, match=named):
        OjaGrid(**options).fit(rows_of())


def test_rows_that_are_not_finite_are_named():
    rows = rows_of()
    rows[123, 2] = np.nan
    with pytest.raises(ValueError, match="row 123 of the stream"):
        OjaGrid().fit(rows)
