"""Durable jobs: submitted once, kept by the broker, computed in idle slots (``docs/jobs.md``)."""
