"""Read the arguments of a call: options, the magic's line, prompts and input images."""
