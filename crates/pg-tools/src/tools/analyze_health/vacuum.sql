-- Tables whose dead rows nobody clears, and whose statistics are old.
WITH tables AS (
    SELECT s.*, pg_catalog.format('%I.%I', s.schemaname, s.relname) AS subject,
           -- A reset of the statistics forgets the rows that were there before.
           GREATEST(s.n_live_tup, c.reltuples::pg_catalog.int8, 0) AS live,
           -- It is kept as it was written: off, F, no or 0.
           NOT COALESCE((SELECT option_value::pg_catalog.bool FROM pg_catalog.pg_options_to_table(c.reloptions)
                         WHERE option_name = 'autovacuum_enabled'), true) AS is_off,
           GREATEST(s.last_vacuum, s.last_autovacuum) AS vacuumed,
           GREATEST(s.last_analyze, s.last_autoanalyze) AS analyzed
    FROM pg_catalog.pg_stat_user_tables s
    JOIN pg_catalog.pg_class c ON c.oid = s.relid
), judged AS (
    SELECT *, n_dead_tup > 10000 * $1::pg_catalog.float8 AND n_dead_tup > 0.2 * $1::pg_catalog.float8 * live AS has_dead
    FROM tables
)
SELECT CASE WHEN n_dead_tup > live THEN 'warning' ELSE 'info' END AS severity,
       subject,
       pg_catalog.format('has %s dead rows beside %s live ones; %s%s', n_dead_tup, live,
                         CASE WHEN vacuumed IS NULL THEN 'no VACUUM of it is on record' ELSE 'it was vacuumed ' || pg_catalog.to_char(vacuumed, 'YYYY-MM-DD HH24:MI') END,
                         CASE WHEN is_off THEN '; autovacuum is off for it' ELSE '' END) AS finding,
       CASE WHEN is_off THEN pg_catalog.format('ALTER TABLE %s RESET (autovacuum_enabled), then VACUUM (ANALYZE) %s', subject, subject)
            ELSE pg_catalog.format('VACUUM (ANALYZE) %s; if it comes back, lower autovacuum_vacuum_scale_factor for it, and look for long transactions', subject) END AS next_step,
       n_dead_tup AS rows
FROM judged
WHERE has_dead
UNION ALL
SELECT 'info', subject,
       pg_catalog.format('%s rows have changed since its statistics were taken%s', n_mod_since_analyze,
                         CASE WHEN analyzed IS NULL THEN ', no ANALYZE is on record' ELSE ' ' || pg_catalog.to_char(analyzed, 'YYYY-MM-DD HH24:MI') END),
       pg_catalog.format('ANALYZE %s', subject), n_mod_since_analyze
FROM tables
WHERE n_mod_since_analyze > 10000 * $1::pg_catalog.float8 AND n_mod_since_analyze > 0.2 * $1::pg_catalog.float8 * live
UNION ALL
SELECT 'info', subject, 'is left out by autovacuum, which is off for it',
       pg_catalog.format('ALTER TABLE %s RESET (autovacuum_enabled)', subject), n_dead_tup
FROM judged
WHERE is_off AND NOT has_dead
UNION ALL
SELECT 'warning', 'autovacuum', 'is off for the whole server', 'set autovacuum = on and reload', 9223372036854775807
WHERE pg_catalog.current_setting('autovacuum') = 'off'
ORDER BY rows DESC, subject
