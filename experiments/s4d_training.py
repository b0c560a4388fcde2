"""Training a diagonal system by gradient: which choices of its parameterisation and initialisation matter.

A kernel with random poles is to be matched in least squares by A, C and dt, or by C and dt alone. Every row gets the
same budget: the step size of Adam that is best, by the median, on kernels and starts that are then set aside.
"""

from __future__ import annotations

import functools
import math
import operator
import warnings
from dataclasses import replace

import numpy as np

from lrtheory import plotting
from lrtheory.backend import as_array
from lrtheory.first_order import Adam
from lrtheory.names import check_name
from lrtheory.random import Stream
from lrtheory.solve import solve
from lrtheory.ssm import AliasingWarning, KernelFit, random_kernel, s4d
from lrtheory.sweep import Experiment, grid, mean_claim
from lrtheory.sweep.frames import by_seed, cases, complete, finished, largest, per_cell

PAPER = "arXiv:2206.11893"

ALL, FROZEN = "A+C+dt", "C+dt"
INITS = ("legs", "inv", "lin", "inv2", "quad", "rand", "real")
TRANSFORMS = ("exp", "relu", "softplus", "none")
RULES = ("zoh", "bilinear", "softmax")
STEP_SIZES = (1e-2, 3e-2, 1e-1, 3e-1)
USUAL = dict(trained=ALL, transform="exp", rule="zoh")


def preset(N, length, steps, seeds, tuning, crossed=()):
    """All initialisations with the usual choices, and every combination of choices for those in `crossed`."""
    shared = dict(N=N, length=length, pairs=8, step_size=STEP_SIZES, max_steps=steps)
    parts = [dict(init=INITS, **USUAL | {"trained": (ALL, FROZEN)})]
    parts += [dict(init="lin", **USUAL | choice) for choice in ({"transform": TRANSFORMS}, {"rule": RULES})]
    if crossed:
        parts.append(dict(init=crossed, trained=(ALL, FROZEN), transform=TRANSFORMS, rule=RULES))
    drawn = (dict(purpose="tuning", seed=range(tuning)), dict(purpose="test", seed=range(seeds)))
    return functools.reduce(operator.add, (grid(**part, **shared, **seeds) for part in parts for seeds in drawn))


PRESETS = {
    "small": preset(32, 256, 1000, seeds=10, tuning=4),
    "paper": preset(64, 1024, 5000, seeds=10, tuning=5, crossed=("legs", "inv", "lin")),
    "large": preset(256, 4096, 10_000, seeds=10, tuning=5, crossed=("legs", "inv", "lin")),
}


