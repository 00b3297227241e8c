-- One row for each relation that the role may read: what it is, and its parts as JSON.
-- $1 schema, $2 table, $3 only tables with vector columns, $4 text to look for,
-- $5 whether somebody chose, $6 of how many relations the parts are shown where nobody did,
-- $7 about how many columns are shown where somebody did, $8 how many relations are shown at most, $9 of how many schemas it is told, $10 how many children are named
WITH RECURSIVE locked AS MATERIALIZED (
    -- What others have locked against everybody, or are waiting to: sizes and expressions of it would be waited for.
    SELECT DISTINCT l.relation AS oid FROM pg_catalog.pg_locks l
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.pid <> pg_catalog.pg_backend_pid()
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
), busy AS MATERIALIZED (
    SELECT l.oid FROM locked l
    UNION SELECT x.indrelid FROM locked l JOIN pg_catalog.pg_index x ON x.indexrelid = l.oid
    UNION SELECT c.oid FROM locked l JOIN pg_catalog.pg_class c ON c.reltoastrelid = l.oid
), held AS MATERIALIZED (
    -- A partitioned table is as large as its partitions are.
    SELECT b.oid FROM busy b
    UNION SELECT a.relid FROM busy b CROSS JOIN LATERAL pg_catalog.pg_partition_ancestors(b.oid) a(relid)
), relation AS (
    SELECT c.oid, n.nspname, c.relname, c.relkind, c.reltuples, c.relnatts, c.relispartition, c.relpartbound, c.relispopulated, s.description AS comment,
           pg_catalog.has_table_privilege(c.oid, 'SELECT') AS is_whole,
           EXISTS (SELECT FROM held h WHERE h.oid = c.oid) AS is_held
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_description s
           ON s.objoid = c.oid AND s.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND s.objsubid = 0
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND COALESCE(n.nspname::text = ANY (NULLIF(pg_catalog.current_setting('mcp.schemas', true), '')::pg_catalog.text[]), true)
      -- A partition is told of by whoever names it, which a table of hundreds of them need not be.
      AND (NOT c.relispartition OR $2::text IS NOT NULL)
      AND n.nspname <> 'information_schema'
      AND n.nspname !~ '^pg_'
      AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
      AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT')
      AND ($1::text IS NULL OR n.nspname = $1)
      AND ($2::text IS NULL OR c.relname = $2)
), fitting AS (
    SELECT r.* FROM relation r
    WHERE (NOT $3::boolean OR EXISTS (
              SELECT FROM pg_catalog.pg_attribute a
              JOIN pg_catalog.pg_type d ON d.oid = a.atttypid
              JOIN pg_catalog.pg_type t ON t.oid = COALESCE(NULLIF(d.typbasetype, 0), d.oid)
              WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
                AND t.typname IN ('vector', 'halfvec', 'sparsevec')))
      AND ($4::text IS NULL
           OR pg_catalog.strpos(pg_catalog.lower(r.relname::text || ' ' || COALESCE(r.comment, '')), pg_catalog.lower($4)) > 0
           OR EXISTS (
              SELECT FROM pg_catalog.pg_attribute a
              LEFT JOIN pg_catalog.pg_description s
                     ON s.objoid = a.attrelid AND s.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND s.objsubid = a.attnum
              WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
                AND (r.is_whole OR pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT'))
                AND pg_catalog.strpos(pg_catalog.lower(a.attname::text || ' ' || COALESCE(s.description, '')), pg_catalog.lower($4)) > 0))
), found AS (
    SELECT r.*, pg_catalog.count(*) OVER () AS total,
           pg_catalog.sum(r.relnatts) OVER (ORDER BY r.nspname, r.relname ROWS UNBOUNDED PRECEDING) - r.relnatts AS columns_before
    FROM fitting r
    ORDER BY r.nspname, r.relname
    LIMIT $8::pg_catalog.int8
), shown AS (
    SELECT f.oid, f.is_whole, f.is_held FROM found f
    WHERE f.total <= $6::pg_catalog.int8 OR $5::boolean AND f.columns_before < $7::pg_catalog.int8
), kin AS (
    SELECT f.oid, i.inhparent AS other, true AS is_parent, i.inhseqno AS place
    FROM shown f JOIN pg_catalog.pg_inherits i ON i.inhrelid = f.oid
    UNION ALL
    SELECT f.oid, i.inhrelid, false, 0 FROM shown f JOIN pg_catalog.pg_inherits i ON i.inhparent = f.oid
), relative AS (
    -- Of those that the role may not read there are no names. Partitions are told of elsewhere.
    SELECT k.oid, k.is_parent, k.place,
           CASE WHEN pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT')
                 AND COALESCE(n.nspname::text = ANY (NULLIF(pg_catalog.current_setting('mcp.schemas', true), '')::pg_catalog.text[]), true)
                THEN pg_catalog.format('%I.%I', n.nspname, c.relname) END AS name
    FROM kin k
    JOIN pg_catalog.pg_class c ON c.oid = k.other AND c.relkind <> 'p' AND NOT c.relispartition
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
), inheritance AS MATERIALIZED (
    SELECT r.oid,
           pg_catalog.json_agg(r.name ORDER BY r.place) FILTER (WHERE r.is_parent AND r.name IS NOT NULL)::text AS parents,
           pg_catalog.array_to_json((pg_catalog.array_agg(r.name ORDER BY r.name)
               FILTER (WHERE NOT r.is_parent AND r.name IS NOT NULL))[:$10::pg_catalog.int4])::text AS children,
           NULLIF(pg_catalog.count(*) FILTER (WHERE NOT r.is_parent), 0) AS child_count
    FROM relative r
    GROUP BY r.oid
), layer AS (
    -- The types of the columns that somebody made, and what those are made of: 10,000 is the first that PostgreSQL's own
    -- scripts may have.
    SELECT DISTINCT a.atttypid AS type, a.atttypid AS oid, 0 AS depth
    FROM shown f
    JOIN pg_catalog.pg_attribute a ON a.attrelid = f.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE a.atttypid >= 10000
    UNION ALL
    SELECT l.type, CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.typelem END, l.depth + 1
    FROM layer l
    JOIN pg_catalog.pg_type t ON t.oid = l.oid
    WHERE t.typtype = 'd' OR t.typcategory = 'A'
), type AS MATERIALIZED (
    SELECT l.type,
           (SELECT pg_catalog.json_agg(e.enumlabel ORDER BY e.enumsortorder)::text
            FROM pg_catalog.pg_enum e WHERE e.enumtypid = ANY (l.oids)) AS labels,
           (SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
                'name', pg_catalog.format_type(d.oid, NULL),
                'type', pg_catalog.format_type(d.typbasetype, d.typtypmod),
                'not_null', CASE WHEN d.typnotnull THEN true END,
                'default', d.typdefault,
                'checks', (SELECT pg_catalog.json_agg(pg_catalog.pg_get_constraintdef(k.oid) ORDER BY k.conname)
                           FROM pg_catalog.pg_constraint k WHERE k.contypid = d.oid AND k.contype = 'c')
              ) ORDER BY pg_catalog.array_position(l.oids, d.oid))::text
            FROM pg_catalog.pg_type d WHERE d.oid = ANY (l.oids) AND d.typtype = 'd') AS domains,
           -- What columns a table has that is a type as well, the role may have no right to know.
           (SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
                'name', a.attname, 'type', pg_catalog.format_type(a.atttypid, a.atttypmod)) ORDER BY a.attnum)::text
            FROM pg_catalog.pg_type t
            JOIN pg_catalog.pg_class c ON c.oid = t.typrelid AND c.relkind = 'c'
            JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            WHERE t.oid = ANY (l.oids)) AS fields
    FROM (SELECT l.type, pg_catalog.array_agg(l.oid ORDER BY l.depth) AS oids FROM layer l GROUP BY l.type) l
), unproven AS MATERIALIZED (
    -- PostgreSQL 18 keeps what is not null as constraints, too.
    SELECT k.conrelid, k.conkey[1] AS attnum
    FROM shown f
    JOIN pg_catalog.pg_constraint k ON k.conrelid = f.oid AND k.contype = 'n' AND NOT k.convalidated
), columns AS MATERIALIZED (
    -- As arrays without names or order, which would take half of the time; the reader knows the places.
    SELECT a.attrelid, pg_catalog.array_to_json(pg_catalog.array_agg(ARRAY[
               a.attnum::text,
               a.attname::text,
               pg_catalog.format_type(a.atttypid, a.atttypmod),
               CASE WHEN u.attnum IS NOT NULL THEN 'not valid' WHEN a.attnotnull THEN 'not null' END,
               CASE WHEN a.atthasdef AND NOT f.is_held THEN (
                   SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid)
                   FROM pg_catalog.pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum) END,
               CASE WHEN a.attgenerated <> '' THEN 'generated' WHEN a.attidentity = 'a' THEN 'always'
                    WHEN a.attidentity = 'd' THEN 'by default' END,
               t.labels,
               t.domains,
               t.fields
             ]))::text AS list
    FROM shown f
    JOIN pg_catalog.pg_attribute a ON a.attrelid = f.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN type t ON t.type = a.atttypid
    LEFT JOIN unproven u ON u.conrelid = a.attrelid AND u.attnum = a.attnum
    WHERE f.is_whole OR pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT')
    GROUP BY a.attrelid
), constraints AS MATERIALIZED (
    SELECT k.conrelid, pg_catalog.json_agg(pg_catalog.json_build_object(
               'name', k.conname,
               'kind', CASE k.contype WHEN 'p' THEN 'primary key' WHEN 'u' THEN 'unique' WHEN 'f' THEN 'foreign key'
                                      WHEN 'x' THEN 'exclusion' ELSE 'check' END,
               'columns', (SELECT pg_catalog.json_agg((
                               SELECT a.attname FROM pg_catalog.pg_attribute a WHERE a.attrelid = k.conrelid AND a.attnum = p.attnum) ORDER BY p.place)
                           FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY p(attnum, place)),
               'references', CASE WHEN k.contype = 'f' THEN pg_catalog.json_build_object(
                   'schema', (SELECT n.nspname FROM pg_catalog.pg_class c
                              JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = k.confrelid),
                   'table', (SELECT c.relname FROM pg_catalog.pg_class c WHERE c.oid = k.confrelid),
                   'columns', (SELECT pg_catalog.json_agg((
                               SELECT a.attname FROM pg_catalog.pg_attribute a WHERE a.attrelid = k.confrelid AND a.attnum = p.attnum) ORDER BY p.place)
                           FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY p(attnum, place))) END,
               'on_delete', CASE k.confdeltype WHEN 'r' THEN 'RESTRICT' WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' WHEN 'd' THEN 'SET DEFAULT' END,
               'on_update', CASE k.confupdtype WHEN 'r' THEN 'RESTRICT' WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' WHEN 'd' THEN 'SET DEFAULT' END,
               'deferrable', CASE WHEN k.condeferred THEN 'INITIALLY DEFERRED' WHEN k.condeferrable THEN 'DEFERRABLE' END,
               'definition', CASE WHEN k.contype IN ('c', 'x') AND NOT f.is_held THEN pg_catalog.pg_get_constraintdef(k.oid) END,
               -- Of a column that versions before PostgreSQL 18 do not have.
               'unchecked', CASE WHEN k.convalidated THEN NULL
                                 WHEN pg_catalog.to_jsonb(k) ->> 'conenforced' = 'false' THEN 'NOT ENFORCED' ELSE 'NOT VALID' END,
               'period', CASE WHEN k.contype IN ('p', 'u') AND k.conexclop IS NOT NULL
                                OR k.contype = 'f' AND pg_catalog.to_jsonb(k) ->> 'conperiod' = 'true' THEN true END
             ) ORDER BY k.contype, k.conname)::text AS list
    FROM shown f
    JOIN pg_catalog.pg_constraint k ON k.conrelid = f.oid AND k.contype IN ('p', 'u', 'f', 'c', 'x')
    -- One that names a column that the role may not read, or another schema's table, would tell of it.
    WHERE (f.is_whole OR NOT EXISTS (
             SELECT FROM pg_catalog.unnest(k.conkey) own(attnum)
             WHERE NOT pg_catalog.has_column_privilege(k.conrelid, own.attnum, 'SELECT')))
      AND (k.contype <> 'f' OR pg_catalog.has_table_privilege(k.confrelid, 'SELECT')
           OR NOT EXISTS (
             SELECT FROM pg_catalog.unnest(k.confkey) other(attnum)
             WHERE NOT pg_catalog.has_column_privilege(k.confrelid, other.attnum, 'SELECT')))
      AND (k.contype <> 'f' OR EXISTS (
             SELECT FROM pg_catalog.pg_class c
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE c.oid = k.confrelid AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
               AND COALESCE(n.nspname::text = ANY (NULLIF(pg_catalog.current_setting('mcp.schemas', true), '')::pg_catalog.text[]), true)))
    GROUP BY k.conrelid
), indexes AS MATERIALIZED (
    SELECT x.indrelid, pg_catalog.json_agg(pg_catalog.json_build_object(
               'name', i.relname, 'definition', CASE WHEN NOT f.is_held THEN pg_catalog.pg_get_indexdef(x.indexrelid) END,
               'invalid', CASE WHEN NOT x.indisvalid THEN true END) ORDER BY i.relname)::text AS list
    FROM shown f
    JOIN pg_catalog.pg_index x ON x.indrelid = f.oid AND NOT x.indisprimary
    JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
    WHERE f.is_whole OR NOT EXISTS (
            SELECT FROM pg_catalog.unnest(x.indkey) own(attnum)
            WHERE own.attnum <> 0 AND NOT pg_catalog.has_column_privilege(x.indrelid, own.attnum, 'SELECT')
            UNION ALL
            SELECT FROM pg_catalog.pg_depend d
            WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = x.indexrelid
              AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = x.indrelid
              AND d.refobjsubid > 0
              AND NOT pg_catalog.has_column_privilege(x.indrelid, d.refobjsubid::pg_catalog.int2, 'SELECT'))
    GROUP BY x.indrelid
)
SELECT f.nspname::text AS schema,
       f.relname::text AS name,
       CASE f.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
                      WHEN 'm' THEN 'materialized view' ELSE 'foreign table' END AS kind,
       f.comment,
       f.total,
       -- All of them, also where not all tables are listed.
       (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(c.nspname, c.tables))::text
        FROM (SELECT r.nspname, pg_catalog.count(*) AS tables FROM fitting r GROUP BY r.nspname
              ORDER BY pg_catalog.count(*) DESC, r.nspname LIMIT $9::pg_catalog.int8) c) AS schemas,
       f.is_held,
       CASE WHEN f.relkind = 'm' THEN NOT f.relispopulated END AS is_unpopulated,
       -- Without policies for the role there are no rows for it at all.
       CASE WHEN f.relkind IN ('r', 'p') THEN pg_catalog.row_security_active(f.oid) END AS has_policies,
       CASE WHEN f.relkind IN ('r', 'm', 'p', 'f') AND f.reltuples >= 0 THEN f.reltuples::pg_catalog.int8
            WHEN f.relkind = 'p' AND NOT f.is_held THEN (SELECT pg_catalog.sum(l.reltuples)::pg_catalog.int8
                                       FROM pg_catalog.pg_partition_tree(f.oid) p
                                       JOIN pg_catalog.pg_class l ON l.oid = p.relid
                                       WHERE p.isleaf AND l.reltuples >= 0)
       END AS row_estimate,
       CASE WHEN f.is_held THEN NULL
            WHEN f.relkind IN ('r', 'm') THEN pg_catalog.pg_total_relation_size(f.oid)
            WHEN f.relkind = 'p' THEN (SELECT pg_catalog.sum(pg_catalog.pg_total_relation_size(p.relid))::pg_catalog.int8
                                       FROM pg_catalog.pg_partition_tree(f.oid) p)
       END AS size_bytes,
       CASE WHEN f.relkind = 'p' AND NOT f.is_held THEN (SELECT pg_catalog.count(*) FROM pg_catalog.pg_partition_tree(f.oid) p WHERE p.isleaf) END AS partitions,
       -- Both name columns, which the role may have to read.
       CASE WHEN s.oid IS NOT NULL AND f.is_whole AND NOT f.is_held AND f.relkind = 'p' THEN pg_catalog.pg_get_partkeydef(f.oid) END AS partitioned_by,
       CASE WHEN s.oid IS NOT NULL AND f.is_whole AND NOT f.is_held AND f.relispartition THEN (
           SELECT pg_catalog.format('%I.%I %s', n.nspname, c.relname, pg_catalog.pg_get_expr(f.relpartbound, f.oid))
           FROM pg_catalog.pg_inherits i
           JOIN pg_catalog.pg_class c ON c.oid = i.inhparent
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           WHERE i.inhrelid = f.oid
             AND COALESCE(n.nspname::text = ANY (NULLIF(pg_catalog.current_setting('mcp.schemas', true), '')::pg_catalog.text[]), true)) END AS partition_of,
       h.parents, h.children, h.child_count,
       CASE WHEN s.oid IS NOT NULL THEN COALESCE(c.list, '[]') END AS columns,
       CASE WHEN s.oid IS NOT NULL THEN (
           SELECT pg_catalog.json_object_agg(o.objsubid, o.description)::text FROM pg_catalog.pg_description o
           WHERE o.objoid = f.oid AND o.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND o.objsubid > 0) END AS comments,
       k.list AS constraints,
       x.list AS indexes
FROM found f
LEFT JOIN shown s ON s.oid = f.oid
LEFT JOIN inheritance h ON h.oid = f.oid
LEFT JOIN columns c ON c.attrelid = f.oid
LEFT JOIN constraints k ON k.conrelid = f.oid
LEFT JOIN indexes x ON x.indrelid = f.oid
ORDER BY f.nspname, f.relname
