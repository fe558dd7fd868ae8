"""How long a router that has fallen silent counts as there."""

from workers.leases import LEASE_LASTS, Leases


def test_a_router_that_is_heard_keeps_its_attempts() -> None:
    """Silence runs from the last sign of life, and may last as long as a lease."""
    leases = Leases()
    leases.renew("r", 10.0)
    assert not leases.has_run_out("r", 10.0 + LEASE_LASTS)
    assert leases.has_run_out("r", 10.1 + LEASE_LASTS)
    leases.renew("r", 10.1 + LEASE_LASTS)
    assert not leases.has_run_out("r", 10.1 + LEASE_LASTS)


def test_time_in_which_the_worker_stood_still_does_not_count() -> None:
    """After a pause of the worker's own a router has the silence left that it had before."""
    leases = Leases()
    leases.renew("r", 0.0)
    leases.excuse(100.0, 101.0)
    assert not leases.has_run_out("r", 100.0 + LEASE_LASTS)
    assert leases.has_run_out("r", 100.1 + LEASE_LASTS)


def test_no_excuse_reaches_into_the_future() -> None:
    """A router that was heard during the pause is not heard later than now."""
    leases = Leases()
    leases.renew("r", 100.0)
    leases.excuse(100.0, 101.0)
    assert leases.has_run_out("r", 101.1 + LEASE_LASTS)


def test_routers_without_attempts_are_forgotten() -> None:
    """What was never heard, or is not needed any more, does not run out."""
    leases = Leases()
    leases.renew("gone", 0.0)
    leases.keep({"here"})
    assert not leases.has_run_out("gone", 100.0)
