"""What the network sees of a picture, and what it found there, back at the picture's own size.

A picture goes through the steps of the build that made the training pictures (``pixels``: window, size), as the run's
record has them, and then of the training (``fit``: the network's own size). Its probabilities go back through them one
by one, interpolated; what is foreground is decided on the picture's own pixels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from imagemask import pixels
from imagemask.errors import CaseError, ImagemaskError, InputError
from imagemask.learn import backend, fit, infer
from imagemask.learn.infer import Probabilities
from imagemask.learn.run import Record
from imagemask.learn.tiles import Tiled
from imagemask.types import Deferred, Slice

if TYPE_CHECKING:
    import keras

Tiling = Literal["auto", "never", "always"]
Bytes = NDArray[np.uint8]
Of = TypeVar("Of")
_EIGHT_BITS = 255


class View(Protocol):
    """A picture as inputs of the network, and their probabilities, added in the same order, as those of the picture."""

    @property
    def count(self) -> int:
        """How many inputs there are."""

    def inputs(self) -> Iterator[Bytes]:
        """The inputs: HxWxC, of the network's size."""

    def add(self, probabilities: Probabilities) -> None:
        """Take the probabilities of the next input."""

    def result(self) -> Probabilities:
        """The probabilities of the picture at its own size, HxWxK, once all inputs have theirs."""


class Whole:
    """A whole picture, at the recipe's size, where it is not of a build, ``written``; and at the network's.

    Of equal sizes nothing is touched. Of a run with a ``crop_share`` the network sees its centre.
    """

    count = 1

    def __init__(self, picture: Bytes, record: Record, *, written: bool = False) -> None:
        sized, self._recipe = (picture, None) if written else _sized(picture, record)
        form = record.height, record.width
        self._input, self._network = fit.fit(sized, *form, background=record.background, crop=record.crop_share)
        self._found: Probabilities | None = None

    def inputs(self) -> Iterator[Bytes]:
        """The picture at the network's size."""
        yield self._input

    def add(self, probabilities: Probabilities) -> None:
        """Take its probabilities."""
        self._found = probabilities

    def result(self) -> Probabilities:
        """Its probabilities at its own size."""
        if self._found is None:
            raise ValueError("the picture has no probabilities yet")
        found = fit.restore(self._found, self._network)
        return found if self._recipe is None else fit.restore(found, self._recipe)


@dataclass(frozen=True)
class Steps:
    """From a picture to its view, by the record of a run.

    ``tiling``: ``never`` shows the network the whole picture, as it was shown those of the training set; ``always``
    shows it tiles of the picture's own pixels; ``auto`` does that where the network was trained on pictures at their
    own scale, and this one has a longer side than its input. A slice of a volume shows a whole section of the body
    however many pixels it has, so for volumes ``auto`` is ``never``.
    """

    record: Record
    tiling: Tiling = "auto"

    def picture(self, image: NDArray[Any] | Deferred, index: int = 0) -> Bytes:
        """``image`` (HxW or HxWx3, in source units) as the build writes it, with the network's channels: HxWxC.

        Raises CaseError ``window_needed``, ``image_channels``, ``image_type`` or ``nan_voxels``.
        """
        values = np.asarray(image)
        record = self.record
        if not record.window and values.dtype not in (np.uint8, np.uint16):
            reason = f"the run takes 8-bit pictures of {record.dataset}, and this is {values.dtype}"
            raise CaseError("window_needed", reason, remedy="Give what its dataset was built from, or 8-bit pictures")
        plain = Slice(index, values, np.zeros(values.shape[:2], np.uint8))
        windowed = np.asarray(pixels.window(plain, self._windows).image, np.uint8)
        return _channelled(windowed, record.channels)

    def of_file(self, image: NDArray[Any]) -> Bytes:
        """``image`` of a picture file, as ``picture`` has it. Raises CaseError as that does.

        One that ``is_windowed`` is taken as it is. A grey one is none of three windows: ``image_channels``.
        """
        if not self.is_windowed(image):
            return self.picture(image)
        if image.ndim == 2 and len(self.record.window) > 1:
            raise CaseError(
                "image_channels",
                f"it is grey, and the run was trained on {len(self.record.window)} windows, a colour each",
                remedy="Give what its dataset was built from, or pictures that a build with these windows has written",
            )
        return _channelled(image, self.record.channels)

    def is_windowed(self, image: NDArray[Any]) -> bool:
        """Whether a window has been at ``image`` of a picture file, as at the dataset's own, and is not applied again.

        It has 8 bits, and the windows were for something else: for the values of volumes, or for more than 8 bits.
        """
        eight = not any(low < 0 or high > _EIGHT_BITS for low, high in self._windows)
        return image.dtype == np.uint8 and bool(self._windows) and not (self.record.from_pictures and eight)

    def of_volumes(self) -> Steps:
        """The same steps, for the slices of volumes."""
        return Steps(self.record, "never" if self.tiling == "auto" else self.tiling)

    def view(self, picture: Bytes) -> View:
        """The view of a ``picture`` that is as the build writes it, HxWxC."""
        record = self.record
        if self._in_tiles(picture.shape[0], picture.shape[1]):
            return Tiled(picture, record.height, record.width, background=record.background)
        return Whole(picture, record)

    def _in_tiles(self, height: int, width: int) -> bool:
        if self.tiling != "auto":
            return self.tiling == "always"
        return self._own_scale and (height > self.record.height or width > self.record.width)

    @cached_property
    def _own_scale(self) -> bool:
        """Whether the network was trained on pixels of the source, neither shrunk nor grown on the way."""
        record = self.record
        if record.recipe.get("size") is not None or record.picture is None or record.crop_share:
            return False  # what is learnt of the centre of a picture does not hold of any tile of it
        y0, x0, y1, x1 = fit.place(record.picture, record.height, record.width).box
        return (y1 - y0, x1 - x0) == record.picture

    @cached_property
    def _windows(self) -> list[tuple[float, float]]:
        return [pixels.parse_window(text) for text in self.record.window]


