//! Statements that leave something in a connection for the next call on it.
//!
//! PostgreSQL decides what a statement is by its first words. They are read strictly here, with only blanks between
//! them, so that no comment or escape can be taken for something other than what PostgreSQL takes it for. Whatever does
//! not have exactly one of these forms is none of them.

use crate::read_only::words;

/// A statement that runs in a session only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stateful<'a> {
    /// `CREATE TEMP TABLE ..`.
    CreateTable,
    /// `DROP TABLE pg_temp.a`.
    DropTable,
    /// `SET name = ..`.
    Set {
        /// The setting.
        name: &'a str,
    },
    /// `RESET name`.
    Reset,
    /// `PREPARE name (types) AS ..`.
    Prepare {
        /// Its name.
        name: &'a str,
        /// The types of its parameters, in parentheses, if there are any.
        types: &'a str,
        /// What is prepared.
        inner: &'a str,
    },
    /// `EXECUTE name (..)`.
    Execute,
    /// `DEALLOCATE name`.
    Deallocate,
}

/// The settings that a statement may change: how values are written, where names are looked up, and
/// how the planner decides. Those with a dot in their name belong to programs.
const SETTINGS: &[&str] = &[
    "bytea_output",
    "datestyle",
    "default_text_search_config",
    "effective_cache_size",
    "extra_float_digits",
    "intervalstyle",
    "jit",
    "plan_cache_mode",
    "random_page_cost",
    "search_path",
    "seq_page_cost",
    "timezone",
];

/// The prefix of the planner's switches.
const SWITCHES: &str = "enable_";

/// The prefix of our own settings.
const OURS: &str = "mcp";

/// Words that do not occur in a simple definition of a temporary table: with them it would change
/// other tables, or run something that was not checked.
const FOREIGN: &[&str] = &["insert", "update", "delete", "merge", "execute", "inherits"];

impl<'a> Stateful<'a> {
    /// Reads what kind of statement a text is; `None` if it has none of these forms.
    ///
    /// # Errors
    /// What to write instead, if it has one of these forms but is never run.
    pub(crate) fn read(text: &'a str) -> Option<Result<Self, String>> {
        let mut rest = Rest(text);
        match rest.word()?.to_ascii_lowercase().as_str() {
            "create" => create(rest, text),
            "drop" => drop_table(rest),
            "set" => set(rest),
            "reset" => reset(rest),
            "prepare" => prepare(rest),
            "execute" => execute(rest),
            "deallocate" => deallocate(rest),
            _ => None,
        }
    }

    /// Says whether it leaves something in the connection that was not there before.
    pub(crate) fn leaves_state(self) -> bool {
        matches!(
            self,
            Stateful::CreateTable | Stateful::Set { .. } | Stateful::Prepare { .. }
        )
    }
}

/// Returns the query that fills the table of a [`Stateful::CreateTable`], if only the table's name comes before `AS`.
pub(crate) fn filled_by(text: &str) -> Option<&str> {
    let mut rest = Rest(text);
    for _ in ["create", "temp", "table"] {
        rest.word()?;
    }
    let mut ahead = rest;
    let goes_on = |keyword: &&str| ahead.word().is_some_and(|word| is(word, keyword));
    if ["if", "not", "exists"].iter().all(goes_on) {
        rest = ahead;
    }
    rest.name()?;
    is(rest.word()?, "as").then_some(rest.0)
}

type Read<'a> = Option<Result<Stateful<'a>, String>>;

fn create<'a>(mut rest: Rest<'a>, text: &str) -> Read<'a> {
    let temporary = rest.word()?;
    if !is(temporary, "temp") && !is(temporary, "temporary") || !is(rest.word()?, "table") {
        return None;
    }
    let foreign = words(text).find(|word| FOREIGN.contains(&&**word));
    Some(match foreign {
        None => Ok(Stateful::CreateTable),
        Some(word) => Err(format!(
            "the word {word} may not stand in CREATE TEMP TABLE, not even in a text; make the table first, then fill it with INSERT"
        )),
    })
}

