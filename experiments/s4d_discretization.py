"""Does the discretisation matter? Kernels and outputs by zero-order hold and by the bilinear rule, against the step."""

from __future__ import annotations

import numpy as np

from lrtheory import plotting
from lrtheory.names import check_name
from lrtheory.random import Stream
from lrtheory.ssm import DiagonalSSM, poles
from lrtheory.sweep import Experiment, grid, slope_claim
from lrtheory.sweep.frames import cases, complete, finished

PAPER = "arXiv:2206.11893"
TIME = 20.0
STEPS = (0.04, 0.02, 0.01, 0.005, 0.0025)
READOUT = np.array([1.0, 0.5 - 0.2j, 0.3j, 0.7])
RULES = ("zoh", "bilinear")
INITS = ("legs", "inv", "lin", "quad")


def preset(steps, sizes, seeds):
    plain = grid(quantity="kernel", init="lin", N=8, dt=[s for s in steps if s <= 0.01])
    return plain + grid(quantity="output", init=INITS, N=sizes, dt=steps, seed=range(seeds))


PRESETS = {
    "small": preset(STEPS, 64, seeds=5),
    "paper": preset((*STEPS, 0.00125), [64, 256], seeds=20),
    "large": preset((*STEPS, 0.00125, 6.25e-4), [64, 256, 1024], seeds=20),
}


def pair(A, C, dt):
    """The systems of both rules for B = 1."""
    return [DiagonalSSM(A, np.ones_like(A), C, dt, discretization=rule) for rule in RULES]


def kernel_difference(c):
    """max_l |K_zoh - K_bilinear| / dt for a fixed readout, of four modes again and again."""
    A = poles(c["N"], c["init"])
    held, bilinear = (made.kernel(int(TIME / c["dt"])) for made in pair(A, np.resize(READOUT, A.shape), c["dt"]))
    return np.max(np.abs(held - bilinear)) / c["dt"]


def output_difference(c):
    """Relative L2 difference of the outputs to noise that the finest step resolves, for random C."""
    length = int(TIME / c["dt"])
    C = Stream(c["seed"], "readout", c["N"]).normal((2, c["N"] // 2))
    u = smooth(np.arange(length) * c["dt"], Stream(c["seed"], "input"))
    held, bilinear = (made.apply(u) for made in pair(poles(c["N"], c["init"]), C[0] + 1j * C[1], c["dt"]))
    return np.linalg.norm(held - bilinear) / np.linalg.norm(held)


def smooth(times, stream, band=1.0, terms=40):
    """A sum of sinusoids with random phases and frequencies up to `band`: the same function at every step."""
    draw = stream.draw(lambda generator: generator.uniform(size=(2, terms)))
    return np.sum(np.cos(2 * np.pi * (band * draw[0][:, None] * times + draw[1][:, None])), axis=0)


MEASURED = {"kernel": kernel_difference, "output": output_difference}


def run(cells, device):
    for c in cells:
        yield c, {"difference": float(MEASURED[check_name("quantity", c["quantity"], MEASURED)](c))}


AXES = ["quantity", "init", "N", "dt", "seed"]


def claims(frame):
    if frame.empty:
        return []
    rows = complete(frame, [*AXES, "difference"])
    return [kernel_claim(*case) for case in cases(rows[rows["quantity"] == "kernel"], AXES, ("dt",))]


def kernel_claim(end, case, part):
    system = f"{part['init'].iloc[0]} with N = {part['N'].iloc[0]:g}"
    statement = f"exponent of dt in max |K_zoh - K_bilinear| / dt, {system}, is 2"
    source = "expansion of both rules: they agree to second order"
    return slope_claim(f"S4D.T7{end}", statement, source, (1.95, 2.05), part["dt"], part["difference"])


def figure(frame):
    with plotting.style():
        fig, axes = plotting.panels(1, 2)
        frame = complete(finished(frame, "difference"), [*AXES, "difference"])
        kernel_panel(axes[0], frame[frame["quantity"] == "kernel"])
        output_panel(axes[1], frame[frame["quantity"] == "output"])
        return fig


def kernel_panel(ax, rows):
    if rows.empty:
        return plotting.no_data(ax)
    rows = rows.sort_values("dt")
    rows = rows[rows["init"] == rows["init"].iloc[0]]
    plotting.points(ax, rows, "dt", "difference", 0, f"{rows['init'].iloc[0]}, $N={rows['N'].iloc[0]:g}$")
    last = rows.iloc[-1]
    line = last["difference"] * (rows["dt"] / last["dt"]) ** 2
    plotting.theory(ax, rows["dt"], line, r"$\propto\Delta t^2$")
    plotting.decorate(ax, r"step $\Delta t$", r"$\max|K_{\rm ZOH}-K_{\rm bil}|/\Delta t$", xscale="log", yscale="log")
    plotting.plain_ticks(ax, sorted(rows["dt"].unique()))


def output_panel(ax, rows):
    if rows.empty:
        return plotting.no_data(ax)
    rows = rows[rows["N"] == rows["N"].min()]
    for i, name in enumerate(name for name in INITS if name in set(rows["init"])):
        plotting.points(ax, rows[rows["init"] == name], "dt", "difference", i, name, line=True)
    ylabel = "relative difference of outputs"
    label = rf"step $\Delta t$ ($N={rows['N'].iloc[0]:g}$)"
    plotting.decorate(ax, label, ylabel, xscale="log", yscale="log", legend="lower right")
    plotting.plain_ticks(ax, sorted(rows["dt"].unique()))


experiment = Experiment(
    name="s4d_discretization",
    version=1,
    title="Zero-order hold and the bilinear rule",
    paper=PAPER,
    presets=PRESETS,
    together=("dt", "seed"),
    run=run,
    figure=figure,
    claims=claims,
)
