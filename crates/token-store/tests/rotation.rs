//! Giving a token a new secret, and what a change of its entry means for what runs with it.
#![allow(clippy::unwrap_used)]

mod common;

use common::{NOW, add, numbered_set, remove, secret};
use time::Duration;
use token_store::{
    DraftError, EditError, NewToken, Refusal, Secret, Selector, Token, TokenFile, TokenId, TokenSet,
};

const GRACE: Duration = Duration::hours(24);

fn file() -> (tempfile::TempDir, TokenFile) {
    let folder = tempfile::tempdir().unwrap();
    let file = TokenFile::new(folder.path().join("tokens.yaml"));
    (folder, file)
}

#[test]
fn both_secrets_are_accepted_until_the_old_ones_time_is_over() {
    let (_folder, file) = file();
    let id = add(&file, 1);
    file.edit(|draft| {
        draft.rotate(&id, &secret(2), Some(NOW + GRACE))?;
        Ok::<_, EditError>(())
    })
    .unwrap();
    let set = file.load().unwrap().set;
    let accepted = |number, now| {
        let secret = secret(number);
        set.authenticate(secret.expose(), now)
            .map(|accepted| (accepted.id.clone(), accepted.replaced_from))
    };
    for now in [NOW, NOW + GRACE - Duration::seconds(1)] {
        assert_eq!(accepted(1, now), Ok((id.clone(), Some(NOW + GRACE))));
        assert_eq!(accepted(2, now), Ok((id.clone(), None)));
    }
    assert!(matches!(
        accepted(1, NOW + GRACE),
        Err(Refusal::Replaced(_))
    ));
    assert_eq!(accepted(2, NOW + GRACE), Ok((id.clone(), None)));
    // A leaked token is looked up by the hash of its text, even a replaced one.
    let digits = secret(1).hash().to_hex();
    let found: Selector = digits[..16].parse().unwrap();
    assert_eq!(found.find(set.iter()).unwrap().id, id);
}

#[test]
fn a_secret_that_could_never_be_accepted_is_not_given_to_a_token() {
    let (_folder, file) = file();
    let id = add(&file, 1);
    let of = |length: usize| Secret::from("x".repeat(length));
    for length in [0, Secret::MAX_BYTES + 1] {
        let new = NewToken::default();
        let created = file.edit(|draft| Ok(draft.create(&of(length), new, NOW)?));
        let rotated = file.edit(|draft| Ok(draft.rotate(&id, &of(length), None)?));
        for refused in [created.map(|_| ()), rotated.map(|_| ())] {
            let error: EditError = refused.unwrap_err();
            assert!(error.to_string().contains("1 to 512 bytes"), "{error}");
        }
        // Nor is one accepted that was made elsewhere, of which only the hash is known.
        let token = Token::new(TokenId::numbered(2), of(length).hash(), NOW);
        let set = TokenSet::new(vec![token]).unwrap();
        assert_eq!(
            set.authenticate(of(length).expose(), NOW),
            Err(Refusal::Unknown)
        );
    }
    for length in [1, Secret::MAX_BYTES] {
        file.edit(|draft| Ok::<_, EditError>(draft.rotate(&id, &of(length), None)?))
            .unwrap();
        let set = file.load().unwrap().set;
        assert!(set.authenticate(of(length).expose(), NOW).is_ok());
    }
}

#[test]
fn a_token_is_not_rotated_to_the_secret_that_it_has() {
    let (_folder, file) = file();
    let id = add(&file, 1);
    let rotated = file.edit(|draft| Ok(draft.rotate(&id, &secret(1), Some(NOW + GRACE))?));
    let error: EditError = rotated.unwrap_err();
    let message = format!("the token {id} has this secret already");
    assert!(error.to_string().contains(&message), "{error}");
}

#[test]
fn a_second_rotation_ends_the_first_secret_at_once() {
    let (_folder, file) = file();
    let id = add(&file, 1);
    for number in [2, 3] {
        file.edit(|draft| {
            draft.rotate(&id, &secret(number), Some(NOW + GRACE))?;
            Ok::<_, EditError>(())
        })
        .unwrap();
    }
    let set = file.load().unwrap().set;
    let known = |number| set.authenticate(secret(number).expose(), NOW).is_ok();
    assert_eq!([1, 2, 3].map(known), [false, true, true]);
}

#[test]
fn a_new_secret_that_another_token_has_or_had_is_refused() {
    let (_folder, file) = file();
    let (first, second) = (add(&file, 1), add(&file, 2));
    let rotate = |id, number| {
        file.edit(|draft| {
            draft.rotate(id, &secret(number), Some(NOW + GRACE))?;
            Ok::<_, EditError>(())
        })
    };
    rotate(&first, 3).unwrap();
    for taken in [1, 3] {
        assert!(matches!(
            rotate(&second, taken),
            Err(EditError::Draft(DraftError::Duplicate(_)))
        ));
    }
    remove(&file, &first);
    rotate(&second, 1).unwrap();
}

/// Makes a set with one changed token.
fn one(change: impl FnOnce(&mut Token)) -> TokenSet {
    let mut token = Token::clone(numbered_set(1).iter().next().unwrap());
    change(&mut token);
    TokenSet::new(vec![token]).unwrap()
}

fn rotated(token: &mut Token, to: u64, keep: bool) {
    let old = std::mem::replace(&mut token.hash, secret(to).hash());
    token.previous = keep.then(|| {
        Box::new(token_store::Previous {
            hash: old,
            until: NOW + GRACE,
        })
    });
}

#[test]
fn a_rotation_with_overlap_is_a_change_and_one_without_a_removal() {
    let before = one(|_| ());
    let overlapping = one(|token| rotated(token, 9, true)).changes_since(&before);
    assert_eq!(overlapping.to_string(), "1 changed");
    let (was, is) = &overlapping.changed[0];
    assert_eq!(was.hash, is.previous.as_ref().unwrap().hash);
    let hard = one(|token| rotated(token, 9, false)).changes_since(&before);
    assert_eq!(hard.to_string(), "1 added, 1 removed");
}

#[test]
fn the_end_of_an_overlap_is_a_change_and_taking_back_a_rotation_a_removal() {
    let before = one(|token| rotated(token, 9, true));
    let ended = one(|token| token.hash = secret(9).hash()).changes_since(&before);
    assert_eq!(ended.to_string(), "1 changed");
    let back = one(|_| ()).changes_since(&before);
    assert_eq!(back.to_string(), "1 added, 1 removed");
}

#[test]
fn a_changed_policy_is_a_change() {
    let before = one(|_| ());
    let after = one(|token| {
        let mut policy = token.policy.read();
        policy.set("limits.rows", Some("5")).unwrap();
        token.policy = (&policy).into();
    });
    assert_eq!(after.changes_since(&before).to_string(), "1 changed");
    assert!(after.changes_since(&after).is_empty());
}
