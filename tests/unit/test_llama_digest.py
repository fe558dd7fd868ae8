"""Digests of model files, remembered for as long as the files stay as they are."""

import hashlib
import os
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from workers.llama.digest import Digests


async def test_a_digest_is_that_of_the_file(tmp_path: Path) -> None:
    """It follows the file's content."""
    file = tmp_path / "m.gguf"
    file.write_bytes(b"weights")
    digests = Digests()
    assert await digests.of(file) == hashlib.sha256(b"weights").hexdigest()
    file.write_bytes(b"other weights")
    assert await digests.of(file) == hashlib.sha256(b"other weights").hexdigest()


async def test_a_restart_need_not_hash_again(tmp_path: Path) -> None:
    """What an earlier process found is believed while the file is the same."""
    file, record = tmp_path / "m.gguf", tmp_path / "state" / "digests.json"
    file.write_bytes(b"weights")
    found = await Digests(record).of(file)
    assert found in record.read_text()
    record.write_text(record.read_text().replace(found, "remembered"))
    assert await Digests(record).of(file) == "remembered"
    file.write_bytes(b"other weights")
    assert await Digests(record).of(file) == hashlib.sha256(b"other weights").hexdigest()


async def test_neighbours_share_a_record(tmp_path: Path) -> None:
    """One process does not strike out what another has found."""
    record = tmp_path / "digests.json"
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
        await Digests(record).of(tmp_path / name)
    assert all(str(tmp_path / name) in record.read_text() for name in ("a", "b"))


async def test_a_damaged_record_costs_the_time_to_hash(tmp_path: Path) -> None:
    """It is not believed, and written anew."""
    file, record = tmp_path / "m.gguf", tmp_path / "digests.json"
    file.write_bytes(b"weights")
    record.write_text("[1, 2")
    found = await Digests(record).of(file)
    assert found == hashlib.sha256(b"weights").hexdigest()
    assert found in record.read_text()


async def test_one_file_is_hashed_at_a_time(tmp_path: Path) -> None:
    """Many large models do not read the disk all at once: the second waits for a slow first."""
    slow, quick = tmp_path / "slow", tmp_path / "quick"
    os.mkfifo(slow)
    quick.write_bytes(b"weights")
    done: list[Path] = []
    digests = Digests()

    async def take(path: Path) -> None:
        await digests.of(path)
        done.append(path)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take, slow)
        tasks.start_soon(take, quick)
        for _ in range(3):
            await Digests().of(quick)  # somebody else needs no longer than this
        await to_thread.run_sync(slow.write_bytes, b"weights")
    assert done == [slow, quick]


async def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Whoever asks is told."""
    with pytest.raises(OSError, match="No such file"):
        await Digests().of(tmp_path / "gone")
