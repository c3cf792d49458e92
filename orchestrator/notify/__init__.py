"""Who is told of a run: webhooks and commands. Nothing here harms a run."""
