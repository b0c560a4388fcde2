"""What goes wrong in a week of cluster time, done for real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from sweep_processes import SLOW, alive, pids, stored, wait_until

from lrtheory.sweep import cli, loading, session

Toy = Callable[..., Path]
Calls = Callable[[], list[int]]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")


def execute(path: Path, **options: object) -> session.Report:
    experiment, source = loading.load(path)
    return session.execute(experiment, source, session.Options(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("jobs", [pytest.param("1", marks=pytest.mark.slow), "2"])
def test_a_killed_driver_loses_nothing_that_was_stored(
    toy: Toy, calls: Calls, tmp_path: Path, start: Start, jobs: str
) -> None:
    path = toy(run=SLOW)
    process = start("--experiment", str(path), "--jobs", jobs)
    try:
        wait_until(lambda: stored(tmp_path) >= 2)
    finally:
        process.kill()
    process.communicate(timeout=20)
    wait_until(lambda: not any(alive(pid) for pid in pids(tmp_path)), 5)
    before = {file.name: file.read_bytes() for file in Path("results/toy/cells").glob("*.parquet")}
    ran = len(calls())
    assert 2 <= len(before) < 5
    assert cli.main(["--experiment", str(path), "--jobs", jobs, "--quiet"]) == 0
    assert len(calls()) - ran == 2 * (5 - len(before))
    assert all(Path("results/toy/cells", name).read_bytes() == data for name, data in before.items())
    whole = execute(path, out=Path("whole"), jobs=1)
    again = pd.read_parquet("results/toy/data.parquet")
    pd.testing.assert_frame_equal(again, whole.frame, check_exact=True)
    blocks = json.loads(Path("results/toy/run.json").read_text())["blocks"]
    assert sum(block["now"] for block in blocks) == 5 - len(before)


# Numba holds the interpreter in such a loop: no thread and no Python signal handler runs
SPIN = """
from numba import njit
@njit
def spin(n):
    state = 1
    for _ in range(n):
        state = (state * 48271) % 2147483647
    return state
spin(1)
def run(cells, device):
    count(cells)
    if cells[0]["seed"] == 1:
        spin(4 * 10**10)
    for cell in cells:
        yield cell, {"y": [1.0]}
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_in_a_compiled_loop_die_with_their_driver(
    toy: Toy, calls: Calls, tmp_path: Path, start: Start, number: signal.Signals
) -> None:
    process = start("--experiment", str(toy(run=SPIN)), "--jobs", "2", "--set", "seed=1", "--set", "alpha=1,2,3,4")
    try:
        wait_until(lambda: len(pids(tmp_path)) == 2)
        time.sleep(0.3)
        begin = time.monotonic()
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)  # as a terminal does; the driver alone
        process.communicate(timeout=20)
        assert time.monotonic() - begin < 2
    finally:
        process.kill()
    assert process.returncode == {signal.SIGINT: 130, signal.SIGKILL: -9}[number]
    wait_until(lambda: not any(alive(pid) for pid in pids(tmp_path)), 5)


