"""The package without its extras: everything but learning works, and learning says what to install.

The packages are hidden from processes of their own (tests/absent/sitecustomize.py), as they may be installed here.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from imagemask.cli import main
from imagemask.learn.run import BEST, Record, Run

EXTRAS = ("jax", "jaxlib", "keras", "matplotlib", "onnx", "onnxruntime", "scipy", "sklearn", "tensorflow", "torch")
"""What the extras bring, and what that brings."""
ABSENT = {
    **os.environ,
    "PYTHONPATH": str(Path(__file__).parent / "absent"),
    "IMAGEMASK_ABSENT": ",".join(EXTRAS),
    "NO_COLOR": "1",
}
PIPELINE = """
list
info lung-tumor
phantom lung-tumor --patients 6 --size 64 --slices 12
check lung-tumor
build lung-tumor --workers 2
merge datasets/lung-tumor
split --by-patient
verify
preview
manifests datasets/lung-tumor/manifest.csv
convert-config settings.toml
"""
ONE_AFTER_ANOTHER = """
import sys
from click.testing import CliRunner
from imagemask.cli import main
for line in sys.argv[1].strip().splitlines():
    done = CliRunner().invoke(main, line.split(), catch_exceptions=False)
    assert done.exit_code == 0, f"{line}: {done.output}"
absent = set(sys.argv[2].split(","))
assert not absent & set(sys.modules), absent & set(sys.modules)
"""
LEARN = {
    "train": "",
    "evaluate": "RUN",
    "predict": "RUN PICTURE --out masks",
    "export-model": "RUN --to onnx",
}


def python(*words, cwd, **environment):
    return subprocess.run(
        [sys.executable, *words],
        env={**ABSENT, **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """What the whole pipeline leaves, run without the extras; beside it a run, as one who has them would send it."""
    here = tmp_path_factory.mktemp("workspace")
    (here / "settings.toml").write_text("seed = 1\n")
    done = python("-c", ONE_AFTER_ANOTHER, PIPELINE, ",".join(EXTRAS), cwd=here)
    assert done.returncode == 0, done.stderr
    record = Record(
        dataset="lung-tumor", folder="../datasets/lung-tumor", digest="", fold=None, labels=("tumor",),
        mask_values=(255,), height=64, width=64, channels=1, classes=1, recipe={"window": ["lung"]},
    )  # fmt: skip
    run = here / "sent"
    run.mkdir()
    Run(run, record).save()
    (run / BEST).write_bytes(b"a network")
    return here


@pytest.mark.slow
def test_everything_but_learning_works(workspace):
    assert json.loads((workspace / "datasets" / "lung-tumor" / "dataset.json").read_text())["name"] == "lung-tumor"
    assert (workspace / "datasets" / "lung-tumor" / "preview.png").is_file()


def test_every_command_helps(tmp_path):
    lines = "\n".join(f"{name} --help" for name in main.commands)
    done = python("-c", ONE_AFTER_ANOTHER, lines, ",".join(EXTRAS), cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", LEARN)
def test_learning_ends_with_the_pip_line(workspace, command):
    picture = next((workspace / "datasets" / "lung-tumor" / "images").iterdir())
    words = LEARN[command].replace("RUN", "sent").replace("PICTURE", str(picture)).split()
    done = python("-m", "imagemask", command, *words, cwd=workspace)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert "keras is not installed" in done.stderr
    assert "pip install 'imagemask[train]'" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="Keras is not installed")
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_keras_without_its_backend_ends_with_the_pip_line(workspace, backend):
    absent = "tensorflow,jax,jaxlib,torch"
    done = python("-m", "imagemask", "train", cwd=workspace, IMAGEMASK_ABSENT=absent, KERAS_BACKEND=backend)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert f"No module named '{backend}'" in done.stderr
    assert "pip install 'imagemask[train]'" in done.stderr
