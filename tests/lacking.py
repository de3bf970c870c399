"""Starts a command in a process that lacks something: ``python lacking.py permissions COMMAND``, or ``900 COMMAND``.

Not by Popen's ``preexec_fn``: what runs between fork and exec may wait for ever for a thread that was not forked.
"""

import ctypes
import os
import sys
from pathlib import Path


def without(what, command):
    """``command``, for a process without root's permissions, or unable to write files of more than so many bytes."""
    return [sys.executable, str(Path(__file__).resolve()), str(what), *command]


def obey_permissions():
    """Root too obeys permissions in what it starts, having given up what lets it pass."""
    read_write, read_search, drop_from_bounding_set = 1, 2, 24  # linux/capability.h, linux/prctl.h
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (read_write, read_search):
            if libc.prctl(drop_from_bounding_set, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "this root cannot give up its powers")


def main(what, *command):
    if what == "permissions":
        obey_permissions()
    else:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (int(what), int(what)))
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
