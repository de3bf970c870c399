"""A healthy source, a fault put into it, and what must come of it: the machinery of the tables in test_faults_*.py.

The ids are those of the failure catalogue (sources broken in every way that was seen, or can be thought of): G for any
source, L for lung-tumor, P for pancreas, S for cervical-cancer. The tables are the catalogue as this program keeps it.
"""

import csv
import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import crash
import fakes
import nibabel
import numpy as np
from click.testing import CliRunner
from pydicom import dcmread

from imagemask import testing
from imagemask.cli import main
from imagemask.volumes.nifti import write_nifti

PICTURES = ("images/", "masks/")
EVERY = "*"
"""In place of a case: each that the fault does not hit."""


@dataclass(frozen=True)
class Quarantined:
    """Exit 3, and one line: its code, how the name of its file ends, what its reason or its remedy says.

    ``check`` says the same beforehand where it is ``foreseen``, and else nothing: it lies behind the first slice.
    """

    code: str
    file: str
    words: str = ""
    foreseen: bool = True


@dataclass(frozen=True)
class Built:
    """Exit 0. ``flags`` are those that the case has beside its own; its ``pictures`` are the clean build's.

    Unless they are ``turned`` (the same, under other slice numbers), ``other`` ones, or there are ``none``.
    """

    flags: str = ""
    pictures: str = "same"


@dataclass(frozen=True)
class Refused:
    """One line on stderr that holds ``words``, and no dataset. ``check`` says so beforehand where ``foreseen``."""

    exit_code: int
    words: str
    foreseen: bool = True


@dataclass
class Scene:
    """What an injection may change: the copied source, where it is built to, and what is undone at the end."""

    raw: Path
    out: Path
    patch: object
    undo: ExitStack


@dataclass(frozen=True)
class Fault:
    """One way in which a source is broken. ``case`` is the one that it hits; every other is healthy."""

    id: str
    inject: Callable[[Scene], None]
    then: Quarantined | Built | Refused
    case: str
    source: str
    arguments: tuple[str, ...] = ()
    was: str = ""
    """The case in the clean build, where it has another name there."""
    sees: Mapping[str, int] = field(default_factory=dict)
    """What ``check`` counts more of than in the healthy source."""
    as_user: bool = False
    """Run in a process of its own that obeys permissions, as one of root's does not."""
    finds: str = ""
    """What ``verify`` finds in what is built: the source as it is parts a patient, or leaves a picture in no set."""
    hook: str = ""
    """Run in a process of its own, which begins, as each of its workers does, with this code."""
    spreads: Mapping[str, str] = field(default_factory=dict)
    """The flags that other cases get with it, by case."""
    rewrites: Callable[[Mapping[str, str]], Mapping[str, str]] = lambda row: {}
    """What else is another in the row of another case: the source lies, or is parted, in another way."""

    @property
    def row(self) -> str:
        """The row of the catalogue."""
        return self.id.split()[0]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str


