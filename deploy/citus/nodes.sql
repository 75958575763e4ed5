-- The nodes of a cluster, once for each database, on the coordinator. Workers have the extension and
-- the database already. The coordinator holds no rows of its own but those of reference tables.
SELECT citus_set_coordinator_host('coordinator', 5432);
SELECT citus_add_node('worker-1', 5432);
SELECT citus_add_node('worker-2', 5432);
SELECT nodename, nodeport, noderole, isactive, shouldhaveshards FROM pg_dist_node ORDER BY nodeid;
