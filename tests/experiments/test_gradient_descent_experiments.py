"""imbalance, phase_map and incremental_learning: their claims hold on made-up data and can fail on others."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lrtheory.factors import Factors
from lrtheory.first_order import GradientDescent
from lrtheory.sweep import loading

T = np.unique(np.geomspace(1, 4e4, 120).astype(int))
COMMON = dict(n=24, r=2, init_seed=0, step_size=0.2, floor=1e-30, first_below=-1, status="running")


def experiment(name):
    return loading.load(loading.find(name))[0]


def decay(rate, **cell):
    """Records of a run whose squared error falls by exp(-rate) an iteration."""
    y = np.maximum(3 * np.exp(-rate * T), 1e-31)
    table = dict(iteration=T, error_squared=y, relative_error=np.sqrt(y / 3), loss=y / 4)
    return pd.DataFrame(table).assign(**(COMMON | dict(imbalance_defect=1e-14, imbalance_change=1e-2) | cell))


def verdicts(name, frame):
    return {claim.id: claim.verdict for claim in experiment(name).claims(frame)}


def imbalance(power=(0.0, 2.0), gain=4.0):
    """`power`: of alpha at rho = 0, population and Gaussian; `gain`: of rho below 1 over rho = 1."""
    parts = []
    for (operator, m, p), seed in itertools.product((("identity", np.nan, 0), ("gaussian", 480, 1)), range(10)):
        cell = dict(operator=operator, m=m, k=4, seed=seed, max_steps=40_000)
        spread = 1 + 0.02 * seed
        for alpha in (0.1, 0.2, 0.4):
            parts.append(decay(0.02 * (alpha / 0.4) ** power[p] * spread, alpha=alpha, rho=0.0, **cell))
        for rho in (0.1, 1 / 3, 0.5, 0.85, 1.0):
            parts.append(decay(0.004 * (gain if rho < 1 else 1) * spread, alpha=0.4, rho=rho, **cell))
    return pd.concat(parts, ignore_index=True)


def test_imbalance_claims_hold_and_fail():
    good = verdicts("imbalance", imbalance())
    assert set(good) == {
        *("E8.slowest.identity.alpha0.4", "E8.slowest.gaussian.alpha0.4"),
        *("E8.zero.identity", "E8.zero.gaussian"),
        *(f"T8.{claim}.{operator}" for claim in ("identity", "change") for operator in ("identity", "gaussian")),
    }
    assert set(good.values()) == {"holds"}
    assert set(verdicts("imbalance", imbalance(gain=0.5)).values()) == {"holds", "fails"}
    bad = verdicts("imbalance", imbalance(power=(2.0, 0.0)))
    assert bad["E8.zero.identity"] == bad["E8.zero.gaussian"] == "fails"
    off = verdicts("imbalance", imbalance().assign(imbalance_defect=1e-6, imbalance_change=1e-9))
    assert {claim for claim, verdict in off.items() if verdict == "fails"} == {c for c in good if c.startswith("T8")}


def test_the_identity_of_the_imbalance_is_measured_on_steps_that_are_taken(monkeypatch):
    """Over a step that moves G with the new F (Gauss-Seidel) it comes out broken."""
    made = experiment("imbalance")
    cell = dict(operator="gaussian", n=8, r=2, k=3, m=100, form="dense", alpha=0.4, rho=0.5, step_size=0.2)
    cells = [cell | dict(max_steps=20, seed=seed, init_seed=0) for seed in (0, 1)]
    tables = [table for _, table in made.run(cells, "cpu")]
    assert max(table["imbalance_defect"] for table in tables) < 1e-12
    assert min(table["imbalance_change"] for table in tables) > 1e-6

    def alternating(self, problem, state):
        x = state.x
        left = x.left - 0.2 * (problem.matrix_gradient(x)[1] @ x.right)
        r = problem.matrix_gradient(Factors(left, x.right))[1]
        return replace(state, x=Factors(left, x.right - 0.2 * (np.swapaxes(r, -1, -2) @ left)), t=state.t + 1)

    monkeypatch.setattr(GradientDescent, "step", alternating)
    assert min(table["imbalance_defect"] for _, table in made.run(cells, "cpu")) > 1e-6


@pytest.mark.parametrize("name", ["imbalance", "scaled_gd", "sym_vs_asym"])
def test_a_run_without_steps_has_no_rate(name):
    made = experiment(name)
    cell = next(cell for cell in made.presets["small"] if cell["operator"] == "gaussian")
    frames = [pd.DataFrame(table).assign(**done) for done, table in made.run([cell | dict(max_steps=0)], "cpu")]
    frame = pd.concat(frames)
    made.figure(frame)
    assert {claim.verdict for claim in made.claims(frame)} <= {"inconclusive"}


def phase_map(alpha_power=2.0, k_power=-1.0):
    parts = []
    for k, alpha, seed in itertools.product((2, 3, 4, 8), (0.1, 0.2, 0.4), range(5)):
        cell = dict(operator="identity", k=k, alpha=alpha, rho=1 / 3, seed=seed, max_steps=40_000)
        parts.append(decay(0.2 * alpha**alpha_power * k**k_power * (1 + 0.02 * seed), **cell))
    return pd.concat(parts, ignore_index=True)


def test_phase_map_claims_hold_and_fail():
    good = verdicts("phase_map", phase_map())
    assert set(good) == {f"E12.alpha.k{k}" for k in (3, 4, 8)} | {f"E12.k.alpha{a:g}" for a in (0.1, 0.2, 0.4)}
    assert set(good.values()) == {"holds"}
    bad = verdicts("phase_map", phase_map(alpha_power=1.0, k_power=1.0))
    assert set(bad.values()) == {"fails"}


def incremental(growth=1.0, near=0.01):
    """Singular values that grow by `growth` times what theory says, and a smallest distance `near` to each rank."""
    t = np.arange(1501)
    parts = []
    for (operator, m), alpha, seed in itertools.product(
        (("identity", np.nan), ("gaussian", 1200)), (1e-2, 1e-4, 1e-6), range(5)
    ):
        columns = dict(iteration=t, error_squared=1e-3, relative_error=1e-2, loss=1e-3, sigma_4=alpha**2)
        for i, sigma in enumerate(np.geomspace(1, 1 / 6, 3)):
            grown = np.minimum(2 * np.log(alpha) + 2 * growth * t * np.log1p(0.1 * sigma), 700)
            columns[f"sigma_{i + 1}"] = np.minimum(np.exp(grown) * (1 + 0.01 * seed), sigma)
            columns[f"distance_{i + 1}"] = near * np.linalg.norm(np.geomspace(1, 1 / 6, 3)) * (1 + 0.01 * seed)
        cell = dict(operator=operator, m=m, n=20, r=3, k=6, kappa=6, spectrum="geometric", alpha=alpha, seed=seed)
        cell |= dict(step_size=0.1, max_steps=1500)
        parts.append(pd.DataFrame(columns).assign(**(COMMON | cell)))
    return pd.concat(parts, ignore_index=True)


def test_incremental_learning_claims_hold_and_fail():
    good = verdicts("incremental_learning", incremental())
    visits = {f"I2.visit.s{s}.{operator}" for s in (1, 2) for operator in ("identity", "gaussian")}
    assert set(good) == {f"I1.delay.sigma{i}" for i in (1, 2, 3)} | visits
    assert set(good.values()) == {"holds"}
    bad = verdicts("incremental_learning", incremental(growth=1.1, near=0.2))
    assert set(bad.values()) == {"fails"}


def test_a_singular_value_that_is_never_learnt_leaves_the_claim_open():
    frame = incremental()
    frame["sigma_3"] = 1e-9
    found = verdicts("incremental_learning", frame)
    assert found["I1.delay.sigma3"] == "inconclusive"
    assert found["I1.delay.sigma2"] == "holds"
