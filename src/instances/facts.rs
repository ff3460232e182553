//! What a session learns about its server: one statement for all that anybody may read, a second for
//! the control file, which some have locked away.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::rows::Rows;
use super::session::{Limits, QueryError, SEARCH_PATH, Session};
use super::socket::Link;
use crate::postgres::{Extension, Facts, LogSettings, QueryReason, Role, Version, Whereabouts};

/// Rows of a kind, a name and up to two values. Works on every major as any role: what a role may not
/// read is absent. Of settings only those whose values are no free text: no secret is among them.
const GENERAL: &str = "\
SELECT 'server_version_num' AS kind, current_setting('server_version_num') AS name,
       NULL::text AS one, NULL::text AS two
UNION ALL SELECT 'standby', pg_is_in_recovery()::text, NULL, NULL
UNION ALL SELECT 'database', current_database()::text, NULL, NULL
UNION ALL SELECT 'superuser', rolsuper::text, NULL, NULL FROM pg_roles WHERE rolname = current_user
UNION ALL SELECT 'session', pg_backend_pid()::text, inet_client_port()::text,
                 floor(extract(epoch FROM pg_postmaster_start_time()))::bigint::text
UNION ALL SELECT 'monitor', pg_has_role('pg_monitor', 'USAGE')::text, NULL, NULL
UNION ALL (SELECT 'databases', datname::text, NULL, NULL FROM pg_database
           WHERE datallowconn AND NOT datistemplate AND datconnlimit <> -2 ORDER BY datname)
UNION ALL SELECT 'extension', extname::text, extversion, nspname::text
          FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace
UNION ALL SELECT 'setting', name, setting, NULL FROM pg_settings
          WHERE vartype <> 'string'
             OR name IN ('cluster_name', 'data_directory', 'log_directory', 'log_line_prefix',
                     'log_timezone')";

/// `pg_control_*` are open to all unless an administrator has revoked them.
const CONTROL: &str = "\
SELECT s.system_identifier::text, c.timeline_id::text
FROM pg_control_system() s, pg_control_checkpoint() c";

/// Tablespaces with a place of their own. A statement apart, for it fails where one is dropped meanwhile.
const TABLESPACES: &str = "\
SELECT t.spcname::text, t.location
FROM (SELECT spcname, pg_tablespace_location(oid) AS location FROM pg_tablespace
      WHERE spcname NOT IN ('pg_default', 'pg_global')) t
WHERE t.location <> '' ORDER BY t.spcname";

impl Session {
    /// Learns all facts; what this role may not read stays empty or zero.
    ///
    /// # Errors
    /// When the server does not answer, or not as PostgreSQL.
    pub async fn facts(&mut self, deadline: Instant) -> Result<Facts, QueryError> {
        if self.is_plain() {
            return self.facts_of_console(deadline).await;
        }
        let limits = Limits {
            statement_timeout: Duration::from_secs(2),
            deadline,
            max_rows: 100_000,
            max_bytes: 16 << 20,
            search_path: SEARCH_PATH,
        };
        let general = self.run(GENERAL, &limits).await?;
        let control = match self.run(CONTROL, &limits).await {
            Ok(rows) => rows.rows.into_iter().next(),
            Err(error) if error.reason == QueryReason::Permission => None,
            Err(error) => return Err(error),
        };
        let tablespaces = match self.run(TABLESPACES, &limits).await {
            Ok(rows) => rows.rows,
            Err(error) if error.session_lost => return Err(error),
            Err(_) => Vec::new(),
        };
        let mut facts = read(&general, self.link());
        if let Some([identifier, timeline]) = control.as_deref() {
            facts.system_identifier = identifier.as_deref().unwrap_or_default().to_owned();
            facts.timeline = timeline.as_deref().and_then(|t| t.parse().ok()).unwrap_or(0);
        }
        let Facts { whereabouts, system_identifier, data_directory, settings, .. } = &mut facts;
        whereabouts.system_identifier.clone_from(system_identifier);
        whereabouts.data_directory.clone_from(data_directory);
        if settings.get("logging_collector").is_none_or(|setting| setting != "on") {
            whereabouts.log_directory = None;
        }
        whereabouts.tablespaces = tablespaces
            .into_iter()
            .filter_map(|row| match <[_; 2]>::try_from(row) {
                Ok([Some(name), Some(location)]) => Some((name.into(), location.into())),
                _ => None,
            })
            .collect();
        Ok(facts)
    }

    /// PgBouncer's console has a version, and whoever is let in may see all that there is.
    async fn facts_of_console(&mut self, deadline: Instant) -> Result<Facts, QueryError> {
        let limits = Limits {
            statement_timeout: Duration::from_secs(2),
            deadline,
            max_rows: 1,
            max_bytes: 1 << 10,
            search_path: SEARCH_PATH,
        };
        self.run("SHOW VERSION", &limits).await?;
        Ok(Facts { database: "pgbouncer".to_owned(), monitor: true, ..none(self.version()) })
    }
}

/// Nothing but a version.
fn none(version: Version) -> Facts {
    Facts {
        version,
        role: Role::Primary,
        system_identifier: String::new(),
        timeline: 0,
        cluster_name: String::new(),
        data_directory: None,
        database: String::new(),
        databases: Vec::new(),
        extensions: BTreeMap::new(),
        settings: BTreeMap::new(),
        superuser: false,
        monitor: false,
        log: LogSettings::default(),
        whereabouts: Whereabouts::default(),
    }
}

fn read(rows: &Rows, link: Link) -> Facts {
    let mut facts = none(Version(0));
    for row in &rows.rows {
        let [kind, name, one, two] = row.as_slice() else { continue };
        let text = |value: &Option<Box<str>>| value.as_deref().unwrap_or_default().to_owned();
        let name = text(name);
        match kind.as_deref().unwrap_or_default() {
            "server_version_num" => facts.version = Version(name.parse().unwrap_or(0)),
            "standby" if name == "true" => facts.role = Role::Standby,
            "database" => facts.database = name,
            "superuser" => facts.superuser = name == "true",
            "monitor" => facts.monitor = name == "true",
            "databases" => facts.databases.push(name),
            "extension" => {
                let extension = Extension { version: text(one), schema: text(two) };
                facts.extensions.insert(name, extension);
            }
            "session" => {
                let number = |text: &Option<Box<str>>| text.as_deref().and_then(|t| t.parse().ok());
                let port = number(one).and_then(|port| u16::try_from(port).ok());
                facts.whereabouts.backend = name.parse().ok();
                facts.whereabouts.started = number(two);
                facts.whereabouts.same_machine = link.is_direct(port);
            }
            "setting" => setting(&mut facts, name, text(one)),
            _ => {}
        }
    }
    facts
}

fn setting(facts: &mut Facts, name: String, value: String) {
    match name.as_str() {
        "cluster_name" => facts.cluster_name = value,
        "data_directory" => facts.data_directory = Some(value).filter(|v| !v.is_empty()),
        "log_directory" => facts.whereabouts.log_directory = Some(value),
        "log_line_prefix" => facts.log.line_prefix = value,
        "log_timezone" => facts.log.time_zone = value,
        "log_error_verbosity" => facts.log.verbosity = value,
        _ => drop(facts.settings.insert(name, value)),
    }
}
