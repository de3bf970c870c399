"""A named pipe where a file should be, and a watch over it: whoever opens it waits, and fails instead of hanging."""

import contextlib
import os
import signal

PATIENCE = 300  # seconds until a test that waits is taken to wait for ever


@contextlib.contextmanager
def fifo(path):
    """A pipe at ``path``, in place of what lies there. Whoever opens it meanwhile is let go at last, and it fails."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)

    def let_go(_number, _frame):
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
        raise TimeoutError(f"{path} was opened")

    before = signal.signal(signal.SIGALRM, let_go)
    signal.alarm(PATIENCE)
    try:
        yield path
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
