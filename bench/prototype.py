"""The limit: nothing but aiohttp, NATS and a loop that writes tokens.

No routing, no admission, no deadlines, no checks: what a mesh in Python could reach on this machine
if all it has to do beyond passing tokens on cost nothing. One frame per token.
"""

import argparse
import asyncio
import itertools

import msgspec
import uvloop
from aiohttp import web
from nats.aio.client import Client
from nats.aio.msg import Msg

from bench import script
from bench.upstream import ChatBody

SUBJECT = "bench.infer"
END = b""


def _chunk(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return b"data: " + msgspec.json.encode({"id": "bench", "choices": [choice]}) + b"\n\n"


class Gateway:
    """Publishes each request and hands the frames that come back to the client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._queues: dict[str, asyncio.Queue[bytes]] = {}
        self._tokens = map(str, itertools.count())
        self._inbox = f"_INBOX.bench.{id(self):x}."

    async def listen(self) -> None:
        await self._client.subscribe(self._inbox + "*", cb=self._on_frame)

    async def _on_frame(self, message: Msg) -> None:
        self._queues[message.subject[len(self._inbox) :]].put_nowait(message.data)

    async def post(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        stream = msgspec.json.decode(body, type=ChatBody).stream
        token = next(self._tokens)
        frames = self._queues[token] = asyncio.Queue()
        try:
            await self._client.publish(SUBJECT, body, reply=self._inbox + token)
            return await (self._stream(request, frames) if stream else self._whole(frames))
        finally:
            del self._queues[token]

    async def _whole(self, frames: asyncio.Queue[bytes]) -> web.Response:
        message = {"role": "assistant", "content": (await frames.get()).decode()}
        choice = {"index": 0, "message": message, "finish_reason": "length"}
        body = msgspec.json.encode({"id": "bench", "choices": [choice]})
        return web.Response(body=body, content_type="application/json")

    async def _stream(
        self, request: web.Request, frames: asyncio.Queue[bytes]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while (frame := await frames.get()) != END:
            await response.write(_chunk({"content": frame.decode()}))
        await response.write(_chunk({}, "length") + b"data: [DONE]\n\n")
        return response


async def serve_gateway(client: Client, port: int) -> None:
    """Serve HTTP until stopped."""
    gateway = Gateway(client)
    await gateway.listen()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", gateway.post)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=2048).start()
    await asyncio.Event().wait()


async def serve_worker(client: Client) -> None:
    """Answer requests until stopped."""

    async def answer(message: Msg) -> None:
        chat = msgspec.json.decode(message.data, type=ChatBody)
        if not chat.stream:
            await client.publish(message.reply, script.text(chat.max_tokens).encode())
            return
        for token in script.tokens(chat.max_tokens):
            await client.publish(message.reply, token.encode())
        await client.publish(message.reply, END)

    await client.subscribe(SUBJECT, cb=answer)
    await asyncio.Event().wait()


async def main(nats: str, port: int | None) -> None:
    """Run the worker, or with a port the gateway."""
    client = Client()
    await client.connect(nats)
    await (serve_worker(client) if port is None else serve_gateway(client, port))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nats", required=True)
    parser.add_argument("--port", type=int, help="serve HTTP here; without it, compute")
    arguments = parser.parse_args()
    uvloop.run(main(arguments.nats, arguments.port))
