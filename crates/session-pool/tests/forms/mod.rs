//! Values that come in binary form have the text that PostgreSQL writes.

use session_pool::{Answer, Session, Step, Value};

use super::*;

/// Values of each type from all of its range, and what lies at its ends.
const VALUES: &str = "
    CREATE TABLE forms AS
      SELECT gen_random_uuid() AS u,
             '4714-11-24 BC'::date + (random() * 2147483490)::int AS far,
             '2000-01-01'::date + (random() * 80000)::int - 40000 AS d,
             '4714-11-24 BC'::timestamp + random() * (interval '298000 years') AS t,
             '2024-02-28'::timestamp + i * interval '7.000001 s' AS near,
             '2024-02-28'::timestamptz + i * interval '10.01 s' AS z, i::text AS beside, i AS number
        FROM generate_series(1, 20000) i;
    INSERT INTO forms VALUES
      ('00000000-0000-0000-0000-000000000000', '-infinity', 'infinity', '-infinity', 'infinity', '-infinity', '', NULL),
      ('ffffffff-ffff-ffff-ffff-ffffffffffff', '4714-11-24 BC', '5874897-12-31', '4714-11-24 00:00:00 BC', '294276-12-31 23:59:59.999999', 'infinity', NULL, 0),
      (NULL, '0001-12-31 BC', '0001-01-01', '0001-12-31 23:59:59.999999 BC', '0001-01-01', '0001-12-31 BC', 'x', 1),
      (NULL, '9999-12-31', '10000-01-01', '9999-12-31 23:59:59.1', '10000-01-01', '1999-12-31 23:59:59.999999+00', 'y', 2),
      (NULL, '2000-02-29', '1900-03-01', '2000-02-29 00:00:00.00001', '2000-03-01', '2000-01-01 00:00:00+00', 'z', 3),
      (NULL, '0004-02-29', '0005-02-28 BC', '0401-02-28 BC', NULL, '4714-11-24 00:00:00+00 BC', 'z', 4)";
const QUERY: &str = "SELECT * FROM forms";

