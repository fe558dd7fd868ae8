"""The pure rules of webhooks: signatures, addresses, what is told, when it is tried again."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from msgspec.structs import replace

from mesh.errors import InvalidRequest
from mesh.jobs.webhooks.addresses import AddressRules
from mesh.jobs.webhooks.event import body_of, event_of
from mesh.jobs.webhooks.outcome import LONGEST_PAUSE, Outcome, answered, judge
from mesh.jobs.webhooks.settings import PAUSES, WebhookSettings
from mesh.jobs.webhooks.signing import Signer, new_secret
from schemas.failures import FailureCode
from schemas.fleet import Tier
from schemas.inference import Completion, Usage
from schemas.jobs import JobError, JobRecord, JobState, NoticeFault, NoticeState
from tests.support.requests import chat

EXAMPLE = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""The secret, and below the message, of the specification's own example."""
NOW = 1_700_000_000_000
RECORD = JobRecord(
    id="job_1",
    tenant="t",
    state=JobState.SUCCEEDED,
    attempt=2,
    created_ms=NOW - 10,
    started_ms=NOW - 5,
    ended_ms=NOW,
)


def test_the_example_of_the_specification_is_signed_as_there() -> None:
    """Secret, id, time and body of Standard Webhooks' libraries give their signature."""
    signer = Signer.parse(EXAMPLE, "it")
    body = b'{"test": 2432232314}'
    headers = signer.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_several_secrets_sign_side_by_side() -> None:
    """While receivers change over, the old secret's signature stands beside the new one's."""
    old, new = new_secret(), new_secret()
    both = Signer.parse(f"{new}\n{old}\n", "it").headers("evt_1", 1, b"{}")["webhook-signature"]
    keys = [base64.b64decode(each.removeprefix("whsec_")) for each in (new, old)]
    digests = [hmac.new(key, b"evt_1.1.{}", hashlib.sha256).digest() for key in keys]
    assert both == " ".join(f"v1,{base64.b64encode(each).decode()}" for each in digests)


@pytest.mark.parametrize(
    "text", ["", "tr0ub4dor", "whsec_", "whsec_c2hvcnQ=", "whsec_%%", EXAMPLE[6:]]
)
def test_what_is_no_secret_is_refused_without_being_shown(text: str) -> None:
    """The refusal names where the secret came from and never the secret."""
    with pytest.raises(InvalidRequest, match="the file must hold") as refusal:
        Signer.parse(text, "the file")
    assert text in ("", "whsec_") or text not in refusal.value.message


def test_settings_do_not_show_the_secret() -> None:
    """Whatever is printed of them, the key is not in it."""
    settings = WebhookSettings(signer=Signer.parse(EXAMPLE, "it"))
    key = base64.b64decode(EXAMPLE[6:])
    assert repr(key) not in repr(settings) + repr(settings.signer)
    assert EXAMPLE not in repr(settings) + repr(settings.signer)


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "127.8.8.8", "0.0.0.0", "0.1.2.3",  # noqa: S104 - not bound
        "169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.8",
        "192.0.2.1", "192.88.99.1", "198.18.0.1", "224.0.0.1", "239.255.255.250", "240.0.0.1",
        "255.255.255.255", "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "2001::1",
        "2001:db8::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
        "example.com", "", "127.1", "2130706433",
    ],
)  # fmt: skip
def test_only_public_addresses_may_be_reached(address: str) -> None:
    """Private, loopback, link-local, shared, multicast, reserved, tunnelled ones, and names: no."""
    assert not AddressRules().permit(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8"]
)
def test_public_addresses_may_be_reached(address: str) -> None:
    """An IPv4 address written as an IPv6 one is judged as what it is."""
    assert AddressRules().permit(address)


def test_networks_may_be_allowed() -> None:
    """What the operator names may be reached, and nothing beside it."""
    rules = AddressRules.parse(["10.1.0.0/16", "fd00:1::/32"])
    assert all(map(rules.permit, ("10.1.2.3", "::ffff:10.1.2.3", "fd00:1::5", "8.8.8.8")))
    assert not any(map(rules.permit, ("10.2.0.1", "127.0.0.1", "fd00:2::1")))


@pytest.mark.parametrize(
    "url",
    [
        "", "hook", "//host/hook", "ftp://host/", "file:///etc/passwd", "gopher://host/",
        "http://", "http:///hook", "http://user@host/", "http://user:pw@host/", "http://@host/",
        "http://host:0/", "http://host:99999/", "http://host:x/", "http://[::1/", "http://ho st/",
        "http://host\\@other/", "http://host/\r\nX: y", "http://höst/", "https://h/" + "x" * 2048,
        "http://127.0.0.1/", "http://[::1]:80/", "http://[::ffff:10.0.0.1]/", "http://0/",
        "http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://127.1:8080/",
        "http://169.254.169.254/latest/meta-data/", "http://localhost/", "http://LOCALHOST.:9/",
        "http://a.localhost/", "http://127.0.0.1./",
    ],
)  # fmt: skip
def test_the_door_refuses_what_is_no_webhook(url: str) -> None:
    """Wrong schemes, credentials, odd characters and addresses that are not public: 400, named."""
    with pytest.raises(InvalidRequest) as refusal:
        AddressRules().check(url)
    assert refusal.value.param == "webhook"


