"""The OpenAPI document against the running product, by schemathesis with all its checks.

`test_document.py` is the bounded part that `make test` runs; `make fuzz` goes on to a million
cases. `stage` makes people and things to ask about, `hooks` lets schemathesis know of them, `runs`
calls it.
"""
