"""A real model for the engines under test."""

from pathlib import Path

import pytest

from tests.support.tiny_model import write_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny llama model in a file."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.gguf")
