"""Pictures: the classes that users get, their rendering, export and files."""
