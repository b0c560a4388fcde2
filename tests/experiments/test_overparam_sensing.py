"""The claims and the figure of overparam_sensing, on made-up data: each claim holds where it should and can fail."""

import itertools

import numpy as np
import pandas as pd
import pytest

from lrtheory.sensing import trials
from lrtheory.sweep import grid, loading

T = np.unique(np.geomspace(1, 3e4, 110).astype(int))
BASE = dict(n=50, r=3, init_seed=0, step_size=0.1, floor=1e-30, sigma_k=0.1, first_below=300.0, rebalanced_at=-1.0)
BASE |= dict(max_steps=30_000)


@pytest.fixture(scope="module")
def experiment():
    return loading.load(loading.find("overparam_sensing"))[0]


def records(error_squared, **cell):
    y = np.maximum(error_squared, 1e-31)
    table = dict(iteration=T, error_squared=y, relative_error=np.sqrt(y / 3), loss=y / 4)
    return pd.DataFrame(table).assign(**(BASE | cell))


def symmetric(k, seed, slope=-2.0, constant=1.0, **cell):
    law = max(k - 3, 1) / (4 * 0.01 * 3e4**2) * (T / 3e4) ** slope * constant
    if k == 3:
        law = 3 * np.exp(2 * slope / -2.0 * np.log(0.9) * T)
    cell = dict(model="symmetric", operator="identity", algorithm="gd", k=k, alpha=0.5, seed=seed) | cell
    return records(law * (1 + 1e-4 * seed), **cell)


def asymmetric(alpha, seed, rho=1 / 3, **cell):
    rate = 0.12 * alpha**2 * (1 + 0.05 * seed) * (1 if rho < 1 else 1 / 6)
    sigma_k = np.sqrt((1 - np.exp(-rate / 2)) / 0.1)
    cell = dict(model="asymmetric", operator="identity", algorithm="gd", k=5, seed=seed) | cell
    return records(3 * np.exp(-rate * T), alpha=alpha, rho=rho, sigma_k=sigma_k, **cell)


def healthy():
    sensing = dict(operator="gaussian", form="gram", storage="float64", step_size=0.2)
    parts = [symmetric(k, s) for k, s in itertools.product((3, 4, 5, 6), range(5))]
    parts += [
        symmetric(4, s, slope=-1.95, constant=1.3 + 600 / m, m=m, **sensing) for m in (600, 1200) for s in range(5)
    ]
    parts += [asymmetric(a, s) for a, s in itertools.product((0.1, 0.2), range(5))]
    parts += [asymmetric(0.4, s, rho=rho) for rho, s in itertools.product((1 / 3, 1.0), range(20))]
    parts += [asymmetric(a, s, m=600, **sensing) for a, s in itertools.product((0.1, 0.2, 0.4, 0.8), range(10))]
    for kind, a, s in itertools.product(("flat", "lift"), (0.05, 0.2, 0.5), range(5)):
        trigger = 20.0 + 1000 * a  # its own at each alpha, so that counting from the start would show
        cell = dict(first_below=trigger + 280 + s, rebalanced_at=trigger, tolerance=1e-6, m=600, **sensing)
        parts.append(asymmetric(0.8, s, **cell).assign(algorithm=kind, alpha=a))
    return pd.concat(parts, ignore_index=True)


def verdicts(experiment, frame):
    return {claim.id: claim.verdict for claim in experiment.claims(frame)}


def test_healthy_data_holds(experiment):
    found = verdicts(experiment, healthy())
    assert set(found.values()) == {"holds"}, found
    kinds = {"T1.slope", "T1.constant", "T2.rate", "T3.slope", "T3.constant", "T4.rate", "T4.slope"}
    kinds |= {"T5.slope", "T6.median", "T6.share", "T7.count"}
    assert {".".join(name.split(".")[:2]) for name in found} == kinds


def changed(frame, **conditions):
    keep = np.ones(len(frame), dtype=bool)
    for name, value in conditions.items():
        keep &= (frame[name] == value).to_numpy()
    return keep


@pytest.mark.parametrize(
    ("claim", "where", "change"),
    [
        ("T1.slope.k4", dict(operator="identity", k=4), lambda f: f["error_squared"] * (f["iteration"] / 3e4) ** 0.1),
        ("T1.constant.k5", dict(operator="identity", k=5, model="symmetric"), lambda f: f["error_squared"] * 1.05),
        ("T2.rate", dict(k=3), lambda f: f["error_squared"] * np.exp(-1e-3 * f["iteration"])),
        ("T3.slope.m600.k4", dict(m=600, k=4), lambda f: f["error_squared"] * (f["iteration"] / 3e4) ** 0.5),
        ("T3.constant.k4", dict(m=1200, k=4), lambda f: f["error_squared"] * 3),
        ("T4.rate.alpha0.2", dict(operator="identity", alpha=0.2), lambda f: f["error_squared"] ** 1.05),
        ("T4.slope", dict(operator="identity", alpha=0.1), lambda f: f["error_squared"] ** 3),
        ("T5.slope.m600", dict(operator="gaussian", algorithm="gd", alpha=0.1), lambda f: f["error_squared"] ** 3),
        ("T6.median.alpha0.4", dict(rho=1.0), lambda f: f["error_squared"] ** 4),
        ("T6.share.alpha0.4", dict(rho=1.0), lambda f: f["error_squared"] ** 7),
    ],
)
def test_each_law_can_fail(experiment, claim, where, change):
    frame = healthy()
    keep = changed(frame, **where)
    assert keep.any()
    frame.loc[keep, "error_squared"] = np.maximum(change(frame[keep]), 1e-31)
    found = verdicts(experiment, frame)
    assert found[claim] == "fails", found


