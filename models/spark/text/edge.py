"""Questions and answers on edge AI in general."""

from __future__ import annotations

from models.spark.text.topic import Topic

EDGE = (
    Topic(
        "edge_ai",
        "edge AI",
        (
            "What does edge AI mean?",
            "What is AI at the edge?",
            "Define edge AI.",
            "How would you define edge AI?",
            "What is meant by edge inference?",
            "What is edge computing?",
            "Explain edge AI to a child.",
        ),
        ("What do people mean by edge AI?", "Can you define edge AI for me?"),
        "Edge AI means running AI models on machines near you instead of in a far data centre. "
        "Laptops, phones and small servers are the edge.",
    ),
    Topic(
        "edge_benefit",
        "",
        (
            "What are the benefits of edge AI?",
            "Why is edge AI useful?",
            "Why run AI locally?",
            "What are the advantages of edge AI?",
            "Why should I run a model at home?",
            "What is good about local AI?",
        ),
        ("Which benefits does edge AI bring?", "Why should AI run locally?"),
        "Edge AI is private, quick and cheap, because data stays near and no token is billed. "
        "It even works when the internet is down.",
    ),
    Topic(
        "edge_limits",
        "",
        (
            "What are the limits of edge AI?",
            "What are the drawbacks of edge AI?",
            "What is bad about local AI?",
            "When is the cloud better than the edge?",
            "What are the disadvantages of edge AI?",
        ),
        ("Which limits does edge AI have?", "When would the cloud be better?"),
        "Edge machines are smaller, so models must be smaller and can be full or gone. "
        "That is why a cloud fallback helps.",
    ),
    Topic(
        "inference",
        "inference",
        (
            "What does inference mean?",
            "What is inference in AI?",
            "Explain the word inference.",
            "How do inference and training differ?",
            "Define inference.",
        ),
        ("What is meant by inference?", "What do people call inference?"),
        "Inference means using a trained model to compute an answer. "
        "Training comes before it and costs far more work.",
    ),
    Topic(
        "llm",
        "a language model",
        (
            "What is an LLM?",
            "What does a language model do?",
            "How does a language model work?",
            "Explain large language models.",
            "What does LLM stand for?",
        ),
        ("How would you explain a language model?", "What is meant by LLM?"),
        "A language model predicts the next token of a text, again and again. "
        "A large one has learnt this from very much text.",
    ),
    Topic(
        "token",
        "a token",
        (
            "What does token mean?",
            "What are tokens?",
            "Explain tokens.",
            "How long is a token?",
            "What is a token in AI?",
        ),
        ("What is meant by a token?", "What are these tokens?"),
        "A token is a piece of text, often a word or a part of one. "
        "Models read and write tokens, one after another.",
    ),
    Topic(
        "quantisation",
        "quantisation",
        (
            "What is a quantised model?",
            "What does quantised mean?",
            "What does Q8_0 mean?",
            "How do models become smaller?",
            "Why quantise a model?",
            "What is quantization?",
        ),
        ("What does it mean to quantise a model?", "How can a model be made smaller?"),
        "Quantisation stores the weights of a model with fewer bits. "
        "The model becomes smaller and faster and loses only a little quality.",
    ),
    Topic(
        "context",
        "a context window",
        (
            "What is the context length?",
            "What does context mean?",
            "How much text can a model see?",
            "Explain the context window.",
            "How long may a prompt be?",
        ),
        ("What is meant by the context of a model?", "How much text fits in a prompt?"),
        "The context is the text that a model can see at once, counted in tokens. "
        "Spark has a context of 2048 tokens.",
    ),
    Topic(
        "latency",
        "latency",
        (
            "What does latency mean?",
            "What is time to first token?",
            "Explain latency.",
            "How is the speed of a model measured?",
            "Why is the first token slow?",
        ),
        ("What is meant by latency?", "What does time to first token mean?"),
        "Latency is the time you wait, above all until the first token. "
        "After that the speed counts in tokens per second.",
    ),
    Topic(
        "kv_cache",
        "a KV cache",
        (
            "What does the KV cache do?",
            "Why is there a KV cache?",
            "Explain the KV cache.",
            "What does KV mean?",
            "What is stored in the KV cache?",
        ),
        ("What is the KV cache good for?", "Tell me why there is a KV cache."),
        "The KV cache keeps what the model has computed for earlier tokens. "
        "So each new token needs only a little work.",
    ),
    Topic(
        "batching",
        "continuous batching",
        (
            "What does batching mean?",
            "How can a model serve many users at once?",
            "Why batch requests?",
            "Explain continuous batching.",
            "How do several requests share a model?",
        ),
        ("What is meant by batching?", "How can many users share one model?"),
        "Continuous batching computes one token for many requests in one step. "
        "Requests join and leave at any step, so nobody waits for the longest.",
    ),
    Topic(
        "prefill",
        "prefill",
        (
            "What does prefill mean?",
            "What is the difference between prefill and decode?",
            "Explain prefill and decode.",
            "What is decoding?",
            "What happens before the first token?",
        ),
        ("What is meant by prefill?", "How do prefill and decode differ?"),
        "Prefill reads the whole prompt; decode then makes the answer token by token. "
        "Long prompts make prefill slow, long answers make decode slow.",
    ),
    Topic(
        "chat_template",
        "a chat template",
        (
            "What does a chat template do?",
            "Why is there a chat template?",
            "Explain chat templates.",
            "How are messages turned into text?",
            "Where is the chat template stored?",
        ),
        ("What is the chat template good for?", "How do messages become text?"),
        "A chat template turns messages into the text that a model was trained on. "
        "It is stored in the GGUF file.",
    ),
    Topic(
        "tool_call",
        "a tool call",
        (
            "What are tool calls?",
            "How does a model use tools?",
            "What is function calling?",
            "Explain tool calling.",
            "Why would a model call a tool?",
        ),
        ("What is meant by a tool call?", "How can a model use a tool?"),
        "A tool call is a small piece of JSON in which the model asks for a function. "
        "Your program runs it and gives the result back.",
    ),
    Topic(
        "privacy",
        "",
        (
            "Why does privacy matter in AI?",
            "Is local AI more private?",
            "How does edge AI protect privacy?",
            "Why keep data at home?",
            "Is edge AI private?",
        ),
        ("Does edge AI help privacy?", "Why is privacy better with local AI?"),
        "With edge AI your words stay on your own machines. "
        "Nobody else can read, store or train on them.",
    ),
    Topic(
        "open_model",
        "an open model",
        (
            "What does open model mean?",
            "Which models can I download?",
            "What are open-weight models?",
            "Why use an open model?",
            "Explain open models.",
        ),
        ("What is meant by an open model?", "Why would I use open weights?"),
        "An open model is one whose weights you may download and run yourself. "
        "Many are good enough for daily work on a laptop.",
    ),
    Topic(
        "message_bus",
        "a message bus",
        (
            "What does a message bus do?",
            "Why use a message bus?",
            "Explain message buses.",
            "What is publish and subscribe?",
            "What is messaging good for?",
        ),
        ("What is a message bus good for?", "How does a message bus help?"),
        "A message bus carries messages between programs by subject and not by address. "
        "Senders need not know who answers, so machines can come and go.",
    ),
    Topic(
        "fallback",
        "a fallback",
        (
            "What does fallback mean?",
            "What is a cloud fallback?",
            "Explain fallback.",
            "Why have a fallback?",
            "What is automatic fallback?",
        ),
        ("What is a fallback good for?", "What do you mean by fallback?"),
        "A fallback is the second way when the first one fails. "
        "In the mesh the cloud is the fallback of the edge.",
    ),
)
