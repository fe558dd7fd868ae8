"""What can be set about durable jobs."""

from dataclasses import dataclass

MIB = 1024 * 1024
DAY = 86_400.0


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """Sizes in bytes, times in seconds.

    retention: for which the final record of a job is kept. max_request: of one submission.
    max_result: of one answer; with its request it must fit into a message of the broker's.
    max_queued: jobs that may wait on one side of the boundary. max_failures: executions of a job
    that may fail. records, keys, index: what the buckets hold at most. patience: age of a backlog
    from which the cloud may compute edge-first jobs; ``hurry``: time before a job's deadline from
    which it may. longest_run: of one execution. concurrency: jobs that one runner executes at once.
    replicas: of what the broker stores. lease: without a sign of life from a runner after which its
    jobs are given to another one. answer_within: that the broker gets for one answer; a question
    that comes while a cluster elects a leader is never answered, and asked again after that.
    """

    retention: float = 7 * DAY
    max_request: int = 2 * MIB
    max_result: int = 5 * MIB
    max_queued: int = 1_000_000
    max_failures: int = 5
    records: int = 4096 * MIB
    keys: int = 256 * MIB
    index: int = 512 * MIB
    patience: float = 300.0
    hurry: float = 60.0
    longest_run: float = 600.0
    concurrency: int = 256
    replicas: int = 1
    lease: float = 5.0
    answer_within: float = 5.0
