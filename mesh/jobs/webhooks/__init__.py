"""Telling a job's end to a URL: signed, at least once, never to an address that is not public."""
