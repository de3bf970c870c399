"""From a table of images to one of patients."""

from __future__ import annotations

import pandas as pd

from imagemask.learn.calibration import ERRORS
from imagemask.learn.scores import NAMES, OVERLAPS


def per_patient(images: pd.DataFrame, by: str = "patient") -> pd.DataFrame:
    """One row a patient, by name, of a table with the columns of ``scores.Score`` and one that says whose an image is.

    Scores, and calibration errors where the table has them, are the mean over the patient's images that have them, nan
    where none has; ``defined_NAME`` is the number of those for each score that an image may lack. Then the images,
    those with foreground, those of each failed outcome, and pixels added up. Raises ValueError where distances are in
    different units.
    """
    units = sorted(set(images["unit"]))
    if len(units) > 1:
        raise ValueError(f"distances in {' and '.join(units)} have no mean: give all a spacing, or none")
    groups = images.assign(
        with_foreground=images["foreground"] > 0,
        missed=images["outcome"] == "missed",
        false_alarms=images["outcome"] == "false alarm",
    ).groupby(by, sort=True)
    counts = groups[["with_foreground", "missed", "false_alarms"]].sum().astype("int64")
    lacking = [name for name in NAMES if name not in OVERLAPS]
    table = pd.concat(
        [
            groups.size().rename("images"),
            counts,
            groups[[*NAMES, *(name for name in ERRORS if name in images)]].mean(),
            groups[lacking].count().add_prefix("defined_"),
            groups[["foreground", "predicted"]].sum(),
            groups["unit"].first(),
        ],
        axis=1,
    )
    return table.reset_index()
