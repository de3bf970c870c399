"""What the benchmarks share: every side in a fresh process, in turn; medians over the rounds, of ratios within a round.

A benchmark is one script. As a child it imports what its side needs, then calls ``report``, which times the work and
watches its memory; as a parent it calls ``in_turn``. Ratios are what counts: seconds belong to one machine on one day.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

Took = dict[str, float]
_MIB = 1 << 20


def report(work: Callable[[], Mapping[str, float] | None]) -> None:
    """Do ``work`` once and print what it took: seconds, processor seconds, and MiB at the peak beyond those before.

    ``work`` may return figures of its own. Import everything before: that is not the work.
    """
    before = _memory("VmRSS")
    begin, busy = time.perf_counter(), time.process_time()
    extra = work()
    took = {"seconds": time.perf_counter() - begin, "processor": time.process_time() - busy}
    print(json.dumps({**took, "memory": _memory("VmHWM") - before, **(extra or {})}))


def put(path: Path, data: bytes) -> None:
    """Write a file as a floor does: by the system's own calls, as a build writes it, and without its rename."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    assert os.write(descriptor, data) == len(data)
    os.close(descriptor)


def _memory(field: str) -> float:
    """MiB of this process now (VmRSS) or at its peak (VmHWM). Unlike ru_maxrss it forgets who started the process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024 / _MIB


def in_turn(
    script: str, sides: Mapping[str, Sequence[object]], *, rounds: int, after: Callable[[], None] = lambda: None
) -> dict[str, list[Took]]:
    """Run ``script`` with the arguments of each side: A B C, A B C, ...; what each round took, by side.

    ``process`` is the time of the whole process, interpreter and imports included. ``after`` is called, off the clock,
    when a process has ended.
    """
    took: dict[str, list[Took]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, arguments in sides.items():
            took[side].append(once(script, arguments))
            after()
    return took


def mid(took: Sequence[Took], name: str = "seconds") -> float:
    """The median of one figure over the rounds."""
    return median(one[name] for one in took)


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """The median of the ratios within each round: a machine that slows down half-way slows both sides of a round."""
    return median(one / other for one, other in zip(slow, fast, strict=True))


def each(took: Sequence[Took], name: str = "seconds") -> list[float]:
    """One figure, round by round."""
    return [one[name] for one in took]


def once(script: str, arguments: Sequence[object]) -> Took:
    """One run of ``script`` in a fresh process."""
    os.sync()  # what others have written goes to the disk now, and not while the clock runs
    begin = time.perf_counter()
    command = [sys.executable, script, *map(str, arguments)]
    quiet = {**os.environ, "OPENCV_LOG_LEVEL": "ERROR"}  # it remarks on every float64 that the seeds hand it
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=quiet)
    process = time.perf_counter() - begin
    return {"process": process, **json.loads(done.stdout)}


def command(*words: object, cwd: Path) -> None:
    """Run ``imagemask`` in a folder. Raises RuntimeError with what it said where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "imagemask", *map(str, words)], cwd=cwd, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)


def line(what: str, value: float, unit: str = "x") -> str:
    """A line of figures that nothing was promised of."""
    return f"  {what:52} {value:8.2f}{unit}"


def judged(what: str, value: float, goal: float, *, least: bool = True, unit: str = "x") -> str:
    """A line: what, the figure, the goal, and PASS or by how much it is missed."""
    reached = value >= goal if least else value <= goal
    verdict = "PASS" if reached else f"short by {abs(1 - value / goal):.0%}"
    return f"{line(what, value, unit)}   goal: {'at least' if least else 'under'} {goal:g}{unit}   {verdict}"


class Memory:
    """The largest memory of a process and all that it started, in MiB: what is shared counts once (PSS)."""

    def __init__(self, root: int) -> None:
        self.peak, self._root, self._ended = 0.0, root, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        self._ended.set()
        self._thread.join()
        return self.peak

    def _watch(self) -> None:
        while not self._ended.wait(0.25):
            self.peak = max(self.peak, sum(map(self._of, self._family())))

    def _family(self) -> set[int]:
        parents = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                text = path.read_text()
            except OSError:
                continue
            parents[int(path.parent.name)] = int(text.rpartition(")")[2].split()[1])
        family = {self._root}
        while more := {child for child, parent in parents.items() if parent in family} - family:
            family |= more
        return family

    @staticmethod
    def _of(process: int) -> float:
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            return 0.0
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


class Idleness:
    """Which part of the machine's time was idle since this was made: what else ran there shows in no other figure."""

    def __init__(self) -> None:
        self._begin = self._ticks()

    def share(self) -> float:
        """From 0 to 1."""
        total, idle = (now - then for now, then in zip(self._ticks(), self._begin, strict=True))
        return idle / total if total else 0.0

    @staticmethod
    def _ticks() -> tuple[int, int]:
        """All ticks of all processors, and the idle ones (proc(5): idle and iowait)."""
        numbers = [int(number) for number in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
        return sum(numbers[:8]), numbers[3] + numbers[4]


def machine() -> str:
    """The processor, how many of it, how busy they were at the start, and the Python."""
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    name = model.partition(":")[2].strip() or platform.machine()
    load = os.getloadavg()[0]
    return f"{name}, {len(os.sched_getaffinity(0))} cores, load {load:.1f}, Python {platform.python_version()}"


def crews(workers: int, *begin: object, end: Sequence[object] = ()) -> dict[str, Sequence[object]]:
    """The sides of one worker against several: one, several, and one that has no thread beside."""
    return {size: (*begin, size, *end) for size in ("1", str(workers), "bare")}


def print_crews(took: Mapping[str, Sequence[Took]], *, goal: float) -> None:
    """The lines of one worker against several: ``took`` by the sides of ``crews``.

    ``cases`` are the seconds of the work, ``start`` those of starting the workers, ``idle`` the machine's idle share.
    """
    (_, one), (workers, several), (_, bare) = took.items()
    quiet = f"the machine {mid(one, 'idle'):.0%} idle (with two cores and nothing else running: 50%)"
    print(f"    1 worker  {mid(one, 'cases'):7.3f} s, {quiet}")
    print(f"    {workers} workers {mid(several, 'cases'):7.3f} s, after {mid(several, 'start'):.2f} s to start them")
    print(f"    1 worker  {mid(bare, 'cases'):7.3f} s without a thread beside")
    speed, even = (ratio(each(side, "cases"), each(several, "cases")) for side in (one, bare))
    print(judged(f"speed of {workers} workers against one", speed, goal))
    print(line("against one without a thread beside", even))
