//! Which statements a record is about, for a route's filter: pgaudit's records, definitions of objects,
//! and what decides who may do what.

use crate::logs::record::{Part, Record};
use crate::logs::redact::{Kind, Lexer};

/// What a record's statements are; a record may be about several kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::logs) struct Statements {
    /// A record of pgaudit.
    pub audit: bool,
    /// CREATE, ALTER, DROP, TRUNCATE and their kin.
    pub ddl: bool,
    /// Roles, grants, owners, default privileges.
    pub role: bool,
}

impl Statements {
    pub(in crate::logs) fn has(self, kind: &str) -> bool {
        match kind {
            "audit" => self.audit,
            "ddl" => self.ddl,
            "role" => self.role,
            _ => false,
        }
    }

    fn join(&mut self, other: Self) {
        self.audit |= other.audit;
        self.ddl |= other.ddl;
        self.role |= other.role;
    }
}

/// Looks at the statement that a message logs, and at that of an error.
pub(in crate::logs) fn statements(record: &Record) -> Statements {
    let mut found = Statements::default();
    let message = record.message();
    if let Some(audit) = message.strip_prefix("AUDIT: ") {
        found.audit = true;
        let mut columns = audit.split(',').skip(3);
        match columns.next() {
            Some("ROLE") => found.role = true,
            Some("DDL") => found.ddl = true,
            _ => {}
        }
        return found;
    }
    if let Some(sql) = logged(message) {
        found.join(of_sql(sql));
    }
    if let Some(sql) = record.part(Part::Statement) {
        found.join(of_sql(sql));
    }
    found
}

/// The statement in `statement: …`, `execute NAME: …`, `duration: N ms  parse NAME: …`.
fn logged(message: &str) -> Option<&str> {
    let body = match message.strip_prefix("duration: ") {
        Some(rest) => rest.split_once(" ms  ")?.1,
        None => message,
    };
    if let Some(sql) = body.strip_prefix("statement: ") {
        return Some(sql);
    }
    let named = ["execute ", "parse ", "bind "].iter().any(|word| body.starts_with(word));
    named.then(|| body.split_once(": "))?.map(|(_, sql)| sql)
}

/// A text may hold several statements; strings, comments and bodies of functions are no statements.
fn of_sql(sql: &str) -> Statements {
    let mut found = Statements::default();
    let mut words: Vec<&str> = Vec::new();
    for piece in Lexer::new(sql) {
        match piece.kind {
            Kind::Word if words.len() < 8 => words.push(&sql[piece.range]),
            Kind::Other if sql[piece.range.clone()].contains(';') => {
                found.join(of_words(&words));
                words.clear();
            }
            // What follows a name in quotes is no key word of the beginning.
            Kind::Other if words.len() < 8 => words.push(""),
            _ => {}
        }
    }
    found.join(of_words(&words));
    found
}

/// By the first words of a statement (manual, part VI; what log_statement = ddl logs, utility.c).
fn of_words(words: &[&str]) -> Statements {
    let is = |at: usize, list: &[&str]| {
        words.get(at).is_some_and(|word| list.iter().any(|known| word.eq_ignore_ascii_case(known)))
    };
    let defines = is(0, &["create", "alter", "drop"]);
    let mapping = is(1, &["user"]) && is(2, &["mapping"]);
    let role = (defines && is(1, &["role", "user", "group"]) && !mapping)
        || is(0, &["grant", "revoke", "reassign"])
        || (is(0, &["drop"]) && is(1, &["owned"]))
        || (is(0, &["alter"]) && is(1, &["default"]) && is(2, &["privileges"]))
        || (defines && is(1, &["policy"]))
        || (is(0, &["alter"])
            && words.windows(2).any(|pair| {
                pair[0].eq_ignore_ascii_case("owner") && pair[1].eq_ignore_ascii_case("to")
            }));
    let ddl = defines
        || is(0, &["truncate", "comment", "reindex", "cluster", "refresh"])
        || (is(0, &["security"]) && is(1, &["label"]))
        || (is(0, &["import"]) && is(1, &["foreign"]))
        || (is(0, &["select"]) && is(1, &["into"]));
    // A role is no object of a database.
    let of_roles = is(1, &["role", "user", "group"]) && !mapping;
    Statements { audit: false, ddl: ddl && !of_roles, role }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::record::Severity;

    fn of(message: &str) -> String {
        let found = statements(&Record::new(Severity::Log, message));
        let words = [("audit", found.audit), ("ddl", found.ddl), ("role", found.role)];
        words.iter().filter(|(_, is)| *is).map(|(word, _)| *word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn statements_are_told_by_their_first_words() {
        for (message, wanted) in [
            ("statement: CREATE TABLE a ()", "ddl"),
            ("statement: /* x */ drop\n table a", "ddl"),
            ("statement: TRUNCATE a", "ddl"),
            ("statement: SELECT 1; -- DROP TABLE a", ""),
            ("statement: SELECT 'x; DROP TABLE a'; ", ""),
            ("statement: SELECT 1; DROP TABLE a; SELECT 2", "ddl"),
            ("execute s1: ALTER TABLE a OWNER TO bob", "ddl role"),
            ("duration: 1.000 ms  execute <unnamed>: GRANT SELECT ON a TO bob", "role"),
            ("duration: 1.000 ms  statement: create index on a (b)", "ddl"),
            ("statement: ALTER ROLE bob SUPERUSER", "role"),
            ("statement: CREATE USER bob", "role"),
            ("statement: CREATE USER MAPPING FOR a SERVER s", "ddl"),
            ("statement: REVOKE ALL ON a FROM bob", "role"),
            ("statement: ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO bob", "ddl role"),
            ("statement: DROP OWNED BY bob", "ddl role"),
            ("statement: REASSIGN OWNED BY a TO b", "role"),
            ("statement: REFRESH MATERIALIZED VIEW a", "ddl"),
            ("statement: INSERT INTO a VALUES (1)", ""),
            ("statement: DO $$ BEGIN DROP TABLE a; END $$", ""),
            (
                "AUDIT: SESSION,1,1,DDL,CREATE TABLE,TABLE,public.a,CREATE TABLE a (),<not logged>",
                "audit ddl",
            ),
            ("AUDIT: SESSION,2,1,ROLE,GRANT,,,GRANT a TO b,<not logged>", "audit role"),
            ("AUDIT: SESSION,3,1,READ,SELECT,,,SELECT 1,<not logged>", "audit"),
            ("checkpoint starting: time", ""),
            ("duration: 1.000 ms", ""),
        ] {
            assert_eq!(of(message), wanted, "{message}");
        }
        let mut failed = Record::new(Severity::Error, "permission denied for table a");
        failed.add(Part::Statement, "DROP TABLE a");
        assert!(statements(&failed).ddl, "what was tried counts");
    }
}
