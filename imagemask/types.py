"""The nouns: source, case, slice, recipe, row, and the protocol that a generator module satisfies.

Nothing heavy is imported here: the command line needs these types to print its help.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from imagemask.errors import CaseError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPLITS = ("train", "valid", "test")
PHANTOM = "imagemask-phantom.json"
"""The file that marks a synthetic source and says what it holds."""


class _Frozen(BaseModel):
    """A validated, immutable document in which an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Options(_Frozen):
    """The base of a generator's ``Options``: each field becomes an option of ``imagemask build NAME``.

    A field's type, default and description are the option's; a ``bool`` is a flag, a ``Literal`` a choice. One with
    ``exclude=True`` is no part of the recipe: it decides no pixel, and may be told later (a licence).
    """


Model = TypeVar("Model", bound=_Frozen)


def from_options(kind: type[Model], given: Mapping[str, Any]) -> Model:
    """A ``kind`` (Options, Recipe) of what a command was given. Raises UsageError that names the first wrong option."""
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-") if first["loc"] else "the options"
        reason = f"{option} {first.get('input')!r}: {first['msg'].removeprefix('Value error, ')}"
        raise UsageError(reason) from error


class Archive(_Frozen):
    """One file as its distributor publishes it. ``bytes`` and ``checksum`` are None where nobody published them."""

    name: str
    url: str = ""
    bytes: int | None = Field(default=None, gt=0)
    checksum: str | None = Field(default=None, pattern=r"^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})$")


class Expected(_Frozen):
    """What a complete copy holds: cases that can be built, and the image and mask sets on disk."""

    cases: int | None = Field(default=None, ge=1)
    images: int | None = None
    masks: int | None = None
    ids: tuple[str, ...] = ()


class Source(_Frozen):
    """A raw public dataset: all that is known about it before it is opened. Read from ``manifests/NAME.toml``."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    title: str
    url: str
    get: tuple[str, ...] = Field(min_length=1, description="how to get it, step by step")
    licence: str = Field(min_length=1)
    licence_url: str = ""
    citation: str = Field(min_length=1)
    notes: tuple[str, ...] = ()
    archives: tuple[Archive, ...] = ()
    labels: Mapping[int, str] = Field(min_length=1, description="foreground label value: name")
    window: tuple[str, ...] = Field(
        default=(), description="windows to 8 bits; none where the pixels are 8-bit already"
    )
    background: int = Field(default=0, ge=0, le=255, description="8-bit value that pads a picture to a square")
    expected: Expected = Expected()
    excluded: Mapping[str, str] = {}
    group: Literal["patient", "image", "none"]
    by_image: str = Field(
        default="", description="why a split by image is refused; empty: it is allowed, with a warning"
    )
    columns: tuple[str, ...] = Field(default=(), description="manifest columns of this source, filled from Case.extra")


@dataclass(frozen=True, slots=True)
class Case:
    """What is read, retried and quarantined as one: a CT volume with its label, or a picture with its mask.

    Cheap and picklable: made by ``discover`` without opening pixels. A case with no ``images`` or no ``masks`` stands
    for something that should be there and is not; ``read`` raises for it, so that nothing discovered vanishes.
    """

    id: str
    patient: str
    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    bytes: int = 0
    """Uncompressed size where it is known from a header, else the files' size: an estimate of memory and work."""
    group: str = ""
    """The unit that a split must not divide, where that is not the patient."""
    split: str = ""
    """Only where the source ships a split."""
    category: str = ""
    flags: tuple[str, ...] = ()
    fault: tuple[str, str] | None = None
    """What ``discover`` saw that forbids building it: code and reason. ``read`` raises it before it opens anything."""
    extra: Mapping[str, str] = field(default_factory=dict)


class Deferred(Protocol):
    """An image that is decoded when ``numpy.asarray`` asks for it, so that a dropped slice costs nothing."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width, then 3 for a colour picture."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """The pixels."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One image with its mask, never one without the other.

    ``image`` is HxW or HxWx3 in source units (HU for CT); ``mask`` is HxW, integer source labels, 0 the background;
    ``spacing`` is millimetres a pixel (y, x) or None; ``flags`` are stable codes of what was noted while reading;
    ``source`` is the file that this slice came from where a case has several (a DICOM slice).

    Raises CaseError where image and mask differ in height or width, or the mask is not of an integer type.
    """

    index: int
    image: NDArray[Any] | Deferred
    mask: NDArray[np.integer[Any]]
    spacing: tuple[float, float] | None = None
    flags: tuple[str, ...] = ()
    source: Path | None = None

    def __post_init__(self) -> None:
        height_width = tuple(self.image.shape[:2])
        if height_width != self.mask.shape:
            raise CaseError(
                "size_mismatch",
                f"slice {self.index}: image is {_size(height_width)}, mask is {_size(self.mask.shape)}",
                remedy="Image and mask must have one size; they are never resized to fit",
            )
        if self.mask.dtype.kind not in "iub":
            reason = f"slice {self.index}: mask is {self.mask.dtype}, not integer"
            raise CaseError("label_type", reason, remedy="Save it as whole numbers, a number for each class")


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in shape)


class Recipe(_Frozen):
    """How pixels are made from a source. Two builds with equal recipes over equal files give equal bytes."""

    generator: str
    name: str
    size: int | None = Field(default=None, ge=8, le=8192)
    stretch: bool = False
    window: tuple[str, ...] = ()
    crops: tuple[int, ...] = ()
    keep_empty: bool = False
    flips: tuple[Literal["h", "v"], ...] = ()
    rotations: tuple[float, ...] = ()
    combine: bool = False
    options: Mapping[str, JsonValue] = {}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of manifest.csv: one written pair. Its paths follow from the key: images/KEY.png, masks/KEY.png.

    ``height``, ``width`` and the spacing (mm) are those of the written pixels. ``source_height``, ``source_width``,
    ``box`` (y0 x0 y1 x1 in source pixels), ``pad`` (top left bottom right in written pixels) and ``variant`` put a mask
    back. ``classes`` are the class ids in the written mask; ``digest`` is the SHA-256 of the decoded pair.
    """

    key: str
    dataset: str
    patient: str
    group: str
    case: str
    slice: int
    variant: str
    split: str
    fold: str
    category: str
    flags: str
    height: int
    width: int
    spacing_y: float | None
    spacing_x: float | None
    source_height: int
    source_width: int
    box: str
    pad: str
    foreground: int
    classes: str
    source: str
    source_sha256: str
    digest: str
    extra: Mapping[str, str] = field(default_factory=dict)


class Generator(Protocol):
    """What a generator module offers.

    ``discover`` yields cases sorted by id; ``read`` yields the slices of one case in order. ``discover`` raises
    InputError where the folder is not this source at all; ``read`` raises CaseError.
    """

    SOURCE: str
    Options: type[Options]

    def discover(self, raw: Path, options: Any) -> Iterable[Case]:
        """The cases below ``raw``, sorted by id, problems included."""

    def read(self, case: Case, options: Any) -> Iterable[Slice]:
        """The slices of a case, all of them, empties included."""


@runtime_checkable
class WritesPhantom(Protocol):
    """A generator that can write a small, faithful, synthetic copy of its source."""

    def phantom(self, raw: Path, *, patients: int, size: int, slices: int, seed: int, faults: bool) -> None:
        """Write the phantom below ``raw``."""


@runtime_checkable
class DescribesItself(Protocol):
    """A generator whose source manifest depends on the raw folder or on options (``folder``)."""

    def describe(self, source: Source, raw: Path, options: Any) -> Source:
        """The source manifest that holds for this folder."""
