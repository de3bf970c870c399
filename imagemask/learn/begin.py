"""A run before its first epoch: what its dataset makes of the settings, and the folder that it is to be."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path, PurePosixPath

from imagemask import files, images, layouts, manifest, registry
from imagemask.errors import UsageError
from imagemask.learn import fit, run, settings
from imagemask.learn.dataset import Dataset
from imagemask.learn.run import Record, Run
from imagemask.learn.settings import SSIM_WINDOW, Settings

LOCK = ".lock"
"""Keeps two trainings out of one folder."""
_LARGEST, _USUAL = 512, 256
_BY_WINDOW = ("ssim_loss", "basnet_hybrid_loss")
"""Pictures of one size are trained on as they are; of many sizes, at this side."""


def fitted(chosen: Settings, data: Dataset) -> Settings:
    """``chosen`` with the network's size, channels and classes from the dataset, where they were left out.

    Pictures of one size are taken as they are, padded to what the network's levels divide (enlarged, where that is
    more than a quarter of their own size); of several sizes, or larger than 512, they are brought to 256, 512 at the
    most. The size of what a crop leaves is what counts. Raises UsageError where the classes are not the dataset's, and
    where the loss or the last activation does not go with them or with the size.
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
    _require_sense(whole)
    return whole


def _require_sense(whole: Settings) -> None:
    """Raises UsageError for a loss or a last activation from which nothing can be learnt."""
    options, loss = whole.model.options, whole.loss.name
    if options.classes == 1 and options.output == "softmax":
        raise UsageError(
            "model.final_activation is softmax, which of one class is 1 everywhere",
            remedy="Leave model.final_activation away: it follows from the classes",
        )
    if options.classes == 1 and loss == "categorical_crossentropy":
        raise UsageError(
            "loss.name is categorical_crossentropy, which of one class is 0 whatever is predicted",
            remedy='Leave loss.name away, or give loss.name = "binary_crossentropy"',
        )
    if loss in _BY_WINDOW and min(options.height, options.width) < SSIM_WINDOW:
        raise UsageError(
            f"loss.name is {loss}, which needs pictures of at least {SSIM_WINDOW}x{SSIM_WINDOW}, "
            f"and the network's are {options.height}x{options.width}",
            remedy="Leave loss.name away, or raise model.height and model.width",
        )


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


def claim(place: Path) -> bool:
    """Make the folder of a new run; whether it was not there. Raises UsageError where there is something in it."""
    there = place.is_dir()
    if there and any(path.name != LOCK for path in place.iterdir()):
        begun = (place / run.RECORD).is_file()
        remedy = f"--resume --out {place} goes on with it; or give another --out" if begun else "Give another --out"
        raise UsageError(f"{place}: is not empty", remedy=remedy)
    files.make_folder(place)
    return not there


def undo(place: Path, *, made: bool) -> None:
    """Remove what ``write`` wrote, and the folder if we ``made`` it.

    For a run that was refused before its first epoch: nothing can go on with it.
    """
    for name in (run.RECORD, run.SETTINGS, run.SPLIT, run.ENVIRONMENT, LOCK):
        (place / name).unlink(missing_ok=True)
    if made:
        with contextlib.suppress(OSError):  # a cache that found no other place stays
            place.rmdir()


def write(place: Path, whole: Settings, data: Dataset) -> None:
    """Write what is known before the first epoch; the record last, for it makes the folder a run."""
    options = whole.model.options
    document = data.document
    written = settings.dump(whole).encode()
    files.write_atomic(place / run.SETTINGS, written)
    files.write_atomic(place / run.SPLIT, split_of(data))
    record = Record(
        dataset=data.name,
        folder=relative(data.folder, place),
        digest=data.digest,
        fold=data.fold,
        settings=hashlib.sha256(written).hexdigest(),
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
