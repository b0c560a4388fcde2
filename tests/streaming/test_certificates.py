"""Certificates: no bound is ever beaten, and each says something where it should."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtheory.random import Stream
from lrtheory.streaming.certificates import (
    certify,
    combination_sin2,
    energy_guarantee,
    energy_interval,
    energy_sin2,
    gap_interval,
    growth_sin2,
    heaviest_row_sin2,
    residual_sin2,
    sketch_bounds,
    sketch_error,
    triangle_sin2,
)
from lrtheory.streaming.instances import ORDERS, hard, row_order
from lrtheory.streaming.metrics import energy, sin2
from lrtheory.streaming.sampled import pareto

ROUNDING = 1e-12


@st.composite
def matrices(draw):
    """Rows of widely different norms, with one direction stronger than others by a drawn factor."""
    n, d = draw(st.integers(1, 25)), draw(st.integers(2, 6))
    stream = Stream(draw(st.integers(0, 10**6)), "matrix")
    rows = stream.child("rows").normal((n, d))
    rows[:, 0] *= draw(st.sampled_from([1.0, 3.0, 30.0]))
    if draw(st.booleans()):
        rows *= 1 + stream.child("tails").generator().pareto(0.7, n)[:, None]
    return rows


def truth(rows):
    values, vectors = np.linalg.eigh(rows.T @ rows)
    return float(values[-1]), max(float(values[-2]), 0.0), vectors[:, -1]


def frequent_directions(rows, size):
    """The plain algorithm, with the sum of what it took off."""
    sketch, lost = np.zeros((0, rows.shape[1])), 0.0
    for row in rows:
        sketch = np.vstack([sketch, row])
        if len(sketch) == 2 * size:
            _, s, v = np.linalg.svd(sketch, full_matrices=False)
            delta = s[size - 1] ** 2 if len(s) >= size else 0.0
            lost += delta
            sketch = np.sqrt(np.maximum(s**2 - delta, 0.0))[: size - 1, None] * v[: size - 1]
    return sketch, lost


def oja(rows, rates, w):
    """Unit vector and log growth of the norm, by the unnormalised product in the sense of its logarithm."""
    growth, w = 0.0, w / np.linalg.norm(w)
    for a, eta in zip(rows, rates, strict=True):
        w = w + eta * (a @ w) * a
        growth += math.log(np.linalg.norm(w))
        w = w / np.linalg.norm(w)
    return w, growth


@given(rows=matrices())
def test_every_row_and_every_combination(rows):
    _, second, v1 = truth(rows)
    norms = np.sum(rows**2, axis=1)
    bounds = heaviest_row_sin2(norms, second)
    assert np.all(sin2(rows, v1) <= bounds + ROUNDING)
    y = np.random.default_rng(0).standard_normal(len(rows))
    x = rows.T @ y
    assert sin2(x, v1) <= combination_sin2(x @ x, y @ y, second) + ROUNDING
    power = rows.T @ (rows @ x)
    assert sin2(power, v1) <= combination_sin2(power @ power, np.sum((rows @ x) ** 2), second) + ROUNDING


@given(rows=matrices(), order=st.sampled_from(ORDERS), rate=st.floats(1e-3, 1e3), falling=st.booleans())
def test_growth_bounds_the_error_of_oja_in_every_order(rows, order, rate, falling):
    top, second, v1 = truth(rows)
    rows = rows[row_order(rows, order, v1)]
    rates = np.full(len(rows), rate / top) / (np.arange(1, len(rows) + 1) if falling else 1.0)
    start = np.random.default_rng(1).standard_normal(rows.shape[1])
    w, growth = oja(rows, rates, start)
    assert sin2(w, v1) <= growth_sin2(rates.max(), second, growth) + ROUNDING
    known = growth_sin2(rates.max(), second, growth, sin2(start, v1))
    assert sin2(w, v1) <= known + ROUNDING
    assert known <= growth_sin2(rates.max(), second, growth)


def test_growth_bound_is_nearly_attained():
    """Rows (1, b_i) with b_i proportional to what <a_i, w> will be, and many rows before that make A^T A diagonal."""
    eta, late, early = 0.01, 1500, 20_000
    b = 0.1 * (1 + eta) ** np.arange(1.0 - late, 1.0)
    rows = np.ones((early + late, 2))
    rows[early:, 1], rows[:early, 1] = b, -np.sum(b) / early
    assert abs(rows[:, 0] @ rows[:, 1]) < 1e-9
    w, growth = oja(rows, np.full(len(rows), eta), np.array([1.0, 0.0]))
    error, bound = sin2(w, np.eye(2)[0]), growth_sin2(eta, np.sum(rows[:, 1] ** 2), growth)
    assert 0.9 * bound < error < bound < 0.01


def test_growth_says_something_on_a_stream_with_a_gap():
    instance = hard(50, 6, 400.0)
    rows = instance.ordered("random").rows.toarray()
    w, growth = oja(rows, np.full(len(rows), 40.0), np.random.default_rng(0).standard_normal(50))
    bound = growth_sin2(40.0, 1 / 400, growth)
    assert sin2(w, instance.direction) < bound < 0.06
    assert growth_sin2(40.0, 1 / 400, 0.5) > 0.5  # no growth, no certificate


@given(rows=matrices(), seed=st.integers(0, 1000), share=st.floats(0, 1))
def test_energy_residual_and_triangle(rows, seed, share):
    top, second, v1 = truth(rows)
    v = share * v1 + (1 - share) * np.random.default_rng(seed).standard_normal(len(v1))
    v = v / np.linalg.norm(v)
    t = energy(v, rows)
    scale = 1e-9 * top / (top - second)  # the error of |A v|^2 and s^2, over the gap
    assert sin2(v, v1) <= energy_sin2(t, top, second) + scale
    assert sin2(v, v1) <= energy_sin2(0.9 * t, 1.1 * top, 1.1 * second) + scale
    residual = rows.T @ (rows @ v) - t * v
    if t > second * (1 + 1e-6):
        assert sin2(v, v1) <= residual_sin2(residual @ residual, t, second) + scale
    assert residual_sin2(residual @ residual, second, second) == 1.0
    w = np.random.default_rng(seed + 1).standard_normal(len(v1))
    assert sin2(w, v1) <= triangle_sin2(sin2(w, v), sin2(v, v1)) + ROUNDING


def test_bounds_are_attained():
    """In two dimensions energy and residual determine the angle."""
    rows = np.diag([3.0, 1.0])
    for angle in (0.01, 0.3):
        v = np.array([math.cos(angle), math.sin(angle)])
        t = energy(v, rows)
        assert math.isclose(energy_sin2(t, 9.0, 1.0), math.sin(angle) ** 2, rel_tol=1e-9)
        assert math.isclose(triangle_sin2(math.sin(angle) ** 2, math.sin(0.2) ** 2), math.sin(angle + 0.2) ** 2)
        residual = rows.T @ (rows @ v) - t * v
        bound = residual_sin2(residual @ residual, t, 1.0)
        assert math.isclose(bound, math.sin(angle) ** 2 * 64 * math.cos(angle) ** 2 / (t - 1) ** 2, rel_tol=1e-9)
        assert bound <= math.tan(angle) ** 2 * (1 + 1e-9)
    assert triangle_sin2(0.9, 0.9) == 1.0
    # a row across v_1, as heavy as s_2
    assert heaviest_row_sin2(1.0, 1.0) == 1.0
    assert energy_sin2(5.0, 4.0, 1.0) == 0.0


@given(rows=matrices(), size=st.integers(2, 6), with_total=st.booleans())
def test_sketch_bounds_hold(rows, size, with_total):
    top, second, _ = truth(rows)
    sketch, lost = frequent_directions(rows, size)
    total = float(np.sum(rows**2))
    bounds = sketch_bounds(sketch, lost, total if with_total else None)
    slack = 1e-10 * total
    assert bounds[0] <= top + slack
    assert top <= bounds[1] + slack
    assert bounds[2] <= second + slack
    assert second <= bounds[3] + slack
    assert lost <= sketch_error(total, float(np.sum(sketch**2)), size) + slack
    low, high = gap_interval(bounds)
    if second > 1e-6 * top:
        assert low <= top / second * (1 + 1e-6)
        assert top / second <= high * (1 + 1e-4)


@given(rows=matrices(), size=st.integers(2, 8), seed=st.integers(0, 1000), oracle=st.booleans())
def test_certificates_are_never_wrong(rows, size, seed, oracle):
    top, second, v1 = truth(rows)
    total = float(np.sum(rows**2))
    sketch, lost = frequent_directions(rows, size)
    heaviest = rows[np.argmax(np.sum(rows**2, axis=1))]
    rate = 3.0 / top
    w, growth = oja(rows, np.full(len(rows), rate), np.random.default_rng(seed).standard_normal(len(v1)))
    v = v1 if oracle else w
    given_growth = {} if oracle else {"step_size": rate, "log_growth": growth}
    slack = 1e-9 * top / (top - second)
    for evidence in (
        {},
        {"energy": 0.999 * energy(v, rows)},
        {"sketch": sketch, "error": lost},
        {"sketch": sketch, "error": lost, "energy": energy(v, rows) * (1 - 1e-12), "heaviest_row": heaviest},
    ):
        found = certify(v, total, **evidence, **given_growth)
        for bound in found.evidence.values():
            assert sin2(v, v1) <= bound + slack
        assert found.sin2 == min(found.evidence.values())
        assert found.energy_ratio <= energy(v, rows) / top + 1e-9
        if second > 1e-6 * top:
            assert found.gap[0] <= top / second * (1 + 1e-4)
            assert top / second <= found.gap[1] * (1 + 1e-4)


def test_the_second_energy_is_at_most_half_of_all():
    assert sketch_bounds(np.zeros((1, 3)), 1.0, 1.0) == (0.0, 1.0, 0.0, 0.5)
    assert sketch_bounds(np.array([[0.0, 0.6**0.5, 0.0]]), 0.4, 1.0) == pytest.approx((0.6, 1.0, 0.0, 0.4))


def test_a_user_gets_an_answer():
    instance = pareto(2000, 20, stream=3, spike=6.0, tail=3.0)
    rows, total = instance.rows, float(np.sum(instance.row_energies))
    sketch, lost = frequent_directions(rows, 12)
    good = certify(instance.direction, total, energy=energy(instance.direction, rows), sketch=sketch, error=lost)
    assert good.trusted(0.1)
    assert good.gap[0] < instance.gap < good.gap[1]
    assert good.gap[0] > 0.5 * instance.gap
    assert "by energy" in str(good)
    other = certify(np.eye(1, 20, 3)[0], total, sketch=sketch, error=lost)
    assert other.sin2 == 1.0
    assert not other.trusted(0.5)
    assert other.energy_ratio < 0.2
    assert "nothing is certified" in str(other)
    # without a sketch: the energy alone, once it is above half of F^2
    alone = certify(instance.direction, total, energy=energy(instance.direction, rows))
    share = instance.energies[0] / total
    assert math.isclose(alone.sin2, (1 - share) / (1 - (1 - share)), rel_tol=1e-9)


def test_intervals_of_sketched_energies_cover():
    """Gaussian sketches of |A v|^2 = 5: coverage within 5 standard errors; Chebyshev's covers more."""
    draws, r = 20000, 32
    sketched = 5 * np.random.default_rng(0).chisquare(r, draws) / r
    for confidence in (0.5, 0.9, 0.99):
        low, high = energy_interval(sketched, r, confidence)
        covered = np.mean((low <= 5) & (high >= 5))
        assert abs(covered - confidence) < 5 * math.sqrt(confidence * (1 - confidence) / draws)
        low, high = energy_guarantee(sketched, r, confidence)
        assert np.mean((low <= 5) & (high >= 5)) >= confidence
    assert np.all(np.isinf(energy_guarantee(sketched, r, 0.99)[1]))  # t >= 1: open above
    many = energy_interval(1.0, r, 0.9, candidates=10)
    assert many == energy_interval(1.0, r, 0.99)


