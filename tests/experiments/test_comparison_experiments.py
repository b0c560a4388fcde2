"""Experiments that compare methods or operators: their claims hold on made-up data and can fail on others."""

import numpy as np
import pandas as pd

from lrtheory.sweep import loading

T = np.unique(np.geomspace(1, 4000, 130).astype(int))


def experiment(name):
    return loading.load(loading.find(name))[0]


def made_up(name, rate, steps=T[-1], diverged=None, tail=None):
    """The cells of the small preset with an error that falls by exp(-rate(cell)) in err^2 an iteration, to 1e-31."""
    parts = []
    for cell in experiment(name).presets["small"]:
        fall = rate(cell) * (1 + 0.01 * (cell["seed"] % 20))
        squared = np.maximum(2 * np.exp(-fall * T), 1e-31)
        first = np.ceil(12 * np.log(10) / fall) if fall * steps > 12 * np.log(10) else -1
        table = dict(
            iteration=T, error_squared=squared, relative_error=np.sqrt(squared), floor=1e-32, first_below=first
        )
        table |= dict(passes=T * (2 if cell["method"] in ("agn", "niht", "riemannian_cg") else 1), status="running")
        if diverged is not None and diverged(cell):
            table |= dict(status="diverged", first_below=-1)
        if tail is not None and cell["method"] in ("gd_sym", "scaled_gd_lambda"):
            table["error_squared"] = T.astype(float) ** tail
        parts.append(pd.DataFrame(table).assign(**cell))
    return pd.concat(parts, ignore_index=True)


def verdicts(name, rate, **options):
    return {claim.id: claim.verdict for claim in experiment(name).claims(made_up(name, rate, **options))}


def condition_rate(slowed=True, missed=("gd_sym", "scaled_gd_lambda"), equal=1.0, baseline=0.1):
    def rate(cell):
        if cell["method"] in missed:
            return 1e-5
        if cell["method"] == "prec_gd_asym":
            return baseline
        if cell["method"] == "gd":
            return 0.1 / (cell["kappa"] if slowed else 1) * (equal if cell["rho"] == 1 else 1)
        return 0.3 / (1 if slowed else cell["kappa"])

    return rate


def fails(n=3):
    """Which cells diverge: n seeds of Gauss-Newton with full steps, twice as many of hard thresholding at k > r."""

    def diverged(cell):
        full = cell["method"] == "agn" and cell["step_size"] == 1
        over = cell["method"] == "iht" and cell["k"] > cell["r"]
        return (full and cell["seed"] < n) or (over and cell["seed"] < 2 * n)

    return diverged


