"""The import table of docs/architecture.md, held against the sources' ASTs."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs" / "architecture.md"
HEAVY = {"tensorflow", "jax", "torch", "keras"}
ANYTHING = "anything"


def modules():
    """Dotted module name below imagemask: file, for every module that is shipped."""
    found = {}
    for top, prefix in (("imagemask", ""), ("generators", "generators."), ("manifests", "manifests.")):
        for path in sorted((ROOT / top).rglob("*.py")):
            dotted = prefix + ".".join(path.relative_to(ROOT / top).with_suffix("").parts)
            found[dotted.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def table():
    """Row of the table: (module pattern, names it may import), in the order of the page."""
    rows = []
    for line in TABLE.read_text().splitlines():
        match = re.match(r"\| `([^|]+)` \| ([^|]+) \|", line)
        if match:
            names = [name.strip().strip("`") for name in match[1].split(",")]
            allowed = {name.strip().strip("`") for name in match[2].split(",")}
            rows += [(name, allowed) for name in names]
    return rows


ROWS = table()


def row_of(module):
    """The most specific row that covers a module: its own name, or the folder it lies in."""
    fitting = [(name, allowed) for name, allowed in ROWS if module == name or module.startswith(name + ".")]
    assert fitting, f"docs/architecture.md has no row for {module}"
    return max(fitting, key=lambda row: len(row[0]))


def imports(path):
    """Dotted names that a file imports: ours without the leading package, others by their top name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from ours_or_top(alias.name, None)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                yield from ours_or_top(node.module, alias.name)


def ours_or_top(module, name):
    if module.split(".")[0] != "imagemask":
        yield module.split(".")[0]
        return
    inner = ".".join([*module.split(".")[1:], *([name] if name else [])])
    if inner in MODULES:
        yield inner
    elif ".".join(module.split(".")[1:]):
        yield ".".join(module.split(".")[1:])


@pytest.mark.parametrize("module", [name for name in MODULES if name not in ("__init__", "__main__")])
def test_imports_only_what_the_table_allows(module):
    folder, allowed = row_of(module)
    if ANYTHING in allowed:
        return
    for name in imports(MODULES[module]):
        inside = name == folder or name.startswith(folder + ".")
        known = any(name == one or name.startswith(one + ".") for one in allowed)
        assert inside or known or name in sys.stdlib_module_names, f"{module} imports {name}"


def test_every_package_is_shipped():
    packages = {"imagemask", *(f"imagemask.{name}" for name, path in MODULES.items() if path.name == "__init__.py")}
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert declared == sorted(packages - {"imagemask.__init__"})


def test_every_row_of_the_table_is_a_module():
    for name, _ in ROWS:
        assert any(module == name or module.startswith(name + ".") for module in MODULES), name


def test_nothing_imports_the_command_line():
    for module, path in MODULES.items():
        if not module.startswith("cli") and module != "__main__":
            assert not any(name == "cli" or name.startswith("cli.") for name in imports(path)), module


def test_only_learn_imports_keras_and_only_its_backend_a_framework():
    for module, path in MODULES.items():
        allowed = HEAVY if module == "learn.backend" else {"keras"} if module.split(".")[0] == "learn" else set()
        assert not HEAVY.intersection(imports(path)) - allowed, module


def test_only_the_registry_imports_generators():
    for module, path in MODULES.items():
        if not module.startswith("generators") and module != "registry":
            assert not any(name.startswith("generators") for name in imports(path)), module


def test_the_command_line_imports_nothing_but_click_at_the_top():
    for module, path in MODULES.items():
        if module.startswith("cli"):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.Import | ast.ImportFrom):
                    names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                    for name in names:
                        top = name.split(".")[0]
                        assert top in sys.stdlib_module_names or top == "click" or name.startswith("imagemask.cli"), (
                            name
                        )


@pytest.mark.parametrize("module", MODULES)
def test_a_file_fits_in_the_head(module):
    assert len(MODULES[module].read_text().splitlines()) <= 400


def bodies():
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                yield f"{module}.{node.name}", body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_functions_are_short():
    lengths = sorted(length for _, length in bodies())
    assert max(bodies(), key=lambda one: one[1])[1] <= 60
    assert lengths[len(lengths) // 2] <= 10
    assert lengths[int(len(lengths) * 0.9)] <= 30
