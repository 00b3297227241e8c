use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use private_postgres::sample;
use serde_json::{Value, json};
use tokio_postgres::Config;

use crate::postgres::Postgres;
use crate::sql::Sql;
use crate::wait;

/// A role and its password.
#[derive(Clone, Debug)]
pub struct Login {
    /// The role.
    pub role: String,
    /// Its password.
    pub password: String,
}

/// A database of a test's own: a copy of the sample shop.
pub struct Database<'a> {
    /// The server that it is in.
    pub postgres: &'a Postgres,
    /// Its name.
    pub name: String,
    /// May read the schema `shop`, which is its search path, and nothing else.
    pub reader: Login,
    /// Owns the schema `shop` and all that is in it, and may create.
    pub owner: Login,
}

impl Database<'static> {
    /// A fresh database in the server that all tests of this process share.
    pub fn fresh() -> Self {
        Self::fresh_in(Postgres::shared())
    }
}

impl<'a> Database<'a> {
    /// A fresh database in the given server.
    pub fn fresh_in(postgres: &'a Postgres) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mcptest_{}_{number}", std::process::id());
        let admin = postgres.superuser("postgres");
        copy_template(postgres, &admin, &name);
        let database = Self {
            reader: login(&name, "reader"),
            owner: login(&name, "owner"),
            postgres,
            name,
        };
        database.make_roles();
        database
    }

    /// Connects as the superuser.
    pub fn superuser(&self) -> Sql {
        self.postgres.superuser(&self.name)
    }

    /// Makes a login role with a password; `attributes` as in `CREATE ROLE`.
    pub fn role(&self, suffix: &str, attributes: &str) -> Login {
        let login = login(&self.name, suffix);
        let (role, password) = (&login.role, &login.password);
        self.superuser().run(&format!(
            "create role {role} login {attributes} password '{password}';
             alter role {role} in database {} set search_path = shop, public",
            self.name
        ));
        login
    }

    /// How a role connects over TCP.
    pub fn config(&self, login: &Login) -> Config {
        let mut config = Config::new();
        config
            .host(&self.postgres.host)
            .port(self.postgres.port)
            .dbname(&self.name)
            .user(&login.role)
            .password(&login.password);
        config
    }

    /// The entry for `databases:` in the server's configuration.
    pub fn entry(&self, name: &str, login: &Login) -> Value {
        json!({
            "name": name,
            "host": self.postgres.host,
            "port": self.postgres.port,
            "database": self.name,
            "user": login.role,
            "password": login.password,
        })
    }

    fn make_roles(&self) {
        let (name, reader, owner) = (&self.name, &self.reader.role, &self.owner.role);
        self.role("reader", "nosuperuser nocreatedb nocreaterole noinherit");
        self.role("owner", "nosuperuser nocreatedb nocreaterole");
        self.superuser().run(&format!(
            "revoke all on database {name} from public;
             grant connect on database {name} to {reader};
             grant connect, create, temporary on database {name} to {owner};
             grant create on schema public to {owner};
             alter schema shop owner to {owner};
             do $$ declare line record; begin
                 for line in select oid::regclass as relation from pg_class
                              where relnamespace = 'shop'::regnamespace and relkind in ('r', 'v', 'm')
                 loop execute format('alter table %s owner to {owner}', line.relation); end loop;
             end $$;
             grant usage on schema shop to {reader};
             grant select on all tables in schema shop to {reader}"
        ));
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        if self.postgres.is_lent() {
            let admin = self.postgres.superuser("postgres");
            let _ = admin.rows(&format!("drop database {} with (force)", self.name));
            for role in [&self.reader.role, &self.owner.role] {
                let _ = admin.rows(&format!("drop role {role}"));
            }
        }
    }
}

fn login(database: &str, suffix: &str) -> Login {
    Login {
        role: format!("{database}_{suffix}"),
        password: format!("canary-password-{database}-{suffix}"),
    }
}

/// Copies the template database, which the first process to need it makes. Its name changes with its content.
fn copy_template(postgres: &Postgres, admin: &Sql, name: &str) {
    let template = format!("mcptest_template_{:016x}", fnv(sample::SHOP));
    let is_ready =
        format!("select 1 from pg_database where datname = '{template}' and datistemplate");
    if admin.value(&is_ready).is_empty() {
        admin.run("select pg_advisory_lock(727401)");
        if admin.value(&is_ready).is_empty() {
            make_template(postgres, admin, &template);
        }
        admin.run("select pg_advisory_unlock(727401)");
    }
    // 55006: something is still connected to the template, such as its maker or autovacuum.
    wait::until(
        "the template can be copied",
        Duration::from_secs(20),
        || match admin.rows(&format!("create database {name} template {template}")) {
            Ok(_) => true,
            Err(error) if error.state == "55006" => false,
            Err(error) => panic!("{error}"),
        },
    );
}

fn make_template(postgres: &Postgres, admin: &Sql, template: &str) {
    admin.run(&format!("drop database if exists {template}"));
    admin.run(&format!("create database {template}"));
    postgres.superuser(template).run(sample::SHOP);
    admin.run(&format!(
        "alter database {template} with is_template true allow_connections false"
    ));
}

/// FNV-1a, 64 bits: a name for a text.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
