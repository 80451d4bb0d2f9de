"""What users hold, and how it is shown and written."""