fn drop_table(mut rest: Rest<'_>) -> Read<'_> {
    if !is(rest.word()?, "table") {
        return None;
    }
    let mut ahead = rest;
    if is(ahead.word()?, "if") && is(ahead.word()?, "exists") {
        rest = ahead;
    }
    loop {
        if !is(rest.word()?, "pg_temp") || !rest.take('.') {
            return None;
        }
        rest.name()?;
        if rest.is_over() {
            return Some(Ok(Stateful::DropTable));
        }
        if !rest.take(',') {
            return None;
        }
    }
}

fn set(mut rest: Rest<'_>) -> Read<'_> {
    let mut ahead = rest;
    if is(ahead.word()?, "session") {
        rest = ahead;
    }
    let name = rest.setting()?;
    if !rest.take('=') && !is(rest.word()?, "to") {
        return None;
    }
    Some(may_set(name).and_then(|()| values(name, rest).map(|()| Stateful::Set { name })))
}

fn reset(mut rest: Rest<'_>) -> Read<'_> {
    let name = rest.setting()?;
    if !rest.is_over() {
        return None;
    }
    Some(may_set(name).map(|()| Stateful::Reset))
}

fn may_set(name: &str) -> Result<(), String> {
    let lower = name.to_ascii_lowercase();
    let may = match lower.split_once('.') {
        Some((class, _)) => class != OURS,
        None => SETTINGS.contains(&lower.as_str()) || lower.starts_with(SWITCHES),
    };
    if may {
        return Ok(());
    }
    Err(format!(
        "{lower} cannot be set here; what can be are {}, the planner's {SWITCHES}.. and names of your own with a point, such as my.name",
        SETTINGS.join(", ")
    ))
}

/// Checks the new value of a setting: it must be plain, and must not name a schema in which
/// PostgreSQL would then look up names before its own.
fn values(name: &str, mut rest: Rest<'_>) -> Result<(), String> {
    let is_path = name.eq_ignore_ascii_case("search_path");
    loop {
        let Some(value) = rest.value() else {
            return Err(format!(
                "write plain values, as SET {name} = 'a text', 1; without comments and escapes"
            ));
        };
        if is_path && value.split(',').any(is_systems) {
            return Err(
                "leave schemas that begin with pg_ out of search_path; PostgreSQL looks into its own first, whatever the path".into(),
            );
        }
        if rest.is_over() {
            return Ok(());
        }
        if !rest.take(',') {
            return Err(format!("write SET {name} = value, value"));
        }
    }
}

fn is_systems(schema: &str) -> bool {
    let schema = schema.trim_matches(|c: char| c.is_whitespace() || c == '"' || c == '\'');
    schema.to_ascii_lowercase().starts_with("pg_")
}

fn prepare(mut rest: Rest<'_>) -> Read<'_> {
    let name = rest.word()?;
    let types = rest.parentheses().unwrap_or_default();
    if !is(rest.word()?, "as") {
        return None;
    }
    let inner = rest.0;
    Some(own_name(name).map(|()| Stateful::Prepare { name, types, inner }))
}

fn execute(mut rest: Rest<'_>) -> Read<'_> {
    let name = rest.word()?;
    if !rest.is_over() && !rest.0.trim_ascii_start().starts_with('(') {
        return None;
    }
    Some(own_name(name).map(|()| Stateful::Execute))
}

fn deallocate(mut rest: Rest<'_>) -> Read<'_> {
    let mut ahead = rest;
    if is(ahead.word()?, "prepare") && !ahead.is_over() {
        rest = ahead;
    }
    let name = rest.word()?;
    if !rest.is_over() {
        return None;
    }
    if is(name, "all") {
        return Some(Err("name the statement that DEALLOCATE is about".into()));
    }
    Some(own_name(name).map(|()| Stateful::Deallocate))
}

/// Refuses the names of statements that this crate or the client library prepares.
fn own_name(name: &str) -> Result<(), String> {
    let lower = name.to_ascii_lowercase();
    let is_number = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_taken = lower.strip_prefix(['q', 's']).is_some_and(is_number)
        || lower.starts_with("mcp_")
        || lower.len() > LONGEST_NAME;
    if is_taken {
        return Err(format!(
            "a prepared statement may not be called {lower}; choose another name, such as my_plan"
        ));
    }
    Ok(())
}

/// PostgreSQL cuts off longer names.
const LONGEST_NAME: usize = 63;

fn is(word: &str, keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword)
}

/// The rest of a text that is being read.
#[derive(Clone, Copy)]
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// Reads a word of letters, digits and underscores, after blanks. PostgreSQL accepts other characters in a word,
    /// too; a word with one of those is not read here.
    fn word(&mut self) -> Option<&'a str> {
        let text = self.0.trim_ascii_start();
        let is_in_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = text.find(|c| !is_in_word(c)).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        let goes_on = rest.starts_with(|c: char| c == '$' || !c.is_ascii());
        if word.is_empty() || word.starts_with(|c: char| c.is_ascii_digit()) || goes_on {
            return None;
        }
        self.0 = rest;
        Some(word)
    }

    /// Reads a name, which may be quoted.
    fn name(&mut self) -> Option<&'a str> {
        match self.0.trim_ascii_start().strip_prefix('"') {
            Some(_) => self.quoted('"'),
            None => self.word(),
        }
    }

    /// Reads the name of a setting, of one part or two.
    fn setting(&mut self) -> Option<&'a str> {
        let text = self.0.trim_ascii_start();
        self.word()?;
        if self.0.starts_with('.') {
            self.0 = &self.0[1..];
            if self.0.starts_with(|c: char| c.is_ascii_whitespace()) {
                return None;
            }
            self.word()?;
        }
        Some(&text[..text.len() - self.0.len()])
    }

    /// Reads a word, a number or a text without escapes.
    fn value(&mut self) -> Option<&'a str> {
        let text = self.0.trim_ascii_start();
        match text.chars().next()? {
            quote @ ('\'' | '"') => self.quoted(quote),
            first if first.is_ascii_digit() || matches!(first, '+' | '-' | '.') => {
                let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
                let is_in_number = |c: char| c.is_ascii_digit() || c == '.';
                self.0 = digits.trim_start_matches(is_in_number);
                self.ends().then(|| &text[..text.len() - self.0.len()])
            }
            _ => {
                let word = self.word()?;
                self.ends().then_some(word)
            }
        }
    }

    /// Reads what is between two quotes; `None` if it has a quote, a backslash or a line break in it, which is not
    /// plain enough.
    fn quoted(&mut self, quote: char) -> Option<&'a str> {
        let text = self.0.trim_ascii_start().strip_prefix(quote)?;
        let (value, rest) = text.split_once(quote)?;
        if value.contains(['\\', '\n', '\r']) || rest.starts_with(['\'', '"']) {
            return None;
        }
        self.0 = rest;
        Some(value)
    }

    /// Reads names of types in parentheses, and returns them with the parentheses.
    fn parentheses(&mut self) -> Option<&'a str> {
        let text = self.0.trim_ascii_start();
        let mut depth = 0_usize;
        for (at, c) in text.char_indices() {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.checked_sub(1)?,
                _ if depth == 0 => return None,
                ',' | '.' | '_' | '[' | ']' => {}
                c if c.is_ascii_alphanumeric() || c.is_ascii_whitespace() => {}
                _ => return None,
            }
            if depth == 0 {
                let (inside, rest) = text.split_at(at + 1);
                self.0 = rest;
                return Some(inside);
            }
        }
        None
    }

    /// Takes a character, after blanks.
    fn take(&mut self, wanted: char) -> bool {
        let rest = self.0.trim_ascii_start().strip_prefix(wanted);
        if let Some(rest) = rest {
            self.0 = rest;
        }
        rest.is_some()
    }

    /// Returns whether what was read ends here: what follows it without a blank could make it something else, as in
    /// `E'..'` or `1--2`.
    fn ends(&self) -> bool {
        let goes_on = |c: char| c != ',' && !c.is_ascii_whitespace();
        !self.0.starts_with(goes_on)
    }

    fn is_over(&self) -> bool {
        self.0.trim_ascii().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_known_by_its_form() {
        use Stateful::{CreateTable, Deallocate, DropTable, Execute, Reset, Set};
        for (text, kind) in [
            ("CREATE TEMP TABLE a (b int)", CreateTable),
            ("create\n temporary\ttable a AS SELECT 1", CreateTable),
            ("DROP TABLE pg_temp.a", DropTable),
            (
                "drop table if exists PG_TEMP . \"A b\", pg_temp.c ",
                DropTable,
            ),
            ("SET my.name = 'x'", Set { name: "my.name" }),
            (
                "SET SESSION TimeZone TO 'Europe/Rome'",
                Set { name: "TimeZone" },
            ),
            (
                "set search_path=shop, \"$user\" , public",
                Set {
                    name: "search_path",
                },
            ),
            (
                "SET extra_float_digits = -1",
                Set {
                    name: "extra_float_digits",
                },
            ),
            (
                "SET enable_seqscan TO off",
                Set {
                    name: "enable_seqscan",
                },
            ),
            ("SET datestyle TO DEFAULT", Set { name: "datestyle" }),
            ("RESET my.name", Reset),
            ("EXECUTE p", Execute),
            ("EXECUTE p(1, 'a')", Execute),
            ("DEALLOCATE p", Deallocate),
            ("DEALLOCATE PREPARE p", Deallocate),
            ("DEALLOCATE prepare", Deallocate),
        ] {
            assert_eq!(Stateful::read(text), Some(Ok(kind)), "{text}");
        }
        for (text, types, inner) in [
            ("PREPARE p AS SELECT 1", "", " SELECT 1"),
            (
                "prepare p (int, numeric(10, 2)[], pg_catalog.text) as\nSELECT $1",
                "(int, numeric(10, 2)[], pg_catalog.text)",
                "\nSELECT $1",
            ),
        ] {
            let name = "p";
            let expected = Stateful::Prepare { name, types, inner };
            assert_eq!(Stateful::read(text), Some(Ok(expected)), "{text}");
        }
    }

    #[test]
    fn the_query_that_fills_a_table_is_found_behind_its_name_alone() {
        for (text, query) in [
            ("CREATE TEMP TABLE a AS SELECT 1", Some(" SELECT 1")),
            (
                "create temporary table if not exists \"A b\"as(table t)",
                Some("(table t)"),
            ),
            ("CREATE TEMP TABLE if AS VALUES (1)", Some(" VALUES (1)")),
            ("CREATE TEMP TABLE a (b) AS SELECT 1", None),
            ("CREATE TEMP TABLE a ON COMMIT DROP AS SELECT 1", None),
            ("CREATE TEMP TABLE a (b int)", None),
            ("CREATE TEMP TABLE a /* as */ AS SELECT 1", None),
            ("CREATE TEMP TABLE \"a\"\" as\" AS SELECT 1", None),
        ] {
            assert_eq!(filled_by(text), query, "{text}");
        }
    }

    #[test]
    fn what_has_another_form_is_none_of_them() {
        for text in [
            "",
            "SELECT 1",
            "-- x\nSET my.a = 1",
            "SET/**/my.a = 1",
            "SETÄ my.a = 1",
            "CREATE TABLE a (b int)",
            "CREATE TEMP VIEW a AS SELECT 1",
            "CREATE TEMP SEQUENCE a",
            "CREATE -- \rTEMP TABLE a ()",
            "CREATE UNLOGGED TABLE a ()",
            "DROP TABLE a",
            "DROP TABLE shop.a",
            "DROP TABLE pg_temp.a CASCADE",
            "DROP TABLE pg_temp.a, shop.b",
            "DROP TABLE pg_temp.a.b",
            "DROP TABLE \"pg_temp\".a; DROP TABLE b",
            "DROP VIEW pg_temp.a",
            "SET ROLE postgres",
            "SET SESSION AUTHORIZATION postgres",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
            "SET TRANSACTION READ WRITE",
            "SET LOCAL my.a = 1",
            "SET TIME ZONE 'UTC'",
            "SET SCHEMA 'shop'",
            "SET CONSTRAINTS ALL DEFERRED",
            "SET my . a = 1",
            "SET my.a.b = 1",
            "RESET SESSION AUTHORIZATION",
            "RESET my.a; SELECT 1",
            "PREPARE TRANSACTION 'x'",
            "PREPARE \"p\" AS SELECT 1",
            "EXECUTE p; SELECT 1",
            "EXECUTE \"p\"",
            "DEALLOCATE p, r",
            "DISCARD ALL",
            "RESET",
            "SET",
        ] {
            assert_eq!(Stateful::read(text), None, "{text}");
        }
    }

    #[test]
    fn what_would_undo_a_wall_is_refused() {
        for text in [
            "SET role = postgres",
            "SET SESSION role TO postgres",
            "SET session_authorization = postgres",
            "SET statement_timeout = 0",
            "SET lock_timeout = 0",
            "SET idle_in_transaction_session_timeout = 0",
            "SET transaction_read_only = off",
            "SET default_transaction_read_only = off",
            "SET default_transaction_isolation = 'serializable'",
            "SET session_replication_role = replica",
            "SET standard_conforming_strings = off",
            "SET backslash_quote = on",
            "SET client_encoding = 'SQL_ASCII'",
            "SET client_min_messages = debug5",
            "SET client_connection_check_interval = 0",
            "SET row_security = off",
            "SET work_mem = '100GB'",
            "SET temp_file_limit = -1",
            "SET transform_null_equals = on",
            "SET quote_all_identifiers = on",
            "SET local_preload_libraries = 'x'",
            "SET log_statement = 'none'",
            "SET application_name = 'x'",
            "SET mcp.schemas = '{}'",
            "SET MCP.schemas = '{}'",
            "RESET mcp.schemas",
            "RESET ALL",
            "RESET role",
            "SET search_path = shop, pg_catalog",
            "SET search_path = \"PG_Catalog\"",
            "SET search_path = 'pg_catalog'",
            "SET search_path = 'shop, pg_catalog'",
            "SET search_path = pg_temp_3",
            "SET search_path = E'pg\\x5fcatalog'",
            "SET search_path = 'p''g_catalog'",
            "SET search_path = shop, 'p'\n'g_catalog'",
            "SET my.a = (SELECT 1)",
            "SET my.a = 1; SELECT 1",
            "SET my.a = 'x' -- y",
            "SET my.a = $$x$$",
            "SET my.a = 1--x",
            "SET my.a = ",
            "PREPARE q AS SELECT 1",
            "PREPARE Q0123456789abcdef AS SELECT 1",
            "PREPARE s12 AS SELECT 1",
            "PREPARE mcp_query AS SELECT 1",
            "EXECUTE s12",
            "EXECUTE q0123456789abcdef",
            "DEALLOCATE s12",
            "DEALLOCATE ALL",
            "DEALLOCATE PREPARE ALL",
            "CREATE TEMP TABLE a AS EXECUTE p",
            "CREATE TEMP TABLE a AS WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d",
            "CREATE TEMP TABLE a () INHERITS (t)",
            "CREATE TEMP TABLE a AS SELECT 1 -- \rUPDATE",
        ] {
            assert!(
                matches!(Stateful::read(text), Some(Err(_))),
                "{text}: {:?}",
                Stateful::read(text)
            );
        }
        let long = format!("PREPARE {} AS SELECT 1", "a".repeat(64));
        assert!(matches!(Stateful::read(&long), Some(Err(_))));
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "(SET|DROP TABLE|PREPARE p|EXECUTE|RESET|CREATE TEMP) [-'\"$./,()=a1é\n\\\\]{0,20}") {
            _ = Stateful::read(&text);
        }
    }
}
