"""Listeners on the one stream of events."""
