//! The names by which a question can refer to what is in a schema.

use std::collections::HashSet;

use crate::schema::{Column, Kind, Schema, Table};
use crate::words::{Word, parts};

/// What a reading pays for taking something by a name other than its own. Of two readings the cheaper
/// one is the more natural.
pub(crate) mod cost {
    /// By a further name, such as one given in a comment.
    pub(crate) const SYNONYM: u32 = 1;
    /// By the last word of its name only.
    pub(crate) const LAST_WORD: u32 = 2;
    /// A column of a table that the question does not mention.
    pub(crate) const OTHER_TABLE: u32 = 2;
    /// Not named at all: what is usually meant.
    pub(crate) const IMPLIED: u32 = 1;
    /// A table that the question does not name.
    pub(crate) const IMPLIED_TABLE: u32 = 3;
}

/// The names of a thing, each as stems, with its cost.
pub(crate) type Terms = Vec<(Vec<String>, u32)>;

/// The names of all that is in a schema.
pub(crate) struct Names(Vec<TableNames>);

/// The names of a table and its columns.
pub(crate) struct TableNames {
    pub(crate) noun: Terms,
    pub(crate) columns: Vec<ColumnNames>,
}

/// The names of a column and of what it holds.
pub(crate) struct ColumnNames {
    pub(crate) terms: Terms,
    /// The words that state what it records: one for a time, one or more for a boolean.
    pub(crate) state: Option<Vec<String>>,
    /// For a time, the participles and verbs of its event.
    pub(crate) events: &'static [&'static str],
    /// Its values, each as stems, which are empty for a value that the question cannot mean.
    pub(crate) values: Vec<Vec<String>>,
    /// Whether its values may be country codes, for which people say the country's name.
    pub(crate) holds_countries: bool,
    /// Whether another table has the same name, so that its rows may be meant.
    pub(crate) is_a_table: bool,
}

impl Names {
    /// Collects the names that a question in these words can use. There may be many values, so those that
    /// begin with no word's initial get no stems.
    pub(crate) fn of(schema: &Schema, words: &[Word]) -> Self {
        let initials: Vec<char> = words
            .iter()
            .filter_map(|word| initial(&word.lower))
            .collect();
        let nouns: HashSet<_> = schema.tables.iter().map(own_noun).collect();
        let tables = schema.tables.iter();
        Names(
            tables
                .map(|table| TableNames::of(schema, table, &initials, &nouns))
                .collect(),
        )
    }

    pub(crate) fn table(&self, index: usize) -> &TableNames {
        &self.0[index]
    }
}

impl TableNames {
    fn of(schema: &Schema, table: &Table, initials: &[char], nouns: &HashSet<Vec<String>>) -> Self {
        let value = |value: &String| {
            let may_be_meant = initial(value).is_some_and(|first| initials.contains(&first));
            if may_be_meant {
                parts(value)
            } else {
                Vec::new()
            }
        };
        let own = own_noun(table);
        let is_a_table = |name: &Vec<String>| *name != own && nouns.contains(name);
        let columns = table.columns.iter().enumerate();
        let columns = columns.map(|(index, column)| ColumnNames {
            terms: column_terms(table, index, nouns),
            state: state_name(column),
            events: events(column),
            values: column.values.iter().map(value).collect(),
            holds_countries: parts(&column.name)
                .iter()
                .any(|part| COUNTRIES.contains(&part.as_str())),
            is_a_table: is_a_table(&parts(&column.name)),
        });
        TableNames {
            noun: table_terms(schema, table, nouns),
            columns: columns.collect(),
        }
    }
}

fn initial(text: &str) -> Option<char> {
    text.chars()
        .next()
        .and_then(|first| first.to_lowercase().next())
}

/// Words in the names of columns that hold countries.
const COUNTRIES: [&str; 2] = ["country", "nationality"];

/// Prefixes of booleans' names that carry no meaning.
const BOOLEAN_MARKS: [&str; 4] = ["is", "was", "has", "are"];

/// Suffixes of times' names that carry no meaning.
const TIME_MARKS: [&str; 8] = ["at", "on", "date", "time", "ts", "day", "utc", "timestamp"];

/// Suffixes that give a unit, and the word that people use for it.
pub(crate) const UNIT_MARKS: [(&str, &str); 19] = [
    ("pct", "percent"),
    ("percent", "percent"),
    ("kg", "kilogram"),
    ("km", "kilometer"),
    ("cm", "centimeter"),
    ("mm", "millimeter"),
    ("m2", "m2"),
    ("m3", "m3"),
    ("liter", "liter"),
    ("ms", "millisecond"),
    ("sec", "second"),
    ("second", "second"),
    ("min", "minute"),
    ("minute", "minute"),
    ("hour", "hour"),
    ("usd", "dollar"),
    ("eur", "euro"),
    ("gbp", "pound"),
    ("year", "year"),
];

