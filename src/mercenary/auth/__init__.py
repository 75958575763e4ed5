"""Accounts and sessions: who somebody is, and for how long that holds."""
