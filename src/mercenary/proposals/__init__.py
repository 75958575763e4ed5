"""Proposals: freelancers bid, one is hired."""
