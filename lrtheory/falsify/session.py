"""One search: propose, judge, and once a point violates the claim shrink it, all within a budget."""

from __future__ import annotations

import math
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lrtheory.sweep.experiment import Cell, Experiment, UsageError
from lrtheory.sweep.timeout import OutOfTime, time_limit

from .bounds import Point
from .declaring import Search, point_key
from .judging import Verdict, declared, judge
from .proposing import Proposals
from .shrinking import shrink

BUDGET = 60.0  # seconds for each claim
_HOPELESS = 20  # points that all raise, and none that gives a verdict: the experiment is broken


class _Over(Exception):
    """The budget is spent."""


@dataclass
class Finding:
    """What a search for a counterexample gave.

    Attributes
    ----------
    claim, statement : str
    point : dict or None
        The counterexample, after shrinking.
    margin : float
        Its margin, negative; NaN without one.
    cells : tuple of dict
        Its cells.
    first : dict or None
        The counterexample before shrinking.
    cut : str
        What ended shrinking early: ``"budget"``, ``"evaluations"`` or ``"interrupted"``; "" if the counterexample is
        minimal.
    searched, shrinking : int
        Points that were judged (run, or refused) before and after a counterexample was found.
    counts : Counter
        How many of them were ``"judged"``, had ``"no verdict"``, lay ``"outside"`` the domain, or ``"failed"``.
    uniform : int
        How many judged points were drawn uniformly from the domain while searching.
    closest : (dict, float) or None
        The smallest margin while searching, and where.
    stopped : str
        What ended the search: ``"found"``, ``"budget"``, ``"evaluations"``, ``"exhausted"`` (every point of a finite
        domain was tried), ``"failing"`` (points raise, and none gives a verdict) or ``"interrupted"``.
    error : str
        The first thing that a point raised.
    seconds : float
    """

    claim: str
    statement: str = ""
    point: Point | None = None
    margin: float = math.nan
    cells: tuple[Cell, ...] = ()
    first: Point | None = None
    cut: str = ""
    searched: int = 0
    shrinking: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    uniform: int = 0
    closest: tuple[Point, float] | None = None
    stopped: str = ""
    error: str = ""
    seconds: float = 0.0

    @property
    def minimal(self) -> bool:
        """True for a counterexample of which no coordinate alone can be made simpler."""
        return self.point is not None and not self.cut

    @property
    def largest_share(self) -> float:
        """The largest share of the domain that can violate the claim, at 95 %, if no uniformly drawn point did.

        The share is of the points with a verdict, measured in the scales of the bounds: 1 - 0.05^(1 / uniform).
        """
        return 1.0 - 0.05 ** (1.0 / self.uniform) if self.uniform else 1.0


def find_counterexample(
    experiment: Experiment,
    claim: str,
    *,
    budget: float = BUDGET,
    evaluations: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    watch: Callable[[Finding], Any] | None = None,
) -> Finding:
    """Search a claim's domain for a counterexample, and shrink it.

    Parameters
    ----------
    experiment : Experiment
    claim : str
        A key of ``experiment.falsify``.
    budget : float
        Seconds for search and shrinking together. The evaluation that runs when they are over is broken off (between
        two steps of the interpreter) and not counted.
    evaluations : int, optional
        At most so many points, search and shrinking together. The result depends on `seed` and this number only, if
        the budget is long enough for them.
    seed : int
    device : str
    watch : callable ``Finding -> None``, optional
        Called after every evaluation with what is known so far.

    Returns
    -------
    Finding

    Raises
    ------
    UsageError
        For an unknown claim, or a number out of range.
    KeyboardInterrupt
        With the finding so far in its ``finding`` attribute.
    """
    search = declared(experiment, claim)
    if not 0 < budget < math.inf:
        raise UsageError(f"--budget must be positive and finite, got {budget:g}")
    if evaluations is not None and evaluations < 1:
        raise UsageError(f"--evaluations must be at least 1, got {evaluations}")
    return _Session(experiment, search, claim, budget, evaluations, seed, device, watch).run()


class _Session:
    def __init__(
        self,
        experiment: Experiment,
        search: Search,
        claim: str,
        budget: float,
        evaluations: int | None,
        seed: int,
        device: str,
        watch: Callable[[Finding], Any] | None,
    ) -> None:
        self.experiment, self.search, self.device = experiment, search, device
        self.evaluations, self.watch = evaluations, watch
        self.proposals = Proposals(search.bounds, seed, claim)
        self.finding = Finding(claim, search.statement)
        self.known: dict[str, bool] = {}
        self.start = time.monotonic()
        self.deadline = self.start + budget

    def run(self) -> Finding:
        finding = self.finding
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # odd corners of the domain are what is looked for
                self.look()
                if finding.point is not None:
                    shrink(self.search.bounds, finding.point, self.violates)
        except _Over as over:
            self.cut(str(over))
        except KeyboardInterrupt as interrupt:
            self.cut("interrupted")
            interrupt.finding = finding  # type: ignore[attr-defined]
            raise
        finally:
            finding.seconds = time.monotonic() - self.start
        return finding

    def look(self) -> None:
        """Propose and judge until a point violates the claim."""
        finding = self.finding
        while not self.proposals.exhausted:
            point, uniform = self.proposals.next()
            verdict = self.judge(point)
            finding.searched += 1
            self.known[point_key(point)] = verdict.violated
            self.proposals.tell(point, verdict.margin)
            if verdict.kind == "judged":
                finding.uniform += uniform
                if finding.closest is None or verdict.margin < finding.closest[1]:
                    finding.closest = (point, verdict.margin)
            if verdict.violated:
                finding.first, finding.stopped = point, "found"
                self.keep(point, verdict)
            self.tell()
            if verdict.violated:
                return
            if finding.counts["failed"] >= _HOPELESS and not finding.counts["judged"]:
                raise _Over("failing")
        raise _Over("exhausted")

    def violates(self, point: Point) -> bool:
        """Judge a simpler point; one that violates the claim too is kept."""
        key = point_key(point)
        if key not in self.known:
            verdict = self.judge(point)
            self.finding.shrinking += 1
            self.known[key] = verdict.violated
            if verdict.violated:
                self.keep(point, verdict)
            self.tell()
        return self.known[key]

    def cut(self, why: str) -> None:
        if self.finding.point is None:
            self.finding.stopped = why
        else:
            self.finding.cut = why

    def keep(self, point: Point, verdict: Verdict) -> None:
        self.finding.point, self.finding.margin, self.finding.cells = point, verdict.margin, verdict.cells

    def judge(self, point: Point) -> Verdict:
        done = self.finding.searched + self.finding.shrinking
        if self.evaluations is not None and done >= self.evaluations:
            raise _Over("evaluations")
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise _Over("budget")
        try:
            with time_limit(left):
                verdict = judge(self.experiment, self.search, point, self.device)
        except OutOfTime:
            raise _Over("budget") from None
        self.finding.counts[verdict.kind] += 1
        self.finding.error = self.finding.error or verdict.error
        return verdict

    def tell(self) -> None:
        self.finding.seconds = time.monotonic() - self.start
        if self.watch is not None:
            self.watch(self.finding)
