"""Hypothesis here: no deadline, for the machine may be busy; a failure prints its blob."""

from hypothesis import settings

settings.register_profile("proto", deadline=None, print_blob=True)
settings.load_profile("proto")
