-- Constraints that hold for new values only, of tables and of domains.
WITH named AS (
    SELECT k.oid, k.conname, CASE WHEN k.conrelid <> 0 THEN 'TABLE' ELSE 'DOMAIN' END AS kind,
           CASE WHEN k.conrelid <> 0 THEN k.conrelid::pg_catalog.regclass::text ELSE k.contypid::pg_catalog.regtype::text END AS owner
    FROM pg_catalog.pg_constraint k
    WHERE NOT k.convalidated AND (k.conrelid <> 0 OR k.contypid <> 0)
      -- One that is NOT ENFORCED is never checked on purpose. Before PostgreSQL 18 there is no such column.
      AND COALESCE((pg_catalog.to_jsonb(k) ->> 'conenforced')::pg_catalog.bool, true) AND $1::pg_catalog.float8 IS NOT NULL
)
SELECT 'info' AS severity,
       pg_catalog.format('%I on %s', conname, owner) AS subject,
       pg_catalog.format('was added NOT VALID and never checked against older %s: %s', CASE kind WHEN 'TABLE' THEN 'rows' ELSE 'values' END,
                         pg_catalog.left(pg_catalog.pg_get_constraintdef(oid), 200)) AS finding,
       pg_catalog.format('ALTER %s %s VALIDATE CONSTRAINT %I', kind, owner, conname) AS next_step
FROM named
ORDER BY 2
