//! `mcp-server demo`: sets everything up, on this machine only.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use private_postgres::{Cluster, Options, Programs, Search, sample};
use server_config::{CONFIG_FILE_NAME, Config, Sources, TOKEN_FILE_NAME};
use time::{Duration, OffsetDateTime};
use token_store::{EditError, Names, NewToken, Secret, Token, TokenFile, UsageLog};
use tokio_postgres::NoTls;

use crate::{
    announce, command_line::Demo, listen::Listeners, on_runtime, serve, signals::Signals, start_log,
};

/// Where the demo listens, unless the address is taken.
const ADDRESS: &str = "127.0.0.1:8080";

/// The database that holds the sample shop.
const DATABASE: &str = "shop";

/// How long the demo's tokens live.
const TOKEN_LIFE: Duration = Duration::days(30);

/// Sets everything up and serves until Ctrl-C.
pub(crate) fn run(options: &Demo) -> anyhow::Result<()> {
    start_log("warn");
    let home = Home::of(options)?;
    let (config, cluster) = match &options.database_url {
        Some(url) => (home.config_for_url(url)?, None),
        None => {
            let cluster = home.start_cluster(options.reset)?;
            on_runtime(load_sample(&cluster))?;
            (home.config_for_cluster(&cluster)?, Some(cluster))
        }
    };
    let secret = home.add_token(&config, cluster.is_some())?;
    let welcome = Welcome {
        home: &home,
        secret: &secret,
        sample: cluster.is_some(),
    };
    let served = on_runtime(async {
        let signals = Signals::take()?;
        let listeners = match Listeners::bind(ADDRESS, "-addr").await {
            Ok(listeners) => listeners,
            // Any other port will do.
            Err(_) => {
                announce!("{ADDRESS} is taken by another program; listening on another port");
                Listeners::bind("127.0.0.1:0", "-addr").await?
            }
        };
        let address = listeners
            .addresses()
            .next()
            .context("a listener has an address")?;
        serve::http(&config, None, listeners, signals, || welcome.print(address)).await
    });
    if let Some(cluster) = cluster {
        cluster.stop();
    }
    served
}

/// The folder of the demo's data.
struct Home {
    folder: PathBuf,
}

impl Home {
    fn of(options: &Demo) -> anyhow::Result<Self> {
        let folder = match &options.data {
            Some(folder) => folder.clone(),
            None => {
                default_folder().context("there is no home folder; name one with --data FOLDER")?
            }
        };
        fs::create_dir_all(&folder).with_context(|| {
            format!(
                "failed to create the folder {}; name another one with --data FOLDER",
                folder.display()
            )
        })?;
        let folder = folder
            .canonicalize()
            .with_context(|| format!("failed to open {}", folder.display()))?;
        if folder.to_str().is_none() {
            bail!(
                "{} is not in UTF-8, and no configuration can name it; name another folder with --data FOLDER",
                folder.display()
            );
        }
        Ok(Home { folder })
    }

    fn start_cluster(&self, reset: bool) -> anyhow::Result<Cluster> {
        let search = Search {
            bin_dir: std::env::var_os("PG_BINDIR").map(PathBuf::from),
            path: std::env::var_os("PATH"),
        };
        let mut options = Options::durable(Programs::find(&search)?, self.folder.join("postgres"));
        options.reset = reset;
        if reset {
            _ = fs::remove_file(self.token_file());
        }
        announce!(
            "Starting PostgreSQL {} in {}",
            options.programs.major(),
            self.folder.display()
        );
        Ok(Cluster::start(options)?)
    }

    fn token_file(&self) -> PathBuf {
        self.folder.join(TOKEN_FILE_NAME)
    }

    /// Writes a configuration, so that `mcp-token` finds its way too.
    fn write_config(&self, databases: &serde_json::Value) -> anyhow::Result<PathBuf> {
        let config = serde_json::json!({
            "http": { "enabled": true, "address": ADDRESS, "auth": { "token_file": self.token_file() } },
            "databases": databases,
        });
        let path = self.folder.join(CONFIG_FILE_NAME);
        let text =
            format!("# Written by mcp-server demo, anew each time. JSON is YAML.\n{config:#}\n");
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        Ok(path)
    }

