"""Tests of the journal in its parts."""
