"""The pure parts of batches: lines, states, progress, parts, turns, and what goes out."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UnsetType
from msgspec.structs import replace

from gateway.batches import answers, kept
from gateway.batches.answers import Ending, Names
from gateway.batches.basket import MOST_LINES, Basket
from gateway.batches.kept import WAYS, BatchHasEnded, BatchRecord
from gateway.batches.kinds import KINDS
from gateway.batches.parts import Checkpoint, LineResult, read_part, write_part
from gateway.batches.progress import Progress
from gateway.batches.turns import choose, to_yield
from gateway.batches.window import Window
from gateway.files.kept import FileRecord, Stage
from gateway.problems import Problem
from gateway.translate import Terms
from mesh.errors import InvalidRequest, Unsupported
from schemas.fleet import Tier
from schemas.inference import Completion, FunctionCall, Policy, ToolCall, Usage
from schemas.openai.batches import Batch, BatchStatus, RequestCounts
from schemas.openai.models import Model

CHAT = "/v1/chat/completions"
NOW = 1_800_000_000
TURNS = [{"role": "user", "content": "x"}]
FILE = FileRecord(id="file-1", tenant="t", content="c", created_at=NOW, stage=Stage.READY)


def record(status: BatchStatus = BatchStatus.VALIDATING) -> BatchRecord:
    batch = Batch(
        id="batch_1",
        endpoint=CHAT,
        input_file_id=FILE.id,
        completion_window="24h",
        status=status,
        created_at=NOW,
    )
    return BatchRecord(
        batch=batch, tenant="t", created_ms=NOW * 1000, policy=Policy.EDGE_FIRST, file=FILE
    )


@given(st.sets(st.integers(1, 400)))
def test_progress_is_what_was_added(numbers: set[int]) -> None:
    """Through its ranges, which do not overlap or touch, it is the same again."""
    progress = Progress()
    for number in numbers:
        progress.add(number)
    again = Progress(progress.ranges())
    assert {number for number in range(1, 402) if number in again} == numbers
    ranges = progress.ranges()
    assert all(one[1] + 1 < other[0] for one, other in itertools.pairwise(ranges))


def test_progress_stays_small() -> None:
    """However many lines are answered, what is missing in between is all that is told."""
    progress = Progress(((1, 49_000), (49_002, 50_000)))
    progress.add(49_001)
    assert progress.ranges() == ((1, 50_000),)


GOOD = LineResult(place=1, text=b'{"a":1}\n', ok=True, job="job_a")
BAD = LineResult(place=2, text=b'{"b":2}\n')
LATE = LineResult(place=4, text=b'{"c":3}\n', expired=True)


def test_a_part_is_the_same_again() -> None:
    """Answers come back as they were, told apart, with how far the batch is."""
    checkpoint = Checkpoint(completed=5, failed=1).after((GOOD, BAD, LATE), ((1, 2), (4, 4)))
    part = read_part(write_part(checkpoint, (BAD, GOOD, LATE)))
    assert part.checkpoint == checkpoint
    assert (checkpoint.completed, checkpoint.failed, checkpoint.expired) == (6, 3, 1)
    assert part.output == GOOD.text
    assert part.errors == BAD.text + LATE.text


async def test_a_basket_gives_out_parts() -> None:
    """A part is due when there are enough results, or when no more will come."""
    basket = Basket()
    for number in range(MOST_LINES + 1):
        basket.add(at_place(GOOD, number))
    assert await basket.ripe()
    assert [result.place for result in basket.take()] == list(range(MOST_LINES))
    basket.close()
    assert await basket.ripe()
    assert [result.place for result in basket.take()] == [MOST_LINES]
    assert not await basket.ripe()


def at_place(result: LineResult, place: int) -> LineResult:
    return LineResult(place=place, text=result.text, ok=result.ok)


async def test_a_part_has_a_size() -> None:
    """A part ends before it gets too large, but has one line at least."""
    basket = Basket()
    for size in (900_000, 900_000, 3_000_000, 10):
        basket.add(LineResult(place=1, text=bytes(size)))
    basket.close()
    sizes = []
    while await basket.ripe():
        sizes.append([len(result.text) for result in basket.take()])
    assert sizes == [[900_000], [900_000], [3_000_000], [10]]


def test_a_batch_goes_its_way() -> None:
    """From its file to its output each step has its time."""
    begun = kept.begun(record(), 3, NOW + 1)
    counted = kept.counted(begun, 1, Checkpoint(completed=2, failed=1))
    done = kept.ended(kept.finalizing(counted, NOW + 2), "file-o", "file-e", NOW + 3)
    batch = done.batch
    assert batch.status is BatchStatus.COMPLETED
    assert (batch.in_progress_at, batch.finalizing_at, batch.completed_at) == (
        NOW + 1,
        NOW + 2,
        NOW + 3,
    )
    assert batch.request_counts == RequestCounts(total=3, completed=2, failed=1)
    assert (batch.output_file_id, batch.error_file_id, done.parts) == ("file-o", "file-e", 1)


def test_a_cancelled_batch_ends_as_such() -> None:
    """It is called cancelling while its output is written, and may be cancelled twice."""
    stopped = kept.cancelling(kept.begun(record(), 3, NOW), NOW + 1)
    assert kept.cancelling(stopped, NOW + 9) == stopped
    ended = kept.ended(kept.finalizing(stopped, NOW + 2), None, None, NOW + 3)
    assert ended.status is BatchStatus.CANCELLED
    assert (ended.batch.cancelling_at, ended.batch.cancelled_at) == (NOW + 1, NOW + 3)


def test_a_batch_with_requests_that_were_late_has_expired() -> None:
    """One request that was not computed in time is enough."""
    late = kept.counted(kept.begun(record(), 3, NOW), 1, Checkpoint(completed=2, expired=1))
    ended = kept.ended(kept.finalizing(late, NOW), "file-o", "file-e", NOW + 3)
    assert (ended.status, ended.batch.expired_at) == (BatchStatus.EXPIRED, NOW + 3)


@pytest.mark.parametrize("status", BatchStatus)
def test_what_has_ended_stays_so(status: BatchStatus) -> None:
    """There is no way out of a final status, and cancelling comes too late there."""
    assert status.final == (status not in WAYS)
    if BatchStatus.CANCELLING in WAYS.get(status, ()) or status is BatchStatus.CANCELLING:
        assert kept.cancelling(record(status), NOW).status is BatchStatus.CANCELLING
    else:
        with pytest.raises(BatchHasEnded):
            kept.cancelling(record(status), NOW)


NAMES = Names.of("batch_1", "a")


def test_a_line_has_the_same_names_again() -> None:
    """Batch and custom_id alone decide what the job is called."""
    assert Names.of("batch_1", "a") == NAMES
    others = {Names.of("batch_2", "a").job, Names.of("batch_1", "b").job}
    assert NAMES.job not in others
    assert len(others) == 2


def test_lines_that_go_out_have_openais_form() -> None:
    """An answer, a failure and an end without any have the same four fields."""
    problem = Problem(status=400, message="no", type="t", code="c", param="inputs[3]")
    body = Model(id="m", created=1, owned_by="o")
    answer = json.loads(answers.answered(NAMES, body) or b"")
    failure = json.loads(answers.failed(NAMES, problem, {"inputs": "input"}))
    nothing = json.loads(answers.unanswered(NAMES, Ending.EXPIRED))
    for line in (answer, failure, nothing):
        assert sorted(line) == ["custom_id", "error", "id", "response"]
        assert line["custom_id"] == "a"
    assert answer["response"]["status_code"] == 200
    assert answer["response"]["body"]["id"] == "m"
    assert (answer["error"], nothing["response"]) == (None, None)
    assert failure["response"]["status_code"] == 400
    assert failure["response"]["body"]["error"]["param"] == "input[3]"
    assert nothing["error"]["code"] == "batch_expired"


def test_an_answer_that_is_too_long_is_none() -> None:
    """It would not fit into a part."""
    assert answers.answered(NAMES, Model(id="x" * answers.LONGEST, created=1, owned_by="o")) is None


def terms(model: str | UnsetType) -> Terms:
    assert isinstance(model, str)
    return Terms(id="f" * 32, model=model, tenant="t", policy=Policy.EDGE_FIRST, deadline_ms=1000)


COMPLETION = Completion(
    id="job_1",
    model="m",
    text="",
    finish_reason="tool_calls",
    usage=Usage(prompt_tokens=3, completion_tokens=2),
    tier=Tier.EDGE,
    worker="w",
    reasoning="hm",
    tool_calls=(ToolCall(id="call_1", function=FunctionCall(name="f", arguments="{}")),),
)


def test_a_jobs_answer_keeps_calls_and_thoughts() -> None:
    """What a job brings is put together as the frames of a request over HTTP are."""
    body = b'{"model": "m", "messages": [{"role": "user", "content": "x"}]}'
    composed = KINDS[CHAT].prepare(body, terms).compose(COMPLETION)
    choice = json.loads(answers.answered(NAMES, composed) or b"")["response"]["body"]["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert choice["message"]["reasoning_content"] == "hm"


@pytest.mark.parametrize(
    ("endpoint", "more", "param"),
    [
        (CHAT, {"messages": TURNS, "n": 2}, "n"),
        (CHAT, {"messages": TURNS, "logprobs": True}, "logprobs"),
        (CHAT, {"messages": TURNS, "store": True}, "store"),
        ("/v1/completions", {"prompt": ["a", "b"]}, "prompt"),
        ("/v1/completions", {"prompt": "a", "logprobs": 0}, "logprobs"),
        ("/v1/responses", {"input": "a", "previous_response_id": "resp_1"}, "previous_response_id"),
        ("/v1/responses", {"input": "a", "background": True}, "background"),
        ("/v1/responses", {"input": "a", "store": True}, "store"),
        ("/v1/responses", {"input": "a", "top_logprobs": 2}, "include"),
        ("/v1/responses", {"input": [{"type": "item_reference", "id": "msg_1"}]}, "input"),
    ],
)
def test_what_no_job_can_do_is_refused_by_name(
    endpoint: str, more: dict[str, object], param: str
) -> None:
    """A line that asks for more than a job brings is told so, and which field it is."""
    body = json.dumps({"model": "m", **more}).encode()
    with pytest.raises((Unsupported, InvalidRequest)) as refusal:
        KINDS[endpoint].prepare(body, terms)
    assert refusal.value.param == param


@dataclass(frozen=True)
class Waits:
    batch: str
    tenant: str


def taken(waiting: Sequence[Waits], mine: Sequence[Waits] = (), places: int = 3) -> list[str]:
    return [each.batch for each in choose(waiting, frozenset(), mine, places)]


MANY = [Waits(f"a{number}", "a") for number in range(5)]


def test_tenants_share_the_places() -> None:
    """One with many batches leaves room for another's, which came last."""
    assert taken([*MANY, Waits("b0", "b")]) == ["a0", "b0", "a1"]
    assert taken([*MANY, Waits("b0", "b")], MANY[:2], places=3) == ["b0"]


