//! Removes a token.

use server_config::Sources;
use token_store::{EditError, Selector, TokenFile};

use crate::{failure::Failure, json, load, role, text, token_file, world::World};

pub(crate) fn run(
    selector: &Selector,
    json: bool,
    sources: &Sources,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let file = token_file(sources)?;
    // Without a file there is nothing to lock, and its folder is not made.
    selector.find(load(&file, world)?.set.iter())?;
    let removed = file.edit(|draft| {
        let token = selector.find(draft.iter())?;
        draft.remove(&token.id);
        Ok::<_, Failure>(token)
    });
    let removed = removed.map_err(|failure| match failure {
        Failure::Edit(error) if error.is_out_of_room() => without_room(&file, selector, error),
        other => other,
    })?;
    world.warn(&removed.warnings);
    if let Some(left) = role::left_behind(&removed.value, file.path()) {
        world.complain("warning", &left);
    }
    let text = if json {
        json::removed(&removed.value)
    } else {
        text::removed(&removed.value)
    };
    world.print(&text).map_err(Failure::Output)
}

/// Makes sure that the token is refused when a full disk leaves no room to write a file without its
/// entry.
fn without_room(file: &TokenFile, selector: &Selector, error: EditError) -> Failure {
    let spoiled = || {
        let token = selector.find(file.load()?.set.iter())?;
        file.spoil(&token)?;
        Ok::<_, Failure>(token.id.clone())
    };
    match spoiled() {
        Ok(id) => Failure::NoRoom {
            path: file.path().to_owned(),
            id,
        },
        Err(_) => error.into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io;

    use time::OffsetDateTime;
    use token_store::{NewToken, Secret};

    use super::*;

    #[test]
    fn on_a_full_disk_the_token_is_refused_and_its_entry_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile::new(folder.path().join("tokens.yaml"));
        let secret = Secret::generate().unwrap();
        let now = OffsetDateTime::UNIX_EPOCH;
        let made = file.edit(|draft| {
            Ok::<_, EditError>(draft.create(&secret, NewToken::default(), now).unwrap())
        });
        let id = made.unwrap().value.id.clone();
        let full = EditError::System {
            step: "write",
            path: file.path().to_owned(),
            source: io::ErrorKind::StorageFull.into(),
        };
        let failure = without_room(&file, &Selector::from(&id), full);
        assert!(matches!(&failure, Failure::NoRoom { id: told, .. } if *told == id));
        let told = failure.to_string();
        assert!(
            told.contains(&format!("run `mcp-token remove {id}` again")),
            "{told}"
        );
        let set = file.load().unwrap().set;
        assert!(set.authenticate(secret.expose(), now).is_err());
        let left: Vec<_> = set.iter().map(|token| (&**token, None)).collect();
        assert_eq!(left.first().map(|(token, _)| &token.id), Some(&id));
        let listed = text::list(&left, now);
        assert!(
            listed.contains("Status: Removed; remove it again"),
            "{listed}"
        );
    }
}
