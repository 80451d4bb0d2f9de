"""Render pictures, jobs and costs as HTML and text."""
