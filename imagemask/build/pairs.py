"""The pairs of a case: what a slice is written as, and writing them, in part beside what is done next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from imagemask import files, manifest, pool
from imagemask.types import Recipe, Row, Slice, Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from imagemask.augment import Variant

IMAGES, MASKS = "images", "masks"
_AT_ONCE = 1 << 21
"""Bytes of pairs, four CT slices, that are handed over to be finished; a photograph has as many by itself. With fewer a
lone worker ends short cases sooner, and two workers do less than 1.7 times as much as it (docs/benchmarks.md).
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """Pixels as they are written, and where they come from in the source slice."""

    variant: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    counts: tuple[int, ...]
    """Pixels of each class id, the background first."""
    box: tuple[int, int, int, int]
    pad: tuple[int, int, int, int]
    spacing: tuple[float, float] | None
    flags: tuple[str, ...]
    digest: str = ""
    """Where it had to be known, to compare variants."""


class Finished(NamedTuple):
    """What is known of a pair when it has been written: its digest, and the bytes of its files."""

    digest: str
    sizes: tuple[int, int]


@dataclass(slots=True)
class Writing:
    """The pairs of a case, as they are written into ``dataset``: the image by whoever adds a pair, and ``beside`` what
    is done next its digest is made and its mask written; those of the last few at the end.

    ``rows`` are the records of what is on the disk, or may be.
    """

    dataset: Path
    beside: Executor
    rows: list[dict[str, Any]]
    _images: list[int] = field(default_factory=list)
    _waiting: list[tuple[str, Pair]] = field(default_factory=list)
    _bytes: int = 0
    _due: deque[Future[list[tuple[str, int]]]] = field(default_factory=deque)
    _ended: list[tuple[str, int]] = field(default_factory=list)

    def add(self, row: Row, pair: Pair) -> None:
        """Write a pair under its final names. Raises InputError where its image cannot be written, or a mask that was
        handed over could not be.
        """
        from imagemask import images

        self.rows.append(manifest.record(row))
        self._waiting.append((row.key, pair))
        self._bytes += pair.image.nbytes + pair.mask.nbytes
        if self._bytes >= _AT_ONCE or isinstance(self.beside, pool.InProcess):
            self._hand_over()
        while self._due and (self._due[0].done() or _has_failed(self._due[-1])):
            self._take()
        self._images.append(_put(self.dataset, IMAGES, row.key, pair.image, images.IMAGE_LEVEL))

    def finished(self) -> list[Finished]:
        """Each pair in the order of the rows, when all are written. Raises InputError where a mask cannot be."""
        rest = _finish(self.dataset, self._waiting)  # beside nothing
        self.settle()
        self._ended += rest
        return [
            Finished(digest, (image, mask)) for image, (digest, mask) in zip(self._images, self._ended, strict=True)
        ]

    def settle(self) -> None:
        """Wait for what is beside. Raises what went wrong there: InputError where a mask could not be written."""
        while self._due:
            self._take()

    def _hand_over(self) -> None:
        self._due.append(self.beside.submit(_finish, self.dataset, self._waiting))
        self._waiting, self._bytes = [], 0

    def _take(self) -> None:
        self._ended += self._due.popleft().result()


def _has_failed(due: Future[Any]) -> bool:
    """Whether it has ended, and by an error."""
    return due.done() and due.exception() is not None


def _finish(dataset: Path, pairs: Sequence[tuple[str, Pair]]) -> list[tuple[str, int]]:
    """The digest of each pair, and the bytes of its mask, which is written. A mask takes a fifth of an image's time."""
    from imagemask import images

    return [
        (
            pair.digest or manifest.digest(pair.image, pair.mask),
            _put(dataset, MASKS, key, pair.mask, images.MASK_LEVEL),
        )
        for key, pair in pairs
    ]


def _put(dataset: Path, folder: str, key: str, pixels: NDArray[np.uint8], level: int) -> int:
    from imagemask import images

    data = images.encode_png(pixels, level=level)
    files.write_atomic(_place(dataset, folder, key), data)
    return len(data)


def _place(dataset: Path, folder: str, key: str) -> Path:
    return dataset / f"{folder}/{key}.png"


def are_whole(dataset: Path, rows: Sequence[Mapping[str, Any]], sizes: Sequence[Sequence[int]]) -> bool:
    """Whether each picture is there with the size that it was written with: a power cut leaves short ones."""
    if len(sizes) != len(rows):
        return False
    try:
        return all(
            _place(dataset, folder, row["key"]).stat().st_size == size
            for row, both in zip(rows, sizes, strict=True)
            for folder, size in zip((IMAGES, MASKS), both, strict=True)
        )
    except OSError:
        return False


def remove(dataset: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Remove the pictures that ``rows`` name, as far as they are there. Raises InputError where that is impossible."""
    for path in (_place(dataset, folder, row["key"]) for row in rows for folder in (IMAGES, MASKS)):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise files.output_error(path, error) from error


def of_slice(piece: Slice, source: Source, recipe: Recipe) -> Iterator[Pair]:
    """The pairs that a slice is written as: plain first, then each variant that differs from those before it.

    Without ``keep_empty`` a pair with an empty mask is left out. Raises CaseError (an undeclared label, a crop that
    leaves nothing).
    """
    from imagemask import augment, pixels

    piece = pixels.labels(piece, source.labels)
    piece = pixels.window(piece, [pixels.parse_window(text) for text in recipe.window])
    seen: set[str] = set()
    variants = augment.variants(recipe)
    for variant in variants:
        pair = _render(piece, variant, source, recipe)
        if not (recipe.keep_empty or any(pair.counts[1:])):
            continue
        if len(variants) > 1:  # a single one equals no other
            pair = replace(pair, digest=manifest.digest(pair.image, pair.mask))
            if pair.digest in seen:
                continue
            seen.add(pair.digest)
        yield pair


def _render(piece: Slice, variant: Variant, source: Source, recipe: Recipe) -> Pair:
    import numpy as np

    from imagemask import augment, pixels

    height, width = piece.mask.shape
    box = (variant.crop, variant.crop, height - variant.crop, width - variant.crop)
    pad = (0, 0, 0, 0)
    view = pixels.crop(piece, variant.crop) if variant.crop else piece
    if recipe.size is not None:
        view, pad = pixels.fit(view, recipe.size, stretch=recipe.stretch, background=source.background)
    elif variant.crop:
        view = pixels.resize(view, height, width)
    view = augment.apply(view, variant, background=source.background)
    image = np.ascontiguousarray(view.image, dtype=np.uint8)
    if not recipe.window and np.may_share_memory(image, np.asarray(piece.image)):
        image = image.copy()  # it is the generator's own, which may be used again before the digest is made
    mask = pixels.to_mask(view.mask, manifest.mask_values(source.labels))
    foreground = _counted(view.mask, len(source.labels))
    counts = (view.mask.size - sum(foreground), *foreground)  # np.bincount would make 64-bit integers of every pixel
    return Pair(variant.name, image, mask, counts, box, pad, view.spacing, view.flags)


def _counted(mask: NDArray[np.integer[Any]], classes: int) -> list[int]:
    """Pixels of each class id, from 1."""
    import numpy as np

    if classes == 1:
        return [int(np.count_nonzero(mask))]
    return [int(np.count_nonzero(mask == number)) for number in range(1, classes + 1)]
