"""Runs cases side by side, and outlives the death of a worker.

``run`` takes whatever makes a ``concurrent.futures.Executor``: ``processes``, or a cluster's in its place (Dask's
``client.get_executor()``, mpi4py's).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager, suppress
from functools import cache
from itertools import islice
from multiprocessing import connection, get_all_start_methods, get_context, parent_process
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from imagemask.errors import InputError

T = TypeVar("T")
R = TypeVar("R")

_GROUPS = Path("/sys/fs/cgroup")  # cgroups(7), version 2
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_SMALL = 1 << 19
"""Bytes that are hashed in the time that a thread needs to start and to end."""

Make = Callable[[int], Executor]
"""Makes an executor of so many workers."""


class InProcess(Executor):
    """Runs each call at once, in this very process, which a call that kills its process takes along."""

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """The finished future of ``fn(*args, **kwargs)``."""
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  the future's reader raises it
            future.set_exception(error)
        try:
            return future
        finally:  # the error knows this frame: it and what it was given would stay until somebody looks for circles
            del future, args, kwargs


def in_process(workers: int) -> Executor:  # noqa: ARG001  the signature of Make
    """An executor of this very process, however many workers are asked for."""
    return InProcess()


def processes(workers: int) -> Executor:
    """An executor of ``workers`` processes."""
    # Never fork: a forked OpenCV hangs. A fork server starts a worker faster than spawn where the system has one.
    method = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
    return ProcessPoolExecutor(workers, mp_context=get_context(method), initializer=_start_worker, initargs=(workers,))


def _start_worker(workers: int) -> None:
    """Ctrl-C is the parent's to handle; die with the parent, however it dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True).start()
    settle(workers)


def settle(workers: int = 1) -> None:
    """Make this process one of so many workers: one OpenCV thread, and memory that is kept.

    The GNU allocator gives the pages of large arrays back as they are freed, and the next ones are zeroed and mapped
    again: an eighth of what a picture costs. Now those of up to 32 MiB stay, never more than a case has needed at once;
    of what is free at the end of the heap, what is beyond 128 MiB goes back.
    """
    import cv2

    _Crew.workers = workers
    cv2.setNumThreads(1)
    with suppress(OSError, AttributeError, TypeError):  # another system's allocator
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 128 << 20)


class _Crew:
    """What this process knows of the workers beside it."""

    workers = 1


def beside() -> Executor:
    """For what need not wait its turn: a thread, or none where every processor has its worker already.

    There a thread only takes from the others what it gives to one.
    """
    return _Spare() if _Crew.workers < _processors() else InProcess()


