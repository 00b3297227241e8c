//! Rows that are identified by a number, and pairs of rows.
#![allow(clippy::unwrap_used)]

mod common;

use common::{column, condition, holding, maybe, refers, schema};
use plain_question::{Column, Kind, Reason, Schema, Table, translate};

fn table(name: &str, columns: Vec<Column>) -> Table {
    schema(name, columns).tables.remove(0)
}

/// Rooms with numbers of their own, and their bookings.
fn hotel() -> Schema {
    let rooms = table(
        "room",
        vec![
            column("number", Kind::Text),
            holding(column("state", Kind::Text), &["clean", "waiting"]),
            column("created_at", Kind::Date),
        ],
    );
    let bookings = refers(
        table("booking", vec![column("room_id", Kind::Number)]),
        "room_id",
        &rooms,
    );
    let guests = table("guest", vec![maybe(column("phone", Kind::Text))]);
    let visits = refers(
        table("visiting", vec![column("guest_id", Kind::Number)]),
        "guest_id",
        &guests,
    );
    Schema {
        tables: vec![rooms, bookings, guests, visits],
    }
}

/// A table whose rows are pairs of rows of two others.
fn junction(name: &str, one: (&str, &Table), other: (&str, &Table)) -> Table {
    let keys = [one.0, other.0];
    let pairs = Table {
        schema: "app".into(),
        name: name.into(),
        columns: keys.map(|key| column(key, Kind::Number)).into(),
        primary_key: keys.map(String::from).into(),
        ..Table::default()
    };
    refers(refers(pairs, one.0, one.1), other.0, other.1)
}

/// Posts and tags, and which tag belongs to which post.
fn blog() -> Schema {
    let posts = table("posts", vec![column("body", Kind::Text)]);
    let tags = table("tags", vec![column("name", Kind::Text)]);
    let mut pairs = junction("post_tags", ("post_id", &posts), ("tag_id", &tags));
    pairs.columns.push(column("added_at", Kind::Date));
    Schema {
        tables: vec![posts, tags, pairs],
    }
}

#[test]
fn a_row_with_a_number_of_its_own_is_called_by_it_when_the_question_says_so() {
    let hotel = hotel();
    for (question, expected) in [
        ("room number 101", Some("t.\"number\" = '101'")),
        ("room with id 101", Some("t.\"id\" = 101")),
        ("bookings of room number 101", Some("p0.\"number\" = '101'")),
        ("guest 5", Some("t.\"id\" = 5")),
        ("guest number 5", Some("t.\"id\" = 5")),
        ("room 101", None),
        ("bookings of room 101", None),
    ] {
        let found = condition(question, &hotel);
        assert_eq!(found.as_deref(), expected, "{question}");
    }
}

#[test]
fn both_meanings_of_a_number_are_told() {
    let unsure = translate("room 101", &hotel()).unwrap_err();
    let Reason::Ambiguous(queries) = unsure.reason else {
        panic!("{unsure:?}");
    };
    for condition in ["t.\"id\" = 101", "t.\"number\" = '101'"] {
        let is_told = queries.iter().any(|query| query.ends_with(condition));
        assert!(is_told, "{condition}: {queries:?}");
    }
}

#[test]
fn rows_are_found_by_their_pairs() {
    let blog = blog();
    for (question, from, condition) in [
        (
            "tags of post 5",
            "tags",
            "EXISTS (SELECT FROM \"app\".\"post_tags\" AS c WHERE c.\"tag_id\" = t.\"id\" AND c.\"post_id\" = 5)",
        ),
        (
            "posts with tag 3",
            "posts",
            "EXISTS (SELECT FROM \"app\".\"post_tags\" AS c WHERE c.\"post_id\" = t.\"id\" AND c.\"tag_id\" = 3)",
        ),
        ("post tags of post 5", "post_tags", "t.\"post_id\" = 5"),
    ] {
        let sql = translate(question, &blog).unwrap().sql;
        assert!(
            sql.contains(&format!("FROM \"app\".\"{from}\" AS t")),
            "{question}: {sql}"
        );
        assert!(sql.ends_with(condition), "{question}: {sql}");
    }
}

/// Rooms with numbers of their own, amenities, and which room has which.
fn furnished() -> Schema {
    let rooms = table("rooms", vec![column("number", Kind::Text)]);
    let amenities = table("amenities", vec![column("name", Kind::Text)]);
    let pairs = junction(
        "room_amenities",
        ("room_id", &rooms),
        ("amenity_id", &amenities),
    );
    Schema {
        tables: vec![rooms, amenities, pairs],
    }
}

#[test]
fn pairs_are_not_found_by_a_column_that_they_do_not_have() {
    let furnished = furnished();
    assert!(condition("amenities of room with id 7", &furnished).is_some());
    assert_eq!(condition("amenities of room number 7", &furnished), None);
}

#[test]
fn how_long_something_has_been_so_is_no_time_of_its_row() {
    let hotel = hotel();
    assert_eq!(condition("rooms waiting since last week", &hotel), None);
    assert!(condition("waiting rooms since last week", &hotel).is_some());
}

#[test]
fn a_noun_in_ing_has_a_verb() {
    let never = condition("guests who never visited", &hotel()).unwrap();
    assert!(
        never.starts_with("NOT EXISTS (SELECT FROM \"app\".\"visiting\""),
        "{never}"
    );
}
