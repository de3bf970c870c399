"""Variants of a pair: a centre crop, a flip, a rotation. Enumerated, not drawn; one set of parameters for both.

The crop comes first, before the pair is brought to its written size (``pixels.crop``); then the flip, then the
rotation. A variant's name is part of a pair's key and is all that is needed to undo it.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imagemask import resample
from imagemask.errors import InputError, UsageError
from imagemask.types import Recipe, Slice

_AXES = {"h": 1, "v": 0}
_PARTS = re.compile(r"(?:crop(?P<crop>\d{1,9}))?\+?(?:flip(?P<flip>[hv]))?\+?(?:rot(?P<rotation>-?\d{1,3}(?:\.\d+)?))?")


@dataclasses.dataclass(frozen=True, slots=True)
class Variant:
    """What is done to a plain pair. All fields at their defaults is the plain pair itself.

    ``crop`` is a margin in source pixels; ``flip`` is "" or "h" (left and right change places) or "v" (top and bottom);
    ``rotation`` is in degrees, counter-clockwise as displayed.
    """

    crop: int = 0
    flip: str = ""
    rotation: float = 0.0

    @property
    def name(self) -> str:
        """The parts in the order in which they are applied, ``crop40+fliph+rot-5``; "" for the plain pair."""
        parts = [f"crop{self.crop}"] if self.crop else []
        parts += [f"flip{self.flip}"] if self.flip else []
        parts += [f"rot{_shortest(self.rotation)}"] if self.rotation else []
        return "+".join(parts)


def variants(recipe: Recipe) -> list[Variant]:
    """The variants that a recipe asks for: the plain pair, then each crop, flip and rotation on its own.

    With ``recipe.combine`` their product follows: every crop with every flip with every rotation. One that is the same
    as an earlier one by its parameters (0 degrees, 355 after -5) is left out. Raises UsageError for a negative margin,
    a flip that is neither h nor v, or an angle that is not between -360 and 360.
    """
    asked = [_checked(one) for one in (_product(recipe) if recipe.combine else _one_at_a_time(recipe))]
    distinct: dict[tuple[int, str, float], Variant] = {}
    for one in asked:
        distinct.setdefault((one.crop, one.flip, one.rotation % 360), one)
    return list(distinct.values())


def parse(name: str) -> Variant:
    """The variant called ``name``, which ``Variant.name`` gives back. Raises InputError for any other text."""
    found = _PARTS.fullmatch(name)
    if found is not None:
        variant = Variant(int(found["crop"] or 0), found["flip"] or "", float(found["rotation"] or 0))
        if variant.name == name:
            return variant
    raise InputError(
        f"{name!r} is not the name of a variant", remedy="They look like crop40, fliph, rot-5, crop40+rot5"
    )


def apply(pair: Slice, variant: Variant, *, background: int) -> Slice:
    """``pair`` flipped, then rotated, image and mask alike. The crop is not applied here.

    The image is uint8. ``background`` fills what a rotation brings into the picture; the mask is 0 there. A quarter
    turn of a pair that is not square swaps its height and width, and its spacing with them: nothing is cut off. Any
    other angle keeps the size. Raises CaseError for a side above ``resample.LARGEST_SIDE``.
    """
    if not variant.flip and not variant.rotation:
        return pair
    image = resample.rotate(_flipped(np.asarray(pair.image), variant.flip), variant.rotation, background=background)
    mask = resample.rotate_labels(_flipped(pair.mask, variant.flip), variant.rotation)
    spacing = pair.spacing
    if spacing is not None and variant.rotation % 180 == 90:
        spacing = (spacing[1], spacing[0])
    return dataclasses.replace(pair, image=image, mask=mask, spacing=spacing)


def undo(mask: NDArray[np.integer[Any]], variant: Variant) -> NDArray[np.integer[Any]]:
    """``mask`` rotated back, then flipped back. Exact, unless the rotation is not a multiple of 90 degrees."""
    return _flipped(resample.rotate_labels(mask, -variant.rotation), variant.flip)


def _one_at_a_time(recipe: Recipe) -> Iterator[Variant]:
    yield Variant()
    yield from (Variant(crop=margin) for margin in recipe.crops)
    yield from (Variant(flip=axis) for axis in recipe.flips)
    yield from (Variant(rotation=degrees) for degrees in recipe.rotations)


def _product(recipe: Recipe) -> Iterator[Variant]:
    yield from _one_at_a_time(recipe)
    for parts in itertools.product((0, *recipe.crops), ("", *recipe.flips), (0.0, *recipe.rotations)):
        yield Variant(*parts)


def _checked(variant: Variant) -> Variant:
    if variant.crop < 0:
        raise UsageError(f"a crop margin of {variant.crop} is negative", remedy="Give pixels to cut from each side")
    if variant.flip not in ("", *_AXES):
        raise UsageError(f"there is no flip {variant.flip!r}", remedy="h mirrors left and right, v top and bottom")
    if not abs(variant.rotation) <= 360:
        raise UsageError(f"an angle of {variant.rotation} is not between -360 and 360", remedy="Give degrees")
    return variant


def _flipped(array: NDArray[Any], flip: str) -> NDArray[Any]:
    return np.ascontiguousarray(np.flip(array, _AXES[flip])) if flip else array


def _shortest(degrees: float) -> str:
    """The shortest decimal text of a finite number, without an exponent: 5, -5, 2.5."""
    if degrees == math.trunc(degrees):
        return str(math.trunc(degrees))
    return np.format_float_positional(degrees, trim="-")
