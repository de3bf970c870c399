"""The errors that both readers share: files that are not there, not readable, or empty."""

from __future__ import annotations

from pathlib import Path

from imagemask.errors import CaseError

COPY_AGAIN = "Copy or download the file again"


def file_size(path: Path) -> int:
    """The size of a file in bytes. Raises CaseError ``missing_file``, ``unreadable_file`` or ``empty_file``."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise unreadable(path, error) from error
    if size == 0:
        raise CaseError("empty_file", "the file is empty", file=path, remedy=COPY_AGAIN)
    return size


def unreadable(path: Path, error: OSError) -> CaseError:
    """The error of a file that the system does not let us read, in the system's words."""
    code = "missing_file" if isinstance(error, FileNotFoundError) else "unreadable_file"
    remedy = "Check that the file is there and that you may read it"
    return CaseError(code, f"cannot be read: {error.strerror or error}", file=path, remedy=remedy)
