"""How far back a frozen diagonal system remembers: the best readout of its state, without training.

The poles are those of an initialisation, and only C is chosen, by ridge regression. Three tasks: the kernel that is a
Gaussian bump at the delay tau; the input itself, tau ago, for band-limited noise; and its whole history since then. The
first is also asked of poles with all frequencies multiplied by a factor.
"""

from __future__ import annotations

import numpy as np

from lrtheory import plotting
from lrtheory.names import check_name
from lrtheory.random import Stream
from lrtheory.ssm import poles, sequential_scan
from lrtheory.sweep import Experiment, grid, share_claim, value_claim
from lrtheory.sweep.frames import by_seed, cases, complete, finished, largest

PAPER = "arXiv:2206.11893"
OBSERVED = "observed; the bound is ours"
WIDTH = 0.05  # of the bump, in units of time
TIKHONOV = 1e-4  # the penalty is |TIKHONOV c|^2, for columns of norm one

INITS = ("legs", "inv", "lin", "quad", "inv2", "real")
DRAWN = ("rand",)
DELAYS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
RECORD = 64  # lengths of noise: with 4, a fit of 64 states to noise of this band is not about the noise's future
FACTORS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 10.0)  # of all frequencies
SCALED = ("legs", "inv", "lin", "quad")
SAMPLES = 16  # in the shortest period of the noise, that a fit is made at
TASKS = ("bump", "scaled", "noise", "history")
SPACING = 0.125  # of the moments of a history, a quarter of the shortest period


def preset(N, dt, length, delays, seeds):
    shared = dict(N=N, dt=dt, length=length, delay=delays, tikhonov=TIKHONOV)
    return (
        grid(task="bump", init=INITS, **shared)
        + grid(task="bump", init=DRAWN, seed=range(seeds), **shared)
        + grid(task="scaled", init=SCALED, imag_scale=FACTORS, **shared | dict(delay=(0.25, 1.0, 2.0)))
        + grid(task=["noise", "history"], init=(*INITS, *DRAWN), band=2.0, seed=range(seeds), record=RECORD, **shared)
    )


PRESETS = {
    "small": preset(64, 2e-3, 2000, DELAYS, seeds=6),
    "paper": preset([64, 256], 2e-3, 2000, tuple(np.linspace(0.125, 3.5, 28).tolist()), seeds=20),
    "large": preset([64, 256, 1024], 5e-4, 8000, tuple(np.linspace(0.125, 3.5, 28).tolist()), seeds=20),
}


def nodes(c):
    """Logarithms of the discrete poles, ``(M,)``."""
    stream = Stream(c.get("seed", 0), "initialisation")
    return c["dt"] * poles(c["N"], c["init"], imag_scale=c.get("imag_scale", 1.0), stream=stream)


def columns(made):
    """Real and imaginary parts, each of norm one, without those that are zero: the imaginary parts of real poles."""
    made = np.concatenate([made.real, made.imag], axis=1)
    size = np.linalg.norm(made, axis=0)
    return made[:, size > 0] / size[size > 0]


def ridge(made, target, tikhonov):
    """argmin |made c - target|^2 + |tikhonov c|^2, as least squares of the stacked system."""
    below = tikhonov * np.eye(made.shape[1])
    target = np.concatenate([target, np.zeros((len(below), *target.shape[1:]))])
    return np.linalg.lstsq(np.vstack([made, below]), target, rcond=None)[0]


def bump_error(c, x):
    """Relative L2 error of the fitted kernel."""
    steps = np.arange(c["length"])
    target = np.exp(-((steps * c["dt"] - c["delay"]) ** 2) / (2 * WIDTH**2))
    made = columns(np.exp(steps[:, None] * x))
    return np.linalg.norm(made @ ridge(made, target, c["tikhonov"]) - target) / np.linalg.norm(target)


