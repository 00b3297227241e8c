//! The same questions on schemas whose authors had other habits.
#![allow(clippy::unwrap_used)]

mod common;

use common::{column, condition, holding, maybe, refers, schema};
use plain_question::{Column, ForeignKey, Kind, Reason, Schema, translate};

#[test]
fn active_users_are_found_in_many_schemas_and_not_guessed_in_others() {
    let status = || holding(column("status", Kind::Enum), &["active", "banned"]);
    let deleted_at = || maybe(column("deleted_at", Kind::Date));
    for (table, columns, expected) in [
        (
            "users",
            vec![column("active", Kind::Boolean)],
            Some("t.\"active\""),
        ),
        (
            "users",
            vec![column("is_active", Kind::Boolean)],
            Some("t.\"is_active\""),
        ),
        (
            "Users",
            vec![column("IsActive", Kind::Boolean)],
            Some("t.\"IsActive\""),
        ),
        (
            "user",
            vec![column("active", Kind::Boolean)],
            Some("t.\"active\""),
        ),
        (
            "tbl_user",
            vec![column("active", Kind::Boolean)],
            Some("t.\"active\""),
        ),
        ("users", vec![status()], Some("t.\"status\" = 'active'")),
        (
            "users",
            vec![holding(column("state", Kind::Text), &["Active", "Gone"])],
            Some("t.\"state\" = 'Active'"),
        ),
        // Nothing is known of what the column holds.
        ("users", vec![column("status", Kind::Text)], None),
        // A user who is not deleted may still be banned.
        ("users", vec![deleted_at()], None),
        // Which of the two?
        (
            "users",
            vec![column("active", Kind::Boolean), status()],
            None,
        ),
        // Last activity is a time.
        ("users", vec![maybe(column("active_at", Kind::Date))], None),
    ] {
        let schema = schema(table, columns);
        let found = condition("Show me all active users", &schema);
        assert_eq!(found.as_deref(), expected, "{schema:?}");
    }
}

#[test]
fn a_state_can_be_denied() {
    for (question, column, expected) in [
        (
            "inactive users",
            column("active", Kind::Boolean),
            "NOT t.\"active\"",
        ),
        (
            "users that are not active",
            column("active", Kind::Boolean),
            "NOT t.\"active\"",
        ),
        (
            "users who aren't active",
            maybe(column("active", Kind::Boolean)),
            "t.\"active\" IS NOT TRUE",
        ),
        (
            "unverified users",
            column("is_verified", Kind::Boolean),
            "NOT t.\"is_verified\"",
        ),
        (
            "offline users",
            column("online", Kind::Boolean),
            "NOT t.\"online\"",
        ),
        (
            "deleted users",
            maybe(column("deleted_at", Kind::Date)),
            "t.\"deleted_at\" IS NOT NULL",
        ),
        (
            "users that are not deleted",
            maybe(column("deleted_at", Kind::Date)),
            "t.\"deleted_at\" IS NULL",
        ),
        (
            "users that are not banned",
            maybe(holding(column("status", Kind::Enum), &["active", "banned"])),
            "t.\"status\" IS DISTINCT FROM 'banned'",
        ),
    ] {
        let schema = schema("users", vec![column]);
        assert_eq!(
            condition(question, &schema).as_deref(),
            Some(expected),
            "{question}"
        );
    }
}

/// Tickets and invoices, with what tempts a reader to guess.
fn temptations() -> Schema {
    let owner = ForeignKey {
        columns: vec!["assignee_id".into()],
        schema: "app".into(),
        table: "employees".into(),
        targets: vec!["id".into()],
    };
    let mut tickets = schema(
        "tickets",
        vec![
            maybe(column("assignee_id", Kind::Number)),
            column("opened_at", Kind::Date),
            maybe(column("closed_at", Kind::Date)),
            holding(column("status", Kind::Text), &["new", "closed"]),
        ],
    );
    tickets.tables[0].foreign_keys.push(owner);
    let others = [
        schema(
            "employees",
            vec![holding(
                column("department", Kind::Text),
                &["Sales", "Support"],
            )],
        ),
        schema(
            "invoices",
            vec![
                column("total", Kind::Number),
                maybe(column("paid_at", Kind::Date)),
                holding(column("state", Kind::Text), &["paid", "void"]),
            ],
        ),
        schema(
            "products",
            vec![
                column("price", Kind::Number),
                column("cost", Kind::Number),
                column("in_stock", Kind::Boolean),
            ],
        ),
    ];
    tickets
        .tables
        .extend(others.into_iter().flat_map(|other| other.tables));
    tickets
}

