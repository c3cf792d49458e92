"""Decisions without I/O: what to do next with one VM, and which outcome it gets."""
