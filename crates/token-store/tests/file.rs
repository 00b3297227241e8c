//! The file on disk: modes, owners, links, limits, and paths that are not files.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::Path,
    process::Command,
    time::Instant,
};

use common::{NOW, add, among_own_mounts, numbered_set, remove, secret};
use time::Duration;
use token_store::{
    DraftError, EditError, LoadError, NewToken, SelectError, Selector, Token, TokenFile, TokenHash,
    TokenId, TokenSet, Warning,
};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn mount(words: &[&OsStr]) {
    let status = Command::new("mount").args(words).status().unwrap();
    assert!(status.success(), "mount {words:?}");
}

#[test]
fn where_nothing_can_be_written_the_error_names_the_fix() {
    if !among_own_mounts("where_nothing_can_be_written_the_error_names_the_fix") {
        return;
    }
    let folder = folder();
    let file = TokenFile::new(folder.path().join("tokens.yaml"));
    add(&file, 1);
    let refusal = || {
        let edited = file.edit(|draft| {
            Ok::<_, EditError>(draft.create(&secret(2), NewToken::default(), NOW)?)
        });
        edited.unwrap_err().to_string()
    };
    let path = file.path().as_os_str();
    mount(&["--bind".as_ref(), path, path]);
    let refused = refusal();
    assert!(refused.ends_with("mount its folder instead"), "{refused}");
    let folder = folder.path().as_os_str();
    mount(&["--rbind".as_ref(), folder, folder]);
    mount(&["-o".as_ref(), "remount,bind,ro".as_ref(), folder]);
    let refused = refusal();
    assert!(
        refused.ends_with("run this where its folder may be written"),
        "{refused}"
    );
    assert_eq!(file.load().unwrap().set.len(), 1);
}

#[test]
fn a_missing_file_has_no_tokens_and_the_first_add_makes_its_folder_private() {
    let folder = folder();
    let path = folder.path().join("a/b/tokens.yaml");
    let file = TokenFile::new(&path);
    let loaded = file.load().unwrap();
    assert!(loaded.set.is_empty() && loaded.identity.is_none());
    let id = add(&file, 1);
    assert_eq!(file.load().unwrap().set.iter().next().unwrap().id, id);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(mode(&folder.path().join("a")), 0o700);
}

#[test]
fn a_wider_mode_is_warned_about_and_narrowed_by_the_next_write() {
    let folder = folder();
    let path = folder.path().join("tokens.yaml");
    let file = TokenFile::new(&path);
    add(&file, 1);
    set_mode(&path, 0o644);
    let warnings = file.load().unwrap().warnings;
    assert_eq!(
        warnings,
        [Warning::Readable {
            path: path.clone(),
            mode: 0o644
        }]
    );
    assert!(warnings[0].to_string().contains("chmod 600"));
    add(&file, 2);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(file.load().unwrap().warnings, []);
}

#[test]
fn a_folder_that_anyone_may_write_to_is_warned_about() {
    let folder = folder();
    let file = TokenFile::new(folder.path().join("tokens.yaml"));
    add(&file, 1);
    set_mode(folder.path(), 0o777);
    let warnings = file.load().unwrap().warnings;
    assert_eq!(
        warnings,
        [Warning::FolderWritable {
            folder: folder.path().to_owned()
        }]
    );
    set_mode(folder.path(), 0o1777);
    assert_eq!(file.load().unwrap().warnings, []);
}

#[test]
fn a_symbolic_link_stays_and_its_target_is_replaced() {
    let folder = folder();
    let real = folder.path().join("data/real.yaml");
    fs::create_dir(folder.path().join("data")).unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    symlink("second", &first).unwrap();
    symlink("data/real.yaml", &second).unwrap();
    let file = TokenFile::new(&first);
    add(&file, 1);
    add(&file, 2);
    assert_eq!(fs::read_link(&first).unwrap(), Path::new("second"));
    assert_eq!(fs::read_link(&second).unwrap(), Path::new("data/real.yaml"));
    assert!(fs::symlink_metadata(&real).unwrap().is_file());
    assert_eq!(TokenFile::new(&real).load().unwrap().set.len(), 2);
    assert!(
        folder.path().join("data/real.yaml.lock").exists(),
        "the lock is beside the real file"
    );
}

