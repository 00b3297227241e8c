//! Which names in which folders decide what a path leads to.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs,
    path::{Component, Path, PathBuf},
};

/// How many links are followed: as many as Linux itself follows.
const MAX_LINKS: usize = 40;

/// A folder, and the name in it that matters.
pub(super) type Place = (PathBuf, OsString);

/// Follows an absolute path step by step and returns every place where a change could make it lead elsewhere: each
/// symbolic link on the way, and the file itself or the first missing part of the path.
pub(super) fn places(path: &Path) -> Vec<Place> {
    let mut places = Vec::new();
    let mut folder = PathBuf::from("/");
    let mut ahead = steps(path);
    let mut links = 0;
    while let Some(step) = ahead.pop_front() {
        let Some(name) = step else {
            folder.pop();
            continue;
        };
        let here = folder.join(&name);
        if let Ok(target) = fs::read_link(&here) {
            places.push((folder.clone(), name));
            links += 1;
            if links > MAX_LINKS {
                break;
            }
            if target.is_absolute() {
                folder = PathBuf::from("/");
            }
            let mut longer = steps(&target);
            longer.append(&mut ahead);
            ahead = longer;
        } else if !ahead.is_empty() && here.is_dir() {
            folder = here;
        } else {
            places.push((folder, name));
            break;
        }
    }
    places
}

/// Splits a path into names; `None` stands for `..`.
fn steps(path: &Path) -> VecDeque<Option<OsString>> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(Some(OsStr::to_owned(name))),
            Component::ParentDir => Some(None),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
        })
        .collect()
}
