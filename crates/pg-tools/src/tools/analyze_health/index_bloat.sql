-- B-tree indexes that are much larger than their rows need: a guess from the widths in pg_stats.
WITH index AS (
    SELECT x.indexrelid, x.indrelid, i.relpages, i.reltuples, n.nspname, i.relname,
           -- A line pointer, a header and what alignment adds, before the values. Where the width of one is not known,
           -- as without ANALYZE or the right to read the column, nothing is guessed.
           16 + (SELECT CASE WHEN pg_catalog.bool_and(w.width IS NOT NULL) THEN pg_catalog.sum(w.width) END
                 FROM pg_catalog.unnest(x.indkey) k(attnum)
                 JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum
                 LEFT JOIN pg_catalog.pg_stats s
                        ON s.schemaname = tn.nspname AND s.tablename = t.relname AND s.attname = a.attname AND NOT s.inherited
                 CROSS JOIN LATERAL (SELECT COALESCE(s.avg_width, CASE WHEN a.attlen > 0 THEN a.attlen END)) w(width)) AS width,
           -- Space that was asked for is there again after REINDEX.
           COALESCE((SELECT option_value::pg_catalog.float8 FROM pg_catalog.pg_options_to_table(i.reloptions) WHERE option_name = 'fillfactor'), 90) / 100 AS fill
    FROM pg_catalog.pg_index x
    JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace
    JOIN pg_catalog.pg_class t ON t.oid = x.indrelid
    JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
    JOIN pg_catalog.pg_am m ON m.oid = i.relam
    WHERE m.amname = 'btree' AND x.indisvalid AND i.relkind = 'i' AND i.reltuples >= 0 AND n.nspname !~ '^pg_'
      -- The width of an expression is not known.
      AND 0 <> ALL (x.indkey::pg_catalog.int2[])
), guessed AS (
    SELECT *, pg_catalog.current_setting('block_size')::pg_catalog.float8 AS block,
           pg_catalog.ceil(reltuples * width / (fill * (pg_catalog.current_setting('block_size')::pg_catalog.float8 - 40))) + 2 AS needed
    FROM index
)
SELECT CASE WHEN (relpages - needed) * block > 1073741824 THEN 'warning' ELSE 'info' END AS severity,
       pg_catalog.format('%I.%I', nspname, relname) AS subject,
       pg_catalog.format('about %s of its %s are empty',
                         pg_catalog.pg_size_pretty(((relpages - needed) * block)::pg_catalog.int8),
                         pg_catalog.pg_size_pretty((relpages * block)::pg_catalog.int8)) AS finding,
       pg_catalog.format('REINDEX INDEX CONCURRENTLY %I.%I', nspname, relname) AS next_step
FROM guessed
WHERE relpages > 2 * needed AND (relpages - needed) * block > 16777216 * $1::pg_catalog.float8
ORDER BY relpages - needed DESC
