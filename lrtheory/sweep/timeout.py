"""A time limit for a piece of Python code, and for a compiled loop in it."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GRACE = 1.0
"""Seconds after the limit in which Python code can end by itself, before a worker process is ended."""

_FOREVER = 1e9
"""Seconds, 30 years: no limit. Not much farther the system's timers overflow."""

expendable = False
"""Whether this process is a worker that may be ended; the driver goes on without it."""


class OutOfTime(BaseException):
    """The limit is over. No Exception, so that a broad ``except`` in a solver does not swallow it."""


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise `OutOfTime` inside the block once `seconds` have passed; None is no limit.

    It takes effect between two steps of the interpreter: a compiled loop delays it until it returns. In the main
    thread of a POSIX process an alarm also ends a system call; in other threads (a cluster's workers) it does not.
    What is still running `GRACE` seconds later ends with its process, if that is `expendable`.
    """
    if seconds is None or seconds > _FOREVER:
        yield
    elif expendable:
        with _last_resort(seconds + GRACE), _raising(seconds):
            yield
    else:
        with _raising(seconds):
            yield


@contextmanager
def _last_resort(seconds: float) -> Iterator[None]:
    """End the process after `seconds`, from a thread that needs no interpreter."""
    with open(os.devnull, "w") as nowhere:
        faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


@contextmanager
def _raising(seconds: float) -> Iterator[None]:
    if threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer"):
        with _alarm(seconds):
            yield
    else:
        with _injected(seconds):
            yield


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def expire(number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _injected(seconds: float) -> Iterator[None]:
    thread = ctypes.c_ulong(threading.get_ident())
    lock = threading.Lock()
    over = False

    def expire() -> None:
        with lock:
            if not over:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(OutOfTime))

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        with lock:
            over = True
