"""Runs the command line in a process group of its own, and really kills it: at the n-th rename, wherever that is.

``sitecustomize`` is imported by every Python process that starts with it on PYTHONPATH, workers included, and counts
renames in a file that all of them append to. Where one process is enough, ``Reaper`` stops it at any step, and quickly.
"""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

STEPS = ("replace", "rename", "link", "unlink", "mkdir", "rmdir")
HOOK = """
import os
import signal

log, at = os.environ.get("CRASH_LOG"), int(os.environ.get("CRASH_AT", "0"))
worker_only = os.environ.get("CRASH_WORKER") == "1"
main = int(os.environ.get("CRASH_MAIN", "0")) or os.getpid()
os.environ["CRASH_MAIN"] = str(main)


def counted(real):
    def rename(*args, **kwargs):
        if worker_only and os.getpid() == main:
            return real(*args, **kwargs)
        handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, b".")
        count = os.fstat(handle).st_size
        os.close(handle)
        if worker_only and count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        if not worker_only and 0 < at <= count:
            os.killpg(0, signal.SIGKILL)
        return real(*args, **kwargs)

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


def obey_permissions():
    """To be called in a child before it starts: root too obeys permissions, having given up what lets it pass."""
    read_write, read_search, drop_from_bounding_set = 1, 2, 24  # linux/capability.h, linux/prctl.h
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (read_write, read_search):
            if libc.prctl(drop_from_bounding_set, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "this root cannot give up its powers")


def hook(folder: Path) -> Path:
    """Write the hook and the script to ``folder``."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(HOOK)
    (folder / "script.py").write_text(SCRIPT)
    return folder


def run(hooks: Path, here: Path, *commands: str, at: int = 0, worker: bool = False, **given):
    """Run commands, one after the other, in ``here``; killed at the ``at``-th rename, 0 for never.

    Returns the finished process, and the number of renames it came to.
    """
    log = hooks / "renames"
    log.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(hooks), "CRASH_LOG": str(log), "CRASH_AT": str(at)}
    environment["CRASH_WORKER"] = "1" if worker else "0"
    environment.pop("CRASH_MAIN", None)
    done = subprocess.run(
        [sys.executable, str(hooks / "script.py"), *" then ".join(commands).split()],
        cwd=here,
        env=environment,
        start_new_session=True,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        **given,
    )
    return done, log.stat().st_size if log.exists() else 0
