"""Traces with a known law, for the gate of ``lrtheory.rates.fit_rate``.

``python -m tests.rate_traces --seed 12345 --n 1000`` prints the confusion matrix and the coverage of the intervals.

The generator, in full
----------------------
Records: 60 to 300, log-spaced over 1 to 5 decades of t, the last at t = 10^U(1.5, 5.5).  Every record carries 5 %
multiplicative noise (lognormal).  Kinds: geometric 35 %, power 35 %, plateau 15 %, divergence 15 %.

* geometric: the law falls by e^-1 to e^-20 (log-uniform) over the last decade of t up to the last usable record.
* power: slope 0.5 to 3, offset t0 = 0 (half the time) or up to a tenth of the last usable t.
* A burn-in takes the place of the law on the first 0 to 40 % of the records (no burn-in on 30 % of the traces): "flat"
  (the trace waits at its level), "transient" (a fast decaying multiple of the law on top of it), "phase" (another law
  of either kind, joined continuously), "wander" (a random walk).
* Floors (40 % of the traces with a law): the metric has a resolution, told to ``fit_rate``.  The last usable record, at
  which the law is ten times the resolution (the margin that ``fit_rate`` documents), is at 75 to 100 % of the records;
  the trace goes on as max(law, floor) or sqrt(law^2 + floor^2).
* plateau: constant over at least the last 60 % of the records, after any sudden or smooth decay.
* divergence: growth, exponential or polynomial, over at least the last 60 % of the records, after any decay; on a third
  of the traces the last records are inf.

The rule for "neither is also right": take the law's own noise-free values on its records (burn-in, floor and noise left
out) and fit the other law to them by least squares, its parameters within the ranges above.  Where the two differ by
less than the noise (5 %) in rms, the data cannot tell the laws apart, and "neither" counts as right beside the true
law. The wrong law is always wrong, and the rule never looks at an answer.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lrtheory.rates import FLOOR_MARGIN, fit_rate

Array = NDArray[np.float64]

NOISE = 0.05
KINDS = ("geometric", "power", "neither")


@dataclass(frozen=True, eq=False)
class RateTrace:
    t: Array
    y: Array
    floor: float
    kind: str  # "geometric", "power", "plateau" or "divergence"
    value: float  # log factor, slope, or NaN
    ambiguous: bool  # "neither" is right as well

    def right(self, answer: str) -> bool:
        truth = self.kind if self.kind in KINDS else "neither"
        return answer == truth or (self.ambiguous and answer == "neither")


def draw_trace(rng: np.random.Generator, noise: float = NOISE) -> RateTrace:
    """One trace of the generator above."""
    count = int(rng.integers(60, 301))
    last = 10 ** rng.uniform(1.5, 5.5)
    t = last * 10.0 ** np.linspace(-rng.uniform(1, 5), 0, count)
    kind = str(rng.choice(["geometric", "power", "plateau", "divergence"], p=[0.35, 0.35, 0.15, 0.15]))
    if kind in ("plateau", "divergence"):
        log_y, floor, value, ambiguous = _lawless(rng, t, kind), 0.0, np.nan, False
    else:
        log_y, floor, value, ambiguous = _lawful(rng, t, kind, noise)
    y = np.exp(log_y + noise * rng.standard_normal(count))
    scale = 10 ** rng.uniform(-3, 3)
    return RateTrace(t, scale * y, scale * floor, kind, value, ambiguous)


def _lawful(rng: np.random.Generator, t: Array, kind: str, noise: float) -> tuple[Array, float, float, bool]:
    count = t.size
    has_floor = rng.random() < 0.4
    end = int(rng.uniform(0.75, 1.0) * count) - 1 if has_floor else count - 1
    start = 0 if rng.random() < 0.3 else int(rng.uniform(0, 0.4) * count)
    law = _geometric(rng, t, end) if kind == "geometric" else _power(rng, t, end)
    log_y = law(t)
    floor = np.exp(log_y[end]) / FLOOR_MARGIN if has_floor else 0.0
    other = _other_misfit(t[start : end + 1], log_y[start : end + 1], kind)
    log_y = _burn_in(rng, t, log_y, start)
    if has_floor:
        log_floor = np.log(floor)
        smooth = np.logaddexp(2 * log_y, 2 * log_floor) / 2
        log_y = np.maximum(log_y, log_floor) if rng.random() < 0.5 else smooth
    return log_y, float(floor), law.value, other < noise


@dataclass(frozen=True)
class _Law:
    kind: str
    value: float
    offset: float = 0.0

    def __call__(self, t: Array) -> Array:
        return self.value * (t if self.kind == "geometric" else np.log(t + self.offset))


def _geometric(rng: np.random.Generator, t: Array, end: int) -> _Law:
    return _Law("geometric", -float(np.exp(rng.uniform(0, np.log(20)))) / (0.9 * t[end]))


def _power(rng: np.random.Generator, t: Array, end: int) -> _Law:
    offset = 0.0 if rng.random() < 0.5 else rng.uniform(0, 0.1) * t[end]
    return _Law("power", -rng.uniform(0.5, 3), offset)


def _burn_in(rng: np.random.Generator, t: Array, log_y: Array, start: int) -> Array:
    """Replace the first ``start`` records by something that is not the law."""
    if start == 0:
        return log_y
    style = rng.choice(["flat", "transient", "phase", "wander"])
    log_y = log_y.copy()
    joint, head = log_y[start], slice(0, start)
    if style == "flat":
        log_y[head] = joint + rng.uniform(-0.5, 0.5)
    elif style == "transient":
        # what is left of it at the joint is one per cent of the law
        size = rng.uniform(1, 10)
        fast = np.log(100 * size) / t[start]
        log_y += np.log1p(size * np.exp(-fast * t))
    elif style == "phase":
        if rng.random() < 0.5:
            log_y[head] = joint - rng.uniform(0.5, 3) * np.log(t[head] / t[start])
        else:
            log_y[head] = joint + rng.uniform(1, 10) * (1 - t[head] / t[start])
    else:
        log_y[head] = joint + np.cumsum(rng.normal(0, 0.3, start))[::-1]
    return log_y


def _lawless(rng: np.random.Generator, t: Array, kind: str) -> Array:
    start = int(rng.uniform(0, 0.4) * t.size)
    log_y = np.zeros(t.size)
    if kind == "divergence":
        if rng.random() < 0.5:
            log_y = rng.uniform(0.5, 3) * np.log(np.maximum(t, t[start]) / t[start])
        else:
            log_y = np.exp(rng.uniform(0, np.log(20))) * (np.maximum(t, t[start]) - t[start]) / t[-1]
    style = rng.choice(["none", "power", "geometric", "transient"])
    early = np.minimum(t, t[start])
    if style == "power":
        log_y = log_y - rng.uniform(0.5, 3) * np.log(early / t[start])
    elif style == "geometric":
        log_y = log_y + rng.uniform(1, 10) * (1 - early / t[start])
    elif style == "transient":
        size = rng.uniform(1, 10)
        log_y = log_y + np.log1p(size * np.exp(-np.log(100 * size) * t / t[start]))
    if kind == "divergence" and rng.random() < 1 / 3:
        log_y[-int(rng.integers(1, t.size // 10 + 1)) :] = np.inf
    return log_y


def _other_misfit(t: Array, law: Array, kind: str) -> float:
    """Rms distance of the clean law from the best fit of the other kind within its ranges."""

    def rms(x: Array, low: float, high: float) -> float:
        xc, yc = x - x.mean(), law - law.mean()
        slope = np.clip((xc @ yc) / (xc @ xc), low, high)
        return float(np.sqrt(np.mean((yc - slope * xc) ** 2)))

    if kind == "power":
        span = 0.9 * t[-1]
        return rms(t, -20 / span, -1 / span)
    return min(rms(np.log(t + share * t[-1]), -3.0, -0.5) for share in np.linspace(0, 0.1, 41))


@dataclass(frozen=True, eq=False)
class Outcome:
    matrix: NDArray[np.int64]  # truth (geometric, power, plateau, divergence) x answer (geometric, power, neither)
    right: int
    excused: int  # right only by the rule
    ambiguous: int
    coverage: dict[str, float]
    answered: dict[str, int]
    seconds: float


def judge(traces: list[RateTrace]) -> Outcome:
    """Run ``fit_rate`` on every trace and count."""
    rows = ("geometric", "power", "plateau", "divergence")
    matrix = np.zeros((4, 3), dtype=np.int64)
    right = excused = 0
    covered: dict[str, list[bool]] = {"geometric": [], "power": []}
    seconds = 0.0
    for trace in traces:
        begin = time.perf_counter()
        fit = fit_rate(trace.t, trace.y, floor=trace.floor)
        seconds += time.perf_counter() - begin
        answer = str(fit.kind)
        matrix[rows.index(trace.kind), KINDS.index(answer)] += 1
        right += trace.right(answer)
        excused += trace.right(answer) and trace.kind in KINDS and answer == "neither"
        if answer == trace.kind:
            low, high = fit.interval
            covered[answer].append(bool(low <= trace.value <= high))
    coverage = {kind: float(np.mean(hits)) if hits else np.nan for kind, hits in covered.items()}
    answered = {kind: len(hits) for kind, hits in covered.items()}
    return Outcome(matrix, right, excused, sum(x.ambiguous for x in traces), coverage, answered, seconds)


def draw_traces(seed: int, n: int, noise: float = NOISE) -> list[RateTrace]:
    rng = np.random.default_rng([seed, 20240229])
    return [draw_trace(rng, noise) for _ in range(n)]


def main() -> None:
    parser = argparse.ArgumentParser(description="confusion matrix and interval coverage of fit_rate")
    parser.add_argument("--seed", type=int, nargs="+", default=[12345])
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--noise", type=float, default=NOISE, help="standard deviation of log y (default 0.05)")
    options = parser.parse_args()
    for seed in options.seed:
        outcome = judge(draw_traces(seed, options.n, options.noise))
        print(f"seed {seed}: {outcome.right} of {options.n} right, {outcome.excused} of them by the rule only", end="")
        print(f" ({outcome.ambiguous} traces are indistinguishable)")
        print(f"{'truth':>12} {'geometric':>10} {'power':>10} {'neither':>10}")
        for name, row in zip(("geometric", "power", "plateau", "divergence"), outcome.matrix, strict=True):
            print(f"{name:>12} {row[0]:10d} {row[1]:10d} {row[2]:10d}")
        for kind, share in outcome.coverage.items():
            print(f"coverage of the 95 % interval, {kind}: {100 * share:.1f} % of {outcome.answered[kind]}")


if __name__ == "__main__":
    main()
