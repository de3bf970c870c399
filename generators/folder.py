"""Any tree of image and mask files: your own data, or a published folder of image/mask pairs.

``imagemask.layouts`` finds the pairs, by two globs or by guessing; what was guessed stands in the notes of the source.
What mask values mean is declared (--labels, imagemask.toml, nnU-Net's dataset.json); else all masks hold the same two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from imagemask import layouts, names, nnunet, sources, types
from imagemask.errors import CaseError, UsageError
from imagemask.types import Case, Slice, Source

SOURCE = "folder"
FACTS = "imagemask.toml"


class Options(types.Options):
    """Options of ``imagemask build folder``."""

    images: str | None = Field(None, description="glob of the images below --raw; without a /, in any folder")
    masks: str | None = Field(None, description="glob of the masks; a file that both globs match is a mask")
    suffix: str | None = Field(None, description="what a mask's stem has beyond its image's, such as _mask")
    patient: str | None = Field(
        None,
        description=r"regular expression whose first group, or group `patient`, is the patient, as in '(P\d+)_': "
        "searched in the file name, or in the path below --raw if it holds a /",
    )
    name: str | None = Field(None, pattern="^[a-z][a-z0-9-]*$", description="dataset name [default: the folder's]")
    split_from_path: bool = Field(False, description="keep the split that folders called train, valid and test make")
    mask_threshold: int | None = Field(None, ge=1, le=65535, description="the least value of a foreground mask pixel")
    labels: str | None = Field(None, description="what mask values mean, 1=tumour,2=cyst; or the foreground's name")
    licence: str | None = Field(None, exclude=True, description=f"licence of the data [default: from {FACTS}]")
    citation: str | None = Field(None, exclude=True, description=f"what to cite [default: from {FACTS}]")

    @field_validator("patient")
    @classmethod
    def _has_a_group(cls, value: str | None) -> str | None:
        try:
            if value is not None and not re.compile(value).groups:
                raise ValueError(r"no group holds the patient, as in (P\d+)_")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return value

    @field_validator("labels")
    @classmethod
    def _are_labels(cls, value: str | None) -> str | None:
        if value is not None:
            sources.parse_labels(value)
        return value


def describe(source: Source, raw: Path, options: Options) -> Source:
    """``source`` as it holds for ``raw``: what the options, else imagemask.toml, else the layout say of it.

    Its notes say what was guessed. Raises InputError for an imagemask.toml with a key or a value that is wrong;
    UsageError, where no threshold is given, for masks that are JPEG, or undeclared and not all of the same two values.
    """
    from imagemask import masks

    layout, facts = _find(raw, options), _facts(raw)
    labels, exact, notes = _labels(raw, options, layout)
    if options.mask_threshold is None:
        paths = [path for pair in layout.pairs if pair.images for path in pair.masks]
        masks.refuse_all_jpeg(paths)
        if not exact:
            masks.refuse_mixed(raw, paths)
    notes = (*facts.get("notes", ()), *notes)
    told = {"title": raw.resolve().name, "url": "", **facts, "labels": labels, "notes": notes}
    told |= {key: text for key in ("licence", "citation") if (text := getattr(options, key)) is not None}
    told |= {"name": options.name or names.dataset_name(raw), "group": "patient" if options.patient else "none"}
    return sources.amended(source, told, place=str(raw / FACTS))


def discover(raw: Path, options: Options) -> list[Case]:
    """A case a key, sorted by id: lone images, lone masks and doubles too. Raises as ``layouts.find`` and ``named``."""
    layout = _find(raw, options)
    labels, exact, _ = _labels(raw, options, layout)
    extra = {"labels": " ".join(map(str, labels))} if exact else {"foreground": str(min(labels))}
    cases, spellings = list[Case](), dict[str, str]()
    for name, pair in layouts.named(layout.pairs).items():
        paths = (*pair.images, *pair.masks)
        place = paths[0].relative_to(raw)
        if not all(map(names.is_text, paths)):
            cases.append(Case(name, "", (), (), extra={"bytes": names.bytes_of(place)}))
            continue
        patient = names.patient_of(place, options.patient)
        spelling = spellings.setdefault(patient.casefold(), patient)  # JHX and jhx are one patient
        flags = () if spelling == patient else ("patient_spelling",)
        split = names.split_of(place) if options.split_from_path else ""
        size = sum(path.stat().st_size for path in paths)
        cases.append(Case(name, spelling, pair.images, pair.masks, size, split=split, flags=flags, extra=extra))
    return cases


def read(case: Case, options: Options) -> Iterator[Slice]:
    """One slice. Raises CaseError where there are not one image and one mask, of a patient, or the mask is unclear."""
    from imagemask import masks

    image_path, mask_path = layouts.one_of_each(case)
    if options.patient and not case.patient:
        reason = f"--patient {options.patient} finds nothing in {image_path.name}"
        remedy = "Rename it, or widen the expression: with a / in it, the whole path is searched"
        raise CaseError("no_patient", reason, file=image_path, remedy=remedy)
    if "labels" in case.extra:
        mask, flags = masks.exact(mask_path, [int(value) for value in case.extra["labels"].split()])
    elif options.mask_threshold is None:
        mask, flags = masks.binary(mask_path, int(case.extra["foreground"]))
    else:
        mask, flags = masks.cut(mask_path, options.mask_threshold, int(case.extra["foreground"]))
    image, turned = masks.image_of(image_path, mask_path, mask)
    yield Slice(0, image, mask, flags=(*flags, *turned))


def phantom(raw: Path, *, patients: int, size: int, slices: int, seed: int, faults: bool) -> None:
    """Write a small folder of pairs below ``raw``, as ``imagemask phantom folder`` does: ``slices`` pairs a patient."""
    from imagemask.generators.phantoms import folder

    folder.write(raw, patients=patients, size=size, slices=slices, seed=seed, faults=faults)


def _find(raw: Path, options: Options) -> layouts.Layout:
    return layouts.find(
        raw, images=options.images, masks=options.masks, suffix=options.suffix, keep_split=options.split_from_path
    )


def _labels(raw: Path, options: Options, layout: layouts.Layout) -> tuple[Mapping[int, str], bool, tuple[str, ...]]:
    """Label values and names, whether the masks hold these very values uncut, and the notes on how all was read."""
    labels, exact = {1: "foreground"}, False
    if options.labels is not None:
        labels, exact = sources.parse_labels(options.labels)
    elif declared := _facts(raw).get("labels") or (layout.declares and nnunet.labels(layout.declares)):
        labels, exact = declared, True
    if options.mask_threshold is not None and len(labels) > 1:
        found = ", ".join(f"{value}={name}" for value, name in labels.items())
        raise UsageError(f"--mask-threshold makes one class, not {found}", remedy="Give --labels NAME")
    labels, ignored = nnunet.classes(labels, raw)
    return labels, exact and options.mask_threshold is None, (*layout.notes, *ignored)


def _facts(raw: Path) -> dict[str, Any]:
    return sources.facts(raw / FACTS, sources.load(SOURCE))
