"""Batch jobs: what users hold, submitting, polling."""
