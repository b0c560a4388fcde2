"""Where blocks run: anything with the interface of `concurrent.futures.Executor`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from . import timeout


@dataclass(frozen=True)
class Workers:
    """A kind of executor.

    Attributes
    ----------
    open : callable
        Makes the executor; called again after a worker's death has broken it.
    slots : int
        Most blocks handed over at a time.
    kill : callable
        Ends the executor at once, running blocks included.
    deaths : tuple of exception types
        What a block's future raises when its worker died.
    mend : callable, optional
        Replaces dead workers of an executor that survives them, also called every few seconds. None: one death
        breaks the executor for all its blocks, and another is opened.
    """

    open: Callable[[], Executor]
    slots: int
    kill: Callable[[Executor], None]
    deaths: tuple[type[BaseException], ...] = (BrokenExecutor,)
    mend: Callable[[Executor], None] | None = None


class InProcess(Executor):
    """Runs a block in this process when it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return a finished future. An interrupt is not the block's and goes on to the caller."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def in_process() -> Workers:
    """Return the executor of this process."""
    return Workers(open=InProcess, slots=1, kill=lambda executor: None)


def process_pool(jobs: int, threads: int) -> Workers:
    """Return `jobs` fresh processes with `threads` kernel threads each."""

    def start() -> Executor:
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        class Pool(ProcessPoolExecutor):
            def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
                with _quiet_birth():  # processes start in here
                    return super().submit(fn, *args, **kwargs)

        return Pool(
            jobs, mp_context=multiprocessing.get_context("spawn"), initializer=start_worker, initargs=(threads,)
        )

    # one more block than workers waits in the pool, so that no worker idles while the driver writes a file
    return Workers(open=start, slots=2 * jobs, kill=_kill_pool)


def limit_new_libraries(threads: int) -> None:
    """Give BLAS and OpenMP libraries that this process loads from now on `threads` threads each."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)


@contextmanager
def limited_threads(n: int) -> Iterator[None]:
    """Give this process `n` kernel threads for a while."""
    from lrtheory import backend

    before = backend.threads()
    backend.set_threads(n)
    try:
        yield
    finally:
        backend.set_threads(before)


def start_worker(threads: int) -> None:
    """Make this process a worker: deaf to Ctrl-C, which the driver handles, and mortal like its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    threading.Thread(target=_follow_parent, daemon=True).start()
    limit_new_libraries(threads)
    timeout.expendable = True
    from lrtheory import backend

    backend.set_threads(threads)


def _die_with_parent() -> None:
    """Ask the kernel (Linux) to end this process when its parent ends: a compiled loop would delay a thread."""
    if sys.platform == "linux":
        import ctypes

        death_signal = 1  # PR_SET_PDEATHSIG
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(death_signal, signal.SIGKILL)


def _follow_parent() -> None:
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _kill_pool(executor: Executor) -> None:
    processes = list((getattr(executor, "_processes", None) or {}).values())
    for process in processes:
        with suppress(OSError, ValueError):
            process.kill()
    manager = getattr(executor, "_executor_manager_thread", None)
    executor.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        with suppress(OSError, ValueError, AssertionError):
            process.join(2)
    if manager is not None:
        manager.join(2)  # at exit the interpreter would wake it through a pipe that it is about to close


@contextmanager
def _quiet_birth() -> Iterator[None]:
    """Start processes so that they do not see Ctrl-C and do not import the driver's main module.

    A process is born with the signal mask of the thread that starts it, so an interrupt cannot hit it before
    `start_worker` runs. And workers need nothing from ``__main__``: importing it again costs time, and would run a
    user's script without a ``__main__`` guard a second time.
    """
    main = sys.modules["__main__"]
    block = getattr(signal, "pthread_sigmask", None)
    before = block(signal.SIG_BLOCK, {signal.SIGINT}) if block else None
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        if block:
            block(signal.SIG_SETMASK, before)
