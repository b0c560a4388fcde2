"""Running blocks on an executor, and surviving its workers."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait

from .executors import Workers
from .worker import Outcome, Task, lost_block, run_block

ATTEMPTS = 3


def run_tasks(tasks: Sequence[Task], workers: Workers, done: Callable[[int, Outcome, int], None]) -> None:
    """Run all tasks; call ``done(index, outcome, attempts)`` in this process as each one ends.

    A worker that dies breaks a pool for every block handed to it. The pool is opened again, and these blocks, one of
    which may be to blame, come last and one at a time: the one that breaks the pool again is the culprit. After
    three attempts its cells have failed.

    Raises
    ------
    BaseException
        What `done` raises, and KeyboardInterrupt; the workers are killed first.
    """
    queue = deque(range(len(tasks)))
    suspects: deque[int] = deque()
    attempts: Counter[int] = Counter()
    flying: dict[Future[Outcome], int] = {}
    executor: Executor = workers.open()

    def hand_over(index: int) -> bool:
        attempts[index] += 1
        try:
            flying[executor.submit(run_block, tasks[index])] = index
        except BrokenExecutor:  # it broke since the last look; this block never reached it
            attempts[index] -= 1
            queue.appendleft(index)
            return False
        return True

    try:
        while queue or suspects or flying:
            broken = False
            while queue and len(flying) < workers.slots and not broken:
                broken = not hand_over(queue.popleft())
            if not (queue or flying) and suspects:
                broken = not hand_over(suspects.popleft())
            if not broken:
                wait(flying, return_when=FIRST_COMPLETED)
            lost = []
            for future in [future for future in flying if future.done()]:
                index = flying.pop(future)
                try:
                    outcome = future.result()
                except BrokenExecutor:
                    lost.append(index)
                    continue
                except Exception as error:  # its file cannot be loaded there, or its result cannot be sent
                    outcome = lost_block(tasks[index], f"{type(error).__name__}: {error}")
                done(index, outcome, attempts[index])
            if lost or broken:
                lost += flying.values()
                flying.clear()
                executor.shutdown(wait=False, cancel_futures=True)
                executor = workers.open()
                for index in lost:
                    if attempts[index] >= ATTEMPTS:
                        error_text = f"its worker process died {ATTEMPTS} times (killed, out of memory, or crashed)"
                        done(index, lost_block(tasks[index], error_text), attempts[index])
                    else:
                        suspects.append(index)
    except BaseException:
        workers.kill(executor)
        raise
    executor.shutdown()
