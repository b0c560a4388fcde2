"""Kernels of random readouts, before and after discretisation: where modes alias, and what spectra they have."""

from __future__ import annotations

import warnings

import numpy as np

from lrtheory import plotting
from lrtheory.random import Stream
from lrtheory.ssm import AliasingWarning, s4d
from lrtheory.sweep import Experiment, grid, value_claim
from lrtheory.sweep.frames import cases, complete, finished

PAPER = "arXiv:2206.11893"
INITS = ("legs", "inv", "lin", "quad")
SHOWN = 4.0  # of the kernels, in units of time
STEPS = (1e-3, 1e-2, 1e-1)
BEYOND_NYQUIST = {"legs": (0, 2, 15), "inv": (0, 2, 13), "lin": (0, 0, 21), "quad": (0, 16, 27)}
"""Modes with dt Im a > pi at N = 64 and the three steps: counted before, by another programme."""


def preset(sizes, length):
    return grid(init=INITS, dt=STEPS, N=sizes, length=length, readout=0)


PRESETS = {"small": preset(64, 1024), "paper": preset([64, 256], 1024), "large": preset([64, 256, 1024], 16384)}


def run(cells, device):
    for c in cells:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AliasingWarning)  # it is what the experiment shows
            made = s4d(c["N"], init=c["init"], dt=c["dt"], stream=Stream(c["readout"], "readout"))
        kernel = made.kernel(c["length"])[0]
        spectrum = np.full(c["length"], np.nan)
        half = np.abs(np.fft.rfft(kernel))
        spectrum[: len(half)] = half
        yield (
            c,
            {
                "step": np.arange(c["length"]),
                "kernel": kernel / c["dt"],
                "spectrum": spectrum,
                "aliased": int(np.sum(np.abs(made.A.imag) * c["dt"] > np.pi)),
            },
        )


AXES = ["init", "dt", "N", "length", "readout"]
FOUND = ["step", "kernel", "spectrum", "aliased"]


def claims(frame):
    if frame.empty:
        return []
    rows = complete(frame, [*AXES, *FOUND])
    rows = rows[rows["N"] == 64].drop_duplicates(AXES)
    made = []
    for end, case, part in cases(rows, AXES, (), ["init", "dt"]):
        name, dt = part["init"].iloc[0], part["dt"].iloc[0]
        counts = dict(zip(STEPS, BEYOND_NYQUIST.get(name, ()), strict=False))
        if dt in counts:
            statement = f"modes beyond the Nyquist frequency{case}, N = 64: {counts[dt]}"
            predicted = (counts[dt], counts[dt])
            made.append(
                value_claim(f"S4D.F4.aliased{end}", statement, "counted before", predicted, part["aliased"].iloc[0])
            )
    return made


def figure(frame):
    with plotting.style():
        fig, axes = plotting.panels(2, 3)
        frame = complete(finished(frame, "kernel"), [*AXES, *FOUND])
        frame = frame[frame["N"] == frame["N"].min()]
        steps = sorted(frame["dt"].dropna().unique())[:3]
        for column in range(3):
            rows = frame[frame["dt"] == steps[column]] if column < len(steps) else frame.iloc[:0]
            kernel_panel(axes[column], rows)
            spectrum_panel(axes[3 + column], rows)
        return fig


def lines(ax, rows, x, y):
    for i, name in enumerate(name for name in INITS if name in set(rows["init"])):
        part = rows[rows["init"] == name].dropna(subset=y)
        label = f"{name} ({part['aliased'].iloc[0]:g} aliased)"
        ax.plot(part[x], part[y], label=label, **(plotting.look(i) | {"linewidth": 0.7}))


def kernel_panel(ax, rows):
    if rows.empty:
        return plotting.no_data(ax)
    shown = rows.assign(time=rows["step"] * rows["dt"])
    shown = shown[shown["time"] <= SHOWN]
    lines(ax, shown, "time", "kernel")
    plotting.decorate(ax, rf"time $l\,\Delta t$ ($\Delta t={rows['dt'].iloc[0]:g}$)", r"$K_l/\Delta t$", legend=None)


def spectrum_panel(ax, rows):
    if rows.empty:
        return plotting.no_data(ax)
    shown = rows.assign(frequency=rows["step"] / (rows["length"] * rows["dt"]))
    shown = shown[(shown["step"] > 0) & shown["spectrum"].notna()]
    lines(ax, shown, "frequency", "spectrum")
    low, high = shown["spectrum"].min(), shown["spectrum"].max()
    room = low * (low / high) ** 0.6, None  # for the legend, below all lines
    plotting.decorate(
        ax, "frequency (1 / time)", r"$|\hat K|$", xscale="log", yscale="log", ylim=room, legend="lower left"
    )


experiment = Experiment(
    name="s4d_kernels",
    version=1,
    title="Kernels and spectra of S4D initialisations",
    paper=PAPER,
    presets=PRESETS,
    together=("dt",),
    run=run,
    figure=figure,
    claims=claims,
)
