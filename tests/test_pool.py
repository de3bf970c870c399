"""Cases side by side: every result once, whatever dies."""

import gc
import os
import signal
import sys
import threading
import weakref
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import pytest
import tasks
from tasks import dead, die_at_three, die_once, double, fail_at_three

from imagemask import pool
from imagemask.errors import InputError


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_is_done_once(workers):
    assert sorted(pool.run(double, range(20), workers=workers, died=dead)) == list(range(0, 40, 2))


def test_one_worker_is_this_very_process():
    assert set(pool.run(lambda _: os.getpid(), range(3), workers=1, died=dead, make=pool.in_process)) == {os.getpid()}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_is_raised_here(workers):
    with pytest.raises(ValueError, match="three"):
        list(pool.run(fail_at_three, range(20), workers=workers, died=dead))


def fail_with(_):
    raise ValueError


class Weak:
    """Something to refer to weakly."""


def interrupted_while_clearing_up(task):
    """Ctrl-C in a callback of a weak reference: Python would print the KeyboardInterrupt, and drops it."""
    if task == 2:
        one = Weak()
        weakref.finalize(one, signal.raise_signal, signal.SIGINT)
        del one
    return task


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_counts_where_python_drops_it():
    with pytest.raises(KeyboardInterrupt):
        list(pool.run(interrupted_while_clearing_up, range(9), workers=1, died=dead, make=pool.in_process))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_else_python_drops_is_still_printed(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    list(pool.run(failing_while_clearing_up, range(9), workers=1, died=dead, make=pool.in_process))
    assert [one.exc_type for one in told] == [ZeroDivisionError]
    assert sys.unraisablehook == told.append


def failing_while_clearing_up(task):
    if task == 2:
        one = Weak()
        weakref.finalize(one, divmod, 1, 0)
        del one
    return task


def test_a_task_that_kills_its_worker_every_time_is_given_up_and_no_other():
    assert sorted(pool.run(die_at_three, range(12), workers=2, died=dead)) == [-3, 0, 1, 2, *range(4, 12)]


def test_a_task_that_kills_its_worker_once_is_done(tmp_path):
    found = pool.run(partial(die_once, str(tmp_path)), range(12), workers=2, died=dead)
    assert sorted(found) == list(range(12))


def test_workers_that_cannot_start_are_not_the_tasks_fault(monkeypatch):
    monkeypatch.setattr(pool, "_start_worker", tasks.fail_to_start)
    with pytest.raises(InputError, match="worker processes cannot start. Give --workers 1"):
        list(pool.run(double, range(3), workers=2, died=dead))


def test_a_worker_has_one_thread_of_opencv():
    with pool.processes(1) as executor:
        assert executor.submit(cv2.getNumThreads).result() == 1


@pytest.mark.parametrize("spare", [0, 1])
def test_workers_have_a_thread_beside_them_only_where_processors_are_to_spare(spare):
    workers = max(1, pool.processors() - spare)
    with pool.processes(workers) as executor:
        assert executor.submit(tasks.has_a_thread, None).result() == (workers < pool.processors())


def test_a_process_that_is_no_worker_of_a_pool_is_one_beside_which_there_is_none():
    assert tasks.has_a_thread(None) == (pool.processors() > 1)


class Gate(threading.Event):
    """Opens by itself when a test goes wrong: after five minutes, or when its block is left."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.set()

    def wait(self):
        return super().wait(300) and "opened"


def test_a_spare_thread_takes_a_call_whenever_it_has_none_and_whoever_asks_runs_the_others():
    here = threading.get_ident()
    with pool._Spare() as beside, Gate() as gate:
        for _ in range(3):
            waiting = beside.submit(gate.wait)
            assert not waiting.done()
            at_once = [beside.submit(threading.get_ident), beside.submit(fail_at_three, 3)]
            assert [future.done() for future in at_once] == [True, True]
            assert at_once[0].result() == here
            with pytest.raises(ValueError, match="three"):
                at_once[1].result()
            assert not waiting.done()
            gate.set()
            assert waiting.result() == "opened"
            assert beside.submit(threading.get_ident).result() != here
            gate.clear()


def test_a_spare_thread_has_ended_what_it_was_given_when_it_is_left():
    ended = []
    with pool._Spare() as beside, Gate() as gate:
        beside.submit(lambda: ended.append(gate.wait()))
    assert ended == ["opened"]


def test_where_the_machine_has_no_thread_to_give_each_call_is_run_once_by_whoever_asks(monkeypatch):
    def refused(_):
        raise RuntimeError("can't start new thread")

    ran = []
    with pool._Spare() as beside:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refused)
            assert beside.submit(ran.append, 1).done()
        assert beside.submit(ran.append, 2).done()
    assert ran == [1, 2]


class Unattended(Executor):
    """As an executor of processes is where the thread that looks after them cannot be started."""

    def submit(self, *_):
        raise RuntimeError("can't start new thread")

    def shutdown(self, **_):
        raise RuntimeError("cannot join thread before it is started")


def test_workers_that_cannot_be_looked_after_are_an_error_in_words():
    with pytest.raises(InputError, match="worker processes cannot start: can't start new thread. Give --workers 1"):
        list(pool.run(double, range(3), workers=2, died=dead, make=lambda _: Unattended()))


def test_what_is_done_beside_in_this_very_thread_keeps_its_error():
    with pool.InProcess() as beside, pytest.raises(ValueError, match="three"):
        beside.submit(fail_at_three, 3).result()


def test_an_error_in_this_very_thread_keeps_nothing_of_what_was_given():
    given = Weak()
    gone = weakref.ref(given)
    gc.disable()
    try:
        future = pool.InProcess().submit(fail_with, given)
        del given, future
        assert gone() is None
    finally:
        gc.enable()


def test_another_executor_takes_its_place():
    made: list[Executor] = []

    def make(workers):
        made.append(ThreadPoolExecutor(workers))
        return made[-1]

    assert sorted(pool.run(double, range(5), workers=2, died=dead, make=make)) == [0, 2, 4, 6, 8]
    assert len(made) == 1


def test_tasks_are_drawn_as_they_are_needed():
    drawn = []

    def endless():
        for task in range(100):
            drawn.append(task)
            yield task

    results = pool.run(double, endless(), workers=1, died=dead, make=pool.in_process)
    next(results)
    assert len(drawn) <= 4


def test_workers_are_bounded_by_processors_and_by_half_of_the_memory(monkeypatch):
    assert pool.default_workers(1) == pool.processors() <= len(os.sched_getaffinity(0))
    assert pool.default_workers(1 << 60) == 1
    assert pool.free_memory() > 1 << 20
    monkeypatch.setattr(pool, "processors", lambda: 8)
    monkeypatch.setattr(pool, "free_memory", lambda: 1000)
    assert [pool.default_workers(each) for each in (1, 62, 63, 250, 251, 501)] == [8, 8, 7, 2, 1, 1]


CGROUPS = Path("/sys/fs/cgroup")
GIB = 1 << 30
FULL = {"memory.max": f"{4 * GIB}", "memory.current": f"{4 * GIB}"}
HALF = {"memory.max": f"{4 * GIB}", "memory.current": f"{2 * GIB}"}
CACHED = {"memory.stat": f"anon {GIB}\nfile {3 * GIB}\ninactive_file {2 * GIB}\nactive_file {GIB}"}


def cpu(tenths):
    return {"cpu.max": f"{tenths}0000 100000"}


@pytest.mark.skipif(not Path("/proc/meminfo").is_file(), reason="of Linux")
@pytest.mark.parametrize(
    ("own", "groups", "processors", "free"),
    [
        (None, {}, 8, 6),
        (b"/", {"": {"cpu.max": "max 100000", "memory.max": "max", "memory.current": "5"}}, 8, 6),
        (b"/", {"": {"cpu.max": "100000", "memory.max": "5"}}, 8, 6),  # of another form
        (b"/", {"": {**cpu(25), "memory.max": f"{9 * GIB}", "memory.current": f"{GIB}"}}, 2, 6),
        (b"/", {"": {**cpu(5), **HALF}}, 1, 2),
        (b"/", {"": {**cpu(90), **FULL}}, 8, 0),
        (b"/", {"": {**FULL, "memory.current": f"{5 * GIB}"}}, 8, 0),
        (b"/", {"": {**FULL, **CACHED}}, 8, 2),
        (b"/", {"": {**FULL, **CACHED, "memory.current": f"{GIB}"}}, 8, 4),  # the two are not read at one time
        (b"/batch/job_7/step_0", {"batch/job_7": {**cpu(30), **FULL, **CACHED}}, 3, 2),
        (b"/a/b/c", {"a/b/c": {**cpu(30), **FULL}, "a": {**cpu(40), **HALF}}, 3, 0),
        (b"/a/b/c", {"a/b/c": {**cpu(30), **HALF}, "a": {**cpu(20), **FULL}}, 2, 0),
        (b"/docker/another", {"": cpu(10)}, 1, 6),
        (b"/caf\xe9", {"": cpu(10)}, 1, 6),
    ],
)
def test_the_limits_of_a_container_or_a_cluster_s_job_count(monkeypatch, own, groups, processors, free):
    """``own``: the process' group as the kernel names it, None where there is none of version 2; ``free`` in GiB."""
    known = {CGROUPS / name / file: text.encode() for name, told in groups.items() for file, text in told.items()}
    known[Path("/proc/self/cgroup")] = b"4:memory:/other" if own is None else b"4:memory:/other\n0::" + own

    def read(path):
        if path not in known:
            raise PermissionError(path) if path.name == "memory.stat" else FileNotFoundError(path)
        return known[path] + b"\n"

    monkeypatch.setattr(Path, "read_bytes", read)
    monkeypatch.setattr(Path, "read_text", lambda path: f"MemTotal:  99 kB\nMemAvailable:   {6 << 20} kB\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert (pool.processors(), pool.free_memory()) == (processors, free * GIB)
