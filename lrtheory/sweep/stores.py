"""``lrtheory store``: what is in the folders of results, whether it is sound, and what can go."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .experiment import Experiment, UsageError, kind
from .loading import find, load

if TYPE_CHECKING:
    from .store import Store

_OLD = 3600.0  # seconds after which a temporary file has no writer any more
_VALUES = 6  # of an axis, that are listed

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="One experiment; default: all.")]
Out = Annotated[Path, typer.Option(help="Where results are.")]


def make_app() -> typer.Typer:
    """Return the commands ls, show, verify and gc."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    for command in (ls, show, verify, gc):
        app.command()(command)
    return app


def ls(out: Out = Path("results")) -> int:
    """List what is stored."""
    rows: list[tuple[str, ...]] = [("experiment", "version", "cells", "failed", "files", "size", "calls", "")]
    for folder in _folders(out, None):
        store = _scan(folder)
        versions = sorted({str(metadata["version"]) for metadata in store.files.values()})
        calls = {metadata["call"] for metadata in store.files.values()}
        remarks = [f"{len(store.corrupt)} corrupt"] if store.corrupt else []
        aside = len(list(store.folder.glob("*.corrupt")))
        remarks += [f"{aside} set aside"] if aside else []
        sizes = (len(store.entries), len(store.failures), len(store.files))
        text = [str(size) for size in sizes]
        rows.append((folder.name, ",".join(versions), *text, _size(_bytes(store)), str(len(calls)), ", ".join(remarks)))
    if len(rows) == 1:
        print(f"nothing is stored in {out}")
        return 0
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def show(name: Annotated[str, typer.Argument(help="The experiment.")], out: Out = Path("results")) -> int:
    """Say which cells of an experiment are stored, and which code made them."""
    (folder,) = _folders(out, name)
    store = _scan(folder)
    print(
        f"{name} in {folder}: {len(store.entries)} cells stored, {len(store.failures)} failed; "
        f"{len(store.files)} files, {_size(_bytes(store))}"
    )
    origins = Counter(_origin(store.files[entry.file]) for entry in store.entries.values())
    for origin, cells in origins.most_common():
        print(f"{cells} cells: {origin}")
    for axis, values in _axes(store).items():
        shown = ", ".join(str(value) for value in values[:_VALUES])
        more = f", ... {values[-1]} ({len(values)} values)" if len(values) > _VALUES else ""
        print(f"{axis}: {shown}{more}")
    for failure in sorted(store.failures.values(), key=lambda failure: str(failure.cell))[:_VALUES]:
        cell = ", ".join(f"{axis}={value}" for axis, value in failure.cell.items())
        print(f"failed: {cell}: {failure.error}")
    if len(store.failures) > _VALUES:
        print(f"and {len(store.failures) - _VALUES} more failed cells")
    for text in store.corrupt:
        print(text)
    return 0


def verify(name: Name = None, out: Out = Path("results")) -> int:
    """Compare every file with its checksum, and change nothing; exit code 1 if one is corrupt."""
    corrupt = 0
    for folder in _some_folders(out, name):
        store = _scan(folder)
        corrupt += len(store.corrupt)
        verdict = f"{len(store.corrupt)} corrupt" if store.corrupt else "all sound"
        count = len(store.files) + len(store.markers) + len(store.corrupt)
        print(f"{folder.name}: {count} files, {len(store.entries)} cells, {verdict}")
        for text in store.corrupt:
            print(f"  {text}")
    return 1 if corrupt else 0


