"""Metadata: what clients write on whatever is kept for them.

Ranges: OpenAI API reference, the field ``metadata`` of responses, batches and chat completions.
"""

from typing import Annotated

from msgspec import Meta

MAX_METADATA = 16

MetadataKey = Annotated[str, Meta(max_length=64)]
MetadataText = Annotated[str, Meta(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataText], Meta(max_length=MAX_METADATA)]
