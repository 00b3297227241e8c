//! Disguises: the same statement in other forms.

/// Ways to disguise a statement. None of them makes a bad statement an acceptable query.
pub(crate) fn of(sql: &str) -> Vec<String> {
    vec![
        sql.to_uppercase()
            .replace("{FOLDER}", "{folder}")
            .replace("{VICTIM}", "{victim}")
            .replace("{DATABASE}", "{database}"),
        sql.replace(' ', "/**/ "),
        sql.replace(' ', "\t\n\r\u{c}"),
        sql.replace('(', "/* ( */ ("),
        format!("{sql};"),
        format!("```sql\n{sql}\n```"),
        format!("{sql} --"),
        format!("-- SELECT 1\n{sql}"),
        format!("/* /* */ SELECT 1; */ {sql}"),
        format!("({sql})"),
        format!("\u{feff}{sql}"),
        format!("SELECT 1; {sql}"),
        format!("{sql}; SELECT 1"),
        format!("COMMIT; {sql}"),
        format!("SELECT 1) q; {sql}; --"),
        format!("SELECT 1\n) q LIMIT 1) page; {sql}; SELECT 1 FROM (SELECT 1 FROM (SELECT 1"),
        format!("SELECT * FROM ({sql}) AS disguised"),
        format!("WITH disguised AS ({sql}) SELECT * FROM disguised"),
        format!("WITH disguised AS MATERIALIZED ({sql}) SELECT 1"),
        format!("SELECT ({sql})"),
        format!("SELECT EXISTS ({sql})"),
        format!("VALUES (({sql}))"),
        format!("SELECT 1 UNION ALL {sql}"),
        format!("SELECT 1 WHERE EXISTS ({sql})"),
        format!("EXPLAIN ANALYZE {sql}"),
        format!("EXPLAIN (ANALYZE, FORMAT JSON) {sql}"),
        format!("PREPARE disguised AS {sql}"),
        format!("DECLARE disguised CURSOR WITH HOLD FOR {sql}"),
        format!("CREATE TABLE public.disguised AS {sql}"),
        format!("COPY ({sql}) TO '{{folder}}/disguised'"),
        format!("DO $disguise$ BEGIN {sql}; END $disguise$"),
        format!("BEGIN; {sql}; COMMIT"),
    ]
}

/// Ways to put a statement where a condition is expected.
pub(crate) fn conditions(sql: &str) -> Vec<String> {
    vec![
        format!("EXISTS ({sql})"),
        format!("({sql}) IS NULL"),
        format!("true; {sql}"),
        format!("true) q; {sql}; --"),
        format!("true) q) q; {sql}; SELECT 1 FROM (SELECT 1 FROM (SELECT 1"),
        format!("true UNION ALL {sql}"),
        format!("true LIMIT ({sql})"),
        format!("true\n-- \n; {sql}"),
    ]
}
