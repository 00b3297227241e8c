-- Indexes that another one makes superfluous: the same, or the beginning of a longer one.
WITH index AS (
    SELECT x.*, i.relname, n.nspname, i.relam, i.reltuples,
           pg_catalog.pg_get_expr(x.indexprs, x.indrelid) AS expressions,
           pg_catalog.pg_get_expr(x.indpred, x.indrelid) AS predicate,
           x.indkey::pg_catalog.text || ' ' AS keys,
           x.indclass::pg_catalog.text || ' ' AS classes,
           x.indcollation::pg_catalog.text || ' ' AS collations,
           x.indoption::pg_catalog.text || ' ' AS options,
           EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = x.indexrelid) AS is_constraint
    FROM pg_catalog.pg_index x
    JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace
    WHERE x.indisvalid AND i.relkind = 'i' AND n.nspname !~ '^pg_' AND NOT i.relispartition
)
SELECT 'warning' AS severity,
       pg_catalog.format('%I.%I', a.nspname, a.relname) AS subject,
       CASE WHEN a.keys = b.keys
            THEN pg_catalog.format('is the same as %I, and has %s', b.relname, pg_catalog.pg_size_pretty(pg_catalog.pg_relation_size(a.indexrelid)))
            ELSE pg_catalog.format('is the beginning of %I, and has %s', b.relname, pg_catalog.pg_size_pretty(pg_catalog.pg_relation_size(a.indexrelid)))
       END AS finding,
       pg_catalog.format('DROP INDEX CONCURRENTLY %I.%I', a.nspname, a.relname) AS next_step
FROM index a
JOIN index b ON b.indrelid = a.indrelid AND b.indexrelid <> a.indexrelid AND b.relam = a.relam
            AND b.expressions IS NOT DISTINCT FROM a.expressions AND b.predicate IS NOT DISTINCT FROM a.predicate
WHERE NOT a.indisunique AND NOT a.is_constraint AND $1::pg_catalog.float8 IS NOT NULL
  AND (a.keys = b.keys AND a.classes = b.classes AND a.collations = b.collations AND a.options = b.options
           -- Of two that are the same the younger one goes, unless the other may not.
           AND (b.indisunique OR b.is_constraint OR a.indexrelid > b.indexrelid)
       OR a.relam = (SELECT oid FROM pg_catalog.pg_am WHERE amname = 'btree') AND a.expressions IS NULL
           AND pg_catalog.length(a.keys) < pg_catalog.length(b.keys)
           AND pg_catalog.starts_with(b.keys, a.keys) AND pg_catalog.starts_with(b.classes, a.classes)
           AND pg_catalog.starts_with(b.collations, a.collations) AND pg_catalog.starts_with(b.options, a.options)
           AND a.indnkeyatts = a.indnatts AND a.indnkeyatts <= b.indnkeyatts)
ORDER BY pg_catalog.pg_relation_size(a.indexrelid) DESC, a.relname
