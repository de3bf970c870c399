"""What a build leaves in ``fragments/``: the plan, and a fragment for each case. One whose key matches means "done".

The plan (``.plan.json``) is what was asked for: recipe, source manifest, cases. Every shard writes the same one. A
fragment is the one commit point of a case: its rows, or a quarantine record, or an exclusion.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from imagemask.cases import relative
from imagemask.errors import CaseError, InputError, UsageError
from imagemask.files import output_error, write_atomic
from imagemask.types import Case, Recipe, Source

FORMAT = 1
"""Raised by whoever changes a written pixel: part of every key, so that an old build is never mixed with a new one."""

FOLDER, PLAN, LOCK = "fragments", ".plan.json", ".lock"

Outcome = Literal["built", "quarantined", "excluded"]


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Why a case was not built. ``file`` is relative to the raw folder; no times: equal faults give equal bytes."""

    file: str
    stage: str
    code: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Fragment:
    """How one case ended."""

    case: str
    key: str
    outcome: Outcome
    rows: Sequence[dict[str, Any]] = ()
    sizes: Sequence[Sequence[int]] = ()
    """Bytes of the image file and of the mask file of each row: a picture that was cut short is not taken as done."""
    read: int = 0
    """Slices read."""
    kept: int = 0
    """Slices of which at least one pair was written."""
    empty: int = 0
    """Slices dropped because their written mask was empty."""
    flags: Mapping[str, int] = field(default_factory=dict)
    """Flag: number of slices, dropped ones included."""
    quarantine: Quarantine | None = None
    reason: str = ""
    """Of an exclusion."""
    patient: str = ""
    group: str = ""
    """Whose it is, of a case that was built: without a row nothing else says so."""

    def to_bytes(self) -> bytes:
        """The fragment as the bytes of its file."""
        document = {field.name: getattr(self, field.name) for field in fields(self)}  # asdict would copy every cell
        document["quarantine"] = asdict(self.quarantine) if self.quarantine else None
        return (json.dumps(document, ensure_ascii=False) + "\n").encode("utf-8")


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for, of every shard alike."""

    recipe: Recipe
    source: Source
    cases: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """The plan as the bytes of its file."""
        document = {
            "format": FORMAT,
            "recipe": self.recipe.model_dump(mode="json"),
            "source": self.source.model_dump(mode="json"),
            "cases": list(self.cases),
        }
        return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def path_of(dataset: Path, case: str) -> Path:
    """Where the fragment of ``case`` lies."""
    return dataset / FOLDER / f"{case}.json"


def write(dataset: Path, fragment: Fragment) -> None:
    """Commit a case: after this it is done."""
    write_atomic(path_of(dataset, fragment.case), fragment.to_bytes())


def read(dataset: Path, case: str) -> Fragment | None:
    """The fragment of ``case``; None where there is none, or a damaged one: the case is then built again."""
    try:
        document = json.loads(path_of(dataset, case).read_text(encoding="utf-8"))
        if document["quarantine"]:
            document["quarantine"] = Quarantine(**document["quarantine"])
        fragment = Fragment(**document)
        whole = all(row["key"] for row in fragment.rows) and all(len(size) == 2 for size in fragment.sizes)
        return fragment if whole and fragment.case == case and fragment.outcome in get_args(Outcome) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def forget(dataset: Path, case: str) -> None:
    """Remove the fragment of ``case``, before anything that it names is overwritten."""
    path = path_of(dataset, case)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise output_error(path, error) from error


def read_plan(dataset: Path) -> Plan:
    """The plan of a dataset folder.

    Raises InputError where there is none or it is damaged, UsageError where another version's FORMAT wrote it.
    """
    path = dataset / FOLDER / PLAN
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise UsageError(
                f"{dataset}: was built with pixel format {document['format']}, this version writes {FORMAT}",
                remedy="Give --replace to build it anew, or another --out",
            )
        return Plan(
            recipe=Recipe.model_validate(document["recipe"]),
            source=Source.model_validate(document["source"]),
            cases=tuple(document["cases"]),
        )
    except FileNotFoundError as error:
        raise InputError(f"{dataset}: holds no build", remedy="Build a dataset: imagemask build NAME") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be read: {error}", remedy="Build again with --replace") from error


def generator_of(dataset: Path) -> str:
    """The generator that a dataset folder was built by, whatever the version; "" where that cannot be told."""
    try:
        document = json.loads((dataset / FOLDER / PLAN).read_text(encoding="utf-8"))
        return str(document["recipe"]["generator"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def write_plan(dataset: Path, plan: Plan) -> None:
    """Replace the plan of a dataset folder."""
    write_atomic(dataset / FOLDER / PLAN, plan.to_bytes())


def differences(old: Plan, new: Plan) -> list[str]:
    """What differs between two plans that must not, one phrase a field: recipe, labels and what is padded."""
    then, now = (_flat(plan.recipe) for plan in (old, new))
    names = sorted({*then, *now}, key=[*then, *now].index)
    pairs = [(name, then.get(name), now.get(name)) for name in names]
    found = [f"{name} is {_show(was)}, asked for {_show(wanted)}" for name, was, wanted in pairs if was != wanted]
    for name in ("labels", "background", "excluded", "group"):
        before, after = getattr(old.source, name), getattr(new.source, name)
        if before != after:
            found.append(f"the source's {name} was {_show(before)}, is {_show(after)}")
    return found


def key(plan_key: str, case: Case, inputs: Mapping[str, str]) -> str:
    """What a fragment is bound to: the plan, the case and the SHA-256 of each of its files (by relative path)."""
    facts = [
        case.id,
        case.patient,
        case.group,
        case.split,
        case.category,
        list(case.flags),
        case.fault,
        dict(case.extra),
    ]
    return _digest([plan_key, facts, dict(sorted(inputs.items()))])


def plan_key(recipe: Recipe, source: Source) -> str:
    """The part of the key that all cases share: FORMAT, the recipe, and the source facts that decide a pixel."""
    facts = {**source.model_dump(mode="json", include={"labels"}), "background": source.background}
    return _digest([FORMAT, recipe.model_dump(mode="json"), facts, list(source.columns)])


def quarantined(case: Case, error: CaseError, *, raw: Path) -> Fragment:
    """The fragment of a case that failed. Paths below ``raw`` are made relative, in the reason too."""
    # What is raised over pixels knows no file: it is the mask where the labels are wrong, else the image.
    at_fault = case.masks if error.code.startswith("label_") else case.images
    file = relative(error.file or at_fault[0], raw) if error.file or at_fault else ""
    reason = error.reason.replace(f"{raw}/", "")
    note = Quarantine(file=file, stage=error.stage, code=error.code, reason=reason, remedy=error.remedy)
    return Fragment(case=case.id, key="", outcome="quarantined", quarantine=note)


def _digest(document: object) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _flat(recipe: Recipe) -> dict[str, object]:
    fields = recipe.model_dump(mode="json")
    return {**fields.pop("options"), **fields}


def _show(value: object) -> str:
    return "none" if value in ((), [], {}, None, "") else str(value)
