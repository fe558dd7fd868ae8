"""``python -m tests.conformance``: what suites of others say about the gateway.

Ends with 1 if anything fails that is not in ``exceptions.py``.
"""

import sys

from rich.console import Console

from mesh import logs
from tests.conformance.conduct import conduct, show


def main() -> int:
    """Run everything and print the table."""
    logs.configure(logs.LogLevel.WARNING)  # of the parts that run in this process
    console = Console()
    report = conduct(console)
    show(report, console)
    return 1 if report.unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
