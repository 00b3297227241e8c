//! Which column a value or an amount belongs to, and what it says of rows.
#![allow(clippy::unwrap_used)]

mod common;

use common::{column, condition, holding, maybe, refers, schema};
use plain_question::{Column, Kind, Schema, translate};

/// Shipments of clients, both in countries, and customers of customers, in a city and a country of one name.
fn places() -> Schema {
    let table = |name: &str, columns: Vec<Column>| schema(name, columns).tables.remove(0);
    let countries = ["France", "Norway", "Spain"];
    let clients = table(
        "client",
        vec![
            maybe(column("name", Kind::Text)),
            holding(column("country", Kind::Text), &countries),
            holding(column("town", Kind::Text), &["Oslo", "Lyon"]),
        ],
    );
    let shipments = table(
        "shipment",
        vec![
            column("client_id", Kind::Number),
            maybe(holding(column("country", Kind::Text), &countries)),
            holding(column("state", Kind::Text), &["lost", "sent"]),
            holding(column("priority", Kind::Text), &["express", "slow"]),
            column("weight_kg", Kind::Number),
        ],
    );
    let shipments = refers(shipments, "client_id", &clients);
    let customers = table(
        "customer",
        vec![
            holding(
                column("country", Kind::Text),
                &["France", "Norway", "Georgia"],
            ),
            holding(
                column("city", Kind::Text),
                &["Washington", "Georgia", "Paris"],
            ),
            holding(column("tier", Kind::Text), &["gold", "silver"]),
            maybe(column("parent_customer_id", Kind::Number)),
        ],
    );
    let itself = customers.clone();
    let customers = refers(customers, "parent_customer_id", &itself);
    let products = table(
        "product",
        vec![
            holding(column("colour", Kind::Text), &["red", "green"]),
            holding(column("size", Kind::Text), &["large", "small"]),
        ],
    );
    Schema {
        tables: vec![clients, shipments, customers, products],
    }
}

#[test]
fn and_joins_values_of_one_column_and_never_one_of_each_of_two() {
    let schema = places();
    for (question, expected) in [
        (
            "shipments from France and Norway",
            "t.\"country\" IN ('France', 'Norway')",
        ),
        (
            "how many shipments from France and Norway",
            "t.\"country\" IN ('France', 'Norway')",
        ),
        (
            "shipments from France, Norway and Spain",
            "t.\"country\" IN ('France', 'Norway', 'Spain')",
        ),
        (
            "shipments from France or Norway",
            "t.\"country\" IN ('France', 'Norway')",
        ),
        (
            "shipments from France, Norway",
            "t.\"country\" IN ('France', 'Norway')",
        ),
        (
            "shipments from clients in France and Norway",
            "p0.\"country\" IN ('France', 'Norway')",
        ),
        (
            "express shipments from clients in Lyon and Oslo",
            "t.\"priority\" = 'express'\n  AND p0.\"town\" IN ('Lyon', 'Oslo')",
        ),
        (
            "shipments in Norway from clients in France",
            "t.\"country\" = 'Norway'\n  AND p0.\"country\" = 'France'",
        ),
        (
            "shipments in Norway and from clients in France",
            "t.\"country\" = 'Norway'\n  AND p0.\"country\" = 'France'",
        ),
        (
            "shipments from clients in France that are sent",
            "p0.\"country\" = 'France'\n  AND t.\"state\" = 'sent'",
        ),
        (
            "how many customers from France and Norway",
            "t.\"country\" IN ('France', 'Norway')",
        ),
        (
            "customers of tier gold and silver",
            "t.\"tier\" IN ('gold', 'silver')",
        ),
        (
            "gold and silver customers",
            "t.\"tier\" IN ('gold', 'silver')",
        ),
        (
            "customers whose tier is gold and silver",
            "t.\"tier\" IN ('gold', 'silver')",
        ),
        (
            "customers in Washington and Georgia",
            "t.\"city\" IN ('Washington', 'Georgia')",
        ),
        (
            "customers with city Washington and country Georgia",
            "t.\"city\" = 'Washington'\n  AND t.\"country\" = 'Georgia'",
        ),
        (
            "customers except gold and silver",
            "t.\"tier\" NOT IN ('gold', 'silver')",
        ),
        (
            "customers in Paris, France",
            "t.\"city\" = 'Paris'\n  AND t.\"country\" = 'France'",
        ),
        (
            "customers in Washington and from France",
            "t.\"city\" = 'Washington'\n  AND t.\"country\" = 'France'",
        ),
        (
            "shipments with weight over 100 and lost",
            "t.\"weight_kg\" > 100\n  AND t.\"state\" = 'lost'",
        ),
        ("red and green products", "t.\"colour\" IN ('red', 'green')"),
        (
            "products that are red and large",
            "t.\"colour\" = 'red'\n  AND t.\"size\" = 'large'",
        ),
    ] {
        let found = condition(question, &schema);
        assert_eq!(found.as_deref(), Some(expected), "{question}");
    }
    for question in [
        // Those with shipments in both, or in one of them.
        "clients with shipments in France and Norway",
        "clients with more than 2 shipments in France and Norway",
        "clients with the most shipments in France and Norway",
        "clients with shipments in France, Norway and Spain",
        "clients with sent shipments in France and Norway",
        "clients with lost and sent shipments",
        "clients without shipments in France and Norway",
        // The town or the country of the client, or the country of the shipment.
        "shipments from Oslo and Norway",
        "shipments from clients in Oslo and Norway",
        "shipments from clients in Oslo, Norway",
        "shipments from France and in Norway",
        "shipments from France and from Norway",
        "shipments of clients in Oslo and from Norway",
        "shipments from clients in France and not Norway",
        // Places of two kinds, one in the other or each by itself.
        "customers in Paris and France",
        "customers of tier gold and France",
        "clients in Lyon and Oslo and Norway",
        "clients in Lyon and Oslo, Norway",
        // A city and its country, or two cities.
        "customers in Washington, Georgia",
        "customers with tier gold in Washington and in Georgia",
        "customers in Washington but Georgia",
        "customers not in Washington and from Georgia",
    ] {
        let found = translate(question, &schema);
        assert!(found.is_err(), "{question}: {found:?}");
    }
}

