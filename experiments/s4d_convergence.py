"""In which sense S4D-LegS tends to S4 (HiPPO-LegS) as the state grows: weakly, and not as a kernel.

S4D-LegS keeps the normal part of HiPPO-LegS and half of its B. Its transfer functions converge at every frequency, and
so do step responses and the kernels of a fixed step; the continuous kernels do not, in L2 nor in the sup norm.
"""

from __future__ import annotations

import numpy as np

from lrtheory import plotting
from lrtheory.names import check_name
from lrtheory.ssm import legs_normal_system, legs_system, theory
from lrtheory.sweep import Experiment, grid, slope_claim, value_claim
from lrtheory.sweep.frames import cases, complete, finished, where

PAPER = "arXiv:2206.11893"
PERTURBED = "arXiv:2310.01698"
DERIVED = "derived, checked numerically"
AVERAGED = "derived by averaging over phases, not a theorem; checked numerically"
CLIP = 2.0
TIME = 45.0  # the slowest mode has decayed to e^(-TIME / 2), 2e-10, by then

SIZES = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 640, 768, 1024)


def preset(sizes, largest=4096):
    """Transfer functions cost little: their sizes go on to the largest."""
    shared = dict(N=sizes)
    far = (*sizes, *(N for N in (1536, 2048, 3072, 4096, 8192, 16384) if sizes[-1] < N <= largest))
    discrete = dict(dt=[0.1, 0.01, 0.001], order=[0, 1, 2, 3])
    return (
        grid(quantity="transfer", w=[0.1, 1.0, 10.0, 100.0], order=[0, 1, 2, 3], N=far)
        + grid(quantity="zoh", **discrete, **shared)
        + grid(quantity="bilinear", dt=[0.1, 0.01], order=[0, 1, 2, 3], **shared)
        + grid(quantity="step", dt=0.1, order=[0, 1, 2, 3], **shared)
        + grid(quantity=["continuous", "clipped"], order=[0, 1, 2, 3], **shared)
    )


PRESETS = {
    "small": preset(SIZES),
    "paper": preset((*SIZES, 1536, 2048)),
    "large": preset((*SIZES, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384)),
}


def transfer_error(c):
    """Relative error of the transfer function from the input to the n-th state, at the frequency w."""
    found = legs_normal_system(c["N"], c["order"]).freqresp(np.array([c["w"]]))[0]
    return abs(found / theory.legs_transfer(c["order"], 1j * c["w"]) - 1)


def kernels(c):
    """Zero-order-hold kernels of the n-th state, of S4 and of S4D-LegS, at step dt."""
    made = legs_system(c["order"], c["dt"]), legs_normal_system(c["N"], c["order"], c["dt"])
    return [system.kernel(int(TIME / c["dt"])) for system in made]


def zoh_error(c):
    """L2 distance of the kernels as functions of time that are constant over a step: sqrt(sum_l e_l^2 / dt)."""
    exact, ours = kernels(c)
    return np.sqrt(np.sum((ours - exact) ** 2) / c["dt"])


def step_error(c):
    """Largest distance of the responses to a step at the sampling times, where those of the ZOH system are exact."""
    exact, ours = kernels(c)
    return np.max(np.abs(np.cumsum(ours - exact)))


def bilinear_error(c):
    """The same distance as for zero-order hold, over all time, by geometric sums."""
    return theory.discrete_error(c["order"], c["N"], c["dt"], "bilinear")


def continuous_error(c):
    return theory.continuous_error(c["order"], c["N"])


def clipped_error(c):
    """The same with input weights clipped as in the released code, before they are halved."""
    return theory.continuous_error(c["order"], c["N"], clip=CLIP)


MEASURED = {
    "transfer": transfer_error,
    "zoh": zoh_error,
    "bilinear": bilinear_error,
    "step": step_error,
    "continuous": continuous_error,
    "clipped": clipped_error,
}


