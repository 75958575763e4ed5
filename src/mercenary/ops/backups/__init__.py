"""Backups that are proven: made whole or not at all, summed, and restored to see.

A backup is a folder with a manifest, which has the SHA-256 of each of its files. It gets its name
when it is whole and on the disk, so whatever has no manifest is no backup. `dumps` are of one
database, by pg_dump, and go into any server that is as new; `copies` are of a whole server, by
pg_basebackup, and take as long as reading its files does. `read` tells which one a folder holds.
"""
