"""condition_number, scaled_gd and sym_vs_asym: their claims hold on made-up data and can fail on others."""

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
        if cell["method"] == "gd":
            return 0.1 / (cell["kappa"] if slowed else 1) * (equal if cell["rho"] == 1 else 1)
        return 0.3 / (1 if slowed else cell["kappa"])

    return rate


def test_condition_number_claims_hold_and_fail():
    good = verdicts("condition_number", condition_rate())
    assert set(good.values()) == {"holds"}
    methods = {"gd.k4", "prec_gd.k4", "prec_gd_random.k4", "agn.k4", "scaled_gd.k2"}
    assert {f"T9.growth.{m}" for m in methods} | {"T9.equal", "T9.fails.agn.k4"} <= set(good)
    swapped = verdicts("condition_number", condition_rate(slowed=False))
    assert {claim for claim, verdict in swapped.items() if verdict == "fails"} == {f"T9.growth.{m}" for m in methods}
    missed = ("gd", "agn", "prec_gd", "prec_gd_random", "scaled_gd")
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
