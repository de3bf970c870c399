"""Settings of hypothesis, and the way to the helpers that lie beside the tests."""

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from imagemask import registry

sys.path.insert(0, str(Path(__file__).parent))

# A shell that starts the tests in the background has them ignore Ctrl-C, and with them what they start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# One profile everywhere: the same examples on every machine, and no deadline on a busy one.
settings.register_profile(
    "imagemask",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("imagemask")
# For a fixture, a temporary folder for instance, that all examples of a test may share.
settings.register_profile(
    "fixtures reused",
    parent=settings.get_profile("imagemask"),
    suppress_health_check=[*settings().suppress_health_check, HealthCheck.function_scoped_fixture],
)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes stay out of the names of tests: compressed ones hold the time, and side by side names must be the same."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(autouse=True)
def _no_plug_in_outlives_its_test():
    """What the registry has loaded it knows from then on."""
    yield
    registry.load.cache_clear()


@pytest.fixture(scope="module")
def no_waiting_for_the_disk():
    """Every unpacking of an archive ends by waiting for the disk, which is slow where others write, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield
