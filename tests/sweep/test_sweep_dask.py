"""Blocks on Dask: the same numbers, on workers that come, go and know nothing."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from sweep_processes import SLOW, alive, pids, stored, wait_until

from lrtheory.sweep import UsageError, cli, loading, run, session
from lrtheory.sweep.cluster import dask_workers

pytest.importorskip("distributed", reason="Dask is not installed: pip install lrtheory[cluster]")

Toy = Callable[..., Path]
Start = Callable[..., "subprocess.Popen[str]"]

CLUSTER = """
import asyncio
from distributed import Nanny, Scheduler
async def main():
    async with Scheduler(host="127.0.0.1", port=0, dashboard_address=None) as scheduler:
        options = dict(nthreads=2, dashboard_address=None, memory_limit=0)
        async with Nanny(scheduler.address, **options), Nanny(scheduler.address, **options):
            print(scheduler.address, flush=True)
            await scheduler.finished()
if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster that is older than every file of the tests."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "cluster.py").write_text(CLUSTER)
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "cluster.py"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "TMPDIR": str(folder)},
        )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address, (folder / "log").read_text()
        yield address
    finally:
        process.terminate()
        process.communicate(timeout=20)


def execute(path: Path, **options: object) -> session.Report:
    experiment, source = loading.load(path)
    return session.execute(experiment, source, session.Options(**options))  # type: ignore[arg-type]


def files(out: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(out, "toy/cells").iterdir()}


def test_all_executors_give_the_same_bytes(toy: Toy, cluster: str, tmp_path: Path) -> None:
    path = toy()
    reports = {
        "process": execute(path, out=Path("process"), jobs=1),
        "pool": execute(path, out=Path("pool"), jobs=2),
        "local": execute(path, out=Path("local"), dask="local:2"),
        "remote": execute(path, out=Path("remote"), dask=cluster),
    }
    assert len(files("process")) == 5
    for name, report in reports.items():
        assert files(name) == files("process"), name
        pd.testing.assert_frame_equal(report.frame, reports["process"].frame, check_exact=True)
        assert not report.warnings
    workers = pids(tmp_path)
    assert os.getpid() in workers
    assert len(workers) >= 4
    record = json.loads(Path("remote/toy/run.json").read_text())
    assert (record["dask"], record["jobs"]) == (cluster, 0)
    assert json.loads(Path("local/toy/run.json").read_text())["dask"] == "local:2"


def test_workers_never_need_the_experiments_file(toy: Toy, cluster: str) -> None:
    path = toy(
        tail="experiment = Experiment(name='toy', run=run, title=__file__, "
        "presets={'small': grid(k=3, seed=range(3), alpha=1.0)})"
    )
    experiment, source = loading.load(path)
    path.unlink()
    report = session.execute(experiment, source, session.Options(dask=cluster))
    assert not report.failures
    assert len(report.frame) == 9


def test_what_the_file_caches_is_made_once_in_a_process(toy: Toy) -> None:
    body = """
    from functools import lru_cache
    @lru_cache(maxsize=1)
    def problem(n):
        return np.ones((n, n))
    def run(cells, device):
        for cell in cells:
            problem(10)
            yield cell, {"pid": [os.getpid()], "made": [problem.cache_info().misses]}
    """
    frame = execute(toy(run=body), dask="local:1").frame
    assert set(frame.pid) != {os.getpid()}
    assert frame.pid.nunique() == 1
    assert set(frame.made) == {1}


def test_the_example_for_slurm_runs(toy: Toy, tmp_path: Path) -> None:
    """The page's script, with a cluster of this machine in the place of Slurm's and another experiment."""
    text = (Path(__file__).parents[2] / "docs/sweeps.md").read_text()
    (script,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "SLURMCluster" in block]
    fake = """
        from distributed import LocalCluster
        def SLURMCluster(queue, cores, processes, memory, walltime, worker_extra_args, job_script_prologue):
            kwargs = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
            cluster = LocalCluster(n_workers=0, threads_per_worker=cores, scheduler_kwargs=kwargs)
            cluster.adapt = lambda minimum, maximum: cluster.scale(2)
            return cluster
    """
    (tmp_path / "dask_jobqueue.py").write_text(textwrap.dedent(fake))
    assert script.count('"overparam_sensing"') == 1
    (tmp_path / "script.py").write_text(script.replace('"overparam_sensing"', repr(str(toy()))))
    done = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    assert "toy paper: 2 cells in 1 blocks, 0 cells stored, 1 blocks to run on Dask at tcp://" in done.stderr
    assert done.stdout.splitlines()[1].split() == ["3", "6"]


