"""The import directions of the design, read from the source."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mesh

ROOT = Path(__file__).resolve().parents[2]
MAY_IMPORT = {
    "schemas": {"schemas"},
    "mesh": {"mesh", "schemas"},
    "workers": {"workers", "mesh", "schemas"},
    "gateway": {"gateway", "mesh", "schemas"},
    "cli": {"cli", "gateway", "workers", "mesh", "schemas"},
}
SOLE_IMPORTERS = {"nats": "mesh/nats_client.py", "llama_cpp": "workers/llama/library.py"}


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(source: Path) -> Iterator[str]:
    """Yield the top-level package of every import, inside functions too."""
    for node in ast.walk(ast.parse(source.read_text(), str(source))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: relative imports hide the layer"
            yield str(node.module).partition(".")[0]


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_layer_imports_only_what_lies_below_it(folder: str) -> None:
    """No module imports a project package that its layer may not know."""
    forbidden = MAY_IMPORT.keys() - MAY_IMPORT[folder] | {"tests", "bench", "examples", "models"}
    found = {(str(source), name) for source in sources(folder) for name in imported(source)}
    assert {pair for pair in found if pair[1] in forbidden} == set()


def test_schemas_need_nothing_but_msgspec() -> None:
    """The wire format drags no library along but the one that encodes it."""
    used = {name for source in sources("schemas") for name in imported(source)}
    assert used <= {"schemas", "msgspec", "enum", "typing", "collections"}


@pytest.mark.parametrize("library", SOLE_IMPORTERS)
def test_a_library_behind_a_seam_has_one_importer(library: str) -> None:
    """Only the module that wraps a library imports it."""
    importers = [
        str(source.relative_to(ROOT))
        for folder in MAY_IMPORT
        for source in sources(folder)
        if library in imported(source)
    ]
    assert importers == [SOLE_IMPORTERS[library]]


def test_an_engine_process_does_without_the_bus() -> None:
    """A model loads in a process that has no use for a NATS client, and imports none."""
    code = "import sys, workers.llama.main; print(*sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"mesh.bus", "nats", "aiohttp"} & set(told.stdout.split())


def test_what_people_import_is_there() -> None:
    """Every public name is found, and a wrong one is told."""
    assert {name for name in mesh.__all__ if not hasattr(mesh, name)} == set()
    assert not hasattr(mesh, "Mehs")
    assert set(mesh.__all__) <= set(dir(mesh))
