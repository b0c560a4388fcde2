"""Oja's method and Krasulina's against their formulas, row by row, in every path that takes the rows."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from lrtheory.streaming import Krasulina, Oja, metrics, oja, theory
from lrtheory.streaming._starts import orthonormal_rows
from lrtheory.streaming.sampled import spiked

D = 6


def rows_of(n=90, d=D, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)) * np.linspace(2, 0.5, d)


def start_of(d=D, k=None):
    return np.random.default_rng(9).standard_normal(d if k is None else (k, d))


def plain(rows, rates, w, krasulina=False):
    """The direction after the steps, log(||w_n|| / ||w_0||) of Oja's, and the estimate of the energy."""
    w, growth, energies = w / np.linalg.norm(w), 0.0, []
    for a, eta in zip(rows, rates, strict=True):
        s = a @ w
        energies.append(s * s)
        w = w + eta * (s * a - (s * s * w if krasulina else 0))
        growth += math.log(np.linalg.norm(w))
        w /= np.linalg.norm(w)
    return w, growth, windowed(energies)


def windowed(energies):
    """The energies of rows n0, n0 + 1, .., n for all n rows, n0 half of the largest power of two up to n."""
    n, first = len(energies), 1
    while 4 * first <= n:
        first *= 2
    return np.sum(energies[first - 1 :], axis=0) * n / (n - first + 1)


def assert_same(found, expected, tolerance=1e-11):
    np.testing.assert_allclose(metrics.sin2(found, expected), 0, atol=tolerance**2)


SCHEDULES = {
    "constant": np.ones_like,
    "inv": lambda t: 1 / (t + 5),
    "inv_sqrt": lambda t: 1 / np.sqrt(t + 5),
    "callable": lambda t: 1 / (t + 5) ** 0.7,
}


@pytest.mark.parametrize("method", [Oja, Krasulina])
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("form", [np.asarray, csr_array])
def test_steps_are_those_of_the_formula(method, name, form):
    rows, rates = rows_of(), 0.1 * SCHEDULES[name](np.arange(1.0, 91))
    schedule = (lambda t: t**-0.7) if name == "callable" else name
    found = method(0.1, schedule=schedule, t0=5, start=start_of()).fit(form(rows))
    expected, growth, energy = plain(rows, rates, start_of(), method is Krasulina)
    assert_same(found.components_[0], expected)
    assert found.explained_energy_ == pytest.approx(energy, rel=1e-11)
    table = method(0.1, schedule=rates / 0.1, start=start_of()).fit(form(rows))
    assert_same(table.components_[0], expected)
    if method is Oja:
        assert found.log_growth_ == pytest.approx(growth, rel=1e-11)


@pytest.mark.parametrize("members", [1, 3, 20])  # one by one, and by products of blocks
@pytest.mark.parametrize("method", [Oja, Krasulina])
def test_members_of_a_batch_are_single_runs(members, method):
    """P16 and P20."""
    rows, rates = rows_of(300), np.geomspace(1e-3, 0.3, members)
    found = method(rates, start=start_of()).fit(rows)
    assert found.components_.shape == (members, 1, D)
    for b in range(members):
        expected, growth, energy = plain(rows, np.full(300, rates[b]), start_of(), method is Krasulina)
        assert_same(found.components_[b, 0], expected, 1e-9)
        assert found.explained_energy_[b] == pytest.approx(energy, rel=1e-9)
        if method is Oja:
            assert found.log_growth_[b] == pytest.approx(growth, rel=1e-9)


@pytest.mark.parametrize("step_size", [0.1, [0.1, 0.3, 0.01]])
@pytest.mark.parametrize("schedule", ["constant", "inv", np.linspace(1, 0.5, 90)], ids=["constant", "inv", "array"])
def test_members_may_differ_in_their_starts_alone(step_size, schedule):
    """With rates for all of them, or for the last axis."""
    rows, starts = rows_of(), np.random.default_rng(5).standard_normal((4, 3, 1, D))
    found = Oja(np.array(step_size), schedule=schedule, start=starts).fit(rows)
    assert found.components_.shape == (4, 3, 1, D)
    for i, j in np.ndindex(4, 3):
        one = Oja(float(np.broadcast_to(step_size, 3)[j]), schedule=schedule, start=starts[i, j]).fit(rows)
        assert_same(found.components_[i, j, 0], one.components_[0])
    streams = Oja(0.1, schedule=schedule, stream=np.arange(5)).fit(rows)
    assert_same(streams.components_[4, 0], Oja(0.1, schedule=schedule, stream=4).fit(rows).components_[0])


