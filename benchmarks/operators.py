"""Measurements in few bits or in none: one pass against two products with the float64 matrix, and peak memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import numpy as np

from benchmarks.machine import reader
from benchmarks.record import Row, alternate
from lrtheory.operators import counter_based, gaussian, rademacher

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