#[test]
fn what_tempts_to_guess_is_declined() {
    let schema = temptations();
    for question in [
        // A time and a status.
        "closed tickets",
        "tickets that are not closed",
        "unpaid invoices",
        // When they were opened is said as well.
        "tickets opened and closed today",
        // A column or a sum; a count or a sum.
        "total of invoices",
        "total invoices",
        // Groups or an order.
        "products by price",
        // A department, and not its people.
        "sales",
        // Price or cost.
        "products over 100",
    ] {
        let found = translate(question, &schema);
        assert!(found.is_err(), "{question}: {found:?}");
    }
}

#[test]
fn what_only_looks_tempting_is_answered() {
    let schema = temptations();
    for (question, expected) in [
        (
            "tickets closed today",
            "t.\"closed_at\" >= current_date AND t.\"closed_at\" < current_date + 1",
        ),
        ("tickets without an assignee", "t.\"assignee_id\" IS NULL"),
        ("products in stock", "t.\"in_stock\""),
        ("products that are not in stock", "NOT t.\"in_stock\""),
        ("products cheaper than 50", "t.\"price\" < 50"),
        (
            "products with price over 100 and cost under 50",
            "t.\"price\" > 100\n  AND t.\"cost\" < 50",
        ),
        ("sales employees", "t.\"department\" = 'Sales'"),
    ] {
        assert_eq!(
            condition(question, &schema).as_deref(),
            Some(expected),
            "{question}"
        );
    }
}

#[test]
fn no_word_is_passed_over() {
    let schema = temptations();
    for question in [
        "list all tickets",
        "how many new tickets are there",
        "show me the 5 latest tickets that are not new",
        "tickets opened in March 2024 per month",
        "number of tickets per assignee",
        "average price of products in stock",
        "top 3 products by price",
        "products with price between 10 and 20 sorted by cost descending",
        "employees in Sales with more than 2 tickets",
        "which product is the cheapest",
        "tickets of assignee 7 opened last week",
        "different departments of employees",
        "what percentage of tickets are new",
        "percentage of tickets opened in 2024 that are new",
        "average number of tickets per employee in Sales",
        "how many tickets does employee 7 have",
        "employees with a new ticket",
    ] {
        assert!(translate(question, &schema).is_ok(), "{question}");
        let words: Vec<&str> = question.split(' ').collect();
        for place in 0..=words.len() {
            for strange in ["zorkish", "without", "delete", "or", "why"] {
                let mut more = words.clone();
                more.insert(place, strange);
                let more = more.join(" ");
                let found = translate(&more, &schema);
                assert!(found.is_err(), "{more}: {found:?}");
            }
        }
    }
}

