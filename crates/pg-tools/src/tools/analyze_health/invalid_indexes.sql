-- Indexes that cost writes and serve no query; a partitioned one makes new partitions carry theirs.
SELECT 'warning' AS severity,
       pg_catalog.format('%I.%I', n.nspname, i.relname) AS subject,
       CASE i.relkind WHEN 'I' THEN 'is invalid: not every partition has an index that is attached to it'
            ELSE 'is invalid: a CREATE INDEX CONCURRENTLY did not finish, or is still running' END AS finding,
       CASE i.relkind WHEN 'I'
            THEN pg_catalog.format('for each partition of %s without one: CREATE INDEX CONCURRENTLY ON the partition, then ALTER INDEX %I.%I ATTACH PARTITION the new index',
                                   x.indrelid::pg_catalog.regclass, n.nspname, i.relname)
            ELSE pg_catalog.format('when none is running: REINDEX INDEX CONCURRENTLY %1$I.%2$I, or DROP INDEX CONCURRENTLY %1$I.%2$I', n.nspname, i.relname) END AS next_step
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace
WHERE NOT x.indisvalid AND i.relkind IN ('i', 'I') AND $1::pg_catalog.float8 IS NOT NULL
ORDER BY 2
