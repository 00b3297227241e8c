-- Indexes that cost writes and serve no query.
SELECT 'warning' AS severity,
       pg_catalog.format('%I.%I', n.nspname, i.relname) AS subject,
       'is invalid: a CREATE INDEX CONCURRENTLY did not finish, or is still running' AS finding,
       pg_catalog.format('when none is running: REINDEX INDEX CONCURRENTLY %1$I.%2$I, or DROP INDEX CONCURRENTLY %1$I.%2$I', n.nspname, i.relname) AS next_step
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace
WHERE NOT x.indisvalid AND i.relkind = 'i' AND $1::pg_catalog.float8 IS NOT NULL
ORDER BY 2 LIMIT 20