/// Words that mean one thing by their column and another to people: a limit of students, the year at school beside the
/// marks, a truck's next service, the capacities of trucks and of those who own them.
fn collisions() -> Schema {
    let table = |name: &str, columns: Vec<Column>| schema(name, columns).tables.remove(0);
    let students = table(
        "students",
        vec![
            holding(column("status", Kind::Text), &["active", "graduated"]),
            column("grade", Kind::Number),
            column("enrolled_on", Kind::Date),
            maybe(column("graduation_date", Kind::Date)),
        ],
    );
    let grades = table("grades", vec![column("score", Kind::Number)]);
    let courses = table("courses", vec![column("max_students", Kind::Number)]);
    let depots = table(
        "depots",
        vec![
            column("is_open", Kind::Boolean),
            column("capacity_pallets", Kind::Number),
        ],
    );
    let trucks = table(
        "trucks",
        vec![
            column("depot_id", Kind::Number),
            column("capacity_kg", Kind::Number),
            column("next_service_date", Kind::Date),
        ],
    );
    let trucks = refers(trucks, "depot_id", &depots);
    let employees = table(
        "employees",
        vec![
            column("depot_id", Kind::Number),
            column("salary", Kind::Number),
            column("birth_date", Kind::Date),
            column("hired_on", Kind::Date),
            maybe(column("terminated_on", Kind::Date)),
        ],
    );
    let employees = refers(employees, "depot_id", &depots);
    let tokens = table("tokens", vec![column("expires_at", Kind::Date)]);
    let wards = table(
        "wards",
        vec![holding(column("name", Kind::Text), &["Surgery"])],
    );
    let doctors = table(
        "doctors",
        vec![
            holding(column("specialty", Kind::Text), &["surgery", "cardiology"]),
            column("joined_on", Kind::Date),
        ],
    );
    let patients = table("patients", vec![column("doctor_id", Kind::Number)]);
    let patients = refers(patients, "doctor_id", &doctors);
    let posts = table("posts", vec![column("views", Kind::Number)]);
    let post_views = table("post_views", vec![column("post_id", Kind::Number)]);
    let post_views = refers(post_views, "post_id", &posts);
    let mut days = table("days", vec![column("trucks", Kind::Number)]);
    days.primary_key.clear();
    Schema {
        tables: vec![
            students, grades, courses, depots, trucks, employees, tokens, wards, doctors, patients,
            posts, post_views, days,
        ],
    }
}

#[test]
fn what_people_mean_by_another_name_is_not_guessed() {
    let schema = collisions();
    for question in [
        "students in course 3",
        "courses with more than 20 students",
        "course 3 students",
        "list the grades of student 5",
        "average grade of students",
        "total capacity of open depots",
        "oldest truck",
        "trucks last week",
        "tokens last week",
        "graduated students in 2024",
        "terminated employees in 2023",
        "depots with terminated employees in 2023",
        "terminated employees per year",
        "graduated students per month",
        "employees over 50",
        "employees between 30 and 40",
        "employees older than 50 years",
        "oldest doctor",
        "largest truck",
        "average trucks",
        "total trucks",
        "patients in surgery",
        "number of views of post 5",
        "how many views does post 5 have",
    ] {
        let found = translate(question, &schema);
        assert!(found.is_err(), "{question}: {found:?}");
    }
    for (question, expected) in [
        ("students in grade 9", "t.\"grade\" = 9"),
        (
            "courses with max students over 20",
            "t.\"max_students\" > 20",
        ),
        (
            "trucks with capacity over 900 kg",
            "t.\"capacity_kg\" > 900",
        ),
        ("employees over 50000", "t.\"salary\" > 50000"),
        (
            "most recently terminated employees",
            "t.\"terminated_on\" IS NOT NULL\nORDER BY t.\"terminated_on\" DESC NULLS LAST, t.\"id\"",
        ),
        ("patients in cardiology", "p0.\"specialty\" = 'cardiology'"),
        ("doctors in surgery", "t.\"specialty\" = 'surgery'"),
        ("how many post views does post 5 have", "t.\"post_id\" = 5"),
        (
            "employees hired in 2023",
            "t.\"hired_on\" >= DATE '2023-01-01' AND t.\"hired_on\" < DATE '2024-01-01'",
        ),
    ] {
        let found = condition(question, &schema);
        assert_eq!(found.as_deref(), Some(expected), "{question}");
    }
}

/// Reviews of employees, by employees, and countries as codes.
fn reviews() -> Schema {
    let table = |name: &str, columns: Vec<Column>| schema(name, columns).tables.remove(0);
    let employees = table(
        "employees",
        vec![
            holding(column("country_code", Kind::Text), &["NO", "SE"]),
            column("is_remote", Kind::Boolean),
            column("has_car", Kind::Boolean),
            column("hire_date", Kind::Date),
            column("date_of_birth", Kind::Date),
        ],
    );
    let reviews = table(
        "reviews",
        vec![
            column("employee_id", Kind::Number),
            column("reviewer_id", Kind::Number),
            column("stars", Kind::Number),
            holding(column("status", Kind::Text), &["approved", "draft"]),
        ],
    );
    let reviews = refers(reviews, "employee_id", &employees);
    let reviews = refers(reviews, "reviewer_id", &employees);
    Schema {
        tables: vec![employees, reviews],
    }
}