def test_members_that_take_rows_a_few_at_a_time_are_single_runs(monkeypatch):
    monkeypatch.setattr(oja, "CACHED_ENTRIES", 64)  # eight rows
    rows, rates = rows_of(), np.array([0.01, 0.1])
    found = Oja(rates, start=start_of()).fit(rows)
    for b in range(2):
        alone = Oja(rates[b], start=start_of()).fit(rows)
        np.testing.assert_array_equal(found.components_[b], alone.components_)
        np.testing.assert_array_equal(found.explained_energy_[b], alone.explained_energy_)


@pytest.mark.parametrize("members", [2, 20])
def test_schedules_may_differ_between_members(members):
    rows = rows_of()
    table = np.random.default_rng(1).uniform(0, 0.2, (90, members))
    found = Oja(1.0, schedule=table, start=start_of()).fit(rows)
    for b in range(members):
        assert_same(found.components_[b, 0], plain(rows, table[:, b], start_of())[0], 1e-10)


@pytest.mark.parametrize(
    "made",
    [Oja(0.1), Oja(0.1, n_components=2), Oja(np.full(20, 0.1)), Krasulina(0.1)],
    ids=["one", "two components", "20 members", "Krasulina"],
)
@pytest.mark.parametrize(
    "schedule",
    ["inv", "inv_sqrt", lambda t: t**-0.7, np.linspace(1, 0.1, 90)],
    ids=["inv", "inv_sqrt", "callable", "array"],
)
def test_schedules_go_on_from_chunk_to_chunk(made, schedule):
    rows = rows_of()
    whole, parts = (type(made)(**made.get_params() | dict(schedule=schedule, t0=3)) for _ in range(2))
    whole.fit(rows)
    for first, last in ((0, 1), (1, 40), (40, 90)):
        parts.partial_fit(rows[first:last])
    np.testing.assert_allclose(parts.components_, whole.components_, atol=1e-12)
    np.testing.assert_allclose(parts.explained_energy_, whole.explained_energy_, rtol=1e-12)


@pytest.mark.parametrize("d", [5, 1300])  # the row kernel, and that of four rows
def test_wide_rows_and_odd_numbers_of_them(d):
    for n in (1, 3, 4, 7, 21):
        rows = rows_of(n, d)
        found = Oja(0.01, start=start_of(d)).fit(rows)
        expected, _, energy = plain(rows, np.full(n, 0.01), start_of(d))
        assert_same(found.components_[0], expected)
        assert found.explained_energy_ == pytest.approx(energy, rel=1e-11)


@pytest.mark.parametrize("form", [np.asarray, csr_array])
@pytest.mark.parametrize("eta", [0.01, 3.0])
def test_components_step_together_and_stay_orthonormal(form, eta):
    rows, w, energies, growth = rows_of(), np.linalg.qr(start_of(k=3).T)[0].T, [], np.zeros(3)
    for a in rows:
        energies.append((w @ a) ** 2)
        growth += np.log(np.abs(np.diag(np.linalg.qr((w + eta * np.outer(w @ a, a)).T)[1])))
        w = np.linalg.qr((w + eta * np.outer(w @ a, a)).T)[0].T
    found = Oja(eta, n_components=3, start=start_of(k=3)).fit(form(rows))
    np.testing.assert_allclose(metrics.corr2(found.components_, w), 1, atol=1e-9)
    np.testing.assert_allclose(found.components_ @ found.components_.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(found.explained_energy_, windowed(energies), rtol=1e-9)
    np.testing.assert_allclose(found.log_growth_, growth, rtol=1e-10)


def test_orthonormal_rows_are_those_of_gram_schmidt():
    rows = np.random.default_rng(5).standard_normal((4, 3, D))
    found, lengths = orthonormal_rows(rows)
    factors = rows @ np.swapaxes(found, -1, -2)
    np.testing.assert_allclose(found @ np.swapaxes(found, -1, -2), np.broadcast_to(np.eye(3), (4, 3, 3)), atol=1e-14)
    np.testing.assert_allclose(factors, np.tril(factors), atol=1e-14)
    np.testing.assert_allclose(np.diagonal(factors, axis1=-2, axis2=-1), lengths, rtol=1e-13)
    assert np.all(lengths > 0)


def test_float32_rows_stay_float32_and_cost_some_units_of_rounding():
    rows = rows_of(1000).astype(np.float32)
    found = Oja(0.01, start=start_of()).fit(rows)
    assert found.components_.dtype == np.float32
    assert_same(found.components_[0].astype(float), plain(rows.astype(float), np.full(1000, 0.01), start_of())[0], 1e-6)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 12), eta=st.floats(0, 1e3), k=st.integers(-8, 8))
