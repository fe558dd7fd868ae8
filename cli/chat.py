"""``mesh chat``: talk to a model of the mesh, straight over the bus."""

import sys
from collections.abc import Sequence
from contextlib import aclosing
from typing import Annotated

import anyio
from cyclopts import Parameter

from cli.bus import bus_settings
from cli.directory import LISTEN
from cli.life import run
from cli.options import BusOptions, ChatOptions, LogOptions, StateOptions
from mesh.accounts import Role
from mesh.client import Mesh, connect
from mesh.errors import ModelNotFound
from schemas.inference import ChatMessage

PROMPT = "Ask this and print the answer; default: read a pipe, or begin a conversation."


def chat(
    prompt: Annotated[str | None, Parameter(help=PROMPT)] = None,
    /,
    *,
    options: ChatOptions = ChatOptions(),
    bus: BusOptions = BusOptions(),
    state: StateOptions = StateOptions(),
    log: LogOptions = LogOptions(),
) -> None:
    """Talk to a model of the mesh."""
    way = bus_settings(bus, state.state, Role.CLIENT, "mesh-chat")
    if prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read()

    async def main() -> None:
        async with connect(way.url, creds=way.creds, role=way.role) as mesh:
            model = options.chat_model or await _first_model(mesh)
            if prompt is None:
                await _converse(mesh, model, options)
            else:
                await _answer(mesh, model, [_turn(prompt)], options)

    run(main, log)


async def _first_model(mesh: Mesh) -> str:
    await anyio.sleep(LISTEN)
    models = sorted(mesh.models(), key=lambda model: not model.edge)
    if not models:
        raise ModelNotFound("no worker serves a model now; see `mesh nodes`")
    return models[0].name


async def _converse(mesh: Mesh, model: str, options: ChatOptions) -> None:
    turns: list[ChatMessage] = []
    _write(f"{model}; Ctrl-D ends\n")
    while prompt := await _read_prompt():
        turns.append(_turn(prompt))
        text = await _answer(mesh, model, turns, options)
        turns.append(ChatMessage(role="assistant", content=text))


async def _read_prompt() -> str | None:
    """Return the next line that says something, ``None`` at the end."""
    while True:
        _write("> ")
        await anyio.wait_readable(sys.stdin)  # a thread in input() would outlive Ctrl-C
        line = sys.stdin.readline()
        if not line:
            return None
        if line.strip():
            return line.strip()


async def _answer(
    mesh: Mesh, model: str, turns: Sequence[ChatMessage], options: ChatOptions
) -> str:
    """Print an answer as it comes and return it."""
    stream = mesh.chat_stream(
        model,
        turns,
        policy=options.chat_policy,
        deadline=options.chat_deadline,
        max_tokens=options.chat_tokens,
    )
    texts = []
    async with aclosing(stream):
        async for delta in stream:
            _write(delta.text)
            texts.append(delta.text)
    _write("\n")
    return "".join(texts)


def _turn(text: str) -> ChatMessage:
    return ChatMessage(role="user", content=text)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