#[test]
fn what_is_unknown_is_none_of_what_is_denied() {
    let schema = places();
    for (question, expected) in [
        (
            "shipments not from France",
            "t.\"country\" IS DISTINCT FROM 'France'",
        ),
        (
            "shipments not from France or Norway",
            "(t.\"country\" IN ('France', 'Norway')) IS NOT TRUE",
        ),
        (
            "shipments not from France, Norway and Spain",
            "(t.\"country\" IN ('France', 'Norway', 'Spain')) IS NOT TRUE",
        ),
        (
            "shipments that are neither lost nor sent",
            "t.\"state\" NOT IN ('lost', 'sent')",
        ),
        (
            "what percentage of shipments are not from France or Norway",
            "(t.\"country\" IN ('France', 'Norway')) IS NOT TRUE",
        ),
    ] {
        let sql = translate(question, &schema).unwrap().sql;
        assert!(sql.contains(expected), "{question}: {sql}");
    }
    let states = maybe(holding(
        column("state", Kind::Enum),
        &["lost", "sent", "new"],
    ));
    let schema = self::schema("parcels", vec![states]);
    for question in [
        "parcels that are neither lost nor sent",
        "parcels except lost and sent",
    ] {
        assert_eq!(
            condition(question, &schema).as_deref(),
            Some("(t.\"state\" IN ('lost', 'sent')) IS NOT TRUE"),
            "{question}"
        );
    }
}

/// Amounts in cents, in a currency, and in a unit that the schema does not give.
fn amounts() -> Schema {
    let table = |name: &str, columns: Vec<Column>| schema(name, columns).tables.remove(0);
    let buyers = table("buyer", vec![]);
    let orders = table(
        "order",
        vec![
            column("buyer_id", Kind::Number),
            column("total_cents", Kind::Number),
            holding(column("currency", Kind::Text), &["EUR", "USD"]),
        ],
    );
    let invoices = table(
        "invoice",
        vec![
            column("amount", Kind::Number),
            holding(column("currency", Kind::Text), &["EUR", "USD"]),
        ],
    );
    Schema {
        tables: vec![
            refers(orders, "buyer_id", &buyers),
            buyers,
            invoices,
            table("product", vec![column("price_cents", Kind::Number)]),
            table("tent", vec![column("price", Kind::Number)]),
            table("boat", vec![column("price_eur", Kind::Number)]),
            table("ski", vec![column("price_nok", Kind::Number)]),
            table("stamp", vec![column("price_pence", Kind::Number)]),
            table("parcel", vec![column("weight_g", Kind::Number)]),
        ],
    }
}

