"""The data card: true after every command, read by the tools that it is for, and never in the place of a user's own."""

import dataclasses
import json
import os
import re
import socket
import subprocess
import sys
from importlib import metadata

import fakes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagemask import build, card, images, manifest, registry, split, testing, verify
from imagemask.build import How
from imagemask.card import croissant, facts, licences, markup, readme
from imagemask.card.columns import COLUMNS
from imagemask.card.facts import Facts, Part
from imagemask.errors import CaseError
from imagemask.split import Request
from imagemask.verify import table

yaml = pytest.importorskip("yaml")
NAMES = ("README.md", "croissant.json")
OPTIONS = {"folder": {"patient": r"(P\d+)", "licence": "CC-BY-4.0", "citation": 'Me: "mine", 2026'}}
WHATEVER = st.text() | st.sampled_from(
    [
        "---",
        "a\n---\nb: c",
        '"',
        "'",
        "a: b",
        "# x",
        "- x",
        "```",
        "|",
        "<script>",
        "é\u2028\x85\x00\ud800\U0001f600",
        "\\",
    ]
)


@pytest.fixture(scope="module", params=sorted(registry.names()))
def dataset(request, tmp_path_factory):
    """A phantom of every source, built and split."""
    here = tmp_path_factory.mktemp("card")
    raw = testing.phantom(request.param, here / "raw", patients=6, size=32, slices=6)
    recipe = {"flips": ("h",), "size": 32, "keep_empty": True}
    job = build.prepare(
        request.param, raw=raw, out=here / "dataset", recipe=recipe, options=OPTIONS.get(request.param, {})
    )
    build.run(job, How(workers=1), started=lambda _: None, progress=lambda _: None)
    split.split(here / "dataset", Request())
    return here / "dataset"


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a card is validated without a network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def fake(monkeypatch):
    return fakes.install(monkeypatch)


@pytest.fixture
def raw(tmp_path, fake):
    return fakes.raw_folder(tmp_path, names="abcdef")


@pytest.fixture
def built(raw, tmp_path):
    fakes.run(raw, tmp_path / "out")
    return tmp_path / "out"


def croissant_of(dataset):
    """The dataset as mlcroissant reads it, which must say of it no more than that it has no date."""
    mlcroissant = pytest.importorskip("mlcroissant")
    read = mlcroissant.Dataset(jsonld=str(dataset / "croissant.json"))
    issues = read.metadata.ctx.issues
    assert not issues.errors
    assert [warning for warning in issues.warnings if "datePublished" not in warning] == []
    return read


def front_matter(text):
    opening, front, body = text.split("---\n", 2)
    assert opening == ""
    return yaml.safe_load(front), body


def card_of(dataset):
    return {name: (dataset / name).read_bytes() for name in NAMES}


