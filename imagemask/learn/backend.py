"""The one module that knows which framework computes: devices, precision, distribution, memory, versions.

tensorflow and jax are imported here and nowhere else, inside functions, and only the one that Keras uses. Which one
that is, is Keras' own affair: KERAS_BACKEND, else its configuration file, else TensorFlow. It is never set here.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from importlib import metadata
from typing import Any, BinaryIO, Literal, cast

from imagemask.errors import UsageError

Devices = Literal["one", "all"]
Precision = Literal["auto", "float32", "bfloat16"]

_NEEDED = ("keras", "scipy", "matplotlib")
_NAMED = ("imagemask", "keras", "tensorflow", "jax", "jaxlib", "numpy", "scipy", "opencv-python-headless")
_INSTALL = "pip install 'imagemask[train]', or 'imagemask[gpu]' for an NVIDIA card"
_REMARK = "^(I[0-9]{4} |WARNING: All log messages before absl::InitializeLog)"
_EXHAUSTED = (
    "RESOURCE_EXHAUSTED",
    "ResourceExhausted",
    "Out of memory",
    "out of memory",
    "OOM when allocating",
    "Insufficient memory",
)


def require() -> str:
    """The name of Keras' backend, ``tensorflow`` or ``jax``, once all that training needs is there.

    Raises UsageError with the line that installs what is missing, and for a backend that is not supported.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's remarks on the CPU are for its developers
    for package in _NEEDED:
        if importlib.util.find_spec(package) is None:
            raise UsageError(f"{package} is not installed, and training needs it", remedy=_INSTALL)
    asked = os.environ.get("KERAS_BACKEND", "tensorflow")
    if asked not in _GPUS:
        raise UsageError(f"the Keras backend {asked} is not supported", remedy="Set KERAS_BACKEND to tensorflow or jax")
    try:
        with _without_remarks():
            import keras
    except (ImportError, ValueError) as error:
        raise UsageError(f"Keras finds no backend: {error}", remedy=_INSTALL) from error
    name = str(keras.backend.backend())
    if name not in _GPUS:
        raise UsageError(f"the Keras backend {name} is not supported", remedy="Set KERAS_BACKEND to tensorflow or jax")
    return name


@contextlib.contextmanager
def _without_remarks() -> Iterator[None]:
    """Keep back what TensorFlow's libraries remark while they are loaded, whatever TF_CPP_MIN_LOG_LEVEL says.

    They write to the terminal themselves. What is not a remark (warnings, errors, lines of others) is passed on, by a
    process of its own: where the libraries abort, the reason is not lost.
    """
    if "keras" in sys.modules or sys.stderr is None:
        yield
        return
    sys.stderr.flush()
    try:
        terminal = os.dup(2)
        command = ["grep", "-Ev", _REMARK]
        passing_on = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=terminal)  # noqa: S603  all of it is ours
    except OSError:  # there is no terminal, or no grep
        yield
        return
    with passing_on, os.fdopen(terminal, "wb", buffering=0), cast(BinaryIO, passing_on.stdin) as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                sys.stderr.flush()
            os.dup2(terminal, 2)


def gpus() -> list[str]:
    """The graphics cards that the backend sees, by name."""
    return _GPUS[require()]()


def require_gpu() -> None:
    """Raises UsageError where the backend sees no graphics card."""
    if not gpus():
        raise UsageError(
            f"{require()} sees no GPU, and --require-gpu was given",
            remedy="pip install 'imagemask[gpu]'; nvidia-smi must list the card; or leave --require-gpu away",
        )


def policy(precision: Precision) -> str:
    """Keras' name of the arithmetic for ``precision``; ``auto`` is bfloat16 on graphics cards that are made for it."""
    if precision == "auto":
        return "mixed_bfloat16" if gpus() and _fast_at_bfloat16() else "float32"
    return "mixed_bfloat16" if precision == "bfloat16" else "float32"


@contextlib.contextmanager
def computing(precision: Precision, devices: Devices) -> Iterator[int]:
    """While it is open, models are made for this arithmetic and these devices; gives how many devices there are.

    ``all`` is every graphics card, or every CPU device where there is no card: MirroredStrategy on TensorFlow,
    DataParallel on JAX. Afterwards Keras is as it was.
    """
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy(precision))
    try:
        with _spread(require()) if devices == "all" else contextlib.nullcontext(1) as count:
            yield count
    finally:
        keras.config.set_dtype_policy(before)


def _spread(name: str) -> AbstractContextManager[int]:
    return _mirrored() if name == "tensorflow" else _data_parallel()


