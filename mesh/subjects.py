"""Every subject of the mesh, built in one place.

Tokens that come from outside (worker, model, tenant) are percent-encoded, the dot included, so that
no name can add a level or a wildcard to a subject.
"""

from base64 import urlsafe_b64encode
from enum import StrEnum
from functools import lru_cache
from urllib.parse import quote, unquote

from schemas.fleet import Tier

PREFIX = "mesh.v1"
INFER = f"{PREFIX}.infer"
CANCEL = f"{PREFIX}.cancel"
USAGE = f"{PREFIX}.usage"
"""Where gateways tell those of their account what the API keys with limits have used."""
USAGE_ELSEWHERE = f"{USAGE}.*"
"""Where they hear it from those of another account."""
ROUTERS = "routers"
"""Queue group of everyone who answers ``INFER``."""

MAX_TOKEN = 200
INBOX_PREFIX = "_INBOX_"
MAPPED_REPLY_PREFIX = "_R_."
"""Where replies go that cross an account boundary (nats-server service imports)."""


@lru_cache(maxsize=4096)
def encode_token(name: str) -> str:
    """Return a name as one subject token; raises ``ValueError`` if empty or too long."""
    token = quote(name, safe="").replace(".", "%2E").replace("~", "%7E")
    if not token or len(token) > MAX_TOKEN:
        raise ValueError(f"a name in a subject has 1 to {MAX_TOKEN} encoded characters: {name!r}")
    return token


def decode_token(token: str) -> str:
    """Return the name that ``encode_token`` was given."""
    return unquote(token)


def capacity(tier: Tier, worker: str) -> str:
    """Return the subject of one worker's adverts."""
    return f"{PREFIX}.{tier}.capacity.{encode_token(worker)}"


def all_capacity(tier: Tier) -> str:
    """Return the wildcard over the adverts of a tier."""
    return f"{PREFIX}.{tier}.capacity.>"


def work(tier: Tier, worker: str, op: str) -> str:
    """Return the subject of an operation (infer, cancel, drain, load, …) on one worker."""
    return f"{PREFIX}.{tier}.work.{encode_token(worker)}.{op}"


def roll_call(tier: Tier) -> str:
    """Return the subject that asks every worker of a tier for an advert.

    No worker can have this name: an equals sign is encoded in every name.
    """
    return f"{PREFIX}.{tier}.work.=all.advertise"


def usage_from(account: str) -> str:
    """Return where the broker passes on what is told on ``USAGE`` in another account.

    A subject of its own on which nobody may publish: nothing is passed on from there, so nothing
    goes round in a circle, and nobody can claim to be from elsewhere.
    """
    return f"{USAGE}.{account.lower()}"


def is_reserved(subject: str) -> bool:
    """Tell whether a subject is the broker's own: what is sent there may be stored."""
    return subject.startswith("$")


def is_reply(subject: str) -> bool:
    """Tell whether a worker may answer here: a private inbox, or one mapped between accounts."""
    return subject.startswith((INBOX_PREFIX, MAPPED_REPLY_PREFIX))


def bucket_stream(bucket: str) -> str:
    """Return the name of the JetStream stream behind a bucket, as all NATS clients call it."""
    return f"KV_{bucket}"


def bucket_folder(bucket: str, folder: str = "") -> str:
    """Return what the subjects of a folder's entries begin with, of all entries without one."""
    return f"$KV.{bucket}.{encode_token(folder)}." if folder else f"$KV.{bucket}."


def bucket_entry(bucket: str, key: str) -> str:
    """Return the subject of one entry of a bucket."""
    return f"$KV.{bucket}.{encode_token(key)}"


def bucket_entries(bucket: str) -> str:
    """Return the wildcard over the entries of a bucket."""
    return f"$KV.{bucket}.>"


def object_stream(store: str) -> str:
    """Return the name of the JetStream stream behind an object store."""
    return f"OBJ_{store}"


def object_chunks(store: str, token: str) -> str:
    """Return the subject of the pieces of one object; ``token``: letters, digits, ``_``, ``-``."""
    return f"$O.{store}.C.{token}"


def object_meta(store: str, name: str) -> str:
    """Return the subject of what an object store says of one object, by its name."""
    return f"$O.{store}.M.{urlsafe_b64encode(name.encode()).decode()}"


