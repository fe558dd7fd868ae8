"""What a request must hold to be let into the mesh."""

from typing import Any

import pytest

from mesh import admission
from mesh.errors import InvalidRequest
from schemas.inference import ChatMessage, InferRequest, Task

HELLO = (ChatMessage(role="user", content="hello"),)


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": HELLO},
        {"prompt": "once"},
        {"prompt": (1, 2)},
        {"task": Task.COUNT, "messages": HELLO},
        {"task": Task.COUNT, "prompt": "once"},
        {"task": Task.EMBED, "inputs": ("a",)},
        {"task": Task.EMBED, "inputs": ("a",), "dimensions": 1},
        {"task": Task.RERANK, "inputs": ("a",), "query": "q"},
    ],
)
def test_a_request_with_something_to_compute_is_let_in(fields: dict[str, Any]) -> None:
    """Each task has what it needs."""
    admission.check(InferRequest(model="m", **fields))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "messages"),
        ({"messages": HELLO, "n": 0}, "n"),
        ({"messages": HELLO, "n": 129}, "n"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": ()}, "prompt"),
        ({"prompt": "once", "messages": HELLO}, "prompt"),
        ({"task": Task.COUNT}, "messages"),
        ({"task": Task.EMBED}, "inputs"),
        ({"task": Task.EMBED, "messages": HELLO}, "inputs"),
        ({"task": Task.EMBED, "inputs": ("a",), "dimensions": 0}, "dimensions"),
        ({"task": Task.RERANK, "inputs": ("a",)}, "query"),
        ({"task": Task.RERANK, "query": "q"}, "inputs"),
    ],
)
def test_a_request_without_is_refused_with_the_field(fields: dict[str, Any], param: str) -> None:
    """Nothing travels through the mesh that no worker could compute."""
    with pytest.raises(InvalidRequest) as caught:
        admission.check(InferRequest(model="m", **fields))
    assert caught.value.param == param