#[test]
fn what_did_not_happen_is_in_no_period() {
    let schema = collisions();
    let sql = translate("employees terminated per year", &schema)
        .unwrap()
        .sql;
    let expected = "SELECT date_trunc('year', t.\"terminated_on\") AS \"year\", count(*) AS \"count\"\n\
        FROM \"app\".\"employees\" AS t\n\
        WHERE t.\"terminated_on\" IS NOT NULL\n\
        GROUP BY date_trunc('year', t.\"terminated_on\")\nORDER BY 1";
    assert_eq!(sql, expected);
    let found = translate("percentage of employees terminated per year", &schema);
    assert!(found.is_err(), "{found:?}");
}

#[test]
fn whose_rows_are_is_told_from_who_dealt_with_them() {
    let schema = reviews();
    for (question, expected) in [
        ("reviews of employee 5", "t.\"employee_id\" = 5"),
        ("reviews of reviewer 5", "t.\"reviewer_id\" = 5"),
        (
            "how many reviews does employee 5 have",
            "t.\"employee_id\" = 5",
        ),
        (
            "employees without a draft review",
            "NOT EXISTS (SELECT FROM \"app\".\"reviews\" AS c WHERE c.\"employee_id\" = t.\"id\" AND c.\"status\" = 'draft')",
        ),
    ] {
        let found = condition(question, &schema);
        assert_eq!(found.as_deref(), Some(expected), "{question}");
    }
    for question in [
        "reviews by employee 5",
        "reviews approved by employee 5",
        "reviews for employee 5",
        "how many reviews did employee 5 write",
        "employees who wrote a review",
        "employees who wrote more than 3 reviews",
    ] {
        let found = translate(question, &schema);
        assert!(found.is_err(), "{question}: {found:?}");
    }
}

#[test]
fn the_highest_number_of_them_is_the_most() {
    let schema = reviews();
    for (number, most) in [
        (
            "which employee has the highest number of reviews",
            "which employee has the most reviews",
        ),
        (
            "employee with the lowest number of draft reviews",
            "employee with the fewest draft reviews",
        ),
        (
            "which country code has the largest number of employees",
            "which country code has the most employees",
        ),
    ] {
        let [number, most] = [number, most].map(|question| translate(question, &schema));
        assert_eq!(number.unwrap().sql, most.unwrap().sql);
    }
}

#[test]
fn a_share_is_of_what_is_said_before_it() {
    let schema = reviews();
    for (question, share, of) in [
        ("percentage of remote employees", "t.\"is_remote\"", None),
        (
            "what percentage of employees are remote",
            "t.\"is_remote\"",
            None,
        ),
        (
            "what percentage of employees in Norway are not remote",
            "NOT t.\"is_remote\"",
            Some("t.\"country_code\" = 'NO'"),
        ),
        (
            "percentage of remote employees who have a car",
            "t.\"has_car\"",
            Some("t.\"is_remote\""),
        ),
    ] {
        let sql = translate(question, &schema).unwrap().sql;
        let (found, rest) = sql
            .split_once("FILTER (WHERE ")
            .and_then(|(_, rest)| rest.split_once(") / "))
            .unwrap();
        assert_eq!(found, share, "{question}");
        let found = rest.split_once("WHERE ").map(|(_, condition)| condition);
        assert_eq!(found, of, "{question}");
    }
    for question in [
        "percentage of employees",
        "percentage of employees per country",
        "percentage of remote employees in Norway",
        "percentage of employees in Norway and remote",
        "percentage of remote employees without a car",
        "percentage of employees who are in Norway and remote",
        "percentage of the newest employees who are remote",
    ] {
        let found = translate(question, &schema);
        assert!(found.is_err(), "{question}: {found:?}");
    }
}

