"""The generators there are: built-in modules, and modules that other distributions register."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Literal, Optional

import pytest
from click.testing import CliRunner

from imagemask import documents, registry
from imagemask.cli import build, main
from imagemask.errors import InputError, UsageError
from imagemask.registry import Kind

PLUG_IN = """
from imagemask.types import Options
SOURCE = "moon"
def discover(raw, options): return []
def read(case, options): return []
"""
TOML = """
name = "moon"
title = "Slices of the moon"
url = "https://example.org"
get = ["Fly there."]
licence = "CC0"
citation = "Nobody"
group = "none"
labels = { 1 = "crater" }
"""


@pytest.fixture
def plug_in(tmp_path, monkeypatch):
    """Registers a module of another distribution; a function of its code and the name that it is registered under."""
    points = []
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "imagemask.generators" else [])
    monkeypatch.syspath_prepend(tmp_path)

    def register(code=PLUG_IN, name="moon", package="moon_slices"):
        """In a package; in the folder itself where that is ""."""
        folder = tmp_path / package
        folder.mkdir(exist_ok=True)
        module = f"{package}.generator" if package else "moon_alone"
        if package:
            (folder / "__init__.py").touch()
        (folder / f"{module.rpartition('.')[2]}.py").write_text(code)
        (folder / "moon.toml").write_text(TOML)
        points.append(EntryPoint(name, module, "imagemask.generators"))
        for one in filter(None, (package, module)):
            monkeypatch.delitem(sys.modules, one, raising=False)

    return register


def test_a_plug_in_is_looked_up_once_and_not_for_every_case(plug_in, monkeypatch):
    """In every distribution that is installed: milliseconds, as much as a picture takes."""
    plug_in()
    first = registry.load("moon")
    monkeypatch.setattr(registry, "entry_points", lambda group: pytest.fail("looked up again"))
    assert registry.load("moon") is first


@pytest.mark.parametrize("name", registry.names())
def test_a_built_in_generator_is_loaded_with_its_manifest(name):
    assert name == registry.load(name).SOURCE
    assert registry.source(name).name == name


def test_names_are_sorted_and_those_of_users():
    names = registry.names()
    assert names == sorted(names)
    assert "phantoms" not in names
    assert not any("_" in name for name in names)


def test_listing_the_names_imports_no_generator():
    code = (
        "import sys; from imagemask import registry; registry.names();"
        "print([m for m in sys.modules if m.startswith('imagemask.generators.') or m in ('numpy', 'generators')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_plug_in_stands_beside_the_built_in_ones(plug_in):
    built_in = registry.names()
    plug_in()
    assert registry.names() == sorted([*built_in, "moon"])
    assert registry.load("moon").SOURCE == "moon"
    assert registry.source("moon").labels == {1: "crater"}


def test_a_plug_in_that_is_one_module_has_its_manifest_beside_it(plug_in, tmp_path):
    plug_in(package="")
    assert registry.load("moon").__package__ == ""
    assert registry.source("moon").name == "moon"
    (tmp_path / "moon.toml").unlink()
    with pytest.raises(InputError, match=r"no source manifest moon.toml beside moon_alone"):
        registry.source("moon")


def test_a_plug_in_that_is_a_package_has_its_manifest_inside(plug_in, tmp_path, monkeypatch):
    plug_in()
    (tmp_path / "moon_slices" / "__init__.py").write_text(PLUG_IN)
    point = EntryPoint("moon", "moon_slices", "imagemask.generators")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    assert registry.source("moon").name == "moon"


BROKEN = {
    "raise OSError('no such moon')": "OSError: no such moon",
    "import moon_that_is_not_there": "ModuleNotFoundError: No module named 'moon_that_is_not_there'",
    "def": "SyntaxError: invalid syntax",
}


@pytest.mark.parametrize(("code", "said"), BROKEN.items())
def test_a_plug_in_that_cannot_be_imported_is_named_with_its_distribution(plug_in, code, said):
    plug_in(code)
    for ask in (registry.load, registry.source):
        with pytest.raises(InputError) as caught:
            ask("moon")
        assert str(caught.value).startswith(
            f"generator moon (moon_slices.generator, of moon_slices) cannot be imported: {said}"
        )
        assert caught.value.remedy == "Repair or uninstall moon_slices"


def test_the_distribution_of_an_entry_point_is_named_where_it_is_known(plug_in, monkeypatch):
    monkeypatch.setattr(EntryPoint, "dist", type("Dist", (), {"name": "moon-slices-dist"})())
    plug_in("def")
    with pytest.raises(InputError, match="Repair or uninstall moon-slices-dist"):
        registry.load("moon")


@pytest.mark.parametrize("words", [["list"], ["build", "--help"], ["check", "--help"]])
def test_a_broken_plug_in_is_a_note_and_hides_nobody_else(plug_in, words):
    plug_in("def")
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert "lung-tumor" in done.stdout
    assert "moon" not in done.stdout
    assert done.stderr.startswith("imagemask: note: generator moon (moon_slices.generator, of moon_slices) cannot be")
    assert len(done.stderr.splitlines()) == 1


def test_a_broken_plug_in_is_one_line_where_it_is_asked_for_and_a_finding_among_manifests(plug_in):
    plug_in("def")
    for words in (["build", "moon"], ["check", "moon", "--help"], ["info", "moon"]):
        done = CliRunner().invoke(main, words, catch_exceptions=False)
        assert (done.exit_code, len(done.stderr.splitlines())) == (4, 1)
    assert [(one.code, one.file) for one in documents.check_paths().findings] == [("IM106", "moon.toml")]


KINDS = [
    (bool, Kind(bool)),
    (int, Kind(int)),
    (float | None, Kind(float)),
    (Optional[str], Kind(str)),  # noqa: UP045  the older spelling
    (Literal["a", "b"], Kind(str, ("a", "b"))),
    (Literal["a"] | None, Kind(str, ("a",))),
    (tuple[int, ...], Kind(int, many=True)),
    (tuple[Literal["a", "b"], ...], Kind(str, ("a", "b"), many=True)),
    *[(kind, None) for kind in (list[int], dict, Path, int | str, bool | None, None, Literal[1, 2], complex, object)],
    *[(kind, None) for kind in (tuple[int, int], tuple[bool, ...], tuple[tuple[int, ...], ...])],
    (tuple[int, ...] | None, None),
]


@pytest.mark.parametrize(("annotation", "kind"), KINDS, ids=str)
def test_a_type_has_its_kind_of_option_or_none(annotation, kind):
    assert registry.kind_of(annotation) == kind


FIELD = "Field(1, description='x')"
MISFITS = [
    (f"size: int = {FIELD}", "the option size is called as an option that every source has"),
    (f"crop: int = {FIELD}", "the option crop is called as"),
    ("phase: int = 1", "the option phase has no description"),
    ("phase: int = Field(description='x')", "the option phase has no default"),
    ("phase: dict = Field({}, description='x')", "the option phase is of a type that no option has: .*dict"),
]


@pytest.mark.parametrize(("field", "said"), MISFITS)
def test_options_that_cannot_be_options_of_a_command_are_refused(plug_in, field, said):
    plug_in(f"{PLUG_IN}\nfrom pydantic import Field\nclass Options(Options):\n    {field}\n")
    with pytest.raises(InputError, match=rf"generator moon \(moon_slices.generator\): {said}"):
        registry.load("moon")


def test_the_names_that_are_taken_are_those_of_the_commands():
    taken = {"help", "h"}
    for group in (build, main.commands["check"]):
        for param in group.make("x", [], []).params:
            spelled = [*param.opts, *param.secondary_opts]
            taken |= {param.name, *(one.lstrip("-").replace("-", "_") for one in spelled)}
    assert taken == registry.RESERVED


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("lung-tumour", "Did you mean lung-tumor?"),
        ("lung_tumor", "Did you mean lung-tumor?"),
        ("x", "There are: .*lung-tumor"),
    ],
)
def test_a_name_that_nobody_registered_is_refused_with_a_hint(name, hint):
    with pytest.raises(UsageError, match=rf"there is no source called '{name}'\. {hint}"):
        registry.load(name)


@pytest.mark.parametrize("part", ["SOURCE", "discover", "read"])
def test_a_module_without_a_part_of_the_protocol_is_refused(plug_in, part):
    plug_in("\n".join(line for line in PLUG_IN.splitlines() if part not in line))
    with pytest.raises(InputError, match=rf"generator moon \(moon_slices.generator\) lacks {part}\."):
        registry.load("moon")


def test_options_that_are_not_ours_are_refused(plug_in):
    plug_in(PLUG_IN.replace("from imagemask.types import Options", "class Options: pass"))
    with pytest.raises(InputError, match="moon: Options does not derive"):
        registry.load("moon")


def test_two_plug_ins_of_one_name_are_refused(plug_in):
    plug_in()
    plug_in(package="other_moon")
    with pytest.raises(
        InputError, match=r"two generators are called 'moon': one is other_moon.generator.*`pip show`.*other_moon"
    ):
        registry.names()


def test_a_plug_in_cannot_take_the_name_of_a_built_in_one(plug_in):
    plug_in(name="lung-tumor")
    with pytest.raises(InputError, match="two generators are called 'lung-tumor'"):
        registry.names()
    assert registry.load("lung-tumor").__name__ == "imagemask.generators.lung_tumor"


def test_a_plug_in_without_a_manifest_is_an_error(plug_in, tmp_path):
    plug_in()
    (tmp_path / "moon_slices" / "moon.toml").unlink()
    with pytest.raises(InputError, match=r"no source manifest moon.toml in moon_slices"):
        registry.source("moon")
