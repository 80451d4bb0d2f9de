"""Pictures as users hold them: data, rendering, export and files."""
