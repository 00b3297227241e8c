-- Indexes that another one makes superfluous: the same, or the beginning of a longer one. That which is kept is named
-- with each, and is superfluous for none.
WITH parts AS (
    SELECT COALESCE(pg_catalog.pg_partition_root(oid)::pg_catalog.oid, oid) AS indexrelid, pg_catalog.array_agg(oid) AS parts,
           pg_catalog.sum(pg_catalog.pg_stat_get_numscans(oid)) AS scans
    FROM pg_catalog.pg_class WHERE relkind = 'i' GROUP BY 1
), index AS (
    SELECT x.*, i.relname, n.nspname, i.relam, i.relkind, i.relispartition, p.parts, COALESCE(p.scans, 0) AS scans,
           pg_catalog.pg_get_expr(x.indexprs, x.indrelid) AS expressions,
           pg_catalog.pg_get_expr(x.indpred, x.indrelid) AS predicate,
           x.indkey::pg_catalog.text || ' ' AS keys,
           x.indclass::pg_catalog.text || ' ' AS classes,
           x.indcollation::pg_catalog.text || ' ' AS collations,
           x.indoption::pg_catalog.text || ' ' AS options,
           (SELECT pg_catalog.string_agg(COALESCE(a.attoptions::pg_catalog.text, '') || ' ', '' ORDER BY a.attnum)
            FROM pg_catalog.pg_attribute a WHERE a.attrelid = x.indexrelid AND a.attnum <= x.indnkeyatts) AS parameters,
           -- These change how an index is filled and not what it finds.
           ARRAY(SELECT option FROM pg_catalog.unnest(i.reloptions) option
                 WHERE option !~ '^(fillfactor|deduplicate_items|fastupdate|gin_pending_list_limit|buffering|autosummarize)='
                 ORDER BY option) AS storage,
           -- Before PostgreSQL 15 there is no such column.
           pg_catalog.to_jsonb(x) ->> 'indnullsnotdistinct' AS nulls,
           -- A foreign key names the index that it relies on as well.
           x.indisreplident OR i.relispartition
               OR EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = x.indexrelid) AS is_needed
    FROM pg_catalog.pg_index x
    JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace
    LEFT JOIN parts p ON p.indexrelid = x.indexrelid
    WHERE x.indisvalid AND i.relkind IN ('i', 'I') AND n.nspname !~ '^pg_'
), superfluous AS (
    SELECT DISTINCT ON (a.indexrelid) a.*, b.indexrelid AS kept, b.relname AS kept_name, a.keys = b.keys AS is_same
    FROM index a
    JOIN index b ON b.indrelid = a.indrelid AND b.indexrelid <> a.indexrelid AND b.relam = a.relam AND b.storage = a.storage
                AND b.expressions IS NOT DISTINCT FROM a.expressions AND b.predicate IS NOT DISTINCT FROM a.predicate
    WHERE NOT a.is_needed
      AND (NOT a.indisunique
           OR b.indisunique AND b.indimmediate AND b.indnkeyatts = a.indnkeyatts AND b.nulls IS NOT DISTINCT FROM a.nulls)
      AND (a.keys = b.keys AND a.classes = b.classes AND a.collations = b.collations AND a.options = b.options
               AND a.parameters = b.parameters
               -- Of two that are the same the one that is used more stays, or else the older one, unless one has to.
               AND (b.is_needed OR b.indisunique AND NOT a.indisunique OR (b.scans, a.indexrelid) > (a.scans, b.indexrelid))
           OR a.relam = (SELECT oid FROM pg_catalog.pg_am WHERE amname = 'btree') AND a.expressions IS NULL
               AND pg_catalog.length(a.keys) < pg_catalog.length(b.keys)
               AND pg_catalog.starts_with(b.keys, a.keys) AND pg_catalog.starts_with(b.classes, a.classes)
               AND pg_catalog.starts_with(b.collations, a.collations) AND pg_catalog.starts_with(b.options, a.options)
               AND pg_catalog.starts_with(b.parameters, a.parameters)
               AND a.indnkeyatts = a.indnatts AND a.indnkeyatts <= b.indnkeyatts)
    ORDER BY a.indexrelid, pg_catalog.length(b.keys) DESC, b.is_needed DESC, b.indisunique DESC, b.scans DESC, b.indexrelid
)