def test_a_tenant_that_has_no_place_gets_one() -> None:
    """Where all are taken, whoever has the most lets its newest go, unless everybody has one."""
    other = Waits("b0", "b")
    assert to_yield([*MANY, other], frozenset(), MANY[:3], 3) == MANY[2]
    assert to_yield([*MANY, other], {"b0"}, MANY[:3], 3) is None
    assert to_yield([*MANY, other], frozenset(), MANY[:2], 3) is None
    assert to_yield([*MANY, other], frozenset(), [*MANY[:2], other], 3) is None
    assert to_yield([other, Waits("c0", "c")], frozenset(), [other], 1) is None


async def is_let_in(window: Window, size: int) -> bool:
    with anyio.move_on_after(0) as scope:
        await window.enter(size)
    return not scope.cancelled_caught


@pytest.mark.parametrize(
    ("inside", "size", "room"),
    [((), 99, True), ((4,), 6, True), ((4,), 7, False), ((1, 1), 0, False), ((99,), 1, False)],
)
async def test_a_window_is_so_wide_and_so_heavy(
    inside: tuple[int, ...], size: int, room: bool
) -> None:
    """Two lines or ten bytes are let in and no more, but one line always is."""
    window = Window(lines=2, size=10)
    for each in inside:
        await window.enter(each)
    assert await is_let_in(window, size) is room


