//! What the words of a question can mean in a schema, seen from one table.

use std::cell::{Cell, OnceCell};

use crate::countries;
use crate::names::{ColumnNames, Names, TableNames, Terms, UNIT_MARKS, cost, is_participle, truth};
use crate::query::{Children, ColumnRef};
use crate::schema::{Column, ForeignKey, Kind, Schema, Table};
use crate::words::{self, Word, parts};

/// A question, the schema that it is about, and the effort that reading it may still take.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) words: &'a [Word],
    pub(crate) schema: &'a Schema,
    pub(crate) names: &'a Names,
    pub(crate) effort: &'a Effort,
}

/// How many names may still be compared with a question's words. Once it is used up, no meanings are
/// found any more, so that no reading may be taken for an answer.
pub(crate) struct Effort(Cell<usize>);

impl Effort {
    pub(crate) fn of(names: usize) -> Self {
        Effort(Cell::new(names))
    }

    /// Spends the effort of comparing so many names; `false` when none is left for it.
    pub(crate) fn spend(&self, names: usize) -> bool {
        self.0.set(self.0.get().saturating_sub(names));
        !self.is_used_up()
    }

    pub(crate) fn is_used_up(&self) -> bool {
        self.0.get() == 0
    }
}

/// Something that words mean: how many words, what they mean, and at which cost.
pub(crate) struct Hit<T> {
    pub(crate) took: usize,
    pub(crate) what: T,
    pub(crate) cost: u32,
}

/// Splitting a name into words takes as long as comparing so many names.
const CUTTING: usize = 16;

/// A condition that words state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum State {
    /// A column holds this value.
    Value(ColumnRef, String),
    /// A boolean has this value.
    Boolean(ColumnRef, bool),
    /// Something has happened, or has not: a nullable time has a value, or is NULL.
    Happened(ColumnRef, bool),
    /// Something that has happened for every row: a time that is never NULL.
    Always,
}

/// A question's words, and the table that they may be about, with its neighbours.
pub(crate) struct Lexicon<'a> {
    asked: Asked<'a>,
    pub(crate) words: &'a [Word],
    pub(crate) index: usize,
    pub(crate) table: &'a Table,
    subject: &'a Terms,
    /// The table's own columns, and those of the tables that it refers to.
    scopes: Vec<Scope<'a>>,
    referring: Vec<Referring<'a>>,
    /// One for each of `referring`, made once, when a draft first asks: many drafts do, and there may be many tables.
    of_children: OnceCell<Vec<Lexicon<'a>>>,
}

/// A foreign key of another table (or this one) that refers to this table.
struct Referring<'a> {
    rows: Children,
    /// The names of the rows that refer.
    noun: &'a Terms,
    /// What it costs to mean this key when only the rows are named.
    cost: u32,
}

struct Scope<'a> {
    via: Option<usize>,
    table: &'a Table,
    /// The names of the row that the foreign key leads to.
    noun: Terms,
    names: &'a TableNames,
}

impl<'a> Lexicon<'a> {
    pub(crate) fn new(asked: Asked<'a>, index: usize) -> Self {
        let Asked {
            words,
            schema,
            names,
            ..
        } = asked;
        let table = &schema.tables[index];
        let own = Scope {
            via: None,
            table,
            noun: Vec::new(),
            names: names.table(index),
        };
        let parents = table.foreign_keys.iter().enumerate();
        let parents = parents.filter_map(|(at, key)| {
            let parent = schema.find(&key.schema, &key.table)?;
            Some(Scope {
                via: Some(at),
                table: &schema.tables[parent],
                noun: parent_terms(asked, table, at, &names.table(parent).noun),
                names: names.table(parent),
            })
        });
        Lexicon {
            asked,
            words,
            index,
            table,
            subject: &names.table(index).noun,
            scopes: std::iter::once(own).chain(parents).collect(),
            referring: referring(asked, index),
            of_children: OnceCell::new(),
        }
    }

