"""A ZStack management node over its REST interface."""
