"""The layers of the package: imports point downwards, and there is no circle.

Every import counts, also one inside a function.
"""

import ast
from pathlib import Path

import pytest

import gaussiansr_jax
from gaussiansr_jax.__main__ import COMMANDS

PACKAGE = Path(gaussiansr_jax.__file__).parent
# From the bottom up. A part may import the parts of earlier lines, and parts of its own line
# as long as there is no circle of modules.
LAYERS = [
    {"distributed", "errors", "files", "memory"},
    {"ops"},
    {"images", "models"},
    {"data", "hub", "weights"},
    {"evaluation", "exporting", "loading", "porting", "training", "upscaling", "video"},
    {"app"},
    {"commands.helpers"},
    {"commands"},
    {"__init__", "__main__"},
]
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}


def modules():
    """Dotted name (without the package's) -> file."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def imports(path, known):
    """The modules of the package that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            # A name is a module, or something that the module before it holds.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [n if module_of(n, known) else node.module for n in names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {module_of(name, known) for name in names}
    return found - {None, "__init__"}


def module_of(name, known):
    """The module of the package that a dotted name is, or None."""
    inside = name.removeprefix("gaussiansr_jax.")
    if inside == name:
        return None
    return next((n for n in (inside, f"{inside}.__init__") if n in known), None)


@pytest.fixture(scope="module")
def graph():
    known = modules()
    return {name: imports(path, known) for name, path in known.items()}


def part(module):
    """The part of the package that a module belongs to, as named in `LAYERS`."""
    first_two = ".".join(module.split(".")[:2])
    return first_two if first_two in RANK else module.split(".")[0]


def upward(graph):
    """Imports of a higher part, as (importing, imported)."""
    return [
        (name, other)
        for name, others in graph.items()
        for other in others
        if RANK[part(other)] > RANK[part(name)]
    ]


def circle(graph):
    """Some modules that import each other in a circle, or None."""
    state, path = {}, []

    def visit(name):
        state[name] = "open"
        path.append(name)
        for other in sorted(graph[name]):
            if state.get(other) == "open":
                return [*path[path.index(other) :], other]
            if other not in state and (found := visit(other)):
                return found
        path.pop()
        state[name] = "done"
        return None

    return next((found for name in graph if name not in state and (found := visit(name))), None)


def test_every_part_has_its_layer(graph):
    assert {part(name) for name in graph} <= RANK.keys()
    assert len(graph) > 40


def test_imports_point_downwards(graph):
    graph = {name: others for name, others in graph.items() if part(name) in RANK}
    assert not upward(graph)


def test_there_is_no_circle(graph):
    assert circle(graph) is None


def test_faults_are_found(graph):
    graph = {name: set(others) for name, others in graph.items()}
    graph["ops.splatting"].add("models.registry")
    assert upward(graph) == [("ops.splatting", "models.registry")]
    assert {"ops.splatting", "models.registry"} <= set(circle(graph))


def test_each_module_of_commands_is_a_command():
    names = {path.stem for path in (PACKAGE / "commands").glob("*.py")}
    assert names - {"__init__"} == set(COMMANDS)


def test_packages_only_hand_names_on():
    for path in PACKAGE.rglob("__init__.py"):
        if path.parent == PACKAGE:
            continue  # hands its names on lazily, by a function
        kinds = {type(node) for node in ast.parse(path.read_text()).body}
        assert kinds <= {ast.Expr, ast.Import, ast.ImportFrom, ast.Assign}, path
