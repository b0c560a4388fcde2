"""Blocks on Dask: workers of a cluster, or separate processes of this machine.

Only this file knows Dask; to the rest it is one more `concurrent.futures.Executor`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from . import timeout
from .executors import Workers, start_worker
from .experiment import UsageError

CONNECT_SECONDS = 2.5
SLOTS = 1000  # blocks handed over at a time: enough for a scheduler to see that more workers are wanted


def check(dask: Any) -> int:
    """Return the number of processes that ``local:N`` asks for, or 0 for the address of a scheduler.

    Raises
    ------
    UsageError
        If it is neither, or Dask is not installed.
    """
    if isinstance(dask, str):
        kind, _, rest = dask.partition(":")
        if kind == "local":
            if not rest.isdecimal() or int(rest) < 1:
                raise UsageError(f"--dask takes local:N with N >= 1 processes, got {dask!r}")
        elif not rest.startswith("//") or len(rest) < 3:
            raise UsageError(f"--dask takes the address of a scheduler, tcp://host:port, or local:N, got {dask!r}")
    elif not hasattr(dask, "get_executor"):
        raise UsageError(f"dask takes an address, local:N or a distributed.Client, got {type(dask).__name__}")
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise UsageError("--dask needs Dask: install the extra lrtheory[cluster]") from None
    return int(rest) if isinstance(dask, str) and kind == "local" else 0


def address(dask: Any) -> str:
    """Return the address of a scheduler or client, for people."""
    return dask if isinstance(dask, str) else str(dask.scheduler.address)


def dask_workers(dask: Any, threads: int) -> Workers:
    """Return the workers of a scheduler, or of ``local:N``.

    Parameters
    ----------
    dask : str or distributed.Client
        A client stays open afterwards.
    threads : int
        Kernel threads of each worker.

    Raises
    ------
    UsageError
        If nobody answers at the address within some seconds.
    """
    count = check(dask)
    from distributed.scheduler import KilledWorker

    _silence()
    executor = _Local(count, threads) if count else _Remote(dask, threads)
    return Workers(
        open=lambda: executor.start(), slots=SLOTS, kill=_kill, deaths=(KilledWorker,), mend=lambda _: executor.mend()
    )


def _kill(executor: Executor) -> None:
    assert isinstance(executor, _Dask)
    executor.kill()


def _silence() -> None:
    """Keep Dask's log off the terminal: what matters reaches the driver as an exception."""
    for name in (
        "distributed",
        "distributed.core",
        "distributed.scheduler",
        "distributed.client",
        "distributed.worker",
    ):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # the loop that Dask shares with notebooks logs with a traceback what happens to a result that is under way
    logging.getLogger("tornado.application").addFilter(_no_lost_connection)


def _no_lost_connection(record: logging.LogRecord) -> bool:
    from distributed.comm import CommClosedError

    return not (record.exc_info and isinstance(record.exc_info[1], CommClosedError))


class _Dask(Executor):
    """What both kinds share: blocks go through the executor of a client."""

    client: Any
    threads: int

    def start(self) -> Executor:
        self.executor = self.client.get_executor(pure=False)
        return self

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self.executor.submit(on_worker, self.threads, fn, *args, **kwargs)

    def mend(self) -> None:
        """Replace dead workers, where that is up to us."""

    def kill(self) -> None:
        raise NotImplementedError


class _Remote(_Dask):
    """Workers that somebody else starts and restarts."""

    def __init__(self, dask: Any, threads: int) -> None:
        self.threads = threads
        self.idle, self.looked = 0, 0.0
        self.own = isinstance(dask, str)
        self.address = address(dask)
        if not self.own:
            self.client = dask
            return
        from distributed import Client

        try:
            # a client that cannot connect is slow to give up and noisy; and this may run in a notebook's event loop
            with ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, _find_scheduler(dask)).result()
            self.client = Client(dask, timeout=CONNECT_SECONDS, set_as_default=False)
        except TimeoutError:
            raise UsageError(f"no Dask scheduler answers at {dask} within {CONNECT_SECONDS:g} s") from None
        except ConnectionRefusedError:
            raise UsageError(f"no Dask scheduler answers at {dask} (connection refused)") from None
        except Exception as error:  # whatever answers there need not speak the protocol
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UsageError(f"no Dask scheduler answers at {dask} ({reason})") from None

    def mend(self) -> None:
        """Say so when there is nobody to run anything."""
        if time.monotonic() - self.looked < 1:
            return
        self.looked = time.monotonic()
        try:
            there = self.client.scheduler_info().get("workers")
        except Exception:  # it has many ways to say so
            there = None
        if self.client.status != "running":
            raise ConnectionError(f"lost the Dask scheduler at {self.address}")
        self.idle = 0 if there else self.idle + 1
        if self.idle == 10:
            print(f"waiting for workers to join {self.address}", file=sys.stderr, flush=True)

    def kill(self) -> None:
        """Take back what has not begun; a block under way ends by itself, unheard."""
        with suppress(Exception):
            self.executor.shutdown(wait=False)
        self.close()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.executor.shutdown(wait=wait)
        self.close()

    def close(self) -> None:
        if self.own:
            with suppress(Exception):
                self.client.close(timeout=1)


