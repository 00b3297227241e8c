-- Indexes that no query has used since the statistics began. Those of constraints are needed anyway, and so are those
-- that shall serve the queries of one that is superfluous beside them.
SELECT 'info' AS severity,
       pg_catalog.format('%I.%I', u.schemaname, u.indexrelname) AS subject,
       pg_catalog.format('has %s and no query has used it since %s', pg_catalog.pg_size_pretty(pg_catalog.pg_relation_size(u.indexrelid)),
                         COALESCE(pg_catalog.to_char(d.stats_reset, 'YYYY-MM-DD'), 'the statistics began')) AS finding,
       pg_catalog.format('if replicas and rare jobs do not use it either: DROP INDEX CONCURRENTLY %I.%I', u.schemaname, u.indexrelname) AS next_step
FROM pg_catalog.pg_stat_user_indexes u
JOIN pg_catalog.pg_index x ON x.indexrelid = u.indexrelid
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_stat_database d ON d.datname = pg_catalog.current_database()
WHERE u.idx_scan = 0 AND NOT x.indisunique AND x.indisvalid AND NOT i.relispartition
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = x.indexrelid)
  AND NOT EXISTS (SELECT FROM superfluous s WHERE s.kept = u.indexrelid AND s.scans > 0)
  AND pg_catalog.pg_relation_size(u.indexrelid) > 1048576 * $1::pg_catalog.float8
ORDER BY pg_catalog.pg_relation_size(u.indexrelid) DESC
