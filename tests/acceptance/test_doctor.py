"""``mesh doctor`` on a running mesh, and on one that something is wrong with."""

import json
import socket
from pathlib import Path

from mesh.accounts import Role
from tests.support.command import finished, running_up


async def test_a_running_mesh_is_found_healthy(tmp_path: Path) -> None:
    """Its own ports count as fine, the broker accepts every key, and the clocks agree."""
    async with running_up(tmp_path) as mesh:
        run = mesh.run
        flags = (f"--http={run.base_url.split('/')[2]}", f"--nats-listen={run.nats[7:]}")
        words = ("doctor", "--json", "--engine=scripted", f"--state={mesh.state}", *flags)
        doctor = await finished(tmp_path, *words)
    found = {finding["subject"]: finding for finding in json.loads(doctor.out)}
    assert {f["verdict"] for f in found.values()} == {"ok"}, found
    assert doctor.process.returncode == 0
    assert f"accepts all {len(Role)}" in found["broker"]["text"]
    assert "ms off" in found["clock"]["text"]
    assert "own" in found["HTTP port"]["text"]


async def test_a_taken_port_and_an_absent_broker_fail(tmp_path: Path) -> None:
    """Every line says what to do, and the exit status tells scripts."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        words = ("doctor", "--engine=scripted", f"--state={tmp_path}", f"--http={address}")
        doctor = await finished(tmp_path, *words, "--nats=nats://127.0.0.1:1")
    assert doctor.process.returncode == 1
    assert f"fail HTTP port    cannot listen on {address}" in doctor.out
    assert "fail broker       no broker answers at nats://127.0.0.1:1" in doctor.out
    assert doctor.out.count("→") == 2
