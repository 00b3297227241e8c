-- The tables that the role may search by similarity.
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS name
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
  AND COALESCE(n.nspname::text = ANY (NULLIF(pg_catalog.current_setting('mcp.schemas', true), '')::pg_catalog.text[]), true)
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
  AND EXISTS (SELECT FROM pg_catalog.pg_attribute a
              JOIN pg_catalog.pg_type d ON d.oid = a.atttypid
              JOIN pg_catalog.pg_type t ON t.oid = COALESCE(NULLIF(d.typbasetype, 0), d.oid)
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                AND t.typname IN ('vector', 'halfvec', 'sparsevec')
                AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT'))
ORDER BY 1 LIMIT 50
