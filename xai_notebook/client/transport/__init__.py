"""gRPC under the client: channels, calls, retries, statuses, and the key in all of them."""
