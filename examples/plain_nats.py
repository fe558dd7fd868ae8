"""Ask the mesh with the bare NATS client: no inference-mesh library, only JSON.

The same works from any language. Run beside ``mesh up``; both values are in STATE/run.json:

    python examples/plain_nats.py nats://127.0.0.1:4222 STATE/creds/client.nk [MODEL]
"""

import asyncio
import json
import sys

import nats
from nats.aio.client import Client

INBOX = "_INBOX_client"
"""A role may listen on its own private inboxes alone."""


async def ask(url: str, creds: str, model: str = "spark") -> None:
    async with await nats.connect(url, nkeys_seed=creds, inbox_prefix=INBOX) as bus:
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "What is an edge worker?"}],
            "max_tokens": 64,
            "policy": "edge-only",
            "deadline_ms": 30_000,
        }
        await whole(bus, body)
        await stream(bus, body | {"stream": True})


async def whole(bus: Client, body: dict[str, object]) -> None:
    reply = await bus.request("mesh.v1.infer", json.dumps(body).encode(), timeout=35)
    answer = json.loads(reply.data)
    if answer.get("type") == "failed":
        sys.exit(f"{answer['code']}: {answer['message']}")
    print(f"{answer['tier']}/{answer['worker']}: {answer['text']}")


async def stream(bus: Client, body: dict[str, object]) -> None:
    inbox = bus.new_inbox()
    frames = await bus.subscribe(inbox)
    await bus.publish("mesh.v1.infer", json.dumps(body).encode(), reply=inbox)
    async for message in frames.messages:
        frame = json.loads(message.data)
        print(frame.get("text", ""), end="", flush=True)
        if frame["type"] in ("done", "failed"):
            print(f"\n{frame['type']}: {frame.get('usage') or frame.get('message')}")
            break


if __name__ == "__main__":
    asyncio.run(ask(*sys.argv[1:]))
