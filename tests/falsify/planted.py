"""Claims that are false, and one that has no verdict: the falsifier must find out."""

import math

import numpy as np

from lrtheory.falsify import Floats, Ints, Search
from lrtheory.rates import fit_rate
from lrtheory.sweep import Experiment, grid, loading

sensing, _ = loading.load(loading.find("overparam_sensing"))

names = dict(operator="identity", algorithm="gd", init_seed=0)
bounds = {
    "r": Ints(1, 3),
    "n": Ints(20, 60),
    "step_size": Floats(0.05, 0.25, scale="log", simplest=0.1),
    "alpha": Floats(0.3, 1.0, scale="log", simplest=0.5),
    "seed": Ints(0, 999),
}


def one_more_column(point):
    steps = math.ceil(300 / (point["step_size"] * point["alpha"] ** 2))
    return [{**names, "model": "symmetric", **point, "k": point["r"] + 1, "max_steps": steps}]


def starts(point):
    return grid(
        **names, model="asymmetric", n=50, r=3, k=5, alpha=0.4, step_size=0.1, rho=[1 / 3, 1], max_steps=20_000, **point
    )


def squares(frame):
    """The errors of a frame as (t, err^2), t > 0."""
    frame = frame[frame["iteration"] > 0]
    return frame["iteration"].to_numpy(), frame["error_squared"].to_numpy()


def geometric(frame):
    fit = fit_rate(*squares(frame), floor=frame["floor"].iloc[0])
    return {"geometric": 1.0, "power": fit.interval[1], "neither": math.nan}[str(fit.kind)]


def constant_without_four(frame):
    t, error = squares(frame)
    return 0.05 - abs(error[-1] * frame["step_size"].iloc[0] ** 2 * t[-1] ** 2 - 1)


def gain(frame):
    """Ratio of the rates at rho = 1/3 and rho = 1; the fits are good to a few per cent."""
    rates = []
    for rho in (1 / 3, 1.0):
        part = frame[np.isclose(frame["rho"], rho)]
        rates.append(np.log(fit_rate(*squares(part), floor=part["floor"].iloc[0]).factor))
    return rates[0] / rates[1] / 3 - 0.95


experiment = Experiment(
    name="planted",
    title="false claims",
    run=sensing.run,
    together=("seed",),
    presets={
        "small": grid(**names, model="symmetric", n=20, r=1, k=2, alpha=0.5, step_size=0.1, max_steps=9000, seed=0),
        "starts": starts({"seed": 0}),
    },
    falsify={
        "geometric": Search(bounds, one_more_column, geometric, "symmetric GD with k = r + 1 converges geometrically"),
        "constant": Search(bounds, one_more_column, constant_without_four, "err^2 eta^2 t^2 / (k - r) tends to 1"),
        "every_seed": Search(
            {"seed": Ints(0, 9999)}, starts, gain, "the rate at rho = 1/3 is 3 times that at rho = 1 on every seed"
        ),
        "unknown": Search(bounds, one_more_column, lambda frame: math.nan, "a claim that nothing can judge"),
    },
)
