"""The backend behind the peers: an OpenAI-compatible server that costs next to nothing.

It gives the answer that the mesh's scripted engine gives, so that what a proxy adds is the proxy's.
A stream is written one event per turn of the event loop, as an engine that makes a token at a time
does; written at once, a proxy would see all of it in one read, which no real backend gives it.
"""

import argparse
import asyncio
from functools import lru_cache
from typing import cast

import msgspec
import uvloop

from bench import script
from schemas.wire import Message

HEAD_END = b"\r\n\r\n"


class ChatBody(Message, frozen=True, kw_only=True):
    """What the backend reads of a chat request."""

    model: str
    max_tokens: int = 16
    max_completion_tokens: int | None = None
    stream: bool = False


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)


def response(body: bytes, status: str = "200 OK") -> bytes:
    """Return a whole HTTP response with a JSON body."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return head.encode() + HEAD_END + body


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
STREAM_END = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
COMMON = {"id": "chatcmpl-bench", "created": 1, "model": script.MODEL}


def event(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    """Return one server-sent event of a chat stream, as one HTTP chunk."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    chunk = COMMON | {"object": "chat.completion.chunk", "choices": [choice]}
    data = b"data: " + _json(chunk) + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


@lru_cache
def completion(count: int) -> bytes:
    """Return the response to a chat request that does not stream."""
    message = {"role": "assistant", "content": script.text(count)}
    choice = {"index": 0, "message": message, "finish_reason": "length"}
    usage = {"prompt_tokens": 1, "completion_tokens": count, "total_tokens": count + 1}
    return response(
        _json(COMMON | {"object": "chat.completion", "choices": [choice], "usage": usage})
    )


@lru_cache
def stream(count: int) -> tuple[bytes, ...]:
    """Return the writes that make up a streamed answer, one per token."""
    head = STREAM_HEAD + event({"role": "assistant", "content": ""})
    events = [event({"content": token}) for token in script.tokens(count)]
    return (head, *events, event({}, "length") + STREAM_END)


def plain_routes() -> dict[bytes, bytes]:
    """Return the answers to the questions that proxies ask before they trust a backend."""
    model = {"id": script.MODEL, "object": "model", "created": 1, "owned_by": "bench"}
    info = {"served_model_name": script.MODEL, "is_generation": True}
    return {
        b"/health": response(b"{}"),
        b"/v1/models": response(_json({"object": "list", "data": [model]})),
        b"/server_info": response(_json(info)),
        b"/get_server_info": response(_json(info)),
        b"/model_info": response(_json(info)),
        b"/get_model_info": response(_json(info)),
    }


class Connection(asyncio.Protocol):
    """One keep-alive HTTP/1.1 connection; requests on it are answered one after the other."""

    def __init__(self, skip: int | None) -> None:
        self._skip = skip
        self._routes = plain_routes()
        self._decoder = msgspec.json.Decoder(ChatBody)
        self._loop = asyncio.get_running_loop()
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while not self._transport.is_closing() and (end := self._buffer.find(HEAD_END)) >= 0:
            head = self._buffer[:end]
            length = _content_length(head)
            start = end + len(HEAD_END)
            if len(self._buffer) < start + length:
                return
            body, self._buffer = (
                self._buffer[start : start + length],
                self._buffer[start + length :],
            )
            self._answer(head.split(b" ", 2)[1], body)

    def _answer(self, path: bytes, body: bytes) -> None:
        if path == b"/v1/chat/completions":
            self._chat(self._decoder.decode(body))
        elif path == b"*":  # an HTTP/2 preface: sglang-router tries gRPC first
            self._transport.close()
        else:
            self._transport.write(self._routes.get(path) or response(b"{}", "404 Not Found"))

    def _chat(self, chat: ChatBody) -> None:
        count = chat.max_completion_tokens or chat.max_tokens
        if chat.model != script.MODEL:
            self._transport.write(response(b"{}", "404 Not Found"))
            return
        if not chat.stream:
            self._transport.write(completion(count))
            return
        writes = stream(count)
        if self._skip is not None:
            writes = writes[: self._skip + 1] + writes[self._skip + 2 :]
        self._write(writes, 0)

    def _write(self, writes: tuple[bytes, ...], position: int) -> None:
        self._transport.write(writes[position])
        if position + 1 < len(writes) and not self._transport.is_closing():
            self._loop.call_soon(self._write, writes, position + 1)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def serve(host: str, port: int, skip: int | None = None) -> asyncio.Server:
    """Listen; ``skip`` is the number of a token that streams leave out, to try out checks."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: Connection(skip), host, port, backlog=2048)


async def main(host: str, port: int) -> None:
    """Serve until stopped."""
    async with await serve(host, port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    uvloop.run(main(arguments.host, arguments.port))