def recall_errors(c, x, delays):
    """Relative L2 errors of u(t - tau), read from the states, for several tau.

    Fitted on the first half of a long record and measured on the second, without what follows the start at rest, at
    some samples in each period of the band.
    """
    length = c["record"] * c["length"]
    u = band_limited(length, c["dt"], c["band"], Stream(c["seed"], "input"))
    times = np.arange(0, length, max(1, int(1 / (SAMPLES * c["band"] * c["dt"]))))
    made = states(x, u, times, c["length"])
    lags = [round(delay / c["dt"]) for delay in delays]
    target = np.stack([np.where(times >= lag, u[times - lag], 0.0) for lag in lags], axis=1)
    made, target = columns(made[times >= c["length"]]), target[times >= c["length"]]
    half = len(target) // 2
    scale = np.linalg.norm(made[:half], axis=0)
    fit = ridge(made[:half] / scale, target[:half], c["tikhonov"])
    missed = target[half:] - made[half:] / scale @ fit
    return np.linalg.norm(missed, axis=0) / np.linalg.norm(target[half:], axis=0)


def states(x, u, times, piece):
    """The states of all modes at some times, ``(times, M)``, piece by piece: all of them would fill the memory."""
    state, kept = None, []
    for start in range(0, len(u), piece):
        z = sequential_scan(x, u[start : start + piece, None], state)
        kept.append(z[times[(times >= start) & (times < start + piece)] - start])
        state = z[-1]
    return np.concatenate(kept)


def moments(c):
    """Delays that a history up to tau is judged at, tau the last."""
    return [*np.arange(0.0, c["delay"] - SPACING / 2, SPACING).tolist(), c["delay"]]


def band_limited(length, dt, band, stream):
    """Gaussian noise of unit variance whose spectrum is flat up to the frequency `band` and zero beyond."""
    spectrum = np.fft.rfft(stream.normal((length,)))
    spectrum[np.fft.rfftfreq(length, dt) > band] = 0.0
    u = np.fft.irfft(spectrum, length)
    return u / np.std(u)


def run(cells, device):
    """Cells differ in the delay only: one record and one factorisation serve them all."""
    c, x = cells[0], nodes(cells[0])
    check_name("task", c["task"], TASKS)
    if c["task"] in ("bump", "scaled"):
        yield from ((cell, {"error": float(bump_error(cell, x))}) for cell in cells)
        return
    wanted = [[cell["delay"]] if c["task"] == "noise" else moments(cell) for cell in cells]
    delays = sorted({delay for some in wanted for delay in some})
    errors = dict(zip(delays, recall_errors(c, x, delays), strict=True))
    for cell, some in zip(cells, wanted, strict=True):
        yield cell, {"error": float(np.sqrt(np.mean([errors[delay] ** 2 for delay in some])))}


AXES = ["task", "init", "imag_scale", "N", "dt", "length", "delay", "tikhonov", "band", "record", "seed"]

REFERENCE = {
    "legs": (0.159, 0.160, 0.231),
    "inv": (0.151, 0.151, 0.237),
    "lin": (0.345, 0.345, 0.752),
    "quad": (0.585, 0.706, 0.872),
    "inv2": (0.875, 0.908, 0.915),
    "real": (0.221, 0.779, 0.902),
}
"""Relative error of the bump at tau = .25, 1 and 2, N = 64, dt = .002, length 2000: an earlier computation of ours."""


def claims(frame):
    if frame.empty:
        return []
    rows = complete(frame, [*AXES, "error"])
    return [*reference_claims(rows), *order_claims(rows), *scale_claims(rows)]


def reference_claims(rows):
    rows = rows[(rows["task"] == "bump") & (rows["N"] == 64) & (rows["dt"] == 2e-3) & (rows["length"] == 2000)]
    for name, errors in REFERENCE.items():
        for delay, error in zip((0.25, 1.0, 2.0), errors, strict=True):
            part = rows[(rows["init"] == name) & np.isclose(rows["delay"], delay) & (rows["tikhonov"] == TIKHONOV)]
            if len(part):
                statement = f"relative error of the bump at delay {delay:g}, {name}, is within 2 % of {error:g}"
                bounds = (0.98 * error, 1.02 * error)
                end = f"{name}.delay{delay:g}"
                yield value_claim(f"S4D.F8.bump.{end}", statement, "computed before", bounds, part["error"].iloc[0])


