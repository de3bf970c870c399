"""The scores of a run on a page: measures with intervals, pooled formulas, patients, calibration."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from imagemask.report.plots import table
from imagemask.report.run_folder import ALL, CALIBRATION, IMAGES, PATIENTS, SCORES, Line, RunFolder, number
from imagemask.report.scales import NONE, fixed, show
from imagemask.report.score_plots import MOST_ROWS, Bin, Estimate, dots, intervals, reliability
from imagemask.report.shown import patient_link

_MEANINGS = {
    "dice": ("Dice", "Overlap of prediction and truth: 1 is all, 0 is none."),
    "iou": ("IoU (Jaccard)", "Overlap, by another formula: always the lower of the two."),
    "sensitivity": ("Sensitivity", "Share of the target that was found."),
    "precision": ("Precision", "Share of what was found that is the target."),
    "specificity": ("Specificity", "Near 1 wherever the target is small: says little."),
    "hd95": ("Hausdorff distance, 95%", "Within it lie 95% of each outline from the other."),
    "nsd": ("Normalised surface Dice", "Share of both outlines that lies close to the other."),
    "area_error": ("Area error", "Over 0 where too much is found, under 0 where too little is."),
    "dice_with_target": ("Dice where there is a target", "Over the images that hold it."),
    "dice_median": ("Dice of the patient in the middle", "Where it is far from the mean, a few patients went wrong."),
    "dice_of_images": ("Dice over images", "Each image counts once: a patient with many slices weighs more."),
    "missed": ("Missed", "Images with the target in which nothing was found."),
    "false_alarms": ("False alarms", "Images without the target in which something was found."),
    "ece": ("Calibration error", "Over all pixels: small for any network, most are certain background."),
    "ece_relevant": ("Calibration error, relevant pixels", "Over pixels that matter: the more telling one."),
    "volume_dice": ("Dice of whole volumes", "Empty slices included."),
    "volume_error": ("Volume error", "Of whole volumes; over 0 where too much is found."),
    "false_positive_slices": ("False-positive slices", "Empty slices in which anything was found."),
    "false_positive_share": ("Share of false-positive slices", "Of a volume's empty slices."),
    "false_positive_area": ("False-positive area", "What was found in a volume's empty slices."),
}
_PLOTTED = ("dice", "dice_with_target", "volume_dice", "iou", "sensitivity", "precision", "nsd")
_SCORES = (*_PLOTTED, "specificity", "area_error", "dice_median", "dice_of_images", "volume_error")
_POOLED = "pooled_"


def scores(run: RunFolder) -> Markup:
    """The sentence that says what was scored, the scores with intervals and by patient, and the pooled formulas."""
    lines = run.table(SCORES)
    honest = [line for line in lines if not line["metric"].startswith(_POOLED)]
    main = next((line["class"] for line in honest), "")
    figures = _intervals(honest, main) + _by_patient(run)
    several = len({line["class"] for line in honest} - {""}) > 1
    head = ("measure", *(("class",) if several else ()), "value", "95% interval", "over")
    measures = table(head, [_score_row(line, several=several) for line in honest], label="all measures")
    return Markup('{}<div class="plots">{}</div><h3>All measures</h3>{}{}{}').format(
        _opening(run), figures, measures, _meanings(honest), pooled(lines)
    )


def pooled(lines: Sequence[Line]) -> Markup:
    """The formulas over all pixels, each beside what finding nothing gets."""
    rows = [
        (line["metric"].removeprefix(_POOLED), _four(line["value"]), _four(line["all_background"]))
        for line in lines
        if line["metric"].startswith(_POOLED)
    ]
    if not rows:
        return Markup()
    words = (
        "Often reported: one ratio over all pixels of all images, the background included. Beside each stands what a "
        "prediction without any foreground gets on the same images: the nearer the two, the less the first one says."
    )
    head = ("formula", "this run", "nothing found at all")
    return Markup("<h3>Pooled formulas</h3><p>{}</p>").format(words) + table(head, rows, label="pooled formulas")


def patients(run: RunFolder) -> Markup:
    """A table of the patients, the lowest Dice first, each of whom leads to her slices."""
    lines = _lines_of_patients(run)
    unit = next((line["unit"] for line in lines), "") or "px"
    head = ("patient", "images", "Dice", "sensitivity", "precision", f"HD95, {unit}", "missed")
    rows = [
        (
            *(patient_link(line["patient"]), line["images"]),
            *(fixed(number(line[name])) for name in ("dice", "sensitivity", "precision")),
            *(show(number(line["hd95"])), line["missed"]),
        )
        for line in lines
    ]
    words = "The lowest Dice first. A patient's name leads to her slices in the gallery."
    return Markup("<p>{}</p>{}").format(words, table(head, rows, label="scores by patient"))


def calibration(run: RunFolder, missing: Markup) -> Markup:
    """Whether a probability is what it says; ``missing`` stands where the bins were not stored."""
    errors = {line["metric"]: number(line["value"]) for line in run.table(SCORES)}
    words = (
        f"Of the pixels called foreground with a probability of 0.8, eight in ten should be. On average over pixels "
        f"the probability is off by {show(errors.get('ece'))}; over those that are foreground, or called so with 0.05 "
        f"at least, by {show(errors.get('ece_relevant'))}, which tells more."
    )
    lines = [line for line in run.table(CALIBRATION) if line["pixels"] == "all"]
    if not lines:
        return Markup("<p>{}</p>").format(words) + missing
    bins = [
        Bin(
            number(one["low"]),
            number(one["high"]),
            int(one["count"]),
            number(one["confidence"]),
            number(one["frequency"]),
        )
        for one in lines
    ]
    caption = (
        "A dot is a bin of probabilities, the larger, the more pixels. On the dashed line a probability is what it "
    )
    caption += "says; above it the network is too timid, below too sure."
    figure = reliability(bins, title="Reliability").figure("Reliability", caption)
    return Markup('<p>{}</p><div class="plots">{}</div>').format(words, figure)


def _opening(run: RunFolder) -> Markup:
    """What was scored, what a reader should know beside it, and what could not be scored."""
    evaluation = run.evaluation or {}
    statement = str(evaluation.get("statement", ""))
    words = [f"{statement[:1].upper()}{statement[1:]}."]
    words += [f"Note: {note}." for note in evaluation.get("notes", ())]
    if failures := evaluation.get("failures", ()):
        words.append(f"Not scored: {', '.join(str(one.get('case')) for one in failures)}.")
    return Markup("").join(Markup("<p>{}</p>").format(one) for one in words)


def _meanings(lines: Sequence[Line]) -> Markup:
    """What each measure is, to be opened."""
    there = dict.fromkeys(line["metric"] for line in lines if line["metric"] in _MEANINGS)
    items = Markup("").join(Markup("<dt>{}</dt><dd>{}</dd>").format(*_MEANINGS[metric]) for metric in there)
    return Markup('<details><summary>What each measure is</summary><dl class="facts">{}</dl></details>').format(items)


def _intervals(lines: Sequence[Line], main: str) -> Markup:
    found = list(_estimates(lines, main))
    caption = "Means over patients, each the mean over her images. "
    if any(math.isfinite(one.low) for one in found):
        caption += "A line is the 95% interval, from drawing patients anew."
    else:
        few = found[0].interval.removeprefix(f"{NONE} (").removesuffix(")") if found else "none"
        caption += f"There are no 95% intervals: {few} are too few."
    return intervals(found, title="Scores on the test set").figure("Scores from 0 to 1", caption)


def _by_patient(run: RunFolder) -> Markup:
    lines = _lines_of_patients(run)
    values: dict[str, list[float]] = {line["patient"]: [] for line in lines}
    for image in run.table(IMAGES):
        if lines and image["class"] == lines[0]["class"]:
            values.setdefault(image["patient"], []).append(number(image["dice"]))
    caption = "A faint dot is an image, the bar their mean; the lowest patient is on top."
    if len(values) > MOST_ROWS:
        caption += f" Of {len(values):,} patients {MOST_ROWS} are shown, the lowest and the highest among them."
    return dots(values, title="Dice by patient", score="Dice").figure("Dice by patient", caption)


def _lines_of_patients(run: RunFolder) -> list[Line]:
    """A line a patient, over all classes, the lowest Dice first."""
    every = run.table(PATIENTS)
    main = ALL if any(line["class"] == ALL for line in every) else next((line["class"] for line in every), "")
    return sorted((line for line in every if line["class"] == main), key=lambda line: _rank(line["dice"]))


def _estimates(lines: Sequence[Line], main: str) -> Iterator[Estimate]:
    for metric in _PLOTTED:
        for line in lines:
            if line["metric"] == metric and (line["class"] in ("", main) or metric == "dice"):
                name = _MEANINGS[metric][0] + ("" if line["class"] in ("", main) else f", {line['class']}")
                value, low, high = (number(line[one]) for one in ("value", "low", "high"))
                yield Estimate(name, value, low, high, line["interval"])


def _score_row(line: Line, *, several: bool) -> tuple[str, ...]:
    name, _ = _MEANINGS.get(line["metric"], (line["metric"], ""))
    if line["unit"].startswith("within"):
        name = f"{name} ({line['unit']})"
    over = f"{number(line['n']):,.0f} {line['of']}"
    if line["undefined"] not in ("", "0"):
        over += f", {line['undefined']} images have none"
    value, unit = number(line["value"]), line["unit"].replace("mm2", "mm²")
    shown = show(value, unit) if unit in ("mm", "mm²", "px") or line["metric"] not in _SCORES else fixed(value)
    return (
        name,
        *((line["class"],) if several else ()),
        shown,
        # Why there is none, the next cell says: how few patients there are.
        NONE if line["interval"].startswith(NONE) else line["interval"].replace(" ", "\N{NO-BREAK SPACE}"),
        over,
    )


def _four(cell: str) -> str:
    """Four digits: of these numbers the third decides nothing."""
    return NONE if cell == "" else f"{number(cell):.4f}"


def _rank(cell: str) -> tuple[bool, float]:
    value = number(cell)
    return (True, 0.0) if math.isnan(value) else (False, value)