    fn config_for_cluster(&self, cluster: &Cluster) -> anyhow::Result<Config> {
        let path = self.write_config(&serde_json::json!([{
            "name": DATABASE,
            "host": cluster.socket_dir(),
            "port": cluster.port(),
            "database": DATABASE,
            "user": sample::SHOP_READER,
            "sslmode": "disable",
        }]))?;
        Ok(Config::load(&Sources {
            config_file: Some(path),
            ..Sources::default()
        })?)
    }

    /// The URL may contain a password, so it is kept in memory only.
    fn config_for_url(&self, url: &str) -> anyhow::Result<Config> {
        if url.is_empty() {
            bail!(
                "--database-url is empty; write postgres://USER@HOST/DATABASE, or leave it out for a PostgreSQL with sample data"
            );
        }
        let path = self.write_config(&serde_json::Value::Null)?;
        let environment = [("DATABASE_URL".to_owned(), url.to_owned())].into();
        let sources = Sources {
            config_file: Some(path),
            environment,
            ..Sources::default()
        };
        Config::load(&sources).map_err(|problems| {
            let told = problems
                .to_string()
                .replace("DATABASE_URL", "--database-url");
            anyhow::anyhow!(told)
        })
    }

    /// Makes a token for this run. Tokens of earlier runs that somebody uses stay valid, so that a
    /// client that was set up once goes on working; unused ones are removed if no other demo runs
    /// in this folder (`alone`).
    fn add_token(&self, config: &Config, alone: bool) -> anyhow::Result<Secret> {
        let secret = Secret::generate()?;
        let now = OffsetDateTime::now_utc();
        let new = NewToken {
            note: "demo".into(),
            databases: Names::new(config.databases.first().map(|first| &*first.name)),
            expires_at: Some(now + TOKEN_LIFE),
            ..NewToken::default()
        };
        let used = UsageLog::load(&UsageLog::path_for(&self.token_file())).0;
        TokenFile::new(self.token_file()).edit(|draft| {
            if alone {
                draft.remove_where(|token| is_like(token, &new) && !used.contains_key(&token.id));
            }
            draft.create(&secret, new, now).map_err(EditError::from)
        })?;
        Ok(secret)
    }
}

/// Says whether a token is as `new` will be, and was not edited since.
fn is_like(token: &Token, new: &NewToken) -> bool {
    *token.note == *new.note
        && token.databases == new.databases
        && token.policy.is_empty()
        && token.previous.is_none()
        && token.expires_at == Some(token.created_at + TOKEN_LIFE)
}

/// PostgreSQL does not run as root, and another user cannot enter root's home.
fn default_folder() -> Option<PathBuf> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/lib/mcp-server-demo"));
    }
    let data =
        variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")))?;
    Some(data.join("mcp-server-demo"))
}

async fn load_sample(cluster: &Cluster) -> anyhow::Result<()> {
    let connect = async |database: &str| {
        let (client, connection) =
            tokio_postgres::connect(&cluster.connection(database).to_string(), NoTls).await?;
        tokio::spawn(connection);
        Ok::<_, tokio_postgres::Error>(client)
    };
    let maintenance = connect("postgres").await?;
    let there = "SELECT FROM pg_database WHERE datname = $1";
    if maintenance.query_opt(there, &[&DATABASE]).await?.is_none() {
        maintenance
            .batch_execute(&format!("CREATE DATABASE {DATABASE}"))
            .await?;
    }
    let shop = connect(DATABASE).await?;
    if shop
        .query_opt("SELECT FROM pg_namespace WHERE nspname = 'shop'", &[])
        .await?
        .is_none()
    {
        announce!("Loading the sample shop");
        shop.batch_execute(sample::SHOP)
            .await
            .context("failed to load the sample data")?;
    }
    Ok(())
}

/// What to try next.
struct Welcome<'a> {
    home: &'a Home,
    secret: &'a Secret,
    sample: bool,
}

