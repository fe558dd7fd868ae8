"""The pure rules of durable jobs: states, back-off, turns, where they may be computed."""

import re
from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace

from mesh import errors
from mesh.errors import Conflict, MeshError
from mesh.fleet import Fleet
from mesh.jobs import backoff, destination, states
from mesh.jobs.destination import Destination, Reason, Standing
from mesh.jobs.fairness import Lane, Turns
from mesh.jobs.slots import standing_of
from mesh.subjects import JobSide
from schemas.failures import FailureCode
from schemas.inference import Policy
from schemas.jobs import JobRecord, JobState, Priority
from tests.support.requests import chat

PAGE = Path(__file__).parents[2] / "docs" / "jobs.md"
ROW = re.compile(r"^\| (`\w+`(?:, `\w+`)*) \| (`\w+`) \| ([^|]+) \|", re.MULTILINE)
RUNNING = JobRecord(id="job_1", tenant="t", state=JobState.RUNNING, attempt=1)


def documented() -> dict[tuple[str, str], str]:
    """Return the table of states of the documentation."""
    return {
        (old, new.strip("`")): actor.strip()
        for olds, new, actor in ROW.findall(PAGE.read_text())
        for old in re.findall(r"\w+", olds)
    }


def test_the_documented_states_are_the_real_ones() -> None:
    """Every change of state is in the documentation with who makes it, and no other is."""
    real = {(str(old), str(new)): str(actor) for (old, new), actor in states.TRANSITIONS.items()}
    assert documented() == real


@pytest.mark.parametrize("state", [state for state in JobState if state.final])
def test_final_states_stay(state: JobState) -> None:
    """What has ended changes no more, but for a failed job that a person queues again."""
    for new in JobState:
        if (state, new) != (JobState.FAILED, JobState.QUEUED):
            with pytest.raises(Conflict):
                states.check(state, new)


@pytest.mark.parametrize(
    "error",
    [errors.WorkerLost(), errors.Busy(), errors.NoCapacity(), errors.UpstreamTimeout(),
     errors.BusUnavailable(), errors.ModelNotFound(), errors.BudgetExhausted()],
)  # fmt: skip
def test_what_may_pass_is_tried_again(error: MeshError) -> None:
    """Trouble of workers, upstreams and bus queues the job again after a pause."""
    verdict = backoff.judge(RUNNING, error)
    assert verdict.record.state is JobState.QUEUED
    assert verdict.record.failures == 1
    assert verdict.pause > 0


@pytest.mark.parametrize(
    "error",
    [errors.InvalidRequest(), errors.Unsupported(), errors.ContextLengthExceeded(),
     errors.DeadlineExceeded(), errors.Quarantined(), errors.UpstreamAuth()],
)  # fmt: skip
def test_what_cannot_pass_fails_at_once(error: MeshError) -> None:
    """The request's own fault is a dead letter, with its reason."""
    verdict = backoff.judge(RUNNING, error)
    assert verdict.record.state is JobState.FAILED
    assert verdict.record.error is not None
    assert verdict.record.error.code is error.code


def test_attempts_are_used_up() -> None:
    """A job that keeps failing is given up after as many failures as it may have."""
    record = RUNNING
    for failure in range(1, record.max_failures + 1):
        record = backoff.judge(record, errors.Busy()).record
        expected = JobState.FAILED if failure == record.max_failures else JobState.QUEUED
        assert record.state is expected


def test_two_engine_deaths_quarantine() -> None:
    """A job of which two engines died is not tried a third time."""
    once = backoff.judge(RUNNING, errors.EngineCrashed()).record
    assert once.state is JobState.QUEUED
    twice = backoff.judge(once, errors.EngineCrashed()).record
    assert twice.state is JobState.FAILED
    assert twice.error is not None
    assert twice.error.code is FailureCode.QUARANTINED


def test_vanished_runners_do_not_count_as_failures_but_end_somewhere() -> None:
    """A job goes on where a runner vanished, ten times."""
    assert backoff.taken_over(RUNNING) == RUNNING
    tired = JobRecord(id="j", tenant="t", state=JobState.RUNNING, attempt=12, failures=2)
    assert backoff.taken_over(tired).state is JobState.FAILED


def job_for_the_cloud(policy: Policy, begun: int) -> JobRecord:
    """Return a running job that may begin in the cloud once."""
    return replace(RUNNING, request=chat(policy=policy, cloud_attempts=1), cloud_attempts=begun)


