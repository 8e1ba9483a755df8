"""A few threads that work ahead, their results handed back in the order of the jobs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

__all__ = ["InOrder", "cores", "in_order"]


def cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


class InOrder:
    """Work on jobs in threads and hand results back in order; no thread is started for a single job.

    Parameters
    ----------
    threads : int
    ahead : int
        Results, finished or not, that may wait to be handed back.
    """

    def __init__(self, threads: int, ahead: int) -> None:
        self._most, self._ahead, self._threads = threads, ahead, 0
        self._waiting: list[Any] = []
        self._queue: Any = None

    def submit(self, job: Callable[[], Any]) -> list[Any]:
        """Hand in a job; return results that are next in order, as many as there are too many waiting.

        Raises
        ------
        Exception
            What the job of such a result raised.
        """
        import queue

        if self._queue is None:
            self._queue = queue.SimpleQueue()
        self._waiting.append((job, queue.SimpleQueue()))
        if self._threads:
            self._queue.put(self._waiting[-1])
        elif len(self._waiting) > 1:
            self._start()
        ready = []
        while len(self._waiting) > self._ahead:
            ready.append(self._result())
        return ready

    def _start(self) -> None:
        import threading

        self._threads = self._most
        for entry in self._waiting:
            self._queue.put(entry)
        for _ in range(self._most):
            threading.Thread(target=_work, args=(self._queue,), daemon=True).start()

    def _result(self) -> Any:
        job, done = self._waiting.pop(0)
        if not self._threads:
            return job()
        succeeded, result = done.get()
        if not succeeded:
            self.stop()
            raise result
        return result

    def drain(self) -> Iterator[Any]:
        """Yield all results that are left, then stop the threads."""
        while self._waiting:
            yield self._result()
        self.stop()

    def stop(self) -> None:
        """Let the threads end when their jobs do; results that are left are forgotten."""
        self._waiting.clear()
        for _ in range(self._threads):
            self._queue.put(None)
        self._threads = 0


def _work(queue: Any) -> None:
    while (entry := queue.get()) is not None:
        job, done = entry
        try:
            done.put((True, job()))
        except BaseException as error:
            done.put((False, error))


def in_order(jobs: Iterable[Callable[[], Any]], threads: int) -> Iterator[Any]:
    """Yield the result of each job, in order; while one is looked at, the next are worked on."""
    pool = InOrder(threads, threads)
    try:
        for job in jobs:
            yield from pool.submit(job)
        yield from pool.drain()
    finally:
        pool.stop()
