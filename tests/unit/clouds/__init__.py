"""The client of a ZStack management node."""
