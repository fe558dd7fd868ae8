"""An engine that computes nothing itself: it forwards to an OpenAI-compatible HTTP upstream.

Serves the cloud worker, and edge machines that already run Ollama, LM Studio, llama-server or vLLM.
Only ``client`` and ``reply`` know aiohttp; translation, events and refusals are pure.
"""
