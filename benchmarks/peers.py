"""Dice after equal wall time: ours against the UNets of MONAI and of segmentation-models-pytorch, and our own in torch.

Run with ``python benchmarks/peers.py PAIRS [--minutes 5] [--fold 0] [--side NAME]``; PAIRS is what real_pancreas.py is
given, and torch, monai and segmentation-models-pytorch must be there beside TensorFlow. Every side sees the same slices
at 192x192, 4 a step, under the same augmentation, loss, optimiser and cosine, for the same minutes of wall time on the
whole machine; predicts 2% of foreground when it is fresh, as ours does; keeps the weights of the lowest validation
loss; has its threshold chosen on the validation patients, and is scored at the pictures' own size on patients that it
has not seen. What differs is the network and the framework. Nothing is downloaded: no side has pretrained weights.

``ours`` is ``imagemask train``, with as many epochs as the minutes pay for at the cost of some trial epochs; what comes
before the first epoch and after the last is in nobody's minutes, and the first epoch counts as any other. The seconds
that are printed say what the epochs took in the end: where they are not those that were asked for, the line compares
nothing. The others are torch, not compiled; ``twin`` is our network there.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import measure
import numpy as np
import pandas as pd
import real_pancreas

SIDES = ("ours", "twin", "monai", "smp")
SIZE, CHANNELS, BATCH, TRIAL, PRIOR = 192, 3, 4, 8, 0.02  # three, for the slices are published as JPEG in colour
CHANGED = {"augmentation.flip_horizontal": False, "schedule.batch_size": BATCH}


def main() -> None:
    """Read the command line, and print a line a side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--minutes", type=float, default=5, help="of wall time, a side")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--side", action="append", choices=SIDES, help="only this side")
    asked = parser.parse_args()
    print(f"{measure.machine()}; fold {asked.fold}, {asked.minutes:g} minutes a side")
    with tempfile.TemporaryDirectory(prefix="peers-") as name:
        work = Path(name)
        real_pancreas.build(asked.pairs.resolve(), work)
        for side in asked.side or SIDES:
            idle = measure.Idleness()
            found = ours(work, asked) if side == "ours" else torch_side(side, work, asked)
            print(f"    {side:6}{told(found)}; the machine was {idle.share():.0%} idle", flush=True)


def told(found: dict[str, Any]) -> str:
    rows = pd.DataFrame(found["rows"])
    means = [rows[rows["set"] == name].groupby("patient")["dice"].mean().mean() for name in ("valid", "test")]
    size = f"{found['parameters'] / 1e6:.2f} million parameters, {found['epochs']} epochs in {found['seconds']:.0f} s"
    return f"{size}: Dice a patient {means[0]:.3f} on validation, {means[1]:.3f} on test"


# ---- ours ------------------------------------------------------------------------------------------------------------


def ours(work: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """``imagemask train``."""
    _, each = trained(work, asked, 1 + TRIAL)  # it decodes the pictures, too, which the others find decoded
    epochs = max(1, round(60 * asked.minutes / each))
    run, each = trained(work, asked, epochs)
    rows = []
    for name in ("valid", "test"):
        table = pd.read_csv(run / name / "per_image.csv")
        rows += table.assign(set=name)[["set", "patient", "dice"]].to_dict("records")
    counted = parameters(run / "best.keras")
    return {"parameters": counted, "epochs": epochs, "seconds": epochs * each, "rows": rows}


def parameters(path: Path) -> int:
    """Those that are trained."""
    code = "import keras, math, sys; model = keras.models.load_model(sys.argv[1], compile=False)\n"
    code += "print(sum(math.prod(variable.shape) for variable in model.trainable_variables))"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    return int(done.stdout)


def trained(work: Path, asked: argparse.Namespace, epochs: int) -> tuple[Path, float]:
    """A run of so many epochs, and the seconds of one: from the end of the first to the end of the last."""
    from imagemask.learn import settings, toml

    tree: dict[str, Any] = {
        "model": {"height": SIZE, "width": SIZE},
        "schedule": {"epochs": epochs, "early_stopping": 0},
        "output": {"previews": 0},
    }
    for name, value in CHANGED.items():
        settings.put(tree, tuple(name.split(".")), value)
    number = len(list(work.glob("*.toml")))
    config, out = work / f"{number}.toml", work / "runs" / f"{number}"
    config.write_text(toml.dumps(tree))
    words = ["train", "datasets/pancreas", "--config", config, "--fold", asked.fold, "--out", out]
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(real_pancreas.imagemask, work, *words)
        ends: list[float] = []
        while not going.done():
            time.sleep(0.05)
            ends += [time.perf_counter()] * (finished(out / "history.csv") - len(ends))
        going.result()
    if len(ends) < 2:
        raise RuntimeError(f"{out}: {len(ends)} epochs are too few to be timed: give more --minutes")
    return out, (ends[-1] - ends[0]) / (len(ends) - 1)


def finished(history: Path) -> int:
    """How many epochs a run has written down."""
    return max(0, len(history.read_text().splitlines()) - 1) if history.exists() else 0


# ---- the others, each in a process of its own ------------------------------------------------------------------------


def torch_side(side: str, work: Path, asked: argparse.Namespace) -> dict[str, Any]:
    job = {"side": side, "work": str(work), "fold": asked.fold, "minutes": asked.minutes}
    done = subprocess.run([sys.executable, __file__, json.dumps(job)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def fresh(side: str) -> Any:
    """A network of three channels in and one logit out, with a bias of the last layer for 2% of foreground."""
    import torch

    torch.manual_seed(0)
    network = network_of(side)
    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d)]
    if side == "twin":  # as Keras has it
        for layer in layers:
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                torch.nn.init.zeros_(layer.bias)
        torch.nn.init.xavier_uniform_(layers[-1].weight)
    last = [layer for layer in layers if layer.out_channels == 1][-1]
    torch.nn.init.constant_(last.bias, math.log(PRIOR / (1 - PRIOR)))
    return network


def network_of(side: str) -> Any:
    """MONAI's as its examples have it; that of segmentation-models-pytorch with the smallest of its usual encoders."""
    if side == "twin":
        import twin

        from imagemask.learn import models

        return twin.Unet(models.options("unet", {"height": SIZE, "width": SIZE, "channels": CHANNELS}))
    if side == "monai":
        from monai.networks.nets import UNet

        return UNet(2, CHANNELS, 1, channels=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2), num_res_units=2)
    # torchvision's operators for boxes do not load beside every torch, and no UNet needs them.
    sys.modules["torchvision._meta_registrations"] = types.ModuleType("torchvision._meta_registrations")
    import segmentation_models_pytorch

    return segmentation_models_pytorch.Unet("resnet18", encoder_weights=None, in_channels=CHANNELS, classes=1)