def test_laws_of_the_product(seed, n, eta, k):
    """P1 signs, P2 powers of two, P3 rotations, P7 growth, P11 zero rows, P12 rate 0, P21 norms."""
    generator = np.random.default_rng(seed)
    rows, start = generator.standard_normal((n, D)), generator.standard_normal(D)
    found = Oja(eta, start=start).fit(rows)
    v = found.components_[0]
    signs = generator.choice([-1.0, 1.0], (n, 1))
    np.testing.assert_array_equal(Oja(eta, start=start).fit(signs * rows).components_[0], v)
    np.testing.assert_array_equal(Oja(eta / 4.0**k, start=start).fit(2.0**k * rows).components_[0], v)
    q = np.linalg.qr(generator.standard_normal((D, D)))[0]
    turned = Oja(eta, start=start @ q).fit(rows @ q).components_[0]
    np.testing.assert_allclose(metrics.corr2(turned, v @ q), 1, atol=1e-9)
    assert found.log_growth_ >= -1e-12
    assert np.linalg.norm(v) == pytest.approx(1, abs=1e-14)
    with_zeros = np.concatenate([np.zeros((2, D)), rows, np.zeros((1, D))])
    np.testing.assert_array_equal(Oja(eta, start=start).fit(with_zeros).components_[0], v)
    assert_same(Oja(0.0, start=start).fit(rows).components_[0], start, 1e-13)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 12),
    eta=st.floats(0, 30),
    form=st.sampled_from([np.asarray, csr_array]),
)
def test_the_reversed_stream_is_the_transposed_product(seed, n, eta, form):
    """P5: <u, P w> = <P_rev u, w> for the unnormalised products; P6 and P7, of every row."""
    generator = np.random.default_rng(seed)
    rows, (u, w) = generator.standard_normal((n, D)), generator.standard_normal((2, D))

    def product(rows, start):
        """P start, up to its sign."""
        found = Oja(eta, start=start).fit(form(rows))
        return np.exp(found.log_growth_) * np.linalg.norm(start) * found.components_[0]

    forward, backward = product(rows, w), product(rows[::-1], u)
    size = np.linalg.norm(forward) * np.linalg.norm(u)
    assert abs(abs(u @ forward) - abs(backward @ w)) < 1e-11 * size
    found, growth = Oja(eta, start=w), 0.0
    before = w / np.linalg.norm(w)
    for a in rows:
        growth += 0.5 * math.log1p((2 * eta + eta**2 * (a @ a)) * (a @ before) ** 2)
        found.partial_fit(form(a[None]))
        assert found.log_growth_ == pytest.approx(growth, rel=1e-11, abs=1e-13)
        before = found.components_[0]


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), eta=st.floats(1e-3, 10), cut=st.integers(0, 15))
def test_chunks_change_no_bit_and_orthogonal_rows_commute(seed, eta, cut):
    """P4 and P8."""
    generator = np.random.default_rng(seed)
    rows, start = generator.standard_normal((15, D)), generator.standard_normal(D)
    parts = Oja(eta, start=start).partial_fit(rows[:cut]).partial_fit(rows[cut:])
    np.testing.assert_array_equal(parts.components_, Oja(eta, start=start).fit(rows).components_)
    axes = np.linalg.qr(generator.standard_normal((D, D)))[0] * generator.uniform(0.1, 3, D)
    shuffled = generator.permutation(axes.T)
    assert_same(
        Oja(eta, start=start).fit(shuffled).components_[0], Oja(eta, start=start).fit(axes.T).components_[0], 1e-11
    )


