"""Measurements in few bits or in none, and structured ones: a pass against what NumPy does, and peak memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import numpy as np
from scipy.sparse import csr_array

from benchmarks.machine import matrix_product, reader
from benchmarks.record import Row, alternate
from lrtheory.factors import Factors, transpose
from lrtheory.operators import counter_based, gaussian, rademacher, rank_one, sample_entries

TRIALS = 32


def few_bits(n: int, m: int, rounds: int) -> Iterator[Row]:
    """Residual and gradient of one iteration, against two matrix-vector products by NumPy on a dense float64 matrix."""
    scale = m**-0.5
    dense = gaussian(m, n, symmetric=True)
    generator = np.random.default_rng(0)
    z = generator.standard_normal((n, n))
    z = z + z.T
    y = generator.standard_normal(m)
    batch = z + generator.standard_normal((TRIALS, 1, 1)) * np.eye(n)
    a, flat = dense.rows, z.ravel()
    operators = {
        "int8 storage": gaussian(m, n, storage="int8"),
        "packed, int8 storage": gaussian(m, n, symmetric=True, packed=True, storage="int8"),
        "signs in bits": rademacher(m, n),
        "symmetric signs in bits": rademacher(m, n, symmetric=True),
        "counter-based signs": counter_based(m, n),
        "counter-based, quantised": counter_based(m, n, law="quantised"),
    }
    calls = {
        "peer, A.T @ r": lambda: scale * (a.T @ (scale * (a @ flat) - y)),
        "peer, r @ A": lambda: scale * ((scale * (a @ flat) - y) @ a),
    }
    for name, operator in operators.items():
        rows = operator.block(0, m)
        expected = scale * operator.restore(rows.T @ (scale * rows @ operator.flatten(z) - y))
        if not np.abs(operator.residual_and_gradient(z, y, scale)[1] - expected).max() < 1e-11:
            raise AssertionError(f"{name}: the candidates do not do the same work")
        calls[name] = partial(operator.residual_and_gradient, z, y, scale)
        calls[f"a trial of {TRIALS}, {name}"] = partial(operator.residual_and_gradient, batch, y, scale)
    t = alternate(calls, rounds)
    two = min(t["peer, A.T @ r"], t["peer, r @ A"])
    for name in calls:
        if not name.startswith("peer"):
            ours = t[name] / (TRIALS if name.startswith("a trial") else 1)
            yield Row(f"pass, {name}", f"n={n} m={m}", ours, "NumPy, two GEMVs", two)


def rank_one_pass(n: int, m: int, k: int, rounds: int) -> Iterator[Row]:
    """Value and gradient at ``X X^T`` of one iteration by ``a_i a_i^T``, against NumPy; and against its two products
    alone, at the best rate that BLAS reaches for them: whole, or in blocks that stay in cache."""
    scale = m**-0.5
    operator = rank_one(m, n)
    a = operator.vectors
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((n, k)) / n**0.5, generator.standard_normal(m)
    batch = Factors(x + 0.1 * generator.standard_normal((8, n, k)))
    product, operations = matrix_product()

    def plain() -> np.ndarray:
        p = a @ x
        r = scale * np.sum(p * p, axis=1) - y
        return scale * (a.T @ (r[:, None] * p))

    def products(rows: int) -> np.ndarray:
        total = np.zeros((n, k))
        for first in range(0, m, rows):
            block = a[first : first + rows]
            total += block.T @ (block @ x)
        return total

    calls = {
        "ours": partial(operator.factor_gradient, Factors(x), y, scale),
        "batch": partial(operator.factor_gradient, batch, y, scale),
        "plain": plain,
        "read": reader(a),
        "product": product,
    } | {f"{rows} rows": partial(products, rows) for rows in (32, 64, 128, m)}
    expected = plain()
    if not np.abs(calls["ours"]()[1].left - expected).max() < 1e-12 * np.abs(expected).max():
        raise AssertionError("the candidates do not do the same work")
    t = alternate(calls, rounds)
    best = min(t[name] for name in calls if name.endswith("rows"))
    size, speed = f"n={n} m={m} k={k}", operations / t["product"]
    floor, floors = (max(t["read"], 4.0 * m * n * columns / speed) for columns in (k, 8 * k))
    yield Row("iteration, rank-one", size, t["ours"], "NumPy, two products", t["plain"], floor)
    yield Row("iteration, rank-one", size, t["ours"], "two products alone, at best", best, floor, target=0.5)
    yield Row("a trial of 8, rank-one", size, t["batch"] / 8, "NumPy, two products", t["plain"], floors / 8)


def entries_pass(n: int, m: int, k: int, rounds: int) -> Iterator[Row]:
    """Value and gradients at ``F G^T`` from sampled entries, and their parts, against NumPy and SciPy.

    No implementation reads less than y and two arrays of indices, 16 bytes an entry."""
    operator = sample_entries(m, n)
    generator = np.random.default_rng(0)
    x = Factors(generator.standard_normal((n, k)), generator.standard_normal((n, k)))
    y, f, g = generator.standard_normal(m), x.left, x.right
    s = csr_array((y.copy(), (operator.rows, operator.columns)), shape=(n, n))

    def ours() -> tuple[np.ndarray, np.ndarray]:
        _, residual = operator.residual_and_gradient(x, y)
        return residual @ g, transpose(residual) @ f

    def sampled() -> np.ndarray:
        return np.einsum("ik,ik->i", f[operator.rows], g[operator.columns])

    def plain() -> tuple[np.ndarray, np.ndarray]:
        s.data = sampled()[order] - y[order]
        return s @ g, s.T @ f

    order = np.lexsort((operator.columns, operator.rows))
    for got, expected in zip(ours(), plain(), strict=True):
        if not np.abs(got - expected).max() < 1e-11 * np.abs(expected).max():
            raise AssertionError("the candidates do not do the same work")
    calls = {"pass": ours, "plain": plain, "sampled": partial(operator.forward, x), "sampled, plain": sampled}
    t = alternate(calls | {"read": reader(np.ones(2 * m))}, rounds)
    size = f"n={n} m={m} k={k}"
    yield Row("pass, sampled entries", size, t["pass"], "NumPy, SciPy", t["plain"], t["read"])
    yield Row("sampled product", size, t["sampled"], "NumPy, gathers", t["sampled, plain"])


def matrix_free(n: int, m: int, law: str = "sign") -> Row:
    """One pass over m n^2 entries that are never stored, in a fresh process that tells its peak memory. The peer is no
    program: the time to read as many float64 numbers once, if there were room for them."""
    done = subprocess.run(
        [sys.executable, "-c", MATRIX_FREE, str(n), str(m), law], check=True, capture_output=True, text=True
    )
    found = json.loads(done.stdout)
    data = np.ones(1 << 25)  # far beyond any cache
    speed = data.nbytes / alternate({"read": reader(data)}, 3)["read"]
    size = 8.0 * m * n * n
    name = f"pass, counter-based {law}, {found['memory'] / 2**20:.0f} MiB above {found['before'] / 2**20:.0f}"
    peer = f"reading {size / 1e12:.3g} TB of float64 once"
    return Row(name, f"n={n} m={m}", found["seconds"], peer, size / speed)


MATRIX_FREE = """
import json, os, re, resource, sys, time
import numpy as np
from lrtheory.operators import counter_based
n, m, law = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
def peak():
    if os.path.exists("/proc/self/status"):  # Linux hands a parent's ru_maxrss on to its children
        return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
    return (1 if sys.platform == "darwin" else 1024) * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
counter_based(8, 8, law=law).residual_and_gradient(np.ones((8, 8)), np.ones(8))
before = peak()
operator = counter_based(m, n, law=law)
z = np.ones((n, n)) / n
y = operator.forward(z)
start = time.perf_counter()
value, gradient = operator.residual_and_gradient(0.5 * z, y, operator.unit_scale)
seconds = time.perf_counter() - start
assert np.isfinite(gradient).all() and value > 0
print(json.dumps({"seconds": seconds, "before": before, "memory": peak() - before}))
"""