def draw(c, purpose, seed):
    """The kernel to be matched, and the system to start from."""
    stream = Stream(seed, check_name("purpose", purpose, ("tuning", "test")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AliasingWarning)  # training moves the poles
        # a memory of 2 / dt steps, from a fifth of the window to twice the window
        steps = dict(dt_min=1 / c["length"], dt_max=10 / c["length"])
        system = s4d(c["N"], 1, c["init"], stream=stream.child("start"), **steps)
    return random_kernel(c["length"], c["pairs"], stream=stream.child("target")), system


def run(cells, device):
    c = cells[0]
    keys = [(cell["purpose"], cell["seed"]) for cell in cells]
    drawn = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    targets, systems = zip(*(draw(c, *key) for key in drawn), strict=True)
    problem = KernelFit(
        as_array(np.stack(targets), device),
        *(c["transform"], c["rule"], c["init"] == "real", tuple(c["trained"].split("+"))),
        input_weights=as_array(np.stack([system.B for system in systems]), device),
    )
    start = as_array(np.concatenate([problem.point(system) for system in systems]), device)
    readout = problem.metrics(problem.best_readout(start))["relative_error"]

    of_cell = as_array(np.array([drawn[key] for key in keys]), device)  # the same draw for every step size
    problem = replace(problem, target=problem.target[of_cell], input_weights=problem.input_weights[of_cell])
    sizes = as_array(np.array([cell["step_size"] for cell in cells]), device)
    result = solve(problem, Adam(sizes), start=lambda problem, stream: start[of_cell], max_steps=c["max_steps"])
    for i, cell in enumerate(cells):
        yield cell, result.trace.table(i) | {"readout": float(readout[drawn[keys[i]]]), "status": str(result.status[i])}


ROW = ["init", "trained", "transform", "rule", "N", "length", "pairs", "max_steps"]
CHOICE = ("step_size", "purpose", "seed")
AXES = [*ROW, *CHOICE]


def measure(cell):
    late = cell[cell["iteration"] >= cell["max_steps"] / 2]
    done = len(late) and cell["status"].iloc[0] != "diverged"
    return {"final": late["relative_error"].median() if done else np.nan, "readout": cell["readout"].iloc[0]}


def summary(frame):
    """One row for each cell: the relative error, the median over the last half of the run (NaN if it diverged)."""
    return per_cell(frame, AXES, ["final", "readout"], measure)


def chosen(rows):
    """The test cells with the step size that is best for their row on the tuning cells."""
    tuning = rows[rows["purpose"] == "tuning"]
    if tuning.empty:
        return tuning
    medians = tuning.fillna({"final": np.inf}).groupby([*ROW, "step_size"], dropna=False)["final"].median()
    best = medians.reset_index().sort_values("final", kind="stable").drop_duplicates(ROW)
    return rows[rows["purpose"] == "test"].merge(best[[*ROW, "step_size"]])


def claims(frame):
    if frame.empty:
        return []
    rows = chosen(summary(frame))
    rows = rows.assign(final=np.log10(rows["final"]), readout=np.log10(rows["readout"]))
    trained = rows[rows["trained"] == ALL]
    return [
        *pole_claims(rows),
        *readout_claims(trained[trained["init"] != "real"]),
        *start_claims(trained),
        *choice_claims(trained, "transform", "exp", dict.fromkeys(("relu", "softplus", "none"), (5, "observed"))),
        *choice_claims(trained, "rule", "zoh", {"bilinear": (2, LITTLE), "softmax": (5, "observed")}),
    ]


LITTLE = f"little difference in deep networks: a remark in the code of {PAPER}; the bound is ours"


def gap(part, axis, value, base):
    """log10 of the ratio of two errors, by seed."""
    table = part.pivot(index="seed", columns=axis, values="final")
    return table[value] - table[base] if {value, base} <= set(table) else None


def pole_claims(rows):
    """Real poles are told apart: they gain little, wherever they go."""
    for end, case, part in cases(rows, AXES, ("trained", *CHOICE), ["init"]):
        values = gap(part, "trained", ALL, FROZEN)
        if values is None:
            continue
        statement = f"mean log10 of the ratio of the error with A trained to that with A frozen{case}"
        if part["init"].iloc[0] == "real":
            yield mean_claim(f"S4D.F8c.poles{end}", f"{statement}: about 0", "observed", (-0.3, 0.3), values)
        else:
            source = "expected: the larger family of systems"
            yield mean_claim(f"S4D.F8c.poles{end}", f"{statement}: below 0", source, (None, 0.0), values)


def readout_claims(rows):
    for end, case, part in cases(rows, AXES, CHOICE, ["init"]):
        statement = "mean log10 of the ratio of the error to that of the best C at the initial A and dt is below 0"
        values = by_seed(part, part["final"] - part["readout"])
        yield mean_claim(
            f"S4D.F8c.readout{end}", statement + case, "expected: training moves the poles", (None, 0), values
        )


STARTS = {
    "real": "observed",
    "rand": f"that random frequencies fail at long range: {PAPER}",
}


def start_claims(rows):
    for end, case, part in cases(rows, AXES, ("init", *CHOICE)):
        for name, source in STARTS.items():
            values = gap(part, "init", name, "lin")
            if values is not None:
                statement = f"mean log10 of the ratio of the error from {name} to that from lin is above 0{case}"
                yield mean_claim(f"S4D.F8c.start.{name}{end}", statement, source, (0.0, None), values)


def choice_claims(rows, axis, base, bounds):
    for end, case, part in cases(rows, AXES, (axis, *CHOICE), ["init"]):
        for value, (factor, source) in bounds.items():
            values = gap(part, axis, value, base)
            if values is not None:
                statement = f"mean log10 of the ratio of the error with {value} to that with {base}{case}: "
                within = (-math.log10(factor), math.log10(factor))
                statement += f"within a factor of {factor}"
                yield mean_claim(f"S4D.F8c.{axis}.{value}{end}", statement, source, within, values)


LABELS = {"none": "no transform", "zoh": "zero-order hold"}


def figure(frame):
    with plotting.style():
        fig, axes = plotting.panels(2, 2)
        frame = complete(finished(frame), [*AXES, "iteration", "relative_error", "readout", "status"])
        rows = chosen(summary(frame))
        curves = frame.merge(rows[AXES]) if len(rows) else frame.iloc[:0]
        trained = curves[curves["trained"] == ALL]
        panel_curves(axes[0], usual(trained, "transform", "rule"), "init", INITS)
        panel_frozen(axes[1], usual(rows, "transform", "rule"))
        panel_curves(axes[2], usual(trained[trained["init"] == "lin"], "rule"), "transform", TRANSFORMS)
        panel_curves(axes[3], usual(trained[trained["init"] == "lin"], "transform"), "rule", RULES)
        return fig


def usual(rows, *axes):
    for axis in axes:
        rows = rows[rows[axis] == USUAL[axis]]
    return rows


def panel_curves(ax, rows, axis, order):
    rows = largest(rows, AXES, [axis, "step_size"])
    names = [name for name in order if name in set(rows[axis])]
    if not names:
        plotting.no_data(ax)
        return
    for i, name in enumerate(names):
        part = rows[(rows[axis] == name) & (rows["iteration"] > 0)]
        plotting.band(ax, part, "iteration", "relative_error", i, LABELS.get(name, name))
    start = "" if axis == "init" else ", from lin"
    decorations = dict(xscale="log", yscale="log", legend="lower left")
    plotting.decorate(ax, f"step of Adam{start}", r"relative error $|K-K^*|\,/\,|K^*|$", **decorations)


def panel_frozen(ax, rows):
    rows = largest(rows.dropna(subset="final"), AXES, ["init", "trained", "step_size"])
    names = [name for name in INITS if name in set(rows["init"])]
    if not names:
        plotting.no_data(ax)
        return
    rows = rows.assign(place=rows["init"].map(names.index))
    for i, (trained, label) in enumerate(((ALL, "A, C and dt trained"), (FROZEN, "C and dt trained"))):
        part = rows[rows["trained"] == trained]
        if len(part):
            plotting.points(ax, part.assign(place=part["place"] + 0.2 * (i - 1)), "place", "final", i, label)
    plotting.points(ax, rows.assign(place=rows["place"] + 0.2), "place", "readout", 2, "best C at the start")
    plotting.decorate(ax, "initialisation", "relative error", yscale="log", legend="lower right")
    ax.set_xticks(range(len(names)), names)


experiment = Experiment(
    name="s4d_training",
    version=1,
    title="Which choices matter when a diagonal system is trained",
    paper=PAPER,
    presets=PRESETS,
    together=("seed", "purpose", "step_size"),
    run=run,
    figure=figure,
    claims=claims,
)