#[test]
fn a_number_of_others_is_measured_with_those_that_have_none() {
    let schema = reviews();
    let sql = translate("average number of draft reviews per employee", &schema)
        .unwrap()
        .sql;
    let count = "(SELECT count(*) FROM \"app\".\"reviews\" AS c WHERE c.\"employee_id\" = t.\"id\" AND c.\"status\" = 'draft')";
    assert_eq!(
        sql,
        format!(
            "SELECT avg({count}) AS \"average_number_of_reviews\"\nFROM \"app\".\"employees\" AS t"
        )
    );
    for question in [
        "average number of reviews per employee per month",
        "average number of reviews per employee in 2024",
        "average number of reviews",
    ] {
        let found = translate(question, &schema);
        assert!(found.is_err(), "{question}: {found:?}");
    }
}

#[test]
fn events_and_countries_go_by_the_words_that_people_use() {
    let schema = reviews();
    for (question, expected) in [
        ("employees from Norway", "t.\"country_code\" = 'NO'"),
        (
            "employees from Norway or Sweden",
            "t.\"country_code\" IN ('NO', 'SE')",
        ),
        (
            "employees hired before 2020",
            "t.\"hire_date\" < DATE '2020-01-01'",
        ),
        (
            "employees born before 1970",
            "t.\"date_of_birth\" < DATE '1970-01-01'",
        ),
        ("employees with a car", "t.\"has_car\""),
        ("reviews with stars 4 or 5", "t.\"stars\" IN ('4', '5')"),
    ] {
        let found = condition(question, &schema);
        assert_eq!(found.as_deref(), Some(expected), "{question}");
    }
    assert!(translate("employees from Denmark", &schema).is_err());
}

#[test]
fn what_is_in_stock_is_told_by_a_column_or_by_rows_that_count_it() {
    let products = |columns: Vec<Column>| schema("products", columns);
    let stocks = |columns: Vec<Column>| {
        let mut schema = products(vec![]);
        let id = vec![column("product_id", Kind::Number)];
        let stock = self::schema("stock", id.into_iter().chain(columns).collect());
        let stock = refers(stock.tables[0].clone(), "product_id", &schema.tables[0]);
        schema.tables.push(stock);
        schema
    };
    let number = |name: &str| column(name, Kind::Number);
    let some = "EXISTS (SELECT FROM \"app\".\"stock\" AS c WHERE c.\"product_id\" = t.\"id\" AND c.\"quantity\" > 0)";
    for (schema, is_in, is_out) in [
        (
            products(vec![column("in_stock", Kind::Boolean)]),
            "t.\"in_stock\"".to_owned(),
            "NOT t.\"in_stock\"".to_owned(),
        ),
        (
            products(vec![number("units_in_stock"), number("min_stock")]),
            "t.\"units_in_stock\" > 0".to_owned(),
            "t.\"units_in_stock\" <= 0".to_owned(),
        ),
        (
            stocks(vec![number("quantity"), number("unit_price")]),
            some.to_owned(),
            format!("NOT {some}"),
        ),
    ] {
        for (question, expected) in [
            ("products in stock", &is_in),
            ("which products are out of stock", &is_out),
            ("products that are not in stock", &is_out),
        ] {
            let found = condition(question, &schema);
            assert_eq!(found.as_ref(), Some(expected), "{question}");
        }
    }
    for schema in [
        products(vec![]),
        products(vec![number("shop_stock"), number("depot_stock")]),
        stocks(vec![number("quantity"), number("ordered_quantity")]),
    ] {
        let found = translate("products in stock", &schema);
        assert!(found.is_err(), "{found:?}");
    }
    // Pieces, or kinds of them.
    let found = translate(
        "how many products are in stock",
        &stocks(vec![number("quantity")]),
    );
    assert!(found.is_err(), "{found:?}");
}