def test_rank_one_streams_and_two_rows_have_closed_forms():
    """P10 and P13, and P9 at both ends."""
    generator = np.random.default_rng(4)
    v, start, c = np.linalg.qr(generator.standard_normal((D, 1)))[0][:, 0], start_of(), generator.uniform(0.1, 2, 20)
    expected = start + (np.prod(1 + 0.1 * c**2) - 1) * (start @ v) * v
    assert_same(Oja(0.1, start=start).fit(c[:, None] * v).components_[0], expected)
    a, b = generator.standard_normal((2, D))
    product = (np.eye(D) + 0.3 * np.outer(b, b)) @ (np.eye(D) + 0.3 * np.outer(a, a)) @ start
    assert_same(Oja(0.3, start=start).fit(np.stack([a, b])).components_[0], product)
    rows = rows_of(8)
    w = Oja(1e-9, start=start).fit(rows)
    moved = w.components_[0] * np.exp(w.log_growth_) * np.linalg.norm(start)
    moved *= np.sign(moved @ start)
    np.testing.assert_allclose((moved - start) / 1e-9, rows.T @ (rows @ start), atol=1e-4)
    assert_same(Oja(1e12, start=start).fit(rows).components_[0], rows[-1], 1e-10)


@pytest.mark.parametrize(("members", "d"), [(1, D), (20, D), (1, 1300)])
@pytest.mark.parametrize("eta", [1e120, 1e200])
def test_steps_longer_than_any_float_end_in_the_last_row(members, d, eta):
    rows = rows_of(40, d) * 1e60
    found = Oja(np.full(members, eta), start=start_of(d)).fit(rows)
    assert np.all(metrics.sin2(found.components_[:, 0], rows[-1]) < 1e-20)
    expected = sum(math.log(eta) + 2 * math.log(np.linalg.norm(row)) for row in rows)
    np.testing.assert_allclose(found.log_growth_, expected, rtol=0.01)


def in_high_precision(rows, eta, w, krasulina=False):
    """Orthonormal rows after the steps, and their growth, that of Krasulina's as if it were Oja's."""
    with mpmath.workdps(1000):
        w, growth = [[mpmath.mpf(float(x)) for x in u] for u in w], np.zeros(len(w))
        w = [[x / mpmath.norm(u) for x in u] for u in w]
        for a in [[mpmath.mpf(float(x)) for x in row] for row in rows]:
            moved = []
            for u in w:
                s = mpmath.fdot(u, a)
                kept = 1 - eta * s * s if krasulina else 1
                moved.append([kept * x + eta * s * y for x, y in zip(u, a, strict=True)])
            w = []
            for j, u in enumerate(moved):
                for q in w:
                    along = mpmath.fdot(u, q)
                    u = [x - along * y for x, y in zip(u, q, strict=True)]
                growth[j] += float(mpmath.log(mpmath.norm(u) / abs(kept)))
                w.append([x / mpmath.norm(u) for x in u])
        return np.array([[float(x) for x in u] for u in w]), growth


@pytest.mark.parametrize("form", [np.asarray, csr_array])
@pytest.mark.parametrize("eta", [1e3, 1e6, 1e20, 1e150])
def test_steps_of_any_length_against_high_precision(eta, form):
    rows, start = rows_of(10), np.linalg.qr(start_of(k=3).T)[0].T
    for made, w in ((Oja(eta, n_components=3, start=start), start), (Krasulina(eta, start=start[0]), start[:1])):
        found = made.fit(form(rows))
        expected, growth = in_high_precision(rows, eta, w, isinstance(made, Krasulina))
        np.testing.assert_allclose(metrics.corr2(found.components_, expected), 1, atol=1e-9)
        np.testing.assert_allclose(found.log_growth_, growth if len(w) > 1 else growth[0], rtol=1e-9)


@pytest.mark.parametrize("form", [np.asarray, csr_array])
def test_a_step_of_krasulina_that_takes_all_of_w_away(form):
    """eta rho = 1: the row itself is left."""
    row = np.array([[2.0, 1.0, 0.0]])
    found = Krasulina(0.25, start=np.array([1.0, 0, 0])).fit(form(row))
    np.testing.assert_allclose(found.components_, row / np.sqrt(5), atol=1e-15)


@pytest.mark.parametrize("members", [(), (20,)])
def test_long_streams_are_rescaled(members):
    """The growth of ten thousand rows is far beyond any float."""
    rows = np.tile(rows_of(100), (100, 1))
    found = Oja(np.full(members, 0.5), start=start_of()).fit(rows)
    expected, growth, energy = plain(rows, np.full(10_000, 0.5), start_of())
    assert growth > 2000
    np.testing.assert_allclose(found.explained_energy_, np.full((*members, 1), energy), rtol=1e-9)
    np.testing.assert_allclose(found.log_growth_, np.full(members, growth), rtol=1e-9)
    assert_same(found.components_[..., 0, :], expected, 1e-8)


