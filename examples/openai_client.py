"""An unmodified OpenAI client: one line differs, the base URL.

python examples/openai_client.py http://127.0.0.1:8080/v1 [MODEL]
"""

import sys

from openai import OpenAI
from openai.types.chat import ChatCompletionUserMessageParam


def main(base_url: str = "http://127.0.0.1:8080/v1", model: str = "spark") -> None:
    client = OpenAI(base_url=base_url, api_key="unused on loopback")
    question: ChatCompletionUserMessageParam = {
        "role": "user",
        "content": "What is an edge worker?",
    }

    answer = client.chat.completions.create(model=model, messages=[question])
    print(answer.choices[0].message.content)

    stream = client.chat.completions.create(model=model, messages=[question], stream=True)
    for chunk in stream:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()

    stays_here = client.chat.completions.with_raw_response.create(
        model=model, messages=[question], extra_headers={"x-mesh-policy": "edge-only"}
    )
    print(stays_here.headers["x-mesh-tier"], stays_here.headers["x-mesh-worker"])


if __name__ == "__main__":
    main(*sys.argv[1:])