@contextlib.contextmanager
def _mirrored() -> Iterator[int]:
    import tensorflow as tf

    cards = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    strategy = tf.distribute.MirroredStrategy([device.name for device in cards])
    with strategy.scope():
        yield strategy.num_replicas_in_sync


@contextlib.contextmanager
def _data_parallel() -> Iterator[int]:
    import keras

    found = keras.distribution.list_devices()  # of JAX's default platform: its cards, else its CPU devices
    before = keras.distribution.distribution()
    # Keras shards datasets of tf.data only; on one machine every process holds the whole batch anyway.
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=found, auto_shard_dataset=False))
    try:
        yield len(found)
    finally:
        keras.distribution.set_distribution(before)


def jit(devices: int) -> str | bool:
    """What ``Model.compile`` is told of XLA: on where it helps.

    TensorFlow's CPU kernels are faster than XLA's, and XLA under MirroredStrategy may hang (keras#20763).
    """
    if require() == "tensorflow":
        return bool(gpus()) and devices == 1
    return "auto"


def quicken(model: Any) -> None:
    """Let the batch normalization of ``model`` be one kernel each way, where nothing else makes it so.

    Keras composes it of a dozen operations; on TensorFlow without XLA they are a third of a step. The variables, what
    they come to and what is saved stay as they were, but for rounding. In half precision Keras' own is left in place.
    """
    if require() != "tensorflow" or gpus():
        return
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.compute_dtype == "float32":
            layer.call = functools.partial(_normalized, layer, layer.call)


def _normalized(layer: Any, composed: Callable[..., Any], inputs: Any, training: bool = False, **other: Any) -> Any:
    """What ``composed``, the layer's own ``call``, gives."""
    if not training or not layer.trainable:
        return composed(inputs, training=training, **other)
    import tensorflow as tf

    outcome, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        inputs, layer.gamma, layer.beta, epsilon=layer.epsilon, is_training=True
    )
    pixels = tf.cast(tf.size(inputs) / tf.shape(inputs)[-1], "float32")
    variance *= (pixels - 1) / pixels  # the kernel gives the sample's, over n - 1, and Keras keeps the population's
    for kept, now in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        kept.assign(kept * layer.momentum + now * (1 - layer.momentum))
    return outcome


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` of arrays as a graph of the backend. On TensorFlow without XLA, which lacks kernels that warp."""
    if require() == "tensorflow":
        import tensorflow as tf

        graph: Callable[..., Any] = tf.function(function, jit_compile=False)
        return graph
    import jax

    jitted: Callable[..., Any] = jax.jit(function)
    return jitted


def feed(batches: Iterable[Any], like: Any) -> Any:
    """``batches`` as ``Model.fit`` takes them without guessing; ``like`` is a batch: nested tuples of numpy arrays."""
    if require() != "tensorflow":
        return iter(batches)
    import tensorflow as tf

    spec = tf.nest.map_structure(lambda array: tf.TensorSpec(array.shape, array.dtype), like)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return (
        tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=spec).prefetch(2).with_options(options)
    )


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory, the card's or the machine's, did not suffice."""
    said = f"{type(error).__name__}: {error}"  # TensorFlow's kernels for single operations say it by the name alone
    return isinstance(error, MemoryError) or any(sign in said for sign in _EXHAUSTED)


def environment(devices: int = 1) -> dict[str, Any]:
    """What a run was computed with, for its record."""
    versions = {}
    for package in _NAMED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "backend": require(),
        "gpus": gpus(),
        "devices": devices,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "versions": versions,
    }


def _tensorflow_gpus() -> list[str]:
    import tensorflow as tf

    cards = tf.config.list_physical_devices("GPU")
    return [str(tf.config.experimental.get_device_details(card).get("device_name", card.name)) for card in cards]


def _jax_gpus() -> list[str]:
    import jax

    return [str(device.device_kind) for device in jax.devices() if device.platform == "gpu"]


_GPUS: dict[str, Callable[[], list[str]]] = {"tensorflow": _tensorflow_gpus, "jax": _jax_gpus}


def _fast_at_bfloat16() -> bool:
    """Whether the first card has tensor cores for bfloat16: compute capability 8 (Ampere) and later."""
    if require() == "tensorflow":
        import tensorflow as tf

        card = tf.config.list_physical_devices("GPU")[0]
        capability = tf.config.experimental.get_device_details(card).get("compute_capability", (0, 0))
        return bool(capability[0] >= 8)
    import jax

    capability = getattr(jax.devices()[0], "compute_capability", "0")
    return float(str(capability)) >= 8