@pytest.mark.parametrize(
    "url",
    ["https://example.com/hook?a=b", "http://example.com:8080/", "https://8.8.8.8/", "http://x",
     "https://[2606:4700::1111]:444/", "http://10.example.com/", "http://1.2.3.4.5/"],
)  # fmt: skip
def test_the_door_takes_names_and_public_addresses(url: str) -> None:
    """What a name stands for is judged when the webhook is told."""
    AddressRules().check(url)


def test_nothing_asked_or_answered_is_told() -> None:
    """The body has the state and names of a job; prompt, answer and error text stay behind."""
    secret = "the-secret"
    record = replace(
        RECORD,
        key="week-47",
        request=chat(secret),
        result=Completion(
            id="x",
            model="m",
            text=secret,
            finish_reason="stop",
            usage=Usage(prompt_tokens=1, completion_tokens=1),
            tier=Tier.EDGE,
            worker="w",
        ),
        error=JobError(code=FailureCode.UPSTREAM_ERROR, message=secret),
    )
    body = body_of(event_of(record))
    assert secret.encode() not in body
    event = json.loads(body)
    assert event["data"] == {
        "id": "job_1",
        "tenant": "t",
        "key": "week-47",
        "state": "succeeded",
        "attempt": 2,
        "created_ms": NOW - 10,
        "started_ms": NOW - 5,
        "ended_ms": NOW,
        "code": "upstream_error",
    }
    assert (event["object"], event["type"]) == ("event", "job.succeeded")
    assert (event["created_at"], event["timestamp"]) == (NOW // 1000, "2023-11-14T22:13:20.000Z")


def test_an_end_has_one_id() -> None:
    """Told twice it is the same; of another tenant, job or attempt it is another one."""
    ids = {
        event_of(each).id
        for each in (
            RECORD,
            replace(RECORD, ended_ms=NOW + 1),
            replace(RECORD, tenant="u"),
            replace(RECORD, id="job_2"),
            replace(RECORD, attempt=3),
        )
    }
    assert len(ids) == 4


def test_tries_end_after_the_eighth() -> None:
    """Seven pauses, from a second to an hour; then the webhook is given up."""
    failed = answered(500, None, NOW)
    notices = [judge(tries, failed, NOW, PAUSES) for tries in range(1, 9)]
    assert [notice.state for notice in notices] == [NoticeState.PENDING] * 7 + [
        NoticeState.GIVEN_UP
    ]
    assert [(each.next_ms - NOW) / 1000 for each in notices[:7]] == list(PAUSES)
    assert (notices[-1].status, notices[-1].fault, notices[-1].next_ms) == (
        500,
        NoticeFault.STATUS,
        0,
    )


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_delivery(status: int) -> None:
    """The receiver knows; nothing more happens."""
    notice = judge(3, answered(status, "60", NOW), NOW, PAUSES)
    assert (notice.state, notice.tries, notice.fault) == (NoticeState.DELIVERED, 3, None)


@pytest.mark.parametrize("status", [301, 307, 400, 404, 429, 500, 503])
def test_anything_else_is_tried_again(status: int) -> None:
    """Redirects are not followed, and a receiver that is set up wrongly may be mended."""
    assert judge(1, answered(status, None, NOW), NOW, PAUSES).state is NoticeState.PENDING


@pytest.mark.parametrize(
    "outcome", [answered(410, None, NOW), Outcome(fault=NoticeFault.FORBIDDEN)]
)
def test_gone_and_forbidden_are_final(outcome: Outcome) -> None:
    """A receiver that says 410, and an address that may not be reached, are not tried again."""
    assert judge(1, outcome, NOW, PAUSES).state is NoticeState.GIVEN_UP


@pytest.mark.parametrize(
    ("text", "pause"),
    [
        ("7", 7.0),
        ("0", 1.0),
        ("999999", LONGEST_PAUSE),
        ("9" * 400, LONGEST_PAUSE),
        ("-5", 1.0),
        ("soon", 1.0),
        ("²", 1.0),
        (format_datetime(datetime.fromtimestamp(NOW / 1000 + 90, UTC), usegmt=True), 90.0),
    ],
)
def test_retry_after_makes_a_pause_longer(text: str, pause: float) -> None:
    """In seconds or as a date, for an hour at most; what cannot be read changes nothing."""
    notice = judge(1, answered(503, text, NOW), NOW, PAUSES)
    assert (notice.next_ms - NOW) / 1000 == pause
