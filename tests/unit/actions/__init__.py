"""The stop action, held against its tables."""
