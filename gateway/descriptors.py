"""Open files: every connection is one, and a process that runs out of them can accept nothing."""

import resource
from typing import Final

RESERVE: Final = 1024
"""Files kept back for the bus, for logs, and for connections that are being turned away."""


def connections_within(wanted: int) -> int:
    """Raise this process's own limit of open files if needed; return how many connections fit.

    The usual limit is 1024, far below what one gateway can serve; any process may raise its soft
    limit up to the hard one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + RESERVE
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, soft - RESERVE), min(wanted, soft // 2))
