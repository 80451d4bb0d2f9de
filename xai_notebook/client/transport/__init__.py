"""gRPC transport of the client: channels, calls, retries, error translation, key removal."""
