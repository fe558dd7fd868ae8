"""Which family a model belongs to, by what its chat template writes."""

from workers.llama.toolcalls.bare import LLAMA3, PLAIN
from workers.llama.toolcalls.deepseek import BEGIN, DEEPSEEK, DEEPSEEK_FENCED
from workers.llama.toolcalls.family import Family
from workers.llama.toolcalls.hermes import HERMES
from workers.llama.toolcalls.mistral import MISTRAL, MISTRAL_LIST, MISTRAL_WITH_ID


def family_of(template: str) -> Family:
    """Return the family of a chat template, ``PLAIN`` for one that is of none."""
    if BEGIN.text in template:
        return DEEPSEEK_FENCED if "```json" in template else DEEPSEEK
    if "[TOOL_CALLS]" in template:
        return _mistral(template)
    if "<tool_call>" in template:
        return HERMES
    if "<|python_tag|>" in template or ("<|start_header_id|>" in template and "tools" in template):
        return LLAMA3
    return PLAIN


def _mistral(template: str) -> Family:
    if "[CALL_ID]" in template:
        return MISTRAL_WITH_ID
    return MISTRAL if "[ARGS]" in template else MISTRAL_LIST
