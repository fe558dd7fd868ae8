"""Generated bodies: whatever comes in, the answer is never a server error."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from schemas.openai.chat import ChatRequest
from tests.support.gateway import running_mesh

FIELDS = list(ChatRequest.__struct_fields__)
BATCH = 100
EXAMPLES = 2500

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
            st.sampled_from(["role", "content", "type", "text", "function", "name", "schema"])
            | st.text(max_size=4),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
bodies = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=6), json_values, max_size=5)


def spoil(body: dict[str, Any], whole: bool, cut: int, junk: bytes) -> bytes:
    """Return the body as JSON: valid but for its values, or broken somewhere."""
    hello = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}
    raw = json.dumps(hello | {"max_tokens": 1} | body).encode("utf-8", "surrogatepass")
    if whole:
        return raw
    cut %= len(raw)
    return raw[:cut] + junk + raw[cut + len(junk) :]


spoiled = st.builds(spoil, bodies, st.booleans(), st.integers(0, 5000), st.binary(max_size=4))


def corpus() -> list[bytes]:
    """Return the same few thousand bodies every time."""
    collected: list[bytes] = []

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(spoiled)
    def collect(raw: bytes) -> None:
        collected.append(raw)

    collect()
    return collected


async def test_no_body_is_a_server_error(tmp_path: Path) -> None:
    """A few thousand generated bodies get 200 or a 4xx in the form of the API, never a 5xx."""
    statuses: Counter[int] = Counter()
    async with running_mesh(tmp_path) as mesh, aiohttp.ClientSession() as session:
        url = f"{mesh.url}/v1/chat/completions"

        async def ask(raw: bytes) -> None:
            headers = {"Content-Type": "application/json"}
            async with session.post(url, data=raw, headers=headers) as answer:
                text = await answer.text()
            assert answer.status < 500, (raw, text)
            if answer.status >= 400:
                error = json.loads(text)["error"]
                assert error.keys() == {"message", "type", "param", "code"}, raw
            statuses[answer.status] += 1

        bodies = corpus()
        for start in range(0, len(bodies), BATCH):
            await asyncio.gather(*map(ask, bodies[start : start + BATCH]))

    assert statuses[200] > 20
    assert statuses[400] > 1000
