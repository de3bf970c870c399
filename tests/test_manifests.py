"""`imagemask manifests`: manifests of both kinds by themselves, as CI checks them."""

import json
import re
import shlex
from dataclasses import asdict
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from imagemask import documents, manifest, registry, sources
from imagemask.documents import annotate, check_paths
from imagemask.errors import InputError, UsageError
from imagemask.verify import CODES

ROOT = Path(__file__).parent.parent
GOOD = """
name = "lung-tumor"
title = "Some lungs"
url = "https://example.org"
get = ["Ask for them."]
licence = "CC0"
citation = "Nobody"
group = "patient"
labels = { 1 = "tumour" }
excluded = { b = "withdrawn" }
archives = [{ name = "a.tar", checksum = "md5:00000000000000000000000000000000" }]
expected = { cases = 2, ids = ["a", "c"] }
"""


@pytest.fixture
def toml(tmp_path):
    """Writes a source manifest; its path."""

    def write(text=GOOD, name="lung-tumor.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def codes(report):
    return [finding.code for finding in report.findings]


def test_all_that_ship_are_in_order():
    report = check_paths()
    assert report.findings == []
    assert report.exit_code == 0
    assert report.documents == [f"{name}.toml" for name in registry.names()]


def test_a_good_manifest_has_no_finding(toml):
    path = toml()
    assert asdict(check_paths([path])) == {"documents": [str(path)], "findings": []}


BROKEN = [
    ("IM101", "expected = {", "expected = [", "not TOML"),
    ("IM101", "md5:0000", "md5:000g", "archives.0.checksum"),
    ("IM101", "md5:0000", "crc:0000", "archives.0.checksum"),
    ("IM101", 'licence = "CC0"\n', "", "licence: Field required"),
    ("IM101", 'title = "Some lungs"', 'titel = "Some lungs"', "titel"),
    ("IM101", "archives = ", 'window = ["lungs"]\narchives = ', "window: there is no window called 'lungs'"),
    ("IM101", "archives = ", 'window = ["5:1"]\narchives = ', "window: window '5:1' is empty"),
    ("IM101", "archives = ", 'window = ["lung", "bone"]\narchives = ', "window: 2 windows were given"),
    ("IM101", "https://example.org", "not a url", "url: 'not a url' is no address"),
    ("IM101", "https://example.org", "example.org", "url: 'example.org' is no address"),
    ("IM101", "archives = ", 'licence_url = "https://"\narchives = ', "licence_url: 'https://' is no address"),
    ("IM101", '"a.tar", ', '"a.tar", url = "https://a b", ', "archives.0.url: 'https://a b' is no address"),
    ("IM102", '"CC0"', '"unknown"', "licence is 'unknown'"),
    ("IM102", '"Nobody"', '" Unknown "', "citation is ' Unknown '"),
    ("IM102", '"Nobody"', '" "', "citation is ' '"),
    ("IM105", "cases = 2", "cases = 3", "expected.cases is 3, expected.ids lists 2"),
    ("IM105", '["a", "c"]', '["a", "a"]', "expected.ids names a more than once"),
    ("IM105", '["a", "c"]', '["a", "b"]', "b is expected and excluded"),
    ("IM105", '[{ name = "a.tar", ', '[{ name = "a.tar" }, { name = "a.tar", ', "archives names a.tar more than once"),
    ("IM105", '1 = "tumour"', '1 = "tumour", 2 = "tumour"', "two labels are called tumour"),
    ("IM105", "{ 1 =", "{ 0 =", "label 0 is the background"),
]


@pytest.mark.parametrize(("code", "old", "new", "message"), BROKEN, ids=[one[3] for one in BROKEN])
def test_one_wrong_thing_has_its_code_and_no_other(toml, code, old, new, message):
    assert old in GOOD
    report = check_paths([toml(GOOD.replace(old, new))])
    assert codes(report) == [code]
    assert message in report.findings[0].message
    assert report.findings[0].file.endswith("lung-tumor.toml")
    assert ".toml" not in report.findings[0].message, "the place is said twice"
    assert report.exit_code == 5


def test_a_name_must_be_the_file_s_and_a_generator_s(toml):
    other = GOOD.replace('"lung-tumor"', '"lung-tumour"')
    assert codes(check_paths([toml(GOOD, "lungs.toml")])) == ["IM104"]
    assert codes(check_paths([toml(other, "lung-tumour.toml")])) == ["IM103"]
    assert codes(check_paths([toml(other)])) == ["IM103", "IM104"]


def test_a_folder_s_licence_comes_with_the_data(toml):
    unknown = GOOD.replace('"CC0"', '"unknown"').replace('"lung-tumor"', '"folder"')
    assert codes(check_paths([toml(unknown, "folder.toml")])) == []


def test_a_generator_without_a_manifest_is_found(monkeypatch):
    point = EntryPoint("moon", "imagemask.errors", registry.ENTRY_POINTS)  # any module that is no generator
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == registry.ENTRY_POINTS else [])
    monkeypatch.setattr(registry, "source", lambda name: sources.load(name, package="imagemask"))
    report = check_paths()
    assert codes(report) == ["IM106"]
    assert report.findings[0].message == "no source manifest moon.toml in imagemask"


