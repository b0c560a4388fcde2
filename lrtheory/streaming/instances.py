"""Streams whose answer is known: matrices with their top eigenvector and spectrum, and the orders of their rows.

The hard, split and heavy-row instances are reconstructed from the statements of [1]_ (the order of the ratio at which
every fixed rate fails, the correlation that two candidates reach, the space that stored rows need), not copied from
it: `lrtheory.streaming.theory` derives what they show, and the tests hold the derivations against dense algebra.

References
----------
.. [1] P. Kacham, D. P. Woodruff, Approximating the top eigenvector in random order streams, NeurIPS 2024,
   arXiv:2412.11963.
.. [2] E. Price, Z. Xun, Spectral guarantees for adversarial streaming PCA, FOCS 2024, arXiv:2408.10332.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lrtheory.names import check_name
from lrtheory.spectra import orthonormal

from ._checks import integer, matrix, one_stream, reals

ORDERS = ("stored", "random", "v1_first", "v1_last", "v1_middle", "norm_ascending", "norm_descending")


@dataclass(frozen=True, eq=False)
class StreamInstance:
    """A matrix A whose rows are the stream, and the truth about A^T A.

    Parameters
    ----------
    rows : array or SciPy CSR array ``(n, d)``
    direction : array ``(d,)``
        The unit top eigenvector v_1, of A^T A or (for sampled rows) of the expected one.
    energies : (float, float)
        s_1^2 and s_2^2, of A^T A or of the expected one.
    """

    rows: Any
    direction: np.ndarray
    energies: tuple[float, float]

    @property
    def n(self) -> int:
        return int(self.rows.shape[0])

    @property
    def d(self) -> int:
        return int(self.rows.shape[1])

    @property
    def gap(self) -> float:
        """R = s_1^2 / s_2^2, infinite for s_2 = 0."""
        top, second = self.energies
        return top / second if second > 0 else math.inf

    @property
    def row_energies(self) -> np.ndarray:
        """Squared norms of the rows ``(n,)``, in float64."""
        return _row_sums_of_squares(self.rows)

    def ordered(self, order: str, stream: Any = 0) -> StreamInstance:
        """Return the same rows in another order, see `row_order`."""
        return replace(self, rows=self.rows[row_order(self.rows, order, self.direction, stream)])


def row_order(rows: Any, order: str, direction: np.ndarray | None = None, stream: Any = 0) -> np.ndarray:
    """Return the permutation that puts rows into an order, ties in random order.

    Parameters
    ----------
    rows : array or SciPy CSR array ``(n, d)``
    order : str
        ``"stored"``, ``"random"``, by the energy along v_1 ``"v1_first"`` (falling), ``"v1_last"`` (rising) and
        ``"v1_middle"`` (rising, then falling), by the norm ``"norm_ascending"`` and ``"norm_descending"``.
    direction : array ``(d,)``, optional
        v_1, for the orders that name it.
    stream : int or Stream

    Returns
    -------
    int64 array ``(n,)``

    Notes
    -----
    Energies that agree to 1e-9 of the largest are ties: rows orthogonal to v_1 must not be sorted by rounding errors.
    """
    check_name("order", order, ORDERS)
    rows = matrix("rows", rows)
    n, d = rows.shape
    if order == "stored":
        return np.arange(n)
    shuffled = one_stream(stream).child("order", order, n).generator().permutation(n)
    if order == "random":
        return shuffled
    if order.startswith("norm"):
        key = _row_sums_of_squares(rows)
    elif direction is None:
        raise ValueError(f"the order {order!r} needs a direction")
    elif np.shape(direction) != (d,):
        raise ValueError(f"direction must have shape ({d},), got {np.shape(direction)}")
    else:
        key = np.square(np.asarray(rows @ direction, dtype=np.float64))
    ranks = np.round(key / max(float(np.max(key)), np.finfo(np.float64).tiny) * 1e9)
    rising = shuffled[np.argsort(ranks[shuffled], kind="stable")]
    if order in ("v1_last", "norm_ascending"):
        return rising
    if order in ("v1_first", "norm_descending"):
        return rising[::-1]
    return np.concatenate([rising[::2], rising[1::2][::-1]])


def _row_sums_of_squares(rows: Any) -> np.ndarray:
    if hasattr(rows, "tocsr"):
        return np.asarray(rows.multiply(rows).sum(axis=1), dtype=np.float64).ravel()
    return np.sum(np.square(rows, dtype=np.float64), axis=1)


def hard(d: int, k: int, gap: float, m: int | None = None, *, decoy: bool = False) -> StreamInstance:
    """Return the stream on which every fixed rate of Oja's method fails while ``k (log R - 1 + 1/R) < (log d) / 2``.

    Coordinate 0 has k rows sqrt(1 / k) e_0, every other one m rows sqrt(1 / (R m)) e_j, stored coordinate by
    coordinate: s_1^2 = 1, s_2^2 = 1 / R. All rows are parallel to an axis, so the product of Oja's steps commutes and
    no order helps. Reconstructed from the statement of [1]_ (see the module); see `theory.hard_best_corr2`.

    Parameters
    ----------
    d, k : int
        d >= 2, k >= 1.
    gap : float
        R > 1.
    m : int, optional
        Light rows a coordinate. Default ``ceil(3 log d)``, which makes them light: the k rows are the heavy ones.
    decoy : bool
        Coordinate d - 1 has a single row sqrt(1 / R) e_{d-1}. With R < k it is the heaviest row, and orthogonal to v_1:
        falling back on the heaviest row, as in [2]_, does not help. Needs d >= 3.

    Returns
    -------
    StreamInstance
        With CSR rows of one stored number each, ``n = k + (d - 1) m`` (with a decoy ``k + (d - 2) m + 1``).
    """
    d = integer("d", d, 3 if decoy else 2)
    k = integer("k", k)
    gap = _gap(gap)
    m = math.ceil(3 * math.log(d)) if m is None else integer("m", m)
    if decoy and not gap < k:
        raise ValueError(f"a decoy is the heaviest row for gap < k = {k} only, got gap = {gap}")
    counts = np.full(d, m)
    counts[0] = k
    sizes = np.full(d, math.sqrt(1 / (gap * m)))
    sizes[0] = math.sqrt(1 / k)
    if decoy:
        counts[-1], sizes[-1] = 1, math.sqrt(1 / gap)
    columns = np.repeat(np.arange(d, dtype=np.int32 if d < 2**31 else np.int64), counts)
    return StreamInstance(_one_sparse(columns, np.repeat(sizes, counts), d), _axis(d, 0), (1.0, 1.0 / gap))


def split(d: int, m: int, gap: float) -> StreamInstance:
    """Return the stream on which the top vectors of heavy and of light rows both err by ``sin2 = 1 / (1 + R)``.

    m rows (sqrt(a / m), sqrt(c / m), 0, ..), then one row (sqrt a, -sqrt c, 0, ..), with a = 1/2 and c = 1 / (2 R):
    A^T A = diag(1, 1 / R, 0, ..). See `theory.split_sin2` (derived; it matches the correlation stated in [1]_).
    """
    d, m, gap = integer("d", d, 2), integer("m", m), _gap(gap)
    rows = np.zeros((m + 1, d))
    rows[:m, :2] = math.sqrt(0.5 / m), math.sqrt(0.5 / (gap * m))
    rows[m, :2] = math.sqrt(0.5), -math.sqrt(0.5 / gap)
    return StreamInstance(rows, _axis(d, 0), (1.0, 1.0 / gap))


def heavy_subset(h: int, quotient: float, d: int | None = None) -> StreamInstance:
    """Return h equally heavy rows of which a subset reveals little: a_i = sqrt(Q / h) e_0 + e_i.

    R = Q + 1, s_2 = 1, and v_1 is proportional to (sqrt(h Q), 1, .., 1, 0, ..). See `theory.heavy_subset_sin2`
    (derived; the mechanism behind the space bound stated in [1]_).

    Parameters
    ----------
    h : int
        Rows.
    quotient : float
        Q > 0.
    d : int, optional
        At least, and by default, h + 1.
    """
    h = integer("h", h)
    d = h + 1 if d is None else integer("d", d, h + 1)
    quotient = float(reals("quotient", quotient, 0.0, strict=True))
    rows = np.zeros((h, d))
    rows[:, 0] = math.sqrt(quotient / h)
    rows[np.arange(h), np.arange(1, h + 1)] = 1.0
    direction = np.sum(rows, axis=0)
    second = 1.0 if h > 1 else 0.0  # one row has no second singular value
    return StreamInstance(rows, direction / np.linalg.norm(direction), (quotient + 1.0, second))


def generic(n: int, d: int, gap: float, stream: Any = 0) -> StreamInstance:
    """Return A = U diag(1, R^{-1/2}, .., R^{-1/2}) V^T with U (n x d, n >= d) and V (d x d) Haar-distributed."""
    d = integer("d", d, 2)
    n, gap = integer("n", n, d), _gap(gap)
    stream = one_stream(stream).child("generic", n, d)
    singular = np.full(d, math.sqrt(1 / gap))
    singular[0] = 1.0
    right = orthonormal(d, d, stream.child("right"))
    rows = (orthonormal(n, d, stream.child("left")) * singular) @ right.T
    return StreamInstance(rows, right[:, 0].copy(), (1.0, 1.0 / gap))


def carried(n: int, d: int, gap: float, stream: Any = 0, *, share: float = 0.1) -> StreamInstance:
    """Return the stream whose order decides: v_1 is carried by a share of the rows, the others are orthogonal to it.

    ``round(share n)`` rows parallel to v_1, of total energy 1; the others spread evenly over the d - 1 other axes of a
    Haar-distributed basis, 1 / R each; random signs. Rows along v_1 are stored first; see `StreamInstance.ordered`.
    """
    d, gap = integer("d", d, 2), _gap(gap)
    if not 0 < reals("share", share) < 1:
        raise ValueError(f"share must lie between 0 and 1, got {share!r}")
    n = integer("n", n)
    own = round(share * n)
    if own < 1 or n - own < d - 1:
        raise ValueError(f"n must leave a row for v_1 and one for each of {d - 1} other axes, got {n}")
    axis = np.concatenate([np.zeros(own, dtype=np.int64), 1 + np.arange(n - own) % (d - 1)])
    total = np.full(d, 1 / gap)
    total[0] = 1.0
    stream = one_stream(stream).child("carried", n, d)
    sign = stream.child("signs").generator().choice([-1.0, 1.0], n)
    basis = orthonormal(d, d, stream.child("basis"))
    size = np.sqrt(total / np.bincount(axis, minlength=d))
    return StreamInstance((sign * size[axis])[:, None] * basis.T[axis], basis[:, 0].copy(), (1.0, 1.0 / gap))


def _gap(gap: Any) -> float:
    gap = float(reals("gap", gap))
    if not gap > 1:
        raise ValueError(f"gap must be above 1, got {gap!r}")
    return gap


def _axis(d: int, j: int) -> np.ndarray:
    unit = np.zeros(d)
    unit[j] = 1.0
    return unit


def _one_sparse(columns: np.ndarray, values: np.ndarray, d: int) -> Any:
    from scipy.sparse import csr_array

    n = columns.size
    offsets = np.arange(n + 1, dtype=np.int32 if n < 2**31 - 1 else np.int64)
    return csr_array((values, columns, offsets), shape=(n, d), copy=False)
