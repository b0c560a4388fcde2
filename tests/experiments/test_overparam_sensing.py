"""The claims and the figure of overparam_sensing, on made-up data: each claim holds where it should and can fail."""

import itertools

import numpy as np
import pandas as pd
import pytest

from lrtheory.sweep import loading

T = np.unique(np.geomspace(1, 3e4, 110).astype(int))
BASE = dict(n=50, r=3, init_seed=0, step_size=0.1, floor=1e-30, sigma_k=0.1, first_below=300.0, rebalanced_at=-1.0)


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
        cell = dict(first_below=300.0 + s, rebalanced_at=20.0, m=600, **sensing)
        parts.append(asymmetric(0.8, s, **cell).assign(algorithm=kind, alpha=a))
    return pd.concat(parts, ignore_index=True)


def verdicts(experiment, frame):
    return {claim.id: claim.verdict for claim in experiment.claims(frame)}


def test_healthy_data_holds(experiment):
    found = verdicts(experiment, healthy())
    assert set(found.values()) == {"holds"}, found
    kinds = {"T1.slope", "T1.constant", "T2.rate", "T3.slope", "T3.constant", "T4.rate", "T4.slope"}
    kinds |= {"T5.slope", "T6.median", "T6.share", "T7.flat", "T7.lift"}
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
        ("T3.constant", dict(m=1200, k=4), lambda f: f["error_squared"] * 3),
        ("T4.rate.alpha0.2", dict(operator="identity", alpha=0.2), lambda f: f["error_squared"] ** 1.05),
        ("T4.slope", dict(operator="identity", alpha=0.1), lambda f: f["error_squared"] ** 3),
        ("T5.slope", dict(operator="gaussian", algorithm="gd", alpha=0.1), lambda f: f["error_squared"] ** 3),
        ("T6.median", dict(rho=1.0), lambda f: f["error_squared"] ** 4),
        ("T6.share", dict(rho=1.0), lambda f: f["error_squared"] ** 7),
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
    frame.loc[changed(frame, algorithm=kind, alpha=0.05), "first_below"] = 600.0
    assert verdicts(experiment, frame)[f"T7.{kind}"] == "fails"
    frame.loc[changed(frame, algorithm=kind, alpha=0.05), "first_below"] = -1.0  # never got there
    assert verdicts(experiment, frame)[f"T7.{kind}"] == "inconclusive"


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


def test_figure_reads_as_published(experiment):
    axes = experiment.figure(healthy()).axes
    for ax in axes:
        assert ax.get_xlabel()
        assert ax.get_ylabel()
        assert ax.get_legend() is not None
    assert sum(line.get_linestyle() == "--" for ax in axes[:3] for line in ax.lines) >= 5  # theory
    assert [ax.get_xscale() for ax in axes] == ["log", "linear", "log", "linear"]
    assert [ax.get_yscale() for ax in axes] == ["log"] * 4


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
