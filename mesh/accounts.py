"""Who may say what on the bus: the accounts, and the grant of every role.

The account is the boundary between the tiers, not the permissions. A subject that an account
neither holds nor imports does not exist for its users, so no reply subject, no wildcard and no
mistake of ours can carry a message across. Permissions only keep the roles of an account apart.
"""

from dataclasses import dataclass
from enum import StrEnum

from mesh import storage, subjects
from mesh.storage import Store
from mesh.subjects import JobOp, JobSide
from schemas.fleet import Tier


class Account(StrEnum):
    """A world of subjects of its own on the broker."""

    EDGE = "EDGE"
    """Edge workers, and everyone whose requests must not leave the edge."""
    CLOUD = "CLOUD"
    """Cloud workers."""
    APP = "APP"
    """Gateways and clients that may use both tiers, through imports."""
    STORE = "STORE"
    """What the broker stores in buckets; the other accounts reach what they import, by requests.

    An account of its own, because JetStream answers to any reply subject of the asker's account:
    next to the buckets a gateway could have an answer stored as an API key.
    """
    SYS = "SYS"
    """The server's own events and requests for monitoring."""


class Role(StrEnum):
    """A kind of participant; each has its own key. The value names key file and inboxes."""

    SYS = "sys"
    EDGE_WORKER = "edge-worker"
    CLOUD_WORKER = "cloud-worker"
    GATEWAY = "gateway"
    EDGE_GATEWAY = "edge-gateway"
    """A gateway in the edge account: the cloud is out of its reach."""
    CLIENT = "client"
    """A program with a router of its own, or one that asks the gateways."""
    EDGE_CLIENT = "edge-client"
    RUNNER = "runner"
    """Runs durable jobs that may use both tiers, and answers about jobs."""
    EDGE_RUNNER = "edge-runner"
    """The same in the edge account, for jobs that must not leave the edge."""
    ADMIN = "admin"
    """Whoever hands out API keys; only this role may write them."""


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What a role may do, besides listening on its private inboxes.

    subscribe: subjects; a second word names the only queue group allowed. responds: may publish to
    the reply subject of each message it was sent, which is how frames reach one inbox and no other.
    """

    account: Account
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    responds: bool = False


EXPORTED = {Account.EDGE: Tier.EDGE, Account.CLOUD: Tier.CLOUD}
"""The accounts that serve a tier to ``Account.APP``, and which."""


def inbox_prefix(role: Role) -> str:
    """Return the first token of a role's private inboxes; no other role may listen there."""
    return f"{subjects.INBOX_PREFIX}{role}"


def all_work(tier: Tier) -> str:
    """Return the wildcard over the operations of all workers of a tier."""
    return f"{subjects.PREFIX}.{tier}.work.>"


def grant(role: Role) -> Grant:
    """Return what a role may do."""
    match role:
        case Role.EDGE_WORKER:
            return _worker(Account.EDGE)
        case Role.CLOUD_WORKER:
            return _worker(Account.CLOUD)
        case Role.GATEWAY:
            return _gateway(Account.APP)
        case Role.EDGE_GATEWAY:
            return _gateway(Account.EDGE)
        case Role.CLIENT:
            return _client(Account.APP)
        case Role.EDGE_CLIENT:
            return _client(Account.EDGE)
        case Role.RUNNER:
            return _runner(Account.APP, JobSide.ANY)
        case Role.EDGE_RUNNER:
            return _runner(Account.EDGE, JobSide.EDGE)
        case Role.ADMIN:
            return _admin()
        case Role.SYS:
            return Grant(account=Account.SYS, publish=("$SYS.REQ.>",), subscribe=("$SYS.>",))


# Whoever routes gets the subjects of both tiers, in the edge account too. There the cloud's lead
# nowhere and the broker says so at once: no responders. Withholding the permission would protect
# nothing more, and turn that clear answer into silence and a time-out.
_DISPATCH = tuple(all_work(tier) for tier in Tier)
_WATCH = tuple(subjects.all_capacity(tier) for tier in Tier)


