//! Questions in plain words, over seven schemas, through everything that a query passes: how many of them are answered
//! (coverage), and how many of the answers are right (precision).
//!
//! The files beside this one hold the questions. Those in `.tuned` may be looked at while the grammar is worked on.
//! Those in `.held_out` are only counted, so that they measure the grammar and do not guide it. They were written
//! before it, except for those of the last four schemas, which were added later.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod compare;
mod files;

use end_to_end::{Answer, Database, Server, Setup, Sql, Token, binaries::repository};
use files::{Expected, Question};
use serde_json::json;

/// One half of the questions, and what it must reach.
struct Half {
    name: &'static str,
    /// The world's questions that belong to this half.
    of: fn(&World) -> &'static str,
    precision: f64,
    coverage: f64,
    /// Whether the questions that fail may be looked at.
    is_shown: bool,
}

const HALVES: [Half; 2] = [
    Half {
        name: "looked at while the grammar was worked on",
        of: |world| world.tuned,
        precision: 1.0,
        coverage: 0.95,
        is_shown: true,
    },
    Half {
        name: "held out",
        of: |world| world.held_out,
        precision: 0.97,
        coverage: 0.8,
        is_shown: false,
    },
];

/// A schema and the questions about it.
struct World {
    name: &'static str,
    /// The script that makes it; `None` for the sample shop, which is there already.
    script: Option<&'static str>,
    tuned: &'static str,
    held_out: &'static str,
}

const WORLDS: [World; 7] = [
    World {
        name: "shop",
        script: None,
        tuned: include_str!("shop.tuned"),
        held_out: include_str!("shop.held_out"),
    },
    World {
        name: "clinic",
        script: Some(include_str!("clinic.sql")),
        tuned: include_str!("clinic.tuned"),
        held_out: include_str!("clinic.held_out"),
    },
    World {
        name: "fleet",
        script: Some(include_str!("fleet.sql")),
        tuned: include_str!("fleet.tuned"),
        held_out: include_str!("fleet.held_out"),
    },
    World {
        name: "school",
        script: Some(include_str!("school.sql")),
        tuned: include_str!("school.tuned"),
        held_out: include_str!("school.held_out"),
    },
    World {
        name: "bank",
        script: Some(include_str!("bank.sql")),
        tuned: include_str!("bank.tuned"),
        held_out: include_str!("bank.held_out"),
    },
    World {
        name: "freight",
        script: Some(include_str!("freight.sql")),
        tuned: include_str!("freight.tuned"),
        held_out: include_str!("freight.held_out"),
    },
    World {
        name: "hr",
        script: Some(include_str!("hr.sql")),
        tuned: include_str!("hr.tuned"),
        held_out: include_str!("hr.held_out"),
    },
];

/// A world that is served.
struct Served {
    server: Server,
    token: Token,
    /// Sees the same tables in the same way.
    witness: Sql,
    _setup: Setup,
    _database: Database<'static>,
}

impl Served {
    fn new(world: &World) -> Self {
        let database = Database::fresh();
        let admin = database.superuser();
        let (role, name) = (&database.reader.role, world.name);
        if let Some(script) = world.script {
            admin.run("drop schema shop cascade");
            admin.run(script);
            admin.run(&format!(
                "grant usage on schema {name} to {role};
                 grant select on all tables in schema {name} to {role};
                 alter role {role} in database {} set search_path = {name}",
                database.name
            ));
        }
        let mut setup = Setup::new([database.entry(name, &database.reader)]);
        let token = setup.add_token();
        Self {
            server: setup.start(),
            token,
            witness: Sql::connect(&database.config(&database.reader)).unwrap(),
            _setup: setup,
            _database: database,
        }
    }

    fn ask(&self, question: &str) -> Answer {
        let arguments = json!({ "query": question, "limit": 1000 });
        self.server.call(&self.token, "query_database", arguments)
    }

    /// All rows that the answer's query returns.
    fn rows(&self, answer: &Answer) -> compare::Rows {
        let sql = answer.structured["sql"].as_str().unwrap_or_default();
        if answer.structured["truncated"] == true {
            return self.witness.rows(sql).unwrap();
        }
        compare::shown(&answer.structured["rows"])
    }
}

/// The results of a half's questions.
#[derive(Default)]
struct Score {
    answerable: usize,
    right: usize,
    wrong: Vec<String>,
    declined: Vec<String>,
}

impl Score {
    fn add(&mut self, served: &Served, question: &Question) {
        let answer = served.ask(&question.text);
        let sql = answer.structured["sql"].as_str().unwrap_or("no SQL");
        let told = format!("{}\n    {}", question.text, sql.replace('\n', " "));
        match &question.expected {
            Expected::Declined if answer.is_error => {}
            Expected::Declined => self.wrong.push(told),
            Expected::Rows { .. } if answer.is_error => {
                self.answerable += 1;
                let text = answer.text.replace('\n', "\n    ");
                self.declined.push(format!("{}\n    {text}", question.text));
            }
            Expected::Rows { sql, is_ordered } => {
                self.answerable += 1;
                let expected = served.witness.rows(sql);
                let expected = expected.unwrap_or_else(|error| panic!("{sql}: {error}"));
                if compare::are_same(&expected, &served.rows(&answer), *is_ordered) {
                    self.right += 1;
                } else {
                    self.wrong.push(told);
                }
            }
        }
    }

    fn precision(&self) -> f64 {
        share(self.right, self.right + self.wrong.len())
    }

    fn coverage(&self) -> f64 {
        share(self.right, self.answerable)
    }

    fn print(&self, half: &Half) {
        println!(
            "{}: precision {:.3}, coverage {:.3} ({} right, {} wrong, {} of {} not answered)",
            half.name,
            self.precision(),
            self.coverage(),
            self.right,
            self.wrong.len(),
            self.declined.len(),
            self.answerable
        );
        if half.is_shown {
            for (what, questions) in [("wrong", &self.wrong), ("not answered", &self.declined)] {
                for question in questions {
                    println!("{what}: {question}");
                }
            }
        }
    }
}

#[allow(clippy::cast_precision_loss)] // a few hundred
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        1.0
    } else {
        part as f64 / whole as f64
    }
}

fn questions(half: &Half) -> usize {
    let counts = WORLDS
        .iter()
        .map(|world| files::read((half.of)(world)).len());
    counts.sum()
}

#[test]
fn what_is_answered_is_right_and_most_is_answered() {
    let mut scores = [Score::default(), Score::default()];
    for world in &WORLDS {
        let served = Served::new(world);
        for (half, score) in HALVES.iter().zip(&mut scores) {
            for question in files::read((half.of)(world)) {
                score.add(&served, &question);
            }
        }
    }
    let page = std::fs::read_to_string(repository().join("docs/questions.md")).unwrap();
    for (half, score) in HALVES.iter().zip(&scores) {
        score.print(half);
        let (precision, coverage) = (score.precision(), score.coverage());
        assert!(precision >= half.precision, "{}: {precision}", half.name);
        assert!(coverage >= half.coverage, "{}: {coverage}", half.name);
        let (name, count) = (half.name, questions(half));
        let line = format!("| {name} | {count} | {precision:.2} | {coverage:.2} |");
        assert!(
            page.contains(&line),
            "docs/questions.md does not say {line}"
        );
    }
}

#[test]
fn there_are_at_least_150_questions_and_half_of_them_are_held_out() {
    let [tuned, held_out] = HALVES.each_ref().map(questions);
    assert!(tuned + held_out >= 150, "{tuned} + {held_out}");
    assert!(held_out >= tuned, "{held_out} and {tuned}");
}
