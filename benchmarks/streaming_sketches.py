"""Summaries of a stream of rows: sketches, samples and Frequent Directions against the same written plainly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks.machine import matrix_product, reader
from benchmarks.record import Row, alternate
from lrtheory.random import Stream
from lrtheory.streaming import CountSketch, FrequentDirections, GaussianSketch, RowSampler
from lrtheory.streaming.count_sketch import hashed


def rows(quick: bool) -> Iterator[Row]:
    """Yield the rows, on one thread."""
    rounds = 3 if quick else 7
    yield from count_sketch(4000 if quick else 20000, 500, rounds)
    yield sparse_count_sketch(20000, 5000, 50, rounds)
    for n, d, size, target in ((10000, 500, 20, 5.0), (5000, 2000, 20, 5.0), (5000, 500, 50, 5.0)):
        yield directions(n // 4 if quick else n, d, size, target, 1 if quick else 5)
    yield gaussian_sketch(2000 if quick else 10000, 500, rounds)
    yield row_sample(4000 if quick else 20000, 500, 1 if quick else 5)


def count_sketch(n: int, d: int, rounds: int) -> Iterator[Row]:
    """One pass over dense rows, 256 buckets; the peers are given the hashes."""
    a = Stream(0, "benchmark").normal((n, d))
    buckets, signs = hashed(1, 0, n, 256)

    def added() -> np.ndarray:
        sketch = np.zeros((256, d))
        np.add.at(sketch, buckets, signs[:, None] * a)
        return sketch

    calls = {"ours": partial(_fit, CountSketch(256), a), "product": _sign_product(buckets, signs, a), "at": added}
    t = alternate(calls | {"read": reader(a)}, rounds)
    for name, peer in (("product", "scipy CSR sign matrix @ A"), ("at", "numpy.add.at")):
        yield Row("CountSketch, 256 buckets", f"{n} x {d}", t["ours"], peer, t[name], t["read"])


def sparse_count_sketch(n: int, d: int, nonzeros: int, rounds: int) -> Row:
    """One pass over CSR rows with so many entries each; the peer is given the hashes."""
    a = _sparse(n, d, nonzeros)
    buckets, signs = hashed(1, 0, n, 256)
    calls = {"ours": partial(_fit, CountSketch(256), a), "peer": _sign_product(buckets, signs, a)}
    t = alternate(calls | {"read": reader(a.data)}, rounds)
    size = f"{n} x {d}, {nonzeros} a row"
    return Row("CountSketch, 256 buckets, CSR", size, t["ours"], "scipy CSR sign matrix @ A", t["peer"], t["read"])


def directions(n: int, d: int, size: int, target: float, rounds: int) -> Row:
    """The same shrinkings: the sum of what they took off must agree."""
    a = Stream(1, "benchmark").normal((n, d))
    ours, theirs = FrequentDirections(size).fit(a).error_, plain_directions(a, size)
    t = alternate(
        {"ours": partial(_fit, FrequentDirections(size), a), "peer": partial(plain_directions, a, size)}, rounds
    )
    product, flops = matrix_product()
    speed = flops / alternate({"product": product}, 3)["product"]
    peer = f"numpy: append a row, SVD of the buffer (error off by {abs(ours / theirs - 1):.0e})"
    # half of S S^T and the product that makes the new rows; eigenvectors are not counted
    floor = n / (size + 1) * ((2 * size) ** 2 * d + 2 * size * 2 * size * d) / speed
    return Row(f"Frequent Directions, ell={size}", f"{n} x {d}", t["ours"], peer, t["peer"], floor, target)


def plain_directions(a: np.ndarray, size: int) -> float:
    """Append row by row; decompose the buffer when it is full. Return the sum of what was taken off."""
    buffer, filled, error = np.zeros((2 * size, a.shape[1])), 0, 0.0
    for row in a:
        if filled == 2 * size:
            _, s, v = np.linalg.svd(buffer, full_matrices=False)
            error += s[size - 1] ** 2
            buffer[:size] = np.sqrt(s[:size] ** 2 - s[size - 1] ** 2)[:, None] * v[:size]
            buffer[size:] = 0.0
            filled = size - 1
        buffer[filled] = row
        filled += 1
    return error


def gaussian_sketch(n: int, d: int, rounds: int) -> Row:
    """One pass, 256 rows; the peer draws its numbers by the fastest generator there is and multiplies once."""
    a = Stream(2, "benchmark").normal((n, d))

    def peer() -> np.ndarray:
        return np.random.Generator(np.random.SFC64(0)).standard_normal((256, n)) @ a

    product, flops = matrix_product()
    t = alternate({"ours": partial(_fit, GaussianSketch(256), a), "peer": peer, "product": product}, rounds)
    floor = 2 * 256 * n * d * t["product"] / flops
    return Row("Gaussian sketch, 256 rows", f"{n} x {d}", t["ours"], "numpy: normals @ A", t["peer"], floor)


def row_sample(n: int, d: int, rounds: int) -> Row:
    """100 reservoirs; the peer throws a die for each reservoir and row, 100 at once."""
    a = Stream(3, "benchmark").normal((n, d))

    def peer() -> np.ndarray:
        generator, held, total = np.random.default_rng(0), np.zeros((100, d)), 0.0
        for row in a:
            norm2 = row @ row
            total += norm2
            held[generator.random(100) * total < norm2] = row
        return held

    t = alternate({"ours": partial(_fit, RowSampler(100), a), "peer": peer, "read": reader(a)}, rounds)
    return Row("row sample, 100 reservoirs", f"{n} x {d}", t["ours"], "numpy: row by row", t["peer"], t["read"])


def _fit(estimator: Any, a: Any) -> Any:
    return estimator.fit(a)


def _sign_product(buckets: np.ndarray, signs: np.ndarray, a: Any) -> Callable[[], Any]:
    from scipy.sparse import csr_array

    matrix = csr_array((signs, (buckets, np.arange(signs.size))), shape=(256, signs.size))
    return lambda: matrix @ a


def _sparse(n: int, d: int, nonzeros: int) -> Any:
    from scipy.sparse import csr_array

    generator = Stream(4, "benchmark").generator()
    columns = np.sort(generator.integers(d, size=(n, nonzeros)), axis=1).ravel()
    rows = csr_array((generator.standard_normal(columns.size), columns, nonzeros * np.arange(n + 1)), shape=(n, d))
    rows.sum_duplicates()
    return rows