@pytest.mark.parametrize("kind", ["flat", "lift"])
def test_iteration_counts_can_fail(experiment, kind):
    frame = healthy()
    frame.loc[changed(frame, algorithm=kind, alpha=0.05), "first_below"] += 300.0
    assert verdicts(experiment, frame)[f"T7.count.{kind}"] == "fails"
    frame.loc[changed(frame, algorithm=kind, alpha=0.05), "first_below"] = -1.0  # never got there
    assert verdicts(experiment, frame)[f"T7.count.{kind}"] == "inconclusive"


@pytest.mark.parametrize("axis", ["n", "m", "step_size", "max_steps", "form", "k"])
def test_two_values_of_an_axis_are_never_pooled(experiment, axis):
    """Cells of another value that break every law leave the verdicts on the first value alone."""
    frame = healthy()
    other = frame[frame["operator"] == "gaussian"].copy() if axis == "m" else frame.copy()
    other[axis] = {"form": "dense", "step_size": 0.15}[axis] if axis in ("form", "step_size") else other[axis] + 10
    other["error_squared"] = other["error_squared"].to_numpy()[::-1]
    found = verdicts(experiment, pd.concat([frame, other], ignore_index=True))
    holding = sum(verdict == "holds" for verdict in found.values())
    assert holding >= len(verdicts(experiment, frame)) - (axis == "m")  # T3.constant compares the values of m
    assert len(found) > holding


def test_exact_rank_does_not_count_as_over_parameterised(experiment):
    frame = healthy()
    exact = frame[frame["model"] == "asymmetric"].assign(k=3)
    assert verdicts(experiment, pd.concat([frame, exact])) == verdicts(experiment, frame)


def test_rates_are_of_the_end_of_a_trace(experiment):
    frame = healthy()
    keep = changed(frame, model="asymmetric", operator="identity")
    early = 30 * np.exp(-np.minimum(frame.loc[keep, "iteration"], 20) / 4)  # a burn-in ten times as steep
    frame.loc[keep, "error_squared"] *= early
    assert set(verdicts(experiment, frame).values()) == {"holds"}


def test_the_identity_is_not_asked_of_runs_without_imbalance(experiment):
    frame = healthy()
    odd = changed(frame, operator="identity", alpha=0.2, seed=3)
    frame.loc[odd, "sigma_k"] = 0.01  # sigma_k(F)^2 far below alpha^2: both signs in the imbalance
    claims = {claim.id: claim for claim in experiment.claims(frame)}
    assert claims["T4.rate.alpha0.2"].verdict == "inconclusive"  # four seeds are left
    assert claims["T4.rate.alpha0.2"].measured == pytest.approx(1, abs=1e-3)


def test_failed_cell_makes_its_claims_inconclusive(experiment):
    frame = healthy()
    keep = changed(frame, model="symmetric", operator="identity", k=4, seed=2)
    table = ["iteration", "error_squared", "relative_error", "loss", "floor", "sigma_k", "first_below", "rebalanced_at"]
    row = frame[keep].iloc[:1].copy()
    row[table] = np.nan
    found = verdicts(experiment, pd.concat([frame[~keep], row]))
    assert found["T1.slope.k4"] == found["T1.constant.k4"] == "inconclusive"
    assert found["T1.slope.k5"] == "holds"


def test_claims_and_figure_take_an_empty_frame(experiment):
    assert experiment.claims(pd.DataFrame()) == []
    assert experiment.claims(healthy().iloc[:0]) == []
    for empty in (pd.DataFrame(), healthy().iloc[:0]):
        axes = experiment.figure(empty).axes
        assert len(axes) == 4
        assert all("no data" in [text.get_text() for text in ax.texts] for ax in axes)


@pytest.mark.parametrize("preset", ["small", "paper", "large"])
def test_claims_and_figure_take_each_sub_grid_alone(experiment, preset):
    whole = healthy()
    drawn = 0
    for part in experiment.presets[preset].parts:
        frame = whole
        for name in ("model", "operator", "algorithm", "alpha"):
            frame = frame[frame[name].isin(part[name])]
        experiment.claims(frame)
        axes = experiment.figure(frame).axes
        drawn += sum("no data" not in [text.get_text() for text in ax.texts] for ax in axes)
    assert drawn >= len(experiment.presets[preset].parts) - 1


