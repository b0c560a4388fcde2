"""The engine in one process: skipping, failing, warning."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lrtheory.sweep import Experiment, UsageError, grid, loading, provenance, run, session

Toy = Callable[..., Path]
Calls = Callable[[], list[int]]


def execute(path: Path, **options: object) -> session.Report:
    experiment, source = loading.load(path)
    settings = {"out": path.parent / "results", "jobs": 1, **options}
    return session.execute(experiment, source, session.Options(**settings))  # type: ignore[arg-type]


def test_the_frame_is_tidy_and_on_disk(toy: Toy, tmp_path: Path) -> None:
    report = execute(toy())
    frame = report.frame
    assert list(frame.columns) == ["k", "seed", "alpha", "t", "y"]
    assert len(frame) == 20 * 3
    assert frame[["k", "seed", "alpha"]].drop_duplicates().values.tolist() == [
        [k, seed, alpha] for k in (3, 5) for seed in range(5) for alpha in (0.5, 1.0)
    ]
    one = frame[(frame.k == 5) & (frame.seed == 2) & (frame.alpha == 0.5)]
    assert np.array_equal(one.y, 0.5 * np.random.default_rng(2).normal(size=3) + 5)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "results/toy/data.parquet"), frame)


def test_what_is_stored_does_not_run_again(toy: Toy, calls: Calls) -> None:
    first = execute(toy())
    assert calls() == [2] * 10
    second = execute(toy())
    assert len(calls()) == 10
    pd.testing.assert_frame_equal(first.frame, second.frame)
    part = execute(toy(), settings=["seed=1,2"])
    assert len(calls()) == 10
    assert len(part.frame) == 8 * 3
    execute(toy(), settings=["seed=3:6"])  # seed 5 is new: only blocks that miss a cell run, and they run whole
    assert len(calls()) == 10 + 4
    execute(toy(), settings=["seed=3:6"])
    assert len(calls()) == 10 + 4


def test_fresh_runs_everything_again_and_later_calls_use_it(toy: Toy, calls: Calls) -> None:
    body = """
    def run(cells, device):
        count(cells)
        n = len((HERE / "calls.txt").read_text().splitlines())
        for cell in cells:
            yield cell, {"y": n}
    """
    old = execute(toy(run=body)).frame
    new = execute(toy(run=body), fresh=True).frame
    assert len(calls()) == 20
    assert new.y.min() > old.y.max()
    assert execute(toy(run=body)).frame.equals(new)
    assert execute(toy(run=body), settings=["seed=0"]).frame.y.min() > old.y.max()
    assert len(calls()) == 20


def test_plot_only_computes_nothing(toy: Toy, calls: Calls, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing of this plan is stored"):
        execute(toy(), plot_only=True)
    assert not (tmp_path / "results").exists()
    execute(toy(), settings=["k=3"])
    report = execute(toy(), plot_only=True)
    assert len(calls()) == 5
    assert report.missing == 10
    assert any("10 of 20 cells have no data yet" in text for text in report.warnings)
    assert report.frame[report.frame.k == 5].y.isna().sum() == 10
    full = execute(toy(), plot_only=True, settings=["k=3"])
    assert not full.missing
    assert full.frame.y.notna().all()


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_a_corrupt_file_is_computed_again(toy: Toy, calls: Calls, tmp_path: Path, damage: str) -> None:
    first = execute(toy()).frame
    victim = sorted((tmp_path / "results/toy/cells").glob("*.parquet"))[1]
    data = bytearray(victim.read_bytes())
    data[60] ^= 1
    victim.write_bytes(data if damage == "flip" else data[:100])
    report = execute(toy())
    assert len(calls()) == 10 + 2
    assert victim.name in report.warnings[0]
    pd.testing.assert_frame_equal(report.frame, first)
    assert execute(toy()).warnings == []


def test_one_process_equals_two(toy: Toy, tmp_path: Path) -> None:
    one = execute(toy(), out=tmp_path / "one")
    two = execute(toy(), out=tmp_path / "two", jobs=2)
    pd.testing.assert_frame_equal(one.frame, two.frame, check_exact=True)
    stores = [{path.name for path in (tmp_path / out / "toy/cells").iterdir()} for out in ("one", "two")]
    assert stores[0] == stores[1]  # the same bytes: neither times nor hosts are in them
    pids = {line.split()[0] for line in (tmp_path / "calls.txt").read_text().splitlines()}
    assert len(pids) in (2, 3)  # this process, and the workers (one may be quick enough for all)
    record = json.loads((tmp_path / "two/toy/run.json").read_text())
    assert record["jobs"] == 2
    assert sum(block["cells"] for block in record["blocks"]) == 20


RAISING = """
def run(cells, device):
    count(cells)
    for cell in cells:
        if cell["k"] == 5 and cell["seed"] == 3 and cell["alpha"] == 1.0:
            raise ArithmeticError("no way")
        yield cell, {"y": [cell["alpha"]]}
