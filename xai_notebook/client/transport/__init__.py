"""gRPC for the client: channels, calls, retries, error translation, and keeping the key secret."""
