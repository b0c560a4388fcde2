"""The command line of the sweep engine."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .experiment import UsageError

if TYPE_CHECKING:
    from .claims import Claim
    from .outputs import Report
    from .store import Failure

_SHOWN = 5  # cells that failed in the same way

OK, FAILED, USAGE, CLAIM_FAILED, INTERRUPTED = 0, 1, 2, 3, 130


def sweep(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The experiment; --list names them.")] = None,
    preset: Annotated[str, typer.Option(help="Which grid: small, paper or large.")] = "small",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="AXIS=VALUES", help="Other values of a parameter: k=3,5 seed=0:20 alpha=log:1e-3:1:7."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Where problems are made: cpu, cuda or cuda:1.")] = "cpu",
    jobs: Annotated[int | None, typer.Option(help="Processes; default: the cores, one on a GPU.")] = None,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Run on Dask: tcp://host:port, or local:N processes.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Kernel threads of each process.")] = 1,
    out: Annotated[Path, typer.Option(help="Where results go.")] = Path("results"),
    experiment: Annotated[Path | None, typer.Option(metavar="PATH", help="An experiment file of your own.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Compute stored cells again.")] = False,
    plot_only: Annotated[bool, typer.Option("--plot-only", help="Figure and claims from what is stored.")] = False,
    batch_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="The most that one call of the experiment may take.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 if a claim fails.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Name the experiments and stop.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, time a block, and stop.")] = False,
) -> int:
    """Run an experiment: compute what is not stored, draw the figure, print the claims.

    Exit code: 0 all cells ran; 1 a cell failed; 2 wrong usage; 3 a claim failed, with --strict; 130 interrupted.
    """
    if list_:
        return _list()
    from . import executors

    executors.limit_new_libraries(threads)  # NumPy is not loaded yet
    from . import loading, session

    if experiment is not None:
        loaded, source = loading.load(experiment)
        if name not in (None, loaded.name):
            raise UsageError(f"{experiment} defines the experiment {loaded.name!r}, not {name!r}")
    elif name is not None:
        loaded, source = loading.load(loading.find(name))
    else:
        raise UsageError("which experiment? Give its NAME (--list names them) or --experiment PATH")
    options = session.Options(
        preset=preset,
        settings=tuple(set_ or ()),
        device=device,
        jobs=jobs,
        dask=dask,
        threads=threads,
        out=out,
        fresh=fresh,
        plot_only=plot_only,
        quiet=quiet,
        batch_timeout=batch_timeout,
        command=_command(),
    )
    if dry_run:
        from .estimate import estimate

        print("\n".join(estimate(loaded, source, options)))
        return OK
    report = session.execute(loaded, source, options)
    _print_report(report)
    if report.failures or report.broken or report.missing:
        return FAILED
    if strict and any(claim.verdict == "fails" for claim in report.claims):
        return CLAIM_FAILED
    return OK


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m lrtheory.sweep`` and return the exit code."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(sweep)
    return guarded(app, "python -m lrtheory.sweep", sys.argv[1:] if arguments is None else arguments)


def guarded(app: typer.Typer, program: str, arguments: Sequence[str]) -> int:
    """Run a typer application; a mistake of the user is one line and exit code 2, an interrupt one line and 130."""
    try:
        code = app(args=list(arguments), prog_name=program, standalone_mode=False)
        if code == INTERRUPTED:  # some versions of typer swallow the interrupt
            raise KeyboardInterrupt
        sys.stdout.flush()
        return int(code or 0)
    except (KeyboardInterrupt, typer.Abort):
        resume = f"{program} {shlex.join(word for word in arguments if word != '--fresh')}"
        _say(f"interrupted; what has run is stored, go on with: {resume}")
        return INTERRUPTED
    except UsageError as error:
        _say(f"error: {_one_line(error)}")
        return USAGE
    except OSError as error:
        _say(f"error: {_one_line(error)}; what has run is stored")
        return FAILED
    except Exception as error:
        if not hasattr(error, "format_message"):  # the mistakes that typer finds have it
            raise
        _say(f"error: {_one_line(error.format_message())} (--help shows the options)")
        return USAGE


def _one_line(error: Any) -> str:
    return " ".join(str(error).split())


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _command() -> str:
    """Return the command that was typed, so that the report can print it; the same for every way in."""
    words = sys.argv[1:]
    return shlex.join(["python", "-m", "lrtheory.sweep", *(words[1:] if words[:1] == ["sweep"] else words)])


def _list() -> int:
    from . import loading

    known = loading.available()
    if not known:
        print("no experiments come with this installation; run your own file with --experiment PATH")
    for name, path in known.items():
        try:
            experiment, _ = loading.load(path)
        except UsageError as error:
            print(f"{name}: cannot be loaded: {_one_line(error)}")
            continue
        presets = ", ".join(f"{preset} {len(grid)}" for preset, grid in experiment.presets.items())
        paper = f" [{experiment.paper}]" if experiment.paper else ""
        print(f"{name}: {experiment.title}{paper}; cells: {presets}")
    return OK


def _print_report(report: Report) -> None:
    for error, failures in _by_error(report.failures).items():
        _say("")
        for failure in failures[:_SHOWN]:
            _say(f"failed: {_cell(failure.cell)}")
        if len(failures) > _SHOWN:
            _say(f"and {len(failures) - _SHOWN} more cells in the same way; {report.paths['run']} has them all")
        _say(f"  {error}")
        if failures[0].traceback:
            _say("  " + failures[0].traceback.rstrip().replace("\n", "\n  "))
    for text, trace in report.broken:
        _say(f"\n{trace.rstrip()}\nerror: {text}")
    for text in report.warnings:
        _say(f"warning: {text}")
    if report.claims:
        print_claims(report.claims)
    for label, key in (("figure", "png"), ("data", "data")):
        if key in report.paths:
            print(f"{label}: {report.paths[key]}")


def _by_error(failures: Sequence[Failure]) -> dict[str, list[Failure]]:
    groups: dict[str, list[Failure]] = {}
    for failure in failures:
        groups.setdefault(failure.error, []).append(failure)
    return groups


def print_claims(claims: Sequence[Claim]) -> None:
    """Print the claims as a table: claim, predicted, measured with interval, verdict."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    colours = {"holds": "green", "fails": "red", "inconclusive": "yellow"}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("claim", no_wrap=True)
    table.add_column("statement", ratio=1)
    table.add_column("predicted", no_wrap=True)
    table.add_column("measured [95 % interval]", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for claim in claims:
        low, high = claim.predicted
        predicted = f"[{'-inf' if low is None else _number(low)}, {'inf' if high is None else _number(high)}]"
        measured = f"{_number(claim.measured, 5)} [{_number(claim.interval[0], 5)}, {_number(claim.interval[1], 5)}]"
        verdict = f"[{colours[claim.verdict]}]{claim.verdict}[/]"
        table.add_row(*(text.replace("[", "\\[") for text in (claim.id, claim.statement, predicted, measured)), verdict)
    console = Console(highlight=False, emoji=False)
    if console.is_terminal:
        console.print(table)
    else:
        console.width = 140
        with console.capture() as captured:
            console.print(table)
        print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _number(value: float, digits: int = 0) -> str:
    """Write a number shortly, or with so many significant digits (trailing zeros included)."""
    return "-" if value != value else f"{value:#.{digits}g}" if digits else f"{value:g}"


def _cell(cell: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in cell.items())
