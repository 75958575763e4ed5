"""The OpenAPI 3.1 document of everything that is declared.

Nothing in it is written by hand but the prose: paths and parameters, bodies, answers, headers and
problems come from the same declarations that the requests are judged by. `document` makes it;
`schemas` knows the types of the wire, `answers` what comes back.
"""

from mercenary.http.openapi.document import document

__all__ = ["document"]