"""


def test_a_raising_cell_is_named_and_the_others_finish(toy: Toy, calls: Calls) -> None:
    body = "more = dict(claims=lambda frame: [mean_claim('c', '', '', (0, 2), frame.groupby('seed').y.mean())])"
    report = execute(toy(body, run=RAISING))
    (failure,) = report.failures
    assert failure.cell == {"k": 5, "seed": 3, "alpha": 1.0}
    assert failure.error == "ArithmeticError: no way"
    assert 'raise ArithmeticError("no way")' in failure.traceback
    assert "worker.py" not in failure.traceback
    assert len(report.frame) == 20
    assert report.frame.y.isna().sum() == 1
    assert "1 of 20 cells failed" in report.warnings
    assert calls() == [2] * 9 + [1, 1, 2] or sorted(calls()) == [1, 1] + [2] * 10
    again = execute(toy(body, run=RAISING))  # a failed cell is not stored: its block runs again
    assert len(calls()) == 12 + 4
    assert again.failures == report.failures
    record = json.loads(again.paths["run"].read_text())
    assert record["failed"][0]["cell"] == failure.cell
    assert execute(toy(body, run=RAISING), plot_only=True).failures == report.failures


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_cell_that_exits_is_a_cell_that_failed(toy: Toy, jobs: int) -> None:
    report = execute(toy(run=RAISING.replace('ArithmeticError("no way")', "SystemExit(0)")), jobs=jobs)
    (failure,) = report.failures
    assert (failure.cell, failure.error) == ({"k": 5, "seed": 3, "alpha": 1.0}, "SystemExit: 0")
    assert report.frame.y.notna().sum() == 19


def test_a_planned_cell_that_failed_makes_a_claim_inconclusive(toy: Toy) -> None:
    body = """
    def claims(frame):
        cells = frame.groupby(["k", "seed"]).y.agg(lambda y: y.mean(skipna=False))
        return [mean_claim(f"k{k}", "", "", (0, 2), part) for k, part in cells.groupby(level="k")]
    more = dict(claims=claims)
    """
    report = execute(toy(body, run=RAISING))
    assert [claim.verdict for claim in report.claims] == ["holds", "inconclusive"]


def test_nan_is_data(toy: Toy) -> None:
    body = """
    def run(cells, device):
        for cell in cells:
            yield cell, {"y": [np.nan if cell["seed"] == 1 else 1.0, np.inf]}
    def claims(frame):
        first = frame[frame.y != np.inf].groupby("seed").y.agg(lambda y: y.mean(skipna=False))
        return [mean_claim("c", "", "", (0, 2), first)]
    more = dict(claims=claims)
    """
    report = execute(toy(run=body))
    assert not report.failures
    assert report.frame.y.isna().sum() == 4
    assert report.claims[0].verdict == "inconclusive"
    found = json.loads(report.paths["claims"].read_text())
    assert set(found[0]) == {"id", "statement", "source", "predicted", "measured", "interval", "verdict"}
    assert found[0]["interval"] == [None, None]


@pytest.mark.parametrize(
    ("run", "error"),
    [
        ("def run(cells, device): return [(cells[0], {'y': [1]})]", "no table for this cell"),
        ("def run(cells, device): return [(c, {'y': [1], 'z': [1, 2]}) for c in cells]", "one length"),
        ("def run(cells, device): return [(c, {'k': [1]}) for c in cells]", "name of a parameter"),
        ("def run(cells, device): return [({**c, 'k': 99}, {'y': [1]}) for c in cells]", "not asked for"),
        ("def run(cells, device): return [(c, {'y': [1]}) for c in cells for _ in range(2)]", "two tables"),
        ("def run(cells, device): return None", "TypeError"),
        ("def run(cells, device): raise MemoryError('8 EiB')", "lower `batch` of the experiment"),
        ("def run(cells, device): return [(c, {'y': ['a' if c['alpha'] < 1 else 2]}) for c in cells]", "mixes types"),
    ],
)
def test_what_run_does_wrong_is_said(toy: Toy, run: str, error: str) -> None:
    report = execute(toy(run=run))
    assert report.failures
    assert all(error in failure.error for failure in report.failures)
    assert len(report.frame) == 20


def test_run_may_rebuild_cells_and_change_its_copies(toy: Toy) -> None:
    body = """
    def run(cells, device):
        for cell in cells:
            yield {name: np.float64(value) for name, value in cell.items()}, {"y": [cell["alpha"]]}
            cell.clear()
    """
    frame = execute(toy(run=body)).frame
    assert frame.y.equals(frame.alpha)


def test_a_call_that_takes_too_long_fails_and_is_not_tried_again(toy: Toy, calls: Calls) -> None:
    body = """
    def run(cells, device):
        count(cells)
        for cell in cells:
            if cell["seed"] == 2:
                try:
                    time.sleep(30)
                except Exception:
                    pass
            yield cell, {"y": [1.0]}
    """
    start = time.monotonic()
    report = execute(toy(run=body), batch_timeout=0.2)
    assert time.monotonic() - start < 10
    assert {failure.cell["seed"] for failure in report.failures} == {2}
    assert len(report.failures) == 4
    assert "no result within 0.2 s for a call of 2 cells" in report.failures[0].error
    assert calls() == [2] * 10


def test_a_call_that_raises_where_no_cell_does_is_told(toy: Toy) -> None:
    """Cells taken one by one after all cost time that the user should know of."""
    body = """
    def run(cells, device):
        if len(cells) > 1:
            raise ValueError("no batches here")
        yield cells[0], {"y": [1.0]}
    """
    report = execute(toy(run=body))
    assert not report.failures
    assert any("ValueError: no batches here, although each cell ran alone" in said for said in report.warnings)


@pytest.mark.parametrize("seconds", [1e10, 1e300, float("inf")])
def test_a_time_limit_beyond_a_life_is_none(toy: Toy, seconds: float) -> None:
    report = execute(toy(), batch_timeout=seconds, settings=["k=3", "seed=0"])
    assert not report.failures


def test_time_limits_outside_the_main_thread() -> None:
    from concurrent.futures import ThreadPoolExecutor

    from lrtheory.sweep.timeout import OutOfTime, time_limit

    def spin(limit: float | None, turns: int) -> int:
        try:
            with time_limit(limit):
                for _ in range(turns):
                    time.sleep(0.01)
        except OutOfTime:
            return -1
        return turns

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(spin, 0.1, 500).result(20) == -1
        assert pool.submit(spin, 5, 2).result(20) == 2
        assert pool.submit(spin, None, 2).result(20) == 2


def test_warnings_of_cells_are_counted(toy: Toy) -> None:
    body = """
    import warnings
    def run(cells, device):
        for cell in cells:
            warnings.warn("careful", RuntimeWarning)
            yield cell, {"y": [1.0]}
    """
    report = execute(toy(run=body))
    assert not report.failures
    assert len(report.warnings) == 1
    assert report.warnings[0].startswith("RuntimeWarning: careful (toy.py:")


def test_cells_from_other_code_are_used_with_a_warning(toy: Toy, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(toy())
    report = execute(toy("# another comment"))
    assert len(calls()) == 10
    assert report.warnings == [
        "20 of 20 cells are from other code (the experiment file has changed since): --fresh computes them again"
    ]
    with monkeypatch.context() as patch:
        patch.setattr(session.provenance, "source_digest", lambda: "other")
        report = execute(toy(), settings=["k=3"])
        assert report.warnings == [
            "10 of 10 cells are from other code (the lrtheory source has changed since): --fresh computes them again"
        ]
        assert json.loads(report.paths["run"].read_text())["warnings"] == report.warnings
    assert execute(toy("# another comment"), fresh=True).warnings == []


def test_code_that_is_in_no_file_cannot_be_compared(tmp_path: Path) -> None:
    def script(factor: int) -> str:
        return (
            "from lrtheory.sweep import Experiment, grid, run\n"
            "def rows(cells, device):\n"
            f"    for cell in cells: yield cell, {{'y': {factor} * cell['k']}}\n"
            "frame = run(Experiment(name='typed', presets={'small': grid(k=[1, 2])}, run=rows))\n"
            "print(frame.y.tolist())\n"
        )

    def typed(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-"], input=text, capture_output=True, text=True, cwd=tmp_path)

    first, second = typed(script(1)), typed(script(10))
    assert first.stdout == second.stdout == "[1, 2]\n"
    assert "cannot be compared" not in first.stderr
    assert "2 of 2 cells are from earlier calls, whose code cannot be compared" in second.stderr


def test_functions_that_give_something_else_are_told_what_is_wanted(toy: Toy) -> None:
    body = "more = dict(figure=lambda frame: None, claims=lambda frame: None)"
    assert [text.split(";")[0] for text, _ in execute(toy(body)).broken] == [
        "the figure function raised TypeError: figure must return a Matplotlib figure, got NoneType",
        "the claims function raised TypeError: claims must return a list of Claim, got NoneType",
    ]
    body = "more = dict(claims=lambda frame: [{'id': 'c'}])"
    assert "must return a list of Claim, got a list with dict" in execute(toy(body)).broken[0][0]


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("def run(cells, device): return cells[0], {}", "run must yield pairs (cell, table), got dict"),
        ("def run(cells, device): return [(cell, {}, 1) for cell in cells]", "run must yield pairs"),
        ("class Trace: pass\ndef run(cells, device): yield cells[0], Trace()", "got Trace: give trace.table()"),
    ],
)
def test_a_run_that_gives_something_else_is_told_what_is_wanted(toy: Toy, run: str, message: str) -> None:
    report = execute(toy(run=run), settings=["k=3", "seed=0", "alpha=0.5"])
    assert [message in failure.error for failure in report.failures] == [True]


def test_a_figure_that_raises_leaves_the_data(toy: Toy) -> None:
    body = """
    def figure(frame):
        assert (HERE / "results/toy/data.parquet").exists()
        return frame.nothing
    def claims(frame):
        raise KeyError("no column")
    more = dict(figure=figure, claims=claims)
    """
    report = execute(toy(body))
    assert [text.split(":")[0] for text, _ in report.broken] == [
        "the figure function raised AttributeError",
        "the claims function raised KeyError",
    ]
    assert all("data are safe in" in text for text, _ in report.broken)
    assert "return frame.nothing" in report.broken[0][1]
    assert set(report.paths) == {"data", "run"}
    assert len(pd.read_parquet(report.paths["data"])) == 60


def test_no_figure_or_claims_of_other_data_stay(toy: Toy, tmp_path: Path) -> None:
    claims = "def claims(frame): return [value_claim('c', '', '', (0, 1), 0.0)]\nmore['claims'] = claims"
    made = {"figure.png", "figure.svg", "claims.json"}

    def found() -> set[str]:
        return {path.name for path in (tmp_path / "results/toy").iterdir()} & made

    execute(toy(FIGURE + claims))
    assert found() == made
    execute(toy(FIGURE.replace("frame.t", "1 / 0") + claims), settings=["k=3"])
    assert found() == {"claims.json"}
    execute(toy(FIGURE + claims.replace("0.0", "1 / 0")), settings=["k=3"])
    assert found() == {"figure.png", "figure.svg"}
    execute(toy(), settings=["k=3"])
    assert found() == set()


FIGURE = """
def figure(frame):
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(figsize=(2, 1))
    axes.plot(frame.t, frame.y, ".")
    return figure
