"""Laws that every streaming estimator of the package obeys, and users' own with it."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

N, D = 240, 6
BAD = 53


def check_estimator(estimator: Any, rows: np.ndarray | None = None, *, tolerance: float = 1e-8) -> None:
    """Hold a streaming estimator against the laws that experiments rely on.

    Parameters
    ----------
    estimator
        An instance with the parameters to test; a subclass of `lrtheory.streaming.StreamingEstimator`, or whatever has
        its methods and attributes. It is left alone: others of the same class and parameters are fitted.
    rows : array ``(n, d)``, optional
        At least 100 rows, finite. Default: 240 normal rows of 6 columns, the first with the largest variance.
    tolerance : float
        The largest difference of components that should be the same.

    Raises
    ------
    AssertionError
        With the name of the law that is broken.

    Notes
    -----
    The laws: parameters are stored as given, and unknown ones refused; there is no result before the first row;
    components are unit rows ``(..., k, d)`` whose largest entry is positive, with an energy each (NaN where a method
    has none); rows and their squares are counted, and left alone; how a stream is cut, and reading a result on the way
    and writing into it, changes nothing; the same rows give the same bits, and `fit` forgets what was seen; copies,
    pickled too, go on alike and by themselves; rows of float32 give components of float32; CSR rows are refused or give
    what dense ones give; a row that is not finite is named by its number, and leaves no trace (unless
    ``check_finite=False``), as do rows of another width.
    """
    if rows is None:
        rows = np.random.default_rng(0).standard_normal((N, D)) * np.array([3.0, 2.0, 1.0, 1.0, 1.0, 1.0])
    if rows.ndim != 2 or rows.shape[0] < 100 or not np.isfinite(rows).all():
        raise ValueError(f"rows must be finite, of shape (n, d) with n >= 100, got shape {rows.shape}")
    laws = _Laws(estimator, rows, tolerance)
    for law in (
        laws.parameters,
        laws.nothing_before_the_first_row,
        laws.results,
        laws.pieces,
        laws.repetition,
        laws.copies,
        laws.single_precision,
        laws.sparse_rows,
        laws.refusals,
    ):
        law()


class _Laws:
    def __init__(self, estimator: Any, rows: np.ndarray, tolerance: float):
        self.made, self.rows, self.tolerance = estimator, rows, tolerance

    def fresh(self) -> Any:
        return type(self.made)(**self.made.get_params())

    def holds(self, condition: Any, law: str) -> None:
        assert condition, f"{type(self.made).__name__} breaks the law: {law}"

    def same(self, found: Any, expected: Any, law: str) -> None:
        a, b = found.components_, expected.components_
        self.holds(a.shape == b.shape and np.max(np.abs(a - b)) <= self.tolerance, law)

    def refused(self, kinds: Any, call: Callable[[], Any], law: str, named: str = "") -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what is about to be refused
                call()
        except kinds as error:
            self.holds(named in str(error), f"{law}, and the message names {named!r}: got {str(error)!r}")
            return
        self.holds(False, law)

    def parameters(self) -> None:
        given = self.made.get_params()
        stored = self.fresh().get_params()
        self.holds(
            given.keys() == stored.keys() and all(stored[name] is given[name] for name in given),
            "parameters are stored as they were given",
        )
        made = self.fresh()
        self.refused(ValueError, lambda: made.set_params(no_such_parameter=1), "unknown parameters are refused")

    def nothing_before_the_first_row(self) -> None:
        for name in ("components_", "explained_energy_"):
            self.refused(AttributeError, partial(getattr, self.fresh(), name), f"no {name} before a row")

    def results(self) -> None:
        given = self.rows.copy()
        made = self.fresh()
        self.holds(made.fit(given) is made, "fit returns the estimator")
        self.holds(np.array_equal(given, self.rows), "rows are left alone")
        found, energies = made.components_, made.explained_energy_
        self.holds(found.ndim >= 2 and found.shape[-1] == given.shape[1], "components_ has shape (..., k, d)")
        self.holds(np.allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-6), "components are unit rows")
        largest = np.take_along_axis(found, np.argmax(np.abs(found), axis=-1)[..., None], axis=-1)
        self.holds(np.all(largest > 0), "the largest entry of a component is positive")
        self.holds(np.shape(energies) == found.shape[:-1], "explained_energy_ has one number a component")
        self.holds((made.n_seen_, made.n_features_in_) == given.shape, "n_seen_ and n_features_in_ count the rows")
        plain = not getattr(made, "center", False) and made.scale_ == 1
        self.holds(
            not plain or np.isclose(made.frobenius2_, np.sum(given * given), rtol=1e-9),
            "frobenius2_ is the sum of the rows' squared norms (`_absorb` returns that of its rows)",
        )
        self.holds(made.state_floats_ >= 1, "state_floats_ counts the numbers kept")
        self.holds(np.shape(made.status_) in ((), found.shape[:-2]), "status_ is one word for each of a batch")

    def pieces(self) -> None:
        whole = self.fresh().partial_fit(self.rows)
        one_by_one = self.fresh()
        for row in self.rows:
            one_by_one.partial_fit(row[None])
        law = "how a stream is cut into chunks changes nothing"
        self.same(one_by_one, whole, law)
        cut = self.fresh()
        for first, last in ((0, 7), (7, 7), (7, 90), (90, None)):
            cut.partial_fit(self.rows[first:last])
            read = cut.components_
            read *= 0  # what was read is the reader's
        self.same(cut, whole, "reading a result, and writing into it, changes nothing")

    def repetition(self) -> None:
        first = self.fresh().fit(self.rows)
        again = self.fresh().fit(self.rows[::-1].copy()).fit(self.rows)
        self.holds(
            np.array_equal(first.components_, again.components_) and again.n_seen_ == first.n_seen_,
            "the same rows give the same bits, whatever was seen before `fit`",
        )

    def copies(self) -> None:
        half = self.fresh().partial_fit(self.rows[:90])
        before = half.components_
        others = [pickle.loads(pickle.dumps(half)), copy.deepcopy(half)]
        whole = self.fresh().partial_fit(self.rows[:90]).partial_fit(self.rows[90:])
        for other in others:
            self.same(other.partial_fit(self.rows[90:]), whole, "copies go on alike")
        self.holds(np.array_equal(half.components_, before), "copies go on by themselves")

    def single_precision(self) -> None:
        rows = self.rows.astype(np.float32)
        found = self.fresh().fit(rows).components_
        self.holds(found.dtype == np.float32, "rows of float32 give components of float32")
        wide = self.fresh().fit(rows.astype(np.float64)).components_
        self.holds(np.max(np.abs(found - wide)) <= max(self.tolerance, 1e-3), "float32 loses digits only")

    def sparse_rows(self) -> None:
        from scipy.sparse import csr_array

        rows = np.where(np.abs(self.rows) < 0.5, 0.0, self.rows)
        try:
            found = self.fresh().partial_fit(csr_array(rows))
        except (TypeError, ValueError):
            return
        self.same(found, self.fresh().partial_fit(rows), "CSR rows give what dense ones give, or are refused")

    def refusals(self) -> None:
        made = self.fresh().partial_fit(self.rows[:90])
        expected = self.fresh().partial_fit(self.rows[:90]).partial_fit(self.rows[90:])
        law = "rows of another width are refused"
        self.refused(ValueError, lambda: made.partial_fit(self.rows[:5, :-1]), law)
        if getattr(made, "check_finite", True):
            for value in (np.nan, np.inf):
                bad = self.rows[: BAD + 10].copy()
                bad[BAD, 0] = value
                law = f"a row with {value} is refused"
                self.refused(ValueError, partial(made.partial_fit, bad), law, f"row {90 + BAD}")
        self.same(made.partial_fit(self.rows[90:]), expected, "what is refused leaves no trace")