    /// The rows that refer to these, the lexicon of the same question about them, and what it costs to mean them.
    pub(crate) fn all_children(&self) -> impl Iterator<Item = (&Children, &Self, u32)> {
        let lexicons = self.of_children.get_or_init(|| {
            let tables = self.referring.iter().map(|them| them.rows.table);
            tables
                .map(|table| Lexicon::new(self.asked, table))
                .collect()
        });
        let them = self.referring.iter().zip(lexicons);
        them.map(|(them, own)| (&them.rows, own, them.cost))
    }

    /// The column that a [`ColumnRef`] stands for.
    pub(crate) fn column(&self, at: ColumnRef) -> &'a Column {
        &self.scope_table(at.via).columns[at.column]
    }

    pub(crate) fn scope_table(&self, via: Option<usize>) -> &'a Table {
        self.scope(via).table
    }

    /// Nobody asks for a foreign key whose table is not known: none of its columns are ever found.
    fn scope(&self, via: Option<usize>) -> &Scope<'a> {
        let found = self.scopes.iter().find(|scope| scope.via == via);
        found.unwrap_or(&self.scopes[0])
    }

    /// The end of the phrase, if the words at a place say it.
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

    /// The end of the first of the phrases that the words say. Longer phrases must come first.
    pub(crate) fn any(&self, at: usize, phrases: &[&str]) -> Option<usize> {
        phrases.iter().find_map(|phrase| self.says(at, phrase))
    }

    pub(crate) fn subjects(&self, at: usize) -> Vec<Hit<()>> {
        self.hits(at, self.subject)
            .map(|(took, cost)| Hit {
                took,
                what: (),
                cost,
            })
            .collect()
    }

    /// Whether a name of the table ends with one of these words.
    pub(crate) fn is_called(&self, names: &[&str]) -> bool {
        let last = |term: &[String]| {
            term.last()
                .is_some_and(|last| names.contains(&last.as_str()))
        };
        self.subject.iter().any(|(term, _)| last(term))
    }

    /// Foreign keys whose rows the words at a place name.
    pub(crate) fn parents(&self, at: usize) -> Vec<Hit<usize>> {
        let mut found: Vec<Hit<usize>> = Vec::new();
        for scope in &self.scopes {
            let Some(via) = scope.via else { continue };
            for (took, cost) in self.hits(at, &scope.noun) {
                if !found.iter().any(|hit| hit.what == via && hit.took == took) {
                    let what = via;
                    found.push(Hit { took, what, cost });
                }
            }
        }
        found
    }

    /// The same after a preposition. With any but "of" and "with", another key to the same table may be meant: what is
    /// approved "by an employee" need not be that employee's own.
    pub(crate) fn parents_after(&self, preposition: &str, at: usize) -> Vec<Hit<usize>> {
        let mut found = self.parents(at);
        if !["of", "with"].contains(&preposition) {
            found.retain(|hit| !has_rival(self.asked, self.table, hit.what));
        }
        found
    }

    /// Whether the rows refer to these by several keys, some of which say who dealt with the row.
    pub(crate) fn may_be_dealt_with(&self, rows: &Children) -> bool {
        has_rival(self.asked, &self.asked.schema.tables[rows.table], rows.key)
    }

    pub(crate) fn children(&self, at: usize) -> Vec<Hit<Children>> {
        let found = self.referring.iter().flat_map(|them| {
            self.hits(at, them.noun).map(move |(took, cost)| Hit {
                took,
                what: them.rows.clone(),
                cost: cost + them.cost,
            })
        });
        found.collect()
    }

    /// Rows that refer to these, by the verb made of their noun: "ordered", "reviewed", "booked".
    pub(crate) fn done(&self, at: usize) -> Vec<Hit<Children>> {
        let Some(word) = self.words.get(at) else {
            return Vec::new();
        };
        let is_verb_of = |term: &[String]| match term {
            [noun] => {
                let verb = noun.strip_suffix("ing").unwrap_or(noun);
                word.lower == format!("{verb}{}", if verb.ends_with('e') { "d" } else { "ed" })
            }
            _ => false,
        };
        let found = self.referring.iter().flat_map(|them| {
            let may_be_read = self.asked.effort.spend(them.noun.len());
            let terms = them.noun.iter().filter(move |_| may_be_read);
            terms
                .filter(|(term, _)| is_verb_of(term))
                .map(|(_, cost)| Hit {
                    took: 1,
                    what: them.rows.clone(),
                    cost: *cost,
                })
        });
        found.collect()
    }

    /// The table's own columns that are named at a place.
    pub(crate) fn own_columns(&self, at: usize) -> Vec<Hit<ColumnRef>> {
        self.columns(at, &[])
            .into_iter()
            .filter(|hit| hit.what.via.is_none())
            .collect()
    }

    /// The same without columns that have the name of a table as well: "the grades of a student" may be rows of their
    /// own.
    pub(crate) fn sole_columns(&self, at: usize) -> Vec<Hit<ColumnRef>> {
        let mut found = self.own_columns(at);
        found.retain(|hit| !self.is_a_table(hit.what));
        found
    }

    /// Whether another table has the name of this table's own column.
    pub(crate) fn is_a_table(&self, column: ColumnRef) -> bool {
        self.scope(None).names.columns[column.column].is_a_table
    }

    /// The table's own times by the word for their event at a place: "born", "hired", "starting".
    pub(crate) fn times_of_events(&self, at: usize) -> Vec<Hit<ColumnRef>> {
        let word = self.words.get(at);
        let Some(word) = word.filter(|word| word.kind == words::Kind::Plain) else {
            return Vec::new();
        };
        let columns = self.scope(None).names.columns.iter().enumerate();
        let told = columns.filter(|(_, names)| names.events.contains(&word.lower.as_str()));
        told.map(|(column, _)| Hit {
            took: 1,
            what: ColumnRef { via: None, column },
            cost: 0,
        })
        .collect()
    }

    /// Columns of the table and of those that it refers to. Those behind mentioned foreign keys cost nothing extra.
    pub(crate) fn columns(&self, at: usize, mentioned: &[usize]) -> Vec<Hit<ColumnRef>> {
        let mut found: Vec<Hit<ColumnRef>> = Vec::new();
        for scope in &self.scopes {
            let extra = scope.extra(mentioned);
            for (column, names) in scope.names.columns.iter().enumerate() {
                let what = ColumnRef {
                    via: scope.via,
                    column,
                };
                for (took, cost) in self.hits(at, &names.terms) {
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

    /// Values at a place that columns are known to hold, of the table itself (`None`) or of one that it refers to.
    pub(crate) fn values(&self, at: usize, via: Option<usize>) -> Vec<Hit<(ColumnRef, &'a str)>> {
        let scope = self.scope(via);
        let columns = scope.table.columns.iter().zip(&scope.names.columns);
        let mut found = Vec::new();
        for (column, (it, names)) in columns.enumerate() {
            if !self.asked.effort.spend(1 + it.values.len()) {
                break;
            }
            for (value, stems) in it.values.iter().zip(&names.values) {
                if let Some(took) = self.value_length(at, names, value, stems) {
                    found.push(Hit {
                        took,
                        what: (ColumnRef { via, column }, value.as_str()),
                        cost: 0,
                    });
                }
            }
        }
        found
    }

    /// How many words at a place are a column's value, as it is or, for a country code, by the country's name.
    fn value_length(
        &self,
        at: usize,
        of: &ColumnNames,
        value: &str,
        stems: &[String],
    ) -> Option<usize> {
        let itself = value_length(self.words, at, value, stems);
        let rest = self.words.get(at..).unwrap_or_default();
        itself.or_else(|| {
            let length = || countries::length(rest, value);
            of.holds_countries.then(length).flatten()
        })
    }

    /// Whether the value is also the name of a row in another table, which may be meant instead: "patients in Surgery"
    /// may be those in the ward, not those of the doctors for surgery.
    pub(crate) fn is_a_name(&self, value: &str, via: Option<usize>) -> bool {
        const NAMES: [&str; 2] = ["name", "title"];
        let is_here = |table: &Table| {
            [None, via]
                .iter()
                .any(|via| std::ptr::eq(table, self.scope(*via).table))
        };
        let tells_apart = |column: &Column| {
            parts(&column.name)
                .last()
                .is_some_and(|last| NAMES.contains(&last.as_str()))
        };
        let others = self
            .asked
            .schema
            .tables
            .iter()
            .filter(|table| !is_here(table));
        let mut columns = others.flat_map(|table| &table.columns);
        columns.any(|column| {
            let may_be_read = self.asked.effort.spend(1 + column.values.len());
            let is_it = |other: &String| other.eq_ignore_ascii_case(value);
            may_be_read && column.values.iter().any(is_it) && tells_apart(column)
        })
    }

    /// The longest value at a place that this column is known to hold, and how many words it takes.
    pub(crate) fn value_of(&self, at: usize, column: ColumnRef) -> Option<(usize, &'a str)> {
        let names = &self.scope(column.via).names.columns[column.column];
        let values = self.column(column).values.iter().zip(&names.values);
        if !self.asked.effort.spend(values.len()) {
            return None;
        }
        values
            .filter_map(|(value, stems)| {
                let took = self.value_length(at, names, value, stems)?;
                Some((took, value.as_str()))
            })
            .max_by_key(|(took, _)| *took)
    }

    /// Whether a column is known to hold any of these values.
    pub(crate) fn holds_any(&self, column: ColumnRef, values: &[&String]) -> bool {
        let held = &self.column(column).values;
        let may_be_read = self.asked.effort.spend(held.len() * values.len());
        let is_one = |it: &String| values.iter().any(|value| value.eq_ignore_ascii_case(it));
        may_be_read && held.iter().any(is_one)
    }

    /// Conditions that the words at a place state of a row: of the table's own (`None`), or of one that
    /// it refers to.
    pub(crate) fn states(&self, at: usize, via: Option<usize>) -> Vec<Hit<State>> {
        let values = self.values(at, via).into_iter().map(|hit| Hit {
            took: hit.took,
            what: State::Value(hit.what.0, hit.what.1.to_owned()),
            cost: 0,
        });
        let mut found: Vec<_> = values.collect();
        let words = self.words.get(at..).unwrap_or_default();
        let scope = self.scope(via);
        for (column, names) in scope.names.columns.iter().enumerate() {
            let (at, it) = (ColumnRef { via, column }, &scope.table.columns[column]);
            let state = |is: bool| match it.kind {
                Kind::Boolean => State::Boolean(at, is),
                _ if it.is_nullable => State::Happened(at, is),
                _ => State::Always,
            };
            let Some(name) = &names.state else { continue };
            let Some(is) = truth(words, name) else {
                continue;
            };
            // What has happened for every row has no opposite, and "unpaid" is not clear where "paid"
            // is a status as well.
            let is_clear = is || (state(is) != State::Always && !self.holds(scope, name));
            if is_clear {
                found.push(Hit {
                    took: name.len(),
                    what: state(is),
                    cost: 0,
                });
            }
        }
        found
    }

    /// Whether any column of the scope is known to hold this.
    fn holds(&self, scope: &Scope<'_>, stems: &[String]) -> bool {
        let mut columns = scope.table.columns.iter();
        columns.any(|column| {
            let may_be_read = self.cut(column.values.len());
            may_be_read && column.values.iter().any(|value| parts(value) == stems)
        })
    }

    /// Spends the effort of splitting so many names into words; `false` when none is left for it.
    fn cut(&self, names: usize) -> bool {
        self.asked.effort.spend(CUTTING * names)
    }

    /// The terms that the words at a place are: how many words, and the cost.
    fn hits<'t>(
        &self,
        at: usize,
        terms: &'t Terms,
    ) -> impl Iterator<Item = (usize, u32)> + use<'a, 't> {
        let may_be_read = self.asked.effort.spend(terms.len());
        let rest = self.words.get(at..).filter(|_| may_be_read);
        let rest = rest.unwrap_or_default();
        terms
            .iter()
            .filter_map(move |(term, cost)| Some((term_length(rest, term)?, *cost)))
    }

    /// The time that is meant when none is named: the only one that is never NULL or else, if all may be
    /// NULL, the only one. Times of changes, ends and births, and last, next or planned times do not count.
    pub(crate) fn usual_time(&self) -> Option<ColumnRef> {
        const OTHERS: [&str; 22] = [
            "updated",
            "modified",
            "changed",
            "deleted",
            "expire",
            "expired",
            "expiry",
            "expiration",
            "birth",
            "born",
            "birthday",
            "dob",
            "due",
            "deadline",
            "end",
            "until",
            "last",
            "next",
            "planned",
            "expected",
            "estimated",
            "renewal",
        ];
        let is_usual = |column: &Column| {
            let name = parts(&column.name);
            column.kind == Kind::Date && !name.iter().any(|part| OTHERS.contains(&part.as_str()))
        };
        let columns = &self.table.columns;
        if !self.cut(columns.len()) {
            return None;
        }
        let times = columns.iter().enumerate();
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

    /// Whether the table has a time for the event of a participle: `graduation_date` for "graduated".
    pub(crate) fn has_time_of(&self, participle: &str) -> bool {
        let lower = participle.to_lowercase();
        let stem = lower.strip_suffix("ed").unwrap_or(&lower);
        let stem = stem.trim_end_matches('e');
        let is_its = |name: &[String]| name.iter().any(|part| part.starts_with(stem));
        let mut columns = self.table.columns.iter();
        is_participle(&lower)
            && self.cut(columns.len())
            && columns.any(|column| column.kind == Kind::Date && is_its(&parts(&column.name)))
    }

    /// The columns about the first of these words that any column is about.
    pub(crate) fn columns_meant(&self, about: &[&str]) -> Vec<ColumnRef> {
        let columns = about.iter().map(|word| self.columns_about(&[word]));
        columns
            .into_iter()
            .find(|columns| !columns.is_empty())
            .unwrap_or_default()
    }

    /// The table's own columns, other than keys, whose names have one of the words.
    pub(crate) fn columns_about(&self, about: &[&str]) -> Vec<ColumnRef> {
        let columns = &self.table.columns;
        if !self.cut(columns.len()) {
            return Vec::new();
        }
        let columns = columns.iter().enumerate();
        let is_it = |(column, it): &(usize, &Column)| {
            let mut name = parts(&it.name).into_iter();
            !self.table.is_key(*column) && name.any(|part| about.contains(&part.as_str()))
        };
        columns
            .filter(is_it)
            .map(|(column, _)| ColumnRef { via: None, column })
            .collect()
    }

    /// Whether a word is the unit that the column's name ends with, as written there or as people say it.
    pub(crate) fn is_unit(&self, column: ColumnRef, word: &Word) -> bool {
        let name = parts(&self.column(column).name);
        let mut marks = UNIT_MARKS
            .iter()
            .filter(|(mark, _)| name.last().is_some_and(|last| last == mark));
        marks.any(|(mark, spoken)| word.stem == *mark || word.stem == *spoken)
    }
}

impl Scope<'_> {
    fn extra(&self, mentioned: &[usize]) -> u32 {
        match self.via {
            Some(via) if !mentioned.contains(&via) => cost::OTHER_TABLE,
            _ => 0,
        }
    }
}

/// The names of the rows that a foreign key leads to: those of their table, and the one in the key's column.
fn parent_terms(asked: Asked<'_>, table: &Table, key: usize, noun: &Terms) -> Terms {
    let extra = role_cost(asked, table, key);
    let as_table = noun.iter().map(|(term, cost)| (term.clone(), cost + extra));
    let as_column = role(&table.foreign_keys[key]).map(|name| (name, 0));
    as_table.chain(as_column).collect()
}

/// What it costs to mean a foreign key by the name of its table: "a review of an employee" means `employee_id`
/// rather than `reviewer_id`.
fn role_cost(asked: Asked<'_>, table: &Table, key: usize) -> u32 {
    let is_other = is_of_a_handler(&table.foreign_keys[key]) && has_rival(asked, table, key);
    if is_other { cost::SYNONYM } else { 0 }
}

/// Whether, of the foreign keys to the same table as this one, one is named after that table and one after somebody
/// who deals with the row.
fn has_rival(asked: Asked<'_>, table: &Table, key: usize) -> bool {
    let this = &table.foreign_keys[key];
    let leads_there =
        |other: &&ForeignKey| (&other.schema, &other.table) == (&this.schema, &this.table);
    let mut keys = table.foreign_keys.iter().filter(leads_there);
    let Some(parent) = asked.schema.find(&this.schema, &this.table) else {
        return false;
    };
    let noun = &asked.names.table(parent).noun;
    let is_named_by_table = |other: &ForeignKey| {
        role(other).is_some_and(|role| noun.iter().any(|(term, _)| *term == role))
    };
    keys.clone().any(is_of_a_handler) && keys.any(is_named_by_table)
}

/// What the foreign key's column calls the row that it refers to: `owner` for `owner_id`.
fn role(key: &ForeignKey) -> Option<Vec<String>> {
    let [column] = &key.columns[..] else {
        return None;
    };
    let mut name = parts(column);
    let is_id = name.len() > 1 && name.pop().is_some_and(|last| last == "id");
    is_id.then_some(name)
}

/// Whether a foreign key leads to somebody who deals with the row, rather than to the row's owner or subject.
fn is_of_a_handler(key: &ForeignKey) -> bool {
    const HANDLERS: [&str; 12] = [
        "approver",
        "reviewer",
        "creator",
        "editor",
        "updater",
        "modifier",
        "verifier",
        "inspector",
        "supervisor",
        "auditor",
        "moderator",
        "by",
    ];
    let [column] = &key.columns[..] else {
        return false;
    };
    let mut name = parts(column);
    name.retain(|part| part != "id");
    name.last()
        .is_some_and(|last| HANDLERS.contains(&last.as_str()))
}

fn referring<'a>(asked: Asked<'a>, index: usize) -> Vec<Referring<'a>> {
    let parent = &asked.schema.tables[index];
    let mut found = Vec::new();
    for (table, child) in asked.schema.tables.iter().enumerate() {
        if !asked.effort.spend(1 + child.foreign_keys.len()) {
            break;
        }
        for (key, foreign) in child.foreign_keys.iter().enumerate() {
            if foreign.schema == parent.schema && foreign.table == parent.name {
                let states = Vec::new();
                found.push(Referring {
                    rows: Children { table, key, states },
                    noun: &asked.names.table(table).noun,
                    cost: role_cost(asked, child, key),
                });
            }
        }
    }
    found
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
            let rest = joined.strip_prefix(first.lower.as_str())?;
            (rest == second.stem).then_some(2)
        }
        _ => None,
    }
}

/// How many words at a place are the value. Values of up to three characters are codes, whose case must match.
fn value_length(words: &[Word], at: usize, value: &str, stems: &[String]) -> Option<usize> {
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
    term_length(rest, stems)
}

/// Whether any of the words names the table, one of its columns, or a value or state of one.
pub(crate) fn may_be_about(asked: Asked<'_>, index: usize) -> bool {
    let lexicon = Lexicon::new(asked, index);
    (0..asked.words.len()).any(|at| {
        !lexicon.subjects(at).is_empty()
            || !lexicon.own_columns(at).is_empty()
            || !lexicon.states(at, None).is_empty()
    })
}