def gc(
    name: Name = None,
    out: Out = Path("results"),
    experiment: Annotated[Path | None, typer.Option(metavar="PATH", help="An experiment file of your own.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> int:
    """Remove files that no run can use any more.

    These are cells of older versions of an experiment, cells that --fresh has replaced or that are stored twice,
    corrupt files that were set aside, and what killed runs left behind. A stored cell that counts is never removed,
    nor is one of a newer version, which another checkout may be at; a folder whose experiment is not known here
    keeps the cells of every version (--experiment names it).
    """
    own = None if experiment is None else load(experiment)[0]
    if own is not None:
        name = name or own.name
        if name != own.name:
            raise UsageError(f"{experiment} defines the experiment {own.name!r}, not {name!r}")
    for folder in _some_folders(out, name):
        known, remark = own, ""
        if known is None:
            try:
                known = load(find(folder.name))[0]
            except UsageError:
                remark = "; its experiment is not known here: --experiment PATH"
        paths = list(_garbage(folder, known))
        size = sum(path.stat().st_size for path in paths)
        if not dry_run:
            for path in paths:
                path.unlink(missing_ok=True)
        done = "would be removed" if dry_run else "removed"
        print(f"{folder.name}: {len(paths)} files, {_size(size)} {done}{remark}")
    return 0


def _garbage(folder: Path, experiment: Experiment | None) -> Iterator[Path]:
    store = _scan(folder)
    used = {entry.file for entry in store.entries.values()}
    failed = set(store.failures)
    kept = []
    for file, metadata in store.files.items():
        old = experiment is not None and (
            metadata["version"] < experiment.version
            or (metadata["version"] == experiment.version and metadata["dtype"] != experiment.dtype)
        )
        told = any(failure["key"] in failed for failure in metadata["failed"])
        if not old and (file in used or told):
            kept.append(metadata)
        else:
            yield store.folder / file
    # a marker is needed as long as it hides a cell of an older call
    for file, (number, keys) in store.markers.items():
        hidden = set(keys)
        if not any(m["call"] < number and any(_key(cell) in hidden for cell in _cells(m)) for m in kept):
            yield store.folder / file
    yield from store.folder.glob("*.corrupt")
    now = time.time()
    for parent in (folder, store.folder):
        for path in parent.glob(".*"):
            if path.is_file() and now - path.stat().st_mtime > _OLD:
                yield path


def _cells(metadata: dict[str, Any]) -> list[Any]:
    return [*metadata["cells"], *metadata["failed"]]


def _key(cell: Any) -> str:
    return cell["key"] if isinstance(cell, dict) else cell[0]


def _folders(out: Path, name: str | None) -> list[Path]:
    found = sorted(cells.parent for cells in out.glob("*/cells") if cells.is_dir())
    if name is None:
        return found
    folders = [folder for folder in found if folder.name == name]
    if not folders:
        there = ", ".join(folder.name for folder in found) or "nothing"
        raise UsageError(f"nothing of {name!r} is stored in {out}; there is: {there}")
    return folders


def _some_folders(out: Path, name: str | None) -> list[Path]:
    folders = _folders(out, name)
    if not folders:
        raise UsageError(f"nothing is stored in {out}")
    return folders


def _scan(folder: Path) -> Store:
    from .store import Store

    store = Store(folder, read_only=True)
    store.scan(None)
    return store


def _bytes(store: Store) -> int:
    return sum((store.folder / name).stat().st_size for name in store.files)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _origin(metadata: dict[str, Any]) -> str:
    git = metadata.get("git") or {}
    revision = f", git {git['revision'][:10]}{' with changes' if git['dirty'] else ''}" if git.get("revision") else ""
    versions, code = metadata["versions"], metadata["code"]
    return (
        f"version {metadata['version']}, {metadata['dtype']}, {metadata['device']} ({metadata['device_name']}), "
        f"lrtheory {versions['lrtheory']} {code['lrtheory']}, experiment {code['experiment']}{revision}"
    )


def _axes(store: Store) -> dict[str, list[Any]]:
    """Return the distinct values of every parameter of the cells that count."""
    import pyarrow.parquet as pq

    found: dict[str, dict[Any, None]] = {}
    for file in {entry.file for entry in store.entries.values()}:
        names = store.files[file].get("axes", [])
        table = pq.read_table(store.folder / file, columns=names)
        for axis in names:
            found.setdefault(axis, {}).update(dict.fromkeys(table[axis].unique().to_pylist()))
    return {
        # versions may differ in what an axis is made of
        axis: sorted(values, key=lambda value: (value is not None, kind(value), 0 if value is None else value))
        for axis, values in sorted(found.items())
    }
