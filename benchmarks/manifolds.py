"""Matrix sensing at a rank above the true one, which no method is told: against conjugate gradients by pymanopt."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from benchmarks.record import Row, alternate
from benchmarks.recovery import GOAL, KAPPA, TARGET, run
from lrtheory.factors import Factors
from lrtheory.operators.packed import unpack_symmetric

CONJUGATE_GRADIENT = "pymanopt, conjugate gradient"


def rank_agnostic(n: int, m: int, rounds: int, quick: bool, r: int = 3, k: int = 5) -> Iterator[Row]:
    """Yield the time to a relative error of 1e-6 at kappa = 10 and k > r, each method from its spectral start.

    As in `benchmarks.recovery` the measurements are rounded to float32 once, for both sides. pymanopt is given what we
    have: gradients by hand, faster than its automatic differentiation, and one forward pass for cost and gradient at
    the same point. On fixed-rank matrices (FixedRankEmbedded) its method is ours; on positive semi-definite ones
    (PSDFixedRank) it slows down at a rank above the true one, so it is timed at the true rank too, which we do not use.
    """
    from lrtheory.low_rank import PreconditionedGradientDescent, RiemannianConjugateGradient, SpectralFactors
    from lrtheory.random import Stream
    from lrtheory.sensing import gaussian_problem

    problem = gaussian_problem(n, r, m, kappa=KAPPA, symmetric=True, form="packed", storage="float32")
    rows = unpack_symmetric(problem.operator.block(0, m), n).reshape(m, n * n)
    y, scale, truth = problem.observations, problem.scale, problem.truth.product()
    square, general = (SpectralFactors(k, asymmetric=a)(problem, Stream(0)) for a in (False, True))
    calls = {
        "Riemannian CG": partial(run, problem, RiemannianConjugateGradient(), general),
        "PrecGD": partial(run, problem, PreconditionedGradientDescent(0.5), square),
    }
    t = alternate(calls, rounds)
    peers = [("FixedRankEmbedded", k, general), ("PSDFixedRank", r, SpectralFactors(r)(problem, Stream(0)))]
    if not quick:  # some 5 s
        peers.append(("PSDFixedRank", k, square))
    for manifold, rank, start in peers:
        peer_s, said = conjugate_gradient(manifold, rows, y, scale, start, truth, 1 if rank == k else rounds)
        peer = f"{CONJUGATE_GRADIENT} on {manifold}, k={rank}{said}"
        for name in calls:
            target = TARGET if name == min(t, key=lambda name: t[name]) else None
            size = f"n={n} m={m} k={k} r={r}"
            yield Row(f"{name} to 1e-6, packed, float32 storage", size, t[name], peer, peer_s, target=target)


class _Reached(Exception):
    pass


def conjugate_gradient(
    manifold: str, rows: np.ndarray, y: np.ndarray, scale: float, start: Factors, truth: np.ndarray, rounds: int
) -> tuple[float | None, str]:
    """Return the median seconds of pymanopt to the accuracy, and what there is to say where it has none."""
    try:
        import pymanopt
        from pymanopt import manifolds
        from pymanopt.optimizers import ConjugateGradient
    except ImportError:
        return None, ": not installed (pip install pymanopt)"
    n1, n2 = truth.shape
    forward, pull = _remembering(rows, y, scale), _pull(rows, scale, truth.shape)
    goal = GOAL * np.linalg.norm(truth)

    def loss(z: np.ndarray) -> float:
        if np.linalg.norm(z - truth) < goal:
            raise _Reached
        residual = forward(z)
        return residual @ residual / 2

    on: Any
    if manifold == "PSDFixedRank":
        on, point = manifolds.PSDFixedRank(n1, start.k), start.left

        @pymanopt.function.numpy(on)
        def cost(x: np.ndarray) -> float:
            return loss(x @ x.T) / 2

        @pymanopt.function.numpy(on)
        def gradient(x: np.ndarray) -> np.ndarray:
            return pull(forward(x @ x.T)) @ x

    else:
        on, point = manifolds.FixedRankEmbedded(n1, n2, start.k), _singular_vectors(start)

        @pymanopt.function.numpy(on)
        def cost(u: np.ndarray, s: np.ndarray, vt: np.ndarray) -> float:
            return loss(u * s @ vt)

        @pymanopt.function.numpy(on)
        def gradient(u: np.ndarray, s: np.ndarray, vt: np.ndarray) -> tuple[np.ndarray, ...]:
            g = pull(forward(u * s @ vt))
            left, right = g @ vt.T, u.T @ g
            return left * s, np.sum(u * left, axis=0), s[:, None] * right

    def solve() -> bool:
        problem = pymanopt.Problem(on, cost, euclidean_gradient=gradient)
        optimizer = ConjugateGradient(
            verbosity=0, max_iterations=10_000, min_gradient_norm=0, min_step_size=0, max_time=60
        )
        try:
            optimizer.run(problem, initial_point=point)
        except _Reached:
            return True
        return False

    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        if not solve():
            return None, ": not to that accuracy"
        took.append(time.perf_counter() - began)
    return median(took), f" ({pymanopt.__version__})"


def _remembering(rows: np.ndarray, y: np.ndarray, scale: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return the residual of a matrix, computed once for the same matrix again."""
    last: list[np.ndarray] = []

    def residual(z: np.ndarray) -> np.ndarray:
        if not last or not np.array_equal(last[0], z):
            last[:] = z, scale * (rows @ z.ravel()) - y
        return last[1]

    return residual


def _pull(rows: np.ndarray, scale: float, shape: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda residual: (scale * (residual @ rows)).reshape(shape)


def _singular_vectors(x: Factors) -> list[np.ndarray]:
    u, s, vt = np.linalg.svd(x.product(), full_matrices=False)
    return [u[:, : x.k], s[: x.k], vt[: x.k]]
