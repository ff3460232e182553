//! What the environment says: libpq's variables, postgres_exporter's, and the state directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Place, Problem, SecretSource, secret};
use crate::secret::Secret;

/// Looks up one environment variable; the program's own environment is read in one place only.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What libpq reads (its manual, "Environment Variables"), and whose home its files lie in.
const LIBPQ: [&str; 33] = [
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGDATABASE",
    "PGUSER",
    "PGPASSWORD",
    "PGPASSFILE",
    "PGREQUIREAUTH",
    "PGCHANNELBINDING",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGOPTIONS",
    "PGAPPNAME",
    "PGSSLMODE",
    "PGREQUIRESSL",
    "PGSSLNEGOTIATION",
    "PGSSLCOMPRESSION",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGSSLCERTMODE",
    "PGSSLROOTCERT",
    "PGSSLCRL",
    "PGSSLCRLDIR",
    "PGSSLSNI",
    "PGREQUIREPEER",
    "PGSSLMINPROTOCOLVERSION",
    "PGSSLMAXPROTOCOLVERSION",
    "PGGSSENCMODE",
    "PGCONNECT_TIMEOUT",
    "PGTARGETSESSIONATTRS",
    "PGLOADBALANCEHOSTS",
    "HOME",
    "USER",
];

/// The variables that name a server, so that one of them alone makes an instance.
const NAMES_A_SERVER: [&str; 8] = [
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGDATABASE",
    "PGUSER",
    "PGPASSWORD",
    "PGPASSFILE",
    "PGSERVICE",
];

/// libpq's variables, and `HOME` and `USER`, as they were when the agent started. `PGPASSWORD` is
/// among them, so there is no `Debug`.
#[derive(Clone, Default)]
pub struct PgEnvironment(BTreeMap<&'static str, Secret>);

impl PgEnvironment {
    /// Takes what is set and not empty (libpq treats an empty variable as an absent one).
    pub fn capture(lookup: Lookup<'_>) -> Self {
        let set = |name: &'static str| Some((name, Secret::new(filled(lookup, name)?)));
        Self(LIBPQ.into_iter().filter_map(set).collect())
    }

    /// One variable, for the one call that needs it.
    pub fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|value| value.expose().to_owned())
    }
}

fn filled(lookup: Lookup<'_>, name: &str) -> Option<String> {
    lookup(name).filter(|value| !value.is_empty())
}

/// How to reach a server, as the environment tells it.
pub(super) struct Server {
    pub(super) dsn: SecretSource,
    pub(super) password: Option<SecretSource>,
}

impl Server {
    fn of(dsn: SecretSource) -> Self {
        Self { dsn, password: None }
    }
}

/// The one server that the environment names, if it names one.
pub(super) fn server(lookup: Lookup<'_>, problems: &mut Vec<Problem>) -> Option<Server> {
    let mut fail = |what: String, remedy: &str| {
        problems.push(Problem::fatal(Place::default(), what, remedy));
    };
    if let Some(dsn) = filled(lookup, "DATA_SOURCE_NAME") {
        if dsn.contains(",postgresql://") || dsn.contains(",postgres://") {
            fail(
                "DATA_SOURCE_NAME holds several connection strings".to_owned(),
                "list them under `instances` in a file, and give it by --config",
            );
        }
        return Some(Server::of(SecretSource::Value(Secret::new(dsn))));
    }
    if let Some(path) = filled(lookup, "DATA_SOURCE_NAME_FILE") {
        return Some(Server::of(SecretSource::File(path.into())));
    }

    // postgres_exporter's three parts; those in files are read here, but for the password.
    let mut part = |name: &str| -> Option<Secret> {
        let from = format!("{name}_FILE");
        let Some(path) = filled(lookup, &from) else {
            return filled(lookup, name).map(Secret::new);
        };
        match secret::read_file(Path::new(&path)) {
            Ok(value) => Some(Secret::new(value.expose().trim())),
            Err((what, remedy)) => {
                fail(format!("{what} {path}, which {from} names"), remedy);
                None
            }
        }
    };
    let address = part("DATA_SOURCE_URI");
    let user = part("DATA_SOURCE_USER");
    let password = match filled(lookup, "DATA_SOURCE_PASS_FILE") {
        Some(path) => Some(SecretSource::File(path.into())),
        None => {
            filled(lookup, "DATA_SOURCE_PASS").map(|value| SecretSource::Value(Secret::new(value)))
        }
    };
    if let Some(address) = address {
        let dsn = uri(address.expose(), user.as_ref().map(Secret::expose));
        let mut server = Server::of(SecretSource::Value(Secret::new(dsn)));
        server.password = password;
        return Some(server);
    }
    if user.is_some() || password.is_some() {
        fail(
            "DATA_SOURCE_USER or DATA_SOURCE_PASS is set, but nothing says which server".to_owned(),
            "set DATA_SOURCE_URI to HOST:PORT/DATABASE",
        );
        return None;
    }
    NAMES_A_SERVER
        .into_iter()
        .any(|name| filled(lookup, name).is_some())
        // All of it comes from the variables.
        .then(|| Server::of(SecretSource::Value(Secret::new(""))))
}

/// postgres_exporter's `DATA_SOURCE_URI` is a URI without its scheme; some write it all the same.
fn uri(address: &str, user: Option<&str>) -> String {
    let address = address
        .strip_prefix("postgresql://")
        .or_else(|| address.strip_prefix("postgres://"))
        .unwrap_or(address);
    let user = user.map(|user| {
        let set = percent_encoding::NON_ALPHANUMERIC;
        format!("{}@", percent_encoding::utf8_percent_encode(user, set))
    });
    format!("postgresql://{}{address}", user.unwrap_or_default())
}

