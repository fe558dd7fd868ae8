"""The failures that are right, each with its reason."""

from typing import Final

from tests.conformance.cases import Exempt

OPENAI_PYTHON: Final = "openai-python"
TEXT_ONLY: Final = "pictures are refused by name: models are given text only"

EXCEPTIONS: Final = (
    Exempt(
        suite=OPENAI_PYTHON,
        names=r"chat\.(test_completions|completions\.test_messages)\..*_list_with_all_params\[",
        reason="these go on after the id 'after', and want a page of none: refused by name",
    ),
    Exempt(
        suite=OPENAI_PYTHON,
        names=r"test_completions\..*_create_with_all_params_overload_1",
        reason="the first token of a prompt has no log-probability: null, as OpenAI's API has it "
        "and the types of its client do not",
    ),
    Exempt(
        suite=OPENAI_PYTHON,
        names=r"responses\.test_input_items\..*_list(_with_all_params)?[_\[]",
        reason="these ask for a response by the id 'response_id', and ids begin with 'resp_'",
    ),
    Exempt(
        suite=OPENAI_PYTHON,
        names=r"test_responses\..*_create_overload",
        reason="these send an empty body: no model, for which there could be a default, and no "
        "input, which a model has to have",
    ),
    Exempt(
        suite=OPENAI_PYTHON,
        names=r"test_responses\..*_create_with_all_params",
        reason="'conversation' is refused by name, and so is what else only OpenAI keeps",
    ),
    Exempt(
        suite=OPENAI_PYTHON,
        names=r"test_responses\..*_compact[_\[]",
        reason="conversations are not compacted",
    ),
    Exempt(
        suite=OPENAI_PYTHON,
        names=r"test_files\..*_(retrieve|retrieve_content|delete)\[",
        reason="these ask for a file by the id 'file_id', which nobody has uploaded",
    ),
    Exempt(
        suite=OPENAI_PYTHON,
        names=r"test_batches\..*_(create|create_with_all_params|retrieve|cancel)\[",
        reason="these name a file and a batch that nobody has made",
    ),
    Exempt(
        suite=OPENAI_PYTHON,
        names=r"test_(files|batches)\..*_list_with_all_params\[",
        reason="these go on after the id 'after', which is that of nothing: refused by name",
    ),
    Exempt(
        suite=OPENAI_PYTHON,
        names=r"test_models\..*_delete\[",
        reason="models belong to the workers: nobody deletes them over this API",
    ),
    Exempt(
        suite=OPENAI_PYTHON,
        names=r"test_embeddings\..*(method|raw_response|streaming_response)_create\[(strict|aiohttp)",
        reason="the strict client asks for base64 and then refuses to be given it",
    ),
    Exempt(
        suite="llm-comply openai-chat",
        names="chat-image-input",
        reason=TEXT_ONLY,
    ),
    Exempt(
        suite="llm-comply open-responses",
        names="image-input",
        reason=TEXT_ONLY,
    ),
    Exempt(
        suite="llm-comply anthropic",
        names="anth-image-input",
        reason=TEXT_ONLY,
    ),
)
