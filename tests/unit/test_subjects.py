"""Subjects: names from outside stay inside their token."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh import subjects
from schemas.fleet import Tier


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=16))
def test_names_stay_one_token_and_come_back(name: str) -> None:
    """No name adds a level, a wildcard, white space or a control character."""
    token = subjects.encode_token(name)
    assert not set(token) & set(".*> \t\r\n=")
    assert subjects.decode_token(token) == name


@pytest.mark.parametrize("name", ["", "x" * 201])
def test_impossible_names_are_refused(name: str) -> None:
    """Empty and endless names are errors."""
    with pytest.raises(ValueError, match="1 to 200"):
        subjects.encode_token(name)


def test_nobody_is_called_everyone() -> None:
    """The roll call's token cannot be a worker's name."""
    assert subjects.work(Tier.EDGE, "=all", "advertise") != subjects.roll_call(Tier.EDGE)


@pytest.mark.parametrize(
    ("subject", "is_reply"),
    [
        ("_INBOX_gateway.abc.1", True),
        ("_R_.Xyz.1", True),
        ("mesh.v1.cloud.work.c.infer", False),
        ("$JS.API.STREAM.DELETE.jobs", False),
        ("", False),
    ],
)
def test_workers_answer_private_inboxes_only(subject: str, is_reply: bool) -> None:
    """Only inboxes, or what the broker maps them to, count as replies."""
    assert subjects.is_reply(subject) is is_reply
