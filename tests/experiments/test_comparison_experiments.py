"""Experiments that compare methods or operators: their claims hold on made-up data and can fail on others."""

import numpy as np
import pandas as pd

from lrtheory.sweep import loading

T = np.unique(np.geomspace(1, 4000, 130).astype(int))


def experiment(name):
    return loading.load(loading.find(name))[0]


def made_up(name, rate, steps=T[-1]):
    """The cells of the small preset with an error that falls by exp(-rate(cell)) in err^2 an iteration, to 1e-31."""
    parts = []
    for cell in experiment(name).presets["small"]:
        fall = rate(cell) * (1 + 0.01 * (cell["seed"] % 20))
        squared = np.maximum(2 * np.exp(-fall * T), 1e-31)
        first = np.ceil(12 * np.log(10) / fall) if fall * steps > 12 * np.log(10) else -1
        table = dict(
            iteration=T, error_squared=squared, relative_error=np.sqrt(squared), floor=1e-32, first_below=first
        )
        parts.append(pd.DataFrame(table).assign(**cell))
    return pd.concat(parts, ignore_index=True)


def verdicts(name, rate):
    return {claim.id: claim.verdict for claim in experiment(name).claims(made_up(name, rate))}


def condition_rate(slowed=True, missed=("gd_sym", "scaled_gd_lambda"), fails=3, equal=1.0):
    def rate(cell):
        if cell["method"] in missed:
            return 1e-5
        if cell["method"] == "agn" and cell["step_size"] == 1 and cell["seed"] < fails:
            return 1e-5
        if cell["method"] == "iht" and cell["k"] > cell["r"] and cell["seed"] < 2 * fails:
            return 1e-5
        if cell["method"] == "gd":
            return 0.1 / (cell["kappa"] if slowed else 1) * (equal if cell["rho"] == 1 else 1)
        return 0.3 / (1 if slowed else cell["kappa"])

    return rate


def test_condition_number_claims_hold_and_fail():
    good = verdicts("condition_number", condition_rate())
    assert set(good.values()) == {"holds"}
    methods = {"gd.k4", "prec_gd.k4", "prec_gd_random.k4", "agn.k4", "scaled_gd.k2", "niht.k2", "niht.k4"}
    methods |= {"riemannian_cg.k4"}
    assert {f"T9.growth.{m}" for m in methods} | {"T9.equal", "T9.fails.agn.k4", "T9.fails.iht.k4"} <= set(good)
    swapped = verdicts("condition_number", condition_rate(slowed=False))
    assert {claim for claim, verdict in swapped.items() if verdict == "fails"} == {f"T9.growth.{m}" for m in methods}
    missed = ("gd", "agn", "prec_gd", "prec_gd_random", "scaled_gd", "niht", "iht", "riemannian_cg")
    reached = verdicts("condition_number", condition_rate(missed=missed))
    assert {verdict for claim, verdict in reached.items() if claim.startswith("T9.reached")} == {"fails"}
    assert verdicts("condition_number", condition_rate(equal=0.5))["T9.equal"] == "inconclusive"
    assert verdicts("condition_number", condition_rate(fails=0))["T9.fails.agn.k4"] == "inconclusive"


def test_step_sizes_are_chosen_on_other_seeds():
    """Claims see no seed on which step sizes were compared, and only the usual step sizes."""
    frame = made_up("condition_number", condition_rate())
    spoiled = frame.copy()
    spoiled.loc[spoiled["seed"] >= 100, "first_below"] = 1
    claims = experiment("condition_number").claims
    assert [c.to_json() for c in claims(frame)] == [c.to_json() for c in claims(spoiled)]


def scaled_rate(blind=True, power=1.0):
    def rate(cell):
        if cell["method"] == "scaled_gd":
            return 0.3 if blind else 0.3 / cell["kappa"]
        return 0.3 / cell["kappa"] ** power

    return rate


def test_scaled_gd_claims_hold_and_fail():
    assert verdicts("scaled_gd", scaled_rate()) == {"E7.blind": "holds", "E7.slowed": "holds"}
    assert verdicts("scaled_gd", scaled_rate(False, 0.2)) == {"E7.blind": "fails", "E7.slowed": "fails"}


def order_rate(symmetric=1e-4, preconditioned=1.0, gain=5.0):
    def rate(cell):
        if cell["method"] == "gd_sym":
            return symmetric
        return preconditioned if cell["method"] == "prec_gd_random" else 0.02 / (gain if cell["rho"] == 1 else 1)

    return rate


