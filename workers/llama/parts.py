"""Model files as people name them: one file, or the first of several parts.

llama.cpp's ``gguf-split`` names parts ``NAME-00001-of-00003.gguf``. The first describes the
network; all of them hold weights, so all must be there and all count when memory is planned.
"""

import re
from dataclasses import replace
from pathlib import Path

from workers.llama.gguf_header import BadModelFile, Header, read_header
from workers.llama.plausible import check

MAX_PARTS = 1000
PART_NAME = re.compile(r"-(\d{5})-of-(\d{5})$")
"""How the stem of a part's file name ends."""


def read_model(path: Path) -> Header:
    """Return the header of a whole model, checked; raises ``BadModelFile`` with the reason.

    Sizes and tensors are those of all parts together.
    """
    first = read_header(path)
    check(first)
    later = [_read_part(part, number) for number, part in enumerate(_later_parts(path, first), 1)]
    if not later:
        return first
    return replace(
        first,
        weight_bytes=sum(part.weight_bytes for part in (first, *later)),
        file_bytes=sum(part.file_bytes for part in (first, *later)),
        tensors={name: t for part in (first, *later) for name, t in part.tensors.items()},
    )


def _later_parts(path: Path, first: Header) -> list[Path]:
    """Return where the parts after the first are."""
    count = first.values.get("split.count", 1)
    if not isinstance(count, int) or not 0 <= count <= MAX_PARTS:
        msg = f"split.count is {count!r}"
        raise BadModelFile(msg)
    if count <= 1:
        return []
    if first.values.get("split.no") != 0:
        msg = f"{path.name} is a later part of a split model: name the first"
        raise BadModelFile(msg)
    stem, found = PART_NAME.sub("", path.stem), PART_NAME.search(path.stem)
    if found is None or int(found[2]) != count:
        msg = f"{path.name} is the first of {count} parts but is not named -00001-of-{count:05}"
        raise BadModelFile(msg)
    return [path.with_name(f"{stem}-{n:05}-of-{count:05}.gguf") for n in range(2, count + 1)]


def _read_part(path: Path, number: int) -> Header:
    header = read_header(path, is_later_part=True)
    if header.values.get("split.no") != number:
        msg = f"{path.name} is not part {number + 1} of this model"
        raise BadModelFile(msg)
    return header
