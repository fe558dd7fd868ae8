"""How many connections fit into a process's limit of open files."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource
from gateway.descriptors import connections_within
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
print(connections_within({wanted}), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "connections", "raised"),
    [
        (256, 4096, 1000, 1000, 2024),
        (256, 4096, 8192, 3072, 4096),
        (256, 256, 8192, 128, 256),
        (4096, 4096, 10, 10, 4096),
    ],
)
def test_the_soft_limit_is_raised_as_far_as_needed(
    soft: int, hard: int, wanted: int, connections: int, raised: int
) -> None:
    """Connections get what the hard limit allows, less a reserve for everything else."""
    script = SCRIPT.format(soft=soft, hard=hard, wanted=wanted)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )

    assert done.stdout.split() == [str(connections), str(raised)]
