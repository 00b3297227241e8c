-- One row for each relation that the role may read, with what a question can say of it, as JSON.
-- $1 relations at most, $2 different texts of a column at most, $3 characters of such a text at most, $4 bytes of all at most
WITH relation AS (
    SELECT c.oid, n.nspname, c.relname, c.reltuples, pg_catalog.has_table_privilege(c.oid, 'SELECT') AS is_whole,
           -- With too many, those of the search path come first.
           pg_catalog.row_number() OVER (
               ORDER BY pg_catalog.pg_table_is_visible(c.oid) DESC, c.reltuples DESC, n.nspname, c.relname) AS place
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND NOT c.relispartition
      AND n.nspname <> 'information_schema'
      AND n.nspname !~ '^pg_'
      AND COALESCE(n.nspname::text = ANY (NULLIF(pg_catalog.current_setting('mcp.schemas', true), '')::pg_catalog.text[]), true)
      AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
      AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT')
    ORDER BY place
    LIMIT $1::pg_catalog.int8
), attribute AS (
    SELECT r.oid AS relation, r.nspname, r.relname, r.reltuples, a.attnum, a.attname, a.attnotnull,
           pg_catalog.format_type(a.atttypid, a.atttypmod) AS type_name,
           COALESCE(NULLIF(t.typbasetype, 0), t.oid) AS type,
           t.typbasetype <> 0 AS is_of_domain,
           s.description AS comment
    FROM relation r
    JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_description s
           ON s.objoid = r.oid AND s.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND s.objsubid = a.attnum
    WHERE r.is_whole OR pg_catalog.has_column_privilege(r.oid, a.attnum, 'SELECT')
), label AS (
    SELECT enumtypid AS type, pg_catalog.json_agg(enumlabel ORDER BY enumsortorder) AS labels
    FROM pg_catalog.pg_enum
    WHERE enumtypid IN (SELECT type FROM attribute)
    GROUP BY enumtypid
), held AS (
    -- What ANALYZE has found, of columns with few different texts: then it has found all of them.
    SELECT DISTINCT ON (s.schemaname, s.tablename, s.attname) s.schemaname, s.tablename, s.attname, s.n_distinct,
           COALESCE(s.most_common_vals::pg_catalog.text::pg_catalog.text[], '{}')
           || COALESCE(s.histogram_bounds::pg_catalog.text::pg_catalog.text[], '{}') AS texts
    FROM pg_catalog.pg_stats s
    JOIN attribute a ON a.nspname = s.schemaname AND a.relname = s.tablename AND a.attname = s.attname
    WHERE a.type IN ('pg_catalog.text'::pg_catalog.regtype, 'pg_catalog.varchar'::pg_catalog.regtype,
                     'pg_catalog.bpchar'::pg_catalog.regtype)
      AND CASE WHEN s.n_distinct > 0 THEN s.n_distinct ELSE -s.n_distinct * GREATEST(a.reltuples, 0) END <= $2::pg_catalog.int8
    ORDER BY s.schemaname, s.tablename, s.attname, s.inherited DESC
), described AS (
    SELECT a.relation,
           pg_catalog.json_agg(pg_catalog.json_strip_nulls(pg_catalog.json_build_object(
               'name', a.attname,
               'type', a.type_name,
               'kind', CASE
                   WHEN t.typtype = 'e' THEN 'enum'
                   WHEN t.oid = 'pg_catalog.bool'::pg_catalog.regtype THEN 'boolean'
                   WHEN t.oid IN ('pg_catalog.int2'::pg_catalog.regtype, 'pg_catalog.int4'::pg_catalog.regtype,
                                  'pg_catalog.int8'::pg_catalog.regtype, 'pg_catalog.float4'::pg_catalog.regtype,
                                  'pg_catalog.float8'::pg_catalog.regtype, 'pg_catalog.numeric'::pg_catalog.regtype) THEN 'number'
                   WHEN t.oid IN ('pg_catalog.date'::pg_catalog.regtype, 'pg_catalog.timestamp'::pg_catalog.regtype,
                                  'pg_catalog.timestamptz'::pg_catalog.regtype) THEN 'date'
                   WHEN t.oid IN ('pg_catalog.text'::pg_catalog.regtype, 'pg_catalog.varchar'::pg_catalog.regtype,
                                  'pg_catalog.bpchar'::pg_catalog.regtype) THEN 'text'
                   ELSE 'other' END,
               'nullable', NOT a.attnotnull,
               -- PostgreSQL finds no operator that compares a domain over an enum with a text.
               'needs_cast', CASE WHEN t.typtype = 'e' AND a.is_of_domain THEN true END,
               'comment', a.comment,
               'values', COALESCE(l.labels, CASE WHEN h.texts IS NOT NULL THEN (
                   SELECT pg_catalog.json_agg(DISTINCT text)
                   FROM pg_catalog.unnest(h.texts) AS text
                   WHERE pg_catalog.length(text) <= $3::pg_catalog.int8 AND text <> '') END)
           )) ORDER BY a.attnum)::pg_catalog.text AS columns
    FROM attribute a
    JOIN pg_catalog.pg_type t ON t.oid = a.type
    LEFT JOIN label l ON l.type = a.type
    LEFT JOIN held h ON h.schemaname = a.nspname AND h.tablename = a.relname AND h.attname = a.attname
    GROUP BY a.relation
), referring AS (
    SELECT k.conrelid AS relation,
           pg_catalog.json_agg(pg_catalog.json_build_object(
               'primary', k.contype = 'p',
               'columns', (SELECT pg_catalog.json_agg(a.attname ORDER BY p.place)
                           FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY p(attnum, place)
                           JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = p.attnum),
               'schema', n.nspname,
               'table', c.relname,
               'targets', (SELECT pg_catalog.json_agg(a.attname ORDER BY p.place)
                           FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY p(attnum, place)
                           JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = p.attnum)
           ) ORDER BY k.oid)::pg_catalog.text AS keys
    FROM pg_catalog.pg_constraint k
    LEFT JOIN pg_catalog.pg_class c ON c.oid = k.confrelid
    LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE k.contype IN ('p', 'f') AND k.conrelid IN (SELECT oid FROM relation)
    GROUP BY k.conrelid
), described_relation AS (
    SELECT r.nspname::pg_catalog.text AS schema,
           r.relname::pg_catalog.text AS name,
           r.place,
           pg_catalog.obj_description(r.oid, 'pg_class') AS comment,
           CASE WHEN r.reltuples >= 0 THEN r.reltuples::pg_catalog.int8 END AS row_estimate,
           d.columns,
           NOT r.is_whole AND EXISTS (
               SELECT FROM pg_catalog.pg_attribute a
               WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
                 AND NOT pg_catalog.has_column_privilege(r.oid, a.attnum, 'SELECT')) AS is_in_part,
           k.keys
    FROM relation r
    JOIN described d ON d.relation = r.oid
    LEFT JOIN referring k ON k.relation = r.oid
), summed AS (
    SELECT *, pg_catalog.sum(pg_catalog.octet_length(pg_catalog.concat(schema, name, comment, columns, keys))) OVER (ORDER BY place) AS bytes
    FROM described_relation
)
SELECT schema, name, comment, row_estimate, columns, is_in_part, keys
FROM summed
WHERE bytes <= $4::pg_catalog.int8
ORDER BY schema COLLATE pg_catalog."C", name COLLATE pg_catalog."C"
