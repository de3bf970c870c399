"""A process of the training benchmark that is PyTorch's: the twin of our network, trained as one does there.

``train_torch.py TASK JOB``; the side of the job is ``eager`` or ``compile``. The tasks: ``time`` prints the figures,
``check`` holds the network against what ``train_ours.py weights`` wrote and prints how far they are apart.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import measure
import numpy as np
from train_job import Clock, Job

JOB = Job.parse(sys.argv[2])
JOB.confine()

import torch  # noqa: E402
import twin  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.utils.data import DataLoader, Dataset, RandomSampler  # noqa: E402

from imagemask.learn import models, settings  # noqa: E402

DEVICE = torch.device("cuda" if JOB.gpu else "cpu")
torch.set_num_threads(JOB.threads)
torch.backends.cudnn.benchmark = True
SETTINGS = settings.load(given={"optimiser.learning_rate": JOB.rate})


class Trainer:
    """A network and its optimiser; ``step`` is one step of training."""

    def __init__(self, job: Job) -> None:
        self.job = job
        torch.manual_seed(0)
        self.network = twin.Unet(models.options("unet", job.options)).to(DEVICE, memory_format=torch.channels_last)
        self.optimiser = twin.optimiser(self.network, SETTINGS.optimiser)
        self.totals = torch.zeros(2, 4, device=DEVICE)
        self._forward = torch.compile(self.forward) if job.side == "compile" else self.forward

    def forward(self, pictures: Tensor, truth: Tensor) -> tuple[Tensor, Tensor | None]:
        """The loss of a batch, and its scores where they are asked for."""
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=self.job.precision == "bfloat16"):
            logits = self.network(pictures)
        prediction = self.network.probabilities(logits)
        loss = twin.objective(truth, prediction)
        return loss, twin.scores(truth, prediction.detach()) if self.job.metrics else None

    def step(self, pictures: Tensor, masks: Tensor) -> float:
        """Train on pictures BxCxHxW in float32 and class ids BxHxW, both on the device; the loss before."""
        loss, scores = self._forward(pictures, self.truth(masks))
        loss.backward()
        twin.clip(self.network, SETTINGS.optimiser.clip_at)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        if scores is not None:
            self.totals += scores
        return loss.item()

    def truth(self, masks: Tensor) -> Tensor:
        """BxKxHxW in float32."""
        if self.network.options.classes == 1:
            return masks[:, None].float()
        return torch.nn.functional.one_hot(masks.long(), self.network.options.classes).permute(0, 3, 1, 2).float()


class Pairs(Dataset):
    """The pictures on the disk, a batch at a time; on a CPU they are augmented here, in a worker."""

    def __init__(self, job: Job, augment: twin.Augmentation | None) -> None:
        self.images, self.masks = job.data()
        self.augment = augment

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        pair = torch.from_numpy(self.images[rows]), torch.from_numpy(self.masks[rows])
        return self.augment(*pair) if self.augment else pair


def batches(job: Job, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Augmented batches on the device. A card augments by itself; a CPU's processors are shared with one worker."""
    augment = twin.Augmentation(SETTINGS.augmentation, job.options.get("classes", 1))
    pairs = Pairs(job, None if job.gpu else augment)
    chosen = RandomSampler(range(len(pairs)), num_samples=steps * job.batch)
    groups = torch.utils.data.BatchSampler(chosen, job.batch, drop_last=True)
    loader = DataLoader(
        pairs, sampler=groups, batch_size=None, num_workers=4 if job.gpu else 1, pin_memory=job.gpu, prefetch_factor=3
    )
    for one in loader:
        images, masks = (part.to(DEVICE, non_blocking=True) for part in one)
        yield augment(images, masks) if job.gpu else (images, masks)


def timed(job: Job) -> dict[str, float]:
    """Seconds of a step on one batch, and of a step of an epoch with data."""
    trainer, steps = Trainer(job), job.warm + job.steps
    trainer.network.train()
    alone, fed = Clock(job.warm), Clock(job.warm)
    pictures, masks = one_batch(job)
    for _ in range(steps):
        trainer.step(pictures, masks)
        alone.tick()
    for augmented, ids in batches(job, steps):
        trainer.step(augmented, ids)
        fed.tick()
    return {"step": alone.each, "busy": alone.busy, "epoch": fed.all}


def check(job: Job) -> None:
    """Print the number of parameters, and the largest differences: of an output, and of a loss, as a share of it."""
    job = Job(**{**vars(job), "side": "eager"})
    trainer = Trainer(job)
    with np.load(Path(job.folder, "weights.npz")) as file:
        twin.copied(trainer.network, {name.replace("|", "/"): file[name] for name in file.files})
    pictures, masks = one_batch(job)
    trainer.network.eval()
    with torch.no_grad():
        output = trainer.network.probabilities(trainer.network(pictures)).permute(0, 2, 3, 1).cpu().numpy()
    trainer.network.train()
    losses = np.array([trainer.step(pictures, masks) for _ in range(job.steps)])
    with np.load(Path(job.folder, "expected.npz")) as file:
        apart = float(np.abs(output - file["output"]).max())
        spread = float(file["output"].std((0, 1, 2)).max())
        loss = float(np.abs(losses / file["losses"] - 1).max())
    trainable = sum(one.numel() for one in trainer.network.parameters())
    print(json.dumps({"trainable": trainable, "apart": apart, "spread": spread, "loss": loss}))


def one_batch(job: Job) -> tuple[Tensor, Tensor]:
    """BxCxHxW in float32, in channels_last, which leaves the bytes where they are; and class ids BxHxW."""
    pictures, masks = (torch.from_numpy(part) for part in job.one_batch())
    return pictures.permute(0, 3, 1, 2).to(DEVICE), masks.to(DEVICE)


if __name__ == "__main__":
    match sys.argv[1]:
        case "time":
            measure.report(lambda: timed(JOB))
        case "check":
            check(JOB)