def test_a_shipped_manifest_that_is_damaged_is_found(monkeypatch):
    def damaged(name):
        raise InputError(f"{sources.BUILT_IN}/{name}.toml: not TOML")

    monkeypatch.setattr(sources, "load", damaged)
    report = check_paths()
    assert {(one.code, one.message) for one in report.findings} == {("IM101", "not TOML")}


def test_a_plug_in_s_manifest_is_checked_with_ours(monkeypatch):
    point = EntryPoint("moon", "x", registry.ENTRY_POINTS)
    moon = sources.parse(GOOD.replace('"lung-tumor"', '"moon"').replace('"CC0"', '"unknown"'), place="moon")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == registry.ENTRY_POINTS else [])
    monkeypatch.setattr(registry, "source", lambda _: moon)
    report = check_paths()
    assert "moon.toml" in report.documents
    assert [(one.code, one.file) for one in report.findings] == [("IM102", "moon.toml")]


def dataset_manifest(folder, *rows):
    folder.mkdir()
    values = dict.fromkeys(manifest.COLUMNS, "1") | {
        "box": "0 0 1 1",
        "pad": "0 0 0 0",
        "digest": "0" * 64,
        "source_sha256": "",
        "variant": "",
    }
    lines = [
        [
            {**values, "key": f"{row[0]}-0001", "case": row[0], "patient": row[1], "split": row[2]}[column]
            for column in manifest.COLUMNS
        ]
        for row in rows
    ]
    path = folder / "manifest.csv"
    path.write_bytes(
        manifest.csv_bytes(
            manifest.COLUMNS,
            [
                [cell if column != "group" else "" for column, cell in zip(manifest.COLUMNS, line, strict=True)]
                for line in lines
            ],
        )
    )
    return path


def test_a_dataset_s_manifest_needs_no_other_file(tmp_path):
    path = dataset_manifest(tmp_path / "demo", ("a", "p", "train"), ("b", "q", "test"))
    assert asdict(check_paths([path])) == {"documents": [str(path)], "findings": []}
    assert check_paths([path.parent]) == check_paths([path])


def test_a_divided_patient_is_found_in_the_manifest_alone(tmp_path):
    path = dataset_manifest(tmp_path / "demo", ("a", "p", "train"), ("b", "p", "test"))
    report = check_paths([path])
    assert [(one.code, one.line, one.file) for one in report.findings] == [("IM008", 3, str(path))]


def test_a_split_by_case_is_respected_where_split_csv_lies_beside(tmp_path):
    path = dataset_manifest(tmp_path / "demo", ("a", "p", "train"), ("b", "p", "test"))
    (path.parent / "split.csv").write_text("case,split,fold\na,train,\nb,test,\n")
    assert check_paths([path]).findings == []


def test_what_is_no_table_is_found(tmp_path):
    path = dataset_manifest(tmp_path / "demo", ("a", "p", "train"))
    path.write_bytes(path.read_bytes()[:-5])
    assert codes(check_paths([path])) == ["IM001"]