@pytest.mark.parametrize("axis", ["k", "m", "n"])
def test_figure_draws_one_case_of_several(experiment, axis):
    frame = healthy()
    other = frame[frame["operator"] == "gaussian"].copy()
    other[axis] += 10
    axes = experiment.figure(pd.concat([frame, other.iloc[: len(other) // 2]], ignore_index=True)).axes
    for ax, reference in zip(axes, experiment.figure(frame).axes, strict=True):
        for line, expected in zip(ax.lines, reference.lines, strict=True):
            assert [float(y) for y in line.get_ydata()] == [float(y) for y in expected.get_ydata()]


def test_figure_reads_as_published(experiment):
    axes = experiment.figure(healthy()).axes
    for ax in axes:
        assert ax.get_xlabel()
        assert ax.get_ylabel()
        assert ax.get_legend() is not None
    assert sum(line.get_linestyle() == "--" for ax in axes[:3] for line in ax.lines) >= 5  # theory
    assert [ax.get_xscale() for ax in axes] == ["log", "linear", "log", "linear"]
    assert [ax.get_yscale() for ax in axes] == ["log"] * 4


def run(experiment, **cell):
    return {tuple(c[a] for a in experiment.together): table for c, table in experiment.run(product(cell), "cpu")}


def product(cell):
    return list(grid(**cell))


POPULATION = dict(model="asymmetric", operator="identity", algorithm="gd", n=8, r=2, k=3, step_size=0.1, max_steps=60)
SENSING = POPULATION | dict(operator="gaussian", m=200, form="gram", storage="float64", tolerance=1e-2)


@pytest.mark.parametrize("base", [POPULATION, SENSING], ids=["identity", "gaussian"])
@pytest.mark.parametrize(
    "axis",
    [dict(alpha=[0.2, 0.4]), dict(rho=[0.5, 1.0]), dict(seed=[0, 1]), dict(init_seed=[0, 1])],
    ids=lambda a: next(iter(a)),
)
def test_every_axis_that_runs_together_matters(experiment, base, axis):
    one, two = run(experiment, **(base | dict(alpha=0.2, rho=1 / 3, seed=0, init_seed=0) | axis)).values()
    assert not np.array_equal(one["error_squared"], two["error_squared"])


def test_seeds_redraw_the_truth_and_init_seeds_do_not(monkeypatch, experiment):
    drawn = []
    real = trials.solve

    def spy(problem, *arguments, **options):
        drawn.append((problem.truth.product(), options["start"](problem, options["stream"].child("start")).left))
        return real(problem, *arguments, **options)

    monkeypatch.setattr(trials, "solve", spy)
    for seed, init_seed in ((0, 0), (1, 0), (0, 1)):
        run(experiment, **SENSING, alpha=0.2, rho=1 / 3, seed=seed, init_seed=init_seed)
    (truth, start), (other, _), (same, moved) = drawn
    assert np.array_equal(truth, same)
    assert not np.allclose(truth, other)
    assert not np.allclose(start, moved)


def test_flat_and_lift_are_what_they_are_called(experiment):
    cell = SENSING | dict(alpha=0.4, rho=1 / 3, seed=0, init_seed=0, step_size=0.1, max_steps=400)
    (plain,), (flat,), (lift,) = (
        run(experiment, **(cell | dict(algorithm=a))).values() for a in ("gd", "flat", "lift")
    )
    assert plain["rebalanced_at"] == -1
    assert flat["rebalanced_at"] == lift["rebalanced_at"] > 0
    assert flat["sigma_k"] == pytest.approx(lift["sigma_k"], rel=0.2)
    assert not np.array_equal(flat["error_squared"], lift["error_squared"])
    assert lift["first_below"] < plain["first_below"] or plain["first_below"] == -1


@pytest.mark.parametrize("axis", ["model", "operator", "algorithm"])
def test_unknown_names_are_refused(experiment, axis):
    with pytest.raises(ValueError, match=axis):
        run(experiment, **(SENSING | dict(alpha=0.2, rho=1 / 3, seed=0, init_seed=0) | {axis: "foo"}))


def test_real_cells_run(experiment):
    """A handful of short real cells give the columns that claims and figure read."""
    cells = [
        cell | {"max_steps": 40} for cell in experiment.presets["small"] if cell["seed"] == 0 and cell["alpha"] == 0.2
    ]
    groups = {}
    for cell in cells:
        key = tuple(sorted((name, value) for name, value in cell.items() if name not in experiment.together))
        groups.setdefault(key, []).append(cell)
    parts = []
    for group in groups.values():
        for cell, table in experiment.run(group, "cpu"):
            parts.append(pd.DataFrame(table).assign(**cell))
    frame = pd.concat(parts)
    assert len(parts) == len(cells) >= 4
    assert frame["relative_error"].between(0, 10).all()
    assert frame.groupby(list(experiment.together))["iteration"].max().eq(40).all()
    experiment.figure(frame)
