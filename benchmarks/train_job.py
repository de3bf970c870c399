"""What a training benchmark's processes are told, and the pictures they all train on.

The networks, by name: ``default``, our own at 256x256, and ``lung``, that of the seeds' lung configuration, 124,996,866
parameters at 512x512. ``quick`` is the default at a size at which everything is tried in seconds.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, Self

import numpy as np

SEEDS = {"normalization": "none", "upsampling": "transposed", "rescale_input": False}
LUNG = {**SEEDS, "levels": 8, "filters": 16, "kernel_size": 9, "classes": 2, "channels": 3, "dropout": 0.05}
IMAGES, MASKS = "images.npy", "masks.npy"


@dataclass(frozen=True)
class Job:
    """One process: which side, on which network, how many steps. ``options`` are those of the model ``unet``.

    ``scale`` is what pixels are multiplied by, and ``rate`` the learning rate, where a step is looked at and not timed.
    """

    side: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    batch: int = 8
    steps: int = 50
    warm: int = 5
    threads: int = 2
    gpu: bool = False
    precision: str = "float32"
    metrics: bool = True
    folder: str = ""
    scale: float = 1.0
    rate: float = 0.001

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of one argument of a command line."""
        return cls(**json.loads(text))

    def told(self, side: str, **other: Any) -> str:
        """The argument for a process of this side."""
        return json.dumps(asdict(replace(self, side=side, **other)))

    def confine(self) -> None:
        """Give this process so many processors, and no card that it was not promised: before a framework is there.

        All of them make one thread for each processor that they may run on.
        """
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: self.threads])
        os.environ.update(OMP_NUM_THREADS=str(self.threads), TF_CPP_MIN_LOG_LEVEL="3")
        if not self.gpu:
            os.environ.update(CUDA_VISIBLE_DEVICES="", JAX_PLATFORMS="cpu")

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Images n x H x W x C, and their class ids n x H x W: uint8, mapped from the disk."""
        images, masks = (np.load(Path(self.folder, name), mmap_mode="r") for name in (IMAGES, MASKS))
        return images, masks

    def one_batch(self) -> tuple[np.ndarray, np.ndarray]:
        """The first pictures, in float32, times ``scale``; and their class ids."""
        images, masks = self.data()
        return images[: self.batch].astype(np.float32) * np.float32(self.scale), np.array(masks[: self.batch])


NETWORKS = {
    "default": Job(options={"height": 256, "width": 256, "channels": 1}),
    "lung": Job(options={**LUNG, "height": 512, "width": 512}, batch=2, steps=5, warm=2),
    "quick": Job(options={"height": 64, "width": 64, "channels": 1, "filters": 4}, batch=4, steps=3, warm=2),
    "quick-lung": Job(options={**LUNG, "height": 128, "width": 128, "filters": 2}, batch=2, steps=3, warm=2),
}


def write_pictures(folder: Path, job: Job, *, count: int) -> None:
    """Noise with a bright disc in each picture, and the disc as its mask."""
    rng = np.random.default_rng(0)
    height, width, channels = (job.options[name] for name in ("height", "width", "channels"))
    y, x = np.mgrid[:height, :width]
    shape = (count, 1, 1)
    middle_y, middle_x = (rng.uniform(0.3, 0.7, shape) * side for side in (height, width))
    radius = rng.uniform(0.05, 0.2, shape) * min(height, width)
    masks = ((y - middle_y) ** 2 + (x - middle_x) ** 2 < radius**2).astype(np.uint8)
    images = rng.integers(0, 128, (count, height, width, channels), np.uint8) + 90 * masks[..., None]
    np.save(folder / IMAGES, images)
    np.save(folder / MASKS, masks)


class Clock:
    """When each step ended."""

    def __init__(self, warm: int) -> None:
        self.warm, self.ends, self.processor = warm, list[float](), list[float]()

    def tick(self) -> None:
        """A step is done, and its loss known."""
        self.ends.append(time.perf_counter())
        self.processor.append(time.process_time())

    @property
    def each(self) -> float:
        """Seconds of a step: the median of those that come after the warm ones."""
        return median(np.diff(self.ends[self.warm - 1 :]))

    @property
    def all(self) -> float:
        """Seconds from the last warm step to the end, for each step of it."""
        return (self.ends[-1] - self.ends[self.warm - 1]) / (len(self.ends) - self.warm)

    @property
    def busy(self) -> float:
        """Processor seconds of a step, of all threads, as ``each``: what a neighbour leaves nearly alone."""
        return median(np.diff(self.processor[self.warm - 1 :]))
