"""How fast the networks train: ours, on TensorFlow and on JAX, against the same networks in PyTorch.

Run with ``python benchmarks/train.py``; ``--help`` lists what else there is. It needs torch beside the extra ``train``,
and JAX if that is to be seen. A side that is not installed is left out, and said to be.

* ``tensorflow``, ``jax``: ours, by the code that ``imagemask train`` runs (``train_ours.py``).
* ``eager``, ``compile``: PyTorch's (``train_torch.py``), with channels_last, a fused AdamW, gradients clipped in one
  call, and a DataLoader.

Before anything is timed, PyTorch's network must have as many parameters as ours, make the same of the same pictures
with the same weights, to 1e-4, and have the same losses over three steps of training, to a thousandth. Then every side
trains on one batch again and again (**step**), and through an epoch of augmented pictures from the disk (**epoch**).
Every side runs in a fresh process, in turn, on the same processors and with as many threads; the first few steps, and
compiling with them, are not timed. All compute the default metrics as they train; with ``--bare`` none does.

With ``--gpu``, TensorFlow is left out unless it is asked for, the precision is bfloat16, and what share of the card's
peak is reached is printed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import measure
from measure import Took, each, judged, mid, ratio
from train_job import NETWORKS, Job, write_pictures

from imagemask.learn import models

ROUNDS, PICTURES = 3, 64
OURS = {"tensorflow": "tensorflow", "jax": "jax"}
PYTORCH = {"eager": "torch", "compile": "torch"}
APART, LOSS_APART, WAITING, AIM = 1e-4, 1e-3, 2.0, 1.0
TFLOPS = {"H100": 989, "H200": 989, "B200": 2250, "A100": 312, "L40S": 362, "L4": 121, "A10": 125}
"""Peaks of dense bfloat16, as their maker gives them."""


def script(side: str) -> str:
    """What runs this side."""
    return str(Path(__file__).with_name("train_ours.py" if side in OURS else "train_torch.py"))


def verified(job: Job, side: str, folder: Path) -> list[str]:
    """Lines that say that PyTorch's network is that of ``side``. Raises AssertionError where it is not.

    On a CPU in float32, without dropout, which draws differently; of a picture as small as the network can take.
    """
    sample = models.options("unet", job.options).step * 2
    options = {**job.options, "dropout": 0.0, "height": sample, "width": sample}
    small = replace(job, options=options, batch=2, steps=3, folder=str(folder))
    if options.get("normalization") == "none":
        # Pixels of 0 to 255 come to probabilities of 0 and 1, and a step to chaos, in which nothing is to be seen.
        small = replace(small, scale=1 / 256, rate=1e-5)
    small = replace(small, gpu=False, precision="float32")
    write_pictures(folder, small, count=2)
    ours = measure.once(script(side), ("weights", small.told(side)))
    theirs = measure.once(script("eager"), ("check", small.told("eager")))
    assert ours["trainable"] == theirs["trainable"], (ours, theirs)
    assert theirs["apart"] < APART < theirs["spread"] / 10, theirs
    assert theirs["loss"] < LOSS_APART, theirs
    count, apart, loss = int(ours["parameters"]), theirs["apart"], theirs["loss"]
    return [f"  {side} and PyTorch: {count:,} parameters; outputs within {apart:.0e}; three losses within {loss:.0e}"]


def operations(job: Job) -> float:
    """Floating-point operations of a step for each image: those of the convolutions, forwards and twice back."""
    options = models.options("unet", job.options)
    macs, width = 0, options.channels
    for level in range(options.levels):
        pixels, filters = options.height * options.width // 4**level, options.filters_at(level)
        inside = pixels * options.kernel_at(level) ** 2 * filters
        macs += inside * (width + filters)
        if level < options.levels - 1:  # the decoder's level, from below
            below = options.filters_at(level + 1)
            macs += pixels * below * filters // (1 if options.upsampling == "transposed" else 4)
            macs += inside * (2 * filters + filters)
        width = filters
    macs += options.height * options.width * options.filters_at(0) * options.classes
    return 6.0 * macs


def table(job: Job, took: dict[str, list[Took]], peak: float | None) -> list[str]:
    """A line a side, and what is held against the aims."""
    lines = [f"  {'':12}{'step':>10}{'epoch':>10}  images a second"]
    for side, one in took.items():
        rates = {name: job.batch / mid(one, name) for name in ("step", "epoch")}
        waited = f"   waited for data {mid(one, 'waited'):.1%}" if "waited" in one[0] else ""
        reached = operations(job) * rates["step"] / 1e12
        busy = mid(one, "busy") / job.batch
        share = f", {reached / peak:.0%} of the peak" if peak else ""
        speed = f"   {busy:7.3f} processor s an image   {reached:6.2f} TFLOP/s{share}   {mid(one, 'memory'):6.0f} MiB"
        lines.append(f"  {side:12}{rates['step']:10.2f}{rates['epoch']:10.2f}{speed}{waited}")
    mine, others = ([side for side in took if side in kind] for kind in (OURS, PYTORCH))
    for name in ("step", "epoch"):
        if mine and others:
            first, second = (min(sides, key=lambda side: mid(took[side], name)) for sides in (mine, others))
            ahead = ratio(each(took[second], name), each(took[first], name))
            lines.append(judged(f"{name}: ours ({first}) against PyTorch ({second})", ahead, AIM))
    waiting = "share of an epoch spent waiting"
    lines += [
        judged(f"{side}: {waiting}", 100 * mid(took[side], "waited"), WAITING, least=False, unit="%") for side in mine
    ]
    return lines


def card() -> tuple[str, float | None]:
    """The name of the first graphics card, and its peak in TFLOP/s where it is known."""
    asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    name = subprocess.run(asked, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[0]
    return name, next((float(peak) for kind, peak in TFLOPS.items() if kind in name.replace("-", " ").split()), None)


def sides(asked: argparse.Namespace) -> list[str]:
    """Those that are to run, ours first; the others are named, with the reason."""
    wanted = asked.sides.split(",") if asked.sides else [*OURS, *PYTORCH]
    if asked.gpu and not asked.sides:
        wanted.remove("tensorflow")
    missing = [side for side in wanted if importlib.util.find_spec((OURS | PYTORCH)[side]) is None]
    if missing:
        print(f"not installed: {', '.join(missing)}")
    return [side for side in wanted if side not in missing]


def run(name: str, asked: argparse.Namespace, *, peak: float | None) -> None:
    """Check and time one network."""
    precision = asked.precision or ("bfloat16" if asked.gpu else "float32")
    job = replace(NETWORKS[name], gpu=asked.gpu, precision=precision, threads=asked.threads, metrics=not asked.bare)
    there = sides(asked)
    size = f"{job.options['height']}x{job.options['width']}"
    print(f"{name}: {size}, batches of {job.batch}, {job.steps} steps, {precision}")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        if any(side in PYTORCH for side in there):
            for side in there:
                if side in OURS:
                    print("\n".join(verified(job, side, folder)), flush=True)
        write_pictures(folder, job, count=max(PICTURES if job.batch > 2 else 16, job.batch))
        job = replace(job, folder=made)
        took: dict[str, list[Took]] = {side: [] for side in there}
        for _ in range(asked.rounds):
            for side in there:
                took[side].append(measure.once(script(side), ("time", job.told(side))))
    print("\n".join(table(job, took, peak)), flush=True)


def main() -> None:
    """Print a table a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny pictures, three steps, one round: does it run?")
    parser.add_argument("--gpu", action="store_true", help="on the first graphics card")
    parser.add_argument("--rounds", type=int, help=f"how often each side runs ({ROUNDS})")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="processors for each side")
    parser.add_argument("--network", choices=NETWORKS, action="append", help="again for more; default and lung")
    parser.add_argument("--sides", help=f"some of {','.join([*OURS, *PYTORCH])}")
    parser.add_argument("--precision", choices=["float32", "bfloat16"])
    parser.add_argument("--bare", action="store_true", help="without metrics, on all sides")
    asked = parser.parse_args()
    asked.rounds = asked.rounds or (1 if asked.quick else ROUNDS)
    name, peak = card() if asked.gpu else ("", None)
    print(f"{measure.machine()}; {name or 'no card'}; {asked.threads} threads; {asked.rounds} rounds in turn, medians")
    for network in asked.network or (["quick", "quick-lung"] if asked.quick else ["default", "lung"]):
        run(network, asked, peak=peak)


if __name__ == "__main__":
    main()