def test_sym_vs_asym_claims_hold_and_fail():
    ids = {f"E4.{claim}.{o}" for claim in ("first", "last") for o in ("identity", "gaussian")} | {"E4.imbalance"}
    good = verdicts("sym_vs_asym", order_rate())
    assert set(good) == ids
    assert set(good.values()) == {"holds"}
    assert set(verdicts("sym_vs_asym", order_rate(0.05, 1e-3, 1.0)).values()) == {"fails"}


def noisy(power=1.0, constant=1.0, overfit=1.5):
    """The cells of noise with a final error constant * sigma^power, times `overfit` for each doubling of k."""
    parts = []
    for cell in experiment("noise").presets["small"]:
        least_squares = np.sqrt(92 / (cell["m"] - 93))  # p = r (2n - r) = 92 degrees of freedom
        error = constant * least_squares * 1e-4 * (cell["noise"] / 1e-4) ** power
        error *= overfit ** np.log2(cell["k"] / cell["r"]) * (1 + 0.01 * cell["seed"])
        table = dict(iteration=[0, 100], error_squared=[2.0, error**2], relative_error=1e-3)
        parts.append(pd.DataFrame(table).assign(**cell))
    return experiment("noise").claims(pd.concat(parts, ignore_index=True))


def test_noise_claims_hold_and_fail():
    linear = {f"E10.linear.{m}.k{k}" for m in ("agn", "niht") for k in (2, 4, 8)} | {"E10.linear.gd.k2"}
    others = {f"E10.{claim}.{m}" for m in ("gd", "agn", "niht") for claim in ("constant", "overfit")}
    good = noisy()
    assert {claim.id for claim in good} == linear | others
    assert {claim.verdict for claim in good} == {"holds"}
    assert {claim.verdict for claim in noisy(power=0.5, constant=2.0, overfit=0.8)} == {"fails"}


def recovery(needed, delta_power=-0.5):
    """The cells of sample_complexity, recovered from ``needed(cell)`` measurements on."""
    parts = []
    for cell in experiment("sample_complexity").presets["small"]:
        first = 50 if cell["m"] >= needed(cell) else -1
        delta = cell["m"] ** delta_power * (1 + 0.01 * cell["seed"]) if cell["probes"] else np.nan
        table = dict(iteration=[0], relative_error=[1.0], first_below=first, delta=delta)
        parts.append(pd.DataFrame(table).assign(**cell))
    frame = pd.concat(parts, ignore_index=True)
    return {claim.id: claim.verdict for claim in experiment("sample_complexity").claims(frame)}


def test_sample_complexity_claims_hold_and_fail():
    rows = {f"{m}.k{k}" for m in ("gd", "agn", "niht") for k in (2, 4)}
    good = recovery(lambda cell: 40 * cell["k"])
    shifts = {f"E9.shift.{m}" for m in ("gd", "agn", "niht")}
    assert set(good) == {f"E9.{claim}.{row}" for claim in ("many", "few") for row in rows} | shifts | {"E9.isometry"}
    assert set(good.values()) == {"holds"}
    easy = recovery(lambda cell: 30 + 2 / cell["k"], delta_power=0.5)
    assert {claim for claim, verdict in easy.items() if verdict == "fails"} == {f"E9.few.{row}" for row in rows} | {
        "E9.isometry"
    }
    assert {verdict for claim, verdict in recovery(lambda cell: 1e9).items() if "many" in claim} == {"fails"}
    backwards = recovery(lambda cell: 400 / cell["k"])
    assert {backwards[shift] for shift in shifts} == {"fails"}


def seen_through(rates):
    return lambda cell: rates.get(cell["operator"], 0.1)


def test_sensing_operators_claims_hold_and_fail():
    slow = {"entries": 0.05, "rank-one": 0.03}
    good = verdicts("sensing_operators", seen_through(slow))
    rated = {f"E11.rate.{name}" for name in ("symmetric_gaussian", "rademacher", "entries", "rank-one")}
    names = ("gaussian", "symmetric_gaussian", "rademacher", "hadamard", "pauli", "entries", "rank-one")
    assert set(good) == rated | {f"E11.reached.{name}" for name in names}
    assert set(good.values()) == {"holds"}
    swapped = {"symmetric gaussian": 0.05, "rademacher": 0.05, "entries": 0.2, "rank-one": 0.2}
    bad = verdicts("sensing_operators", seen_through(swapped))
    assert {claim for claim, verdict in bad.items() if verdict == "fails"} == rated
    never = verdicts("sensing_operators", lambda cell: 1e-5)
    assert {verdict for claim, verdict in never.items() if "reached" in claim} == {"fails"}
