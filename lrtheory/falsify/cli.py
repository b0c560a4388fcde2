"""The command line of the falsifier."""

from __future__ import annotations

import json
import math
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from lrtheory.sweep.cli import CLAIM_FAILED, FAILED, OK, guarded
from lrtheory.sweep.experiment import UsageError

if TYPE_CHECKING:
    from lrtheory.sweep.experiment import Experiment
    from lrtheory.sweep.loading import Source

    from .session import Finding


def falsify(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The experiment.")] = None,
    claim: Annotated[
        str | None, typer.Option(metavar="ID", help="Which claim; T1 means T1 and all T1.*. Default: all.")
    ] = None,
    budget: Annotated[float, typer.Option(metavar="SECONDS", help="For each claim, search and shrinking.")] = 60.0,
    experiment: Annotated[Path | None, typer.Option(metavar="PATH", help="An experiment file of your own.")] = None,
    out: Annotated[Path, typer.Option(help="Where results go.")] = Path("results"),
    seed: Annotated[int, typer.Option(help="Another seed tries other points.")] = 0,
    evaluations: Annotated[int | None, typer.Option(metavar="N", help="At most so many points for each claim.")] = None,
    point: Annotated[
        str | None, typer.Option(metavar="JSON", help="Judge this one point of the claim's domain; no search.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where problems are made: cpu, cuda or cuda:1.")] = "cpu",
    threads: Annotated[int, typer.Option(help="Kernel threads.")] = 1,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 if a counterexample is found.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> int:
    """Search for counterexamples to an experiment's claims, and shrink what is found.

    Exit code: 0 the search ended, whatever it found; 1 nothing could be judged; 2 wrong usage; 3 a counterexample,
    with --strict; 130 interrupted.
    """
    from lrtheory.sweep import executors

    if threads < 1:
        raise UsageError(f"--threads must be at least 1, got {threads}")
    executors.limit_new_libraries(threads)  # NumPy is not loaded yet
    from lrtheory.sweep import loading

    if experiment is not None:
        loaded, source = loading.load(experiment)
        if name not in (None, loaded.name):
            raise UsageError(f"{experiment} defines the experiment {loaded.name!r}, not {name!r}")
        target = ["--experiment", str(experiment)]
    elif name is not None:
        loaded, source = loading.load(loading.find(name))
        target = [name]
    else:
        raise UsageError("which experiment? Give its NAME (python -m lrtheory.sweep --list) or --experiment PATH")
    if device != "cpu":
        from lrtheory import backend

        try:
            backend.check_device(device)
        except ValueError as error:
            raise UsageError(str(error)) from None
    claims = _chosen(loaded, claim)
    if point is not None and len(claims) > 1:
        raise UsageError(f"--point needs one claim: --claim {' or '.join(claims)}")
    with executors.limited_threads(threads):
        if point is not None:
            return _judge(loaded, claims[0], point, device, strict)
        call = _Call(loaded, source, target, budget, evaluations, seed, device, out, quiet)
        findings = [call.search(one) for one in claims]
    if any(not finding.counts["judged"] for finding in findings):
        return FAILED
    return CLAIM_FAILED if strict and any(finding.point is not None for finding in findings) else OK


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m lrtheory.falsify`` and return the exit code."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(falsify)
    return guarded(app, "python -m lrtheory.falsify", sys.argv[1:] if arguments is None else arguments)


def _chosen(experiment: Experiment, claim: str | None) -> list[str]:
    from .judging import declared

    if claim is None:
        claims = list(experiment.falsify)
    else:
        claims = [one for one in experiment.falsify if one == claim or one.startswith(claim + ".")]
    for one in claims or [claim or ""]:
        declared(experiment, one)  # refuses what is no Search
    return claims


def _judge(experiment: Experiment, claim: str, text: str, device: str, strict: bool) -> int:
    from .judging import declared, judge

    search = declared(experiment, claim)
    try:
        given = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--point is no JSON: {error}") from None
    if not isinstance(given, dict):
        raise UsageError(f'--point must be like {{"k": 4, "seed": 0}}, got {text}')
    try:
        point = search.checked(given)
    except (ValueError, TypeError) as error:
        raise UsageError(f"--point: {error}") from None
    verdict = judge(experiment, search, point, device)
    if verdict.error:
        print(f"error: {claim}: {verdict.error}", file=sys.stderr)
        return FAILED
    print(f"{claim}: {search.statement}" if search.statement else claim)
    if verdict.kind == "outside":
        print("  the point lies outside the domain")
    elif verdict.kind == "no verdict":
        print("  margin nan: no verdict")
    else:
        print(f"  margin {verdict.margin:.6g}: " + ("the claim is violated" if verdict.violated else "no violation"))
    return CLAIM_FAILED if strict and verdict.violated else OK


class _Call:
    """What the searches of one command share."""

    def __init__(
        self,
        experiment: Experiment,
        source: Source,
        target: list[str],
        budget: float,
        evaluations: int | None,
        seed: int,
        device: str,
        out: Path,
        quiet: bool,
    ) -> None:
        self.experiment, self.source, self.target, self.quiet = experiment, source, target, quiet
        self.settings: dict[str, Any] = dict(budget=budget, evaluations=evaluations, seed=seed, device=device)
        self.device, self.out = device, out

    def search(self, claim: str) -> Finding:
        """Search, store, print."""
        from lrtheory.sweep.store import make_writable

        from . import outputs, session

        folder = outputs.folder(self.out, self.experiment)
        make_writable(folder)
        with _Progress(claim, self.settings["budget"], self.quiet) as progress:
            try:
                finding = session.find_counterexample(self.experiment, claim, watch=progress.show, **self.settings)
            except KeyboardInterrupt as interrupt:
                progress.end()
                self.report(interrupt.finding)  # type: ignore[attr-defined]
                raise
        self.report(finding)
        return finding

    def report(self, finding: Finding) -> None:
        """Store and print."""
        from . import outputs
        from .judging import declared

        search = declared(self.experiment, finding.claim)
        command = shlex.join(["python", "-m", "lrtheory.falsify", *_without_subcommand(sys.argv[1:])])
        record = outputs.record(
            self.experiment, self.source, search, finding, target=self.target, command=command, **self.settings
        )
        folder = outputs.folder(self.out, self.experiment)
        before = outputs.earlier(folder, finding.claim)
        stored = outputs.write(folder, record)
        print(f"{finding.claim}: {finding.statement}" if finding.statement else finding.claim)
        print("  domain: " + "; ".join(f"{name} {bound}" for name, bound in search.bounds.items()))
        lines = _found(record, finding) if finding.point is not None else _none_found(finding)
        for line in lines:
            print(f"  {line}")
        print(f"  stored: {stored[0]}")
        others = [path for path in before if path not in stored]
        if others:
            print(f"  earlier searches found: {', '.join(map(str, others))}")
        sys.stdout.flush()


def _without_subcommand(words: list[str]) -> list[str]:
    return words[1:] if words[:1] == ["falsify"] else words


def _found(record: dict[str, Any], finding: Finding) -> list[str]:
    found = record["counterexample"]
    if finding.minimal:
        how = f"shrunk with {finding.shrinking} more to a minimal one"
    else:
        how = f"not shrunk to the end ({_ENDS[finding.cut]})"
    lines = [
        f"COUNTEREXAMPLE after {_count(finding.searched)}, {how} ({finding.seconds:.1f} s)",
        f"point: {json.dumps(found['point'])}, margin {finding.margin:.4g}",
        f"again: {found['command']}",
    ]
    return lines + ([f"its data: {found['sweep']}"] if found["sweep"] else [])


def _none_found(finding: Finding) -> list[str]:
    counts = finding.counts
    lines = [f"none found: {_count(finding.searched)} in {finding.seconds:.1f} s ({_ENDS[finding.stopped]})"]
    rest = [f"{counts[kind]} {text}" for kind, text in _KINDS.items() if counts[kind]]
    if rest:
        lines.append(f"of these {', '.join(rest)}")
    if finding.error:
        lines.append(f"first error: {finding.error}")
    if finding.closest is not None:
        lines.append(f"closest: margin {finding.closest[1]:.4g} at {json.dumps(finding.closest[0])}")
    if finding.stopped != "exhausted" and finding.uniform:
        lines.append(
            f"{finding.uniform} of the points were drawn uniformly: at 95 % less than {finding.largest_share:.2g} of "
            "the domain violates the claim; no proof (docs/falsify.md)"
        )
    return lines


_ENDS = {
    "budget": "the budget is spent",
    "evaluations": "as many points as asked for",
    "exhausted": "every point of the domain",
    "failing": "given up, since none gives a verdict",
    "interrupted": "interrupted",
}
_KINDS = {"no verdict": "gave no verdict", "outside": "lay outside the domain", "failed": "raised an error"}


def _count(number: int) -> str:
    return f"{number} point{'' if number == 1 else 's'}"


class _Progress:
    """One line that is overwritten on a terminal, a line every ten seconds elsewhere, nothing with ``--quiet``."""

    def __init__(self, claim: str, budget: float, quiet: bool, stream: TextIO | None = None) -> None:
        self.claim, self.budget, self.quiet = claim, budget, quiet
        self.stream = sys.stderr if stream is None else stream
        self.terminal = self.stream.isatty()
        self.every = 0.2 if self.terminal else 10.0
        self.last = time.monotonic()
        self.width = 0

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def show(self, finding: Finding) -> None:
        """Say how far the search is."""
        now = time.monotonic()
        if self.quiet or now - self.last < self.every:
            return
        self.last = now
        line = f"{self.claim}: {_count(finding.searched)}, {finding.seconds:.0f} s of {self.budget:g} s"
        if finding.point is not None:
            line += f", found; shrinking: {_count(finding.shrinking)}"
        elif finding.closest is not None and math.isfinite(finding.closest[1]):
            line += f", smallest margin {finding.closest[1]:.3g}"
        if finding.counts["failed"]:
            line += f", {finding.counts['failed']} failed"
        if self.terminal:
            self.stream.write("\r" + line.ljust(self.width))
            self.width = len(line)
        else:
            self.stream.write(line + "\n")
        self.stream.flush()

    def end(self) -> None:
        """Clear the line."""
        if self.width:
            self.stream.write("\r" + " " * self.width + "\r")
            self.stream.flush()
            self.width = 0
