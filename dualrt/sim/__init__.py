"""The simulated cluster: its physics, and the driver that answers effects in virtual time."""
