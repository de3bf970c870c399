"""The generators there are: built-in modules, and modules that other distributions register."""

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from imagemask import registry
from imagemask.errors import InputError, UsageError

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
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
        (tmp_path / package / "generator.py").write_text(code)
        (tmp_path / package / "moon.toml").write_text(TOML)
        points.append(EntryPoint(name, f"{package}.generator", "imagemask.generators"))
        for module in (package, f"{package}.generator"):
            monkeypatch.delitem(sys.modules, module, raising=False)

    return register


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


def test_a_plug_in_that_is_one_module_has_its_manifest_in_the_same_place(plug_in, monkeypatch):
    plug_in()
    module = registry.load("moon")
    monkeypatch.setattr(module, "__package__", "")
    monkeypatch.setattr(module, "__name__", "moon_slices")
    assert registry.source("moon").name == "moon"


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
        registry.load("lung-tumor")


def test_a_plug_in_without_a_manifest_is_an_error(plug_in, tmp_path):
    plug_in()
    (tmp_path / "moon_slices" / "moon.toml").unlink()
    with pytest.raises(InputError, match=r"no source manifest moon.toml in moon_slices"):
        registry.source("moon")
