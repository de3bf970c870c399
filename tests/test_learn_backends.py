"""Which backend the tests of imagemask.learn run on, and that JAX needs no TensorFlow.

Keras picks its backend when it is imported, and keeps it, so that a process has one. ``.ci/test``, which is what ``make
test`` calls, runs all tests on TensorFlow, and beside them those that import Keras on JAX, with TensorFlow hidden by
tests/absent/sitecustomize.py. By hand: ``KERAS_BACKEND=jax pytest tests/test_learn_*.py``.
"""

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

keras = pytest.importorskip("keras")

HERE = Path(__file__).parent
ABSENT = [name for name in os.environ.get("IMAGEMASK_ABSENT", "").split(",") if name]


def test_this_process_uses_the_backend_that_was_asked_for():
    assert keras.config.backend() == os.environ.get("KERAS_BACKEND", keras.config.backend())


def test_what_is_absent_is_out_of_reach():
    for name in ABSENT:
        assert importlib.util.find_spec(name) is None
        assert name not in sys.modules
        with pytest.raises(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version(name)


def test_every_module_that_needs_keras_says_so_in_the_way_that_is_looked_for():
    for path in HERE.glob("test_*.py"):
        needs = any(line.startswith(("import keras", "from learning import")) for line in path.read_text().splitlines())
        assert not needs or 'importorskip("keras")' in path.read_text(), path.name


ASKED = """
import importlib.metadata, importlib.util
import pytest, hypothesis
assert importlib.util.find_spec("keras") is None
try:
    import keras.ops
except ModuleNotFoundError as error:
    assert error.name == "keras"
else:
    raise AssertionError("keras was imported")
assert importlib.util.find_spec("numpy") is not None
assert importlib.metadata.version("numpy")
assert "keras" not in {one.name for one in importlib.metadata.distributions(name="keras")}
"""


@pytest.mark.parametrize(
    "code", [ASKED, f"import subprocess, sys; subprocess.run([sys.executable, '-c', '''{ASKED}'''], check=True)"]
)
def test_a_package_can_be_hidden_from_a_process_and_from_what_it_starts(code):
    hidden = {**os.environ, "PYTHONPATH": str(HERE / "absent"), "IMAGEMASK_ABSENT": "keras"}
    subprocess.run([sys.executable, "-c", code], check=True, env=hidden)


CHATTY = """
import contextlib, os
with contextlib.suppress(OSError):  # there may be no terminal
    os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called\\nI0000 a remark\\n")
    os.write(2, b"W0000 a warning\\nE0000 an error\\n")
{then}
class backend:
    backend = staticmethod(lambda: "tensorflow")
"""


def loaded(folder, then="", redirected=""):
    """What is written where Keras is loaded, by a shell: its libraries remark and warn, and then something happens."""
    (folder / "keras.py").write_text(CHATTY.format(then=then))
    code = "import sys; from imagemask.learn import backend; backend.require(); print('after', file=sys.stderr)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]), "KERAS_BACKEND": "tensorflow"}
    command = ["sh", "-c", f'"$0" -c "$1" {redirected}', sys.executable, code]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("then", ["", "raise ImportError('half of it is missing')", "os.abort()"])
def test_loading_a_backend_says_what_matters_and_no_more(tmp_path, then):
    found = loaded(tmp_path, then)
    lines = found.stderr.splitlines()
    assert [line for line in lines if "0000" in line or "absl" in line] == ["W0000 a warning", "E0000 an error"]
    if not then:
        assert lines[2:] == ["after"]
    elif "ImportError" in then:
        assert "half of it is missing" in lines[-1]
    else:
        assert found.returncode


def test_a_backend_is_loaded_where_there_is_no_terminal(tmp_path):
    assert loaded(tmp_path, redirected="2>&-").returncode == 0