#[test]
fn links_that_lead_to_each_other_are_an_error() {
    let folder = folder();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    symlink("b", &a).unwrap();
    symlink("a", &b).unwrap();
    let file = TokenFile::new(&a);
    assert!(matches!(file.load(), Err(LoadError::Read { .. })));
    let edited = file.edit(|_| Ok::<_, EditError>(()));
    assert!(matches!(
        edited,
        Err(EditError::System { step: "follow", .. })
    ));
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let folder = folder();
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    for (path, kind) in [
        (folder.path(), "a folder"),
        (&pipe, "a pipe"),
        (Path::new("/dev/null"), "a device or socket"),
    ] {
        let error = TokenFile::new(path).load().unwrap_err();
        assert!(error.to_string().contains(kind), "{error}");
    }
}

#[test]
fn what_is_no_file_is_not_edited_and_gets_no_lock() {
    let folder = folder();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let edit = |path: &Path| {
        let edited = TokenFile::new(path).edit(|_| Ok::<_, EditError>(()));
        edited.unwrap_err().to_string()
    };
    for path in [&inner, Path::new("/"), Path::new(".")] {
        let error = edit(path);
        assert!(error.contains("is a folder"), "{error}");
    }
    for lock in [
        &folder.path().join("inner.lock"),
        Path::new("/.lock"),
        Path::new("..lock"),
    ] {
        assert!(!lock.exists(), "{}", lock.display());
    }
    let error = edit(Path::new("/dev/null"));
    assert!(error.contains("is a device"), "{error}");
}

#[test]
fn a_path_that_is_empty_is_no_file() {
    let file = TokenFile::new("");
    let loaded = file.load().unwrap_err();
    let edited = file.edit(|_| Ok::<_, EditError>(())).unwrap_err();
    for error in [loaded.to_string(), edited.to_string()] {
        assert!(error.contains("has no name"), "{error}");
    }
    assert!(!Path::new(".lock").exists());
}

#[test]
fn a_file_over_the_limit_is_refused_without_reading_it() {
    let folder = folder();
    let path = folder.path().join("tokens.yaml");
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(
        matches!(TokenFile::new(&path).load(), Err(LoadError::TooLarge { bytes, .. }) if bytes == 1 << 40)
    );
}

#[test]
fn a_broken_file_is_not_touched_by_an_edit() {
    let folder = folder();
    let path = folder.path().join("tokens.yaml");
    fs::write(&path, "tokens:\n- id: a\n  hash: x\n").unwrap();
    let before = fs::metadata(&path).unwrap().ino();
    let error = TokenFile::new(&path)
        .edit(|draft| Ok::<_, EditError>(draft.create(&secret(1), NewToken::default(), NOW)?))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("tokens.yaml, line 3: a: the `hash`"),
        "{error}"
    );
    assert_eq!(fs::metadata(&path).unwrap().ino(), before);
}

