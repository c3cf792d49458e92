"""A run's memory: durable before it matters, read as a stream."""