#[test]
fn an_amount_is_compared_with_what_is_in_its_unit_only() {
    let schema = amounts();
    for (question, expected) in [
        ("orders over 5000 cents", "t.\"total_cents\" > 5000"),
        (
            "orders with total cents between 100 and 200",
            "t.\"total_cents\" BETWEEN 100 AND 200",
        ),
        (
            "products with price cents below 2000",
            "t.\"price_cents\" < 2000",
        ),
        ("stamps under 50 pence", "t.\"price_pence\" < 50"),
        ("tents over $99.50", "t.\"price\" > 99.50"),
        ("tents over €1,200", "t.\"price\" > 1200"),
        ("tents cheaper than £20", "t.\"price\" < 20"),
        ("tents between $10 and $20", "t.\"price\" BETWEEN 10 AND 20"),
        ("boats cheaper than €500", "t.\"price_eur\" < 500"),
        ("boats cheaper than 500 euros", "t.\"price_eur\" < 500"),
        ("invoices over 100", "t.\"amount\" > 100"),
        (
            "invoices over 100 EUR",
            "t.\"amount\" > 100\n  AND t.\"currency\" = 'EUR'",
        ),
    ] {
        let found = condition(question, &schema);
        assert_eq!(found.as_deref(), Some(expected), "{question}");
    }
    assert!(translate("cheapest product", &schema).is_ok());
    for question in [
        "orders above $50",
        "orders above €50",
        "orders over 100",
        "orders over 100 EUR",
        "orders between 10 and 20",
        "buyers with an order over 100",
        "buyers with orders over $100",
        "buyers with more than $5 orders",
        "average number of orders over 100 per buyer",
        "products cheaper than 20",
        "products cheaper than $20",
        "products that cost between 10 and 20",
        "products priced 20 or more",
        "stamps under 1",
        // Which of them?
        "invoices over $100",
        "boats over $500",
        "skis over $500",
        "parcels over $5",
        "parcels weighing over $5",
        "tent $7",
        "orders of buyer $7",
        "top $5 tents by price",
        "tents limit $3",
    ] {
        let found = translate(question, &schema);
        assert!(found.is_err(), "{question}: {found:?}");
    }
}

#[test]
fn of_a_table_that_is_known_in_part_the_known_columns_are_named() {
    let city = holding(column("city", Kind::Text), &["Oslo"]);
    let mut schema = schema("person", vec![column("name", Kind::Text), city]);
    for (is_in_part, rows) in [(false, "t.*"), (true, "t.\"id\", t.\"name\", t.\"city\"")] {
        schema.tables[0].is_in_part = is_in_part;
        let sql = |question: &str| translate(question, &schema).unwrap().sql;
        let all = format!("SELECT {rows}\nFROM \"app\".\"person\" AS t");
        assert_eq!(sql("show me all persons"), all);
        let some = format!("{all}\nWHERE t.\"city\" = 'Oslo'");
        assert_eq!(sql("persons in Oslo"), some);
        assert_eq!(
            translate("happy persons in Oslo", &schema)
                .unwrap_err()
                .suggestion,
            Some(format!("{all}\nORDER BY t.\"id\"\nLIMIT 10"))
        );
    }
}

#[test]
fn nationalities_go_by_the_names_of_countries() {
    let nationality = holding(column("nationality", Kind::Text), &["DE", "NO"]);
    let guests = schema("guests", vec![nationality]);
    for (question, expected) in [
        ("guests from Germany", "t.\"nationality\" = 'DE'"),
        ("guests with nationality Norway", "t.\"nationality\" = 'NO'"),
    ] {
        let found = condition(question, &guests);
        assert_eq!(found.as_deref(), Some(expected), "{question}");
    }
}
