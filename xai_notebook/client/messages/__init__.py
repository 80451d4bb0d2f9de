"""What `protos/regenerate.py` writes: the descriptor set and its type stubs, no code."""
