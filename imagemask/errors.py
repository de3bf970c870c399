"""The error tree. Every error says what is wrong, where, and what to do about it.

::

    ImagemaskError
    ├── UsageError        refused before any work                              exit 2
    ├── InputError        the input or the output cannot be used               exit 4
    └── CaseError         one case cannot be built: it is quarantined and the build goes on

``cli`` turns the first two into one line on stderr and their ``exit_code``. A ``CaseError`` never leaves
``build``: it becomes one line of ``quarantine.csv`` (or an ``InputError`` under ``--fail-fast``). Anything that is not
in this tree is a bug, and ends with a traceback and exit code 1.

Two exit codes are results and not errors: 3 (finished, with quarantined cases) and 5 (findings).
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

FINISHED_WITH_QUARANTINE = 3
FINDINGS = 5

_AT_ITS_END = {errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT}
_NO_THREAD = "can't start new thread"  # a RuntimeError of CPython, which has no number
_NO_MEMORY = "(-4:"  # OpenCV's StsNoMem. Its errors' `code` is the class's: that of the last one, of any thread


class ImagemaskError(Exception):
    """What is wrong, with the offending value and the place; and the remedy, as a sentence.

    ``str(error)`` is the one line that a user sees.
    """

    exit_code = 1

    def __init__(self, reason: str, *, remedy: str = "") -> None:
        super().__init__(reason, remedy)
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        if not self.remedy:
            return self.reason
        end = "" if self.reason.endswith(("?", "!", ".")) else "."
        return f"{self.reason}{end} {self.remedy}"

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker's error travels by pickle, which would call __init__ without its keywords.
        return _remake, (type(self), self.args, self.__dict__)


def _remake(kind: type[ImagemaskError], args: tuple[Any, ...], state: dict[str, Any]) -> ImagemaskError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class UsageError(ImagemaskError):
    """Refused before any work: a bad option, no grouping, another recipe, a missing extra."""

    exit_code = 2


class InputError(ImagemaskError):
    """The input or the output cannot be used: missing, damaged, read-only, full, nothing built."""

    exit_code = 4


class CaseError(ImagemaskError):
    """One case cannot be built.

    ``code`` is a stable word (``truncated_gzip``, ``grid_mismatch``, ...), listed in docs/failures.md; ``file`` is the
    file at fault (a missing one included), or None where it is the case as a whole; ``stage`` is where it showed:
    ``read``, ``pixels`` or ``write``.
    """

    def __init__(
        self, code: str, reason: str, *, file: Path | None = None, remedy: str = "", stage: str = "read"
    ) -> None:
        super().__init__(reason, remedy=remedy)
        self.code = code
        self.file = file
        self.stage = stage


def exhausted(error: BaseException | None) -> str:
    """What the machine lacks, where that is why ``error`` was raised, or one of its causes; "" where it is not.

    Memory, as Python says it or OpenCV; threads; file handles; a disk in the network that does not answer: no case's
    fault.
    """
    while error is not None:
        if isinstance(error, MemoryError) or (type(error).__module__ == "cv2" and _NO_MEMORY in str(error)):
            return "out of memory"
        if isinstance(error, RuntimeError) and _NO_THREAD in str(error):
            return _NO_THREAD
        if isinstance(error, OSError) and error.errno in _AT_ITS_END:
            return error.strerror or str(error)
        error = error.__cause__
    return ""
