"""A dataset as ``build`` leaves it, made without building: small pictures, a manifest, a dataset.json."""

import hashlib
import json
from pathlib import Path

import numpy as np

from imagemask import images, manifest, split

PLAIN = {
    "dataset": "fake",
    "category": "",
    "flags": "",
    "height": 2,
    "width": 3,
    "spacing_y": None,
    "spacing_x": None,
    "source_height": 2,
    "source_width": 3,
    "box": "0 0 2 3",
    "pad": "0 0 0 0",
    "classes": "",
    "source": "a.nii",
}


class Dataset:
    """Writes and rewrites a dataset folder.

    Rows are dictionaries; what one leaves out is plain: a case of its own patient, its first slice, with foreground.
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    def write(self, rows, *, group="patient", pictures=True):
        """What ``merge`` does: a fresh manifest, and split.csv applied to it where there is one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "dataset.json").write_text(json.dumps({"name": "fake", "source": {"group": group}}))
        full = [row_of(**row) for row in rows]
        frame = manifest.table(full)
        assignment = split.read_assignment(self.folder)
        if assignment is not None:
            frame, _ = split.apply(frame, assignment)
        manifest.write(self.folder, frame)
        if pictures:
            self._draw(row["key"] for row in full)
        return self

    def _draw(self, keys):
        for kind in ("images", "masks"):
            (self.folder / kind).mkdir(exist_ok=True)
        for key in keys:
            pixels = np.frombuffer(hashlib.sha256(key.encode()).digest()[:6], np.uint8).reshape(2, 3)
            (self.folder / "images" / f"{key}.png").write_bytes(images.encode_png(pixels, level=1))
            (self.folder / "masks" / f"{key}.png").write_bytes(images.encode_png(pixels // 128 * 255, level=1))

    def rows(self):
        """The manifest as it is now."""
        return manifest.read(self.folder)

    def column(self, of, value="split"):
        """Value of the column ``of``: the values of another in its rows; one, where it is whole."""
        return {name: set(part[value]) for name, part in self.rows().groupby(of)}

    def tree(self):
        """Path: bytes, of every file, hidden ones included but not the lock; None, of every folder but the lock's."""
        paths = [path for path in self.folder.rglob("*") if path.name not in ("fragments", ".lock")]
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes() if path.is_file() else None for path in paths
        }


def row_of(*, case, slice=0, variant="", patient=None, group=None, split="", foreground=1, sha256=""):  # noqa: A002
    """A row of a manifest; the group is the patient where there is no other, as ``build`` has it; a file a case."""
    key = f"{case}-{slice:04d}" + (f"~{variant}" if variant else "")
    patient = case if patient is None else patient
    said = {"key": key, "case": case, "slice": slice, "variant": variant, "patient": patient, "split": split}
    group = patient if group is None else group
    digest = hashlib.sha256(key.encode()).hexdigest()
    own = {"source_sha256": sha256 or hashlib.sha256(case.encode()).hexdigest(), "digest": digest}
    return {**PLAIN, **said, "fold": "", "group": group, "foreground": foreground, **own}


def patients(count, *, first=0, slices=4, **cells):
    """Rows of so many patients, with foreground in all slices but the first."""
    return [
        {"case": f"p{number:02d}", "slice": index, "foreground": index, **cells}
        for number in range(first, first + count)
        for index in range(slices + number % 3)
    ]