more = dict(figure=figure)
"""


def test_figures_are_written_alike_each_time(toy: Toy, tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    images = []
    for out in ("one", "two"):
        report = execute(toy(FIGURE), out=tmp_path / out)
        images.append([report.paths[name].read_bytes() for name in ("png", "svg")])
    assert images[0] == images[1]
    assert plt.get_fignums() == []
    assert plt.imread(report.paths["png"]).shape[:2] == (200, 400)


def test_run_json_says_where_the_numbers_are_from(toy: Toy) -> None:
    report = execute(toy(), settings=["alpha=0.5,inf", "seed=0:3"], command="the command")
    record = json.loads(report.paths["run"].read_text())
    expected = {
        "experiment": "toy",
        "version": 1,
        "preset": "small",
        "set": ["alpha=0.5,inf", "seed=0:3"],
        "command": "the command",
        "cells": 12,
        "cells_run": 12,
        "device": "cpu",
        "jobs": 1,
        "threads": 1,
        "seeds": {"seed": [0, 1, 2]},
        "failed": [],
    }
    assert {name: record[name] for name in expected} == expected
    assert {"python", "lrtheory", "numpy", "scipy", "numba"} <= set(record["versions"])
    assert set(record["digest"]) == {"lrtheory", "experiment"}
    assert set(record["git"]) == {"revision", "dirty"}
    assert record["start"] <= record["end"]
    assert [set(block) for block in record["blocks"]] == [
        {"block", "id", "cells", "failed", "seconds", "peak_megabytes", "attempts", "ended", "now"}
    ] * len(record["blocks"])
    assert record["cpu"]


def test_git_says_the_revision_and_whether_there_are_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    found = provenance.git.__wrapped__  # without the cache
    monkeypatch.setattr(provenance, "_PACKAGE", tmp_path / "lrtheory")
    assert found() == {"revision": None, "dirty": None}
    git("init", "-q")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-q", "-m", "first")
    assert found() == {"revision": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "file").write_text("2")
    assert found()["dirty"] is True


def test_prepare_runs_once_before_workers_and_may_fail(toy: Toy, tmp_path: Path) -> None:
    body = """
    def prepare(device):
        with open(HERE / "prepared.txt", "a") as file:
            file.write(device)
        raise ValueError("not today")
    more = dict(prepare=prepare)
    """
    execute(toy(body))
    assert not (tmp_path / "prepared.txt").exists()
    report = execute(toy(body), fresh=True, jobs=2)
    assert (tmp_path / "prepared.txt").read_text() == "cpu"
    assert report.warnings == ["prepare failed (ValueError: not today)"]
    execute(toy(body), jobs=2)
    assert (tmp_path / "prepared.txt").read_text() == "cpu"


def test_timing_experiments_run_in_one_process(toy: Toy) -> None:
    experiment, source = loading.load(toy("more = dict(timing=True)"))
    assert session.chosen_jobs(experiment, source, session.Options(jobs=4), 10) == 1


def test_default_jobs_never_oversubscribe(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment, source = loading.load(toy())
    monkeypatch.setattr(session.provenance, "cores", lambda: 8)

    def jobs(blocks: int = 100, **options: object) -> int:
        return session.chosen_jobs(experiment, source, session.Options(**options), blocks)  # type: ignore[arg-type]

    assert jobs() == 8
    assert jobs(blocks=3) == 3
    assert jobs(threads=3) == 2
    assert jobs(threads=16) == 1
    assert jobs(device="cuda") == 1
    assert jobs(device="cuda", jobs=2) == 2
    assert jobs(blocks=0) == 1


def test_an_experiment_of_a_script_runs_in_process(tmp_path: Path) -> None:
    ran = []

    def cells_to_tables(cells: list[dict], device: str):
        ran.append(len(cells))
        return [(cell, {"y": [factor * cell["k"]]}) for cell in cells]

    factor = 2
    experiment = Experiment(
        name="mine", version=1, title="", presets={"small": grid(k=[3, 5])}, run=cells_to_tables, block=1
    )
    frame = run(experiment, out=tmp_path, jobs=4, set={"k": range(3)})
    assert frame.y.tolist() == [0, 2, 4]
    assert ran == [1, 1, 1]
    assert run(experiment, out=tmp_path, set={"k": "2"}).y.tolist() == [4]
    assert ran == [1, 1, 1]


def test_run_takes_paths_and_names_and_warns(toy: Toy, tmp_path: Path) -> None:
    path = toy(run=RAISING)
    with pytest.warns(UserWarning, match="no way"), pytest.warns(UserWarning, match="1 of 10 cells failed"):
        frame = run(str(path), out=tmp_path / "results", preset="small", set=["alpha=1"], jobs=1)
    assert len(frame) == 10
    assert len(run(path, "paper", out=tmp_path / "results", jobs=1)) == 2
    with pytest.raises(UsageError, match="no preset 'papr'; did you mean paper"):
        run(path, "papr", out=tmp_path)
    with pytest.raises(UsageError, match="no experiment 'nothing_of_this_name'"):
        run("nothing_of_this_name", out=tmp_path)


def test_a_sweep_keeps_the_number_of_threads(toy: Toy, tmp_path: Path) -> None:
    from lrtheory import backend

    body = """
    def run(cells, device):
        from lrtheory import backend
        for cell in cells:
            yield cell, {"threads": backend.threads()}
    """
    before = backend.threads()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = run(toy(run=body), out=tmp_path, jobs=1, threads=2)
    assert set(frame.threads) == {2}
    assert backend.threads() == before


def test_an_experiment_that_is_not_here_is_run_from_a_copy(tmp_path: Path) -> None:
    """A worker elsewhere gets path and text only; Numba's cache and tracebacks need a file."""
    text = "from lrtheory.sweep import Experiment, grid\nfile = __file__\n" + (
        "experiment = Experiment(name='x', version=1, title=file, presets={'small': grid(k=1)}, run=print)\n"
    )
    source = loading.Source(str(tmp_path / "gone.py"), text, loading.digest(text))
    experiment = loading.from_source(source)
    assert Path(experiment.title).read_text() == text
    assert loading.from_source(source) is experiment


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("x = 1", "found none"),
        ("x = ", r"line 1: SyntaxError"),
        ("x = 1\n1 / 0", r"line 2: ZeroDivisionError"),
        ("raise SystemExit('bye')", r"line 1: SystemExit: bye"),
        ("import nothing_like_it", r"line 1: ModuleNotFoundError"),
    ],
)
def test_files_that_define_no_experiment_are_refused(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(UsageError, match=match):
        loading.load(path)
    with pytest.raises(UsageError, match="cannot read"):
        loading.load(tmp_path / "missing.py")


def test_experiments_are_found_beside_the_package_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "lrtheory"
    package.mkdir()
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/toy.py").write_text("")
    (tmp_path / "experiments/_shared.py").write_text("")
    monkeypatch.setattr(loading.lrtheory, "__file__", str(package / "__init__.py"))
    monkeypatch.syspath_prepend(tmp_path)
    assert loading.folder() is None
    (tmp_path / "pyproject.toml").write_text("")
    assert loading.available() == {"toy": tmp_path / "experiments/toy.py"}
    (package / "_experiments").mkdir()
    assert loading.available() == {}


def test_10_000_trivial_cells_cost_less_than_a_millisecond_each(tmp_path: Path) -> None:
    def trivial(cells: list[dict], device: str):
        return [(cell, {"y": [1.0]}) for cell in cells]

    experiment = Experiment(
        name="many", version=1, title="", presets={"small": grid(k=range(100), seed=range(100))}, run=trivial
    )
    start = time.monotonic()
    assert len(run(experiment, out=tmp_path)) == 10_000
    assert time.monotonic() - start < 10
