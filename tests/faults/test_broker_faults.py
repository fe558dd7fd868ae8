import os
import signal
import socket
import sys
from functools import partial
from pathlib import Path

import anyio
import psutil
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from nats.aio.client import Client
from nats.aio.msg import Msg

from mesh import subjects
from mesh.accounts import Role
from mesh.broker import BrokerError, BrokerSettings, open_keys, running_broker
from mesh.broker.binary import find_server
from schemas.fleet import Tier
from tests.support.natsclient import settle, signed_in
from tests.support.wait import until


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended, even if nobody has collected it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o700)
    return path


def is_back(client: Client) -> bool:
    return client.is_connected and client.stats["reconnects"] > 0


async def start(settings: BrokerSettings) -> None:
    async with running_broker(settings):
        pass


async def test_a_killed_server_comes_back(tmp_path: Path) -> None:
    """After SIGKILL the server is up again on the same port, and its clients with it."""
    work = subjects.work(Tier.EDGE, "w", "infer")

    async def answer(request: Msg) -> None:
        await request.respond(b"answer")

    async with (
        running_broker(BrokerSettings(state=tmp_path, port=0)) as broker,
        signed_in(broker, Role.EDGE_WORKER) as worker,
        signed_in(broker, Role.GATEWAY) as gateway,
    ):
        await worker.subscribe(work, cb=answer)
        url, killed = broker.url, broker.pid
        os.kill(killed, signal.SIGKILL)
        await until(lambda: broker.pid != killed)
        assert broker.url == url
        for client in (worker, gateway):
            await until(partial(is_back, client))
            await settle(client)
        assert (await gateway.request(work, timeout=5)).data == b"answer"


async def test_nothing_is_left(tmp_path: Path) -> None:
    """Leaving the context ends the server, and frees its port and its state folder."""
    async with running_broker(BrokerSettings(state=tmp_path, port=0)) as broker:
        port, pid = broker.port, broker.pid
    assert is_gone(pid)
    async with running_broker(BrokerSettings(state=tmp_path, port=port)) as broker:
        assert broker.port == port


