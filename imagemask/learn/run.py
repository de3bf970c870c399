"""A run folder: what one training wrote, and all that evaluation and prediction need to know.

::

    run.json           what the model takes and gives: size, window, recipe, labels, threshold, digests, versions
    settings.toml      the resolved configuration
    split.csv          the split that it was trained under
    best.keras         the network whose validation loss was lowest: plain layers, no code of this package
    last.keras         the network after the last epoch
    checkpoint.npz     what --resume goes on from
    history.csv  curves.png  previews/  environment.json
    valid/  test/      what evaluate wrote
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from imagemask.errors import InputError, UsageError
from imagemask.files import write_atomic

if TYPE_CHECKING:
    import keras

RECORD, SETTINGS, SPLIT, ENVIRONMENT = "run.json", "settings.toml", "split.csv", "environment.json"
BEST, LAST, CHECKPOINT = "best.keras", "last.keras", "checkpoint.npz"
HISTORY, CURVES, PREVIEWS = "history.csv", "curves.png", "previews"
RUNS = "runs"
"""The folder of a workspace that holds runs: runs/NAME/RUN."""


class Record(BaseModel):
    """``run.json``.

    ``height``, ``width`` and ``channels`` are the network's input; ``labels`` the names of the foreground classes by
    class id from 1, and ``mask_values`` what each is in a written mask. ``recipe`` made the pixels, ``generator`` read
    them, ``window`` is the recipe's (empty: 8-bit pictures), ``background`` what pads a picture. ``threshold`` decides
    foreground; None before it is chosen on the validation set. ``digest`` is the dataset's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: str = Field(default="imagemask.run/1", alias="schema")
    dataset: str
    folder: str
    """Where the dataset lay: relative to the run folder, POSIX."""
    digest: str
    fold: int | None
    settings: str = ""
    """SHA-256 of ``settings.toml``: what is resumed must be what was begun."""
    labels: tuple[str, ...]
    mask_values: tuple[int, ...]
    height: int
    width: int
    channels: int
    classes: int
    """Output channels: 1 for one foreground class alone, else the background and every class."""
    batch_size: int = 8
    """Images a step: as many fit into memory."""
    recipe: Mapping[str, JsonValue]
    background: int = 0
    crop_share: float = Field(default=0.0, ge=0, lt=0.5)
    """The share of a picture that the network is not shown, at each side (``fit.centre``)."""
    picture: tuple[int, int] | None = None
    """Height and width of every picture of the dataset; None where they differ."""
    from_pictures: bool = False
    """Whether the windows were applied to picture files (PNG, ...)."""
    source: Mapping[str, JsonValue] = {}
    epoch: int = 0
    """The epoch of ``best.keras``, from 1; 0: none yet."""
    threshold: float | None = None
    ended: str = ""
    """Why the training came to its end; empty where it did not, and --resume goes on."""

    @property
    def window(self) -> tuple[str, ...]:
        """The windows of the recipe, as ``pixels.parse_window`` takes them; empty for 8-bit pictures."""
        found = self.recipe.get("window")
        return tuple(str(one) for one in found) if isinstance(found, list | tuple) else ()


@dataclass(frozen=True)
class Run:
    """A run folder and its record."""

    folder: Path
    record: Record

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The run in ``folder``. Raises InputError where its record is missing or damaged."""
        path = folder / RECORD
        try:
            record = Record.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise InputError(f"{folder}: is no run", remedy="Train one: imagemask train") from error
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            raise InputError(f"{path}: cannot be read: {error}", remedy="Train again, or restore it") from error
        return cls(folder, record)

    @property
    def dataset(self) -> Path:
        """Where the dataset is expected."""
        return (self.folder / self.record.folder).resolve()

    @property
    def threshold(self) -> float:
        """The threshold chosen on the validation set; 0.5 before."""
        return 0.5 if self.record.threshold is None else self.record.threshold

    def with_record(self, *, save: bool = True, **changes: Any) -> Run:
        """The run with values of its record replaced, here and, with ``save``, on disk."""
        changed = Run(self.folder, self.record.model_copy(update=changes))
        if save:
            changed.save()
        return changed

    def save(self) -> None:
        """Write the record."""
        document = self.record.model_dump(mode="json", by_alias=True)
        write_atomic(self.folder / RECORD, (json.dumps(document, indent=2) + "\n").encode())

    def model(self) -> keras.Model:
        """The best network, ready for ``infer.probabilities``. Raises InputError where it is missing or damaged."""
        import keras

        path = self.folder / BEST
        if not path.is_file():
            raise InputError(f"{path}: is missing", remedy=f"imagemask train --resume --out {self.folder}")
        try:
            return keras.saving.load_model(path, compile=False)
        except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"{path}: cannot be loaded: {error}", remedy="Train again, or restore it") from error


def find(run: Path | None, here: Path) -> Path:
    """The run folder to work on: the one given (or its run.json); else the newest below ``here``/runs.

    Raises UsageError where there is none.
    """
    if run is not None:
        return run.parent if run.name == RECORD else run
    found = sorted((here / RUNS).glob(f"*/*/{RECORD}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UsageError("there is no run here", remedy="Train one (imagemask train), or name its folder")
    return found[-1].parent
