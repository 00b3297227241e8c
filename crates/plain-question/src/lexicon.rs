//! What the words of a question can mean in a schema, seen from one table.

use crate::query::{Children, ColumnRef};
use crate::schema::{Column, Kind, Schema, Table};
use crate::words::{self, Word, parts};

/// What a reading costs that takes a thing by another name than its own. A reading that costs more
/// than another is the less natural one.
pub(crate) mod cost {
    /// Named in a comment.
    pub(crate) const SYNONYM: u32 = 1;
    /// By the last word of its name only.
    pub(crate) const LAST_WORD: u32 = 2;
    /// In a table that the question does not mention.
    pub(crate) const OTHER_TABLE: u32 = 2;
    /// Not named at all: what is usually meant.
    pub(crate) const IMPLIED: u32 = 1;
    /// A table that the question does not name.
    pub(crate) const IMPLIED_TABLE: u32 = 3;
}

/// Names that a thing goes by, as stems, and what each costs.
pub(crate) type Terms = Vec<(Vec<String>, u32)>;

/// Something that the words mean: how many of them, what, and at which cost.
pub(crate) struct Hit<T> {
    pub(crate) took: usize,
    pub(crate) what: T,
    pub(crate) cost: u32,
}

/// A condition that one word states.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum State {
    /// A text column holds this value.
    Value(ColumnRef, String),
    /// A boolean is so.
    Boolean(ColumnRef, bool),
    /// Something has happened, or has not: a time is there.
    Happened(ColumnRef, bool),
    /// Something that has always happened.
    Always,
}

/// Beginnings of the names of booleans that say nothing.
const BOOLEAN_MARKS: [&str; 4] = ["is", "was", "has", "are"];

/// Endings of the names of times that say nothing.
const TIME_MARKS: [&str; 8] = ["at", "on", "date", "time", "ts", "day", "utc", "timestamp"];

/// Endings that tell a unit, and how people say it.
const UNIT_MARKS: [(&str, &str); 16] = [
    ("pct", "percent"),
    ("percent", "percent"),
    ("kg", "kilogram"),
    ("km", "kilometer"),
    ("cm", "centimeter"),
    ("mm", "millimeter"),
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

/// Beginnings that turn a state round.
const NEGATIONS: [&str; 3] = ["un", "in", "non"];

/// States that are each other's opposite without looking like it.
const OPPOSITES: [(&str, &str); 4] = [
    ("online", "offline"),
    ("enabled", "disabled"),
    ("public", "private"),
    ("visible", "hidden"),
];

/// Participles that do not end as participles do.
const PARTICIPLES: [&str; 12] = [
    "paid", "sent", "sold", "built", "lost", "met", "left", "made", "read", "held", "won", "shut",
];

/// What a comment says before further names.
const SYNONYM_MARKS: [&str; 6] = [
    "also called:",
    "also called",
    "also known as:",
    "also known as",
    "aka",
    "synonyms:",
];

/// A question's words, and the table that they may be about with its neighbours.
pub(crate) struct Lexicon<'a> {
    pub(crate) words: &'a [Word],
    pub(crate) index: usize,
    pub(crate) table: &'a Table,
    subject: Terms,
    /// The table's own columns, and those of the tables that it refers to.
    scopes: Vec<Scope<'a>>,
    children: Vec<(Children, Terms)>,
}

struct Scope<'a> {
    via: Option<usize>,
    table: &'a Table,
    /// What the row is called that the foreign key leads to.
    noun: Terms,
    columns: Vec<Terms>,
}

impl<'a> Lexicon<'a> {
    pub(crate) fn new(words: &'a [Word], schema: &'a Schema, index: usize) -> Self {
        let table = &schema.tables[index];
        let own = Scope::new(None, table, Vec::new());
        let parents = table.foreign_keys.iter().enumerate();
        let parents = parents.filter_map(|(at, key)| {
            let parent = &schema.tables[schema.find(&key.schema, &key.table)?];
            let mut noun = table_terms(parent);
            if let [column] = &key.columns[..] {
                let mut name = parts(column);
                if name.len() > 1 && name.last().is_some_and(|last| last == "id") {
                    name.pop();
                    noun.push((name, 0));
                }
            }
            Some(Scope::new(Some(at), parent, noun))
        });
        Lexicon {
            words,
            index,
            table,
            subject: table_terms(table),
            scopes: std::iter::once(own).chain(parents).collect(),
            children: children(schema, index),
        }
    }

