"""Tests of the simulated management node."""
