-- Constraints that hold for new rows only.
SELECT 'info' AS severity,
       pg_catalog.format('%s on %s', pg_catalog.quote_ident(k.conname), k.conrelid::pg_catalog.regclass) AS subject,
       pg_catalog.format('was added NOT VALID and never checked against older rows: %s', pg_catalog.left(pg_catalog.pg_get_constraintdef(k.oid), 200)) AS finding,
       pg_catalog.format('ALTER TABLE %s VALIDATE CONSTRAINT %I', k.conrelid::pg_catalog.regclass, k.conname) AS next_step
FROM pg_catalog.pg_constraint k
WHERE NOT k.convalidated AND k.conrelid <> 0
  -- One that is NOT ENFORCED is never checked on purpose. Before PostgreSQL 18 there is no such column.
  AND COALESCE((pg_catalog.to_jsonb(k) ->> 'conenforced')::pg_catalog.bool, true) AND $1::pg_catalog.float8 IS NOT NULL
ORDER BY 2 LIMIT 20