def all_objects(store: str) -> str:
    """Return the wildcard over everything in an object store."""
    return f"$O.{store}.>"


def stream_api(operation: str, stream: str) -> str:
    """Return where JetStream takes an operation (STREAM.INFO, DIRECT.GET, …) on a stream."""
    return f"$JS.API.{operation}.{stream}"


def stored_info(stream: str) -> str:
    """Return where other accounts, too, ask what a stream holds, and who of its servers is there.

    A name of our own: accounts with JetStream take requests by its names to be about themselves.
    """
    return f"{PREFIX}.stored.{stream}.info"


def stored_last(stream: str) -> str:
    """Return where the leader of a stream is asked for the last message on a subject."""
    return f"{PREFIX}.stored.{stream}.last"


class JobOp(StrEnum):
    """What the job service is asked for; the last token of its subject."""

    SUBMIT = "submit"
    GET = "get"
    LIST = "list"
    CANCEL = "cancel"
    RETRY = "retry"
    DROP = "drop"


class JobSide(StrEnum):
    """Which accounts' runners may read a job."""

    EDGE = "edge"
    """Those that must not leave the edge."""
    ANY = "any"


JOBS = f"{PREFIX}.jobs"
NOTICE = "webhook"
RUNNERS = "runners"
"""Queue group of everyone who answers about jobs."""


def job_service(op: JobOp) -> str:
    """Return where the job service takes an operation."""
    return f"{JOBS}.{op}"


def job_work(side: JobSide, priority: str, tenant: str, model: str) -> str:
    """Return the subject of jobs that are due, as they lie in a work stream."""
    return f"{JOBS}.{side}.due.{priority}.{encode_token(tenant)}.{encode_token(model)}"


def job_notices(side: JobSide, tenant: str) -> str:
    """Return the subject of webhooks of a tenant that are due to be told.

    Where other jobs have a priority it has a word of its own: all that is due lies under one
    wildcard, which is what a runner may hear.
    """
    return f"{JOBS}.{side}.due.{NOTICE}.{encode_token(tenant)}.end"


def job_notice_later(side: JobSide, tenant: str, job: str) -> str:
    """Return the subject under which a webhook waits for its next try."""
    return f"{JOBS}.{side}.again.{encode_token(tenant)}.{encode_token(job)}"


def all_due_jobs(side: JobSide) -> str:
    """Return the wildcard over all jobs that are due, webhooks included."""
    return f"{JOBS}.{side}.due.*.*.*"


def job_later(side: JobSide, tenant: str, job: str) -> str:
    """Return the subject under which a job waits for its time."""
    return f"{JOBS}.{side}.later.{encode_token(tenant)}.{encode_token(job)}"


def job_deadline(side: JobSide, tenant: str, job: str) -> str:
    """Return the subject under which the deadline of a job waits."""
    return f"{JOBS}.{side}.deadline.{encode_token(tenant)}.{encode_token(job)}"


def job_expired(side: JobSide, tenant: str, job: str) -> str:
    """Return the subject on which it is told that a deadline has passed."""
    return f"{JOBS}.{side}.expired.{encode_token(tenant)}.{encode_token(job)}"


def all_expired_jobs(side: JobSide) -> str:
    """Return the wildcard over all deadlines that have passed."""
    return f"{JOBS}.{side}.expired.*.*"


def all_job_work(side: JobSide) -> str:
    """Return the wildcard over all messages of a work stream."""
    return f"{JOBS}.{side}.>"


def job_event(tenant: str, job: str) -> str:
    """Return where the news of a job are told."""
    return f"{JOBS}.events.{encode_token(tenant)}.{encode_token(job)}"


def job_events(tenant: str) -> str:
    """Return the wildcard over the news of a tenant's jobs."""
    return f"{JOBS}.events.{encode_token(tenant)}.*"


ALL_JOB_EVENTS = f"{JOBS}.events.*.*"


def job_row(bucket: str, tenant: str, state: str, job: str) -> str:
    """Return the subject of a job's entry in the index."""
    return f"$KV.{bucket}.{encode_token(tenant)}.{state}.{encode_token(job)}"


def job_rows(bucket: str, tenant: str, state: str = "*") -> str:
    """Return the wildcard over a tenant's entries in the index, of one state or all."""
    return f"$KV.{bucket}.{encode_token(tenant)}.{state}.*"
