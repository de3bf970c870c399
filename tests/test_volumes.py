"""Volumes: its readers are imported when they are asked for."""

import subprocess
import sys

import pytest

from imagemask import volumes


def test_a_reader_is_imported_when_it_is_asked_for_and_no_other():
    code = (
        "import sys; from imagemask import volumes; assert 'numpy' not in sys.modules; volumes.nifti.open_nifti; "
        "assert {'nibabel', 'numpy'} <= set(sys.modules); assert 'imagemask.volumes.dicom' not in sys.modules; "
        "volumes.dicom.open_stack"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", [name for name in volumes.__all__ if name != "Axes"])
def test_every_reader_is_there(name):
    assert getattr(volumes, name).__name__ == f"imagemask.volumes.{name}"


def test_what_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'jpeg'"):
        volumes.jpeg  # noqa: B018
