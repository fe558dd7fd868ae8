"""The bodies of Anthropic's HTTP surface, as far as it means something here.

Field names, ranges and shapes: Anthropic API reference, "Messages". As on the OpenAI surface,
requests keep only the fields that are used, and answers spell every ``null`` out.
"""
