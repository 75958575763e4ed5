"""Servers of one's own, for one machine: what `mercenary up` starts, watches and stops.

Knows settings and nothing else of the package; the API, migrations and seeding run as children.
"""
