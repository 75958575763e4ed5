"""What happens to every request before and after its endpoint, one concern a file.

Pure ASGI, each layer a class that is given the next; nothing here knows a feature or opens a
transaction. `app.py` puts them in order: request id, security headers, problems, deadline,
identity, dispatch.
"""
