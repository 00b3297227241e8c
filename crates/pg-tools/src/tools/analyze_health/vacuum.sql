-- Tables whose dead rows nobody clears, and whose statistics are old.
WITH tables AS (
    SELECT s.*, pg_catalog.format('%I.%I', s.schemaname, s.relname) AS subject,
           -- A reset of the statistics forgets the rows that were there before.
           GREATEST(s.n_live_tup, c.reltuples::pg_catalog.int8, 0) AS live,
           COALESCE((SELECT option_value FROM pg_catalog.pg_options_to_table(c.reloptions) WHERE option_name = 'autovacuum_enabled'), 'true')
               IN ('false', 'off', 'no', '0') AS is_off,
           GREATEST(s.last_vacuum, s.last_autovacuum) AS vacuumed,
           GREATEST(s.last_analyze, s.last_autoanalyze) AS analyzed
    FROM pg_catalog.pg_stat_user_tables s
    JOIN pg_catalog.pg_class c ON c.oid = s.relid
)
SELECT CASE WHEN n_dead_tup > live THEN 'warning' ELSE 'info' END AS severity,
       subject,
       pg_catalog.format('has %s dead rows beside %s live ones; %s%s', n_dead_tup, live,
                         CASE WHEN vacuumed IS NULL THEN 'no VACUUM of it is on record' ELSE 'it was vacuumed ' || pg_catalog.to_char(vacuumed, 'YYYY-MM-DD HH24:MI') END,
                         CASE WHEN is_off THEN '; autovacuum is off for it' ELSE '' END) AS finding,
       CASE WHEN is_off THEN pg_catalog.format('ALTER TABLE %s RESET (autovacuum_enabled), then VACUUM (ANALYZE) %s', subject, subject)
            ELSE pg_catalog.format('VACUUM (ANALYZE) %s; if it comes back, lower autovacuum_vacuum_scale_factor for it, and look for long transactions', subject) END AS next_step
FROM tables
WHERE n_dead_tup > 10000 * $1::pg_catalog.float8 AND n_dead_tup > 0.2 * $1::pg_catalog.float8 * live
UNION ALL
SELECT 'info', subject,
       pg_catalog.format('%s rows have changed since its statistics were taken%s', n_mod_since_analyze,
                         CASE WHEN analyzed IS NULL THEN ', no ANALYZE is on record' ELSE ' ' || pg_catalog.to_char(analyzed, 'YYYY-MM-DD HH24:MI') END),
       pg_catalog.format('ANALYZE %s', subject)
FROM tables
WHERE n_mod_since_analyze > 10000 * $1::pg_catalog.float8 AND n_mod_since_analyze > 0.2 * $1::pg_catalog.float8 * live
UNION ALL
SELECT 'warning', 'autovacuum', 'is off for the whole server', 'set autovacuum = on and reload'
WHERE pg_catalog.current_setting('autovacuum') = 'off'
ORDER BY 1 DESC, 2