    /// The column that a reference leads to.
    pub(crate) fn column(&self, at: ColumnRef) -> &'a Column {
        &self.scope_table(at.via).columns[at.column]
    }

    pub(crate) fn scope_table(&self, via: Option<usize>) -> &'a Table {
        self.scopes
            .iter()
            .find(|scope| scope.via == via)
            .map_or(self.table, |scope| scope.table)
    }

    /// Whether the words say this.
    pub(crate) fn says(&self, at: usize, phrase: &str) -> Option<usize> {
        let mut end = at;
        for expected in phrase.split(' ') {
            let word = self.words.get(end)?;
            let is_it = word.lower == expected
                && matches!(word.kind, words::Kind::Plain | words::Kind::Sign);
            if !is_it {
                return None;
            }
            end += 1;
        }
        Some(end)
    }

    /// The end of the first of some phrases that the words say; longer ones must come first.
    pub(crate) fn any(&self, at: usize, phrases: &[&str]) -> Option<usize> {
        phrases.iter().find_map(|phrase| self.says(at, phrase))
    }

    pub(crate) fn subjects(&self, at: usize) -> Vec<Hit<()>> {
        hits(self.words, at, &self.subject)
            .map(|(took, cost)| Hit {
                took,
                what: (),
                cost,
            })
            .collect()
    }

    /// Whether the table has one of the names.
    pub(crate) fn is_called(&self, names: &[&str]) -> bool {
        let last = |term: &[String]| {
            term.last()
                .is_some_and(|last| names.contains(&last.as_str()))
        };
        self.subject.iter().any(|(term, _)| last(term))
    }

    /// Rows that are referred to, by the foreign key.
    pub(crate) fn parents(&self, at: usize) -> Vec<Hit<usize>> {
        let mut found: Vec<Hit<usize>> = Vec::new();
        for scope in &self.scopes {
            let Some(via) = scope.via else { continue };
            for (took, cost) in hits(self.words, at, &scope.noun) {
                if !found.iter().any(|hit| hit.what == via && hit.took == took) {
                    let what = via;
                    found.push(Hit { took, what, cost });
                }
            }
        }
        found
    }

    pub(crate) fn children(&self, at: usize) -> Vec<Hit<Children>> {
        let found = self.children.iter().flat_map(|(children, terms)| {
            hits(self.words, at, terms).map(|(took, cost)| Hit {
                took,
                what: children.clone(),
                cost,
            })
        });
        found.collect()
    }

    /// Columns of the table itself.
    pub(crate) fn own_columns(&self, at: usize) -> Vec<Hit<ColumnRef>> {
        self.columns(at, &[])
            .into_iter()
            .filter(|hit| hit.what.via.is_none())
            .collect()
    }

    /// Columns of the table, and of those that it refers to; the mentioned ones cost nothing extra.
    pub(crate) fn columns(&self, at: usize, mentioned: &[usize]) -> Vec<Hit<ColumnRef>> {
        let mut found: Vec<Hit<ColumnRef>> = Vec::new();
        for scope in &self.scopes {
            let extra = scope.extra(mentioned);
            for (column, terms) in scope.columns.iter().enumerate() {
                let what = ColumnRef {
                    via: scope.via,
                    column,
                };
                for (took, cost) in hits(self.words, at, terms) {
                    let cost = cost + extra;
                    let is_known = |hit: &Hit<ColumnRef>| hit.what == what && hit.took == took;
                    if !found.iter().any(is_known) {
                        found.push(Hit { took, what, cost });
                    }
                }
            }
        }
        found
    }

    /// Values that columns are known to hold.
    pub(crate) fn values(&self, at: usize, mentioned: &[usize]) -> Vec<Hit<(ColumnRef, &'a str)>> {
        let mut found = Vec::new();
        for scope in &self.scopes {
            let extra = scope.extra(mentioned);
            for (column, it) in scope.table.columns.iter().enumerate() {
                let what = ColumnRef {
                    via: scope.via,
                    column,
                };
                for value in &it.values {
                    if let Some(took) = value_length(self.words, at, value) {
                        found.push(Hit {
                            took,
                            what: (what, value.as_str()),
                            cost: extra,
                        });
                    }
                }
            }
        }
        found
    }

    /// A value that this column is known to hold.
    pub(crate) fn value_of(&self, at: usize, column: ColumnRef) -> Option<(usize, &'a str)> {
        let values = self.column(column).values.iter();
        values
            .filter_map(|value| Some((value_length(self.words, at, value)?, value.as_str())))
            .max_by_key(|(took, _)| *took)
    }

    /// Conditions that one word, or a value's few, state of a row: of the table's own (`None`), or of
    /// one that it refers to.
    pub(crate) fn states(&self, at: usize, via: Option<usize>) -> Vec<Hit<State>> {
        let values = self
            .values(at, &[])
            .into_iter()
            .filter(|hit| hit.what.0.via == via)
            .map(|hit| Hit {
                took: hit.took,
                what: State::Value(hit.what.0, hit.what.1.to_owned()),
                cost: 0,
            });
        let mut found: Vec<_> = values.collect();
        let Some(word) = self.words.get(at).filter(|w| w.kind == words::Kind::Plain) else {
            return found;
        };
        let table = self.scope_table(via);
        for (column, it) in table.columns.iter().enumerate() {
            let at = ColumnRef { via, column };
            let state = |is: bool| match it.kind {
                Kind::Boolean => State::Boolean(at, is),
                _ if it.is_nullable => State::Happened(at, is),
                _ => State::Always,
            };
            if let Some(is) = state_name(it).and_then(|name| truth(word, &name)) {
                // What has always happened has no opposite.
                if is || state(is) != State::Always {
                    found.push(Hit {
                        took: 1,
                        what: state(is),
                        cost: 0,
                    });
                }
            }
        }
        found
    }

    /// The time that is meant when none is named: the only one that every row has, or the only one.
    /// When a row was changed or ends is not it.
    pub(crate) fn usual_time(&self) -> Option<ColumnRef> {
        const OTHERS: [&str; 12] = [
            "updated", "modified", "changed", "deleted", "expires", "expired", "birth", "born",
            "dob", "due", "end", "until",
        ];
        let is_usual = |column: &Column| {
            let name = parts(&column.name);
            column.kind == Kind::Date && !name.iter().any(|part| OTHERS.contains(&part.as_str()))
        };
        let times = self.table.columns.iter().enumerate();
        let times: Vec<_> = times.filter(|(_, column)| is_usual(column)).collect();
        let always: Vec<_> = times
            .iter()
            .filter(|(_, column)| !column.is_nullable)
            .collect();
        let column = match (&always[..], &times[..]) {
            ([(column, _)], _) | ([], [(column, _)]) => *column,
            _ => return None,
        };
        Some(ColumnRef { via: None, column })
    }

    /// The table's own columns whose names have one of the words, and that are no keys.
    pub(crate) fn columns_about(&self, about: &[&str]) -> Vec<ColumnRef> {
        let columns = self.table.columns.iter().enumerate();
        let is_it = |(column, it): &(usize, &Column)| {
            let mut name = parts(&it.name).into_iter();
            !self.table.is_key(*column) && name.any(|part| about.contains(&part.as_str()))
        };
        columns
            .filter(is_it)
            .map(|(column, _)| ColumnRef { via: None, column })
            .collect()
    }

    /// How people say the unit that the column's name ends with.
    pub(crate) fn unit_word(&self, column: ColumnRef) -> Option<&'static str> {
        let name = parts(&self.column(column).name);
        let last = name.last()?;
        let found = UNIT_MARKS.iter().find(|(mark, _)| mark == last)?;
        Some(found.1)
    }
}