@pytest.mark.filterwarnings("ignore")  # of mlcroissant and what it uses: not ours to mend
class TestCroissant:
    @pytest.mark.usefixtures("offline")
    def test_mlcroissant_validates_it_and_reads_the_pairs(self, dataset):
        rows = manifest.read(dataset)
        records = list(croissant_of(dataset).records("pairs"))
        texts = {
            name: [(one[f"pairs/{name}"] or b"").decode() for one in records] for name in ("key", "split", "digest")
        }
        assert {name: rows[name].tolist() for name in texts} == texts
        for name in ("height", "width", "foreground", "slice"):
            assert rows[name].tolist() == [one[f"pairs/{name}"] for one in records]
        assert all(one["pairs/image"].size == one["pairs/mask"].size for one in records)
        assert [one["pairs/mask"].size for one in records] == list(zip(rows["width"], rows["height"], strict=True))

    @pytest.mark.usefixtures("offline")
    def test_a_row_has_its_own_pixels(self, dataset):
        for record in list(croissant_of(dataset).records("pairs"))[::7]:
            key = record["pairs/key"].decode()
            for kind in ("image", "mask"):
                pixels = images.read_png(dataset / f"{kind}s" / f"{key}.png")
                grey = np.atleast_3d(pixels)
                assert np.array_equal(
                    np.asarray(record[f"pairs/{kind}"]), np.broadcast_to(grey, (*pixels.shape[:2], 3))
                )

    @pytest.mark.usefixtures("offline")
    def test_it_names_the_splits_by_what_they_are_for(self, dataset):
        found = {one["splits/name"]: one["splits/url"] for one in croissant_of(dataset).records("splits")}
        wanted = {"train": "cr:TrainingSplit", "valid": "cr:ValidationSplit", "test": "cr:TestSplit"}
        assert found == {name: wanted[name] for name in manifest.read(dataset)["split"].unique()}

    def test_it_hashes_every_table(self, dataset):
        document = json.loads((dataset / "croissant.json").read_text())
        listed = {one["@id"]: one for one in document["distribution"] if one["@type"] == "cr:FileObject"}
        assert set(listed) == {"manifest.csv", "dataset.json", "quarantine.csv", "split.csv"}
        for name, one in listed.items():
            path = dataset / name
            assert (one["sha256"], one["contentSize"]) == (card.files.sha256(path), f"{path.stat().st_size} B")
        assert document["conformsTo"] == "http://mlcommons.org/croissant/1.0"

    def test_a_field_for_every_column(self, dataset):
        document = json.loads((dataset / "croissant.json").read_text())
        pairs = next(one for one in document["recordSet"] if one["@id"] == "pairs")
        assert [one["source"]["extract"]["column"] for one in pairs["field"][:-2]] == list(
            manifest.read(dataset).columns
        )

    def test_it_knows_all_columns_of_a_manifest(self):
        assert tuple(COLUMNS) == manifest.COLUMNS

    @pytest.mark.usefixtures("offline")
    def test_a_dataset_that_is_not_split_has_no_splits(self, built):
        read = croissant_of(built)
        assert [one.id for one in read.metadata.record_sets] == ["masks", "images", "pairs"]
        assert [one["pairs/split"] for one in read.records("pairs")] == [None] * len(manifest.read(built))

    @pytest.mark.usefixtures("offline")
    def test_a_column_of_the_source_may_have_any_name(self, tmp_path, monkeypatch):
        extra = {"image": "front", "mask": "hand", "side of %": "left", "größe": "x"}
        fakes.install(monkeypatch, fakes.Fake(extra={"extra": extra}), columns=tuple(extra))
        fakes.run(fakes.raw_folder(tmp_path), tmp_path / "out")
        record = next(iter(croissant_of(tmp_path / "out").records("pairs")))
        assert (record["pairs/image"], record["pairs/mask"]) == (b"front", b"hand")
        assert (record["pairs/side%20of%20%25"], record["pairs/gr%C3%B6%C3%9Fe"]) == (b"left", b"x")
        assert record["pairs/image_pixels"].size == record["pairs/mask_pixels"].size == (20, 24)


def code_of(dataset):
    """The Python of its README.md, block by block."""
    return re.findall(r"^```python\n(.*?)^```$", (dataset / "README.md").read_text(), re.M | re.S)