/// Prefixes that negate a state.
const NEGATIONS: [&str; 3] = ["un", "in", "non"];

/// Pairs of opposite states that share no stem.
const OPPOSITES: [(&str, &str); 4] = [
    ("online", "offline"),
    ("enabled", "disabled"),
    ("public", "private"),
    ("visible", "hidden"),
];

/// Irregular participles.
const PARTICIPLES: [&str; 12] = [
    "paid", "sent", "sold", "built", "lost", "met", "left", "made", "read", "held", "won", "shut",
];

/// Events: the words that columns use for them, and the words that people use.
const EVENTS: [(&[&str], &[&str]); 24] = [
    (&["birth", "birthday", "birthdate", "dob"], &["born"]),
    (&["hire", "hiring"], &["hired"]),
    (&["start"], &["started", "starting", "starts", "start"]),
    (&["end"], &["ended", "ending", "ends", "end"]),
    (&["enrollment", "enrolment", "enroll"], &["enrolled"]),
    (&["graduation"], &["graduated"]),
    (&["termination"], &["terminated"]),
    (&["admission"], &["admitted"]),
    (&["discharge"], &["discharged"]),
    (&["delivery"], &["delivered"]),
    (&["shipment", "shipping", "ship"], &["shipped"]),
    (&["order"], &["ordered"]),
    (&["purchase"], &["purchased", "bought"]),
    (&["payment"], &["paid"]),
    (&["release"], &["released"]),
    (&["publication", "publish"], &["published"]),
    (&["creation", "create"], &["created"]),
    (&["registration"], &["registered"]),
    (
        &["expiry", "expiration"],
        &["expiring", "expires", "expire"],
    ),
    (&["issue"], &["issued"]),
    (&["approval"], &["approved"]),
    (&["completion"], &["completed"]),
    (&["submission"], &["submitted"]),
    (&["join", "joining"], &["joined"]),
];

/// Phrases that introduce further names in a comment.
const SYNONYM_MARKS: [&str; 6] = [
    "also called:",
    "also called",
    "also known as:",
    "also known as",
    "aka",
    "synonyms:",
];

/// A table's own name, without a prefix that only says that it is a table.
fn own_noun(table: &Table) -> Vec<String> {
    const PREFIXES: [&str; 4] = ["tbl", "t", "dim", "fact"];
    let mut name = parts(&table.name);
    if name.len() > 1 && PREFIXES.contains(&name[0].as_str()) {
        name.remove(0);
    }
    name
}

/// The names of a table.
fn table_terms(schema: &Schema, table: &Table, nouns: &HashSet<Vec<String>>) -> Terms {
    let name = own_noun(table);
    let last = name.last().cloned().filter(|_| name.len() > 1);
    let last = last.filter(|last| !is_counted_elsewhere(schema, table, last));
    // "Tags" means the rows of `tags`, not the pairs in `post_tags`.
    let is_pair_of = |last: &String| table.is_junction() && nouns.contains(&vec![last.clone()]);
    let last = last.filter(|last| !is_pair_of(last));
    let mut terms = vec![(name, 0)];
    terms.extend(last.map(|last| (vec![last], cost::LAST_WORD)));
    terms.extend(synonyms(table.comment.as_deref()));
    terms
}

/// Whether a table that this one refers to has a number of that name: "views of a post" may mean that number rather
/// than rows of `post_views`.
fn is_counted_elsewhere(schema: &Schema, table: &Table, name: &str) -> bool {
    let is_it = |column: &Column| column.kind == Kind::Number && parts(&column.name) == [name];
    let parents = table.foreign_keys.iter();
    let mut parents = parents.filter_map(|key| schema.find(&key.schema, &key.table));
    parents.any(|parent| schema.tables[parent].columns.iter().any(is_it))
}

