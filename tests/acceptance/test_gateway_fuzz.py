"""Generated bodies: whatever comes in, the answer is never a server error."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from schemas.openai import ModelBody
from schemas.openai.chat import ChatRequest
from schemas.openai.responses import ResponsesRequest
from tests.support.gateway import running_mesh

ENDPOINTS: dict[str, tuple[type[ModelBody], dict[str, Any]]] = {
    "chat/completions": (
        ChatRequest,
        {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1},
    ),
    "responses": (ResponsesRequest, {"input": "hi", "max_output_tokens": 1}),
}
"""The kind of body that an endpoint takes, and the rest of a small one."""
BATCH = 50
EXAMPLES = 400
BROKEN = 5

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["user", "scripted", "text", "function", "none", "json_schema"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "type", "text", "function", "name", "schema", "id", "output"]
            )
            | st.text(max_size=4),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


def variants(body: dict[str, Any], random: Random) -> Iterator[bytes]:
    """Return the body as JSON: whole, and broken in some places."""
    raw = json.dumps({"model": "scripted"} | body).encode("utf-8", "surrogatepass")
    yield raw
    for _ in range(BROKEN):
        at, junk = random.randrange(len(raw)), random.randbytes(random.randrange(4))
        yield raw[:at] + junk + raw[at + random.randrange(4) :]


def corpus(endpoint: str) -> list[bytes]:
    """Return the same few thousand bodies every time."""
    kind, hello = ENDPOINTS[endpoint]
    names = st.sampled_from(list(kind.__struct_fields__)) | st.text(max_size=6)
    bodies = st.dictionaries(names, json_values, max_size=5)
    collected: list[bytes] = []
    random = Random(0)  # noqa: S311 - repeatable, nothing secret

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(bodies)
    def collect(body: dict[str, Any]) -> None:
        collected.extend(variants(hello | body, random))

    collect()
    return collected


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_no_body_is_a_server_error(tmp_path: Path, endpoint: str) -> None:
    """A few thousand generated bodies get 200 or a 4xx in the form of the API, never a 5xx."""
    statuses: Counter[int] = Counter()
    raws = corpus(endpoint)
    async with running_mesh(tmp_path) as mesh, aiohttp.ClientSession() as session:
        url = f"{mesh.url}/v1/{endpoint}"

        async def ask(raw: bytes) -> None:
            headers = {"Content-Type": "application/json"}
            async with session.post(url, data=raw, headers=headers) as answer:
                text = await answer.text()
            assert answer.status < 500, (raw, text)
            if answer.status >= 400:
                error = json.loads(text)["error"]
                assert error.keys() == {"message", "type", "param", "code"}, raw
            statuses[answer.status] += 1

        for start in range(0, len(raws), BATCH):
            await asyncio.gather(*map(ask, raws[start : start + BATCH]))

    assert statuses[200] > 100
    assert statuses[400] > 1000
