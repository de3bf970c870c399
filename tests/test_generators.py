"""The contract of a generator, over every registered one."""

import sys

import pytest

from imagemask import registry, testing


@pytest.mark.parametrize("check", testing.CHECKS, ids=testing.name_of)
@pytest.mark.parametrize("name", registry.names())
def test_contract(name, check, tmp_path):
    check(name, tmp_path)


def test_generators_are_imported_from_inside_the_package_only():
    for name in registry.names():
        assert registry.load(name).__name__ == f"imagemask.generators.{name.replace('-', '_')}"
    assert "generators" not in sys.modules
