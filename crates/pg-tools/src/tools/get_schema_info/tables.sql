-- One row for each relation that the role may read: what it is, and its parts as JSON.
-- $1 schema, $2 table, $3 only tables with vector columns, $4 text to look for,
-- $5 whether the parts are wanted however many relations there are, $6 how many relations have their parts at most otherwise
WITH relation AS (
    SELECT c.oid, n.nspname, c.relname, c.relkind, c.reltuples,
           pg_catalog.obj_description(c.oid, 'pg_class') AS comment
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND NOT c.relispartition
      AND n.nspname <> 'information_schema'
      AND n.nspname !~ '^pg_'
      AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
      AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT')
      AND ($1::text IS NULL OR n.nspname = $1)
      AND ($2::text IS NULL OR c.relname = $2)
), filtered AS (
    SELECT r.*, pg_catalog.count(*) OVER () AS total
    FROM relation r
    WHERE (NOT $3::boolean OR EXISTS (
              SELECT FROM pg_catalog.pg_attribute a
              JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
              WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
                AND t.typname IN ('vector', 'halfvec', 'sparsevec')))
      AND ($4::text IS NULL
           OR pg_catalog.strpos(pg_catalog.lower(r.relname::text || ' ' || COALESCE(r.comment, '')), pg_catalog.lower($4)) > 0
           OR EXISTS (
              SELECT FROM pg_catalog.pg_attribute a
              WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
                AND pg_catalog.strpos(
                      pg_catalog.lower(a.attname::text || ' ' || COALESCE(pg_catalog.col_description(a.attrelid, a.attnum), '')),
                      pg_catalog.lower($4)) > 0))
)
SELECT f.nspname::text AS schema,
       f.relname::text AS name,
       CASE f.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
                      WHEN 'm' THEN 'materialized view' ELSE 'foreign table' END AS kind,
       f.comment,
       CASE WHEN f.relkind IN ('r', 'm', 'p', 'f') AND f.reltuples >= 0 THEN f.reltuples::pg_catalog.int8 END AS row_estimate,
       CASE WHEN f.relkind IN ('r', 'm') THEN pg_catalog.pg_total_relation_size(f.oid)
            WHEN f.relkind = 'p' THEN (SELECT pg_catalog.sum(pg_catalog.pg_total_relation_size(p.relid))::pg_catalog.int8
                                       FROM pg_catalog.pg_partition_tree(f.oid) p)
       END AS size_bytes,
       CASE WHEN f.relkind = 'p' THEN (SELECT pg_catalog.count(*) FROM pg_catalog.pg_partition_tree(f.oid) p WHERE p.isleaf) END AS partitions,
       parts.columns, parts.constraints, parts.indexes
FROM filtered f
LEFT JOIN LATERAL (
    SELECT
      (SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
                  'name', a.attname,
                  'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
                  'nullable', NOT a.attnotnull,
                  'default', CASE WHEN a.attgenerated = '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END,
                  'generated', CASE WHEN a.attgenerated <> '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END,
                  'identity', CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END,
                  'comment', pg_catalog.col_description(a.attrelid, a.attnum),
                  'labels', CASE WHEN t.typtype = 'e' THEN (
                      SELECT pg_catalog.json_agg(e.enumlabel ORDER BY e.enumsortorder)
                      FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid) END
                ) ORDER BY a.attnum)::text
       FROM pg_catalog.pg_attribute a
       JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
       LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
       WHERE a.attrelid = f.oid AND a.attnum > 0 AND NOT a.attisdropped
         AND pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT')) AS columns,
      (SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
                  'name', k.conname,
                  'kind', CASE k.contype WHEN 'p' THEN 'primary key' WHEN 'u' THEN 'unique' WHEN 'f' THEN 'foreign key'
                                         WHEN 'x' THEN 'exclusion' ELSE 'check' END,
                  'columns', (SELECT pg_catalog.json_agg(a.attname ORDER BY p.place)
                              FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY p(attnum, place)
                              JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = p.attnum),
                  'references', CASE WHEN k.contype = 'f' THEN pg_catalog.json_build_object(
                      'schema', (SELECT n.nspname FROM pg_catalog.pg_class c
                                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = k.confrelid),
                      'table', (SELECT c.relname FROM pg_catalog.pg_class c WHERE c.oid = k.confrelid),
                      'columns', (SELECT pg_catalog.json_agg(a.attname ORDER BY p.place)
                                  FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY p(attnum, place)
                                  JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = p.attnum)) END,
                  'definition', CASE WHEN k.contype IN ('c', 'x') THEN pg_catalog.pg_get_constraintdef(k.oid) END
                ) ORDER BY k.contype, k.conname)::text
       FROM pg_catalog.pg_constraint k
       WHERE k.conrelid = f.oid AND k.contype IN ('p', 'u', 'f', 'c', 'x')) AS constraints,
      (SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
                  'name', i.relname, 'definition', pg_catalog.pg_get_indexdef(x.indexrelid)) ORDER BY i.relname)::text
       FROM pg_catalog.pg_index x
       JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
       WHERE x.indrelid = f.oid AND NOT x.indisprimary) AS indexes
) parts ON $5::boolean OR f.total <= $6::pg_catalog.int8
ORDER BY f.nspname, f.relname
