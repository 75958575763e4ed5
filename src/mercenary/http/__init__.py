"""HTTP by declaration: what an endpoint takes, gives and asks of its caller is said once.

Routing, validation, encoding, OpenAPI and the tests that walk every route come from it.
"""
