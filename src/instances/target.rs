//! What a connection string, its environment and its secrets come to: who connects to which database
//! where, and with which password.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::place::DEFAULT_SOCKETS;
use crate::postgres::{ConnInfo, HostSpec, password_from};
use crate::secret::Secret;

/// A password file longer than this is a wrong file.
const MAX_PASSFILE: u64 = 1024 * 1024;

/// A connection string with every gap filled. It holds a password, so it has no `Debug`.
pub(super) struct Target {
    pub(super) info: ConnInfo,
    pub(super) user: String,
    pub(super) database: String,
    home: Option<PathBuf>,
}

impl Target {
    /// `database` outranks the string's, `default_database` the user's name.
    ///
    /// # Errors
    /// A sentence without any value of the string.
    pub(super) fn new(
        dsn: &str,
        environment: &dyn Fn(&str) -> Option<String>,
        password: Option<Secret>,
        database: Option<&str>,
        default_database: Option<&str>,
    ) -> Result<Self, String> {
        let mut info = ConnInfo::parse(dsn)?.fill(environment)?;
        if password.is_some() {
            info.password = password;
        }
        let user = info.user.clone().or_else(own_name).or_else(|| environment("USER")).ok_or(
            "the connection string names no user, and this process's user has no name; write \
             `user` into it",
        )?;
        let database = database.map(str::to_owned).or_else(|| info.dbname.clone());
        let database = database.or_else(|| default_database.map(str::to_owned));
        let home = environment("HOME").map(PathBuf::from).or_else(std::env::home_dir);
        Ok(Self { database: database.unwrap_or_else(|| user.clone()), info, user, home })
    }

    /// A file of the user's `.postgresql` directory, if it is there.
    pub(super) fn user_file(&self, name: &str) -> Option<PathBuf> {
        let path = self.home.as_ref()?.join(".postgresql").join(name);
        path.try_exists().unwrap_or(false).then_some(path)
    }

    /// The password for one server, and a notice about a password file that libpq would not use.
    pub(super) fn password(&self, host: &HostSpec) -> (Option<Secret>, Option<String>) {
        if self.info.password.is_some() {
            return (self.info.password.clone(), None);
        }
        let named = self.info.passfile.clone();
        let Some(path) = named.or_else(|| self.home.as_ref().map(|home| home.join(".pgpass")))
        else {
            return (None, None);
        };
        let shown = path.display();
        // Looked at before it is opened: to open a pipe would wait for a writer.
        match std::fs::metadata(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return (None, None),
            Ok(metadata) if !metadata.is_file() => {
                return (
                    None,
                    Some(format!("{shown} is no plain file and stays unread; correct it")),
                );
            }
            Ok(metadata) if metadata.mode() & 0o077 != 0 => {
                return (
                    None,
                    Some(format!(
                        "the password file {shown} stays unread, since others than its owner may \
                         read it; chmod 600 {shown}, or use `password_file`"
                    )),
                );
            }
            Ok(_) => {}
            Err(e) => return (None, Some(format!("cannot read {shown}: {e}; make it readable"))),
        }
        let mut text = String::new();
        let read = std::fs::File::open(&path)
            .and_then(|file| file.take(MAX_PASSFILE).read_to_string(&mut text));
        if let Err(e) = read {
            return (None, Some(format!("cannot read {shown}: {e}; make it readable text")));
        }
        let name = match (&host.host, host.hostaddr) {
            (Some(name), _) if DEFAULT_SOCKETS.contains(&name.as_str()) => "localhost".to_owned(),
            (Some(name), _) => name.clone(),
            (None, Some(address)) => address.to_string(),
            (None, None) => "localhost".to_owned(),
        };
        (password_from(&text, &name, host.port, &self.database, &self.user), None)
    }
}

/// The name of the user that this process runs as: libpq's default for `user`.
fn own_name() -> Option<String> {
    let own = rustix::process::geteuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == own).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn target(dsn: &str, password: Option<&str>, database: Option<&str>) -> Target {
        let made = Target::new(dsn, &|_| None, password.map(Secret::new), database, None);
        made.unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn gaps_and_precedence() {
        let plain = target("host=h user=u", None, None);
        assert_eq!((plain.user.as_str(), plain.database.as_str()), ("u", "u"));
        let told = target("host=h user=u dbname=d", None, Some("other"));
        assert_eq!(told.database, "other");
        let console = Target::new("host=h user=u", &|_| None, None, None, Some("c"));
        assert!(console.is_ok_and(|target| target.database == "c"));
        assert_eq!(target("host=h dbname=d", None, None).user, own_name().unwrap());
        let both = target("postgres://u:dsn@h", Some("own"), None);
        assert!(both.password(&both.info.hosts[0]).0 == Some(Secret::new("own")));
    }

    #[test]
    fn the_password_file_is_used_as_libpq_does() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pass");
        fs::write(&file, "h:5432:d:u:right\nlocalhost:5432:d:u:socket\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let find = |place: &str| {
            let dsn = format!("{place} user=u dbname=d passfile={}", file.display());
            let target = target(&dsn, None, None);
            target.password(&target.info.hosts[0])
        };
        assert!(find("host=h").0 == Some(Secret::new("right")));
        assert!(find("host=other").0.is_none());
        assert!(find("").0 == Some(Secret::new("socket")));
        assert!(find("host=/var/run/postgresql").0 == Some(Secret::new("socket")));

        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let (password, notice) = find("host=h");
        assert!(password.is_none() && notice.unwrap().contains("chmod 600"));
    }
}
