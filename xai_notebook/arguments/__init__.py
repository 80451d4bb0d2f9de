"""What may be asked: the option table, the magic's line, prompts and input images."""
