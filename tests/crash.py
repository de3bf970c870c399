"""Runs the command line in a process group of its own, and really kills it: at the n-th rename, wherever that is.

``sitecustomize`` is imported by every Python process that starts with it on PYTHONPATH, workers included, and counts
renames in a file that all of them append to. Where one process is enough, ``Reaper`` stops it at any step, and quickly.
"""

import os
import subprocess
import sys
from pathlib import Path

import lacking

STEPS = ("replace", "rename", "link", "unlink", "mkdir", "rmdir")
HOOK = """
import os
import signal

log, at = os.environ.get("CRASH_LOG"), int(os.environ.get("CRASH_AT", "0"))
how, name = os.environ.get("CRASH_HOW"), os.environ.get("CRASH_NAME")
main = int(os.environ.get("CRASH_MAIN", "0")) or os.getpid()
os.environ["CRASH_MAIN"] = str(main)


def counted(real):
    def rename(src, dst, **kwargs):
        if (how == "worker" and os.getpid() == main) or (name and os.path.basename(os.fsdecode(dst)) != name):
            return real(src, dst, **kwargs)
        handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, b".")
        count = os.lseek(handle, 0, os.SEEK_CUR)  # where this very byte ends, whoever writes beside
        os.close(handle)
        if how == "group" and 0 < at <= count:
            os.killpg(0, signal.SIGKILL)
        if how == "worker" and count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "ctrl-c" and count == at:
            os.kill(main, signal.SIGINT)
        return real(src, dst, **kwargs)

    return rename


if log:
    os.replace, os.rename = counted(os.replace), counted(os.rename)
"""

SCRIPT = """
import sys
from imagemask.cli import main

if __name__ == "__main__":
    for command in " ".join(sys.argv[1:]).split(" then "):
        try:
            main(command.split())
        except SystemExit as end:
            if end.code:
                raise
"""


class Killed(BaseException):
    """Nothing that the code under test could catch."""


class Reaper:
    """Lets so many steps on the file system happen, and then no more, as for a process that is gone."""

    def __init__(self, monkeypatch, survives):
        self.steps, self.survives = 0, survives
        for name in STEPS:
            monkeypatch.setattr(os, name, self.counted(getattr(os, name)))

    def counted(self, real):
        def step(*args, **kwargs):
            self.steps += 1
            if self.steps > self.survives:
                raise Killed
            return real(*args, **kwargs)

        return step


def hook(folder: Path) -> Path:
    """Write the hook and the script to ``folder``."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(HOOK)
    (folder / "script.py").write_text(SCRIPT)
    return folder


def run(hooks: Path, here: Path, *commands: str, lacks: object = None, **stop):
    """Run commands, one after the other, in ``here``; ``lacks``: see ``lacking.py``; the rest: see ``start``."""
    command = [sys.executable, str(hooks / "script.py"), *" then ".join(commands).split()]
    return start(hooks, here, command if lacks is None else lacking.without(lacks, command), **stop)


def start(hooks: Path, here: Path, command: list[str], *, at: int = 0, name: str = "", how: str = "group"):
    """Run a command of Python in ``here`` until the ``at``-th rename (to ``name``), 0 for to its end.

    There the whole ``group`` of processes is killed, or that ``worker`` alone (and workers' renames alone are counted),
    or ``ctrl-c`` is pressed. Returns the finished process, and the renames it came to.
    """
    assert how in ("group", "worker", "ctrl-c")
    log = hooks / "renames"
    log.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(hooks), "CRASH_LOG": str(log), "CRASH_AT": str(at)}
    environment.update(CRASH_HOW=how, CRASH_NAME=name)
    environment.pop("CRASH_MAIN", None)
    done = subprocess.run(
        command,
        cwd=here,
        env=environment,
        start_new_session=True,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return done, log.stat().st_size if log.exists() else 0
