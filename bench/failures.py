"""What can go wrong in a benchmark."""


class BenchError(Exception):
    """A row could not be measured."""


class WrongAnswer(BenchError):
    """A server gave another answer than the script has."""


class NotStarted(BenchError):
    """A process of the benchmark ended early or did not become ready in time."""
