-- What `mercenary db distribute` calls and reads of Citus, as far as it can stand on one server.
-- It refuses what Citus refuses, and keeps the same books; no row is moved anywhere.
CREATE TABLE pg_dist_local_group (groupid integer NOT NULL);
INSERT INTO pg_dist_local_group VALUES (0);
CREATE TABLE pg_dist_node (
    nodename text, groupid integer, isactive boolean, noderole text, shouldhaveshards boolean
);
INSERT INTO pg_dist_node VALUES
    ('coordinator', 0, true, 'primary', false),
    ('one', 1, true, 'primary', true),
    ('two', 2, true, 'primary', true);
CREATE TABLE pg_dist_partition (
    logicalrelid regclass PRIMARY KEY, kind text NOT NULL, partcolumn text, leader regclass
);
CREATE VIEW citus_tables AS
    SELECT logicalrelid AS table_name, kind AS citus_table_type, partcolumn AS distribution_column
    FROM pg_dist_partition;
CREATE TABLE pg_dist_object (classid oid, objid oid);
-- An extension that is made reaches every server, whether it was there on this one or not.
CREATE FUNCTION note_extensions() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pg_dist_object SELECT 'pg_extension'::regclass, oid FROM pg_extension;
END $$;
CREATE EVENT TRIGGER extensions_are_made ON ddl_command_end WHEN TAG IN ('CREATE EXTENSION')
    EXECUTE FUNCTION note_extensions();
-- Names a table at which things go wrong, and how.
CREATE TABLE accidents (name text, kind text);

CREATE FUNCTION citus_version() RETURNS text LANGUAGE sql
    AS $$ SELECT 'Citus 13.0.1 on x86_64-pc-linux-gnu' $$;

CREATE FUNCTION refuse_what_is_tied(relation regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM accidents WHERE name = relation::text AND kind = 'fails') THEN
        RAISE EXCEPTION 'connection to the remote node two:5432 failed';
    END IF;
    IF EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = relation) THEN
        RAISE EXCEPTION 'table "%" is already distributed', relation;
    END IF;
    IF EXISTS (
        SELECT FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid = relation
        AND NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = k.confrelid)
    ) THEN
        RAISE EXCEPTION 'cannot create foreign key constraint';
    END IF;
END $$;

CREATE FUNCTION create_reference_table(relation regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refuse_what_is_tied(relation);
    INSERT INTO pg_dist_partition VALUES (relation, 'reference', NULL, NULL);
END $$;

CREATE FUNCTION create_distributed_table(
    relation regclass, distribution_column text, colocate_with text DEFAULT 'default'
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refuse_what_is_tied(relation);
    IF EXISTS (
        SELECT FROM pg_index i WHERE i.indrelid = relation AND i.indisunique AND NOT EXISTS (
            SELECT FROM pg_attribute a WHERE a.attrelid = relation
            AND a.attname = distribution_column AND a.attnum = ANY (i.indkey)
        )
    ) THEN
        RAISE EXCEPTION 'cannot create constraint on "%": must contain the column', relation;
    END IF;
    IF colocate_with <> 'none' AND NOT EXISTS (
        SELECT FROM pg_dist_partition p
        JOIN pg_attribute there ON there.attrelid = p.logicalrelid AND there.attname = p.partcolumn
        JOIN pg_attribute here ON here.attrelid = relation AND here.attname = distribution_column
        WHERE p.logicalrelid = colocate_with::regclass AND here.atttypid = there.atttypid
    ) THEN
        RAISE EXCEPTION 'cannot colocate tables % and %', colocate_with, relation;
    END IF;
    IF EXISTS (SELECT FROM accidents WHERE name = relation::text AND kind = 'loses') THEN
        EXECUTE format('DELETE FROM %s', relation);
    END IF;
    INSERT INTO pg_dist_partition VALUES
        (relation, 'distributed', distribution_column, nullif(colocate_with, 'none')::regclass);
END $$;

CREATE FUNCTION truncate_local_data_after_distributing_table(relation regclass) RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('TRUNCATE %s', relation);
END $$;
