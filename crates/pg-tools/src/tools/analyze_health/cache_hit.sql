-- How many blocks came out of memory. Without much reading the share says nothing.
WITH blocks AS (
    SELECT 'database ' || pg_catalog.current_database() AS subject, blks_hit AS hit, blks_read AS read, 0 AS place
    FROM pg_catalog.pg_stat_database WHERE datname = pg_catalog.current_database()
    UNION ALL
    SELECT pg_catalog.format('%I.%I', schemaname, relname),
           heap_blks_hit + COALESCE(idx_blks_hit, 0), heap_blks_read + COALESCE(idx_blks_read, 0), 1
    FROM pg_catalog.pg_statio_user_tables
)
SELECT CASE WHEN hit < 0.8 * (hit + read) AND place = 0 THEN 'warning' ELSE 'info' END AS severity,
       subject,
       pg_catalog.format('%s %% of %s blocks came out of the cache', pg_catalog.round(100.0 * hit / (hit + read), 1), hit + read) AS finding,
       CASE place WHEN 0 THEN pg_catalog.format('raise shared_buffers (now %s) if the machine has the memory; look for large scans with top_queries', pg_catalog.current_setting('shared_buffers'))
                  ELSE 'look for scans that read it as a whole, with top_queries and execute_explain' END AS next_step
FROM blocks
WHERE read > 100000 * $1::pg_catalog.float8 AND hit < 0.95 * (hit + read)
ORDER BY place, read DESC
