"""Matrix sensing to a relative error of 1e-6 at kappa = 10, against NumPy transcriptions of the same methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from benchmarks.machine import reader
from benchmarks.record import Row, alternate
from lrtheory.factors import Factors
from lrtheory.operators.packed import unpack_symmetric

GOAL = 1e-6
KAPPA = 10.0
STARTS = 32
TARGET = 5.0


def to_accuracy(n: int, m: int, rounds: int, quick: bool, r: int = 3) -> Iterator[Row]:
    """Yield whole calls of `solve`, operator and start given, on the storage that serves each method best.

    The measurements are rounded to float32 or to int8 once, for both sides: we keep them so and widen them in
    registers, the transcription keeps the same numbers as float64, as NumPy must. Symmetric estimates see symmetric
    measurements, of which we keep one half. The normal form is left out: forming it costs more than all iterations. The
    floor is the time to read what we keep, once for each pass; a kernel that widens each number for the residual and
    once more for the gradient is bound by that instead, at some 0.14 ns (float32) or 0.16 ns (int8) each on Zen 4.
    """
    for storage in ("float32",) if quick else ("float32", "int8"):
        yield scaled_descent(n, m, r, rounds, storage)
        yield from gauss_newton(n, m, r, rounds, storage, trials=not quick)


def scaled_descent(n: int, m: int, r: int, rounds: int, storage: str) -> Row:
    from lrtheory.low_rank import ScaledGradientDescent, SpectralFactors
    from lrtheory.random import Stream
    from lrtheory.sensing import gaussian_problem

    eta = 0.5
    problem = gaussian_problem(n, r, m, kappa=KAPPA, symmetric=True, form="packed", storage=storage)
    rows = unpack_symmetric(problem.operator.block(0, m), n).reshape(m, n * n)
    y, scale, truth = problem.observations, problem.scale, problem.truth.product()
    start = SpectralFactors(r)(problem, Stream(0))
    goal = GOAL * np.linalg.norm(truth)

    def peer() -> int:
        x, steps = start.left, 0
        while np.linalg.norm(x @ x.T - truth) >= goal:
            residual = scale * (rows @ (x @ x.T).ravel()) - y
            gradient = (scale * (residual @ rows)).reshape(n, n) @ x
            x = x - eta * np.linalg.solve(x.T @ x, gradient.T).T
            steps += 1
        return steps

    ours = partial(run, problem, ScaledGradientDescent(eta), start)
    steps = same_steps(problem, ScaledGradientDescent(eta), start, peer)
    t = alternate({"ours": ours, "peer": peer, "read": reader(problem.operator.columns)}, rounds)
    size = f"n={n} m={m} k=r={r}, {steps} steps"
    name = f"ScaledGD to 1e-6, packed, {storage} storage"
    return Row(name, size, t["ours"], "NumPy, two GEMVs and solve", t["peer"], steps * t["read"], TARGET)


def gauss_newton(n: int, m: int, r: int, rounds: int, storage: str, trials: bool) -> Iterator[Row]:
    from lrtheory.low_rank import ApproximatedGaussNewton, RandomFactors
    from lrtheory.random import Stream
    from lrtheory.sensing import gaussian_problem

    eta, rcond = 0.5, 1e-10
    problem = gaussian_problem(n, r, m, kappa=KAPPA, storage=storage)
    rows = problem.operator.block(0, m)
    y, scale, truth = problem.observations, problem.scale, problem.truth.product()
    batch = RandomFactors(r, 1.0, rho=1.0)(problem, Stream(np.arange(STARTS)))
    start = batch.map(lambda a: a[0])
    goal = GOAL * np.linalg.norm(truth)

    def gradient(z: np.ndarray) -> np.ndarray:
        return (scale * ((scale * (rows @ z.ravel()) - y) @ rows)).reshape(n, n)

    def peer() -> int:
        f, g, steps = start.left, start.right, 0
        while np.linalg.norm(f @ g.T - truth) >= goal:
            f = f - eta * gradient(f @ g.T) @ g @ np.linalg.pinv(g.T @ g, rcond=rcond)
            g = g - eta * gradient(f @ g.T).T @ f @ np.linalg.pinv(f.T @ f, rcond=rcond)
            steps += 1
        return steps

    algorithm = ApproximatedGaussNewton(eta, rcond)
    steps = same_steps(problem, algorithm, start, peer)
    calls = {
        "ours": partial(run, problem, algorithm, start),
        "peer": peer,
        "read": reader(problem.operator.rows),
    }
    if trials:
        calls["batch"] = partial(run, problem, algorithm, batch)
    t = alternate(calls, rounds)
    size = f"n={n} m={m} k=r={r}, {steps} steps"
    against = partial(Row, peer="NumPy, two GEMVs a pass and pinv", peer_s=t["peer"], target=TARGET)
    yield against(f"AGN to 1e-6, {storage} storage", size, t["ours"], floor_s=2 * steps * t["read"])
    if trials:
        yield against(f"AGN to 1e-6, a trial of {STARTS} starts, {storage} storage", size, t["batch"] / STARTS)


def run(problem: object, algorithm: object, start: Factors) -> np.ndarray:
    from lrtheory.low_rank import GivenFactors
    from lrtheory.solve import Below, solve

    stop = Below("relative_error", GOAL)
    done = solve(problem, algorithm, start=GivenFactors(start), max_steps=10_000, record=[0], stop=stop)
    if not (done.status == "converged").all():
        raise AssertionError(f"{type(algorithm).__name__} ended as {done.status}")
    return done.x.left


def same_steps(problem: object, algorithm: object, start: Factors, peer: Callable[[], int]) -> int:
    """Return how many steps both take; raise if they do not do the same work."""
    from lrtheory.low_rank import GivenFactors
    from lrtheory.solve import solve

    steps = peer()
    watch = {"relative_error": GOAL}
    done = solve(problem, algorithm, start=GivenFactors(start), max_steps=steps + 5, watch=watch)
    if abs(int(done.first_below["relative_error"]) - steps) > 1:
        raise AssertionError(f"{steps} steps of the peer, {done.first_below} of ours")
    return steps
