"""Files and tables of the library on disk."""