def test_ctrl_c_in_ten_million_compiled_steps_of_solve(toy: Toy, calls: Calls, start: Start) -> None:
    body = """
    def run(cells, device):
        from lrtheory.first_order import GradientDescent
        from lrtheory.low_rank import RandomFactors
        from lrtheory.sensing import population_problem
        from lrtheory.solve import solve
        problem = population_problem(60, 3, seed=0)
        def callback(iteration, state, metrics):
            if iteration == 0:
                count(cells)
        for cell in cells:
            result = solve(problem, GradientDescent(0.1), start=RandomFactors(10, 0.5), max_steps=10**7,
                           record=[0, 10**7], callback=callback)
            yield cell, {"loop": [result.backend]}
    """
    process = start("--experiment", str(toy(run=body)), "--jobs", "1")
    try:
        wait_until(lambda: len(calls()) >= 1)
        time.sleep(0.5)
        assert process.poll() is None
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=20)[1]
        assert time.monotonic() - begin < 2
    finally:
        process.kill()
    assert process.returncode == 130
    assert "go on with: python -m lrtheory.sweep --experiment" in err


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_compiled_loop_that_takes_too_long_fails_alone(toy: Toy, tmp_path: Path, jobs: int) -> None:
    begin = time.monotonic()
    report = execute(toy(run=SPIN), jobs=jobs, batch_timeout=0.5, settings=["k=3", "seed=0:4"])
    assert time.monotonic() - begin < 40  # the loop takes minutes; three starts of a process and two limits some 10 s
    assert {failure.cell["seed"] for failure in report.failures} == {1}
    assert {failure.error for failure in report.failures} == {
        "no result within 0.5 s for a call of 2 cells (--batch-timeout)"
    }
    assert report.frame.y.notna().sum() == 6
    assert os.getpid() not in pids(tmp_path)
    wait_until(lambda: not any(alive(pid) for pid in pids(tmp_path)), 5)


BIG = """
def run(cells, device):
    for cell in cells:
        yield cell, {"y": np.random.default_rng(cell["seed"]).normal(size=100_000 if cell["seed"] == 4 else 10)}
"""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_file_that_cannot_be_written_is_one_error_and_the_store_stays_valid(
    toy: Toy, tmp_path: Path, jobs: str
) -> None:
    path = str(toy(run=BIG))
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
    code = limited + "from lrtheory.sweep.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "--experiment", path, "--jobs", jobs, "--quiet"],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    check_after_full_disk(path, done, "File too large")


def test_a_full_disk(toy: Toy, tmp_path: Path) -> None:
    """A tiny file system of its own, mounted where only the process sees it."""
    path = str(toy(run=BIG))
    disk = tmp_path / "disk"
    disk.mkdir()
    python = f"{sys.executable} -m lrtheory.sweep --experiment {path} --jobs 1 --quiet --out {disk}/results"
    script = (
        f"mount -t tmpfs -o size=600k none {disk} || exit 77; {python}; code=$?; rm -f {disk}/*.tmp; "
        f"cp -r {disk}/results {tmp_path}/results; exit $code"
    )
    try:
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", script],
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    check_after_full_disk(path, done, "No space left on device")


def check_after_full_disk(path: str, done: subprocess.CompletedProcess[str], reason: str) -> None:
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert reason in done.stderr
    assert done.stderr.endswith("; what has run is stored\n")
    cells = Path("results/toy/cells")
    names = [file.name for file in cells.iterdir()]
    assert names
    assert all(name.endswith(".parquet") for name in names)  # no temporary file is left
    report = execute(Path(path), jobs=1)
    assert report.warnings == []
    assert report.frame.y.notna().all()
    blocks = json.loads(report.paths["run"].read_text())["blocks"]
    assert sum(block["now"] for block in blocks) == 5 - len(names)


def test_two_runs_at_once_share_a_folder(toy: Toy, start: Start, tmp_path: Path) -> None:
    path = str(toy(run=SLOW))
    plans = [["--set", "seed=0:5"], ["--set", "seed=0:5"], ["--set", "seed=3:8", "--fresh"]]
    processes = [start("--experiment", path, "--jobs", "1", "--quiet", *plan) for plan in plans]
    try:
        for process in processes:
            _, err = process.communicate(timeout=60)
            assert (process.returncode, err) == (0, "")
    finally:
        for process in processes:
            process.kill()
    report = execute(Path(path), jobs=1, settings=["seed=0:8"])
    assert report.warnings == []
    assert report.frame.y.tolist() == [seed * alpha for _ in (3, 5) for seed in range(8) for alpha in (0.5, 1.0)]
    assert not [file for file in Path("results/toy").rglob(".*")]


def test_a_folder_that_cannot_be_written(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--experiment", str(toy()), "--out", "/proc/here"]) == 2
    assert capsys.readouterr().err.startswith("error: cannot write to /proc/here/toy/cells: ")
