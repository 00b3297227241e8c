use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, fchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::StartError;

/// The accounts to run the server as if the owner is root, as PostgreSQL refuses to run as root.
const STAND_INS: [&str; 2] = ["postgres", "nobody"];

/// The account that PostgreSQL's programs run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    /// The account of this process.
    Own,
    /// Another account, because this process runs as root.
    StandIn { name: String, uid: u32, gid: u32 },
}

impl Account {
    pub(crate) fn for_this_process() -> Result<Self, StartError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Own);
        }
        let passwd =
            fs::read_to_string("/etc/passwd").map_err(StartError::file("read", "/etc/passwd"))?;
        stand_in(&passwd).ok_or(StartError::NoAccount)
    }

    /// Makes the command run as this account, without any of the caller's groups.
    pub(crate) fn apply(&self, command: &mut Command) {
        if let Self::StandIn { uid, gid, .. } = self {
            command.uid(*uid).gid(*gid);
        }
    }

    /// Gives the account ownership of an open file or folder; `path` is its name.
    pub(crate) fn give(&self, file: &File, path: &Path) -> Result<(), StartError> {
        let Self::StandIn { uid, gid, .. } = self else {
            return Ok(());
        };
        fchown(file, Some(*uid), Some(*gid)).map_err(StartError::file("change the owner of", path))
    }

    /// Checks that the account can reach `path`, so that the error names the folder that prevents it.
    pub(crate) fn check_reach(&self, path: &Path) -> Result<(), StartError> {
        let Self::StandIn { name, uid, gid } = self else {
            return Ok(());
        };
        let mut folders: Vec<&Path> = path
            .ancestors()
            .skip(1)
            .filter(|p| p.is_absolute())
            .collect();
        folders.reverse();
        for folder in folders {
            let metadata = fs::metadata(folder).map_err(StartError::file("look at", folder))?;
            let bit = match (metadata.uid() == *uid, metadata.gid() == *gid) {
                (true, _) => 0o100,
                (false, true) => 0o010,
                (false, false) => 0o001,
            };
            if metadata.mode() & bit == 0 {
                return Err(StartError::Unreachable {
                    path: folder.to_path_buf(),
                    account: name.clone(),
                });
            }
        }
        Ok(())
    }
}

fn stand_in(passwd: &str) -> Option<Account> {
    STAND_INS.iter().find_map(|wanted| {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| name == wanted)?;
            let uid = fields.nth(1)?.parse().ok().filter(|uid| *uid != 0)?;
            let gid = fields.next()?.parse().ok()?;
            Some(Account::StandIn {
                name: name.to_owned(),
                uid,
                gid,
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, uid: u32, gid: u32) -> Option<Account> {
        let name = name.to_owned();
        Some(Account::StandIn { name, uid, gid })
    }

    #[test]
    fn root_steps_down_to_postgres_else_nobody_and_never_to_uid_zero() {
        let root = "root:x:0:0:root:/root:/bin/bash\n";
        let nobody = "nobody:x:65534:65534::/:/bin/false\n";
        for (passwd, expected) in [
            (
                format!("{root}{nobody}postgres:x:101:104::/var/lib/postgresql:/bin/bash\n"),
                named("postgres", 101, 104),
            ),
            (format!("{root}{nobody}"), named("nobody", 65534, 65534)),
            (
                format!("{root}postgres:x:0:0::/:/bin/sh\n{nobody}"),
                named("nobody", 65534, 65534),
            ),
            (format!("{root}postgres:x:broken\n"), None),
            (root.to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(stand_in(&passwd), expected, "{passwd}");
        }
    }
}
