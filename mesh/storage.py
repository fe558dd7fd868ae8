"""What the broker stores for the mesh, and the subjects by which that is reached.

JetStream runs in one account. Its interface is ordinary requests, so another account gets at a
store by importing the subjects named here, and at nothing else that is stored.
"""

from dataclasses import dataclass
from enum import StrEnum

from mesh import subjects


class Store(StrEnum):
    """A bucket of the mesh (see ``mesh.buckets``)."""

    KEYS = "mesh_keys"
    """API keys, as digests."""
    SPENDING = "mesh_spending"
    """What API keys have spent in the cloud today."""
    RESPONSES = "mesh_responses"
    """Conversations of ``/v1/responses``, and what was said in stored chat completions."""
    CHATS = "mesh_chats"
    """Stored chat completions, by tenant: a row for each."""
    JOBS = "mesh_jobs"
    """Durable jobs: requests, states, results."""
    JOB_KEYS = "mesh_job_keys"
    """Which job a tenant's key stands for."""
    JOB_INDEX = "mesh_job_index"
    """A row for each job, by tenant and state."""
    FILES = "mesh_files"
    """What is known of each file of ``/v1/files``, by tenant."""
    BATCHES = "mesh_batches"
    """Batches of ``/v1/batches``, by tenant."""
    BATCH_WORK = "mesh_batch_work"
    """Which batches are under way, and the leases of the gateways that drive them."""
    BATCH_PARTS = "mesh_batch_parts"
    """Answers of batches that are under way."""


FILE_CONTENTS = "mesh_file_contents"
"""The object store with what is in the files (see ``mesh.objects``)."""


@dataclass(frozen=True)
class Service:
    """A subject on which the broker answers; ``many``: with several messages.

    alias: by which all accounts ask there, where they cannot by the subject itself.
    """

    subject: str
    many: bool = False
    alias: str = ""

    @property
    def asked(self) -> str:
        """The subject by which it is asked."""
        return self.alias or self.subject


def reading(store: str) -> tuple[Service, ...]:
    """Return what reading a bucket takes: single entries, and whatever is asked for by a query.

    All of it is answered by any server that has a copy, also by one that lags behind.
    """
    direct = subjects.stream_api("DIRECT.GET", subjects.bucket_stream(store))
    return (looking_up(store), Service(direct, many=True))


def looking_up(store: str) -> Service:
    """Return what reading single entries takes, by keys that the reader has to know."""
    direct = subjects.stream_api("DIRECT.GET", subjects.bucket_stream(store))
    return Service(f"{direct}.{subjects.bucket_entries(store)}")


def confirming(store: str) -> tuple[Service, ...]:
    """Return what asking the leader of a bucket takes (see ``mesh.leader``).

    Who may do that may read every entry, also those whose keys nobody has told.
    """
    stream = subjects.bucket_stream(store)
    last = subjects.stream_api("STREAM.MSG.GET", stream)
    return (describing(stream), Service(last, alias=subjects.stored_last(stream)))


def describing(stream: str) -> Service:
    """Return what it takes to ask what a stream holds, and who of its servers is there."""
    info = subjects.stream_api("STREAM.INFO", stream)
    return Service(info, alias=subjects.stored_info(stream))


def writing(store: str) -> Service:
    """Return what changing the entries of a bucket takes."""
    return Service(subjects.bucket_entries(store))


def keeping(store: str) -> tuple[Service, ...]:
    """Return what making, configuring and filling a bucket takes.

    Whoever may configure a stream may have it record any subject of its account.
    """
    stream = subjects.bucket_stream(store)
    return (
        Service(subjects.stream_api("STREAM.INFO", stream)),
        Service(subjects.stream_api("STREAM.CREATE", stream)),
        Service(subjects.stream_api("STREAM.UPDATE", stream)),
        writing(store),
    )


def filling_files() -> tuple[Service, ...]:
    """Return what writing, reading and removing the contents of files takes."""
    stream = subjects.object_stream(FILE_CONTENTS)
    direct = subjects.stream_api("DIRECT.GET", stream)
    contents = Service(subjects.all_objects(FILE_CONTENTS))
    return (Service(direct, many=True), contents, describing(stream))


def keeping_files() -> tuple[Service, ...]:
    """Return what making and configuring the store of contents takes."""
    stream = subjects.object_stream(FILE_CONTENTS)
    return tuple(
        Service(subjects.stream_api(f"STREAM.{op}", stream)) for op in ("INFO", "CREATE", "UPDATE")
    )