impl<'a> Scope<'a> {
    fn new(via: Option<usize>, table: &'a Table, noun: Terms) -> Self {
        let columns = (0..table.columns.len()).map(|column| column_terms(table, column));
        Scope {
            via,
            table,
            noun,
            columns: columns.collect(),
        }
    }

    fn extra(&self, mentioned: &[usize]) -> u32 {
        match self.via {
            Some(via) if !mentioned.contains(&via) => cost::OTHER_TABLE,
            _ => 0,
        }
    }
}

fn children(schema: &Schema, index: usize) -> Vec<(Children, Terms)> {
    let parent = &schema.tables[index];
    let mut found = Vec::new();
    for (table, child) in schema.tables.iter().enumerate() {
        for (key, foreign) in child.foreign_keys.iter().enumerate() {
            if foreign.schema == parent.schema && foreign.table == parent.name {
                found.push((Children { table, key }, table_terms(child)));
            }
        }
    }
    found
}

/// Where the words at a place are one of the terms: how many words, and the cost.
fn hits<'a>(
    words: &'a [Word],
    at: usize,
    terms: &'a Terms,
) -> impl Iterator<Item = (usize, u32)> + 'a {
    let rest = words.get(at..).unwrap_or_default();
    terms
        .iter()
        .filter_map(move |(term, cost)| Some((term_length(rest, term)?, *cost)))
}