/// Gives the texts of all values of all rows, and the forms that the first row's values came in.
async fn read(lease: &mut Lease, steps: &[Step<'_>]) -> (Vec<Option<String>>, Vec<String>) {
    let mut exchange = lease.exchange(steps, usize::MAX).await.unwrap();
    let (mut texts, mut forms) = (Vec::new(), Vec::new());
    loop {
        match exchange.next().await.unwrap() {
            Answer::Columns(_) => {}
            Answer::Row(row) => {
                for value in row.values().map(Result::unwrap) {
                    let text = value.map(|value| value.text().unwrap().into_owned());
                    texts.push(text.map(|text| String::from_utf8(text).unwrap()));
                }
                if forms.is_empty() {
                    forms = row.values().map(|value| form(value.unwrap())).collect();
                }
            }
            Answer::Ready { .. } => return (texts, forms),
            other => panic!("{other:?}"),
        }
    }
}

fn form(value: Option<Value<'_>>) -> String {
    let told = format!("{value:?}");
    let form = told.split("form: ").nth(1).unwrap_or_default();
    form.trim_end_matches([' ', '}', ')']).to_owned()
}

/// A lease on which the query was run so often that its columns are known.
async fn prepared(session: &Session, settings: &str) -> (Lease, Vec<Option<String>>) {
    let mut lease = session.lease("main").await.unwrap();
    assert!(lease.set(settings).await.unwrap());
    let (texts, forms) = read(&mut lease, &[Step::Query(QUERY, &[])]).await;
    assert!(forms.iter().all(|form| form == "Text"), "{forms:?}");
    for _ in 0..2 {
        read(&mut lease, &[Step::Query(QUERY, &[])]).await;
    }
    (lease, texts)
}

#[tokio::test]
async fn a_value_has_the_same_text_in_whatever_form_it_comes() {
    let observer = observer().await;
    observer.batch_execute(VALUES).await.unwrap();
    for (settings, expected) in [
        (
            "SET DateStyle = 'ISO, MDY'; SET TimeZone = 'UTC'",
            [
                "Uuid",
                "Date",
                "Date",
                "Timestamp",
                "Timestamp",
                "TimestampInUtc",
            ],
        ),
        (
            "SET DateStyle = 'ISO, DMY'; SET TimeZone = 'Etc/GMT'",
            [
                "Uuid",
                "Date",
                "Date",
                "Timestamp",
                "Timestamp",
                "TimestampInUtc",
            ],
        ),
        (
            "SET DateStyle = 'ISO'; SET TimeZone = 'Asia/Kolkata'",
            ["Uuid", "Date", "Date", "Timestamp", "Timestamp", "Text"],
        ),
        (
            "SET DateStyle = 'German'; SET TimeZone = 'UTC'",
            ["Uuid", "Text", "Text", "Text", "Text", "Text"],
        ),
    ] {
        let session = alone("forms");
        let (mut lease, texts) = prepared(&session, settings).await;
        let (again, forms) = read(&mut lease, &[Step::Query(QUERY, &[])]).await;
        assert_eq!(forms[..6], expected, "{settings}");
        assert_eq!(forms[6..], ["Text", "Text"]);
        assert_eq!(texts.len(), 8 * 20_006);
        let differ = texts.iter().zip(&again).find(|(text, again)| text != again);
        assert_eq!(differ, None, "{settings}");
        assert_eq!(again.len(), texts.len());
    }
    observer.batch_execute("DROP TABLE forms").await.unwrap();
}

/// A statement whose columns are known is bound before anybody can hear what another one has set.
#[tokio::test]
async fn a_setting_that_changes_is_heeded() {
    const NOW: &str = "SELECT '2024-02-28 12:00+00'::timestamptz";
    let session = alone("heeds");
    let mut lease = session.lease("main").await.unwrap();
    let set = lease.set("SET DateStyle = 'ISO'; SET TimeZone = 'UTC'");
    assert!(set.await.unwrap());
    let mut told = async |steps: &[Step<'_>]| {
        let (texts, forms) = read(&mut lease, steps).await;
        (texts.into_iter().flatten().next(), forms.into_iter().next())
    };
    let some = |text: &str, form: &str| (Some(text.to_owned()), Some(form.to_owned()));
    let utc = "2024-02-28 12:00:00+00";
    for form in ["Text", "Text", "Text", "TimestampInUtc"] {
        assert_eq!(told(&[Step::Query(NOW, &[])]).await, some(utc, form));
    }
    told(&[Step::Frame("SET TimeZone = 'Asia/Tokyo'")]).await;
    let tokyo = some("2024-02-28 21:00:00+09", "Text");
    for _ in 0..3 {
        assert_eq!(told(&[Step::Query(NOW, &[])]).await, tokyo);
    }
    told(&[Step::Frame("SET TimeZone = 'UTC'")]).await;
    for form in ["Text", "TimestampInUtc"] {
        assert_eq!(told(&[Step::Query(NOW, &[])]).await, some(utc, form));
    }
}

/// What else is done on a connection may change how it writes dates.
#[tokio::test]
async fn a_style_is_asked_for_again_after_other_work() {
    const NOW: &str = "SELECT '2024-02-28 12:00+00'::timestamptz";
    const SETTINGS: &str = "SET DateStyle = 'ISO'";
    let session = alone("asks");
    let mut lease = session.lease("main").await.unwrap();
    lease.batch_execute("SET TimeZone = 'UTC'").await.unwrap();
    assert!(lease.set(SETTINGS).await.unwrap());
    for _ in 0..4 {
        read(&mut lease, &[Step::Query(NOW, &[])]).await;
    }
    lease
        .batch_execute("SET TimeZone = 'Asia/Tokyo'")
        .await
        .unwrap();
    assert!(lease.set(SETTINGS).await.unwrap());
    let (texts, _) = read(&mut lease, &[Step::Query(NOW, &[])]).await;
    assert_eq!(texts, [Some("2024-02-28 21:00:00+09".to_owned())]);
}