class Bench:
    """A healthy source, and what a clean build makes of it.

    ``arguments`` are those of every command, ``recipe`` those that only a build takes.
    """

    def __init__(self, source, folder, *, arguments=(), recipe=(), **size):
        self.source, self.folder, self.arguments, self.recipe = source, folder, arguments, recipe
        self.raw = testing.phantom(source, folder / "raw", **size)
        out = folder / "clean"
        ended = run(["build", source, "--raw", self.raw, "--out", out, "--workers", 1, *arguments, *recipe])
        assert ended.exit_code == 0, ended.stderr
        self.pictures, self.rows, self.flags = pictures(out), rows(out), flags(out)
        self.excluded = document(out)["excluded"]
        self.checked = json.loads(run(["check", source, "--raw", self.raw, "--json", *arguments]).stdout)

    def prove(self, fault, folder, patch, *, workers=1):
        """Inject ``fault`` into a copy of the source, build it, and hold what comes of it against the table."""
        shutil.copytree(self.raw, folder / "raw")
        with ExitStack() as undo:
            scene = Scene(folder / "raw", folder / "out", patch, undo)
            fault.inject(scene)
            if not fault.arguments:
                self._checked(fault, scene)
            command = ["build", fault.source, "--raw", scene.raw, "--out", scene.out, "--workers", workers, "--json"]
            ended = run([*command, *self.arguments, *self.recipe, *fault.arguments], fault, folder)
        self._ended_as_told(fault, scene, ended)

    def _ended_as_told(self, fault, scene, ended):
        if isinstance(fault.then, Refused):
            refused(fault.then, ended, scene.out)
            return
        quarantine = isinstance(fault.then, Quarantined)
        assert ended.exit_code == (3 if quarantine else 0), ended
        merged = json.loads(ended.stdout)["merged"]
        assert merged["counts"]["quarantined"] == quarantine
        assert document(scene.out)["excluded"] == self.excluded
        self._others_are_untouched(fault, scene.out)
        if quarantine:
            quarantined(fault, scene, merged)
        else:
            self._built(fault, scene.out)
        verified = run(["verify", scene.out, "--json"])
        assert verified.exit_code == (5 if fault.finds else 0)
        assert {one["code"] for one in json.loads(verified.stdout)["findings"]} == set(fault.finds.split())

    def _checked(self, fault, scene):
        """``check`` foresees a refusal, never cries wolf, and counts what is passed over."""
        command = ["check", fault.source, "--raw", scene.raw, "--json", *self.arguments]
        ended = run(command, fault, scene.raw.parent)
        if isinstance(fault.then, Refused):
            allowed = {4} if fault.then.foreseen else {0, 3, 4}
        else:
            allowed = {3 if isinstance(fault.then, Quarantined) and fault.then.foreseen else 0}
        assert ended.exit_code in allowed, ended
        found = json.loads(ended.stdout)
        more = {name: size(found[name]) - size(self.checked[name]) for name in ("junk", "links", "unreadable")}
        if isinstance(fault.then, Built) and "twin_dropped" in fault.then.flags:
            assert fault.case in found["noted"]["twin_dropped"]
        if not found["stopped"]:
            assert more == {"junk": 0, "links": 0, "unreadable": 0, **fault.sees}
        if ended.exit_code == 3 and isinstance(fault.then, Quarantined):
            assert [(one["case"], one["code"]) for one in found["quarantined"]] == [(fault.case, fault.then.code)]

    def _others_are_untouched(self, fault, out):
        """Their pictures, whole rows and flags are the clean build's, but for what the table says."""
        mine = (f"{fault.case}-", f"{fault.was or fault.case}-")

        def others(found):
            return {key: value for key, value in found.items() if not key.split("/")[-1].startswith(mine)}

        def with_spread(case, noted):
            return {*noted, *fault.spreads.get(EVERY, "").split(), *fault.spreads.get(case, "").split()}

        def expected(row):
            noted = with_spread(row["case"], row["flags"].split())
            return {**row, "flags": " ".join(sorted(noted)), **fault.rewrites(row)}

        assert others(pictures(out)) == others(self.pictures)
        assert others(rows(out)) == {key: expected(row) for key, row in others(self.rows).items()}
        healthy = self.flags.keys() - {fault.case, fault.was}
        found = {case: noted for case, noted in flags(out).items() if case != fault.case}
        assert found == {case: with_spread(case, self.flags[case]) for case in healthy}

    def _built(self, fault, out):
        assert lines(out) == []
        was = fault.was or fault.case
        assert flags(out)[fault.case] == self.flags.get(was, set()) | set(fault.then.flags.split())
        now = [(place, data) for place, data in of(fault.case, pictures(out))]
        before = [(place, data) for place, data in of(was, self.pictures)]
        if fault.then.pictures == "none":
            assert now == []
        elif fault.then.pictures == "turned":
            assert now != before
            assert sorted(data for _, data in now) == sorted(data for _, data in before)
        else:
            assert (now == before) == (fault.then.pictures == "same")
            assert now


def refused(then, ended, out):
    """One line, no traceback, nothing written."""
    assert ended.exit_code == then.exit_code, ended
    [line] = ended.stderr.splitlines()
    assert line.startswith("imagemask: ")
    assert then.words in line
    assert ended.stdout == ""
    assert not (out / "manifest.csv").exists() or not then.foreseen