async def _find_scheduler(address: str) -> None:
    """Raise unless a Dask scheduler answers at the address within some seconds."""
    from distributed.comm import get_address_host_port
    from distributed.core import connect
    from distributed.security import Security

    async def ask() -> Any:
        if address.startswith("tcp://"):  # Dask would try a port where nobody listens again and again
            _, writer = await asyncio.open_connection(*get_address_host_port(address))
            writer.close()
        comm = await connect(address, timeout=10 * CONNECT_SECONDS, **Security().get_connection_args("client"))
        try:
            await comm.write({"op": "identity", "reply": True})
            return await comm.read()
        finally:
            comm.abort()

    found = await asyncio.wait_for(ask(), CONNECT_SECONDS)
    if not isinstance(found, dict) or found.get("type") != "Scheduler":
        raise ValueError("something else does")


class _Local(_Dask):
    """A scheduler in this process and workers that it starts, ends and replaces itself."""

    def __init__(self, count: int, threads: int) -> None:
        self.count, self.threads = count, threads
        self.processes: list[subprocess.Popen[bytes]] = []
        self.seen = False

    def start(self) -> Executor:
        import dask
        from distributed import Client, LocalCluster

        # a block that loses its worker comes back at once: run_tasks decides what to do with it
        with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
            self.cluster = LocalCluster(
                n_workers=0,
                host="127.0.0.1",
                silence_logs=logging.CRITICAL,
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            )
        try:
            self.client = Client(self.cluster, set_as_default=False)
            self.processes = [self._process() for _ in range(self.count)]
        except BaseException:
            self.kill()
            raise
        return super().start()

    def _process(self) -> subprocess.Popen[bytes]:
        code = (
            f"import sys; sys.path[:] = {sys.path!r}\n"
            "from lrtheory.sweep.cluster import serve\n"
            f"serve({self.cluster.scheduler_address!r}, {self.threads}, {os.getpid()})"
        )
        # a session of its own: Ctrl-C on the terminal is the driver's
        return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.DEVNULL, start_new_session=True)

    def mend(self) -> None:
        self.seen = self.seen or bool(self.client.scheduler_info().get("workers"))
        for i, process in enumerate(self.processes):
            if process.poll() is not None:
                if not self.seen:
                    raise ConnectionError(f"a Dask worker did not start (exit code {process.returncode})")
                self.processes[i] = self._process()

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        for part in (getattr(self, "client", None), self.cluster):
            if part is not None:
                with suppress(Exception):
                    part.close(timeout=1)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.executor.shutdown(wait=wait)
        self.kill()


def serve(address: str, threads: int, driver: int) -> None:
    """Be a worker process of ``local:N`` until the scheduler closes."""
    start_worker(threads)
    if os.name == "posix" and os.getppid() != driver:  # it died before `start_worker` tied this process to it
        return
    from distributed import Worker

    _silence()

    async def work() -> None:
        async with Worker(address, nthreads=1, dashboard_address=None, memory_limit=0, death_timeout=30) as worker:
            await worker.finished()

    asyncio.run(work())


# a worker of a cluster may have several threads; threads of kernels, warnings and time limits belong to a process
_one_at_a_time = threading.Lock()


def on_worker(threads: int, fn: Callable[..., Any], *args: Any) -> Any:
    """Run ``fn(*args)`` on a Dask worker."""
    from lrtheory import backend

    with _one_at_a_time:
        timeout.expendable = True
        if backend.threads() != threads:
            backend.set_threads(threads)
        return fn(*args)