GATEWAY_STORAGE = (
    *storage.reading(Store.KEYS),
    *storage.confirming(Store.KEYS),
    *storage.reading(Store.SPENDING),
    storage.writing(Store.SPENDING),
    storage.looking_up(Store.RESPONSES),
    *storage.confirming(Store.RESPONSES),
    storage.writing(Store.RESPONSES),
    *storage.reading(Store.CHATS),
    *storage.confirming(Store.CHATS),
    storage.writing(Store.CHATS),
    *storage.reading(Store.FILES),
    *storage.confirming(Store.FILES),
    storage.writing(Store.FILES),
    *storage.filling_files(),
    *storage.reading(Store.BATCHES),
    *storage.confirming(Store.BATCHES),
    storage.writing(Store.BATCHES),
    *storage.reading(Store.BATCH_WORK),
    storage.writing(Store.BATCH_WORK),
    storage.looking_up(Store.BATCH_PARTS),
    storage.writing(Store.BATCH_PARTS),
)
"""What ``Account.STORE`` serves to the gateways' accounts, so that they share all of this."""

GATEWAY_ACCOUNTS = (Account.EDGE, Account.APP)
ADMIN_STORAGE = tuple(service for store in Store for service in storage.confirming(store))
"""What ``Account.STORE`` serves to itself: the leaders are asked by the same names everywhere."""

_JOB_STORES = (Store.JOBS, Store.JOB_KEYS, Store.JOB_INDEX)
RUNNER_STORAGE = tuple(
    service
    for store in _JOB_STORES
    for service in (*storage.reading(store), *storage.confirming(store), storage.writing(store))
)
"""What ``Account.STORE`` serves to the runners, in the same accounts."""

_ASK_JOBS = tuple(subjects.job_service(op) for op in JobOp)
EDGE_JOBS = subjects.all_job_work(JobSide.EDGE)
"""Where edge-only jobs are put in; an account that imports it cannot get them out again."""


def _worker(account: Account) -> Grant:
    tier = EXPORTED[account]
    return Grant(
        account=account,
        publish=(subjects.all_capacity(tier),),
        subscribe=(all_work(tier),),
        responds=True,
    )


def _gateway(account: Account) -> Grant:
    return Grant(
        account=account,
        publish=(
            *_DISPATCH,
            *_ASK_JOBS,
            *(service.asked for service in GATEWAY_STORAGE),
            subjects.USAGE,
        ),
        subscribe=(
            *_WATCH,
            f"{subjects.INFER} {subjects.ROUTERS}",
            subjects.CANCEL,
            subjects.ALL_JOB_EVENTS,
            subjects.USAGE,
            subjects.USAGE_ELSEWHERE,
        ),
        responds=True,
    )


def _client(account: Account) -> Grant:
    return Grant(
        account=account,
        publish=(*_DISPATCH, subjects.INFER, subjects.CANCEL, *_ASK_JOBS),
        subscribe=(*_WATCH, subjects.ALL_JOB_EVENTS),
    )


def _runner(account: Account, side: JobSide) -> Grant:
    """Let a role route, run the jobs of one side, and put in those of every side it sees."""
    stream = f"MESH_JOBS_{side.name}"
    sides = JobSide if side is JobSide.ANY else (side,)
    return Grant(
        account=account,
        publish=(
            *_DISPATCH,
            *(service.asked for service in RUNNER_STORAGE),
            *(subjects.all_job_work(each) for each in sides),
            *(subjects.stream_api(f"STREAM.{op}", stream) for op in ("CREATE", "INFO")),
            subjects.stream_api("CONSUMER.CREATE", f"{stream}.>"),
            subjects.stream_api("CONSUMER.MSG.NEXT", f"{stream}.>"),
            f"$JS.ACK.{stream}.>",
            subjects.ALL_JOB_EVENTS,
        ),
        subscribe=(
            *_WATCH,
            subjects.all_due_jobs(side),
            *(f"{subject} {subjects.RUNNERS}" for subject in _ASK_JOBS),
        ),
        responds=True,
    )


def _admin() -> Grant:
    stores = (
        service.asked
        for store in Store
        for service in (
            *storage.reading(store),
            *storage.confirming(store),
            *storage.keeping(store),
        )
    )
    return Grant(
        account=Account.STORE,
        publish=(*stores, *(service.asked for service in storage.keeping_files())),
        subscribe=(),
    )
