"""The way of a prompt: from a checked call to pictures in the library."""