def test_a_folder_means_the_source_manifests_in_it(toml, tmp_path):
    paths = [toml(GOOD, name) for name in ("lung-tumor.toml", "b.toml")]
    report = check_paths([tmp_path])
    assert report.documents == sorted(map(str, paths))
    assert codes(report) == ["IM104"]


def test_a_folder_of_datasets_means_their_manifests(tmp_path):
    paths = [dataset_manifest(tmp_path / name, ("a", "p", "train"), ("b", "q", "test")) for name in ("x", "y")]
    assert check_paths([tmp_path]).documents == list(map(str, paths))


def test_a_toml_file_of_another_kind_is_no_source_manifest(toml, tmp_path):
    toml("[project]\n", "pyproject.toml")
    toml("licence = 'CC0'\n", "imagemask.toml")
    with pytest.raises(UsageError, match="holds neither"):
        check_paths([tmp_path])
    path = toml()
    assert check_paths([tmp_path]).documents == [str(path)]


def test_what_is_no_manifest_is_refused(tmp_path):
    (tmp_path / "a.txt").touch()
    for path, kind, message in [
        (tmp_path / "none.toml", InputError, "there is no such file"),
        (tmp_path / "a.txt", UsageError, "is no manifest by its extension"),
        (tmp_path, UsageError, "holds neither a manifest.csv nor a source manifest"),
    ]:
        with pytest.raises(kind, match=message):
            check_paths([path])


def test_annotations_name_the_files_as_they_were_given(toml, tmp_path):
    table = dataset_manifest(tmp_path / "demo", ("a", "p", "train"), ("b", "p", "test"))
    first, second = annotate(check_paths([toml(GOOD, "b.toml"), table]))
    assert first.startswith(f"::error file={tmp_path}/b.toml,title=IM104::the name is 'lung-tumor'")
    assert second.startswith(f"::error file={table},line=3,title=IM008::patient 'p' stands in")


def test_every_code_of_a_source_manifest_is_produced_here():
    tested = {code for code, *_ in BROKEN} | {"IM103", "IM104", "IM106"}
    assert tested == {code for code in CODES if code > "IM1"}


@given(st.lists(st.sampled_from("abc"), max_size=6))
def test_names_that_stand_more_than_once_are_named_once(names):
    assert documents._repeated(names) == sorted({name for name in names if names.count(name) > 1})


def hooks():
    """The hooks as dictionaries: the file is flat enough to be read without a YAML library."""
    text = (ROOT / ".pre-commit-hooks.yaml").read_text()
    return [
        dict(re.findall(r"^(?:-| ) (\w+): (.*)$", part, re.MULTILINE))
        for part in re.split(r"(?m)^(?=- id:)", text)
        if part
    ]


@pytest.mark.parametrize("hook", hooks(), ids=lambda hook: hook["id"])
def test_a_hook_runs_a_command_that_there_is(hook):
    from imagemask.cli import main

    program, *words = shlex.split(hook["entry"])
    assert (program, hook["language"]) == ("imagemask", "python")
    options = json.loads(hook.get("args", "[]").replace("[", '["').replace("]", '"]').replace('[""]', "[]"))
    ran = CliRunner().invoke(main, [*words, *options, "--help"])
    assert ran.exit_code == 0, ran.output


@pytest.mark.parametrize(
    ("hook", "path", "wanted"),
    [
        (0, "manifests/lung-tumor.toml", True),
        (0, "datasets/lung-tumor/manifest.csv", True),
        (0, "manifest.csv", True),
        (0, "pyproject.toml", False),
        (0, "datasets/lung-tumor/split.csv", False),
        (1, "datasets/lung-tumor/masks/lung_001-0153~fliph.png", True),
        (1, "split.csv", True),
        (1, "docs/images/a.jpg", False),
    ],
)
def test_a_hook_looks_at_the_files_that_matter(hook, path, wanted):
    assert bool(re.search(hooks()[hook]["files"], path)) is wanted
