SELECT 'warning' AS severity,
       pg_catalog.format('%I.%I', nspname, relname) AS subject,
       pg_catalog.format('is the %s %I, and has %s', CASE WHEN is_same THEN 'same as' ELSE 'beginning of' END, kept_name,
                         pg_catalog.pg_size_pretty(size)) AS finding,
       CASE relkind WHEN 'I' THEN pg_catalog.format('DROP INDEX %I.%I, which locks the table and its partitions for a moment', nspname, relname)
            ELSE pg_catalog.format('DROP INDEX CONCURRENTLY %I.%I', nspname, relname) END AS next_step
FROM superfluous
CROSS JOIN LATERAL (SELECT COALESCE(pg_catalog.sum(pg_catalog.pg_relation_size(part)), 0) AS size FROM pg_catalog.unnest(parts) part) sizes
WHERE $1::pg_catalog.float8 IS NOT NULL
ORDER BY size DESC, relname
