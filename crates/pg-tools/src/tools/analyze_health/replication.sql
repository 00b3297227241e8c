-- Slots that keep WAL for nobody, replicas that lag, and an archive that fails.
SELECT CASE WHEN s.wal_status IN ('unreserved', 'lost') THEN 'critical' WHEN s.restart_lsn IS NULL THEN 'info' ELSE 'warning' END AS severity,
       'slot ' || s.slot_name AS subject,
       CASE WHEN s.wal_status = 'lost' THEN 'is lost: the WAL that it needs is gone'
            WHEN s.restart_lsn IS NULL THEN 'has no reader, has had none yet, and keeps no WAL'
            ELSE pg_catalog.format('has no reader and keeps %s of WAL', pg_catalog.pg_size_pretty(
                pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
                                                ELSE pg_catalog.pg_current_wal_lsn() END, s.restart_lsn))) END AS finding,
       pg_catalog.format('start its reader, or SELECT pg_drop_replication_slot(%s); max_slot_wal_keep_size (now %s) bounds what slots keep',
                         pg_catalog.quote_literal(s.slot_name), pg_catalog.current_setting('max_slot_wal_keep_size')) AS next_step
FROM pg_catalog.pg_replication_slots s
WHERE (NOT s.active OR s.wal_status = 'lost') AND $1::pg_catalog.float8 IS NOT NULL
UNION ALL
SELECT 'warning', 'replica ' || COALESCE(NULLIF(r.application_name, ''), r.client_addr::pg_catalog.text, 'on a socket'),
       pg_catalog.format('lags %s behind (%s of WAL)', pg_catalog.date_trunc('second', r.replay_lag),
                         pg_catalog.pg_size_pretty(pg_catalog.pg_wal_lsn_diff(r.sent_lsn, r.replay_lsn))),
       'look at the network, the replica''s disk, and long queries there that hold replay back'
FROM pg_catalog.pg_stat_replication r
WHERE r.replay_lag > interval '30 seconds' * $1::pg_catalog.float8
UNION ALL
SELECT 'warning', 'this replica', pg_catalog.format('last replayed a transaction %s ago', pg_catalog.date_trunc('second', pg_catalog.now() - pg_catalog.pg_last_xact_replay_timestamp())),
       'if the primary is being written to: look at pg_stat_wal_receiver and the network'
WHERE pg_catalog.pg_is_in_recovery()
  AND pg_catalog.pg_last_wal_receive_lsn() IS DISTINCT FROM pg_catalog.pg_last_wal_replay_lsn()
  AND pg_catalog.now() - pg_catalog.pg_last_xact_replay_timestamp() > interval '5 minutes' * $1::pg_catalog.float8
UNION ALL
SELECT 'critical', 'WAL archive', pg_catalog.format('archive_command fails: %s times, the last at %s for %s', a.failed_count,
                                                  pg_catalog.to_char(a.last_failed_time, 'YYYY-MM-DD HH24:MI'), a.last_failed_wal),
       'read the server''s log for what archive_command says; WAL piles up until it works'
FROM pg_catalog.pg_stat_archiver a
WHERE a.last_failed_time > COALESCE(a.last_archived_time, '-infinity')
ORDER BY 1, 2
