"""What holds for both CT sources: their phantoms, and what an import costs."""

import json
import subprocess
import sys

import numpy as np
import pytest
from ct import (
    SMALL,
    read_all,
    tree,
)
from imagemask.generators import lung_tumor, pancreas

from imagemask import registry
from imagemask.errors import UsageError
from imagemask.types import PHANTOM
from imagemask.volumes import pairs


@pytest.mark.parametrize("generator", [lung_tumor, pancreas], ids=lambda generator: generator.SOURCE)
@pytest.mark.parametrize("faults", [False, True])
def test_a_phantom_is_the_same_bytes_again(generator, faults, tmp_path):
    for name in ("a", "b"):
        generator.phantom(tmp_path / name, faults=faults, **SMALL)
    generator.phantom(tmp_path / "other", faults=faults, **{**SMALL, "seed": 5})
    assert tree(tmp_path / "a") == tree(tmp_path / "b") != tree(tmp_path / "other")


@pytest.mark.parametrize("generator", [lung_tumor, pancreas], ids=lambda generator: generator.SOURCE)
@pytest.mark.parametrize("size", [SMALL, {"patients": 1, "size": 32, "slices": 5, "seed": 0}], ids=["some", "least"])
def test_faults_are_what_the_marker_file_says_and_no_more(generator, size, tmp_path):
    generator.phantom(tmp_path / "healthy", faults=False, **size)
    generator.phantom(tmp_path / "faulty", faults=True, **size)
    excluded = registry.source(generator.SOURCE).excluded
    marker = json.loads((tmp_path / "faulty" / PHANTOM).read_text())
    found = {key: what for key, what in read_all(generator, tmp_path / "faulty").items() if key not in excluded}
    assert {key: what for key, what in found.items() if isinstance(what, str)} == marker["faults"] != {}
    healthy = {key: what for key, what in read_all(generator, tmp_path / "healthy").items() if key not in excluded}
    assert sorted(healthy) == marker["ids"] == sorted(set(found) - set(marker["faults"]))
    assert all(isinstance(what, list) for what in healthy.values())
    for key, slices in healthy.items():
        for one, other in zip(slices, found[key], strict=True):
            assert np.array_equal(np.asarray(one.image), np.asarray(other.image))


@pytest.mark.parametrize("generator", [lung_tumor, pancreas], ids=lambda generator: generator.SOURCE)
def test_a_phantom_is_never_written_over_anything(generator, tmp_path):
    (tmp_path / "scan").write_text("real")
    with pytest.raises(UsageError, match="not empty"):
        generator.phantom(tmp_path, faults=False, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["scan"]


@pytest.mark.parametrize("name", ["lung_tumor", "pancreas"])
def test_a_generator_is_imported_without_simpleitk(name):
    heavy = {"SimpleITK", "pandas", "cv2", "keras"}
    code = f"import sys, imagemask.generators.{name}; sys.exit(len({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_file_that_the_system_does_not_tell_the_size_of_counts_nothing(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert pairs.disk_bytes([tmp_path / "a", tmp_path / "gone"]) == 5
