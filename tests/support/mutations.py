"""Damages the header of a model file byte by byte, and loads each damaged file in a process.

Run as a module it is that process: it names a file and a folder for its copy, and takes a line
``offset byte`` per damage. Each file is loaded in a child of its own (fork is a hundred times
cheaper than starting an engine), so an abort in llama.cpp is an outcome like any other.
"""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gguf

from tests.support.llama import llama_settings
from workers.llama.boot import CannotServe, boot
from workers.llama.messages import Open

ROOT = Path(__file__).parents[2]
LONG_LIST = 60
"""Parts of a field beyond which it is a list of texts, of which only the start is structure."""
SECONDS_EACH = 20


@dataclass(frozen=True)
class Mutation:
    """One byte of a file, and what takes its place."""

    offset: int
    byte: int


def mutations(model: Path, count: int, *, seed: int) -> list[Mutation]:
    """Return damages to a file's header: most of them to its structure, some to its texts."""
    dice = random.Random(seed)  # noqa: S311 - repeatable, nothing secret
    data = model.read_bytes()
    structure, end = _structure(model)
    found: list[Mutation] = []
    while len(found) < count:
        is_text = dice.random() < 0.25
        offset = dice.randrange(24, end) if is_text else dice.choice(structure)
        byte = dice.choice([data[offset] ^ (1 << dice.randrange(8)), dice.randrange(256), 0, 255])
        if byte != data[offset]:
            found.append(Mutation(offset, byte))
    return found


@contextmanager
def mutated(copy: Path, mutation: Mutation) -> Iterator[None]:
    """Damage a file for a while."""
    before = _exchange(copy, mutation)
    try:
        yield
    finally:
        _exchange(copy, before)


def outcomes(model: Path, folder: Path, damages: list[Mutation]) -> list[str]:
    """Return how loading each damaged file ended: ``served``, ``refused …`` or ``signal …``."""
    command = [sys.executable, "-m", "tests.support.mutations", str(model), str(folder)]
    lines = "".join(f"{damage.offset} {damage.byte}\n" for damage in damages)
    done = subprocess.run(
        command,
        input=lines,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env=os.environ | {"GGML_NO_BACKTRACE": "1"},  # else a debugger is started at every abort
        check=True,
    )
    return done.stdout.splitlines()


def _structure(model: Path) -> tuple[list[int], int]:
    """Return the offsets of all that is not the inside of a long list, and the header's end."""
    reader = gguf.GGUFReader(model)
    offsets: list[int] = []
    for field in [*reader.fields.values(), *(tensor.field for tensor in reader.tensors)]:
        at = field.offset
        for number, part in enumerate(field.parts):
            if len(field.parts) < LONG_LIST or number < LONG_LIST // 10:
                offsets += range(at, at + part.nbytes)
            at += part.nbytes
    return offsets, reader.data_offset


def _exchange(file: Path, mutation: Mutation) -> Mutation:
    """Write a byte; return the one that was there."""
    with file.open("r+b") as handle:
        handle.seek(mutation.offset)
        before = handle.read(1)[0]
        handle.seek(mutation.offset)
        handle.write(bytes([mutation.byte]))
    return Mutation(mutation.offset, before)


def _load_in_child(path: Path) -> str:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        os.write(writing, _load(path).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as said:
        outcome = said.read().decode()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return outcome.splitlines()[0]


def _load(path: Path) -> str:
    signal.alarm(SECONDS_EACH)
    try:
        boot(Open.of(llama_settings(path)), lambda _: True)
    except CannotServe as error:
        return f"refused {error}"
    except Exception as error:
        return f"raised {error!r}"
    return "served"


def main() -> None:
    """Load the damaged files that standard input names."""
    model, folder = map(Path, sys.argv[1:])
    copy = folder / model.name
    copy.write_bytes(model.read_bytes())
    for line in sys.stdin.read().splitlines():
        offset, byte = map(int, line.split())
        with mutated(copy, Mutation(offset, byte)):
            print(_load_in_child(copy), flush=True)


if __name__ == "__main__":
    main()
