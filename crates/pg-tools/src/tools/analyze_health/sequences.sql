-- Sequences near their end, which may be the end of the column that they fill.
WITH whole (type, low, high, size) AS (
    VALUES ('int2'::pg_catalog.regtype, -32768::pg_catalog.numeric, 32767::pg_catalog.numeric, 2),
           ('int4', -2147483648, 2147483647, 4), ('int8', -9223372036854775808, 9223372036854775807, 8)
), sequence AS (
    SELECT pg_catalog.format('%I.%I', s.schemaname, s.sequencename) AS subject, s.data_type, s.last_value::pg_catalog.numeric,
           s.start_value::pg_catalog.numeric, f.owner, f.type, f.is_key, b.*
    FROM pg_catalog.pg_sequences s
    LEFT JOIN LATERAL (
        SELECT pg_catalog.format('%I.%I.%I', n.nspname, t.relname, a.attname) AS owner, a.atttypid::pg_catalog.regtype AS type,
               EXISTS (SELECT FROM pg_catalog.pg_partitioned_table p WHERE p.partrelid = t.oid AND a.attnum = ANY (p.partattrs)) AS is_key
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace
        CROSS JOIN LATERAL (
            -- A column owns the sequence, or has it in its default.
            SELECT d.refobjid AS relid, d.refobjsubid AS attnum, 0 AS place
            FROM pg_catalog.pg_depend d
            WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
              AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
            UNION ALL
            SELECT e.adrelid, e.adnum, 1
            FROM pg_catalog.pg_depend d
            JOIN pg_catalog.pg_attrdef e ON e.oid = d.objid
            WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = c.oid
              AND d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass) fills
        JOIN pg_catalog.pg_class t ON t.oid = fills.relid
        JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
        JOIN pg_catalog.pg_attribute a ON a.attrelid = fills.relid AND a.attnum = fills.attnum
        LEFT JOIN whole w ON w.type = a.atttypid
        WHERE cn.nspname = s.schemaname AND c.relname = s.sequencename
          AND COALESCE(n.nspname::text = ANY (NULLIF(pg_catalog.current_setting('mcp.schemas', true), '')::pg_catalog.text[]), true)
        -- The narrowest is full first.
        ORDER BY w.size, fills.place, t.relispartition, t.oid LIMIT 1) f ON true
    JOIN whole own ON own.type = s.data_type
    JOIN whole filled ON filled.type = COALESCE((SELECT w.type FROM whole w WHERE w.type = f.type), 'int8'::pg_catalog.regtype)
    -- Where it ends by what it was told, by its own type and by the column's; `sign` has the larger the further.
    CROSS JOIN LATERAL (
        SELECT 'MAXVALUE' AS bound, 1 AS sign, s.max_value::pg_catalog.numeric AS told, own.high AS of_own, filled.high AS of_column
        WHERE s.increment_by > 0
        UNION ALL
        SELECT 'MINVALUE', -1, s.min_value, own.low, filled.low WHERE s.increment_by < 0) b
    -- What a sequence is at is for those alone who may use its schema.
    WHERE COALESCE(s.schemaname::text = ANY (NULLIF(pg_catalog.current_setting('mcp.schemas', true), '')::pg_catalog.text[]), true)
      AND s.last_value IS NOT NULL AND NOT s.cycle
), used AS (
    SELECT *, (last_value - start_value) / NULLIF(last - start_value, 0) AS share
    FROM sequence
    CROSS JOIN LATERAL (SELECT sign * LEAST(sign * told, sign * of_column) AS last) ends
)
SELECT CASE WHEN share > 0.9 THEN 'critical' ELSE 'warning' END AS severity,
       subject,
       pg_catalog.format('has used up %s %% of its numbers (%s of %s%s)', pg_catalog.round(100 * share, 1), last_value, last,
                         CASE WHEN owner IS NOT NULL THEN pg_catalog.format(', for %s', owner) ELSE '' END) AS finding,
       CASE WHEN last <> told OR last = of_column AND type IN ('int2'::pg_catalog.regtype, 'int4'::pg_catalog.regtype)
            THEN pg_catalog.format('make %s a bigint (%s: plan it), and ALTER SEQUENCE %s AS bigint NO %s', owner,
                                   CASE WHEN is_key THEN 'a partition key needs a new table' ELSE 'ALTER TABLE rewrites the table' END, subject, bound)
            -- A bound that is not the type's own stays when the type changes.
            WHEN told <> of_own THEN pg_catalog.format('if nothing relies on its end: ALTER SEQUENCE %s %s %s', subject, bound, sign * LEAST(sign * of_own, sign * of_column))
            WHEN told <> of_column THEN pg_catalog.format('ALTER SEQUENCE %s AS %s', subject, COALESCE((SELECT w.type FROM whole w WHERE w.type = used.type), 'int8'::pg_catalog.regtype))
            ELSE pg_catalog.format('no type has more numbers: find out what moved it so far, and ALTER SEQUENCE %s RESTART where numbers are free', subject)
       END AS next_step,
       share AS weight
FROM used
WHERE share > 0.75 * $1::pg_catalog.float8
UNION ALL
SELECT 'info', pg_catalog.format('%s sequence%s', pg_catalog.count(*), CASE WHEN pg_catalog.count(*) > 1 THEN 's' END), 'cannot be looked at by this role',
       pg_catalog.format('GRANT SELECT ON ALL SEQUENCES IN SCHEMA %s TO %I', pg_catalog.string_agg(DISTINCT pg_catalog.quote_ident(n.nspname), ', '), current_user), 0
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_'
  AND COALESCE(n.nspname::text = ANY (NULLIF(pg_catalog.current_setting('mcp.schemas', true), '')::pg_catalog.text[]), true)
  -- Asked of anything else, the function fails.
  AND CASE WHEN c.relkind = 'S' THEN NOT pg_catalog.has_sequence_privilege(c.oid, 'USAGE, SELECT') END
HAVING pg_catalog.count(*) > 0
ORDER BY weight DESC, subject
