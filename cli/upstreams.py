"""From flags to engines that forward to an OpenAI-compatible upstream."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from cli.options import BudgetOptions, UpstreamOptions, UsageError
from mesh.settings import pair
from schemas.fleet import Tariff
from workers.budget import BudgetSettings
from workers.engine import Engine
from workers.upstream.client import Upstream
from workers.upstream.discovery import discover_models
from workers.upstream.engine import UpstreamEngine
from workers.upstream.settings import UpstreamSettings

RECORD = "spending.json"


def daily_budget(options: BudgetOptions, state: Path) -> BudgetSettings | None:
    """Return the caps, ``None`` without any; raises ``UsageError``."""
    if options.cap_tokens_per_day is None and options.cap_usd_per_day is None:
        return None
    with _named("--cap-usd-per-day"):
        return BudgetSettings(
            path=state.expanduser() / RECORD,
            tokens_per_day=options.cap_tokens_per_day,
            usd_per_day=options.cap_usd_per_day,
            usd_per_million_in=options.usd_per_million_in,
            usd_per_million_out=options.usd_per_million_out,
        )


def tariff(options: BudgetOptions) -> Tariff | None:
    """Return the prices, ``None`` without any."""
    if not (options.usd_per_million_in or options.usd_per_million_out):
        return None
    return Tariff(
        usd_per_million_in=options.usd_per_million_in,
        usd_per_million_out=options.usd_per_million_out,
    )


def upstream(
    options: UpstreamOptions,
    budget: BudgetSettings | None = None,
    prices: Tariff | None = None,
    *,
    url_flag: str = "--upstream",
    key_flag: str = "--api-key-env",
) -> Upstream:
    """Return the upstream, not connected yet; raises ``UsageError`` naming the flag at fault."""
    if options.upstream is None:
        raise UsageError(f"{url_flag}: name the API root, such as https://api.example.com/v1")
    with _named(url_flag):
        settings = UpstreamSettings(
            url=options.upstream,
            api_key_env=options.api_key_env,
            max_concurrency=options.upstream_slots,
            budget=budget,
            tariff=prices,
        )
    with _named(key_flag):
        return Upstream(settings)


@asynccontextmanager
async def upstream_engines(
    connection: Upstream, options: UpstreamOptions, names: Sequence[str] = ()
) -> AsyncIterator[list[Engine]]:
    """Open the upstream and yield an engine per model: the mapped, the named, or all it has."""
    mapped = [pair(text) for text in options.model_map] or [(name, name) for name in names]
    async with connection:
        models = mapped or [(name, name) for name in await discover_models(connection)]
        yield [UpstreamEngine(connection, ours, theirs) for ours, theirs in models]


@contextmanager
def _named(flag: str) -> Iterator[None]:
    """Name the flag at fault when a settings object refuses its value."""
    try:
        yield
    except ValueError as error:
        raise UsageError(f"{flag}: {error}") from error