#[test]
fn two_tables_of_one_name_are_not_told_apart() {
    let mut twice = schema("users", vec![]);
    let mut other = twice.tables[0].clone();
    other.schema = "audit".into();
    twice.tables.push(other);
    let unsure = translate("how many users", &twice).unwrap_err();
    let Reason::Ambiguous(queries) = &unsure.reason else {
        panic!("{unsure:?}")
    };
    assert_eq!(queries.len(), 2);
    assert_eq!(unsure.nearest, [["app", "users"], ["audit", "users"]]);
}

#[test]
fn every_name_and_every_text_is_quoted() {
    let odd = holding(column("st\"ate", Kind::Text), &["it's \\ \"new\""]);
    let schema = schema("us\"ers", vec![odd]);
    let sql = translate("us\"ers", &schema).unwrap().sql;
    assert_eq!(sql, "SELECT t.*\nFROM \"app\".\"us\"\"ers\" AS t");

    let schema = schema_with("name", Kind::Text);
    for (question, expected) in [
        ("users named 'O'", "t.\"name\" = 'O'"),
        ("users named \"O'Neil\"", "t.\"name\" = 'O''Neil'"),
        ("users named 'a\\'", "t.\"name\" = E'a\\\\'"),
        (
            "users named \"'; DROP TABLE users; --\"",
            "t.\"name\" = '''; DROP TABLE users; --'",
        ),
    ] {
        assert_eq!(
            condition(question, &schema).as_deref(),
            Some(expected),
            "{question}"
        );
    }
}

fn schema_with(name: &str, kind: Kind) -> Schema {
    schema("users", vec![column(name, kind)])
}

#[test]
fn what_is_left_unexplained_is_told_with_what_is_near() {
    let schema = schema(
        "users",
        vec![column("active", Kind::Boolean), column("email", Kind::Text)],
    );
    let unsure = translate("active users with a nice emial", &schema).unwrap_err();
    assert_eq!(
        unsure.reason,
        Reason::Unexplained(vec!["with".into(), "nice".into(), "emial".into()])
    );
    assert_eq!(
        unsure.understood,
        ["rows of app.users", "where active is true"]
    );
    assert!(
        unsure
            .nearest
            .contains(&["app", "users", "email"].map(str::to_owned).to_vec()),
        "{unsure:?}"
    );
    let suggestion = unsure.suggestion.unwrap();
    assert!(suggestion.contains("WHERE t.\"active\""), "{suggestion}");
    assert!(suggestion.ends_with("LIMIT 10"), "{suggestion}");
}

#[test]
fn what_is_too_long_or_about_nothing_is_told() {
    let schema = schema("users", vec![]);
    for (question, schema, reason) in [
        ("users ".repeat(61), &schema, Reason::TooLong),
        ("u".repeat(1_001), &schema, Reason::TooLong),
        ("users".into(), &Schema::default(), Reason::NoTables),
    ] {
        assert_eq!(translate(&question, schema).unwrap_err().reason, reason);
    }
}

#[test]
fn a_column_whose_name_has_no_word_in_it_says_nothing_by_that() {
    let flag = Column {
        comment: Some("Also called: flag".into()),
        ..column("__", Kind::Boolean)
    };
    let schema = schema("users", vec![flag]);
    for question in ["users", "users with a flag"] {
        assert_eq!(condition(question, &schema), None, "{question}");
    }
}

#[test]
fn a_column_that_cannot_be_compared_with_texts_is_compared_as_one() {
    let status = Column {
        needs_cast: true,
        ..holding(column("status", Kind::Enum), &["sent", "lost", "paid"])
    };
    let schema = schema("parcels", vec![maybe(status)]);
    for (question, expected) in [
        ("lost parcels", "t.\"status\"::text = 'lost'"),
        (
            "parcels that are not lost",
            "t.\"status\"::text IS DISTINCT FROM 'lost'",
        ),
        (
            "parcels that are sent or paid",
            "t.\"status\"::text IN ('sent', 'paid')",
        ),
        ("parcels without a status", "t.\"status\" IS NULL"),
    ] {
        let condition = condition(question, &schema).unwrap_or_default();
        let condition = condition.split('\n').next().unwrap();
        assert_eq!(condition, expected, "{question}");
    }
}