PREDICTED = {
    "transfer": lambda c: theory.transfer_error(c["N"], c["w"]),  # exactly
    "zoh": lambda c: theory.zoh_error_law(c["order"], c["dt"], c["N"]),  # to leading order
    "bilinear": lambda c: theory.continuous_error(c["order"], c["N"]),  # exactly: the rule is an isometry of L2
    "continuous": lambda c: theory.continuous_error_limit(c["order"]),  # the limit
    "clipped": lambda c: theory.clipped_error_law(c["order"], c["N"], CLIP),  # to leading order
    "step": lambda c: np.nan,
}


def run(cells, device):
    for c in cells:
        quantity = check_name("quantity", c["quantity"], MEASURED)
        yield c, {"error": float(MEASURED[quantity](c)), "predicted": float(PREDICTED[quantity](c))}


AXES = ["quantity", "w", "dt", "order", "N"]


def claims(frame):
    if frame.empty:
        return []
    rows = complete(frame, [*AXES, "error", "predicted"])
    found = {name: list(cases(part, AXES, ("N", "quantity"))) for name, part in rows.groupby("quantity")}
    return [
        *(claim for case in found.get("transfer", ()) for claim in transfer_claims(*case)),
        *(claim for case in found.get("zoh", ()) for claim in zoh_claims(*case)),
        *(continuous_claim(*case) for case in found.get("continuous", ())),
        *(step_claim(*case) for case in found.get("step", ())),
        *(claim for case in found.get("clipped", ()) for claim in clipped_claims(*case)),
        *(bilinear_claim(*case) for case in found.get("bilinear", ())),
    ]


def transfer_claims(end, case, part):
    source = f"(E3), {DERIVED}; Lemma 1 of {PERTURBED}"
    off = (part["error"] / part["predicted"] - 1).abs().max(skipna=False)
    statement = f"largest relative difference of |G_S4D / G_S4 - 1| from |R / (1 + R)|, over N{case}"
    yield value_claim(f"S4D.T3.exact{end}", statement, source, (0.0, 1e-8), off)
    part = part[part["N"] >= 64 * max(1.0, part["w"].iloc[0])]
    statement = f"exponent of N in |G_S4D / G_S4 - 1|, N >= 64 max(1, w){case}, is -1"
    if len(part) > 3:  # three points at w = 100 have a wide interval
        yield slope_claim(f"S4D.T3.slope{end}", statement, source, (-1.03, -0.97), part["N"], part["error"])


def zoh_claims(end, case, part):
    part = part[part["N"] >= 3 / np.sqrt(part["dt"])]
    if len(part):
        off = (part["error"] / part["predicted"] - 1).abs().max(skipna=False)
        statement = f"largest deviation of the ZOH kernel's L2 error from sqrt((2n+1)/dt)/N, N >= 3/sqrt(dt){case}"
        yield value_claim(f"S4D.T4.constant{end}", statement, AVERAGED, (0.0, 0.25), off)
        part = part[part["N"] >= 6 / np.sqrt(part["dt"])]
        statement = f"exponent of N in the ZOH kernel's L2 error, N >= 6/sqrt(dt){case}, is -1"
        yield slope_claim(f"S4D.T4.slope{end}", statement, AVERAGED, (-1.1, -0.9), part["N"], part["error"])


def continuous_claim(end, case, part):
    part = part[part["N"] >= 64]
    off = (part["error"] / part["predicted"] - 1).abs().max(skipna=False)
    statement = f"largest deviation of the continuous kernel's L2 error from its limit sqrt(2n+1)/2, N >= 64{case}"
    source = f"a limit found by measurement; nor does the operator norm vanish: Theorem 2 of {PERTURBED}"
    return value_claim(f"S4D.T5{end}", statement, source, (0.0, 0.01), off)


def step_claim(end, case, part):
    part = part[part["N"] >= 64]
    statement = f"exponent of N in the sup error of the step response, N >= 64{case}, is -1"
    source = f"O(1/N) on smooth inputs: Theorem 1 of {PERTURBED}"
    return slope_claim(f"S4D.T6{end}", statement, source, (-1.15, -0.85), part["N"], part["error"])


