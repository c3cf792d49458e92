"""Time and concurrency; knows interfaces only."""
