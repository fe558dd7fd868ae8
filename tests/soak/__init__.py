"""Durable jobs and batches under continuous faults, for as long as one likes."""
