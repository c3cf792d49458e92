"""The command line, as a real process sees it."""