class _Spare(Executor):
    """A thread that takes a call whenever it has none; else whoever asks runs it, at once, so that nothing piles up."""

    def __init__(self) -> None:
        self._thread: Executor | None = ThreadPoolExecutor(1)
        self._last: Future[Any] | None = None

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """The future of ``fn(*args, **kwargs)``, finished where the thread was busy. To be called by one thread."""
        if self._thread is None or not (self._last is None or self._last.done()):
            return InProcess().submit(fn, *args, **kwargs)
        try:
            self._last = future = self._thread.submit(fn, *args, **kwargs)
        except RuntimeError:  # the machine has no thread to give, and nothing needs one
            self._thread = None  # nor is it asked again: it would run what it was given now, too
            return self.submit(fn, *args, **kwargs)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for the thread."""
        if self._thread is not None:
            self._thread.shutdown(wait, cancel_futures=cancel_futures)


def _die_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


def begin(executor: Executor, size: int, call: Callable[..., R], /, *given: Any) -> Future[R]:
    """``call(*given)``, over so many bytes: by ``executor``, or at once where a thread of its would gain nothing."""
    return (executor if size >= _SMALL else InProcess()).submit(call, *given)


def run(
    call: Callable[[T], R], tasks: Iterable[T], *, workers: int, died: Callable[[T], R], make: Make = processes
) -> Iterator[R]:
    """``call(task)`` of each task, in the order in which they end.

    When a worker dies, everything that was in flight is run again, each alone in an executor of one; for a task that
    dies alone ``died(task)`` is yielded instead. An exception of ``call`` is raised here, after the tasks in hand.
    Raises InputError where not even a worker without a task stays alive, or where none can be started.
    """
    waiting = iter(tasks)
    with _remembering_ctrl_c() as look:
        while True:
            pool = make(workers)
            lost: list[T] = []
            try:
                for result in _drain(pool, call, waiting, window=2 * workers, lost=lost):
                    look()
                    yield result
            finally:
                with suppress(RuntimeError):  # it waits for a thread that could not be started, too
                    pool.shutdown(wait=True, cancel_futures=True)
            if not lost:
                return
            for task in lost:
                yield _alone(call, task, died, make)


@contextmanager
def _remembering_ctrl_c() -> Iterator[Callable[[], None]]:
    """What raises KeyboardInterrupt if Ctrl-C was pressed meanwhile, and nothing came of it.

    For Python drops an exception that strikes while it clears up: in a callback of a weak reference, in ``__del__``.
    It prints that it did, which nobody needs to read who gets the exception a moment later.
    """
    pressed: list[int] = []
    told = sys.unraisablehook

    def tell(dropped: sys.UnraisableHookArgs) -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            told(dropped)

    def remember(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        signal.default_int_handler(number, frame)

    def look() -> None:
        if pressed:
            raise KeyboardInterrupt

    mine = threading.current_thread() is threading.main_thread()
    mine = mine and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if mine:
        signal.signal(signal.SIGINT, remember)
        sys.unraisablehook = tell
    try:
        yield look
    finally:
        if mine:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.unraisablehook = told


def _drain(pool: Executor, call: Callable[[T], R], waiting: Iterator[T], *, window: int, lost: list[T]) -> Iterator[R]:
    """Results until the tasks end or the pool breaks; then ``lost`` holds what was in flight."""
    running: dict[Future[R], T] = {}
    broken = False
    while True:
        if not broken:
            for task in islice(waiting, window - len(running)):
                try:
                    running[pool.submit(call, task)] = task
                except BrokenExecutor:
                    broken = True
                    lost.append(task)
                    break
                except RuntimeError as error:  # no thread, to look after them
                    raise _cannot_start(f": {error}") from error
        if not running:
            return
        ended, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in ended:
            task = running.pop(future)
            if isinstance(future.exception(), BrokenExecutor):
                broken = True
                lost.append(task)
            else:
                yield future.result()


def _alone(call: Callable[[T], R], task: T, died: Callable[[T], R], make: Make) -> R:
    with make(1) as pool:
        try:
            pool.submit(os.getpid).result()
        except BrokenExecutor as error:
            raise _cannot_start() from error
        try:
            return pool.submit(call, task).result()
        except BrokenExecutor:
            return died(task)


def _cannot_start(why: str = "") -> InputError:
    return InputError(
        f"worker processes cannot start{why}", remedy="Give --workers 1, which works in this process and says why"
    )


def default_workers(bytes_per_worker: int) -> int:
    """As many workers as there are processors to run on, and memory for: half of what is free now."""
    return max(1, min(processors(), free_memory() // 2 // max(bytes_per_worker, 1)))


def processors() -> int:
    """Processors that this process may use: by its affinity, and by the quotas of its cgroups (version 2)."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = (_text(group / "cpu.max").partition(" ") for group in _groups())
    quotas = (int(quota) // int(period) for quota, _, period in limits if quota.isdigit() and period.isdigit())
    return max(1, min([count, *quotas]))


@cache
def _processors() -> int:
    return processors()


def free_memory() -> int:
    """Bytes of memory that can be had without swapping, within the limits of this process' cgroups (version 2)."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    free = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable:"))
    left = (_left_to(group) for group in _groups())
    return max(0, min([int(free.split()[1]) * 1024, *(one for one in left if one is not None)]))


def _left_to(group: Path) -> int | None:
    """Bytes of memory, None where there is no limit."""
    limit, used = _text(group / "memory.max"), _text(group / "memory.current")
    if not (limit.isdigit() and used.isdigit()):
        return None
    # Pages of files that nobody reads any more count as used, up to the limit, and are given up before all else.
    idle = dict(line.split() for line in _text(group / "memory.stat").splitlines()).get("inactive_file", "0")
    return int(limit) - max(0, int(used) - int(idle))


def _groups() -> list[Path]:
    """The cgroup of this process, which is a container's or a cluster job's, and those it lies in."""
    lines = _text(Path("/proc/self/cgroup")).splitlines()
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    return [_GROUPS.joinpath(*Path(own).parts[:depth]) for depth in range(len(Path(own).parts) + 1)]


def _text(path: Path) -> str:
    try:
        return os.fsdecode(path.read_bytes()).strip()  # the name of a group is any bytes
    except OSError:
        return ""
