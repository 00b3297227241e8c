//! Everything that a statement could change, in one look.

use std::collections::BTreeMap;
use std::path::Path;

use end_to_end::{Postgres, Sql};
use tempfile::TempDir;

/// What is looked at: a name, and a query that returns one text.
#[rustfmt::skip]
const PARTS: &[(&str, &str)] = &[
    ("a table's rows", "select md5(string_agg(t::text, ',' order by id)) from target.plain t"),
    ("the shop", "select count(*) || md5(string_agg(t::text, ',' order by id)) from shop.reviews t"),
    ("an unlogged table", "select count(*)::text from target.unlogged"),
    ("a sequence", "select last_value || is_called::text from target.counter"),
    ("relations", "select count(*) || md5(string_agg(format('%s %s %s %s %s %s', oid, relname, relnamespace, relowner, relacl, relfilenode), ',' order by oid)) from pg_class where relnamespace not in (select oid from pg_namespace where nspname like 'pg_temp%' or nspname like 'pg_toast%')"),
    ("columns", "select count(*)::text from pg_attribute where attrelid in (select oid from pg_class where relnamespace in ('shop'::regnamespace, 'target'::regnamespace, 'public'::regnamespace))"),
    ("functions", "select count(*) || md5(string_agg(format('%s %s %s %s', oid, proname, proowner, prosrc), ',' order by oid)) from pg_proc"),
    ("types", "select count(*)::text from pg_type where typnamespace::regnamespace::text not like 'pg_t%'"),
    ("schemas", "select md5(string_agg(format('%s %s %s', nspname, nspowner, nspacl), ',' order by oid)) from pg_namespace where nspname not like 'pg_temp%' and nspname not like 'pg_toast_temp%'"),
    ("comments", "select count(*) || md5(string_agg(description, ',' order by objoid, classoid, objsubid)) from pg_description"),
    ("statistics objects", "select count(*)::text from pg_statistic_ext"),
    ("triggers, rules, policies", "select (select count(*) from pg_trigger) || '/' || (select count(*) from pg_rewrite) || '/' || (select count(*) from pg_policy)"),
    ("event triggers", "select count(*)::text from pg_event_trigger"),
    ("extensions", "select string_agg(extname || extversion, ',' order by extname) from pg_extension"),
    ("languages, casts, operators", "select (select count(*) from pg_language) || '/' || (select count(*) from pg_cast) || '/' || (select count(*) from pg_operator)"),
    ("collations", "select count(*)::text from pg_collation"),
    ("foreign servers and mappings", "select (select count(*) from pg_foreign_server) || '/' || (select count(*) from pg_user_mapping)"),
    ("publications and subscriptions", "select (select count(*) from pg_publication) || '/' || (select count(*) from pg_subscription)"),
    ("default privileges", "select count(*)::text from pg_default_acl"),
    ("large objects", "select (select count(*) || md5(string_agg(format('%s %s %s', oid, lomowner, lomacl), ',' order by oid)) from pg_largeobject_metadata) || (select md5(string_agg(loid || encode(data, 'hex'), ',' order by loid, pageno)) from pg_largeobject)"),
    ("two-phase transactions", "select count(*)::text from pg_prepared_xacts where database = current_database()"),
    ("replication slots", "select count(*)::text from pg_replication_slots"),
    ("replication origins", "select count(*)::text from pg_replication_origin"),
    ("advisory locks", "select count(*)::text from pg_locks l join pg_database d on d.oid = l.database where locktype = 'advisory' and datname = current_database()"),
    ("table locks of others", "select count(*)::text from pg_locks l join pg_database d on d.oid = l.database join pg_stat_activity a on a.pid = l.pid where d.datname = current_database() and locktype = 'relation' and mode not in ('AccessShareLock') and l.pid <> pg_backend_pid() and backend_type <> 'autovacuum worker'"),
    ("open transactions", "select count(*)::text from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and application_name like 'mcp/%' and state like 'idle in transaction%'"),
    ("settings of roles and databases", "select count(*) || coalesce(md5(string_agg(setconfig::text, ',' order by setdatabase, setrole)), '') from pg_db_role_setting where setdatabase = (select oid from pg_database where datname = current_database()) or setrole in (select oid from pg_roles where rolname like current_database() || '%')"),
    ("this run's roles", "select count(*) || md5(string_agg(a::text, ',' order by oid)) from pg_authid a where rolname like current_database() || '%'"),
    ("planted roles", "select count(*)::text from pg_authid where rolname like 'hacked%'"),
    ("memberships", "select count(*)::text from pg_auth_members where roleid::regrole::text like '%' || current_database() || '%' or member::regrole::text like '%' || current_database() || '%'"),
    ("this database", "select md5(format('%s %s %s %s', datdba, datacl, datconnlimit, datallowconn)) from pg_database where datname = current_database()"),
    ("planted databases", "select count(*)::text from pg_database where datname like 'hacked%'"),
    ("tablespaces", "select count(*)::text from pg_tablespace"),
    ("configuration files", "select count(*) || coalesce(md5(string_agg(name || setting, ',' order by seqno)), '') from pg_file_settings"),
    ("authentication rules", "select count(*) || md5(string_agg(h::text, ',' order by line_number)) from pg_hba_file_rules h"),
    ("the time of the last reload", "select pg_conf_load_time()::text"),
    ("the time of the start", "select pg_postmaster_start_time()::text"),
    ("recovery state", "select pg_is_in_recovery()::text"),
    ("backups", "select count(*)::text from pg_stat_progress_basebackup"),
    ("time of statistics reset", "select coalesce(stats_reset::text, 'never') from pg_stat_database where datname = current_database()"),
    ("pending entries of an index", "select pg_relation_size('target.gin_words')::text"),
];

/// Takes fingerprints.
pub(crate) struct Fingerprint {
    folder: TempDir,
    query: String,
    /// A session that an attack may try to end.
    victim: Sql,
}

/// The result of one look.
pub(crate) struct Print(BTreeMap<&'static str, String>);

impl Fingerprint {
    pub(crate) fn new(folder: TempDir, database: &str) -> Self {
        let victim = Postgres::shared().superuser(database);
        let parts: Vec<String> = PARTS.iter().map(|(_, sql)| format!("({sql})")).collect();
        Self {
            folder,
            query: format!("select {}", parts.join(", ")),
            victim,
        }
    }

    /// A folder in which no file may appear.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn victim_pid(&self) -> String {
        self.victim.value("select pg_backend_pid()")
    }

    pub(crate) fn take(&self, observer: &Sql) -> Print {
        let row = observer
            .rows(&self.query)
            .unwrap_or_else(|error| panic!("{error}"))
            .remove(0);
        let mut parts: BTreeMap<_, _> = PARTS
            .iter()
            .map(|(name, _)| *name)
            .zip(row.into_iter().map(Option::unwrap_or_default))
            .collect();
        let files: Vec<_> = std::fs::read_dir(self.folder())
            .expect("the folder is ours")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        parts.insert("files", format!("{files:?}"));
        let victim = self
            .victim
            .rows("select 'alive'")
            .map_or("dead", |_| "alive");
        parts.insert("another session", victim.to_owned());
        Print(parts)
    }
}

impl Print {
    pub(crate) fn differences<'a>(
        &'a self,
        after: &'a Self,
    ) -> impl Iterator<Item = &'static str> + 'a {
        self.0
            .iter()
            .filter(|(name, value)| after.0.get(*name) != Some(value))
            .map(|(name, _)| *name)
    }
}
