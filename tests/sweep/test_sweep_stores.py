"""``lrtheory store ls | show | verify | gc``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import lrtheory.__main__
from lrtheory.sweep import loading, session

Toy = Callable[..., Path]
Store = Callable[..., tuple[int, str, str]]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Store:
    """Return a function that runs ``lrtheory store ...`` in the temporary folder: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["lrtheory", "store", *arguments])
        code = lrtheory.__main__.main()
        return (code, *capsys.readouterr())

    return call


def execute(path: Path, **options: object) -> session.Report:
    experiment, source = loading.load(path)
    return session.execute(experiment, source, session.Options(**{"jobs": 1, **options}))  # type: ignore[arg-type]


def names() -> set[str]:
    return {path.name for path in Path("results/toy/cells").iterdir()}


def test_ls_and_show(toy: Toy, store: Store) -> None:
    assert store("ls") == (0, "nothing is stored in results\n", "")
    run = """
    def run(cells, device):
        for cell in cells:
            if cell["seed"] == 4:
                raise ValueError("no way")
            yield cell, {"y": [1.0]}
    """
    execute(toy(run=run), settings=["seed=0:9"])
    code, out, _ = store("ls")
    assert code == 0
    assert out.splitlines()[1].split()[:5] == ["toy", "1", "32", "4", "9"]
    code, out, _ = store("show", "toy")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].startswith("toy in results/toy: 32 cells stored, 4 failed; 9 files, ")
    assert lines[1].startswith("32 cells: version 1, float64, cpu (")
    assert lines[2:5] == ["alpha: 0.5, 1.0", "k: 3, 5", "seed: 0, 1, 2, 3, 5, 6, ... 8 (8 values)"]
    assert lines[5] == "failed: k=3, seed=4, alpha=0.5: ValueError: no way"
    assert len(lines) == 9


def test_wrong_usage(toy: Toy, store: Store) -> None:
    assert store("show", "toy") == (2, "", "error: nothing of 'toy' is stored in results; there is: nothing\n")
    execute(toy())
    assert store("verify", "tox") == (2, "", "error: nothing of 'tox' is stored in results; there is: toy\n")
    other = toy(tail="experiment = Experiment(name='other', run=run, presets={'small': grid(k=1)})", name="other.py")
    code, _, err = store("gc", "toy", "--experiment", str(other))
    assert (code, err) == (2, f"error: {other} defines the experiment 'other', not 'toy'\n")
    for command in ("verify", "gc"):  # a mistyped folder must not look sound
        assert store(command, "--out", "reslts") == (2, "", "error: nothing is stored in reslts\n")
    assert store() == (2, "", "error: Missing command. (--help shows the options)\n")


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_verify_names_what_is_corrupt_and_leaves_it(toy: Toy, store: Store, damage: str) -> None:
    execute(toy())
    execute(toy(), fresh=True, settings=["k=3"])
    assert store("verify") == (0, "toy: 9 files, 20 cells, all sound\n", "")
    before = names()
    victim = sorted(Path("results/toy/cells").glob("*.parquet"))[0]
    data = bytearray(victim.read_bytes())
    data[60] ^= 1
    victim.write_bytes(data if damage == "flip" else data[:100])
    code, out, _ = store("verify", "toy")
    assert code == 1
    assert out.splitlines()[1] == f"  {victim} is corrupt (its content does not match its name)"
    assert names() == before
    assert "1 corrupt" in store("ls")[1]


def test_gc_removes_what_no_run_can_use_and_nothing_else(
    toy: Toy, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old values, a second version, a corrupt file set aside, a temporary file; data before and after are equal."""
    path = toy()
    execute(path)
    execute(path, fresh=True, settings=["k=3"])
    victim = sorted(Path("results/toy/cells").glob("*.parquet"))[0]
    victim.write_bytes(b"x")
    frame = execute(path).frame
    path.write_text(path.read_text().replace("version=1", "version=2"))
    execute(path, settings=["k=3"])
    cells = Path("results/toy/cells")
    young, old = cells / ".young", cells / ".old"
    for file in (young, old):
        file.write_text("half a file")
    os.utime(old, (time.time() - 7200,) * 2)
    before = names()

    code, dry, _ = store("gc", "--dry-run")
    assert code == 0
    assert names() == before
    assert "its experiment is not known here" in dry
    code, out, _ = store("gc")
    assert out == dry.replace("would be removed", "removed")
    assert not old.exists()
    assert young.exists()
    assert not list(cells.glob("*.corrupt"))
    assert len(before) - len(names()) >= 3  # the temporary file, the corrupt one, old values
    path.write_text(path.read_text().replace("version=2", "version=1"))
    again = execute(path, plot_only=True)
    pd.testing.assert_frame_equal(again.frame, frame, check_exact=True)
    assert again.missing == 0

    monkeypatch.setattr(loading, "available", lambda: {"toy": path})
    assert store("gc")[1] == "toy: 0 files, 0 B removed\n"  # version 2 stays: it may be another checkout's
    path.write_text(path.read_text().replace("version=1", "version=2"))
    store("gc")  # version 1 goes
    assert "\ntoy         2        10" in store("ls")[1]
    assert execute(path, settings=["k=3"], plot_only=True).missing == 0
    path.write_text(path.read_text().replace("version=2", "version=3"))
    store("gc", "--experiment", str(path))
    assert names() == {".young"}


def test_versions_may_disagree_about_an_axis(toy: Toy, store: Store) -> None:
    run = "def run(cells, device): return [(cell, {'y': 1.0}) for cell in cells]"
    for version, k in ((1, [3, 5]), (2, [None, "a"])):
        preset = f"presets={{'small': grid(k={k})}}"
        execute(toy(run=run, tail=f"experiment = Experiment(name='toy', version={version}, run=run, {preset})"))
    code, out, _ = store("show", "toy")
    assert code == 0
    assert "\nk: None, 3, 5, a\n" in out


def test_gc_keeps_a_mark_that_still_hides_old_cells(toy: Toy, store: Store) -> None:
    run = """
    def run(cells, device):
        count(cells)
        n = len((HERE / "calls.txt").read_text().splitlines())
        for cell in cells:
            yield cell, {"y": n}
    """
    path = toy(run=run)
    execute(path)
    # half of each block counts no longer
    frame = execute(path, fresh=True, settings=["alpha=1"]).frame
    store("gc")
    assert execute(path, settings=["alpha=1"], plot_only=True).frame.equals(frame)
    assert any(name.endswith(".superseded") for name in names())


def test_failures_that_are_told_survive_gc(toy: Toy, store: Store) -> None:
    path = toy(run="def run(cells, device): raise ValueError('bad')")
    execute(path, settings=["k=3"])
    execute(path, settings=["k=3"])
    assert store("gc")[0] == 0
    assert "toy in results/toy: 0 cells stored, 10 failed" in store("show", "toy")[1]
