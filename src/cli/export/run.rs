//! Reads the settings, and prints or writes what was made from them.

use std::io::Write as _;
use std::path::Path;

use super::boards::{self, ALERTS, DASHBOARDS};
use super::rename::Names;
use super::{grants, retention, rules};
use crate::app::Failure;
use crate::cli::args::{Export, Exported};
use crate::cli::process::input;
use crate::config::{self, Examined, Flags, Instance, InstanceKind, Settings};
use crate::postgres::ConnInfo;

/// The role of who has named none.
const ROLE: &str = "pgvigil";

/// A file's name and its text.
type File = (String, String);

/// Prints one kind to stdout, or writes its files.
///
/// # Errors
/// A configuration that cannot be used, a file that cannot be written.
pub(in crate::cli) fn run(args: &Export) -> Result<(), Failure> {
    let Examined { settings, problems } =
        config::examine(&input(args.config.clone(), Flags::default()));
    // Without a file the defaults are asked for: that nothing is watched is no problem here.
    if args.config.is_some() && problems.iter().any(|problem| problem.fatal) {
        return Err(Failure::Configuration(problems));
    }
    let names = Names { cluster: &settings.cluster_label, server: &settings.server_label };
    let (files, printed) = match args.kind {
        Exported::Dashboards => {
            let fitted = DASHBOARDS.iter().map(|(name, text)| {
                boards::fitted(text, names)
                    .map(|text| (format!("{name}.json"), text))
                    .map_err(|e| Failure::Internal(format!("the dashboard {name} is no JSON: {e}")))
            });
            let files = fitted.collect::<Result<Vec<File>, Failure>>()?;
            let printed = boards::joined(&files);
            (files, printed)
        }
        Exported::Alerts => {
            let fitted = ALERTS
                .iter()
                .map(|(name, text)| (format!("{name}.yaml"), rules::fitted(text, names)));
            let files: Vec<File> = fitted.collect();
            let printed = rules::joined(&files);
            (files, printed)
        }
        Exported::Grants => {
            let files = scripts(&settings, args.instance.as_deref())?;
            let printed = files.first().map(|(_, text)| text.clone()).unwrap_or_default();
            (files, printed)
        }
        Exported::LokiRetention => {
            let routes = settings.logs.as_ref().map_or(&[][..], |logs| &logs.routes);
            let text = retention::documents(routes).map_err(Failure::Unusable)?;
            (vec![("loki-retention.yaml".to_owned(), text.clone())], text)
        }
    };
    match &args.to {
        Some(directory) => write(directory, &files, args.config.as_deref()),
        None => print(&printed),
    }
}

/// One script a role: the instances that share a role share the script.
fn scripts(settings: &Settings, only: Option<&str>) -> Result<Vec<File>, Failure> {
    let wanted: Vec<&Instance> = settings
        .instances
        .iter()
        .filter(|instance| instance.kind == InstanceKind::Postgres)
        .filter(|instance| only.is_none_or(|only| instance.name == only))
        .collect();
    if let (Some(only), true) = (only, wanted.is_empty()) {
        return Err(Failure::Usage(format!(
            "the configuration has no PostgreSQL instance `{only}`; give the name of one that it has"
        )));
    }
    let mut roles: Vec<(String, Vec<&str>)> = Vec::new();
    for instance in wanted {
        let role = role(instance)?;
        match roles.iter_mut().find(|(known, _)| *known == role) {
            Some((_, names)) => names.push(&instance.name),
            None => roles.push((role, vec![&instance.name])),
        }
    }
    if roles.is_empty() {
        roles.push((ROLE.to_owned(), Vec::new()));
    }
    let alone = roles.len() == 1;
    let script = |(role, instances): &(String, Vec<&str>)| {
        let text = grants::script(role, instances).map_err(Failure::Unusable)?;
        let plain: String =
            role.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let name = if alone { "grants.sql".to_owned() } else { format!("grants-{plain}.sql") };
        Ok((name, text))
    };
    roles.iter().map(script).collect()
}

/// The role that an instance is connected to as. Who connects as the server's own superuser has no
/// role for the agent yet.
fn role(instance: &Instance) -> Result<String, Failure> {
    let named = instance
        .dsn
        .read()
        .and_then(|dsn| ConnInfo::parse(dsn.expose()))
        .and_then(|info| info.fill(&|name| instance.environment.get(name)))
        .map_err(|sentence| Failure::Unusable(format!("{}: {sentence}", instance.name)))?
        .user;
    Ok(named.filter(|user| user != "postgres").unwrap_or_else(|| ROLE.to_owned()))
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // `| head` has seen enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Internal(format!("cannot print: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes the files; never over the configuration that they are made from.
fn write(directory: &Path, files: &[File], config: Option<&Path>) -> Result<(), Failure> {
    let cannot = |path: &Path, error: std::io::Error| {
        Failure::Unavailable(format!(
            "cannot write {}: {error}; name a directory that this user may write to by --to",
            path.display()
        ))
    };
    std::fs::create_dir_all(directory).map_err(|error| cannot(directory, error))?;
    let config = config.and_then(|config| config.canonicalize().ok());
    let is_config = |path: &Path| config.is_some() && path.canonicalize().ok() == config;
    if let Some(path) = files.iter().map(|(name, _)| directory.join(name)).find(|p| is_config(p)) {
        return Err(Failure::Usage(format!(
            "{} is the configuration itself and stays as it is; name another directory by --to",
            path.display()
        )));
    }
    for (name, text) in files {
        let path = directory.join(name);
        std::fs::write(&path, text).map_err(|error| cannot(&path, error))?;
        // Nobody is left to tell when the stream is closed.
        let _ = writeln!(std::io::stderr(), "wrote {}", path.display());
    }
    Ok(())
}
