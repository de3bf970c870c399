"""A generator made of arrays, for tests of what happens around one."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from imagemask import build, registry
from imagemask.build import How
from imagemask.errors import CaseError
from imagemask.types import Case, Options, Slice, Source

NAME = "fake"


class FakeOptions(Options):
    """None."""


@dataclass
class Fake:
    """A generator over ``raw/ID.npy`` (slices, rows, columns) and ``raw/ID.mask.npy``; the module's duck type."""

    SOURCE: str = NAME
    Options: type = FakeOptions
    patients: dict = field(default_factory=dict)
    extra: dict = field(default_factory=dict)
    raises: dict = field(default_factory=dict)

    def discover(self, raw, options):
        """A case a pair of arrays."""
        for path in sorted(raw.glob("*.mask.npy")):
            name = path.name.removesuffix(".mask.npy")
            image = raw / f"{name}.npy"
            yield Case(
                id=name,
                patient=self.patients.get(name, name),
                images=(image,) if image.exists() else (),
                masks=(path,),
                bytes=path.stat().st_size,
                **self.extra,
            )

    def read(self, case, options):
        """Its slices."""
        if case.id in self.raises:
            raise self.raises[case.id]
        if not case.images:
            raise CaseError("missing_image", f"{case.id} has no image", remedy="Find it")
        images, masks = np.load(case.images[0]), np.load(case.masks[0])
        for index, (image, mask) in enumerate(zip(images, masks, strict=True)):
            yield Slice(index, image, mask, (0.5, 0.75))


def source(**fields):
    """A source manifest for the fake."""
    given = {
        "name": NAME,
        "title": "Arrays",
        "url": "https://example.org",
        "get": ("make them",),
        "licence": "CC0-1.0",
        "citation": "nobody",
        "labels": {1: "thing"},
        "group": "patient",
        **fields,
    }
    return Source(**given)


def install(monkeypatch, fake=None, **fields):
    """Let the registry know the fake; returns it."""
    fake = fake or Fake()
    monkeypatch.setattr(registry, "load", lambda name: fake)
    monkeypatch.setattr(registry, "source", lambda name: source(**fields))
    return fake


def write_case(raw: Path, name: str, image, mask):
    """Write one case of the fake source."""
    raw.mkdir(parents=True, exist_ok=True)
    np.save(raw / f"{name}.npy", image)
    np.save(raw / f"{name}.mask.npy", mask)


def blob(slices=3, size=(24, 20), *, seed=0, empty=()):
    """A textured image and a lopsided mask."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (slices, *size), dtype=np.uint8)
    mask = np.zeros((slices, *size), np.uint8)
    for index in range(slices):
        if index not in empty:
            mask[index, 4 : 9 + index, 6:15] = 1
            mask[index, 9:12, 12:15] = 1
    return image, mask


def raw_folder(tmp_path, names=("a", "b", "c"), **kwargs):
    """A raw folder of the fake source."""
    for seed, name in enumerate(names):
        write_case(tmp_path / "raw", name, *blob(seed=seed, **kwargs))
    return tmp_path / "raw"


def job(raw, out, **recipe):
    """A prepared build of the fake."""
    return build.prepare(NAME, raw=raw, out=out, recipe=recipe, options={})


def run(raw, out, how=How(workers=1), **recipe):
    """Build the fake source."""
    return build.run(job(raw, out, **recipe), how, started=lambda _: None, progress=lambda _: None)


def tree(folder):
    """Relative path: bytes, of every file but the locks."""
    found = (path for path in sorted(Path(folder).rglob("*")) if path.is_file() and ".lock" not in path.name)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


PYTHON = sys.executable
