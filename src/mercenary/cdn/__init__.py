"""What a CDN in front of us is told to forget, at least once, however long it is away.

The relay hands on what it takes from the outbox: `Purging` stores the tags, before they are deleted
there, a row for each CDN that has to be told. A purger in the same process takes those that are due
and calls. So nobody who writes or invalidates ever waits for a CDN.
"""
