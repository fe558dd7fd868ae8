"""A backend service that asks the mesh through the Python client.

Beside ``mesh up`` it needs no more than this; elsewhere set MESH_NATS and MESH_CREDS:

    python examples/backend_service.py [MODEL]
"""

import asyncio
import sys

import mesh
from mesh.errors import CapacityError, DeadlineExceeded


async def main(model: str = "spark") -> None:
    async with mesh.connect() as m:
        answer = await m.chat(model, "What is an edge worker?", policy="edge-only", deadline=30)
        print(f"{answer.tier}/{answer.worker}: {answer.text}")

        async for delta in m.chat_stream(model, "Tell me a short story.", max_tokens=80):
            print(delta.text, end="", flush=True)
        print()

        try:
            await m.chat(model, "This one is in a hurry.", deadline=0.001)
        except DeadlineExceeded:
            print("too late, as asked")
        except CapacityError as error:
            print(f"all machines are busy, try again in {error.retry_after} s")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