def order_claims(rows):
    """LegS and its interpolation remember better than random frequencies; the modes of lin all have the period 2."""
    for task, verb in (("noise", "recalls noise"), ("history", "recalls the history of noise")):
        for end, case, part in cases(rows[rows["task"] == task], AXES, ("init", "seed"), ["delay"]):
            errors = part.pivot(index="seed", columns="init", values="error")
            for name in [name for name in ("legs", "inv") if name in errors and "rand" in errors]:
                better = (errors[name] < errors["rand"]).where(errors[[name, "rand"]].notna().all(axis=1))
                statement = f"share of seeds on which {name} {verb} better than random frequencies{case}"
                source = f"that random frequencies fail at long range: {PAPER}"
                values = by_seed(better.reset_index(), better)
                text = f"{statement} is above a half"
                yield share_claim(f"S4D.F8.{task}.{name}{end}", text, source, (0.5, 1.0), values)


def scale_claims(rows):
    """Is an initialisation's own scale the right one for a window of 4 units of time?"""
    rows = rows[(rows["task"] == "scaled") & (rows["N"] == 64) & np.isclose(rows["dt"] * rows["length"], 4.0)]
    for end, case, part in cases(rows, AXES, ("imag_scale", "delay"), ["init"]):
        worst = part.groupby("imag_scale")["error"].agg(lambda errors: errors.max(skipna=False))
        name, statement = part["init"].iloc[0], "largest relative error of the bump over delays up to 2"
        if name == "lin" and {0.5, 1.0} <= set(worst.index):
            source = "derived: half the frequencies have the window for a period, those of lin repeat after 2 units"
            text = f"{statement}, with half the frequencies over that with lin's own{case}, is below 0.1"
            yield value_claim(f"S4D.F8.scale{end}", text, source, (0.0, 0.1), worst[0.5] / worst[1.0])
        elif name in ("legs", "inv") and 1.0 in worst.index:
            text = f"{statement} at its own frequencies, over the least at any factor of them{case}, is near 1"
            least = worst.min(skipna=False)
            yield value_claim(f"S4D.F8.scale{end}", text, OBSERVED, (1.0, 1.2), worst[1.0] / least)


TITLES = {"bump": "Gaussian bump", "noise": "band-limited noise", "history": r"noise, all delays up to $\tau$"}


def figure(frame):
    with plotting.style():
        fig, axes = plotting.panels(2, 2)
        frame = complete(finished(frame, "error"), [*AXES, "error"])
        scale_panel(axes[3], frame[frame["task"] == "scaled"])
        for ax, (task, title) in zip(axes[:3], TITLES.items(), strict=True):
            rows = frame[frame["task"] == task]
            if rows.empty:
                plotting.no_data(ax)
                continue
            rows = rows.assign(seed=rows["seed"].fillna(0))
            rows = largest(rows, AXES, ["init", "delay"])
            names = [name for name in (*INITS, *DRAWN) if name in set(rows["init"])]
            for i, name in enumerate(names):
                plotting.points(ax, rows[rows["init"] == name], "delay", "error", i, name, line=True)
            label, legend = (
                rf"delay $\tau$ ({title}, $N={rows['N'].iloc[0]:g}$)",
                "lower right" if task == "noise" else None,
            )
            plotting.decorate(ax, label, "relative $L_2$ error", yscale="log", legend=legend)
        return fig


def scale_panel(ax, rows):
    if rows.empty:
        return plotting.no_data(ax)
    rows = largest(rows, AXES, ["init", "imag_scale", "delay"])
    worst = rows.loc[rows.groupby(["init", "imag_scale"])["error"].idxmax()]
    for name in (name for name in SCALED if name in set(worst["init"])):
        plotting.points(ax, worst[worst["init"] == name], "imag_scale", "error", INITS.index(name), name, line=True)
    label, ylabel = f"factor of all frequencies ($N={rows['N'].iloc[0]:g}$)", r"largest error, bump at $\tau\leq2$"
    plotting.decorate(ax, label, ylabel, xscale="log", yscale="log", legend="lower right")


experiment = Experiment(
    name="s4d_memory",
    version=2,
    title="What a frozen diagonal system remembers",
    paper=PAPER,
    presets=PRESETS,
    together=("delay",),
    run=run,
    figure=figure,
    claims=claims,
)
