"""A scripted worker that sends a frame per token, instead of gathering tokens as workers do.

Only for the comparison with servers that send an event per token.
"""

import argparse
from pathlib import Path

import anyio
import uvloop

from bench.targets import SLOTS, TOKENS
from mesh import logs
from mesh.accounts import Role
from mesh.bus import BusSettings, connect
from workers.agent import Agent, AgentSettings
from workers.scripted import ScriptedEngine, ScriptedSettings


async def main(nats: str, creds: Path) -> None:
    """Serve until stopped."""
    engine = ScriptedEngine(ScriptedSettings(slots=SLOTS, tokens=TOKENS))
    settings = AgentSettings(name="per-token", stream_window=0)
    way = BusSettings(url=nats, creds=creds, role=Role.EDGE_WORKER)
    async with connect(way) as bus, anyio.create_task_group() as tasks:
        await tasks.start(Agent(bus, [engine], settings).run)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nats", required=True)
    parser.add_argument("--creds", type=Path, required=True)
    arguments = parser.parse_args()
    logs.configure(logs.LogLevel.WARNING)
    uvloop.run(main(arguments.nats, arguments.creds))
