"""Datasets for the report: small, drawn, with all that a page can show; and an audit that is told what to say."""

import json
from pathlib import Path

import numpy as np
from datasets import row_of

from imagemask import images, manifest
from imagemask.audit import AuditReport, Finding

LABELS = [
    {"name": "nucleus", "source_value": 1, "mask_value": 1},
    {"name": "cell", "source_value": 2, "mask_value": 2},
]
SIZE = (40, 48)
SPLIT = ("train", "train", "train", "valid", "test", "")


def pair(number, size=SIZE, noise=30):
    """A grey picture of waves and ``noise``, and a mask: class 2 around class 1, growing with ``number``; 0: empty."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    rng = np.random.default_rng(number)
    image = ((rows * 3 + columns * 2) % 160 + rng.integers(0, noise, size)).clip(0, 255).astype(np.uint8)
    far = np.hypot(rows - height * 0.4, columns - width * 0.6)
    inner, outer = (far <= number % 12), (far <= 1.5 * (number % 12))
    mask = np.where(inner, 1, np.where(outer, 2, 0)) * (number % 12 > 0)
    return image, mask.astype(np.uint8)


def dataset(folder, *, patients=6, slices=4, size=SIZE, noise=30, **said):
    """A dataset of ``patients``, each in a split of SPLIT, one slice mirrored; ``said`` goes into dataset.json."""
    rows = []
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(patients * slices):
        patient, index = divmod(number, slices)
        for variant in ("", "fliph") if index == 1 else ("",):
            image, mask = (np.ascontiguousarray(one[:, ::-1] if variant else one) for one in pair(number, size, noise))
            row = described(number, patient, index, variant, mask)
            for kind, pixels in (("images", image), ("masks", mask)):
                (folder / kind / f"{row['key']}.png").write_bytes(images.encode_png(pixels, level=1))
            rows.append(row | {"digest": manifest.digest(image, mask), "dataset": said.get("name", "drawn")})
    manifest.write(folder, manifest.table(rows))
    document = {"name": "drawn", "labels": LABELS, "source": {"group": "patient"}} | said
    (folder / manifest.DATASET).write_text(json.dumps(document), encoding="utf-8")
    return folder


def described(number, patient, index, variant, mask):
    """The row of a drawn pair."""
    height, width = mask.shape
    row = row_of(
        case=f"c{patient:02d}",
        slice=index,
        variant=variant,
        patient=f"P {patient}",
        split=SPLIT[patient % len(SPLIT)],
        foreground=int((mask > 0).sum()),
    )
    classes = " ".join(str(one) for one in np.unique(mask) if one)
    sizes = {"height": height, "width": width, "source_height": height, "source_width": width}
    flags = {0: "label_values", 3: "label_values spacing_differs"}.get(number % 7, "")
    spacing = {"spacing_y": 0.5, "spacing_x": 0.8}
    return row | sizes | spacing | {"flags": flags, "classes": classes, "source": f"scans/{patient}.nii.gz"}


def frame_of(folder):
    """The manifest of a dataset folder."""
    return manifest.read(Path(folder))


def said(findings=(), **changes):
    """An audit's report with ``findings``: (code, severity, message, files)."""
    full = {"folder": "drawn", "pairs": 30, "patients": 6, "splits": {}, "unjudged": (), "verdicts": ("All was seen.",)}
    return AuditReport(**full | changes, findings=[Finding(*one) for one in findings])
