"""Runs cases side by side, and outlives the death of a worker.

``executor`` is the one place that makes a ``concurrent.futures.Executor``: a cluster's (Dask's
``client.get_executor()``, mpi4py's) can be put in its place.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import connection, get_all_start_methods, get_context, parent_process
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

MAKE = Callable[[int], Executor]


class InProcess(Executor):
    """Runs each call at once, in this process: what one worker means."""

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """The finished future of ``fn(*args, **kwargs)``."""
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  the future's reader raises it
            future.set_exception(error)
        return future


def executor(workers: int) -> Executor:
    """An executor of ``workers`` processes, or of this very process for one."""
    return InProcess() if workers == 1 else _processes(workers)


def _processes(workers: int) -> Executor:
    # Never fork: a forked OpenCV hangs. A fork server starts a worker faster than spawn where the system has one.
    method = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
    return ProcessPoolExecutor(workers, mp_context=get_context(method), initializer=_start_worker)


def _start_worker() -> None:
    """Ctrl-C is the parent's to handle; one OpenCV thread a worker; die with the parent, however it dies."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True).start()


def _die_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


def run(
    call: Callable[[T], R], tasks: Iterable[T], *, workers: int, died: Callable[[T], R], make: MAKE = executor
) -> Iterator[R]:
    """``call(task)`` of each task, in the order in which they end.

    When a worker dies, everything that was in flight is run again, each alone in a pool of one; for a task that dies
    alone ``died(task)`` is yielded instead. An exception of ``call`` is raised here, after the tasks in hand.
    """
    waiting = iter(tasks)
    while True:
        pool = make(workers)
        lost: list[T] = []
        try:
            yield from _drain(pool, call, waiting, window=2 * workers, lost=lost)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        if not lost:
            return
        for task in lost:
            yield _alone(call, task, died)


def _drain(pool: Executor, call: Callable[[T], R], waiting: Iterator[T], *, window: int, lost: list[T]) -> Iterator[R]:
    """Results until the tasks end or the pool breaks; then ``lost`` holds what was in flight."""
    running: dict[Future[R], T] = {}
    broken = False
    while True:
        if not broken:
            for task in islice(waiting, window - len(running)):
                try:
                    running[pool.submit(call, task)] = task
                except BrokenProcessPool:
                    broken = True
                    lost.append(task)
                    break
        if not running:
            return
        ended, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in ended:
            task = running.pop(future)
            if isinstance(future.exception(), BrokenProcessPool):
                broken = True
                lost.append(task)
            else:
                yield future.result()


def _alone(call: Callable[[T], R], task: T, died: Callable[[T], R]) -> R:
    with _processes(1) as pool:
        try:
            return pool.submit(call, task).result()
        except BrokenProcessPool:
            return died(task)


def default_workers(bytes_per_worker: int) -> int:
    """As many workers as there are processors to run on, and memory for: half of what is free now."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(processors, free_memory() // 2 // max(bytes_per_worker, 1)))


def free_memory() -> int:
    """Bytes of memory that can be had without swapping."""
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
