"""Anthropic's ``POST /v1/messages`` and what belongs to it, on the same mesh as everything else."""