def test_a_client_can_be_given_and_stays_open(toy: Toy, cluster: str) -> None:
    from distributed import Client

    with Client(cluster, set_as_default=False) as client:
        assert len(run(toy(), dask=client)) == 60
        assert client.submit(sum, [1, 2]).result(timeout=20) == 3


def test_one_block_at_a_time_in_a_process_of_several_threads(toy: Toy, cluster: str) -> None:
    body = """
    import threading
    busy = []
    def run(cells, device):
        busy.append(1)
        most = 0
        for _ in range(10):
            time.sleep(0.005)
            most = max(most, len(busy))
        busy.pop()
        for cell in cells:
            yield cell, {"most": [most]}
    """
    assert set(execute(toy(run=body), dask=cluster).frame.most) == {1}


def test_cells_that_raise_or_take_too_long_on_dask(toy: Toy, cluster: str) -> None:
    body = """
    def run(cells, device):
        for cell in cells:
            if cell["seed"] == 1:
                raise ValueError("no way")
            for _ in range(1000 if cell["seed"] == 2 else 0):
                time.sleep(0.01)
            yield cell, {"y": [1.0]}
    """
    report = execute(toy(run=body), dask=cluster, batch_timeout=0.5)
    errors = {(failure.cell["seed"], failure.error) for failure in report.failures}
    assert errors == {(1, "ValueError: no way"), (2, "no result within 0.5 s for a call of 2 cells (--batch-timeout)")}
    assert report.frame.y.notna().sum() == 12


KILLS_ONCE = """
def run(cells, device):
    marker = HERE / "killed"
    count(cells)
    if cells[0]["seed"] == 2 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), 9)
    for cell in cells:
        yield cell, {"y": [cell["seed"] * 0.1]}
"""