/// Where checkpoints and the local store lie when nobody says it: `$STATE_DIRECTORY` (systemd sets
/// it), else the user's state directory, else the system's.
pub(super) fn state_directory(lookup: Lookup<'_>) -> PathBuf {
    // systemd lists several, separated by colons; the first is the unit's own.
    if let Some(first) =
        filled(lookup, "STATE_DIRECTORY").and_then(|list| list.split(':').next().map(PathBuf::from))
    {
        return first;
    }
    // The XDG directory specification has a relative path ignored.
    let absolute =
        |name| filled(lookup, name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(|| PathBuf::from("/var/lib"))
        .join("pgvigil")
}

/// The machine's name, as the kernel has it; never empty.
pub fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    /// The server's DSN and password, and the problems.
    fn server_of(pairs: &[(&str, &str)]) -> (Option<String>, Option<String>, Vec<String>) {
        let mut problems = Vec::new();
        let server = server(&with(pairs), &mut problems);
        let text = |source: &SecretSource| match source.read() {
            Ok(secret) => secret.expose().to_owned(),
            Err(why) => why,
        };
        let dsn = server.as_ref().map(|server| text(&server.dsn));
        let password = server.as_ref().and_then(|server| server.password.as_ref()).map(text);
        (dsn, password, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_names_a_server() {
        let (dsn, password, problems) = server_of(&[("PGSSLMODE", "require"), ("PGDATA", "/x")]);
        assert_eq!((dsn, password, problems.len()), (None, None, 0));
        let (dsn, ..) = server_of(&[("PGHOST", "db1")]);
        assert_eq!(dsn.as_deref(), Some(""));
        // The first that is set counts; an empty one is not set.
        let (dsn, ..) =
            server_of(&[("DATA_SOURCE_NAME", "host=a"), ("DATA_SOURCE_URI", "b"), ("PGHOST", "c")]);
        assert_eq!(dsn.as_deref(), Some("host=a"));
        let (dsn, ..) = server_of(&[("DATA_SOURCE_NAME", ""), ("PGHOST", "c")]);
        assert_eq!(dsn.as_deref(), Some(""));
        // A list of hosts is one server, a list of connection strings is not.
        let (_, _, problems) = server_of(&[("DATA_SOURCE_NAME", "postgresql://a,b/x")]);
        assert_eq!(problems.len(), 0);
        let (_, _, problems) = server_of(&[("DATA_SOURCE_NAME", "postgresql://a,postgresql://b")]);
        assert!(problems[0].contains("several connection strings"), "{problems:?}");
    }

    #[test]
    fn the_parts_of_postgres_exporter() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.into_os_string().into_string().unwrap()
        };
        let (dsn, password, problems) = server_of(&[
            ("DATA_SOURCE_URI", "db1:5433/postgres?sslmode=disable"),
            ("DATA_SOURCE_USER", "ann@shop"),
            ("DATA_SOURCE_PASS", "p:w/"),
        ]);
        let uri = "postgresql://ann%40shop@db1:5433/postgres?sslmode=disable";
        assert_eq!(dsn.as_deref(), Some(uri));
        assert_eq!((password.as_deref(), problems.len()), (Some("p:w/"), 0));

        // Files outrank values, as they do there.
        let (uri, user) = (file("uri", "postgresql://db2/x\n"), file("user", " bob\n"));
        let secret = file("pass", "secret\n");
        let (dsn, password, _) = server_of(&[
            ("DATA_SOURCE_URI", "db1"),
            ("DATA_SOURCE_URI_FILE", &uri),
            ("DATA_SOURCE_USER_FILE", &user),
            ("DATA_SOURCE_PASS_FILE", &secret),
        ]);
        assert_eq!(dsn.as_deref(), Some("postgresql://bob@db2/x"));
        assert_eq!(password.as_deref(), Some("secret"));
        let (dsn, ..) = server_of(&[("DATA_SOURCE_NAME_FILE", &uri)]);
        assert_eq!(dsn.as_deref(), Some("postgresql://db2/x"));

        let (_, _, problems) = server_of(&[("DATA_SOURCE_URI_FILE", "/nowhere/uri")]);
        assert!(problems[0].contains("/nowhere/uri, which DATA_SOURCE_URI_FILE"), "{problems:?}");
        let (_, _, problems) = server_of(&[("DATA_SOURCE_USER", "ann"), ("PGHOST", "db1")]);
        assert!(problems[0].contains("nothing says which server"), "{problems:?}");
    }

    #[test]
    fn where_state_lies() {
        let at = |pairs: &[(&str, &str)]| state_directory(&with(pairs)).display().to_string();
        assert_eq!(at(&[("STATE_DIRECTORY", "/a:/b"), ("HOME", "/home/x")]), "/a");
        assert_eq!(at(&[("XDG_STATE_HOME", "/s"), ("HOME", "/home/x")]), "/s/pgvigil");
        assert_eq!(at(&[("XDG_STATE_HOME", "s"), ("HOME", "/h")]), "/h/.local/state/pgvigil");
        assert_eq!(at(&[]), "/var/lib/pgvigil");
    }

    #[test]
    fn libpq_variables_are_captured() {
        let pairs = [("PGUSER", "ann"), ("PGHOST", ""), ("SHELL", "/bin/sh"), ("HOME", "/h")];
        let environment = PgEnvironment::capture(&with(&pairs));
        assert_eq!(environment.get("PGUSER").as_deref(), Some("ann"));
        assert_eq!(environment.get("HOME").as_deref(), Some("/h"));
        assert!(environment.get("PGHOST").is_none() && environment.get("SHELL").is_none());
    }
}
