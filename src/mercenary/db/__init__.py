"""PostgreSQL: the pool, the batches that travel over it, ids, pages, migrations.

Everything the product asks the database goes through a read batch, a write batch or a page query;
the SQL itself stands in each feature's `queries.py`.
"""
