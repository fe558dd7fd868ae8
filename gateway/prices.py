"""What the cloud charges for tokens, as far as the gateway was told."""

from dataclasses import dataclass

from schemas.inference import Usage


@dataclass(frozen=True, kw_only=True)
class Prices:
    """US dollars per million tokens; zero where nothing is known."""

    usd_per_million_in: float = 0.0
    usd_per_million_out: float = 0.0

    @property
    def known(self) -> bool:
        """Whether any price was told."""
        return self.usd_per_million_in > 0 or self.usd_per_million_out > 0

    def cost(self, usage: Usage) -> float:
        """Return the dollars that the cloud charges for these tokens; discounts are not known."""
        prompt = usage.prompt_tokens * self.usd_per_million_in
        completion = usage.completion_tokens * self.usd_per_million_out
        return (prompt + completion) / 1_000_000
