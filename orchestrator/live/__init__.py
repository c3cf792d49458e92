"""A run's page while it goes on: what it says (feed), and who may read it (server)."""