def test_intervals_of_count_sketches_cover():
    """Few rows of great energy, where the chi-square law does not hold: its coverage is not less, nor Chebyshev's."""
    rng, r, draws = np.random.default_rng(1), 16, 4000
    for y in (np.array([3.0, 1.0, 1.0, 0.2]), np.ones(40)):
        sums = np.zeros((draws, r))
        for value in y:
            sums[np.arange(draws), rng.integers(0, r, draws)] += value * rng.choice([-1.0, 1.0], draws)
        sketched = np.sum(sums**2, axis=1)
        for interval in (energy_interval, energy_guarantee):
            low, high = interval(sketched, r, 0.9)
            assert np.mean((low <= y @ y) & (high >= y @ y)) > 0.88


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: heaviest_row_sin2(0.0, 1.0), "norm2 must be finite and > 0"),
        (lambda: growth_sin2(0.1, 1.0, -1.0), "log_growth must be finite and >= 0, got -1"),
        (lambda: energy_sin2(math.nan, 1.0, 1.0), "energy must be finite"),
        (lambda: triangle_sin2(1.5, 0.1), "first must lie in"),
        (lambda: sketch_bounds(np.ones(3), 0.0), "shape"),
        (lambda: sketch_bounds(np.ones((2, 3)), -1.0), "error must be"),
        (lambda: sketch_error(1.0, 1.0, 0), "size must be"),
        (lambda: energy_interval(1.0, 16, 1.0), "confidence"),
        (lambda: energy_interval(1.0, 16, candidates=0), "candidates"),
        (lambda: certify(np.zeros(3), 1.0), "v must be finite and not zero"),
        (lambda: certify(np.eye(3), 1.0), r"\(3, 3\)"),
        (lambda: certify(np.ones(3), 0.0), "frobenius2 must be finite and > 0"),
        (lambda: certify(np.ones(3), 1.0, energy=2.0), "at most frobenius2 = 1.0, got 2.0"),
        (lambda: certify(np.ones(3), 1.0, step_size=2.0), "together"),
        (
            lambda: certify(np.ones(3), 1.0, sketch=np.ones((2, 4)) / 9),
            r"sketch must have shape \(l, 3\), got \(2, 4\)",
        ),
        (lambda: certify(np.ones(3), 1.0, sketch=np.ones((2, 3))), "at most frobenius2 = 1.0: it is of other rows"),
        (lambda: certify(np.ones(3), 1.0, heaviest_row=np.ones(4) / 9), r"heaviest_row must have shape \(3,\)"),
        (lambda: certify(np.ones(3), 1.0, heaviest_row=np.zeros(3)), "got shape .* and 0.0"),
        (lambda: certify(np.ones(3), 1.0, heaviest_row=np.ones(3)), "frobenius2 = 1.0, got shape .* and 3.0"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
