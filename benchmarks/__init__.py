"""Measurements of our own, each against a bound or an alternative in the same process."""