def test_condition_number_claims_hold_and_fail():
    made = dict(diverged=fails(), tail=-2.0)
    good = verdicts("condition_number", condition_rate(), **made)
    assert set(good.values()) == {"holds"}
    methods = {"gd.k4", "prec_gd.k4", "prec_gd_random.k4", "agn.k4", "scaled_gd.k2", "niht.k2", "niht.k4"}
    methods |= {"riemannian_cg.k4"}
    assert {f"T9.growth.{m}" for m in methods} | {"T9.equal", "T9.diverges.agn.k4", "T9.diverges.iht.k4"} <= set(good)
    assert {"T9.tail.gd_sym.k4", "T9.tail.scaled_gd_lambda.k4", "T9.baseline.k4"} <= set(good)
    swapped = verdicts("condition_number", condition_rate(slowed=False, baseline=0.01), **made)
    assert {claim for claim, verdict in swapped.items() if verdict == "fails"} == {f"T9.growth.{m}" for m in methods}
    missed = ("gd", "agn", "prec_gd", "prec_gd_random", "scaled_gd", "niht", "iht", "riemannian_cg")
    reached = verdicts("condition_number", condition_rate(missed=(*missed, "prec_gd_asym")), **made)
    reached = {claim: verdict for claim, verdict in reached.items() if claim.startswith("T9.reached")}
    assert {claim for claim, verdict in reached.items() if verdict == "fails"} == set(reached)
    assert verdicts("condition_number", condition_rate(equal=0.5), **made)["T9.equal"] == "inconclusive"
    calm = verdicts("condition_number", condition_rate(), tail=-2.0)
    assert calm["T9.diverges.agn.k4"] == calm["T9.diverges.iht.k4"] == "inconclusive"
    steep = verdicts("condition_number", condition_rate(baseline=2.0), diverged=fails(), tail=-1.0)
    assert {"T9.baseline.k4", "T9.tail.gd_sym.k4", "T9.tail.scaled_gd_lambda.k4"} == {
        claim for claim, verdict in steep.items() if verdict == "fails"
    }


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
    rows.add("nuclear")
    good = recovery(lambda cell: 40 * cell.get("k", 3))
    shifts = {f"E9.shift.{m}" for m in ("gd", "agn", "niht")}
    assert set(good) == {f"E9.{claim}.{row}" for claim in ("many", "few") for row in rows} | shifts | {"E9.isometry"}
    assert set(good.values()) == {"holds"}
    easy = recovery(lambda cell: 30 + 2 / cell.get("k", 3), delta_power=0.5)
    assert {claim for claim, verdict in easy.items() if verdict == "fails"} == {f"E9.few.{row}" for row in rows} | {
        "E9.isometry"
    }
    assert {verdict for claim, verdict in recovery(lambda cell: 1e9).items() if "many" in claim} == {"fails"}
    backwards = recovery(lambda cell: 400 / cell.get("k", 2))
    assert {backwards[shift] for shift in shifts} == {"fails"}


def seen_through(rates, lost=1e-5):
    """Rates by operator at the small step size; at the large one rank-one measurements are `lost`."""

    def rate(cell):
        large = cell["step_size"] > 0.2
        return lost if large and cell["operator"] == "rank-one" else rates.get(cell["operator"], 0.1)

    return rate


def test_sensing_operators_claims_hold_and_fail():
    slow = {"entries": 0.05, "rank-one": 0.2}
    good = verdicts("sensing_operators", seen_through(slow))
    rated = {f"E11.rate.{name}" for name in ("symmetric_gaussian", "rademacher", "entries", "rank-one")}
    names = ("gaussian", "symmetric_gaussian", "rademacher", "hadamard", "pauli", "entries", "rank-one")
    assert set(good) == rated | {f"E11.{size}.{name}" for name in names for size in ("small", "large")}
    assert set(good.values()) == {"holds"}
    swapped = {"symmetric gaussian": 0.101, "rademacher": 0.05, "entries": 0.2, "rank-one": 0.05}
    bad = verdicts("sensing_operators", seen_through(swapped))
    assert {claim for claim, verdict in bad.items() if verdict == "fails"} == rated
    never = verdicts("sensing_operators", lambda cell: 1e-5)
    unlike = "E11.large.rank-one"
    reached = {claim: verdict for claim, verdict in never.items() if ".small." in claim or ".large." in claim}
    assert {claim for claim, verdict in reached.items() if verdict != "fails"} == {unlike}
    assert verdicts("sensing_operators", seen_through(slow, lost=0.1))[unlike] == "fails"


def test_two_step_sizes_of_one_method_are_never_pooled():
    """As with --set step_size: the claim is on every step size, and one of them can break it."""
    frame = made_up("sym_vs_asym", order_rate())
    faster = frame[frame["method"] == "gd_sym"].assign(step_size=0.4)
    faster["error_squared"] = 1e-31
    found = {c.id: c.verdict for c in experiment("sym_vs_asym").claims(pd.concat([frame, faster], ignore_index=True))}
    assert found["E4.last.identity"] == found["E4.last.gaussian"] == "fails"
    assert found["E4.first.identity"] == "holds"


def test_a_seed_that_never_succeeds_makes_the_shift_inconclusive():
    found = recovery(lambda cell: 1e9 if cell["seed"] == 3 else 40 * cell.get("k", 3))
    assert {verdict for claim, verdict in found.items() if "shift" in claim} == {"inconclusive"}
