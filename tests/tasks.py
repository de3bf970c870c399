"""Tasks that a worker process can import."""

import os
import signal
from pathlib import Path

from imagemask import pool


def double(task):
    return task * 2


def fail_at_three(task):
    if task == 3:
        raise ValueError("three")
    return task


def die_at_three(task):
    if task == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def die_once(folder, task):
    """Dies at task 3, unless it has died before."""
    mark = Path(folder) / "died"
    if task == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def dead(task):
    return -task


def has_a_thread(_):
    """Whether what can wait is done beside a worker's own work."""
    with pool.beside() as executor:
        return not isinstance(executor, pool.InProcess)


def fail_to_start(workers):
    raise ImportError("libGL.so.1")