class TestReadme:
    def test_its_front_matter_is_the_hub_s(self, dataset):
        front, _ = front_matter((dataset / "README.md").read_text())
        source = manifest.read_dataset(dataset)["source"]
        assert front["pretty_name"] == source["title"]
        assert (front["task_categories"], front["size_categories"]) == (["image-segmentation"], ["n<1K"])
        [one] = front["configs"]  # several, of several kinds of files, are more than the Hub's library reads
        assert one["data_files"] == [{"split": "pairs", "path": "manifest.csv"}], "without a split it is called train"
        assert one["keep_default_na"] is False, "a patient called NA is somebody"

    @pytest.mark.parametrize(
        ("name", "licence"),
        [
            ("lung-tumor", {"license": "cc-by-sa-4.0"}),
            ("pancreas", {"license": "cc-by-3.0"}),
            ("esophageal-cancer", {"license": "mit"}),
            (
                "ovarian-tumor",
                {
                    "license": "other",
                    "license_name": "not-stated-by-the-authors-cc-by-4.0-for-the-copy-at-figshare",
                    "license_link": "https://doi.org/10.6084/m9.figshare.25058690.v2",
                },
            ),
            ("folder", {"license": "unknown"}),
        ],
    )
    def test_the_licence_as_the_hub_spells_it(self, name, licence):
        source = registry.source(name)
        assert dict(licences.front_matter(source.licence, source.licence_url)) == licence

    @pytest.mark.parametrize("said", ["CC BY 4.0", "cc-by-4.0", " CC_BY-4.0 "])
    def test_a_licence_is_known_by_the_ways_in_which_people_spell_it(self, said):
        assert licences.identifier(said) == "CC-BY-4.0"
        assert licences.page(said, "") == "https://spdx.org/licenses/CC-BY-4.0.html"
        assert licences.page(said, "https://example.org") == "https://example.org"

    @pytest.mark.parametrize(
        ("said", "hub"), [("CC0", "cc0-1.0"), ("ODbL-1.0", "odbl"), ("GPL-3.0-or-later", "gpl-3.0")]
    )
    def test_a_licence_that_the_hub_spells_in_its_own_way(self, said, hub):
        assert licences.front_matter(said, "https://example.org") == [("license", hub)]

    def test_its_numbers_are_those_of_the_tables(self, dataset):
        text, rows = (dataset / "README.md").read_text(), manifest.read(dataset)
        counts = manifest.read_dataset(dataset)["counts"]
        assert f"{counts['discovered']} discovered = {counts['built']} built + {counts['quarantined']} quar" in text
        for name, part in rows.groupby("split"):
            patients = part["patient"][part["patient"] != ""].nunique()
            copies, foreground = (part["variant"] != "").sum(), (part["foreground"] > 0).sum()
            wanted = (f"`{name}`", patients, part["case"].nunique(), len(part), copies, foreground)
            assert f"| {' | '.join(map(str, wanted))} |" in text
        for label in manifest.read_dataset(dataset)["labels"]:
            assert f"| {label['name']} | {label['source_value']} | {label['mask_value']} |" in text

    def test_its_code_runs(self, dataset, monkeypatch):
        monkeypatch.chdir(dataset)
        load, hub, check = code_of(dataset)
        assert "load_dataset" in hub
        exec(load + check, {})  # it ends by asserting the digest of the last row

    @pytest.mark.skipif(not list(metadata.distributions(name="datasets")), reason="needs Hugging Face's library")
    def test_its_code_for_the_hub_s_library_runs(self, dataset, tmp_path):
        rows = manifest.read(dataset)
        load, hub, _ = code_of(dataset)
        told = "print(pairs.to_pandas()[list(manifest)].equals(manifest))\nprint(pairs[-1]['images'].size)"
        command = [sys.executable, "-P", "-c", f"{load}{hub}{told}\nprint(pairs[-1]['masks'].size)"]
        found = subprocess.run(
            command,
            cwd=dataset,
            env={**os.environ, "HF_HOME": str(tmp_path)},
            capture_output=True,
            check=True,
            text=True,
        )
        size = str((int(rows["width"].iat[-1]), int(rows["height"].iat[-1])))
        assert found.stdout.splitlines() == ["True", size, size]

    def test_it_lists_what_is_known_to_be_wrong(self, raw, fake, tmp_path, monkeypatch):
        fake.raises = {
            "b": CaseError("empty_file", "the file is | empty", remedy="x"),
            "c": CaseError("empty_file", "y"),
        }
        fakes.install(monkeypatch, fake, excluded={"a": "withdrawn *by* its authors"}, notes=("Careful.",))
        fake.patients, fake.extra = {"d": ""}, {"flags": ("odd_flag",)}
        fakes.run(raw, tmp_path / "out")
        text = (tmp_path / "out" / "README.md").read_text()
        assert "- Careful.\n" in text
        assert "- 1 case without a known patient: " in text
        assert "- `odd_flag` was noted for 9 slices.\n" in text
        assert "- Not built, `empty_file`, 2 cases: `b`, `c`; of `b`: the file is \\| empty.\n" in text
        assert "- Excluded, `a`: withdrawn \\*by\\* its authors\n" in text
        assert "6 discovered = 3 built + 2 quarantined + 1 excluded" in text

    def test_the_recipe_in_words(self, raw, tmp_path):
        fakes.run(raw, tmp_path / "out", window=("-1350:150",), size=16, stretch=True, crops=(2,), rotations=(5, -5))
        text = (tmp_path / "out" / "README.md").read_text()
        assert "| window | `-1350` to `150` in the source's units (HU for CT) become 0 to 255;" in text
        assert "| size | 16x16, squashed |" in text
        assert (
            "| copies | centre crop by 2, turned by -5.0 degrees, turned by 5.0 degrees, each of the plain pair |"
            in text
        )
        assert "\n- ct\n" in text


def some_facts(**source):
    """Facts of a small dataset whose source says whatever it likes."""
    document = {
        "name": "x",
        "source": source,
        "labels": [{"name": source.get("title", "y"), "source_value": 1, "mask_value": 255}],
        "excluded": {source.get("title", "z"): source.get("citation", "")},
        "flags": {source.get("title", "z"): 1},
    }
    part = Part("train", 1, 1, 1, 0, 1)
    quarantine = ({"case": source.get("title", ""), "code": "x", "reason": source.get("citation", "")},)
    return Facts(facts._clean(document), ("key", "split"), (part,), part, 0, (), {}, {}, quarantine, "patient", 0)


