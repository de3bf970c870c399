"""What follows from the graphics cards that a framework sees, on machines that have none: arithmetic, XLA, memory.

The frameworks are stood in for, with what theirs say of a card: TensorFlow a dictionary, JAX attributes of a device.
"""

import sys
from types import SimpleNamespace

import cv2
import pytest

keras = pytest.importorskip("keras")

from imagemask.learn import backend

NEW, OLD = (8, 0), (7, 5)  # NVIDIA's compute capability of an A100, and of a T4


def tensorflow(*cards):
    """TensorFlow, as far as it is asked of its cards, which are given by compute capability; None: it is not told."""
    told = {f"GPU:{number}": {"device_name": "card", "compute_capability": card} for number, card in enumerate(cards)}
    for details in told.values():
        if details["compute_capability"] is None:
            del details["compute_capability"]
    config = SimpleNamespace(
        list_physical_devices=lambda kind: [SimpleNamespace(name=name) for name in told] if kind == "GPU" else [],
        experimental=SimpleNamespace(get_device_details=lambda card: told[card.name]),
    )
    return SimpleNamespace(config=config)


def jax(*cards):
    """The same of JAX."""
    devices = [SimpleNamespace(platform="gpu", device_kind="card") for _ in cards]
    for device, card in zip(devices, cards, strict=True):
        if card is not None:
            device.compute_capability = ".".join(map(str, card))
    return SimpleNamespace(devices=lambda: devices or [SimpleNamespace(platform="cpu", device_kind="cpu")])


FRAMEWORKS = {"tensorflow": tensorflow, "jax": jax}


@pytest.fixture(params=FRAMEWORKS)
def plug_in(request, monkeypatch):
    """Put cards into this machine, as either framework sees them; gives the framework's name."""

    def plugged(*cards):
        monkeypatch.setitem(sys.modules, request.param, FRAMEWORKS[request.param](*cards))
        return request.param

    monkeypatch.setattr(backend, "require", lambda: request.param)
    return plugged


@pytest.mark.parametrize(
    ("cards", "chosen"),
    [
        ((), "float32"),
        ((OLD,), "float32"),
        ((NEW,), "mixed_bfloat16"),
        (((9, 0),), "mixed_bfloat16"),
        (((12, 0),), "mixed_bfloat16"),
        ((None,), "float32"),
        ((NEW, OLD), "mixed_bfloat16"),
        ((OLD, NEW), "float32"),
    ],
)
def test_auto_is_half_precision_where_the_first_card_is_made_for_it(plug_in, cards, chosen):
    plug_in(*cards)
    assert backend.gpus() == ["card"] * len(cards)
    assert backend.policy("auto") == chosen
    before = keras.config.dtype_policy().name
    with backend.computing("auto", "one") as devices:
        assert (keras.config.dtype_policy().name, devices) == (chosen, 1)
    assert keras.config.dtype_policy().name == before


@pytest.mark.parametrize("cards", [(), (OLD,), (NEW,)])
def test_a_precision_that_is_asked_for_is_taken_on_every_machine(plug_in, cards):
    plug_in(*cards)
    assert (backend.policy("float32"), backend.policy("bfloat16")) == ("float32", "mixed_bfloat16")


@pytest.mark.parametrize(
    ("cards", "devices", "on"), [(0, 1, False), (0, 2, False), (1, 1, True), (2, 1, True), (2, 2, False)]
)
def test_xla_is_on_for_one_card_of_tensorflows_and_jax_decides_for_itself(plug_in, cards, devices, on):
    name = plug_in(*[NEW] * cards)
    assert backend.jit(devices) == (on if name == "tensorflow" else "auto")


class ResourceExhaustedError(Exception):
    """TensorFlow's, whose text does not hold its name."""


class JaxRuntimeError(RuntimeError):
    """JAX's, which begins with a code."""


ON_CARD = "{{function_node __wrapped__%s_device_/job:localhost/replica:0/task:0/device:GPU:0}} "


@pytest.mark.parametrize(
    "error",
    [
        ResourceExhaustedError(
            ON_CARD % "Conv2D" + "OOM when allocating tensor with shape[32,64,512,512] and type float on "
            "/job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc [Op:Conv2D] name: "
        ),
        ResourceExhaustedError(ON_CARD % "Mul" + "failed to allocate memory [Op:Mul] name: "),
        RuntimeError("RESOURCE_EXHAUSTED: OOM when allocating tensor with shape[8,512,512,64] and type half"),
        RuntimeError("Graph execution error:\n\nOut of memory while trying to allocate 9663676416 bytes."),
        JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 7406166528 bytes."),
        JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 35184372088832 bytes."),
        RuntimeError("INTERNAL: CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
        cv2.error(
            "OpenCV(5.0.0) /io/opencv/modules/core/src/alloc.cpp:73: error: (-4:Insufficient memory) "
            "Failed to allocate 1099511627776 bytes in function 'OutOfMemoryError'\n"
        ),
        MemoryError("Unable to allocate 7.28 TiB for an array with shape (1000000, 1000000) and data type float64"),
        MemoryError(),
    ],
    ids=lambda error: f"{type(error).__name__}: {str(error)[-60:].strip()}",
)
def test_a_lack_of_memory_is_known_by_what_each_library_says(error):
    assert backend.ran_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("Input 0 of layer conv2d is incompatible with the layer: expected axis -1 to have value 3"),
        RuntimeError("INVALID_ARGUMENT: Incompatible shapes: [4,32,32,1] vs. [4,16,16,1] [Op:Mul]"),
        JaxRuntimeError("INTERNAL: Failed to execute XLA Runtime executable: run time error: custom call failed"),
        RuntimeError("FAILED_PRECONDITION: DNN library initialization failed. Look at the errors above for details."),
        OSError(28, "No space left on device"),
        cv2.error("OpenCV(5.0.0) resize.cpp:4211: error: (-215:Assertion failed) !ssize.empty() in function 'resize'"),
        KeyboardInterrupt(),
    ],
    ids=lambda error: f"{type(error).__name__}: {str(error)[:40]}",
)
def test_what_is_no_lack_of_memory_is_not_taken_for_one(error):
    assert not backend.ran_out_of_memory(error)
