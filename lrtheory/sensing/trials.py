"""From an experiment's cells to runs: one call of `solve` for all cells that share an operator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lrtheory.keep import Keep
from lrtheory.low_rank import GivenFactors
from lrtheory.names import check_name
from lrtheory.random import Stream
from lrtheory.sensing.instances import gaussian_problem, population_problem, reduce_population
from lrtheory.sensing.problems import SensingProblem
from lrtheory.solve import Above, Result, solve

if TYPE_CHECKING:
    import pandas as pd

KEPT = Keep()
"""The operators of this process's last cells: methods and truths that are compared share them."""

DIVERGING = Above("relative_error", 1e6)
"""When a cell counts as diverged, at the latest."""

Cell = dict[str, Any]
Method = Callable[[dict[str, Any]], tuple[Any, Any]]
"""Takes columns (see `columns`) to an algorithm and a start."""


def runs(
    cells: Iterable[Cell],
    device: str,
    method: Method,
    *,
    problem: Callable[[dict[str, Any], str], SensingProblem] | None = None,
    stop: Any = (),
    reduce: bool = False,
    **options: Any,
) -> Iterator[tuple[list[Cell], SensingProblem, Result]]:
    """Solve cells that differ in hyper-parameters and seeds only, all that share an operator in one call.

    Parameters
    ----------
    cells : iterable of dict
        Each has ``operator``, ``seed``, ``init_seed`` and ``max_steps``; with ``tolerance`` the first step at which the
        relative error is below it is looked for.
    device : str
    method : callable ``columns -> (algorithm, start)``
    problem : callable ``(columns, device) -> SensingProblem``
        Default `measured`.
    stop : rule or sequence of rules, optional
        Beside `DIVERGING`.
    reduce : bool
        Run the population case in r + k rows (`reduce_population`), exact for gradient descent.
    **options
        For `solve`.

    Yields
    ------
    cells, problem, result
        The batch axis of the result runs over these cells.
    """
    options["stop"] = [DIVERGING, *(stop if isinstance(stop, Sequence) else (stop,))]
    groups: dict[Any, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(None if cell["operator"] == "identity" else cell["seed"], []).append(cell)
    for group in groups.values():
        c = columns(group)
        algorithm, start = method(c)
        made = (measured if problem is None else problem)(c, device)
        stream = Stream(np.array([cell["seed"] for cell in group]), np.array([cell["init_seed"] for cell in group]))
        if reduce and c["operator"] == "identity":
            made, x = reduce_population(made, start(made, stream.child("start")))
            start = GivenFactors(x)
        watch = {"relative_error": c["tolerance"]} if "tolerance" in c else None
        yield (
            group,
            made,
            solve(made, algorithm, start=start, max_steps=c["max_steps"], watch=watch, stream=stream, **options),
        )


def columns(cells: Sequence[Cell]) -> dict[str, Any]:
    """Return the cells' parameters by name: one value where they agree, else an array with a value for each cell."""
    found: dict[str, Any] = {}
    for name, value in cells[0].items():
        values = [cell[name] for cell in cells]
        found[name] = value if all(v == value for v in values) else np.array(values)
    return found


def measured(c: dict[str, Any], device: str) -> SensingProblem:
    """Return the problem that the columns name: operator "identity" or "gaussian".

    Reads n, r and seed; for Gaussian measurements m too; where they are given kappa and spectrum, and for Gaussian
    measurements form, storage, symmetric and noise. The operator is kept for later cells.
    """
    shared = {name: c[name] for name in ("kappa", "spectrum") if name in c} | {"seed": c["seed"], "device": device}
    if chosen(c, "operator", ("identity", "gaussian")) == "identity":
        return population_problem(c["n"], c["r"], **shared)
    given = {name: c[name] for name in ("form", "storage", "symmetric", "noise") if name in c}
    return gaussian_problem(c["n"], c["r"], int(c["m"]), **given, **shared, keep=KEPT)


def chosen(c: dict[str, Any], axis: str, choices: Iterable[str]) -> str:
    """Return what the columns name on an axis; an error lists the valid names."""
    return check_name(axis, c[axis], choices)


def table(result: Result, element: int, **more: Any) -> dict[str, Any]:
    """Return the records of one element as a sweep stores them, with further columns.

    iteration, passes, error_squared, relative_error, loss, and, the same in every row: floor (what error_squared
    resolves), first_below (-1: never), status.
    """
    found = result.trace.table(element)
    shape = result.status.shape
    floor = np.broadcast_to(result.resolution["error"], shape)[element] ** 2
    first = result.first_below.get("relative_error", np.full(shape, -1))[element]
    return {
        "iteration": found["iteration"],
        "passes": found["passes"],
        "error_squared": found["error"] ** 2,
        "relative_error": found["relative_error"],
        "loss": found["loss"],
        "floor": floor,
        "first_below": first,
        "status": str(result.status[element]),
        **more,
    }


def late_rate(cell: pd.DataFrame) -> float:
    """Return the rate of err^2 in a cell's records: minus the log of its factor per iteration.

    Fitted over the last half of the iterations above the floor, where the slowest direction is alone; NaN where too few
    records are there.
    """
    from lrtheory.rates import fit_geometric

    cell = cell[cell["iteration"] > 0]
    if cell.empty:
        return float("nan")
    t, error, floor = cell["iteration"].to_numpy(), cell["error_squared"].to_numpy(), cell["floor"].iloc[0]
    above = t[error > 10 * floor]
    end = above[-1] if len(above) else t[-1]
    return float(-np.log(fit_geometric(t, error, window=(end / 2, end), floor=floor).factor))
