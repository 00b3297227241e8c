use crate::setup::Token;
use crate::sql::Sql;

/// What PostgreSQL tells about a token's connections to the observer's database. Other tests may have tokens of the same
/// id on their own databases, because ids are made from the current second.
impl Sql {
    /// Counts them.
    pub fn connections_of(&self, token: &Token) -> usize {
        self.count_of(token, "true")
    }

    /// Counts those that run `pg_sleep`.
    pub fn sleeping_of(&self, token: &Token) -> usize {
        self.count_of(token, "state = 'active' and wait_event = 'PgSleep'")
    }

    fn count_of(&self, token: &Token, condition: &str) -> usize {
        let sql = format!(
            "select count(*) from pg_stat_activity
              where datname = current_database() and application_name = 'mcp/{}' and {condition}",
            token.id
        );
        self.value(&sql).parse().expect("a count is a number")
    }
}