def test_a_job_of_which_one_attempt_is_paid_goes_to_the_cloud_once() -> None:
    """One for the cloud alone fails after it, also if its runner vanished; others go on."""
    fresh, spent = (job_for_the_cloud(Policy.CLOUD_ONLY, begun) for begun in (0, 1))
    assert backoff.judge(fresh, errors.UpstreamRateLimited()).record.state is JobState.QUEUED
    assert backoff.judge(spent, errors.UpstreamTimeout()).record.state is JobState.FAILED
    assert backoff.taken_over(fresh).state is JobState.RUNNING
    assert backoff.taken_over(spent).state is JobState.FAILED
    either = job_for_the_cloud(Policy.EDGE_FIRST, 1)
    assert backoff.judge(either, errors.UpstreamTimeout()).record.state is JobState.QUEUED
    assert backoff.taken_over(either).state is JobState.RUNNING


@pytest.mark.parametrize(
    ("policy", "begun", "left"),
    [
        (Policy.EDGE_FIRST, 0, Policy.EDGE_FIRST),
        (Policy.EDGE_FIRST, 1, Policy.EDGE_ONLY),
        (Policy.CLOUD_ONLY, 0, Policy.CLOUD_ONLY),
    ],
)
def test_a_job_that_was_in_the_cloud_goes_on_at_the_edge(
    policy: Policy, begun: int, left: Policy
) -> None:
    """What is left of its policy is what its attempts there leave."""
    standing = standing_of(job_for_the_cloud(policy, begun), JobSide.ANY, Fleet(), 0)
    assert standing.policy is left


def test_pauses_double_up_to_a_minute() -> None:
    """Pauses are 1, 2, 4 … 60 s less up to a half, and a Retry-After is honoured."""
    assert [backoff.pause(n, 1.0) for n in (1, 2, 3, 7, 500)] == [1, 2, 4, 60, 60]
    assert backoff.pause(3, 0.0) == 2
    limited = errors.UpstreamRateLimited(retry_after=17.0)
    assert backoff.judge(RUNNING, limited).pause == 17


def lane(tenant: str = "a", priority: Priority = Priority.NORMAL, model: str = "m") -> Lane:
    return Lane(priority, tenant, model)


def served(turns: Turns, count: int) -> list[Lane | None]:
    return [turns.next(lambda _: True) for _ in range(count)]


def test_tenants_take_turns() -> None:
    """Each tenant gets as many turns as any other, however many models it uses."""
    turns = Turns()
    lanes = [lane("a", model=f"m{n}") for n in range(5)] + [lane("b"), lane("c")]
    for each in lanes:
        turns.add(each)
    counts = Counter(found.tenant for found in served(turns, 300) if found)
    assert counts == {"a": 100, "b": 100, "c": 100}


def test_high_priority_goes_first_but_not_only() -> None:
    """Lower priorities are passed over, at most eight times in a row."""
    turns = Turns()
    for priority in Priority:
        turns.add(lane(priority=priority))
    order = [found.priority for found in served(turns, 100) if found]
    assert order[:8] == [Priority.HIGH] * 8
    assert order.count(Priority.HIGH) > 75
    assert order.count(Priority.LOW) >= 10


def test_lanes_that_cannot_run_lose_nothing() -> None:
    """A lane whose model has no slots holds nobody up and keeps its place."""
    turns = Turns()
    stuck, free = lane("a", model="busy"), lane("b")
    turns.add(stuck)
    turns.add(free)
    assert turns.next(lambda each: each.model != "busy") == free
    assert turns.next(lambda _: True) == stuck
    turns.remove(stuck)
    turns.remove(free)
    assert turns.next(lambda _: True) is None
    assert len(turns) == 0


def choose(
    policy: Policy = Policy.EDGE_FIRST,
    *,
    edge: int = 0,
    cloud: int = 1,
    serves: bool = True,
    age: float = 0.0,
    remaining: float | None = None,
) -> Destination | None:
    standing = Standing(
        policy=policy, edge_idle=edge, cloud_idle=cloud, edge_serves=serves, age=age,
        remaining=remaining,
    )  # fmt: skip
    return destination.choose(standing, patience=300, hurry=60)


def test_the_edge_comes_first() -> None:
    """With an idle slot at the edge a job goes nowhere else, however late it is."""
    assert choose(edge=1, age=1e6, remaining=1) == Destination(Policy.EDGE_ONLY)


def test_the_cloud_needs_a_reason() -> None:
    """A young job without a near deadline waits for the edge."""
    assert choose() is None
    assert choose(age=301) == Destination(Policy.CLOUD_ONLY, Reason.BACKLOG)
    assert choose(remaining=59) == Destination(Policy.CLOUD_ONLY, Reason.DEADLINE)
    assert choose(serves=False) == Destination(Policy.CLOUD_ONLY, Reason.NO_EDGE)
    assert choose(age=301, cloud=0) is None


def test_policies_hold() -> None:
    """Edge-only never means the cloud, cloud-only never the edge."""
    assert choose(Policy.EDGE_ONLY, age=1e6, remaining=1, serves=False) is None
    expected = Destination(Policy.CLOUD_ONLY, Reason.POLICY)
    assert choose(Policy.CLOUD_ONLY, edge=5) == expected
