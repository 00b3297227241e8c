-- The table that somebody named, if the role may read of it: what a search has to know.
-- $1 schema, $2 table
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS name,
       c.relkind::text AS kind,
       pg_catalog.has_table_privilege(c.oid, 'SELECT') AS is_whole,
       CASE WHEN c.relkind = 'p' THEN (SELECT pg_catalog.sum(GREATEST(l.reltuples, 0))
                                       FROM pg_catalog.pg_partition_tree(c.oid) p
                                       JOIN pg_catalog.pg_class l ON l.oid = p.relid WHERE p.isleaf)
            ELSE c.reltuples END::pg_catalog.float8 AS rows,
       (SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', a.attname,
            'quoted', pg_catalog.quote_ident(a.attname),
            'number', a.attnum,
            'type', t.typname,
            'schema', pg_catalog.quote_ident(tn.nspname),
            'category', t.typcategory,
            'dimensions', a.atttypmod,
            'key', COALESCE(a.attnum = ANY (k.conkey), false),
            'expression', (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d
                           WHERE a.attgenerated <> '' AND d.adrelid = a.attrelid AND d.adnum = a.attnum)
          ) ORDER BY a.attnum)
        FROM pg_catalog.pg_attribute a
        JOIN pg_catalog.pg_type d ON d.oid = a.atttypid
        -- A domain is searched as what it is over. pgvector's indexes take no dimensions from it, nor does this.
        JOIN pg_catalog.pg_type t ON t.oid = COALESCE(NULLIF(d.typbasetype, 0), d.oid)
        JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
          AND pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT'))::text AS columns,
       (SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', i.relname,
            'method', m.amname,
            'key', pg_catalog.pg_get_indexdef(x.indexrelid, place.number, true),
            'column', CASE WHEN x.indkey[place.number - 1] <> 0 THEN x.indkey[place.number - 1]::pg_catalog.int4 ELSE (
                SELECT CASE WHEN pg_catalog.count(DISTINCT d.refobjsubid) = 1 THEN pg_catalog.min(d.refobjsubid) END
                FROM pg_catalog.pg_depend d
                WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = x.indexrelid
                  AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = x.indrelid AND d.refobjsubid > 0) END,
            'class', o.opcname,
            'type', t.typname,
            'options', i.reloptions
          ) ORDER BY x.indpred IS NOT NULL, i.relname)
        FROM pg_catalog.pg_index x
        JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
        JOIN pg_catalog.pg_am m ON m.oid = i.relam
        CROSS JOIN LATERAL pg_catalog.generate_series(1, x.indnkeyatts::pg_catalog.int4) place(number)
        JOIN pg_catalog.pg_opclass o ON o.oid = x.indclass[place.number - 1]
        JOIN pg_catalog.pg_type t ON t.oid = o.opcintype
        WHERE x.indrelid = c.oid AND x.indisvalid AND m.amname IN ('hnsw', 'ivfflat', 'gin', 'gist')
          -- What it is made of, the role must be able to read.
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                          WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = x.indexrelid
                            AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = x.indrelid AND d.refobjsubid > 0
                            AND NOT pg_catalog.has_column_privilege(x.indrelid, d.refobjsubid::pg_catalog.int2, 'SELECT')))::text AS indexes,
       (SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname = 'vector') AS version,
       pg_catalog.current_setting('default_text_search_config') AS language
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
WHERE c.relname = $2
  AND ($1::text IS NULL AND pg_catalog.pg_table_is_visible(c.oid) OR n.nspname = $1)
  AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND COALESCE(n.nspname::text = ANY (NULLIF(pg_catalog.current_setting('mcp.schemas', true), '')::pg_catalog.text[]), true)
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
  AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT')
