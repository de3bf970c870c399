"""A run before its first epoch: what its dataset makes of the settings, and the folder that it is to be."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from imagemask import files, images, layouts, manifest, registry
from imagemask.errors import UsageError
from imagemask.learn import fit, run, settings
from imagemask.learn.dataset import Dataset
from imagemask.learn.run import Record, Run
from imagemask.learn.settings import Settings

LOCK = ".lock"
"""Keeps two trainings out of one folder."""
_LARGEST, _USUAL = 512, 256
"""Pictures of one size are trained on as they are; of many sizes, at this side."""


def fitted(chosen: Settings, data: Dataset) -> Settings:
    """``chosen`` with the network's size, channels and classes from the dataset, where they were left out.

    Pictures of one size are taken as they are, padded to what the network's levels divide; of several sizes, or larger
    than 512, they are brought to 256, 512 at the most. The size of what a crop leaves is what counts. Raises UsageError
    where the classes are not the dataset's.
    """
    step = chosen.model.options.step
    top, left, bottom, right = fit.centre(data.size, chosen.data.crop_share) if data.size else (0, 0, _USUAL, _USUAL)
    height, width = bottom - top, right - left
    scale = min(1.0, _LARGEST / max(height, width))
    found = {
        "height": -(-round(height * scale) // step) * step,
        "width": -(-round(width * scale) // step) * step,
        "channels": _channels(data),
        "classes": data.classes,
    }
    whole = settings.filled(chosen, **found)
    given = whole.model.options.classes
    if given != data.classes and given != len(data.labels) + 1:  # one class may also be told from the background
        raise UsageError(
            f"model.classes is {given}, and {data.name} has {len(data.labels)} ({', '.join(data.labels)})",
            remedy="Leave model.classes away: it follows from the dataset",
        )
    return whole


def _channels(data: Dataset) -> int:
    """The channels of the pictures: those of the first one; grey pictures among colours are repeated by the cache."""
    path = data.folder / "images" / f"{data.rows['key'].iloc[0]}.png"
    return 1 if images.read_png(path).ndim == 2 else 3


def background_of(data: Dataset) -> int:
    """What pads a picture: 0, or what the source manifest says. A dataset of a plug-in that is gone has black."""
    try:
        return registry.source(str(data.document["generator"])).background
    except UsageError:
        return 0


def next_folder(name: str) -> Path:
    """``runs/NAME/001``, or the first number after all that are there."""
    home = Path(run.RUNS) / name
    taken = [int(path.name) for path in home.glob("*") if path.name.isdigit()]
    return home / f"{max(taken, default=0) + 1:03d}"


def require_empty(place: Path) -> None:
    """Raises UsageError where a new run would write over something."""
    if place.is_dir() and any(path.name != LOCK for path in place.iterdir()):
        there = (place / run.RECORD).is_file()
        remedy = f"--resume --out {place} goes on with it; or give another --out" if there else "Give another --out"
        raise UsageError(f"{place}: is not empty", remedy=remedy)
    files.make_folder(place)


def write(place: Path, whole: Settings, data: Dataset) -> None:
    """Write what is known before the first epoch; the record last, for it makes the folder a run."""
    options = whole.model.options
    document = data.document
    files.write_atomic(place / run.SETTINGS, settings.dump(whole).encode())
    files.write_atomic(place / run.SPLIT, split_of(data))
    record = Record(
        dataset=data.name,
        folder=relative(data.folder, place),
        digest=data.digest,
        fold=data.fold,
        labels=data.labels,
        mask_values=tuple(int(label["mask_value"]) for label in document["labels"]),
        height=options.height,
        width=options.width,
        channels=options.channels,
        classes=options.classes,
        batch_size=whole.schedule.batch_size,
        recipe=document["recipe"],
        background=background_of(data),
        crop_share=whole.data.crop_share,
        picture=data.size,
        from_pictures=bool(data.rows["source"].str.lower().str.endswith(tuple(layouts.PICTURES)).any()),
        source=document["source"],
    )
    Run(place, record).save()


def relative(folder: Path, place: Path) -> str:
    """The way to ``folder`` from the run folder ``place``, POSIX."""
    return PurePosixPath(os.path.relpath(folder.resolve(), place.resolve())).as_posix()


def split_of(data: Dataset) -> bytes:
    """The bytes of the dataset's split.csv. One that its source split, and nobody else, has none."""
    path = data.folder / manifest.SPLIT
    return path.read_bytes() if path.is_file() else b""