def test_a_rate_that_is_too_small_says_so():
    rows = rows_of(500)
    found = Oja(np.array([1e-9, 0.1]), start=start_of()).fit(rows)
    assert list(found.status_) == ["no_growth", "ok"]
    along = np.eye(D)[:1]
    by_growth = Oja(np.exp([0.99, 1.01]) - 1, start=along[0]).fit(along)  # w <- (1 + eta) w
    np.testing.assert_allclose(by_growth.log_growth_, [0.99, 1.01], rtol=1e-14)
    assert list(by_growth.status_) == ["no_growth", "ok"]
    two = Oja(10.0, n_components=2, start=np.eye(D)[:2])
    assert two.partial_fit(along).status_ == "no_growth"  # the second has not grown
    assert two.partial_fit(np.eye(D)[1:2]).status_ == "ok"


def test_the_energy_is_that_of_the_answer_on_random_order():
    lam = np.array([4.0, *[1.0] * 9])
    made = spiked(20_000, lam, 0)
    found = Oja(2 / 3, schedule="inv", t0=50, stream=1).fit(made.rows)
    assert found.explained_energy_[0] == pytest.approx(metrics.energy(found.components_[0], made.rows), rel=0.05)


def test_errors_on_independent_rows_follow_their_laws():
    """T2 and T3: thirty streams, at rates for which the first order is good to some per cent."""
    lam, n = np.array([4.0, *[1.0] * 29]), 4000
    decaying, fixed = [], []
    for seed in range(30):
        made = spiked(n, lam, seed)
        one = Oja(2 / 3, schedule="inv", t0=80, stream=seed).fit(made.rows)
        two = Oja(2e-3, stream=seed).fit(made.rows)
        decaying.append(metrics.sin2(one.components_[0], made.direction))
        fixed.append(metrics.sin2(two.components_[0], made.direction))
    start = float(theory.start_quantile(0.5, 30))
    assert np.mean(decaying) == pytest.approx(theory.oja_sin2(n, lam, 2 / 3, t0=80, start=start), rel=0.2)
    assert np.mean(fixed) == pytest.approx(theory.fixed_rate_sin2(2e-3, lam), rel=0.2)


@pytest.mark.parametrize("k", [1, 3])
def test_a_row_that_is_not_finite_is_named_and_changes_nothing(k):
    rows = rows_of(40)
    bad = rows[20:].copy()
    bad[13, 2] = math.nan
    found = Oja(0.1, n_components=k).partial_fit(rows[:20])
    with pytest.raises(ValueError, match="row 33 of the stream is not finite"):
        found.partial_fit(bad)
    np.testing.assert_array_equal(found.components_, Oja(0.1, n_components=k).fit(rows[:20]).components_)
    unchecked = Oja(0.1, n_components=k, check_finite=False).partial_fit(rows[:20]).partial_fit(bad)
    assert np.isnan(unchecked.components_).all()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (dict(step_size=-1.0), "step_size"),
        (dict(step_size=math.nan), "step_size"),
        (dict(step_size=1.0, t0=-1), "t0"),
        (dict(step_size=1.0, schedule="linear"), "schedule"),
        (dict(step_size=1.0, schedule=np.ones(5)), "schedule has 5 numbers"),
        (dict(step_size=1.0, schedule=lambda t: 1.0), "schedule"),
        (dict(step_size=1.0, schedule=lambda t: np.ones((t.size, 3))), r"step_size, \(\), got \(3,\)"),
        (dict(step_size=1.0, schedule=lambda t: -t), "schedule returns must be finite and >= 0, got -1.0"),
        (dict(step_size=1.0, start=np.ones(3)), "start"),
        (dict(step_size=1.0, start=np.full(D, np.inf)), "start"),
        (dict(step_size=1.0, n_components=2, start=np.ones((2, D))), "independent"),
        (dict(step_size=1.0, n_components=D + 1), "n_components"),
    ],
)
def test_bad_parameters_are_named(options, named):
    with pytest.raises(ValueError, match=named):
        Oja(**options).fit(rows_of())
