//! SQL that makes the role which the agent connects as. Pure.

/// The functions that give `pg_monitor` what it may not read itself.
const HELPERS: &str = include_str!("../../../queries/helpers.sql");

/// Three sessions an agent, and two more for a session that the server has not closed yet and for
/// somebody who looks with the same role.
const CONNECTIONS: u32 = 5;

/// A script for psql and a superuser: the role, what it may do, and the helper functions. It works on
/// PostgreSQL 13 and newer, and running it again changes nothing.
///
/// # Errors
/// What in the role's name cannot stand in a script.
pub(super) fn script(role: &str, instances: &[&str]) -> Result<String, String> {
    if role.contains('$') || role.chars().any(char::is_control) || role.is_empty() {
        return Err("the role's name in the connection string is empty, or holds a dollar or a \
                    control character; choose another name"
            .to_owned());
    }
    let name = format!("\"{}\"", role.replace('"', "\"\""));
    let literal = format!("'{}'", role.replace('\'', "''").replace('\\', "\\\\"));
    let literal = if role.contains('\\') { format!("E{literal}") } else { literal };
    let of = match instances {
        [] => String::new(),
        // ASCII alone: a database in another encoding need not know more.
        some => format!(
            " (instances: {})",
            some.join(", ").replace(|c: char| c.is_control() || !c.is_ascii(), "?")
        ),
    };
    let helpers = HELPERS.replace("TO pg_monitor", &format!("TO {name}"));
    Ok(format!(
        "\
-- The role that pgvigil connects as{of}. Run it with psql as a superuser, on the primary; running it again
-- changes nothing. PostgreSQL 13 and newer. What follows the role works in one database: for the helper
-- functions of further databases run the script in each, such as by
--   for d in $(psql -AtXc \"SELECT datname FROM pg_database WHERE datallowconn AND datname <> 'template1'\"); do
--     psql -X -d \"$d\" -f grants.sql; done
\\set ON_ERROR_STOP on
BEGIN;
SET LOCAL client_min_messages = warning;

DO $pgvigil$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {literal}) THEN
    CREATE ROLE {name} LOGIN;
  ELSIF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = {literal}) THEN
    RAISE EXCEPTION 'the role {label} is a superuser; name another one in the connection string of pgvigil';
  END IF;
END
$pgvigil$;

-- An agent holds at most 3 sessions on a server; for each further agent add 3.
ALTER ROLE {name} CONNECTION LIMIT {CONNECTIONS};
-- All that it needs: statistics and settings of the whole server, no data.
GRANT pg_monitor TO {name};

-- Where CONNECT was taken from PUBLIC, it needs its own.
DO $pgvigil$
DECLARE
  d pg_catalog.name;
BEGIN
  FOR d IN SELECT datname FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate LOOP
    BEGIN
      EXECUTE pg_catalog.format('GRANT CONNECT ON DATABASE %I TO {in_text}', d);
    EXCEPTION WHEN insufficient_privilege THEN
      RAISE WARNING 'may not grant CONNECT on database %: exclude it in the configuration', d;
    END;
  END LOOP;
END
$pgvigil$;

-- Opt-in from here to COMMIT: leave it out, and the packs that need it say that it is not available.
{helpers}
COMMIT;

-- Its password, which psql asks for and sends as a hash:
--   \\password {name}
-- In pg_hba.conf (and then SELECT pg_reload_conf()):
--   hostssl  all  {name}  ADDRESS-OF-THE-AGENT/32  scram-sha-256
-- Useful beside it, where you like:
--   ALTER ROLE {name} SET temp_file_limit = '256MB';  -- no query of a pack fills the disk
--   GRANT SET ON PARAMETER temp_file_limit TO {name};  -- from 15 on: the agent sets 1GB by itself
--   ALTER ROLE {name} SET log_min_duration_statement = -1;  -- its statements stay out of the log
",
        label = role.replace('\'', "''").replace('%', "%%"),
        in_text = name.replace('%', "%%").replace('\'', "''"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_wherever_they_stand() {
        let script = script("o'b\"r%", &["shöp\n1"]).unwrap();
        assert!(script.contains("(instances: sh?p?1)"));
        assert!(script.contains("GRANT pg_monitor TO \"o'b\"\"r%\";"));
        assert!(script.contains("rolname = 'o''b\"r%'"));
        assert!(script.contains("%I TO \"o''b\"\"r%%\"', d)"));
        assert!(script.contains("GRANT USAGE ON SCHEMA pgvigil TO \"o'b\"\"r%\";"));
        assert!(!script.contains("TO pg_monitor") && script.is_ascii());
    }

    #[test]
    fn what_cannot_be_quoted_is_refused() {
        for role in ["", "a$pgvigil$", "a\nb"] {
            assert!(super::script(role, &[]).is_err(), "{role:?}");
        }
    }
}
