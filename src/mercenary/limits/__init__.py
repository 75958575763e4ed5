"""How often a caller may ask: quotas that all workers and hosts keep together.

The count of a caller lives in Valkey. A worker takes a share of what is left there, a *lease*, by
one atomic script, and spends it without asking anybody; `lease.py` has the arithmetic of it,
`limiter.py` the way to Valkey, `policy.py` who may have how much. `edge/rate_limit.py` asks.
"""
