"""Values that travel inside a run; no I/O, no clock."""