class TestWhateverPeopleWrite:
    @given(WHATEVER, WHATEVER, WHATEVER, WHATEVER)
    def test_it_stays_text(self, title, licence, citation, url):
        plain = readme.text(some_facts(title="t", licence="l", citation="c", licence_url="u", notes=["n"]))
        text = readme.text(
            some_facts(title=title, licence=licence, citation=citation, licence_url=url, url=url, notes=[citation])
        )
        front, body = front_matter(text)
        assert set(front) <= {*front_matter(plain)[0], "license_name", "license_link"}
        if title.strip():
            assert front["pretty_name"] == title.encode("utf-8", "replace").decode()
        assert shape(body) == shape(front_matter(plain)[1])

    @given(WHATEVER)
    def test_yaml_reads_back_what_was_written(self, text):
        clean = text.encode("utf-8", "replace").decode()
        assert yaml.safe_load(f"a: {markup.scalar(clean)}\nb: 1") == {"a": clean, "b": 1}

    @given(WHATEVER, WHATEVER)
    def test_a_table_keeps_its_cells(self, one, other):
        _, _, row = markup.table(("a", "b"), [(markup.prose(one), markup.code(other))])
        assert len(re.split(r"(?<!\\)(?:\\\\)*\|", row)) == 4 or "`" in other
        assert "\n" not in row
        assert not re.search(r"(?<!\\)<", markup.prose(one))

    @given(WHATEVER, WHATEVER, WHATEVER)
    def test_croissant_is_json(self, tmp_path_factory, title, licence, citation):
        folder = tmp_path_factory.getbasetemp() / "json"
        folder.mkdir(exist_ok=True)
        (folder / "manifest.csv").write_text("key\n")
        text = croissant.text(folder, some_facts(title=title, licence=licence, citation=citation))
        document = json.loads(text.encode())
        assert document["citeAs"] == (citation.encode("utf-8", "replace").decode() if citation.strip() else "unknown")
        assert croissant.MARK in text

    @given(st.sampled_from(["#", "-", "+", "=", "~", ">", "1.", "23)"]), st.text())
    def test_a_text_begins_no_block(self, mark, text):
        assert re.match(r"\\[#+=~>-]|\d+\\[.)]", markup.prose(f"{mark} {text}"))

    def test_half_a_surrogate_pair_in_dataset_json(self, built):
        document = json.loads((built / "dataset.json").read_text())
        document["source"]["title"] = "half \ud800"
        (built / "dataset.json").write_text(json.dumps(document))
        card.write(built)
        assert "# half ?" in (built / "README.md").read_text()

    @pytest.mark.parametrize(
        "document", [[], 5, {"source": 5, "labels": 7, "recipe": [], "counts": "x", "flags": None}]
    )
    def test_a_document_that_holds_anything_still_has_a_card(self, built, document):
        (built / "dataset.json").write_text(json.dumps(document))
        card.write(built)
        assert list(card.problems(built)) == []


def shape(body):
    """How a page is built: which lines are headings, rows of a table (and of how many cells), items, quotes, code."""
    lines = [re.sub(r"(`+).*?\1", "code", line) for line in body.splitlines()]
    cells = [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines]
    return [(re.match(r"#+ |- |> |\||`{3,}|", line)[0], count) for line, count in zip(lines, cells, strict=True)]


