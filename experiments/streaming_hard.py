"""Where every fixed rate of Oja's method fails, whatever the order: the hard instance, with and without a decoy."""

from __future__ import annotations

import math

import numpy as np

from lrtheory import plotting
from lrtheory.names import check_name
from lrtheory.random import Stream
from lrtheory.streaming import AdaOja, FrequentDirections, HeavyBlockPower, HistoryPCA, Oja, instances, theory
from lrtheory.streaming.metrics import corr2
from lrtheory.streaming.trials import judged
from lrtheory.sweep import Experiment, grid, share_claim, value_claim
from lrtheory.sweep.frames import by_seed, cases, complete, finished, largest, per_cell, where

PAPER = "arXiv:2412.11963"
RECONSTRUCTED = f"derived for a reconstruction of the hard instance of {PAPER}"
OTHERS = {
    "adaoja": lambda stream: AdaOja(stream=stream),
    "history": lambda stream: HistoryPCA(stream=stream),
    "frequent_directions": lambda stream: FrequentDirections(20),
    "heavy_block_power": lambda stream: HeavyBlockPower(32, combine="select", stream=stream),
}
DECOY = 0.97  # R over k with a decoy: it must be the heaviest row


def preset(sizes, ks, seeds, large, large_seeds):
    rates = dict(method="oja", lowest=0.5, highest=200.0, rates=48)
    few = [k for k in ks if k <= 5]
    return (
        grid(**rates, d=sizes, k=ks, instance="hard", seed=range(seeds))
        + grid(**rates, d=large, k=ks, instance="hard", seed=range(large_seeds))
        + grid(method=list(OTHERS), d=sizes, k=few, instance="hard", seed=range(10))
        + grid(**rates, d=sizes, k=few, instance="decoy", seed=range(10))
        + grid(method=["heaviest_row", "heavy_block_power"], d=sizes, k=few, instance="decoy", seed=range(10))
    )


PRESETS = {
    "small": preset(1000, [3, 4, 5, 6, 7], 100, 10_000, 10),
    "paper": preset([1000, 10_000], range(3, 9), 100, 100_000, 20),
    "large": preset([1000, 10_000, 100_000], range(3, 10), 200, 1_000_000, 20),
}


def instance(c):
    decoy = check_name("instance", c["instance"], ("hard", "decoy")) == "decoy"
    gap = DECOY * c["k"] if decoy else float(c["k"])
    return instances.hard(c["d"], c["k"], gap, decoy=decoy).ordered("random", Stream(c["seed"], "order"))


def run(cells, device):
    made = instance(cells[0])
    for c in cells:
        stream = Stream(c["seed"], "estimator")
        if c["method"] == "oja":
            yield c, all_rates(made, c, stream)
        elif c["method"] == "heaviest_row":
            row = made.rows[[int(np.argmax(made.row_energies))]].toarray()[0]
            yield c, {"corr2": corr2(row, made.direction)}
        else:
            name = check_name("method", c["method"], ("oja", "heaviest_row", *OTHERS))
            yield c, judged(OTHERS[name](stream).fit(made.rows), made.direction)


def all_rates(made, c, stream):
    """Oja's method with all rates in one pass, beside the closed form for the same start."""
    rates = np.geomspace(c["lowest"], c["highest"], c["rates"])
    start = stream.normal((made.d,))
    found = judged(Oja(rates, start=start).fit(made.rows), made.direction) | {"step_size": rates}
    if c["instance"] == "hard":
        rows_each = (made.n - c["k"]) // (made.d - 1)
        odds = np.sum(start[1:] ** 2) / start[0] ** 2
        found["closed_form"] = theory.hard_corr2(rates, made.d, c["k"], made.gap, rows_each, odds)
    return found


AXES = ["method", "d", "k", "instance", "lowest", "highest", "rates", "seed"]


def summary(frame):
    """One row for each cell: the best corr2 over the rates, and how far the closed form is off."""

    def measure(cell):
        off = np.abs(cell["corr2"] - cell["closed_form"]).max() if "closed_form" in cell else np.nan
        return {"best": cell["corr2"].max(), "off": off}

    return per_cell(frame, AXES, ["best", "off"], measure)


def claims(frame):
    if frame.empty:
        return []
    rows = summary(frame)
    fixed = where(rows, method="oja", instance="hard")
    return [
        *solver_claims(fixed),
        *share_claims(fixed),
        *method_claims("T7", where(rows, instance="hard")),
        *method_claims("T8", where(rows, instance="decoy")),
    ]


def solver_claims(rows):
    for end, case, part in cases(rows, AXES, ("k", "seed"), ["d"]):
        statement = f"largest difference of corr2, over rates, k and starts, from the closed form is 0{case}"
        yield value_claim(f"STREAM.T7.exact{end}", statement, RECONSTRUCTED, (0.0, 1e-9), part["off"].max(skipna=False))