impl Welcome<'_> {
    fn print(&self, address: SocketAddr) {
        use std::io::Write;
        // Nobody listening there is no reason to stop.
        _ = std::io::stdout().write_all(self.text(address).as_bytes());
        _ = std::io::stdout().flush();
    }

    fn text(&self, address: SocketAddr) -> String {
        let url = format!("http://{address}/mcp/v1");
        let token = self.secret.expose();
        let query = if self.sample {
            "SELECT name, category, price FROM products ORDER BY price DESC LIMIT 5"
        } else {
            "SELECT version()"
        };
        let tokens = program("mcp-token");
        let config = self.home.folder.join(CONFIG_FILE_NAME);
        format!(
            r#"
Endpoint  {url}
Token     {token}
          (valid for {days} days; shown only now)

Ask something:

  curl -s {url} \
    -H 'Authorization: Bearer {token}' \
    -H 'Content-Type: application/json' \
    -d '{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"query_database","arguments":{{"query":"{query}"}}}}}}'

Claude Code:

  claude mcp add --transport http postgres {url} --header 'Authorization: Bearer {token}'

Cursor (.cursor/mcp.json):

  {{"mcpServers":{{"postgres":{{"url":"{url}","headers":{{"Authorization":"Bearer {token}"}}}}}}}}

VS Code (.vscode/mcp.json):

  {{"servers":{{"postgres":{{"type":"http","url":"{url}","headers":{{"Authorization":"Bearer {token}"}}}}}}}}

List and remove tokens:

  {tokens} list --config {config}
  {tokens} remove ID --config {config}

Ctrl-C stops everything; the data stays in {folder}.
"#,
            days = TOKEN_LIFE.whole_days(),
            tokens = tokens.display(),
            config = config.display(),
            folder = self.home.folder.display(),
        )
    }
}

/// Finds a program beside this one.
fn program(name: &str) -> PathBuf {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|path| Some(path.parent()?.join(name)));
    beside
        .filter(|path| path.exists())
        .unwrap_or_else(|| Path::new(name).to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    use token_store::{TokenId, Usage};

    #[test]
    fn a_folder_that_a_configuration_cannot_name_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join(OsStr::from_bytes(b"not \xff text"));
        let options = Demo {
            database_url: Some("postgres://u@h/d".into()),
            data: Some(data),
            reset: false,
        };
        let refused = Home::of(&options).and_then(|home| home.config_for_url("postgres://u@h/d"));
        let told = format!("{:#}", refused.unwrap_err());
        assert!(told.contains("--data"), "{told}");
    }

    #[test]
    fn a_token_of_an_earlier_run_stays_only_where_it_was_used() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().to_owned();
        let home = Home { folder };
        let config = home.config_for_url("postgres://u@h/d").unwrap();
        let file = TokenFile::new(home.token_file());
        let ids = || -> Vec<TokenId> {
            let set = file.load().unwrap().set;
            set.iter().map(|token| token.id.clone()).collect()
        };
        home.add_token(&config, true).unwrap();
        let used = ids().remove(0);
        let mut log = UsageLog::default();
        let usage = Usage {
            at: OffsetDateTime::now_utc(),
            address: None,
            client: String::new(),
            calls: 1,
            rows: 1,
        };
        log.add(used.clone(), usage);
        log.save(&UsageLog::path_for(&home.token_file())).unwrap();
        let edited = home.add_token(&config, true).unwrap();
        file.edit(|draft| {
            let token = draft.iter().find(|token| token.hash == edited.hash());
            let id = token.map(|token| token.id.clone()).unwrap();
            draft.change(&id, |token| token.note = "mine".into());
            Ok::<_, EditError>(())
        })
        .unwrap();
        for _ in 0..3 {
            home.add_token(&config, true).unwrap();
        }
        let kept = ids();
        assert!(kept.len() == 3 && kept[0] == used, "{kept:?}");
        // Another demo may be serving with it.
        home.add_token(&config, false).unwrap();
        assert_eq!(ids()[..3], kept);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told_with_the_option_that_names_another() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let options = Demo {
            database_url: None,
            data: Some(file.path().to_owned()),
            reset: false,
        };
        let told = Home::of(&options).map(|_| ()).unwrap_err().to_string();
        assert!(told.contains("--data FOLDER"), "{told}");
    }

    #[test]
    fn an_empty_url_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home {
            folder: folder.path().to_owned(),
        };
        let told = home.config_for_url("").unwrap_err().to_string();
        assert!(told.contains("--database-url is empty"), "{told}");
    }
}
