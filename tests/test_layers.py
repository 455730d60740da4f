"""Three layers, one direction: core → pytorch → widgets. Inside a layer the rooms have one direction, too."""

from __future__ import annotations

import ast
import subprocess
import sys

import networkx as nx
import pytest

import recompviz
from tests.rooms import HOME, ROOMS, imports, modules

MAY_IMPORT = {
    "core": {"core"},
    "networks": {"networks", "core"},
    "pytorch": {"pytorch", "core"},
    "widgets": {"widgets", "pytorch", "core"},
}
HEAVY = {"torch", "ipywidgets", "anywidget", "IPython", "jupyterlab", "numba", "traitlets"}


@pytest.mark.parametrize("layer", sorted(MAY_IMPORT))
def test_a_layer_imports_only_itself_and_those_below(layer: str) -> None:
    files = sorted((HOME / layer).rglob("*.py"))
    assert files
    for path in files:
        for found in imports(path):
            parts = found.module.split(".")
            if parts[0] == "recompviz" and len(parts) > 1:
                assert parts[1] in MAY_IMPORT[layer], f"{path.relative_to(HOME)} imports {found.module}"


@pytest.mark.parametrize("layer", sorted(ROOMS))
def test_a_room_imports_only_itself_and_those_below(layer: str) -> None:
    order = {room: position for position, room in enumerate(ROOMS[layer])}
    assert {path.name for path in (HOME / layer).iterdir() if (path / "__init__.py").exists()} <= set(order)
    for path in sorted((HOME / layer).rglob("*.py")):
        own = path.relative_to(HOME / layer).parts[0]
        if own.endswith(".py"):
            continue
        for found in imports(path):
            parts = found.module.split(".")
            if parts[:2] == ["recompviz", layer] and len(parts) > 2:
                assert order[parts[2]] <= order[own], f"{path.relative_to(HOME)} imports {found.module}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph: nx.DiGraph[str] = nx.DiGraph()
    files = modules()
    del files["recompviz"]  # it imports every public name, lazily
    for name, path in files.items():
        for found in imports(path):
            parts = found.module.split(".")
            # Python runs the __init__ of every package on the way to a module
            imported = {".".join(parts[:depth]) for depth in range(2, len(parts) + 1)}
            graph.add_edges_from((name, module) for module in imported - {name} if module in files)
    circles = [sorted(circle) for circle in nx.strongly_connected_components(graph) if len(circle) > 1]
    assert circles == []


def test_the_core_never_imports_torch_or_jupyter() -> None:
    for path in sorted((HOME / "core").rglob("*.py")):
        for found in imports(path):
            name = found.module.split(".")[0]
            compiled = name == "numba" and (path.stem.endswith("kernels") or not found.at_top)
            assert name not in HEAVY or compiled, f"{path.relative_to(HOME)} imports {found.module}"


PRIVATE_TORCH_ALLOWED = {
    "torch.utils._pytree": "it has no public name in torch 2.13",
    "torch.utils._python_dispatch.TorchDispatchMode": "documented for users in PyTorch's notes on dispatch modes",
}


def dotted(node: ast.expr) -> list[str]:
    """``["torch", "ops", "aten"]`` for ``torch.ops.aten``; the first part is empty if the root is no name."""
    if isinstance(node, ast.Attribute):
        return [*dotted(node.value), node.attr]
    return [node.id] if isinstance(node, ast.Name) else [""]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_private_torch_api_is_used_in_internals_only() -> None:
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(HOME.rglob("*.py"))}
    nodes = {path: list(ast.walk(tree)) for path, tree in trees.items()}
    ours = {
        name
        for path in nodes
        for node in nodes[path]
        for name in (
            [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef)
            else [node.target.id] if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
            else [node.attr] if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
            else []
        )
    }  # fmt: skip
    found = set()
    for path in nodes:
        # core does not import torch
        if path.is_relative_to(HOME / "pytorch" / "internals") or path.is_relative_to(HOME / "core"):
            continue
        for node in nodes[path]:
            used: list[str] = []
            if isinstance(node, ast.Import | ast.ImportFrom):
                home = (node.module or "") + "." if isinstance(node, ast.ImportFrom) else ""
                full = [home + alias.name for alias in node.names]
                used = [name for name in full if name.startswith("torch.") and any(map(is_private, name.split(".")))]
            # operators of ATen have such names, and Python's own modules
            elif isinstance(node, ast.Attribute) and not {"aten", "sys", "functools"} & set(dotted(node.value)):
                used = [node.attr] if is_private(node.attr) and node.attr not in ours else []
            found |= {f"{path.relative_to(HOME)}: {name}" for name in used if name not in PRIVATE_TORCH_ALLOWED}
    assert found == set()


def test_importing_recompviz_and_solving_loads_no_torch_and_no_jupyter() -> None:
    code = (
        "import sys, recompviz as rv\n"
        "g = rv.Graph.from_edges([(0, 1)], memory=[1, 1]); rv.Plan.keep_all(g)\n"
        f"print([m for m in {sorted(HEAVY)!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_module_bears_the_name_of_a_public_verb() -> None:
    verbs = {name for name in recompviz.__all__ if name.islower()}
    assert {path.stem for path in HOME.rglob("*.py")} & verbs == set()


def test_every_public_name_is_there_and_documented() -> None:
    for name in recompviz.__all__:
        value = getattr(recompviz, name)
        assert name == "__version__" or (value.__doc__ or "").strip(), name