def share_claims(rows):
    """The law of the best rate: how many Gaussian starts fail with every one, where there are most seeds."""
    most = rows.groupby("d")["seed"].nunique().max()
    for end, case, part in cases(rows, AXES, ("seed",), ["d", "k"]):
        d, k = int(part["d"].iloc[0]), int(part["k"].iloc[0])
        expected = failing(d, k)
        predicted = (max(expected - 0.25, 0.0), min(expected + 0.25, 1.0))
        statement = f"share of starts for which every rate has corr2 < 1/2 is {expected:.2f} +- .25, R = k{case}"
        missed = np.where(part["best"].isna(), np.nan, part["best"] < 0.5)
        if part["seed"].nunique() == most:
            yield share_claim(f"STREAM.T7.share{end}", statement, RECONSTRUCTED, predicted, by_seed(part, missed))


def light_rows(d):
    """Rows a coordinate across v_1, as `instances.hard` has them."""
    return math.ceil(3 * math.log(d))


def failing(d, k):
    """The chance that a Gaussian start fails with every rate."""
    from scipy.special import fdtr

    best = theory.hard_best_corr2(d, k, float(k), light_rows(d))  # for a start with tan^2 = d
    odds = d * best / (1 - best)  # tan^2 of the start for which the best corr2 is 1/2
    return float(1 - fdtr(d - 1, 1, odds / (d - 1)))


EXPECTED = {
    "heavy_block_power": ("at least .99", (0.99, 1.0), "its heavy rows are those of v_1"),
    "history": ("below .05", (0.0, 0.05), "observed"),
    "adaoja": ("below .05", (0.0, 0.05), "observed"),
    "heaviest_row": ("0", (0.0, 1e-12), "the decoy is the heaviest row, orthogonal to v_1"),
}


def method_claims(name, rows):
    for method, (words, predicted, source) in EXPECTED.items():
        for end, case, part in cases(where(rows, method=method), AXES, ("seed",), ["d", "k"]):
            if method == "adaoja" and part["k"].iloc[0] > 4:
                continue
            low, high = predicted
            hits = np.where(part["best"].isna(), np.nan, (part["best"] >= low) & (part["best"] <= high))
            statement = f"share of starts with corr2 {words}, {method}{case}, is above 1/2"
            yield share_claim(f"STREAM.{name}.{method}{end}", statement, source, (0.5, 1.0), by_seed(part, hits))


def figure(frame):
    with plotting.style():
        fig, (left, right) = plotting.panels(1, 2, height=3.4)
        frame = complete(finished(frame, "corr2"), [*AXES, "corr2", "step_size"])
        rates_panel(left, where(frame, method="oja", instance="hard"))
        best_panel(right, summary(frame))
        return fig


def rates_panel(ax, rows):
    rows = largest(rows, AXES, ("k",)) if len(rows) else rows
    if rows.empty:
        return plotting.no_data(ax)
    d = int(rows["d"].iloc[0])
    for i, k in enumerate(sorted(rows["k"].unique())):
        part = rows[rows["k"] == k]
        plotting.band(ax, part, "step_size", "corr2", i, f"$R=k={k:g}$")
        rates = np.sort(part["step_size"].unique())
        law = theory.hard_corr2(rates, d, int(k), float(k), light_rows(d), theory.start_quantile(0.5, d))
        last = k == rows["k"].max()
        plotting.theory(ax, rates, law, "closed form, median start" if last else None)
    label = rf"rate $\eta s_1^2$ ($d={d}$)"
    plotting.decorate(ax, label, r"$\langle v,v_1\rangle^2$", xscale="log", ylim=(-0.02, 1.02), legend="below")


LABELS = {
    "adaoja": "AdaOja",
    "history": "History PCA",
    "frequent_directions": "Frequent Directions",
    "heavy_block_power": "heavy rows, block power",
}


def best_panel(ax, rows):
    rows = where(rows, instance="hard")
    if rows.empty:
        return plotting.no_data(ax)
    series = [(f"best fixed rate, $d={d:g}$", where(rows, method="oja", d=d)) for d in sorted(rows["d"].unique())]
    least = rows["d"].min()
    series += [(label, where(rows, method=name, d=least)) for name, label in LABELS.items()]
    for i, (label, part) in enumerate(pair for pair in series if len(pair[1])):
        plotting.points(ax, part, "k", "best", i, label, line=True)
    for i, d in enumerate((1e3, 1e4, 1e6)):
        gaps = np.linspace(3, 8, 60)
        law = [theory.hard_quantile(0.5, int(d), gap, gap, light_rows(d)) for gap in gaps]
        plotting.theory(ax, gaps, law, "closed form, $d=10^3,10^4,10^6$, from left" if i == 0 else None)
    ylabel = r"best $\langle v,v_1\rangle^2$"
    plotting.decorate(
        ax, f"ratio $R=k$ of the eigenvalues (other methods: $d={least:g}$)", ylabel, ylim=(-0.02, 1.05), legend="below"
    )


experiment = Experiment(
    name="streaming_hard",
    version=1,
    title="The stream on which every fixed rate of Oja's method fails",
    paper=PAPER,
    presets=PRESETS,
    together=("method", "lowest", "highest", "rates"),
    run=run,
    figure=figure,
    claims=claims,
)
