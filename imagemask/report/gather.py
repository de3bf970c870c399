"""What a page says of a dataset: where it is from, how it was made, what is in it, and what is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagemask.card import facts as card
from imagemask.card.recipe import words
from imagemask.split import used
from imagemask.types import SPLITS

if TYPE_CHECKING:
    import pandas as pd

UNASSIGNED = "not assigned"
"""What a blank split is called on a page."""


@dataclass(frozen=True, slots=True)
class Set:
    """One line of the table of splits. ``share`` is of all plain images; ``foreground`` counts plain images with some;
    ``area`` is the share of their pixels that is labelled.
    """

    name: str
    patients: int
    images: int
    share: float
    foreground: int
    area: float
    variants: int


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the page says of a dataset beside its pictures. Texts are plain, not escaped."""

    name: str
    title: str
    url: str
    licence: str
    licence_url: str
    citation: str
    notes: tuple[str, ...]
    units: str
    """What a split keeps whole and the counts are of: patients, or groups or cases where no patient is published."""
    counts: tuple[tuple[str, int], ...]
    """The large numbers: what is counted, and how many."""
    recipe: tuple[str, ...]
    """How pixels were made, a sentence each."""
    labels: tuple[tuple[str, int], ...]
    """Name of a class, and its value in a mask."""
    account: str
    """The invariant of the build: discovered = built + quarantined + excluded."""
    quarantine: tuple[Mapping[str, str], ...]
    excluded: tuple[tuple[str, str], ...]
    flags: tuple[tuple[str, int], ...]
    """What was noted while reading, and of how many pairs."""
    sets: tuple[Set, ...]
    total: Set
    unused: int
    """Augmented copies of the validation and test set, which no set holds: they are laid out nowhere."""


def gather(folder: Path, frame: pd.DataFrame) -> Facts:
    """The facts of the dataset in ``folder``; ``frame`` is its manifest, of which splits and counts are taken.

    What dataset.json does not state is "" or left out. Raises InputError where it is missing or damaged.
    """
    told = card.gather(folder, frame)
    units, unit = _unit(frame)
    kept = used(folder, frame)
    return Facts(
        name=told.text("name", default=folder.resolve().name),
        **{key: told.text("source", key) for key in ("title", "url", "licence", "licence_url", "citation")},
        notes=tuple(map(str, told.items("source", "notes"))),
        units=units,
        counts=_counts(frame, units, unit, told.number("counts", "quarantined")),
        recipe=tuple(_recipe(told)),
        labels=tuple((str(one.get("name", "")), int(one.get("mask_value") or 0)) for one in told.labels),
        account=_account(told.mapping("counts")),
        quarantine=told.quarantine,
        excluded=tuple((str(case), str(why)) for case, why in told.mapping("excluded").items()),
        flags=_flags(frame),
        sets=_sets(kept, unit),
        total=_set("all", kept, unit, len(_plain(frame))),
        unused=len(frame) - len(kept),
    )


def _unit(frame: pd.DataFrame) -> tuple[str, str]:
    """What is counted, and the column that holds it: patients if any is published, else groups, else cases."""
    for units, column in (("patients", "patient"), ("groups", "group")):
        if frame[column].ne("").any():
            return units, column
    return "cases", "case"


def _counts(frame: pd.DataFrame, units: str, unit: str, quarantined: int) -> tuple[tuple[str, int], ...]:
    """What there is; the first three in any case, the others where there are any."""
    plain = _plain(frame)
    every = [
        (units, _distinct(frame[unit])),
        ("image and mask pairs", len(plain)),
        ("of them with an outline", int((plain["foreground"] > 0).sum())),
        ("augmented copies", len(frame) - len(plain)),
        ("cases in quarantine", quarantined),
    ]
    return tuple((what, number) for at, (what, number) in enumerate(every) if number or at < 3)


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["variant"] == ""]


def _distinct(cells: pd.Series[Any]) -> int:
    return int(cells[cells != ""].nunique())


def _sets(frame: pd.DataFrame, unit: str) -> tuple[Set, ...]:
    everything = len(_plain(frame))
    parts = ((name, frame[frame["split"] == name]) for name in (*SPLITS, ""))
    return tuple(_set(name or UNASSIGNED, part, unit, everything) for name, part in parts if len(part))


def _set(name: str, part: pd.DataFrame, unit: str, everything: int) -> Set:
    plain = _plain(part)
    some = plain[plain["foreground"] > 0]
    pixels = float((some["height"] * some["width"]).sum())
    return Set(
        name=name,
        patients=_distinct(part[unit]),
        images=len(plain),
        share=len(plain) / everything if everything else 0.0,
        foreground=len(some),
        area=float(some["foreground"].sum()) / pixels if pixels else 0.0,
        variants=len(part) - len(plain),
    )


def _flags(frame: pd.DataFrame) -> tuple[tuple[str, int], ...]:
    found: dict[str, int] = {}
    for cell in frame["flags"]:
        for flag in cell.split():
            found[flag] = found.get(flag, 0) + 1
    return tuple(sorted(found.items()))


def _account(counts: Mapping[str, Any]) -> str:
    """The invariant of a build in words; "" where dataset.json does not count."""
    number = {name: value for name, value in counts.items() if isinstance(value, int)}
    said = ""
    if {"discovered", "built", "quarantined", "excluded"} <= number.keys():
        parts = " + ".join(f"{number[part]:,} {part}" for part in ("built", "quarantined", "excluded"))
        said = f"{number['discovered']:,} cases discovered = {parts}."
    if {"slices_read", "slices_kept", "slices_empty"} <= number.keys():
        kept = f"{number['slices_kept']:,} kept, {number['slices_empty']:,} left out because their mask is empty"
        said += f" {number['slices_read']:,} slices read: {kept}."
    return said


def _recipe(told: card.Facts) -> Iterator[str]:
    recipe, version = told.mapping("recipe"), told.text("versions", "imagemask")
    if recipe:
        made = f"Built by the generator {recipe.get('generator', '')}"
        yield f"{made} of imagemask {version}." if version else f"{made}."
        yield from (f"{what.capitalize()}: {how}." for what, how in words(recipe))
        yield from _options(told.mapping("recipe", "options"))


def _options(options: Mapping[str, Any]) -> Iterator[str]:
    said = [f"{name.replace('_', ' ')}: {value}" for name, value in sorted(options.items()) if value not in (None, "")]
    if said:
        yield f"Options of the generator: {'; '.join(said)}."
