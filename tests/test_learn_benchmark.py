"""benchmarks/train.py compares like with like: PyTorch's network is ours, in every form that is compared.

Skipped where torch is not installed: the package does without it. What a step costs is not looked at here.
"""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import pytest

keras = pytest.importorskip("keras")
if (
    importlib.util.find_spec("torch") is None
):  # looked for and not imported: it would bring its threads into this process
    pytest.skip("torch is not installed", allow_module_level=True)

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import train
import train_job

QUICK, LUNG = train_job.NETWORKS["quick"], train_job.NETWORKS["quick-lung"]
SMALL = {"levels": 3, "filters": 4, "channels": 3}
JOBS = {
    "default": QUICK,
    "seeds": LUNG,
    "seeds-normalised": {**train_job.SEEDS, "normalization": "batch", "normalization_last": True, "activation": "mish"},
    "group-residual": {"normalization": "group", "residual": True, "classes": 3},
    "dilated": {"kernel_size": 5, "dilation": 2, "residual": True, "max_filters": 8},
}


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_the_networks_and_their_training_are_the_same(job, tmp_path):
    if isinstance(job, dict):
        job = dataclasses.replace(QUICK, options={**SMALL, **job})
    (line,) = train.verified(job, keras.config.backend(), tmp_path)
    assert "outputs within" in line


@pytest.mark.slow
def test_a_network_that_differs_is_noticed(tmp_path, monkeypatch):
    """Another activation, which changes no parameter."""
    once = train.measure.once

    def tampered(script, arguments):
        task, told = arguments
        if task == "check":
            job = train_job.Job.parse(told)
            told = job.told(job.side, options={**job.options, "activation": "mish"})
        return once(script, (task, told))

    monkeypatch.setattr(train.measure, "once", tampered)
    with pytest.raises(AssertionError, match="apart"):
        train.verified(QUICK, keras.config.backend(), tmp_path)


def test_operations_of_a_step_are_those_of_its_convolutions():
    """Two levels, counted by hand: forwards, and twice as much back; two operations a product and sum."""
    options = {"height": 8, "width": 8, "channels": 1, "levels": 2, "filters": 2}
    encoder = 64 * 9 * (1 * 2 + 2 * 2) + 16 * 9 * (2 * 4 + 4 * 4)
    decoder = 16 * 4 * 2 + 64 * 9 * (4 * 2 + 2 * 2) + 64 * 2 * 1
    assert train.operations(train_job.Job(options=options)) == 6 * (encoder + decoder)
    transposed = 16 * 4 * 4 * 2 - 16 * 4 * 2  # of 2x2 products where the other has one
    other = {**options, "upsampling": "transposed"}
    assert train.operations(train_job.Job(options=other)) == 6 * (encoder + decoder + transposed)


def test_a_clock_leaves_out_the_warm_steps():
    clock = train_job.Clock(warm=2)
    clock.ends = [0.0, 100.0, 101.0, 102.0, 106.0]
    clock.processor = clock.ends
    assert (clock.each, clock.all, clock.busy) == (1.0, 2.0, 1.0)
