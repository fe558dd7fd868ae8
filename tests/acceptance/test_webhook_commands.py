"""Webhooks of jobs from every side, beside a running ``mesh up``."""

import json
from pathlib import Path

import nats
import psutil

import mesh
from tests.support.command import Up, finished, running_up
from tests.support.receiver import LOOPBACK, SECRET, receiver
from tests.support.wait import until

REQUEST = {"model": "scripted", "messages": [{"role": "user", "content": "count"}]}


async def submit_by_nats(up: Up, url: str) -> None:
    """Submit as any client of NATS would."""
    creds = up.run.creds["client"]
    options = {"nkeys_seed": creds, "inbox_prefix": "_INBOX_client"}
    client = await nats.connect(up.run.nats, **options)
    order = {"request": REQUEST, "key": "by-nats", "webhook": url}
    answer = await client.request("mesh.v1.jobs.submit", json.dumps(order).encode(), timeout=5)
    assert json.loads(answer.data)["webhook"] == url
    await client.close()


async def test_a_webhook_from_every_side(tmp_path: Path) -> None:
    """The command line, the Python client and bare NATS all have their jobs' ends told."""
    sheet = tmp_path / "jobs.jsonl"
    flags = ("--webhook-secret-env=HOOK_SECRET", f"--webhook-allow={LOOPBACK}")
    async with receiver() as hook, running_up(tmp_path, *flags, HOOK_SECRET=SECRET) as up:
        sheet.write_text(json.dumps({"request": REQUEST, "key": "sheet", "webhook": hook.url}))
        here = f"--state={up.state}"
        done = await finished(tmp_path, "jobs", "submit", str(sheet), here)
        await submit_by_nats(up, hook.url)
        async with mesh.connect(up.run.nats, creds=Path(up.run.creds["client"])) as m:
            await m.submit(m.request("scripted", "count"), key="python", webhook=hook.url)
        await until(lambda: len(hook.calls) == 3)
        assert {call.event["data"]["key"] for call in hook.calls} == {"sheet", "by-nats", "python"}
        assert all(call.is_genuine for call in hook.calls)
        shown = await finished(tmp_path, "jobs", "show", json.loads(done.out)["id"], here)
        assert json.loads(shown.out)["notice"]["state"] == "delivered"
        for name in ("gateway", "worker"):
            assert "HOOK_SECRET" not in psutil.Process(up.pid(name)).environ()


async def test_a_mesh_refuses_webhooks_inside_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    """A fresh mesh has a secret of its own, and takes no webhook on the machine it runs on."""
    sheet = tmp_path / "jobs.jsonl"
    sheet.write_text(json.dumps({"request": REQUEST, "webhook": "http://localhost:9/hook"}))
    async with running_up(tmp_path) as up:
        done = await finished(tmp_path, "jobs", "submit", str(sheet), f"--state={up.state}")
        error = json.loads(done.out)["error"]
        assert (error["code"], error["param"]) == ("invalid_request", "webhook")
        assert "--webhook-allow" in error["message"]
        assert (up.state / "webhook-secret").read_text().startswith("whsec_")
