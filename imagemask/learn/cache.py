"""The pairs of a dataset decoded once, as two files of bytes that every epoch and every run maps into memory.

::

    datasets/NAME/.cache/
      DIGEST-1-256x256x1-0.images.npy    uint8, n x H x W x C, in the order of the manifest
      DIGEST-1-256x256x1-0.masks.npy     class ids, uint8, n x H x W
      .lock                              held by whoever writes; the others wait, and then find it done

DIGEST is the dataset's: other pixels have another name. Each file is written under a temporary name and renamed when it
is on the disk, so what has its name and its length is whole. While the lock is held, a temporary file is nobody's.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from io import BufferedWriter
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from imagemask import files, images, manifest
from imagemask.errors import CaseError, InputError, UsageError
from imagemask.learn import fit
from imagemask.learn.dataset import Dataset

FOLDER = ".cache"
"""The folder of a dataset that holds its caches. It can be removed at any time."""
FORMAT = 1
"""To be raised by whoever changes what pixels a cache holds."""
_LOCK, _TEMPORARY = ".lock", ".tmp"
_AT_A_TIME, _MEMORY = 64, 64 << 20  # pairs, and their bytes, in memory while a cache is written
_THREADS = 4

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Cache:
    """The decoded pairs: ``images`` (n x H x W x C, uint8) and ``masks`` (n x H x W, class ids), read-only maps.

    ``position`` is each key's row in both. ``notes`` say what a user should know. Index rows, never the whole: a map is
    read from the disk as it is looked at, and may be larger than memory.
    """

    images: np.memmap[Any, np.dtype[np.uint8]]
    masks: np.memmap[Any, np.dtype[np.uint8]]
    position: Mapping[str, int]
    notes: tuple[str, ...] = ()


class How(TypedDict, total=False):
    """What ``open_cache`` may be told besides a network's input.

    ``background`` (0) pads pictures; ``crop`` (0) is cut off them at each side (``fit.centre``); ``fallback`` is a
    folder for a dataset that cannot be written to; ``progress`` is called with the number of pairs that were decoded
    since it was called last.
    """

    background: int
    crop: float
    fallback: Path | None
    progress: Callable[[int], None] | None


def open_cache(dataset: Dataset, *, height: int, width: int, channels: int, **how: Unpack[How]) -> Cache:
    """The pairs of ``dataset`` in the form of a network's input, decoded only where no whole cache of them is there.

    Pictures of another size are fitted (``fit.fit``); grey ones are repeated for three channels. Each decoded pair is
    held against its digest. Of caches of other pixels, those in the same folder are removed once a new one is written.

    Raises InputError, naming the pair, where one is missing, damaged or not what the manifest says, and where nothing
    can be written; UsageError for a colour picture and one channel.
    """
    form = _Form(dataset, height, width, channels, how.get("background", 0), how.get("crop", 0.0))
    fallback, progress = how.get("fallback"), how.get("progress")
    notes: tuple[str, ...] = ()
    folder = dataset.folder / FOLDER
    cache = form.open_in(folder)
    with ExitStack() as held:
        if cache is None:
            try:
                _hold(folder, held)
            except InputError as error:
                if fallback is None:
                    raise
                notes = (f"{error.reason}: the decoded pictures are kept in {fallback / FOLDER}",)
                folder = fallback / FOLDER
                _hold(folder, held)
            cache = form.open_in(folder) or _written(form, folder, progress)
    return replace(cache, notes=notes)


def _hold(folder: Path, held: ExitStack) -> None:
    """Make ``folder``, and lock it until ``held`` is closed. Raises InputError where either is impossible."""
    files.make_folder(folder)
    held.enter_context(files.lock(folder / _LOCK, wait=True))


class _File(NamedTuple):
    """An .npy file of bytes: where it lies, and the shape of what it holds."""

    path: Path
    shape: tuple[int, ...]

    @property
    def header(self) -> bytes:
        """The bytes before the first value (version 1.0 of numpy's format)."""
        begin = io.BytesIO()
        np.lib.format.write_array_header_1_0(begin, {"descr": "|u1", "fortran_order": False, "shape": self.shape})
        return begin.getvalue()

    @property
    def temporary(self) -> Path:
        """Its name until it is whole."""
        return self.path.with_name(self.path.name + _TEMPORARY)

    def opened(self) -> np.memmap[Any, np.dtype[np.uint8]] | None:
        """The values, or None where the file is not there, or not whole."""
        header = self.header
        try:
            with self.path.open("rb") as file:
                whole = file.read(len(header)) == header
                whole &= os.fstat(file.fileno()).st_size == len(header) + int(np.prod(self.shape, dtype=np.int64))
                return np.memmap(file, np.uint8, "r", len(header), self.shape) if whole else None
        except OSError:
            return None


@dataclass(frozen=True, slots=True)
class _Form:
    """The pairs of a dataset in the form of a network's input."""

    dataset: Dataset
    height: int
    width: int
    channels: int
    background: int
    crop: float

    @property
    def stem(self) -> str:
        """How the names of all caches of these pixels begin, whatever their size."""
        return f"{self.dataset.digest[:16]}-{FORMAT}-"

    def places(self, folder: Path) -> tuple[_File, _File]:
        """Where images and masks lie in ``folder``."""
        size = f"{self.height}x{self.width}x{self.channels}"
        stem = f"{self.stem}{size}-{self.background}" + (f"-{self.crop!r}" if self.crop else "")
        shape = (len(self.dataset.rows), self.height, self.width)
        return (
            _File(folder / f"{stem}.images.npy", (*shape, self.channels)),
            _File(folder / f"{stem}.masks.npy", shape),
        )

    def open_in(self, folder: Path) -> Cache | None:
        """The cache in ``folder``, or None where there is no whole one."""
        pictures, masks = (file.opened() for file in self.places(folder))
        if pictures is None or masks is None:
            return None
        position = {key: number for number, key in enumerate(self.dataset.rows["key"])}
        return Cache(pictures, masks, position)

    def decoded(self, row: tuple[str, str]) -> tuple[Bytes, Bytes]:
        """Image HxWxC and mask HxW of a pair, by its key and its digest. Raises as ``open_cache``."""
        key, digest = row
        home = self.dataset.folder
        try:
            image, mask = (images.read_png(home / kind / f"{key}.png") for kind in ("images", "masks"))
        except CaseError as error:
            raise InputError(f"{home}: {key}: {error.reason}", remedy="imagemask verify lists what is wrong") from error
        if manifest.digest(image, mask) != digest:
            reason = f"{home}: {key} is not the pair that was built: its digest is another"
            raise InputError(reason, remedy="imagemask verify lists what was changed; build the dataset again")
        try:
            labels = manifest.to_labels(mask, self.dataset.document)
            picture = fit.in_channels(image, self.channels)
        except (InputError, UsageError) as error:
            raise type(error)(f"{home}: {key}: {error.reason}", remedy=error.remedy) from error
        fitted, _ = fit.fit(picture, self.height, self.width, background=self.background, crop=self.crop)
        inside = fit.fit_labels(labels, self.height, self.width, crop=self.crop)
        return np.ascontiguousarray(fitted), np.ascontiguousarray(inside)  # no view that keeps a whole picture alive


def _written(form: _Form, folder: Path, progress: Callable[[int], None] | None) -> Cache:
    """Decode everything into ``folder``, whose lock the caller holds, and open it. Raises as ``open_cache``."""
    here = form.places(folder)
    try:
        _remove(folder, _TEMPORARY)  # of runs that were killed: it makes room
        with ExitStack() as opened:
            _write(form, [opened.enter_context(file.temporary.open("wb")) for file in here], progress)
        for file in here:
            file.temporary.replace(file.path)
        _remove(folder, ".npy", but=form.stem)
    except OSError as error:
        raise files.output_error(folder, error) from error
    finally:
        with suppress(OSError):  # the next to write removes them
            _remove(folder, _TEMPORARY)
    cache = form.open_in(folder)
    if cache is None:
        raise InputError(f"{folder}: was changed while it was written", remedy="Run it again")
    return cache


def _write(form: _Form, writers: list[BufferedWriter], progress: Callable[[int], None] | None) -> None:
    """Write both files. Not through a map: on a full disk a write fails, where a map would kill the process."""
    for file, writer in zip(form.places(Path()), writers, strict=True):
        writer.write(file.header)
    rows = list(zip(form.dataset.rows["key"], form.dataset.rows["digest"], strict=True))
    some = max(1, min(_AT_A_TIME, _MEMORY // (form.height * form.width * (form.channels + 1))))
    # Threads: decoding and hashing leave Python's lock free.
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        for begin in range(0, len(rows), some):
            pairs = list(pool.map(form.decoded, rows[begin : begin + some]))
            for arrays, writer in zip(zip(*pairs, strict=True), writers, strict=True):
                writer.writelines(array.data for array in arrays)
            if progress is not None:
                progress(len(pairs))
    for writer in writers:
        writer.flush()
        os.fsync(writer.fileno())  # or a name may outlive a power cut, and its contents not


def _remove(folder: Path, suffix: str, *, but: str | None = None) -> None:
    """Remove the files that end in ``suffix``; not those that begin with ``but``. Whoever has one mapped keeps it."""
    for path in folder.iterdir():
        if path.name.endswith(suffix) and not (but and path.name.startswith(but)):
            path.unlink(missing_ok=True)