def child(job: dict[str, Any]) -> dict[str, Any]:
    """Train in torch for so many minutes, and score."""
    import torch
    import twin

    from imagemask.learn import cache, dataset, settings

    chosen = settings.load(given=dict(CHANGED))
    data = dataset.read(Path(job["work"], "datasets", "pancreas"), fold=job["fold"])
    kept = cache.open_cache(data, height=SIZE, width=SIZE, channels=CHANNELS)
    rows = {name: [kept.position[key] for key in data.part(name)["key"]] for name in ("train", "valid")}
    network, scale = fresh(job["side"]), 1.0 if job["side"] == "twin" else 1 / 255
    network = network.to(memory_format=torch.channels_last)
    optimiser, augment = twin.optimiser(network, chosen.optimiser), twin.Augmentation(chosen.augmentation, 1)

    def loss(pictures: Any, masks: Any) -> Any:
        return twin.objective(masks[:, None].float(), torch.sigmoid(network(pictures * scale)))

    def taken(places: Any) -> tuple[Any, Any]:
        return torch.from_numpy(kept.images[places]), torch.from_numpy(kept.masks[places])

    rng, best, epochs, begin = np.random.default_rng(0), (math.inf, {}), 0, time.perf_counter()
    while (share := (time.perf_counter() - begin) / (60 * job["minutes"])) < 1:
        for group in optimiser.param_groups:
            group["lr"] = chosen.optimiser.learning_rate * (1 + math.cos(math.pi * share)) / 2
        network.train()
        order = rng.permutation(rows["train"])
        for start in range(0, len(order) - BATCH + 1, BATCH):
            found = loss(*augment(*taken(np.sort(order[start : start + BATCH]))))
            found.backward()
            twin.clip(network, chosen.optimiser.clip_at)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        network.eval()
        with torch.no_grad():
            images, masks = taken(rows["valid"])
            value = float(loss(images.permute(0, 3, 1, 2).float(), masks))
        if value < best[0]:
            best = value, {name: one.clone() for name, one in network.state_dict().items()}
        epochs += 1
    seconds = time.perf_counter() - begin
    network.load_state_dict(best[1])
    scores = list(scored(network, scale, data, kept))
    counted = sum(one.numel() for one in network.parameters())
    return {"parameters": counted, "epochs": epochs, "seconds": seconds, "rows": scores}


def scored(network: Any, scale: float, data: Any, kept: Any) -> Iterator[dict[str, Any]]:
    """The Dice of each image of the validation and the test set, at its own size and our choice of a threshold."""
    from imagemask.learn import infer, scores, thresholds

    chosen = thresholds.Thresholds()
    for _, probabilities, truth in predicted(network, scale, data, kept, "valid"):
        chosen.add(probabilities, truth)
    for name in ("valid", "test"):
        for patient, probabilities, truth in predicted(network, scale, data, kept, name):
            dice = scores.score(infer.decide(probabilities, chosen.best()), truth).dice
            yield {"set": name, "patient": patient, "dice": float(dice)}


def predicted(network: Any, scale: float, data: Any, kept: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    import torch

    from imagemask import images, manifest
    from imagemask.learn import fit

    for row in data.part(name).itertuples(index=False):
        picture = torch.from_numpy(kept.images[kept.position[row.key]][None]).permute(0, 3, 1, 2).float()
        with torch.no_grad():
            found = torch.sigmoid(network(picture * scale))[0].permute(1, 2, 0).numpy()
        truth = manifest.to_labels(images.read_png(data.folder / "masks" / f"{row.key}.png"), data.document)
        yield row.patient, fit.restore(found, fit.place(truth.shape, SIZE, SIZE)), truth


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        print(json.dumps(child(json.loads(sys.argv[1]))))
    else:
        main()