async def test_who_leaves_a_window_makes_room() -> None:
    """Whoever waits for room is let in as soon as there is some."""
    window = Window(lines=1)
    await window.enter(1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(window.enter, 2)
        await anyio.lowlevel.checkpoint()
        window.leave(1)


async def test_answers_that_wait_take_room_in_a_window() -> None:
    """As long as they are not committed, fewer lines are let in."""
    window = Window(lines=3, size=10)
    await window.enter(4)
    window.hold(5)
    assert not await is_let_in(window, 4)
    window.leave(9)
    assert await is_let_in(window, 4)


def test_what_is_driven_is_left_alone() -> None:
    """A batch that somebody holds is nobody else's, and no place is taken twice."""
    assert list(choose(MANY, {"a0", "a1"}, MANY[2:3], 2)) == [MANY[3]]
    assert taken(MANY, MANY[:3], places=3) == []


def test_a_file_is_there_between_its_arrival_and_its_end() -> None:
    """Half a file, one that goes and one whose time is over are seen by nobody."""
    assert FILE.is_there(NOW)
    for hidden in (
        replace(FILE, stage=Stage.ARRIVING),
        replace(FILE, stage=Stage.GOING),
        replace(FILE, expires_at=NOW),
    ):
        assert not hidden.is_there(NOW)
    assert not FILE.is_waste(NOW, 60)
    assert replace(FILE, stage=Stage.ARRIVING).is_waste(NOW + 61, 60)
    assert not replace(FILE, stage=Stage.ARRIVING).is_waste(NOW + 59, 60)
