//! What to write in PostgreSQL instead of what other databases and their shells understand.

use session_pool::Complaint;
use tokio_postgres::error::SqlState;

use super::{
    failure::PARAMETERS,
    help::name_at,
    statement::{tokens, words},
};

/// Functions that PostgreSQL does not have, or not for these arguments, and what to use instead.
const FUNCTIONS: [(&str, &str); 19] = [
    ("charindex", "strpos(text, part)"),
    ("curdate", "current_date"),
    ("date_add", "date + interval '7 days'"),
    ("date_format", "to_char(time, 'YYYY-MM-DD')"),
    ("dateadd", "date + interval '7 days'"),
    (
        "datediff",
        "the difference of two dates, which is a number of days",
    ),
    ("day", "extract(day FROM time)"),
    ("getdate", "now()"),
    ("group_concat", "string_agg(text, ', ' ORDER BY ..)"),
    ("ifnull", "coalesce(a, b)"),
    ("isnull", "coalesce(a, b)"),
    (
        "json_extract",
        "column -> 'key', or column ->> 'key' for its text",
    ),
    ("len", "length(text)"),
    ("month", "extract(month FROM time)"),
    ("nvl", "coalesce(a, b)"),
    ("rand", "random()"),
    ("round", "round(x::numeric, digits)"),
    ("strftime", "to_char(time, 'YYYY-MM-DD')"),
    ("year", "extract(year FROM time)"),
];

/// Words before the position of a syntax error, and what to do then.
const BEHIND: [(&str, &str); 4] = [
    ("from", KEYWORD),
    ("join", KEYWORD),
    ("interval", "write the amount in quotes: interval '7 days'"),
    (
        "top",
        "in the place of TOP write LIMIT at the end of the query",
    ),
];

const KEYWORD: &str = "a table whose name is a keyword or has other characters stands in double quotes, as get_schema_info writes it";
const BACKTICKS: &str = "names stand in double quotes, not in backticks";
const DOUBLE_QUOTES: &str =
    "in double quotes stands a name, with its capital letters; a text stands in single quotes";
const UNIT: &str = "a unit of time stands in single quotes: date_trunc('month', time)";
const QUALIFIER: &str = "what stands before the point has to be a table of FROM, or its alias; a key of a JSON column is column ->> 'key'";
const COMMAND: &str = "this is no SQL of PostgreSQL: get_schema_info shows tables, columns, keys and indexes; a table is named schema.table";

const UNITS: [&str; 7] = ["day", "hour", "minute", "month", "quarter", "week", "year"];

/// Commands of other databases.
const COMMANDS: [&str; 4] = ["desc", "describe", "pragma", "use"];

/// What `SHOW` is followed by elsewhere. In PostgreSQL it shows settings, and questions may begin with it, too.
const SHOWN: [&str; 12] = [
    "columns",
    "create",
    "databases",
    "fields",
    "full",
    "index",
    "indexes",
    "indices",
    "keys",
    "schemas",
    "tables",
    "views",
];

/// Returns whether a text is a command of another database, or of a shell.
pub(crate) fn is_command(text: &str) -> bool {
    let text = text.trim_start();
    let mut words = words(text);
    let (first, second) = (words.next(), words.next());
    let begins = |word: &str| {
        let beginning = text.get(..word.len());
        beginning.is_some_and(|beginning| beginning.eq_ignore_ascii_case(word))
    };
    if text.starts_with('\\') {
        return true;
    }
    match (first.as_deref(), second.as_deref()) {
        (Some("show"), Some(shown)) => begins("show") && SHOWN.contains(&shown),
        (Some(first), _) => begins(first) && COMMANDS.contains(&first),
        _ => false,
    }
}

/// Returns a hint on what to write instead, in one line; `before` is the text before the position of the mistake, and
/// `rest` the text from there on.
pub(super) fn hint(db: &Complaint, before: &str, rest: &str) -> Option<String> {
    let code = db.code();
    let hint = if *code == SqlState::SYNTAX_ERROR || *code == SqlState::UNDEFINED_OBJECT {
        of_syntax(before, rest)?.to_owned()
    } else if *code == SqlState::UNDEFINED_COLUMN && rest.starts_with('"') {
        DOUBLE_QUOTES.to_owned()
    } else if *code == SqlState::UNDEFINED_COLUMN && is_unit(rest) {
        UNIT.to_owned()
    } else if *code == SqlState::UNDEFINED_TABLE && db.routine() == Some("errorMissingRTE") {
        QUALIFIER.to_owned()
    } else if *code == SqlState::UNDEFINED_FUNCTION {
        format!("for this PostgreSQL has {}", of_function(rest)?)
    } else {
        return None;
    };
    Some(format!("HINT: {hint}"))
}

fn of_syntax(before: &str, rest: &str) -> Option<&'static str> {
    if is_command(&[before, rest].concat()) {
        return Some(COMMAND);
    }
    if before.contains('`') || rest.starts_with('`') {
        return Some(BACKTICKS);
    }
    let is_parameter = |mark: &str| {
        let named = rest.strip_prefix(mark);
        named.is_some_and(|rest| rest.starts_with(|c: char| c.is_alphabetic() || c == '('))
    };
    if [":", "%", "@"].into_iter().any(is_parameter) {
        return Some(PARAMETERS);
    }
    let last = tokens(before).filter(|token| !token.is_blank()).last()?;
    let is_last = |word: &&(&str, &str)| last.text.eq_ignore_ascii_case(word.0);
    BEHIND.iter().find(is_last).map(|(_, hint)| *hint)
}

fn is_unit(rest: &str) -> bool {
    name_at(rest).is_some_and(|name| UNITS.contains(&name.to_lowercase().as_str()))
}

fn of_function(rest: &str) -> Option<&'static str> {
    let name = name_at(rest)?.to_lowercase();
    let known = FUNCTIONS.iter().find(|(function, _)| *function == name);
    known.map(|(_, instead)| *instead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_told_from_a_question() {
        for (text, is_one) in [
            ("SHOW TABLES", true),
            ("show create table users", true),
            ("DESCRIBE users", true),
            ("\\d users", true),
            ("pragma table_info(users)", true),
            ("Show me all active users", false),
            ("show users by country", false),
            (" desc users", true),
            ("(desc)", false),
            ("(ü)", false),
            ("", false),
        ] {
            assert_eq!(is_command(text), is_one, "{text}");
        }
    }

    #[test]
    fn what_stands_before_a_mistake_says_what_was_meant() {
        for (before, rest, hint) in [
            ("SELECT * FROM ", "Order", Some(KEYWORD)),
            ("SELECT * FROM t JOIN -- x\n", "user u", Some(KEYWORD)),
            ("SELECT * FROM ", "`users`", Some(BACKTICKS)),
            ("SELECT `name` ", "FROM t", Some(BACKTICKS)),
            ("SELECT 1 FROM t WHERE id = ", ":id", Some(PARAMETERS)),
            ("SELECT 1 FROM t WHERE id = ", "%(id)s", Some(PARAMETERS)),
            ("SELECT name ", "FORM users", None),
            ("", "SELEC 1", None),
        ] {
            assert_eq!(of_syntax(before, rest), hint, "{before}{rest}");
        }
    }
}
