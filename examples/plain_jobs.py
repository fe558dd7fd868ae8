"""Durable jobs with the bare NATS client: no inference-mesh library, only JSON.

The same works from any language. Run beside ``mesh up``; both values are in STATE/run.json:

    python examples/plain_jobs.py nats://127.0.0.1:4222 STATE/creds/client.nk [MODEL]
"""

import asyncio
import json
import sys
from typing import Any

import nats
from nats.aio.client import Client

INBOX = "_INBOX_client"
"""A role may listen on its own private inboxes alone."""
ENDED = ("succeeded", "failed", "cancelled")


async def main(url: str, creds: str, model: str = "spark") -> None:
    async with await nats.connect(url, nkeys_seed=creds, inbox_prefix=INBOX) as bus:
        job = await ask(
            bus,
            "submit",
            # The same key again is the same job: submitting is safe to repeat.
            key="weekly-report-47",
            priority="high",
            deadline_ms=600_000,
            request={
                "model": model,
                "messages": [{"role": "user", "content": "What is an edge worker?"}],
                "max_tokens": 64,
                "policy": "edge-first",
            },
        )
        print(f"{job['id']}: {job['state']}")
        news = await bus.subscribe(f"mesh.v1.jobs.events.default.{job['id']}")
        # News are told once and may be missed; the record is the truth.
        while (job := await ask(bus, "get", id=job["id"]))["state"] not in ENDED:
            try:
                await news.next_msg(timeout=2)
            except nats.errors.TimeoutError:
                continue
        print(f"{job['state']}: {job.get('result', job.get('error'))}")


async def ask(bus: Client, operation: str, **body: Any) -> dict[str, Any]:
    reply = await bus.request(f"mesh.v1.jobs.{operation}", json.dumps(body).encode(), timeout=10)
    answer: dict[str, Any] = json.loads(reply.data)
    if answer.get("type") == "failed":
        sys.exit(f"{answer['code']}: {answer['message']}")
    return answer


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