def clipped_claims(end, case, part):
    """With clipped weights, which are not the theorem's, the kernels do converge."""
    part = part[part["N"] >= 64]
    statement = f"exponent of N in the continuous kernel's L2 error with weights clipped at 2, N >= 64{case}, is -1/2"
    yield slope_claim(f"S4D.clipped.slope{end}", statement, AVERAGED, (-0.55, -0.45), part["N"], part["error"])
    part = part[part["N"] >= 512]
    if len(part):
        off = (part["error"] / part["predicted"] - 1).abs().max(skipna=False)
        statement = f"largest deviation of that error from 0.80 sqrt((2n+1)/N), N >= 512{case}"
        yield value_claim(f"S4D.clipped.constant{end}", statement, AVERAGED, (0.0, 0.02), off)


def bilinear_claim(end, case, part):
    """What the bilinear rule does to the error at all frequencies is a change of variables."""
    off = (part["error"] / part["predicted"] - 1).abs().max(skipna=False)
    statement = f"largest relative difference of the bilinear kernel's L2 error from the continuous kernel's{case}"
    return value_claim(f"S4D.bilinear{end}", statement, f"the rule is an isometry of L2; {DERIVED}", (0.0, 1e-6), off)


def figure(frame):
    with plotting.style():
        fig, axes = plotting.panels(1, 3, height=2.4)
        frame = complete(finished(frame, "error"), [*AXES, "error", "predicted"])
        panels = (transfer_panel, zoh_panel, plateau_panel)
        for ax, panel in zip(axes, panels, strict=True):
            panel(ax, frame)
        return fig


def curves(ax, rows, by, label, draw_theory, index=0):
    """One curve for each value of the axis `by`, and its prediction; returns how many."""
    for i, (value, part) in enumerate(rows.groupby(by), start=index):
        part = part.sort_values("N")
        plotting.points(ax, part, "N", "error", i, label(value), line=not draw_theory)  # which a line would hide
        if draw_theory:
            plotting.theory(ax, part["N"], part["predicted"], draw_theory if i == index else None)
    return rows[by].nunique()


def transfer_panel(ax, frame):
    rows = where(frame[frame["quantity"] == "transfer"], order=0)
    if rows.empty:
        return plotting.no_data(ax)
    curves(ax, rows, "w", lambda w: rf"$\omega={w:g}$", r"$|R_N/(1+R_N)|$")
    plotting.decorate(
        ax, "state size $N$", r"$|G_{S4D}/G_{S4}-1|$ at $i\omega$", xscale="log", yscale="log", ylim=(1e-7, None)
    )


def zoh_panel(ax, frame):
    rows = where(frame[frame["quantity"] == "zoh"], order=0)
    if rows.empty:
        return plotting.no_data(ax)
    curves(ax, rows, "dt", lambda dt: rf"$\Delta t={dt:g}$", r"$\Delta t^{-1/2}/N$")
    ylabel = r"$L_2$ error, ZOH kernel, $n=0$"
    plotting.decorate(ax, "state size $N$", ylabel, xscale="log", yscale="log", ylim=(1e-4, 2.0), legend="lower left")


def plateau_panel(ax, frame):
    rows = frame[frame["quantity"] == "continuous"]
    steps = where(frame[frame["quantity"] == "step"], order=0)
    clipped = where(frame[frame["quantity"] == "clipped"], order=0)
    if rows.empty and steps.empty and clipped.empty:
        return plotting.no_data(ax)
    used = curves(ax, rows, "order", lambda n: rf"kernel, $n={n:g}$", r"$\sqrt{2n+1}/2$") if len(rows) else 0
    if len(steps):
        plotting.points(ax, steps, "N", "error", used, "step response, $n=0$", line=True)
    if len(clipped):
        plotting.points(ax, clipped, "N", "error", used + 1, "kernel, $n=0$, $B$ clipped")
        plotting.theory(ax, clipped["N"], clipped["predicted"], r"$0.80\,\sqrt{(2n+1)/N}$")
    plotting.decorate(ax, "state size $N$", "$L_2$ or sup error", xscale="log", yscale="log", ylim=(1e-9, 3.0))


experiment = Experiment(
    name="s4d_convergence",
    version=1,
    title="S4D-LegS tends to S4 weakly, not as a kernel",
    paper=PAPER,
    presets=PRESETS,
    together=("N",),
    run=run,
    figure=figure,
    claims=claims,
)
