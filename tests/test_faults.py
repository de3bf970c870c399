"""The failure catalogue as a whole: every row of it is tested, and the page where users look codes up is complete."""

import ast
import re
from pathlib import Path

import pytest
import test_faults_cervical_cancer as of_cervix
import test_faults_esophageal_cancer as of_esophagus
import test_faults_files as of_files
import test_faults_lung as of_lung
import test_faults_ovarian_tumor as of_ovary
import test_faults_pancreas as of_pancreas

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "failures.md"
SECTIONS = {
    "G": (30, of_files),
    "L": (32, of_lung),
    "P": (38, of_pancreas),
    "S": (31, of_cervix),
    "M": (32, of_ovary),
    "E": (28, of_esophagus),
}
FLAGGED = (
    *("volumes/*.py", "volumes/*/*.py", "pictures/*.py", "build/case.py", "images/*.py", "masks.py"),
    *("layouts.py", "decathlon.py", "pixels.py", "augment.py", "resample.py"),
)
CODE = re.compile("[a-z][a-z0-9]*(_[a-z0-9]+)*")
FLAG = re.compile("[a-z]+(_[a-z]+)+|squeezed")


def trees():
    """The sources without the writers of phantoms, parsed."""
    paths = [path for top in ("imagemask", "generators") for path in sorted((ROOT / top).rglob("*.py"))]
    return {path: ast.parse(path.read_text()) for path in paths if "phantoms" not in path.parts}


TREES = trees()


def raised(tree, scope=None):
    """The calls of CaseError below ``tree``, each with the function that it stands in."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "CaseError":
            yield node, scope
        yield from raised(node, node if isinstance(node, ast.FunctionDef) else scope)


def values(node, scope):
    """The strings that an expression can be, as far as the function that it stands in says."""
    if isinstance(node, ast.Constant):
        return {node.value}
    if isinstance(node, ast.IfExp):
        return values(node.body, scope) | values(node.orelse, scope)
    if isinstance(node, ast.FormattedValue):
        return values(node.value, scope)
    if isinstance(node, ast.JoinedStr):
        made = {""}
        for part in node.values:
            made = {begin + end for begin in made for end in values(part, scope)}
        return made
    if isinstance(node, ast.Name):
        return set().union(*(bound(*pair, node.id, scope) for pair in assignments(scope)))
    return set()


def assignments(scope):
    """(target, value) of everything that is assigned, or looped over, in a function."""
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign):
            yield from ((target, node.value) for target in node.targets)
        elif isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple):
            yield from ((node.target, item) for item in node.iter.elts)


def bound(target, value, name, scope):
    """What ``name`` becomes where ``value`` is assigned to ``target``."""
    if isinstance(target, ast.Name):
        return values(value, scope) if target.id == name else set()
    if isinstance(target, ast.Tuple) and isinstance(value, ast.IfExp):
        return bound(target, value.body, name, scope) | bound(target, value.orelse, name, scope)
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        parts = zip(target.elts, value.elts, strict=True)
        return set().union(*(bound(part, found, name, scope) for part, found in parts))
    return set()


def faults_of(tree):
    """The codes that ``discover`` puts into Case.fault, for ``read`` to raise."""
    for node in ast.walk(tree):
        named = [getattr(target, "id", "") for target in getattr(node, "targets", ())] + [getattr(node, "arg", "")]
        if "fault" in named and isinstance(node, ast.Assign | ast.keyword):
            yield from (part.elts[0].value for part in ast.walk(node.value) if isinstance(part, ast.Tuple))


def codes():
    """Every code that a CaseError can have, and the calls that only pass one on."""
    found, passed_on = set(), set()
    for tree in TREES.values():
        found.update(faults_of(tree))
        for call, scope in raised(tree):
            found |= values(call.args[0], scope)
            if not values(call.args[0], scope):
                passed_on.add(ast.unparse(call.args[0]))
    return found, passed_on


def flags():
    """Every string in the modules that set flags which looks like one and is used like one."""
    shipped = [path for path in TREES if path.parent == ROOT / "generators"]
    shipped += [path for pattern in FLAGGED for path in (ROOT / "imagemask").glob(pattern) if path.name != "write.py"]
    return set().union(*(set(strings(TREES[path])) for path in shipped)) - codes()[0]


def strings(node):
    """String constants that look like a flag, but for names: of elements, exports, attributes, of what is compared."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and FLAG.fullmatch(node.value):
        yield node.value
    names_something = (
        isinstance(node, ast.Compare)
        or (isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__")
        or (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "getattr")
    )
    if not names_something:
        for name, child in ast.iter_fields(node):
            if not (isinstance(node, ast.Subscript) and name == "slice"):
                for each in child if isinstance(child, list) else [child]:
                    yield from strings(each) if isinstance(each, ast.AST) else ()


def listed(heading):
    """The codes in the first column of the tables below a heading of the page."""
    _, _, after = PAGE.read_text().partition(f"\n## {heading}\n")
    assert after, f"no heading {heading}"
    return re.findall(r"^\| `([^`]+)` \|", after.partition("\n## ")[0], re.M)


@pytest.mark.parametrize("letter", SECTIONS)
def test_every_row_of_the_catalogue_is_here_or_it_is_said_why_not(letter):
    count, module = SECTIONS[letter]
    rows = {fault.row for fault in module.FAULTS}
    assert not rows & set(module.NOT_HERE)
    assert rows | set(module.NOT_HERE) == {f"{letter}{number}" for number in range(1, count + 1)}
    ids = [fault.id for fault in module.FAULTS]
    assert len(ids) == len(set(ids))


def test_rows_that_are_tested_elsewhere_are():
    for _, module in SECTIONS.values():
        for reason in module.NOT_HERE.values():
            for path, name in re.findall(r"(tests/\w+\.py)::(\w+)", reason):
                assert f"def {name}(" in (ROOT / path).read_text(), reason


def test_five_rows_go_through_the_real_pool():
    pooled = [name for _, module in SECTIONS.values() for name in module.POOLED]
    known = {fault.id for _, module in SECTIONS.values() for fault in module.FAULTS}
    assert len(pooled) == 5
    assert set(pooled) <= known


def test_the_page_lists_the_codes_that_there_are():
    found, passed_on = codes()
    assert passed_on == {"error.code", "*case.fault"}, "a code that this test cannot follow"
    assert sorted(listed("Quarantined")) == sorted(found)
    assert all(CODE.fullmatch(code) for code in found)


def test_the_page_lists_the_flags_that_there_are():
    assert sorted(listed("Noted")) == sorted(flags())


def test_the_tables_expect_codes_and_flags_that_are_on_the_page():
    for _, module in SECTIONS.values():
        for fault in module.FAULTS:
            assert getattr(fault.then, "code", "bad_crc") in listed("Quarantined")
            assert set(getattr(fault.then, "flags", "").split()) <= set(listed("Noted"))


def test_every_case_error_says_what_to_do():
    for path, tree in TREES.items():
        for call, _ in raised(tree):
            remedies = [keyword.value for keyword in call.keywords if keyword.arg == "remedy"]
            assert remedies, f"{path}:{call.lineno}"
            assert getattr(remedies[0], "value", "a sentence"), f"{path}:{call.lineno}"
