use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::account::Account;
use crate::cluster::{Options, Storage};
use crate::error::hint;
use crate::folder::Folder;
use crate::supervised::Supervised;
use crate::{StartError, orphan};

/// `initdb` takes about a second; if it needs longer than this, it is stuck.
const LIMIT: Duration = Duration::from_secs(120);

/// Comparison by code point, case mapping by Unicode. Available on every Linux; elsewhere only `C` is certain.
const LOCALE: &str = if cfg!(target_os = "linux") {
    "C.UTF-8"
} else {
    "C"
};

/// Creates the data folder unless that was done before. One without its marker is incomplete and is created again.
pub(crate) fn initialize(
    folder: &Folder,
    options: &Options,
    account: &Account,
) -> Result<(), StartError> {
    let major = options.programs.major();
    let (data, marker) = (folder.data(major), folder.made_marker(major));
    orphan::settle(&data)?;
    if options.reset {
        folder.erase()?;
    }
    if marker.exists() && data.join("PG_VERSION").exists() {
        return Ok(());
    }
    if data.exists() {
        tracing::warn!(folder = %data.display(), "making a half-made cluster anew");
        fs::remove_dir_all(&data).map_err(StartError::file("remove", &data))?;
    }
    run_initdb(folder, &data, options, account)?;
    folder.create(&marker)?;
    Ok(())
}

fn run_initdb(
    folder: &Folder,
    data: &Path,
    options: &Options,
    account: &Account,
) -> Result<(), StartError> {
    let log_path = folder.file("initdb.log");
    let log = folder.create(&log_path)?;
    let initdb = options.programs.program("initdb");
    let mut run = Supervised::start(&initdb, arguments(data, options), account, &log)?;
    let status = run.wait(LIMIT);
    if status.is_some_and(|status| status.success()) {
        return Ok(());
    }
    let output = folder.end_of(&log_path);
    match status {
        Some(status) => Err(StartError::Initialize {
            status,
            hint: hint(&output),
            output,
        }),
        None => Err(StartError::NotReady {
            limit: LIMIT,
            last: "initdb still runs".into(),
            log: output,
        }),
    }
}

/// The socket trusts whoever can open it, which its folder's mode restricts; TCP always requires a password.
fn arguments(data: &Path, options: &Options) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![
        "-D".into(),
        data.into(),
        "-U".into(),
        (&options.superuser).into(),
    ];
    let fixed = [
        "--auth-local=trust",
        "--auth-host=scram-sha-256",
        "--encoding=UTF8",
        "--no-instructions",
    ];
    arguments.extend(fixed.map(OsString::from));
    arguments.push(format!("--locale={LOCALE}").into());
    if options.storage == Storage::Throwaway {
        arguments.push("--no-sync".into());
    }
    arguments
}