def quarantined(fault, scene, merged):
    """One line in quarantine.csv, the same in the report, and no picture of the case."""
    [line] = lines(scene.out)
    assert (line["case"], line["code"]) == (fault.case, fault.then.code), line
    assert line["file"].endswith(fault.then.file), line
    assert line["file"]
    assert line["reason"]
    assert line["remedy"]
    assert fault.then.words in line["reason"] + line["remedy"], line
    assert str(scene.raw) not in str(line), "an absolute path"
    [(case, note)] = merged["quarantined"]
    assert {"case": case, **note} == line
    assert of(fault.case, pictures(scene.out)) == []


def run(words, fault=None, folder=None):
    """Run a command here, or, where the fault asks for it, in a process of its own that works in ``folder``."""
    arguments = [str(word) for word in words]
    if fault is None or not (fault.as_user or fault.hook):
        done = CliRunner().invoke(main, arguments, catch_exceptions=False)
        return Ended(done.exit_code, done.stdout, done.stderr)
    hooks = crash.hook(folder / "hooks")
    if fault.hook:
        (hooks / "sitecustomize.py").write_text(fault.hook)
    done, _ = crash.run(hooks, folder, " ".join(arguments), lacks="permissions" if fault.as_user else None)
    return Ended(done.returncode, done.stdout, done.stderr)


def lines(out):
    """quarantine.csv."""
    with (out / "quarantine.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def rows(out):
    """Key: row, of manifest.csv, its cells as they are written."""
    with (out / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return {row["key"]: row for row in csv.DictReader(file)}


def document(out):
    """dataset.json."""
    return json.loads((out / "dataset.json").read_text(encoding="utf-8"))


def pictures(out):
    """Relative path: bytes, of every written picture."""
    return {path: data for path, data in fakes.tree(out).items() if path.startswith(PICTURES)}


def of(case, found):
    """The pictures of one case, without its name: [(images/-0003.png, bytes)]."""
    marks = [f"{folder}{case}-" for folder in PICTURES]
    return sorted((path.replace(case, ""), data) for path, data in found.items() if path.startswith(tuple(marks)))


def flags(out):
    """The flags of each built case, of slices without foreground too."""
    found = (json.loads(path.read_text(encoding="utf-8")) for path in (out / "fragments").glob("*.json"))
    return {one["case"]: set(one["flags"]) for one in found if "case" in one and one["outcome"] == "built"}


def size(found):
    """The number that ``check`` gives, or the length of its list."""
    return found if isinstance(found, int) else len(found)


# ---- injections: each returns a function of a scene -----------------------------------------------------------------


def data(name, change):
    """Change the bytes of a file."""

    def inject(scene):
        path = scene.raw / name
        path.write_bytes(change(path.read_bytes()))

    return inject


def volume(*names, array=None, affine=None, **quirks):
    """Write NIfTI files again, with ``array(stored)``, ``affine(affine)`` and the quirks of ``write_nifti``."""

    def inject(scene):
        for name in names:
            path = scene.raw / name
            image = nibabel.load(path)
            stored, placed = np.asarray(image.dataobj.get_unscaled()), image.affine
            stored = stored if array is None else array(stored)
            placed = placed if affine is None else affine(placed)
            write_nifti(path, stored, placed, **{"gzip": name.endswith(".gz"), **quirks})

    return inject


def remove(*names):
    """Remove files, or folders."""

    def inject(scene):
        for name in names:
            path = scene.raw / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return inject


def edit(*names, **elements):
    """Set elements of DICOM files; None removes one, a callable gets the dataset."""

    def inject(scene):
        for path in (path for name in names for path in sorted(scene.raw.glob(name))):
            change(path, **elements)

    return inject


def change(path, to=None, **elements):
    """Set elements of one DICOM file, written to ``to``."""
    dataset = dcmread(path)
    for keyword, value in elements.items():
        found = value(dataset) if callable(value) else value
        if found is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, found)
    dataset.save_as(to or path, enforce_file_format=True)


def both(*injections):
    """One after the other."""

    def inject(scene):
        for each in injections:
            each(scene)

    return inject
