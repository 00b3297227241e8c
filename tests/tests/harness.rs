//! Tests of what the other tests build on.
#![allow(clippy::unwrap_used)]

use end_to_end::{Database, Postgres, Sql, certificate};

#[test]
fn each_database_is_a_fresh_copy_with_roles_of_its_own() {
    let (one, other) = (Database::fresh(), Database::fresh());
    one.superuser().run("delete from shop.reviews");
    assert_eq!(
        other.superuser().value("select count(*) from shop.reviews"),
        "1200"
    );
    assert_ne!(one.reader.role, other.reader.role);
}

#[test]
fn a_reader_reads_over_tcp_with_its_password_and_nothing_more() {
    let database = Database::fresh();
    let reader = Sql::connect(&database.config(&database.reader)).unwrap();
    assert_eq!(reader.value("select count(*) from users"), "1000");
    assert_eq!(
        reader.rows("delete from shop.reviews").unwrap_err().state,
        "42501"
    );
    assert_eq!(
        reader.rows("create table mine()").unwrap_err().state,
        "42501"
    );

    let mut config = database.config(&database.reader);
    config.password("wrong");
    assert_eq!(Sql::connect(&config).err().unwrap().state, "28P01");
}

#[test]
fn an_owner_may_change_the_shop() {
    let database = Database::fresh();
    let owner = Sql::connect(&database.config(&database.owner)).unwrap();
    owner.run("create table shop.mine(); delete from shop.reviews; create table public.mine()");
    assert_eq!(owner.value("select count(*) from reviews"), "0");
}

#[test]
fn a_role_of_one_database_cannot_enter_another() {
    let (one, other) = (Database::fresh(), Database::fresh());
    let mut config = other.config(&one.reader);
    config.dbname(&other.name);
    assert_eq!(Sql::connect(&config).err().unwrap().state, "42501");
}

#[test]
fn a_server_with_tls_refuses_who_comes_without() {
    let postgres = Postgres::with_tls(&certificate::for_localhost());
    let database = Database::fresh_in(&postgres);
    let mut config = database.config(&database.reader);
    config.ssl_mode(tokio_postgres::config::SslMode::Disable);
    let refused = Sql::connect(&config).err().unwrap();
    assert_eq!(refused.state, "28000", "{refused}");
    assert_eq!(database.superuser().value("show ssl"), "on");
}