@pytest.mark.parametrize("where", ["local:2", "cluster"])
def test_a_killed_dask_worker(toy: Toy, where: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    dask = request.getfixturevalue("cluster") if where == "cluster" else where
    report = execute(toy(run=KILLS_ONCE), dask=dask)
    assert (tmp_path / "killed").exists()
    assert not report.failures
    assert report.frame.y.tolist() == [seed * 0.1 for seed in [0, 0, 1, 1, 2, 2, 3, 3, 4, 4] * 2]
    if where != "cluster":  # a scheduler elsewhere has counted by itself
        record = json.loads(report.paths["run"].read_text())
        assert max(block["attempts"] for block in record["blocks"]) == 2
        wait_until(lambda: not any(alive(pid) for pid in pids(tmp_path)), 5)


def test_a_cell_that_kills_every_dask_worker_is_named(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    body = """
    def run(cells, device):
        if any((cell["k"], cell["seed"], cell["alpha"]) == (5, 2, 1.0) for cell in cells):
            os._exit(1)
        for cell in cells:
            yield cell, {"y": [1.0]}
    """
    assert cli.main(["--experiment", str(toy(run=body)), "--dask", "local:2", "--quiet"]) == 1
    err = capsys.readouterr().err
    assert "failed: k=5, seed=2, alpha=1.0\n  its worker process died 3 times" in err
    assert pd.read_parquet("results/toy/data.parquet").y.notna().sum() == 19


def test_a_killed_local_worker_without_work_is_replaced(toy: Toy, start: Start, tmp_path: Path) -> None:
    """Both workers die from outside, whatever they do at that moment."""
    process = start("--experiment", str(toy(run=SLOW)), "--dask", "local:2", "--set", "k=3")
    try:
        wait_until(lambda: stored(tmp_path) >= 1 and len(pids(tmp_path)) == 2)
        for pid in pids(tmp_path):
            os.kill(pid, signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert pd.read_parquet("results/toy/data.parquet").y.notna().all()


def test_ctrl_c_and_no_worker_outlives_the_driver(toy: Toy, start: Start, tmp_path: Path) -> None:
    path = str(toy(run=SLOW))
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        process = start("--experiment", path, "--dask", "local:2", "--fresh")
        before = pids(tmp_path)
        try:
            wait_until(lambda before=before: len(pids(tmp_path) - before) >= 2)
            begin = time.monotonic()
            (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
            _, err = process.communicate(timeout=20)
            assert time.monotonic() - begin < 2
        finally:
            process.kill()
        assert process.returncode == code
        assert "Traceback" not in err
        assert code != 130 or err.splitlines()[-1].startswith("interrupted; what has run is stored, go on with: ")
        wait_until(lambda: not any(alive(pid) for pid in pids(tmp_path)), 5)


def test_a_worker_that_starts_after_its_driver_died_ends() -> None:
    """A driver that is killed while its workers start: nobody listens, and the worker is not its child any more."""
    code = "from lrtheory.sweep.cluster import serve; serve('tcp://127.0.0.1:1', 1, 1 << 30)"
    subprocess.run([sys.executable, "-c", code], timeout=15, check=True, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dask", "tcp://127.0.0.1:1"], "no Dask scheduler answers at tcp://127.0.0.1:1 (connection refused)"),
        (["--dask", "nonsense"], "takes the address of a scheduler, tcp://host:port, or local:N, got 'nonsense'"),
        (["--dask", "foo://host:1"], "unknown address scheme 'foo'"),
        (["--dask", "local:0"], "local:N with N >= 1 processes"),
        (["--dask", "local:2", "--jobs", "2"], "--jobs and --dask exclude each other"),
    ],
)
def test_wrong_addresses(toy: Toy, start: Start, options: list[str], message: str) -> None:
    process = start("--experiment", str(toy()), *options)
    begin = time.monotonic()
    out, err = process.communicate(timeout=20)
    assert time.monotonic() - begin < 5
    assert (process.returncode, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert message in err
    assert not list(Path().glob("results/toy/cells/*"))


def test_an_address_where_nobody_speaks(toy: Toy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        begin = time.monotonic()
        with pytest.raises(UsageError, match=r"no Dask scheduler answers at tcp://127.0.0.1:\d+ within 2.5 s"):
            execute(toy(), dask=f"tcp://127.0.0.1:{server.getsockname()[1]}")
        assert 2 < time.monotonic() - begin < 5


def test_a_wrong_address_does_not_forget_what_is_stored(toy: Toy) -> None:
    execute(toy(), jobs=1)
    with pytest.raises(UsageError, match="no Dask scheduler"):
        execute(toy(), dask="foo://127.0.0.1:1", fresh=True)
    assert execute(toy(), plot_only=True).missing == 0


def test_other_wrong_usage(toy: Toy) -> None:
    experiment, _ = loading.load(toy())
    with pytest.raises(UsageError, match="need the experiment's file"):
        run(experiment, dask="local:1")
    with pytest.raises(UsageError, match=r"or a distributed\.Client, got int"):
        run(toy(), dask=3)
    with pytest.raises(UsageError, match="measures time"):
        run(toy("more = dict(timing=True)"), dask="local:1")


def test_of_what_dask_logs_only_lost_connections_are_muted(caplog: pytest.LogCaptureFixture) -> None:
    from distributed.comm import CommClosedError

    log = logging.getLogger("tornado.application")
    dask_workers("local:1", 1)
    dask_workers("local:1", 1)
    for error in (CommClosedError("gone"), ValueError("something else")):
        log.error("Exception in callback", exc_info=error)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ValueError]
    assert len(log.filters) == 1


def test_a_scheduler_that_goes_away_is_one_line(toy: Toy, start: Start, tmp_path: Path) -> None:
    (tmp_path / "cluster.py").write_text(CLUSTER)
    scheduler = subprocess.Popen(
        [sys.executable, "cluster.py"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert scheduler.stdout is not None
    try:
        address = scheduler.stdout.readline().strip()
        process = start("--experiment", str(toy(run=SLOW)), "--dask", address, "--quiet")
        try:
            wait_until(lambda: stored(tmp_path) >= 1)
            scheduler.kill()
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
    finally:
        scheduler.kill()
        scheduler.communicate(timeout=20)
    assert process.returncode == 1
    assert err.startswith("error: lost the ")
    assert err.endswith("; what has run is stored\n")
    assert err.count("\n") == 1