/// The names of a column. A part of its name that is also a table's name means that table: "students"
/// does not mean `max_students`.
fn column_terms(table: &Table, index: usize, nouns: &HashSet<Vec<String>>) -> Terms {
    let column = &table.columns[index];
    let full = parts(&column.name);
    let mut terms = vec![(full.clone(), 0)];
    let mut add = |term: &[String], cost: u32| {
        let is_known = terms.iter().any(|(known, _)| known == term);
        if !term.is_empty() && !is_known && !nouns.contains(term) {
            terms.push((term.to_vec(), cost));
        }
    };
    let own = parts(&table.name);
    if full.len() > own.len() && full.starts_with(&own) {
        add(&full[own.len()..], 0);
    }
    let bare = without_marks(column, &full);
    add(bare, 0);
    if !table.is_key(index) && bare.len() > 1 {
        add(&bare[bare.len() - 1..], cost::LAST_WORD);
    }
    let is_id = |term: &[String]| term.len() > 1 && term.last().is_some_and(|last| last == "id");
    let is_code =
        |term: &[String]| term.len() > 1 && term.last().is_some_and(|last| last == "code");
    if column.kind == Kind::Text && is_code(&full) {
        add(&full[..full.len() - 1], cost::SYNONYM);
    }
    let refers = table
        .foreign_keys
        .iter()
        .any(|key| key.columns.contains(&column.name));
    if is_id(&full) && !refers && !table.primary_key.contains(&column.name) {
        add(&full[..full.len() - 1], cost::SYNONYM);
    }
    terms.extend(synonyms(column.comment.as_deref()));
    terms
}

/// A column's name without a prefix or suffix that only gives its type or unit.
fn without_marks<'a>(column: &Column, name: &'a [String]) -> &'a [String] {
    let [first, .., last] = name else {
        return name;
    };
    let all_but_last = &name[..name.len() - 1];
    match column.kind {
        Kind::Boolean if BOOLEAN_MARKS.contains(&first.as_str()) => &name[1..],
        Kind::Date if TIME_MARKS.contains(&last.as_str()) => all_but_last,
        Kind::Number if UNIT_MARKS.iter().any(|(mark, _)| mark == last) => all_but_last,
        _ => name,
    }
}

/// The words of the column's name that state a condition: `is_active`, `shipped_at`.
fn state_name(column: &Column) -> Option<Vec<String>> {
    let name = parts(&column.name);
    let words = without_marks(column, &name);
    let states = match (column.kind, words) {
        (Kind::Boolean, words) => !words.is_empty(),
        (Kind::Date, [word]) => is_participle(word),
        _ => false,
    };
    states.then(|| words.to_vec())
}

/// The words for the event whose time the column holds, where its name has another form: "hired" for
/// `hire_date`.
fn events(column: &Column) -> &'static [&'static str] {
    if column.kind != Kind::Date {
        return &[];
    }
    let name = parts(&column.name);
    let of = |word: &str| EVENTS.iter().find(|(nouns, _)| nouns.contains(&word));
    let found = match without_marks(column, &name) {
        [word] => of(word),
        [date, of_what, word] if date == "date" && of_what == "of" => of(word),
        _ => None,
    };
    found.map_or(&[], |(_, words)| *words)
}

/// Whether the word is a participle, which tells what has happened to something.
pub(crate) fn is_participle(word: &str) -> bool {
    word.ends_with("ed") || word.ends_with("en") || PARTICIPLES.contains(&word)
}

/// Whether the words affirm the state (`true`) or negate it (`false`); `None` when they do neither.
pub(crate) fn truth(words: &[Word], name: &[String]) -> Option<bool> {
    let is_plain = |word: &Word| word.kind == crate::words::Kind::Plain;
    let is_said = words.len() >= name.len()
        && words
            .iter()
            .zip(name)
            .all(|(word, part)| is_plain(word) && word.stem == *part);
    if is_said {
        return Some(true);
    }
    let (Some(word), [name]) = (words.first().filter(|word| is_plain(word)), name) else {
        return None;
    };
    let is_negated = |prefix: &&str| word.stem.strip_prefix(*prefix) == Some(name.as_str());
    let is_opposite = OPPOSITES.iter().any(|(one, other)| {
        (*one == word.stem && *other == name) || (*other == word.stem && *one == name)
    });
    (is_opposite || NEGATIONS.iter().any(is_negated)).then_some(false)
}

/// Further names in a comment: "Also called: a, b".
fn synonyms(comment: Option<&str>) -> Terms {
    let comment = comment.unwrap_or_default();
    let lower = comment.to_lowercase();
    let named = SYNONYM_MARKS.iter().find_map(|mark| {
        let at = lower.find(mark)?;
        let is_apart = at == 0 || !lower[..at].ends_with(char::is_alphanumeric);
        is_apart.then(|| lower[at + mark.len()..].to_owned())
    });
    let list = named.unwrap_or_default();
    let list = list.split(['.', ';', '\n', '(']).next().unwrap_or_default();
    list.split([',', '/'])
        .flat_map(|names| names.split(" or "))
        .map(|name| parts(name.trim()))
        .filter(|name| (1..=4).contains(&name.len()))
        .map(|name| (name, cost::SYNONYM))
        .collect()
}
