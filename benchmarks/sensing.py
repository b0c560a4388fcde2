"""Matrix sensing: one pass over the measurements, whole solvers, and what starting up costs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from benchmarks.machine import matrix_product, reader, spin
from benchmarks.manifolds import CONJUGATE_GRADIENT, conjugate_gradient, rank_agnostic
from benchmarks.operators import entries_pass, few_bits, matrix_free, rank_one_pass
from benchmarks.record import Row, alternate
from benchmarks.recovery import to_accuracy
from lrtheory import backend
from lrtheory.factors import Factors
from lrtheory.operators import Dense, Gram, SymmetricPacked, gaussian
from lrtheory.operators.loops import gradient_descent_population
from lrtheory.sweep.provenance import cores

SIZES = ((48, 1536), (96, 3072))
TRIALS = 32
SPINS = 5_000_000
STEPS = 60
STEP_SIZE = 0.2


def rows(quick: bool) -> Iterator[Row]:
    """Yield the rows, everything on one thread but where a row says otherwise."""
    backend.set_threads(1)
    rounds = 5 if quick else 15
    for n, m in SIZES:
        first = (n, m) == SIZES[0]
        yield from passes(n, m, rounds if first or not quick else 3, threads=first or not quick)
    for n, k in ((50, 5), (500, 10)):
        yield population(n, k, rounds)
    yield from solvers(*SIZES[0], rounds=3 if quick else 7, quick=quick)
    for n, m in SIZES[:1] if quick else SIZES:
        yield from to_accuracy(n, m, rounds=3, quick=quick)
    yield from rank_agnostic(*SIZES[0], rounds=3, quick=quick)
    yield from processes(rounds=3 if quick else 7)
    yield from rank_one_pass(1000, 20_000, 5, 3 if quick else 7)
    if not quick:
        for n, m in SIZES:
            yield from few_bits(n, m, rounds)
        yield from entries_pass(3000, 900_000, 5, 7)
    yield matrix_free(2000, 400 if quick else 40_000)


def passes(n: int, m: int, rounds: int, threads: bool) -> Iterator[Row]:
    """Residual and gradient of one iteration, against two matrix-vector products by NumPy."""
    scale = m**-0.5
    dense = gaussian(m, n, symmetric=True)
    packed = SymmetricPacked.from_dense(dense.matrices)
    single = SymmetricPacked(packed.columns.astype(np.float32), n)
    generator = np.random.default_rng(0)
    z = generator.standard_normal((n, n))
    z = z + z.T
    y = scale * dense.forward(generator.standard_normal((n, n)))
    batch = z + generator.standard_normal((TRIALS, 1, 1)) * np.eye(n)
    narrow, narrow_y = batch.astype(np.float32), y.astype(np.float32)
    a, flat = dense.rows, z.ravel()
    product, operations = matrix_product()
    product32, _ = matrix_product(dtype=np.float32)

    def peer(transposed: bool) -> np.ndarray:
        r = scale * (a @ flat) - y
        return scale * (a.T @ r if transposed else r @ a)

    def ours(operator: Any, points: np.ndarray = z, observations: np.ndarray = y) -> np.ndarray:
        return operator.residual_and_gradient(points, observations, scale)[1]

    expected = peer(True).reshape(n, n)
    for got, tolerance in (
        (ours(dense), 1e-12),
        (ours(packed), 1e-12),
        (ours(single), 1e-6),
        (ours(packed, batch)[0], 1),
    ):
        if not np.abs(got - expected).max() <= tolerance * np.abs(expected).max():
            raise AssertionError("the candidates do not do the same work")
    calls = {
        "peer, A.T @ r": partial(peer, True),
        "peer, r @ A": partial(peer, False),
        "fused": partial(ours, dense),
        "packed": partial(ours, packed),
        "packed, float32 storage": partial(ours, single),
        "batch": partial(ours, packed, batch),
        "batch, float32 storage": partial(ours, single, batch),
        "batch, float32": partial(ours, single, narrow, narrow_y),
        "read dense": reader(dense.rows),
        "read packed": reader(packed.columns),
        "read float32": reader(single.columns),
        "product": product,
        "product, float32": product32,
    }
    if 2 * m > packed.columns.shape[1] and n <= SIZES[0][0]:
        gram = Gram.of(packed, scale)
        target = np.zeros((n, n))
        calls["gram"] = partial(ours, gram, z, target)
        calls["read gram"] = reader(gram.h)
    t = alternate(calls, rounds)
    size = f"n={n} m={m}"
    two = min(t["peer, A.T @ r"], t["peer, r @ A"])
    against = partial(Row, size=size, peer="NumPy, two GEMVs", peer_s=two)
    yield against("pass, fused float64", ours_s=t["fused"], floor_s=t["read dense"], target=1.5)
    yield against("pass, symmetric packed", ours_s=t["packed"], floor_s=t["read packed"], target=3.0)
    yield against(
        "pass, packed, float32 storage", ours_s=t["packed, float32 storage"], floor_s=t["read float32"], target=5.0
    )
    work = 4.0 * m * packed.columns.shape[1] * TRIALS
    for name, timed, read, speed in (
        ("packed", "batch", "read packed", operations / t["product"]),
        ("packed, float32 storage", "batch, float32 storage", "read float32", operations / t["product"]),
        ("packed, float32 arithmetic", "batch, float32", "read float32", operations / t["product, float32"]),
    ):
        floor = max(t[read], work / speed) / TRIALS
        yield against(f"pass, a trial of {TRIALS}, {name}", ours_s=t[timed] / TRIALS, floor_s=floor, target=15.0)
    if "gram" in t:  # half of a symmetric matrix is enough
        yield against("pass, normal form", ours_s=t["gram"], floor_s=t["read gram"] / 2, target=6.0)
    if threads and cores() >= 2:
        yield from two_threads(
            {
                "packed": (partial(ours, packed), packed),
                "packed, float32 storage": (partial(ours, single), single),
                f"{TRIALS} trials, packed": (partial(ours, packed, batch), packed),
            },
            size,
            rounds,
        )


def two_threads(candidates: dict[str, tuple[Any, SymmetricPacked]], size: str, rounds: int) -> Iterator[Row]:
    """Two threads against one, beside two threads that only compute and that only read: what the machine gives."""
    pool = ThreadPoolExecutor(1)

    def on(n: int, call: Any) -> None:
        backend._threads = n  # set_threads also limits BLAS, which takes milliseconds and plays no part here
        call()

    def together(work: Any, n: int) -> None:
        other = pool.submit(work[1]) if n == 2 else None
        work[0]()
        if other is not None:
            other.result()
        else:
            work[1]()

    spins = (partial(spin, SPINS), partial(spin, SPINS))
    for name, (call, operator) in candidates.items():
        half = operator.m // 2
        reads = (reader(operator.columns[:half]), reader(operator.columns[half:]))
        calls = {f"pass {n}": partial(on, n, call) for n in (1, 2)}
        calls |= {f"spin {n}": partial(together, spins, n) for n in (1, 2)}
        calls |= {f"read {n}": partial(together, reads, n) for n in (1, 2)}
        t = alternate(calls, rounds)
        backend.set_threads(1)
        computing, reading = (t[f"{what} 1"] / t[f"{what} 2"] for what in ("spin", "read"))
        peer = f"one thread (two compute {computing:.2f}x, read {reading:.2f}x as fast)"
        given = computing if "trials" in name else min(computing, reading)  # one trial is bound by memory
        target = 1.6 if given > 1.6 else None
        yield Row(f"pass, {name}, two threads", size, t["pass 2"], peer, t["pass 1"], t["read 2"], target)
    pool.shutdown()


def population(n: int, k: int, rounds: int, r: int = 3, steps: int = 100) -> Row:
    """A step with infinitely many measurements, against forming the n x n matrix."""
    generator = np.random.default_rng(2)
    u = np.linalg.qr(generator.standard_normal((n, r)))[0]
    x0 = generator.standard_normal((n, k)) / np.sqrt(n)
    truth, start = Factors(u[None]), Factors(x0[None])
    eta, active = np.array([STEP_SIZE]), np.ones(1, dtype=bool)

    def ours() -> np.ndarray:
        return gradient_descent_population(start, truth, eta, steps, active)[0].left[0]

    def peer() -> np.ndarray:
        x, m = x0, u @ u.T
        for _ in range(steps):
            x = x - STEP_SIZE * (x @ x.T - m) @ x
        return x

    if not np.abs(ours() - peer()).max() < 1e-12:
        raise AssertionError("the candidates do not do the same work")
    t = alternate({"ours": ours, "peer": peer}, rounds)
    operations = 4.0 * n * k * (k + r)
    product, most = matrix_product()
    floor = operations / (most / alternate({"product": product}, 3)["product"])
    size, target = f"n={n} k={k}", 20.0 if n >= 500 else None
    return Row("population step", size, t["ours"] / steps, "NumPy, X X^T formed", t["peer"] / steps, floor, target)


def solvers(n: int, m: int, rounds: int, quick: bool, k: int = 5, r: int = 3) -> Iterator[Row]:
    """Gradient descent from a random start, whole calls of `solve`."""
    from lrtheory.first_order import GradientDescent
    from lrtheory.low_rank import GivenFactors
    from lrtheory.sensing.problems import SensingProblem
    from lrtheory.solve import Below, solve

    scale = m**-0.5
    generator = np.random.default_rng(1)
    truth = Factors(np.linalg.qr(generator.standard_normal((n, r)))[0])
    x0 = 0.3 * generator.standard_normal((n, k)) / np.sqrt(n)
    packed = gaussian(m, n, symmetric=True, packed=True)
    single = gaussian(m, n, symmetric=True, packed=True, storage="float32")
    dense = gaussian(m, n, symmetric=True)
    problems = {op: SensingProblem(op, scale * op.forward(truth), truth, scale) for op in (dense, packed, single)}
    y = problems[dense].observations

    def ours(operator: Dense | SymmetricPacked) -> np.ndarray:
        run = solve(
            problems[operator],
            GradientDescent(STEP_SIZE),
            start=GivenFactors(x0),
            max_steps=STEPS,
            record=[0, STEPS],
        )
        return run.x.left

    def peer(transposed: bool) -> np.ndarray:
        x = x0.copy()
        a = dense.rows
        for _ in range(STEPS):
            residual = scale * (a @ (x @ x.T).ravel()) - y
            g = scale * (a.T @ residual if transposed else residual @ a)
            x = x - STEP_SIZE * (g.reshape(n, n) @ x)
        return x

    for operator, tolerance in ((dense, 1e-12), (packed, 1e-12), (single, 1e-5)):
        if not np.abs(ours(operator) - peer(True)).max() < tolerance:
            raise AssertionError("the solvers do not do the same work")
    t = alternate(
        {
            "peer, A.T @ r": partial(peer, True),
            "peer, r @ A": partial(peer, False),
            "dense": partial(ours, dense),
            "packed": partial(ours, packed),
            "single": partial(ours, single),
            "read dense": reader(dense.rows),
            "read packed": reader(packed.columns),
            "read single": reader(single.columns),
        },
        rounds,
    )
    size = f"n={n} m={m} k={k}, {STEPS} steps"
    two = min(t["peer, A.T @ r"], t["peer, r @ A"])
    for name, timed, target in (
        ("float64", "dense", None),
        ("packed", "packed", 2.5),
        ("packed, float32 storage", "single", 4.0),
    ):
        yield Row(f"solver, {name}", size, t[timed], "NumPy loop", two, STEPS * t[f"read {timed}"], target)
    name = "solver, packed, float32 storage"
    yield torch_row(name, size, dense, y, scale, x0, partial(ours, single), rounds)
    few = 1 if quick else 5
    start = time.perf_counter()
    measurement_loop(dense.matrices, y, scale, x0, few)
    each = (time.perf_counter() - start) / few
    yield Row(name, size, t["single"], "Python loop over measurements", each * STEPS, target=25.0)

    def descent_to_accuracy() -> None:
        done = solve(
            problems[single],
            GradientDescent(STEP_SIZE),
            start=GivenFactors(x0[:, :r]),
            max_steps=100_000,
            record=[0],
            stop=Below("relative_error", 1e-6),
        )
        if done.status != "converged":
            raise AssertionError(f"the solver ended as {done.status!r}")

    name, size = "to relative error 1e-6, packed, float32 storage", f"n={n} m={m} k=r={r}"
    start_time = alternate({"ours": descent_to_accuracy}, 3, seconds=0.0)["ours"]
    peer_s, said = conjugate_gradient("PSDFixedRank", dense.rows, y, scale, Factors(x0[:, :r]), truth.product(), 3)
    yield Row(name, size, start_time, f"{CONJUGATE_GRADIENT} on PSDFixedRank{said}", peer_s)


def measurement_loop(matrices: np.ndarray, y: np.ndarray, scale: float, x: np.ndarray, steps: int) -> np.ndarray:
    """Gradient descent as it is often published: one measurement after the other."""
    for _ in range(steps):
        z = x @ x.T
        g = np.zeros_like(z)
        for a, observed in zip(matrices, y, strict=True):
            g += scale * (scale * np.sum(a * z) - observed) * a
        x = x - STEP_SIZE * g @ x
    return x


def torch_row(
    name: str, size: str, dense: Dense, y: np.ndarray, scale: float, x0: np.ndarray, ours: Any, rounds: int
) -> Row:
    try:
        import torch
    except ImportError:
        return Row(name, size, None, "PyTorch eager, autograd: not installed (pip install torch)", target=4.0)
    torch.set_num_threads(1)
    a, observed = torch.from_numpy(dense.rows), torch.from_numpy(y)

    def peer() -> np.ndarray:
        x = torch.tensor(x0, requires_grad=True)
        for _ in range(STEPS):
            residual = scale * (a @ (x @ x.T).reshape(-1)) - observed
            loss = (residual @ residual) / 4
            loss.backward()
            with torch.no_grad():
                x -= STEP_SIZE * x.grad
                x.grad = None
        return x.detach().numpy()

    if not np.abs(peer() - ours()).max() < 1e-5:
        raise AssertionError("PyTorch does not do the same work")
    t = alternate({"ours": ours, "peer": peer}, rounds)
    return Row(name, size, t["ours"], f"PyTorch {torch.__version__} eager, autograd", t["peer"], target=4.0)


def processes(rounds: int) -> Iterator[Row]:
    """Fresh processes; the ratio is to a limit."""
    python = sys.executable
    for name, arguments, limit in (
        ("import lrtheory", ["-c", "import lrtheory"], 0.5),
        ("python -m lrtheory.sweep --help", ["-m", "lrtheory.sweep", "--help"], 1.0),
    ):

        def call(arguments: list[str] = arguments) -> None:
            subprocess.run([python, *arguments], check=True, capture_output=True)

        try:
            seconds = alternate({name: call}, rounds, seconds=0.0)[name]
        except subprocess.CalledProcessError as error:
            yield Row(name, "a process", None, f"exit code {error.returncode}")
            continue
        yield Row(name, "a process", seconds, f"limit {limit:g} s", limit, target=1.0)
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"NUMBA_CACHE_DIR": folder}
        took = []
        for _ in range(2):
            start = time.perf_counter()
            subprocess.run([python, "-c", COMPILE_ALL], check=True, capture_output=True, env=environment)
            took.append(time.perf_counter() - start)
    yield Row("compile every sensing kernel", "a process, cold cache", took[0], "limit 25 s", 25.0, target=1.0)
    yield Row("load every sensing kernel", "a process, warm cache", took[1], "cold cache", took[0])


COMPILE_ALL = """
import numpy as np
from types import SimpleNamespace
from lrtheory.factors import Factors
from lrtheory.operators import Gram, Identity, gaussian, rademacher
from lrtheory.operators.loops import gradient_descent
for batch in ((), (2,)):
    x, on = Factors(np.ones((*batch, 3, 2)) / 4, np.ones((*batch, 3, 2)) / 4), np.ones(batch, dtype=bool)
    for storage in ("float64", "float32"):
        a = gaussian(9, 3, symmetric=True, packed=True, storage=storage)
        for operator, y in ((a, np.ones(9)), (Gram.of(a), x), (Identity(3), x)):
            problem = SimpleNamespace(operator=operator, observations=y, scale=1.0, link="residual")
            gradient_descent(problem, x, 0.1, 1, on)
            operator.residual_and_gradient(x, y)
        a.forward(x)
    for operator in (rademacher(9, 3), gaussian(9, 3, storage="int8")):
        operator.residual_and_gradient(x, np.ones(9))
        operator.forward(x)
"""
