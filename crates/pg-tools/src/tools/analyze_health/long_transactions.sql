-- What holds back VACUUM, and may hold locks.
WITH open AS (
    SELECT pg_catalog.format('process %s (%s%s)', pid, usename, CASE WHEN application_name <> '' THEN ', ' || application_name ELSE '' END) AS subject,
           state, xact_start AS began, state_change, pg_catalog.format('pg_terminate_backend(%s)', pid) AS ender,
           pg_catalog.age(backend_xmin) AS held
    FROM pg_catalog.pg_stat_activity
    WHERE xact_start IS NOT NULL AND pid <> pg_catalog.pg_backend_pid() AND backend_type = 'client backend'
      AND datname = pg_catalog.current_database()
    UNION ALL
    SELECT pg_catalog.format('prepared transaction %s (%s)', pg_catalog.quote_literal(gid), owner), 'prepared', prepared, prepared,
           pg_catalog.format('ROLLBACK PREPARED %s', pg_catalog.quote_literal(gid)), pg_catalog.age(transaction)
    FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database()
)
SELECT CASE WHEN pg_catalog.now() - began > interval '1 hour' THEN 'critical' ELSE 'warning' END AS severity,
       subject,
       pg_catalog.format('has a transaction open for %s%s%s', pg_catalog.justify_interval(pg_catalog.date_trunc('second', pg_catalog.now() - began)),
                         CASE WHEN state LIKE 'idle in transaction%' THEN pg_catalog.format(', idle for %s', pg_catalog.date_trunc('second', pg_catalog.now() - state_change))
                              WHEN state = 'prepared' THEN ', waiting for its second phase' ELSE '' END,
                         CASE WHEN held IS NOT NULL THEN pg_catalog.format('; VACUUM keeps the rows of %s transactions for it', held) ELSE '' END) AS finding,
       pg_catalog.format('find out who forgot it; end it with %s; idle_in_transaction_session_timeout (now %s) ends such by itself',
                         ender, pg_catalog.current_setting('idle_in_transaction_session_timeout')) AS next_step
FROM open
WHERE began < pg_catalog.now() - interval '5 minutes' * $1::pg_catalog.float8
   OR state LIKE 'idle in transaction%' AND state_change < pg_catalog.now() - interval '1 minute' * $1::pg_catalog.float8
ORDER BY began
