-- Sequences near their end, which may be the end of the column that they fill.
WITH sequence AS (
    SELECT pg_catalog.format('%I.%I', s.schemaname, s.sequencename) AS subject, s.last_value, s.increment_by,
           CASE WHEN s.increment_by > 0
                THEN LEAST(s.max_value, CASE f.type WHEN 'int2' THEN 32767 WHEN 'int4' THEN 2147483647 ELSE s.max_value END)
                ELSE GREATEST(s.min_value, CASE f.type WHEN 'int2' THEN -32768 WHEN 'int4' THEN -2147483648 ELSE s.min_value END) END AS last,
           s.start_value, s.cycle, f.owner, f.type
    FROM pg_catalog.pg_sequences s
    LEFT JOIN LATERAL (
        SELECT pg_catalog.format('%I.%I.%I', n.nspname, t.relname, a.attname) AS owner, ty.typname AS type
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
             AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
        JOIN pg_catalog.pg_class t ON t.oid = d.refobjid
        JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
        JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
        JOIN pg_catalog.pg_type ty ON ty.oid = a.atttypid
        WHERE cn.nspname = s.schemaname AND c.relname = s.sequencename LIMIT 1) f ON true
    -- What a sequence is at is for those alone who may use its schema.
    WHERE COALESCE(s.schemaname::text = ANY (NULLIF(pg_catalog.current_setting('mcp.schemas', true), '')::pg_catalog.text[]), true)
), used AS (
    SELECT *, (last_value - start_value)::pg_catalog.numeric / NULLIF(last - start_value, 0) AS share FROM sequence WHERE last_value IS NOT NULL AND NOT cycle
)
SELECT CASE WHEN share > 0.9 THEN 'critical' ELSE 'warning' END AS severity,
       subject,
       pg_catalog.format('has used up %s %% of its numbers (%s of %s%s)', pg_catalog.round(100 * share, 1), last_value, last,
                         CASE WHEN owner IS NOT NULL THEN pg_catalog.format(', for %s', owner) ELSE '' END) AS finding,
       CASE WHEN type IN ('int2', 'int4') THEN pg_catalog.format('make %s a bigint (ALTER TABLE rewrites the table: plan it), and ALTER SEQUENCE %s AS bigint', owner, subject)
            ELSE pg_catalog.format('ALTER SEQUENCE %s with a larger MAXVALUE', subject) END AS next_step
FROM used
WHERE share > 0.75 * $1::pg_catalog.float8
UNION ALL
SELECT 'info', 'sequences', pg_catalog.format('%s cannot be looked at by this role', pg_catalog.count(*)),
       pg_catalog.format('GRANT SELECT ON ALL SEQUENCES IN SCHEMA %s TO %I', pg_catalog.string_agg(DISTINCT pg_catalog.quote_ident(n.nspname), ', '), current_user)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_'
  AND COALESCE(n.nspname::text = ANY (NULLIF(pg_catalog.current_setting('mcp.schemas', true), '')::pg_catalog.text[]), true)
  -- Asked of anything else, the function fails.
  AND CASE WHEN c.relkind = 'S' THEN NOT pg_catalog.has_sequence_privilege(c.oid, 'USAGE, SELECT') END
HAVING pg_catalog.count(*) > 0
ORDER BY 1, 2