async def test_a_server_that_hangs_is_killed(tmp_path: Path) -> None:
    """A server that does not react to SIGTERM is killed when its time is up."""
    settings = BrokerSettings(state=tmp_path, port=0, stop_timeout=0.1)
    async with running_broker(settings) as broker:
        os.kill(broker.pid, signal.SIGSTOP)
    assert is_gone(broker.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent")
async def test_the_server_dies_with_its_parent(tmp_path: Path) -> None:
    """When the supervising process is killed, the server does not outlive it."""
    parent = f"""
import anyio
from pathlib import Path
from mesh.broker import BrokerSettings, running_broker

async def main():
    async with running_broker(BrokerSettings(state=Path({str(tmp_path)!r}), port=0)) as broker:
        print(broker.pid, flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""
    async with await anyio.open_process([sys.executable, "-c", parent]) as process:
        assert process.stdout is not None
        lines = BufferedByteReceiveStream(process.stdout)
        while not (line := await lines.receive_until(b"\n", 1000)).isdigit():
            pass
        assert not is_gone(int(line))
        process.kill()
    await until(lambda: is_gone(int(line)))


async def test_errors_of_the_body_come_as_they_are(tmp_path: Path) -> None:
    """An error inside the context is not wrapped in a group, and the server ends."""
    pids = []

    async def fail() -> None:
        async with running_broker(BrokerSettings(state=tmp_path, port=0)) as broker:
            pids.append(broker.pid)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert [is_gone(pid) for pid in pids] == [True]


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """A port that another program holds is named, with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(BrokerError, match=rf"127\.0\.0\.1:{port}.*choose another"):
            await start(BrokerSettings(state=tmp_path, port=port))


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b", "256.0.0.1"])
async def test_a_foreign_address_is_named(tmp_path: Path, host: str) -> None:
    """An address that is not this machine's is named."""
    with pytest.raises(BrokerError, match=f"cannot listen on {host}"):
        await start(BrokerSettings(state=tmp_path, host=host, port=0))


async def test_one_broker_per_state_folder(tmp_path: Path) -> None:
    """A second broker over the same JetStream files is refused."""
    async with running_broker(BrokerSettings(state=tmp_path, port=0)):
        with pytest.raises(BrokerError, match="another broker"):
            await start(BrokerSettings(state=tmp_path, port=0))


async def test_an_unusable_state_folder_is_named(tmp_path: Path) -> None:
    """A state folder that is a file is named."""
    state = tmp_path / "state"
    state.touch()
    with pytest.raises(BrokerError, match=str(state)):
        await start(BrokerSettings(state=state, port=0))


@pytest.mark.parametrize("damage", ["", "not a seed", "flip", "SAAG"])
async def test_a_corrupt_key_is_named(tmp_path: Path, damage: str) -> None:
    """A damaged seed file is named and left alone."""
    settings = BrokerSettings(state=tmp_path, port=0)
    await start(settings)
    key = settings.creds_folder / "gateway.nk"
    seed = key.read_text()
    flipped = seed[:20] + ("A" if seed[20] != "A" else "B") + seed[21:]
    key.write_text(flipped if damage == "flip" else damage)
    damaged = key.read_text()
    with pytest.raises(BrokerError, match=str(key)):
        await start(settings)
    assert key.read_text() == damaged


async def test_a_missing_binary_is_named(tmp_path: Path) -> None:
    """A binary that does not exist, or is not one, is named."""
    missing = tmp_path / "nats-server"
    with pytest.raises(BrokerError, match=f"{missing}: No such file"):
        await start(BrokerSettings(state=tmp_path, port=0, server=missing))
    missing.touch()
    with pytest.raises(BrokerError, match=f"{missing}: Permission denied"):
        await start(BrokerSettings(state=tmp_path, port=0, server=missing))


async def test_a_rejected_config_is_named(tmp_path: Path) -> None:
    """What nats-server has against a configuration is passed on, with the file's name."""
    settings = BrokerSettings(state=tmp_path, port=0)
    keys = open_keys(settings.creds_folder).files
    keys[Role.CLIENT].write_bytes(keys[Role.GATEWAY].read_bytes())
    with pytest.raises(BrokerError, match=str(settings.config_file)):
        await start(settings)


async def test_a_server_that_ends_at_once_is_an_error(tmp_path: Path) -> None:
    """A server that ends before it answers is reported with its status and its last words."""
    broken = script(tmp_path / "broken", 'test "$1" = -t && exit 0; echo oh no >&2; exit 7')
    with pytest.raises(BrokerError, match="status 7 before it answered: oh no"):
        await start(BrokerSettings(state=tmp_path, port=0, server=broken))


async def test_a_server_that_never_answers_is_an_error(tmp_path: Path) -> None:
    """A server that is silent for too long is reported and ended."""
    mute = script(tmp_path / "mute", 'test "$1" = -t && exit 0; exec sleep 60')
    settings = BrokerSettings(state=tmp_path, port=0, server=mute, start_timeout=0.2)
    with pytest.raises(BrokerError, match=r"did not answer within 0\.2 s"):
        await start(settings)


async def test_a_server_that_fails_to_restart_is_tried_again(tmp_path: Path) -> None:
    """While the binary is broken the supervisor keeps trying; repaired, it serves again."""
    wrapper = script(tmp_path / "wrapper", f'exec {find_server()} "$@"')
    async with running_broker(BrokerSettings(state=tmp_path, port=0, server=wrapper)) as broker:
        killed = broker.pid
        tries = tmp_path / "tries"
        script(wrapper, f"echo tried >> {tries}; exit 1")
        os.kill(killed, signal.SIGKILL)
        await until(tries.exists)
        assert broker.pid == killed
        script(wrapper, f'exec {find_server()} "$@"')
        await until(lambda: broker.pid != killed)
