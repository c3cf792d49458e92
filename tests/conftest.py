"""What holds for every test."""

from hypothesis import HealthCheck, settings

# Machines are shared and noisy: how long an example took to make or to run says nothing of it.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")
