"""The ``mesh`` command: one file per command, each only puts parts together."""