def predicted(
    model: keras.Model,
    views: Iterable[tuple[Of, View]],
    *,
    batch_size: int,
    flips: bool = False,
    remedy: str = "",
) -> Iterator[tuple[Of, Probabilities]]:
    """What each view is of, and its probabilities at its own size, in order.

    Inputs fill batches across views; where there are fewer than a batch of them, the batch is as small. Raises
    InputError where memory does not suffice, with ``remedy``, or the batch size to try; and what ``views`` raises.
    """
    waiting: deque[tuple[Of, View]] = deque()
    head, rest = _at_least(batch_size, views)
    size = min(batch_size, sum(view.count for _, view in head))

    def inputs() -> Iterator[Bytes]:
        while (one := head.popleft() if head else next(rest, None)) is not None:
            waiting.append(one)
            yield from one[1].inputs()

    found = infer.probabilities(model, inputs(), batch_size=size, flips=flips)
    left = 0
    for probabilities in _explained(found, size, remedy):
        of, view = waiting[0]
        left = (left or view.count) - 1
        view.add(probabilities)
        if not left:
            waiting.popleft()
            yield of, view.result()


def _at_least(count: int, views: Iterable[tuple[Of, View]]) -> tuple[deque[tuple[Of, View]], Iterator[tuple[Of, View]]]:
    """The first views, of ``count`` inputs together if there are as many, and an iterator over the others."""
    head: deque[tuple[Of, View]] = deque()
    rest = iter(views)
    seen = 0
    while seen < count and (one := next(rest, None)) is not None:
        head.append(one)
        seen += one[1].count
    return head, rest


def _explained(found: Iterator[Probabilities], size: int, remedy: str) -> Iterator[Probabilities]:
    try:
        yield from found
    except Exception as error:
        if isinstance(error, ImagemaskError) or not backend.ran_out_of_memory(error):
            raise  # of a picture that could not be read, whatever its reason says
        smaller = f"--batch-size {size // 2}" if size > 1 else "on a machine with more memory"
        reason = f"{size} pictures at a time do not fit into memory"
        raise InputError(reason, remedy=remedy or f"Try {smaller}") from error


def _sized(picture: Bytes, record: Record) -> tuple[Bytes, fit.Placement | None]:
    """``picture`` (HxWxC) at the recipe's size, and the way back; None where the recipe has no size."""
    size = record.recipe.get("size")
    if size is None:
        return picture, None
    source, side = (picture.shape[0], picture.shape[1]), int(str(size))
    plain = Slice(0, picture[..., 0] if picture.shape[2] == 1 else picture, np.zeros(source, np.uint8))
    stretch = bool(record.recipe.get("stretch"))
    fitted, (top, left, bottom, right) = pixels.fit(plain, side, stretch=stretch, background=record.background)
    sized = np.asarray(fitted.image, np.uint8).reshape(side, side, picture.shape[2])
    return sized, fit.Placement(source, (0, 0, *source), (top, left, side - bottom, side - right))


def _channelled(picture: Bytes, channels: int) -> Bytes:
    """``picture`` as HxWxC: grey repeated where the network takes colours. Colours are not made grey: a build does not.

    Three channels that are equal everywhere are grey. Raises CaseError ``image_channels``.
    """
    if picture.ndim == 2 or channels == picture.shape[2]:
        return fit.in_channels(picture, channels)
    if not bool((picture != picture[..., :1]).any()):
        return picture[..., :channels]
    raise CaseError(
        "image_channels",
        "it is in colours, and the run was trained on grey pictures",
        remedy="Convert it to grey as it would have been for training, or take a run that was trained on colours",
    )
