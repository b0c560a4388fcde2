"""Running blocks on an executor, and surviving its workers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from dataclasses import dataclass

from .executors import Workers
from .worker import Outcome, Task, lost_block, out_of_time, run_block

ATTEMPTS = 3
PATIENCE = 1.0  # seconds between two looks after workers that died while nothing ran on them


@dataclass(frozen=True)
class Piece:
    """A block, or a part of one whose workers died, and how often it is tried with this attempt."""

    index: int
    task: Task
    attempt: int = 1


def run_tasks(tasks: Sequence[Task], workers: Workers, done: Callable[[int, Outcome, int], None]) -> None:
    """Run all tasks; call ``done(index, outcome, attempts)`` in this process as each one ends.

    A worker that dies may take several blocks with it, and one of them may be to blame. They come last, one at a time
    and cut into their calls; a call that loses its worker again is cut into its cells. So the third attempt names the
    cell, and every other one has its result. `done` is then called once for each part of a block.

    Raises
    ------
    BaseException
        What `done` raises, and KeyboardInterrupt; the workers are killed first.
    ConnectionError
        If the executor is gone for good.
    """
    queue = deque(Piece(index, task) for index, task in enumerate(tasks))
    suspects: deque[Piece] = deque()
    flying: dict[Future[Outcome], tuple[Piece, float]] = {}
    executor: Executor = workers.open()

    def hand_over(pieces: deque[Piece]) -> bool:
        piece = pieces.popleft()
        try:
            flying[executor.submit(run_block, piece.task)] = (piece, time.monotonic())
        except BrokenExecutor:  # it broke since the last look; this piece never reached it
            pieces.appendleft(piece)
            return False
        return True

    def lose(piece: Piece, seconds: float) -> None:
        """Give up a piece whose worker died, or try its parts."""
        task, block = piece.task, piece.task.block
        limit = task.call_timeout
        if limit is not None and piece.attempt > 1 and len(block.calls) == 1 and seconds >= limit:
            # it ran alone, and its worker was ended by the time limit's last resort
            done(piece.index, lost_block(task, out_of_time(limit, block.size)), piece.attempt)
        elif piece.attempt >= ATTEMPTS:
            error = f"its worker process died {ATTEMPTS} times (killed, out of memory, or crashed)"
            done(piece.index, lost_block(task, error), piece.attempt)
        else:
            parts = [task] if piece.attempt == 1 and len(block.calls) == 1 else task.split()
            suspects.extend(Piece(piece.index, part, piece.attempt + 1) for part in parts)

    try:
        while queue or suspects or flying:
            broken = False
            while queue and len(flying) < workers.slots and not broken:
                broken = not hand_over(queue)
            if not (queue or flying) and suspects:
                broken = not hand_over(suspects)
            if not broken:
                wait(flying, timeout=PATIENCE if workers.mend else None, return_when=FIRST_COMPLETED)
            lost = []
            for future in [future for future in flying if future.done()]:
                piece, since = flying.pop(future)
                try:
                    outcome = future.result()
                except workers.deaths:
                    lost.append((piece, since))
                    continue
                except CancelledError:
                    raise ConnectionError("lost the connection to the workers") from None
                except Exception as error:  # its file cannot be loaded there, or its result cannot be sent
                    outcome = lost_block(piece.task, f"{type(error).__name__}: {error}")
                done(piece.index, outcome, piece.attempt)
            if workers.mend:
                workers.mend(executor)
            elif lost or broken:
                lost += flying.values()
                flying.clear()
                executor.shutdown(wait=False, cancel_futures=True)
                executor = workers.open()
            now = time.monotonic()
            for piece, since in lost:
                lose(piece, now - since)
    except BaseException:
        workers.kill(executor)
        raise
    executor.shutdown()