class TestTrueAfterEveryCommand:
    def test_equal_builds_have_equal_cards(self, raw, tmp_path, built):
        fakes.run(raw, tmp_path / "again")
        assert card_of(tmp_path / "again") == card_of(built)

    def test_it_says_the_same_of_a_manifest_however_it_was_read(self, dataset):
        text, _ = table.read(dataset / "manifest.csv")
        for frame in (None, manifest.read(dataset), text.frame):
            assert list(card.problems(dataset, frame)) == []

    def test_split_makes_it_anew(self, built):
        before = card_of(built)
        split.split(built, Request())
        after = card_of(built)
        assert all(before[name] != after[name] for name in NAMES)
        assert b"Not split yet" in before["README.md"]
        assert list(card.problems(built)) == []
        split.split(built, Request(folds=3, fold=1, resplit=True))
        assert b"Drawn as 3 folds" in (built / "README.md").read_bytes()
        assert verify.verify(built).findings == []

    def test_merge_makes_it_anew(self, built, raw):
        split.split(built, Request())
        fakes.write_case(raw, "g", *fakes.blob(seed=9))
        fakes.run(raw, built)
        assert b"7 patients" in (built / "README.md").read_bytes()
        assert b"- 3 pairs in no split." in (built / "README.md").read_bytes()
        assert list(card.problems(built)) == []

    def test_replace_makes_it_anew(self, built, raw):
        fakes.run(raw, built, How(workers=1, replace=True), size=16)
        assert b"| size | 16x16, padded" in (built / "README.md").read_bytes()
        assert list(card.problems(built)) == []

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("command", ["merge", "split"])
    @pytest.mark.parametrize("damage", ["missing", "stale", "cut off"])
    def test_what_is_not_as_it_should_be_is_mended(self, built, name, command, damage):
        split.split(built, Request())
        whole, path = fakes.tree(built), built / name
        data = path.read_bytes()
        assert data == whole[name]
        path.unlink()
        if damage != "missing":
            path.write_bytes(data.replace(b"pairs", b"paars") if damage == "stale" else data[: len(data) // 2])
        assert [finding.code for finding in verify.verify(built).findings] == ["IM026"]
        if command == "merge":
            build.merge(built)
        else:
            split.split(built, Request())
        assert fakes.tree(built) == whole

    def test_what_is_right_is_not_touched(self, built):
        split.split(built, Request())
        before = {name: (built / name).stat().st_mtime_ns for name in NAMES}
        inodes = {name: (built / name).stat().st_ino for name in NAMES}
        build.merge(built)
        split.split(built, Request())
        assert before == {name: (built / name).stat().st_mtime_ns for name in NAMES}
        assert inodes == {name: (built / name).stat().st_ino for name in NAMES}


MINE = {
    "plain": "# My own\n",
    "with front matter": "---\nlicense: mit\n---\n# My own\n",
    "that quotes ours": f"---\nlicense: mit\n---\n{readme.MARK}\n",
    "empty": "",
}


class TestSomebodysOwn:
    @pytest.mark.parametrize("text", MINE.values(), ids=MINE)
    def test_readme_is_never_overwritten(self, built, raw, text):
        (built / "README.md").write_text(text)
        for merged in (
            fakes.run(raw, built).merged,
            fakes.run(raw, built, How(workers=1, replace=True), size=16).merged,
        ):
            [note] = merged.notes
            assert note.startswith("README.md was not written by imagemask and is left as it is; remove it to have one")
            assert (built / "README.md").read_text() == text
        report = split.split(built, Request())
        assert any("README.md was not written by imagemask" in note for note in report.notes)
        assert (built / "README.md").read_text() == text
        assert verify.verify(built).findings == []
        assert sorted(path.name for path in built.parent.iterdir()) == ["out", "raw"]

    def test_croissant_is_never_overwritten(self, built, raw):
        (built / "croissant.json").write_text('{"name": "mine"}')
        fakes.run(raw, built, How(workers=1, replace=True), size=16)
        split.split(built, Request())
        assert (built / "croissant.json").read_text() == '{"name": "mine"}'
        assert verify.verify(built).findings == []

    def test_removing_the_mark_makes_ours_one_s_own(self, built, raw):
        path = built / "README.md"
        path.write_text(path.read_text().replace(readme.MARK + "\n", ""))
        fakes.run(raw, built, How(workers=1, replace=True), size=16)
        assert card.foreign(built) == ["README.md"]
        assert "16x16" not in path.read_text()

    def test_a_folder_of_that_name_is_left(self, built, raw):
        (built / "README.md").unlink()
        (built / "README.md").mkdir()
        (built / "README.md" / "x").write_text("mine")
        fakes.run(raw, built, How(workers=1, replace=True), size=16)
        split.split(built, Request())
        assert (built / "README.md" / "x").read_text() == "mine"
        assert sorted(path.name for path in built.parent.iterdir()) == ["out", "raw"]

    @pytest.mark.parametrize("moved", [False, True])
    def test_a_swap_that_was_killed_keeps_it(self, built, raw, tmp_path, moved):
        """Killed after the new folder was put in place, before or after the new card was taken away."""
        (built / "README.md").write_text("mine")
        fakes.run(raw, tmp_path / ".out.new", size=16)
        built.rename(tmp_path / ".out.old")
        (tmp_path / ".out.new").rename(built)
        if moved:
            (built / "README.md").unlink()
        fakes.run(raw, built, size=16)
        assert (built / "README.md").read_text() == "mine"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]


def test_a_million_rows_are_not_gone_through_one_by_one(built, monkeypatch):
    """Columns only: no row of the manifest, and no cell, becomes an object of its own."""
    frame = manifest.read(built)
    for name in ("itertuples", "iterrows", "apply", "to_dict"):
        monkeypatch.setattr(type(frame), name, None)
    found = facts.gather(built, frame)
    assert dataclasses.astuple(found.whole)[1:4] == (6, 6, 18)
