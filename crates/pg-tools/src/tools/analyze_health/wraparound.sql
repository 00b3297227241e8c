-- How near the counters of transactions are to where PostgreSQL stops taking writes (2^31).
WITH ages AS (
    SELECT 'database ' || d.datname AS subject, pg_catalog.age(d.datfrozenxid) AS used, 'transaction ids' AS what,
           pg_catalog.current_setting('autovacuum_freeze_max_age')::pg_catalog.int8 AS autovacuum, 0 AS place, 'VACUUM (FREEZE) in that database' AS step
    FROM pg_catalog.pg_database d WHERE d.datallowconn
    UNION ALL
    SELECT 'database ' || d.datname, pg_catalog.mxid_age(d.datminmxid), 'multixact ids',
           pg_catalog.current_setting('autovacuum_multixact_freeze_max_age')::pg_catalog.int8, 0, 'VACUUM (FREEZE) in that database'
    FROM pg_catalog.pg_database d WHERE d.datallowconn
    UNION ALL
    -- What is kept apart of a table's long values is as old as it was last frozen itself.
    SELECT pg_catalog.format('%I.%I', n.nspname, c.relname),
           GREATEST(pg_catalog.age(c.relfrozenxid), pg_catalog.age(long.relfrozenxid)), 'transaction ids',
           pg_catalog.current_setting('autovacuum_freeze_max_age')::pg_catalog.int8, 1,
           pg_catalog.format('VACUUM (FREEZE, VERBOSE) %I.%I', n.nspname, c.relname)
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_class long ON long.oid = c.reltoastrelid
    WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^pg_'
)
SELECT CASE WHEN used > 1500000000 THEN 'critical' ELSE 'warning' END AS severity,
       subject,
       pg_catalog.format('has used up %s %% of its %s (%s); autovacuum begins to freeze at %s', pg_catalog.round(100.0 * used / 2147483648, 1), what, used, autovacuum) AS finding,
       step || '; first end long transactions and drop replication slots that nobody reads, which keep it from freezing' AS next_step
FROM ages
-- Autovacuum freezes by itself from there on; far beyond it, something keeps it from that.
WHERE used > 1.5 * autovacuum * $1::pg_catalog.float8
ORDER BY place, used DESC