#[test]
fn an_edit_that_would_not_be_read_back_is_refused_and_the_file_stays() {
    let folder = folder();
    let path = folder.path().join("tokens.yaml");
    let file = TokenFile::new(&path);
    // Each can be read as it is, but would be refused as rewritten: two spellings of null become the same key, and
    // without its spaces a list has too many values for its size.
    let many = "0,         ".repeat(30_000);
    for field in ["x: {null: 1, ~: 2}", &format!("x: [{many}0]")] {
        let text = format!("{field}\ntokens: []\n");
        fs::write(&path, &text).unwrap();
        file.load().unwrap();
        let error = file
            .edit(|draft| Ok::<_, EditError>(draft.create(&secret(1), NewToken::default(), NOW)?))
            .unwrap_err();
        assert!(
            matches!(error, EditError::NotReadBack { error: Some(_), .. }),
            "{error}"
        );
        assert!(error.to_string().contains("is unchanged"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn an_edit_that_fails_or_changes_nothing_writes_nothing() {
    let folder = folder();
    let path = folder.path().join("tokens.yaml");
    let file = TokenFile::new(&path);
    add(&file, 1);
    let before = file.load().unwrap().identity;
    file.edit(|_| Ok::<_, EditError>(())).unwrap();
    assert_eq!(file.load().unwrap().identity, before);
    let twice = file
        .edit(|draft| Ok::<_, EditError>(draft.create(&secret(1), NewToken::default(), NOW)?));
    assert!(matches!(
        twice,
        Err(EditError::Draft(DraftError::Duplicate(_)))
    ));
    assert_eq!(file.load().unwrap().identity, before);
    assert_eq!(file.remove_expired(NOW).unwrap().value, []);
    assert_eq!(file.load().unwrap().identity, before);
}

#[test]
fn a_thousand_tokens_of_one_second_have_a_thousand_ids() {
    let folder = folder();
    let file = TokenFile::new(folder.path().join("tokens.yaml"));
    let ids = file
        .edit(|draft| {
            (0..1_000)
                .map(|number| {
                    Ok(draft
                        .create(&secret(number), NewToken::default(), NOW)?
                        .id
                        .clone())
                })
                .collect::<Result<HashSet<TokenId>, EditError>>()
        })
        .unwrap()
        .value;
    assert_eq!(ids.len(), 1_000);
    assert!(ids.contains(&TokenId::numbered(
        u64::try_from(NOW.unix_timestamp()).unwrap()
    )));
    assert_eq!(file.load().unwrap().set.len(), 1_000);
}

#[test]
fn twenty_thousand_tokens_are_made_in_one_edit_without_looking_at_all_each_time() {
    let folder = folder();
    let file = TokenFile::new(folder.path().join("tokens.yaml"));
    let began = Instant::now();
    file.edit(|draft| {
        for number in 0..20_000 {
            let token = draft.create(&secret(number), NewToken::default(), NOW)?;
            draft.change(&token.id, |token| token.note = "one of many".into());
        }
        Ok::<_, EditError>(())
    })
    .unwrap();
    // This takes a second or two, but minutes if each token is compared with all others.
    let took = began.elapsed();
    assert!(took < Duration::seconds(30), "{took:?}");
    assert_eq!(file.load().unwrap().set.len(), 20_000);
}

#[test]
fn what_a_change_or_a_removal_frees_is_free_for_the_next_token() {
    let folder = folder();
    let file = TokenFile::new(folder.path().join("tokens.yaml"));
    file.edit(|draft| {
        let new = NewToken::default;
        let first = draft.create(&secret(1), new(), NOW)?;
        let second = draft.create(&secret(2), new(), NOW)?;
        assert!(draft.create(&secret(1), new(), NOW).is_err());
        draft.remove(&first.id);
        draft.create(&secret(1), new(), NOW)?;
        draft.rotate(&second.id, &secret(3), Some(NOW))?;
        assert!(draft.create(&secret(2), new(), NOW).is_err());
        assert!(draft.create(&secret(3), new(), NOW).is_err());
        draft.rotate(&second.id, &secret(4), None)?;
        draft.create(&secret(3), new(), NOW)?;
        draft.change(&second.id, |token| token.id = TokenId::numbered(7));
        let taken = Token::new(TokenId::numbered(7), secret(5).hash(), NOW);
        assert!(draft.insert(taken).is_err());
        draft.insert(Token::new(second.id.clone(), secret(5).hash(), NOW))?;
        Ok::<_, EditError>(())
    })
    .unwrap();
    assert_eq!(file.load().unwrap().set.len(), 4);
}

#[test]
fn ids_stay_unique_beside_numbers_from_elsewhere() {
    let folder = folder();
    let file = TokenFile::new(folder.path().join("tokens.yaml"));
    let second = u64::try_from(NOW.unix_timestamp()).unwrap();
    let strange = [
        u64::MAX,
        0,
        second,
        second + 1,
        second + 3,
        second + 2_000_000,
    ];
    file.edit(|draft| {
        for (place, number) in strange.iter().enumerate() {
            let hash = TokenHash::from_hex(&format!("{place:064x}")).unwrap();
            draft.insert(Token::new(TokenId::numbered(*number), hash, NOW))?;
        }
        Ok::<_, EditError>(())
    })
    .unwrap();
    assert_eq!(add(&file, 1), TokenId::numbered(second + 4));
}

#[test]
fn expired_tokens_are_removed_at_their_very_end_and_not_before() {
    let folder = folder();
    let file = TokenFile::new(folder.path().join("tokens.yaml"));
    let end = NOW + Duration::hours(1);
    for (number, expires_at) in [
        (1, Some(end)),
        (2, None),
        (3, Some(end + Duration::seconds(1))),
    ] {
        let new = NewToken {
            expires_at,
            ..NewToken::default()
        };
        file.edit(|draft| Ok::<_, EditError>(draft.create(&secret(number), new, NOW)?))
            .unwrap();
    }
    let before = end - Duration::nanoseconds(1);
    assert_eq!(file.remove_expired(before).unwrap().value.len(), 0);
    let removed = file.remove_expired(end).unwrap();
    assert_eq!(removed.value.len(), 1);
    assert_eq!(removed.value[0].hash, secret(1).hash());
    assert_eq!(file.load().unwrap().set.len(), 2);
}

#[test]
fn what_a_killed_writer_left_is_swept_and_nothing_else() {
    let folder = folder();
    let path = folder.path().join("tokens.yaml");
    let stale = folder.path().join(".tokens.yaml.0123456789abcdef.tmp");
    let others = [
        ".tokens.yaml.short.tmp",
        ".other.yaml.0123456789abcdef.tmp",
        "tokens.yaml.tmp",
    ]
    .map(|name| folder.path().join(name));
    fs::write(&stale, "x").unwrap();
    for other in &others {
        fs::write(other, "x").unwrap();
    }
    add(&TokenFile::new(&path), 1);
    assert!(!stale.exists());
    assert!(others.iter().all(|other| other.exists()));
}

#[test]
fn root_leaves_the_file_and_its_lock_with_their_owner() {
    if !is_root() {
        // Only root can give a file away.
        return;
    }
    let folder = folder();
    chown(folder.path(), Some(1234), Some(1234)).unwrap();
    let path = folder.path().join("tokens.yaml");
    let file = TokenFile::new(&path);
    add(&file, 1);
    add(&file, 2);
    for name in ["tokens.yaml", "tokens.yaml.lock"] {
        let metadata = fs::metadata(folder.path().join(name)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (1234, 1234), "{name}");
    }
}

#[test]
fn a_held_lock_does_not_hinder_reading() {
    let folder = folder();
    let file = TokenFile::new(folder.path().join("tokens.yaml"));
    let id = add(&file, 1);
    file.edit(|draft| {
        assert_eq!(file.load().unwrap().set.len(), 1);
        draft.remove(&id);
        assert_eq!(
            file.load().unwrap().set.len(),
            1,
            "a draft is nobody else's business"
        );
        Ok::<_, EditError>(())
    })
    .unwrap();
    assert_eq!(file.load().unwrap().set.len(), 0);
}

#[test]
fn what_another_program_makes_of_the_file_meanwhile_is_not_written_over() {
    let folder = folder();
    let path = folder.path().join("tokens.yaml");
    let other = folder.path().join("other.yaml");
    let none = "tokens: []\n";
    type Meanwhile<'a> = (&'a str, &'a dyn Fn());
    let others: [Meanwhile<'_>; 5] = [
        ("an editor writes into it", &|| {
            fs::write(&path, none).unwrap()
        }),
        ("an editor renames a new one into place", &|| {
            fs::write(&other, none).unwrap();
            fs::rename(&other, &path).unwrap();
        }),
        ("a link to it points elsewhere now", &|| {
            fs::write(&other, none).unwrap();
            fs::remove_file(&path).unwrap();
            symlink(&other, &path).unwrap();
        }),
        ("it is removed", &|| fs::remove_file(&path).unwrap()),
        ("the lock is removed, and a second writer comes in", &|| {
            fs::remove_file(folder.path().join("tokens.yaml.lock")).unwrap();
            TokenFile::new(&path)
                .edit(|draft| Ok::<_, EditError>(draft.remove_where(|_| true)))
                .unwrap();
        }),
    ];
    for (name, meanwhile) in others {
        let _ = fs::remove_file(&path);
        let file = TokenFile::new(&path);
        add(&file, 1);
        let edited = file.edit(|draft| {
            meanwhile();
            let new = NewToken::default();
            Ok::<_, EditError>(draft.create(&secret(2), new, NOW)?)
        });
        assert!(
            matches!(edited, Err(EditError::Overtaken { .. })),
            "{name}: {edited:?}"
        );
        assert!(file.load().unwrap().set.is_empty(), "{name}");
        let left = fs::read_dir(folder.path()).unwrap();
        let left =
            left.filter(|entry| entry.as_ref().unwrap().path().extension() == Some("tmp".as_ref()));
        assert_eq!(left.count(), 0, "{name}");
        add(&file, 3);
    }
}

#[test]
fn a_link_that_is_led_to_another_name_of_the_file_is_not_missed() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let file = TokenFile::new(path("tokens.yaml"));
    add(&TokenFile::new(path("real.yaml")), 1);
    fs::hard_link(path("real.yaml"), path("other.yaml")).unwrap();
    symlink("real.yaml", path("tokens.yaml")).unwrap();
    let edited = file.edit(|draft| {
        fs::remove_file(path("tokens.yaml")).unwrap();
        symlink("other.yaml", path("tokens.yaml")).unwrap();
        Ok::<_, EditError>(draft.create(&secret(2), NewToken::default(), NOW)?)
    });
    assert!(
        matches!(edited, Err(EditError::Overtaken { .. })),
        "{edited:?}"
    );
}

#[test]
fn a_token_is_named_by_its_id_or_eight_digits_of_its_hash() {
    let hash = |digits: &str| TokenHash::from_hex(&format!("{digits:0<64}")).unwrap();
    let token = |id: &str, digits| Token::new(id.parse().unwrap(), hash(digits), NOW);
    let set = TokenSet::new(vec![
        token("token-1", "b3f805a4c2"),
        token("token-2", "b3f805a4c3"),
        token("token-3", "0000000011"),
        token("00000000", "77"),
    ])
    .unwrap();
    let find = |text: &str| {
        text.parse::<Selector>()
            .unwrap()
            .find(set.iter())
            .map(|token| token.id.to_string())
    };
    assert_eq!(find("token-2"), Ok("token-2".into()));
    // A hash has the same beginning; more of its digits select that token instead.
    assert_eq!(find("00000000"), Ok("00000000".into()));
    assert_eq!(find("0000000011"), Ok("token-3".into()));
    assert_eq!(find("b3f805a4c2"), Ok("token-1".into()));
    assert_eq!(find("B3F805A4C3"), Ok("token-2".into()));
    assert_eq!(find(&hash("b3f805a4c3").to_hex()), Ok("token-2".into()));
    assert_eq!(find("b3f805a"), Err(SelectError::TooShort(7)));
    for unknown in [
        "",
        "token-4",
        "TOKEN-1",
        "ffffffff",
        "b3f805ag",
        "token-",
        &format!("{}0", hash("b3f805a4c2").to_hex()),
    ] {
        assert_eq!(find(unknown), Err(SelectError::Unknown), "{unknown}");
    }
    match "b3f805a4".parse::<Selector>().unwrap().find(set.iter()) {
        Err(SelectError::Ambiguous(found)) => assert_eq!(found.len(), 2),
        other => panic!("two hashes begin so: {other:?}"),
    }
}

#[test]
fn changes_are_counted_by_hash() {
    let old = numbered_set(3);
    let mut tokens: Vec<Token> = old.iter().skip(1).map(|token| (**token).clone()).collect();
    tokens[0].note = "renamed".into();
    tokens.push(Token::new(TokenId::numbered(9), secret(9).hash(), NOW));
    let new = TokenSet::new(tokens).unwrap();
    let changes = new.changes_since(&old);
    assert_eq!(changes.to_string(), "1 added, 1 removed, 1 changed");
    assert_eq!(&*changes.changed[0].1.note, "renamed");
    assert!(new.changes_since(&new).is_empty());
    assert_eq!(new.changes_since(&new).to_string(), "no change");
}

#[test]
fn tokens_are_listed_in_order_of_creation_whatever_their_order_in_the_file() {
    let folder = folder();
    let file = TokenFile::new(folder.path().join("tokens.yaml"));
    for (number, hours) in [(1, 5), (2, 1), (3, 3)] {
        let at = NOW + Duration::hours(hours);
        file.edit(|draft| {
            Ok::<_, EditError>(draft.create(&secret(number), NewToken::default(), at)?)
        })
        .unwrap();
    }
    let set = file.load().unwrap().set;
    let hashes: Vec<_> = set.iter().map(|token| token.hash).collect();
    assert_eq!(hashes, [2, 3, 1].map(|number| secret(number).hash()));
}

#[test]
fn no_secret_is_in_any_debug_text() {
    let secret = secret(1);
    let selector: Selector = secret.expose().parse().unwrap();
    for text in [
        format!("{secret:?}"),
        format!("{selector:?}"),
        format!("{:?}", secret.hash()),
    ] {
        assert!(!text.contains(&secret.expose()[..8]), "{text}");
        assert!(!text.contains(&secret.hash().to_hex()), "{text}");
    }
    assert_eq!(secret.expose().len(), 44);
    assert!(secret.expose().ends_with('='));
}

#[test]
fn removing_one_token_leaves_the_others() {
    let folder = folder();
    let file = TokenFile::new(folder.path().join("tokens.yaml"));
    let ids: Vec<_> = (0..3).map(|number| add(&file, number)).collect();
    remove(&file, &ids[1]);
    let set = file.load().unwrap().set;
    assert_eq!(
        set.iter().map(|token| token.id.clone()).collect::<Vec<_>>(),
        [ids[0].clone(), ids[2].clone()]
    );
    assert!(set.authenticate(secret(1).expose(), NOW).is_err());
}
