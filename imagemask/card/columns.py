"""What the columns of manifest.csv hold, for people and for machines. docs/dataset.md says the same at more length."""

from __future__ import annotations

from imagemask.types import SPLITS

TEXT, INTEGER, FLOAT = "sc:Text", "sc:Integer", "sc:Float"
OF_THE_SOURCE = (TEXT, "A column that the source declares.")

COLUMNS = {
    "key": (TEXT, "CASE-SLICE[~VARIANT]: the pair is images/KEY.png and masks/KEY.png."),
    "dataset": (TEXT, "The name in dataset.json."),
    "patient": (TEXT, "Who it is; blank where the source publishes no patients."),
    "group": (TEXT, "What a split must not divide where that is not the patient (a parent image); else the patient."),
    "case": (TEXT, "The volume or picture that it comes from."),
    "slice": (INTEGER, "Its index along the slice axis as stored in the source, from 0."),
    "variant": (TEXT, "Blank for the plain pair, else how the copy was made: crop40, fliph, flipv, rot5, joined by +."),
    "split": (TEXT, f"{', '.join(SPLITS)}, or blank."),
    "fold": (INTEGER, "The number of the fold, or blank."),
    "category": (TEXT, "The source's own class of the whole picture, where it has one."),
    "flags": (TEXT, "What was noted while reading, blank-separated."),
    "height": (INTEGER, "Rows of the written pixels."),
    "width": (INTEGER, "Columns of the written pixels."),
    "spacing_y": (FLOAT, "Millimetres a written pixel, downwards; blank where the source does not say."),
    "spacing_x": (FLOAT, "Millimetres a written pixel, to the right; blank where the source does not say."),
    "source_height": (INTEGER, "Rows of the slice in the source, upright."),
    "source_width": (INTEGER, "Columns of the slice in the source, upright."),
    "box": (TEXT, "y0 x0 y1 x1: the part of it that was written, in source pixels."),
    "pad": (TEXT, "top left bottom right: padding, in written pixels, before the variant."),
    "foreground": (INTEGER, "Labelled pixels in the written mask."),
    "classes": (TEXT, "Class ids in the written mask, blank-separated."),
    "source": (TEXT, "The file it comes from, relative to the raw folder."),
    "source_sha256": (TEXT, "SHA-256 of that file."),
    "digest": (TEXT, "SHA-256 of the decoded image, then mask (each: shape, dtype, bytes)."),
}
"""Column: its Croissant data type, and what it says in a sentence."""
