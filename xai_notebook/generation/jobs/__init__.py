"""Batch jobs: record, submit, poll and collect."""
