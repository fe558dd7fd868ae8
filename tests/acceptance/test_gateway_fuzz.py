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

from schemas.anthropic.messages import MessagesRequest
from schemas.openai import ModelBody
from schemas.openai.chat import ChatRequest
from schemas.openai.completions import CompletionRequest
from schemas.openai.responses import ResponsesRequest
from tests.support.gateway import running_mesh

HELLO = {"messages": [{"role": "user", "content": "hi"}]}
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
    raw = json.dumps({"model": "scripted", "max_tokens": 1} | body).encode("utf-8", "surrogatepass")
    yield raw
    for _ in range(BROKEN):
        at, junk = random.randrange(len(raw)), random.randbytes(random.randrange(4))
        yield raw[:at] + junk + raw[at + random.randrange(4) :]


def corpus(kind: type[ModelBody], plain: dict[str, Any], examples: int) -> list[bytes]:
    """Return the same bodies every time, with the fields of a kind."""
    names = st.sampled_from(kind.__struct_fields__) | st.text(max_size=6)
    bodies = st.dictionaries(names, json_values, max_size=5)
    collected: list[bytes] = []
    random = Random(0)  # noqa: S311 - repeatable, nothing secret

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(bodies)
    def collect(body: dict[str, Any]) -> None:
        collected.extend(variants(plain | body, random))

    collect()
    return collected


@pytest.mark.parametrize(
    ("path", "kind", "plain", "examples"),
    [
        ("chat/completions", ChatRequest, HELLO, EXAMPLES),
        ("completions", CompletionRequest, {"prompt": "hi"}, EXAMPLES // 4),
        ("messages", MessagesRequest, HELLO, EXAMPLES // 4),
        ("responses", ResponsesRequest, {"input": "hi", "max_output_tokens": 1}, EXAMPLES // 4),
    ],
)
async def test_no_body_is_a_server_error(
    tmp_path: Path, path: str, kind: type[ModelBody], plain: dict[str, Any], examples: int
) -> None:
    """Generated bodies get 200 or a 4xx in the form of the API, never a 5xx."""
    statuses: Counter[int] = Counter()
    raws = corpus(kind, plain, examples)
    form = {"type", "message"} if path == "messages" else {"message", "type", "param", "code"}
    async with running_mesh(tmp_path) as mesh, aiohttp.ClientSession() as session:
        url = f"{mesh.url}/v1/{path}"

        async def ask(raw: bytes) -> None:
            headers = {"Content-Type": "application/json"}
            async with session.post(url, data=raw, headers=headers) as answer:
                text = await answer.text()
            assert answer.status < 500, (raw, text)
            if answer.status >= 400:
                error = json.loads(text)["error"]
                assert error.keys() == form, raw
            statuses[answer.status] += 1

        for start in range(0, len(raws), BATCH):
            await asyncio.gather(*map(ask, raws[start : start + BATCH]))

    assert statuses[200] > examples / 4
    assert statuses[400] > 2.5 * examples