fn term_length(words: &[Word], term: &[String]) -> Option<usize> {
    let is_plain = |word: &Word| word.kind == words::Kind::Plain;
    let apart = !term.is_empty()
        && words.len() >= term.len()
        && words
            .iter()
            .zip(term)
            .all(|(word, part)| is_plain(word) && word.stem == *part);
    if apart {
        return Some(term.len());
    }
    // "first name" for a column `firstname`.
    match (words, term) {
        ([first, second, ..], [joined]) if is_plain(first) && is_plain(second) => {
            (format!("{}{}", first.lower, second.stem) == *joined).then_some(2)
        }
        _ => None,
    }
}

/// How many words at the place are the value. Short values are codes: their case must fit.
fn value_length(words: &[Word], at: usize, value: &str) -> Option<usize> {
    let rest = words.get(at..)?;
    let first = rest.first()?;
    let is_bare = matches!(first.kind, words::Kind::Plain | words::Kind::Code);
    if is_bare && first.text == value {
        return Some(1);
    }
    if value.chars().count() <= 3 {
        return None;
    }
    if first.kind == words::Kind::Code {
        return first.text.eq_ignore_ascii_case(value).then_some(1);
    }
    term_length(rest, &parts(value))
}

/// The names that a table goes by.
pub(crate) fn table_terms(table: &Table) -> Terms {
    const PREFIXES: [&str; 4] = ["tbl", "t", "dim", "fact"];
    let mut name = parts(&table.name);
    if name.len() > 1 && PREFIXES.contains(&name[0].as_str()) {
        name.remove(0);
    }
    let last = name.last().cloned().filter(|_| name.len() > 1);
    let mut terms = vec![(name, 0)];
    terms.extend(last.map(|last| (vec![last], cost::LAST_WORD)));
    terms.extend(synonyms(table.comment.as_deref()));
    terms
}

/// The names that a column goes by.
pub(crate) fn column_terms(table: &Table, index: usize) -> Terms {
    let column = &table.columns[index];
    let full = parts(&column.name);
    let mut terms = vec![(full.clone(), 0)];
    let mut add = |term: &[String], cost: u32| {
        if !term.is_empty() && !terms.iter().any(|(known, _)| known == term) {
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

/// A column's name without what only tells its type or unit.
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

/// The word that states what the column records, if it is one.
fn state_name(column: &Column) -> Option<String> {
    let name = parts(&column.name);
    let [word] = without_marks(column, &name) else {
        return None;
    };
    let states = match column.kind {
        Kind::Boolean => true,
        Kind::Date => is_participle(word),
        _ => false,
    };
    states.then(|| word.clone())
}

/// Whether the word tells what has happened to something.
pub(crate) fn is_participle(word: &str) -> bool {
    word.ends_with("ed") || word.ends_with("en") || PARTICIPLES.contains(&word)
}

/// Whether the word says that the state is so, or that it is not.
fn truth(word: &Word, name: &str) -> Option<bool> {
    if word.stem == name {
        return Some(true);
    }
    let is_negated = |prefix: &&str| word.stem.strip_prefix(*prefix) == Some(name);
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

/// Whether any of the words names the table, one of its columns, or what they hold.
pub(crate) fn may_be_about(words: &[Word], schema: &Schema, index: usize) -> bool {
    let lexicon = Lexicon::new(words, schema, index);
    (0..words.len()).any(|at| {
        !lexicon.subjects(at).is_empty()
            || !lexicon.own_columns(at).is_empty()
            || !lexicon.states(at, None).is_empty()
    })
}
