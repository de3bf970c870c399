"""The default network on real CT slices, patients held out: python benchmarks/real_pancreas.py PAIRS [--minutes 15].

PAIRS holds `images/`, `masks/`, `seed_predictions/`: published 512x512 slices of NIH Pancreas-CT, 126 of 31 patients.
They are built through `folder`, split by patient into folds, and trained on with a budget of CPU minutes a fold; each
patient is scored once, by the network that has not seen her. Beside it: the published predictions of a seed
project's network for the very same slices, thresholded at 128. It had seen other slices of these patients. With
``--plain`` also a plain UNet (``plain_unet.py``), trained on the same folds for as many CPU minutes.

The number of epochs follows from the cost of two, which are trained first and thrown away.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from imagemask import images, manifest
from imagemask.learn import intervals, scores, settings, toml

TRIAL = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--minutes", type=float, default=15, help="CPU minutes a fold")
    parser.add_argument("--side", type=int, default=256, help="of the network's input")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--set", action="append", default=[], help="a key of the configuration, as model.filters=8")
    parser.add_argument(
        "--folds", type=int, default=5, help="how many; one tests and one validates, the rest is learnt"
    )
    parser.add_argument("--plain", action="store_true", help="train a plain UNet beside it")
    parser.add_argument("--fold", type=int, action="append", help="only this fold")
    parser.add_argument("--work", type=Path, help="where to work, and to leave the runs")
    asked = parser.parse_args()
    work = asked.work or Path(tempfile.mkdtemp(prefix="real-pancreas-"))
    work.mkdir(parents=True, exist_ok=True)
    build(asked.pairs.resolve(), work, asked.folds)
    rows = []
    for fold in asked.fold or range(asked.folds):
        epochs = affordable(work, fold, asked)
        run, minutes = train(work, fold, asked, epochs=epochs)
        found = pd.read_csv(run / "test" / "per_image.csv")
        rows.append(found.assign(fold=fold, plain=plain(work, fold, minutes, found["key"]) if asked.plain else np.nan))
        print(
            f"fold {fold}: {epochs} epochs, {minutes:.1f} CPU minutes, Dice an image {found['dice'].mean():.3f}",
            flush=True,
        )
    report(pd.concat(rows), asked.pairs, work)


def imagemask(work: Path, *words: object) -> float:
    """Run a command in ``work``; the CPU minutes that it took. Its output goes to a log."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (work / "log.txt").open("ab") as log:
        command = [sys.executable, "-m", "imagemask", *map(str, words)]
        subprocess.run(command, cwd=work, check=True, stdout=log, stderr=log, env={**os.environ, "NO_COLOR": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 60


def build(pairs: Path, work: Path, folds: int) -> None:
    words = ["--name", "pancreas", "--patient", r"(PANCREAS_\d+)", "--mask-threshold", 128]
    cited = ["--licence", "CC-BY-3.0", "--citation", "Roth et al., Data From Pancreas-CT, 2016"]
    imagemask(work, "build", "folder", "--raw", pairs, *words, *cited)
    imagemask(work, "split", "datasets/pancreas", "--folds", folds)


def affordable(work: Path, fold: int, asked: argparse.Namespace) -> int:
    """The epochs that fit into the budget: from the cost of one and of three trial epochs."""
    _, one = train(work, fold, asked, epochs=1)
    _, more = train(work, fold, asked, epochs=1 + TRIAL)
    each = (more - one) / TRIAL
    return max(1, int((asked.minutes - one) / each) + 1)


def configuration(asked: argparse.Namespace, *, epochs: int) -> dict[str, Any]:
    """The defaults, but for the budget: as many epochs as it pays, to the last one, and no previews."""
    tree: dict[str, Any] = {
        "model": {"height": asked.side, "width": asked.side},
        "schedule": {"epochs": epochs, "batch_size": asked.batch_size, "early_stopping": 0},
        "output": {"previews": 0},
    }
    for name, value in (one.split("=", 1) for one in asked.set):
        settings.put(tree, tuple(name.split(".")), tomllib.loads(f"value = {value}")["value"])
    return tree


def train(work: Path, fold: int, asked: argparse.Namespace, *, epochs: int) -> tuple[Path, float]:
    config = work / f"{fold}-{epochs}.toml"
    config.write_text(toml.dumps(configuration(asked, epochs=epochs)))
    number = len(list((work / "runs").glob("*"))) + 1
    out = work / "runs" / f"{number:03d}-fold-{fold}-{epochs}"
    return out, imagemask(work, "train", "datasets/pancreas", "--config", config, "--fold", fold, "--out", out)


def plain(work: Path, fold: int, minutes: float, keys: pd.Series) -> list[float]:
    """Dice of the plain UNet of each test image of a fold, trained for as many CPU minutes as ours took."""
    out = work / f"plain-{fold}.csv"
    words = [work / "datasets" / "pancreas", fold, minutes, out]
    with (work / "log.txt").open("ab") as log:
        script = Path(__file__).with_name("plain_unet.py")
        subprocess.run([sys.executable, script, *map(str, words)], check=True, stderr=log)
    return pd.read_csv(out).set_index("key")["dice"].loc[keys].tolist()


def published(rows: pd.DataFrame, pairs: Path, work: Path) -> list[float]:
    """Dice of the seed's published prediction of each row's slice, at the threshold of its authors."""
    table = manifest.read(work / "datasets" / "pancreas").set_index("key")
    found = []
    for key in rows["key"]:
        name = Path(table.at[key, "source"]).name
        predicted = images.read_image(pairs / "seed_predictions" / name)
        predicted = predicted if predicted.ndim == 2 else predicted[..., 0]
        truth = images.read_png(work / "datasets" / "pancreas" / "masks" / f"{key}.png")
        found.append(scores.score((predicted >= 128).astype(np.uint8), (truth > 0).astype(np.uint8)).dice)
    return found


def report(rows: pd.DataFrame, pairs: Path, work: Path) -> None:
    rows = rows.assign(seed=published(rows, pairs, work))
    who = rows["patient"].tolist()
    rows = rows.assign(gain=rows["dice"] - rows["plain"])
    compared = rows["plain"].notna().all()
    means = rows.groupby("patient")[["dice", "seed", *(["plain"] if compared else [])]].mean()
    print(means.round(3).to_string())
    summary = {}
    told = {"ours, patients unseen": "dice", "published, patients seen": "seed"}
    told |= {"a plain UNet, patients unseen": "plain", "ours less the plain": "gain"} if compared else {}
    for name, column in told.items():
        found = intervals.bootstrap(rows[column].to_numpy(), who)
        summary[name] = {
            "mean": round(found.value, 4),
            "interval": found.text,
            "an_image": round(rows[column].mean(), 4),
        }
        print(f"{name}: Dice a patient {found.value:.3f} ({found.text}), an image {rows[column].mean():.3f}")
    (work / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")


if __name__ == "__main__":
    main()
