"""The product on a real Citus cluster, which has to be given: `make citus ARGS=URI`.

`make test` collects none of it; what it can hold without a cluster is in `tests/citus`.
"""
