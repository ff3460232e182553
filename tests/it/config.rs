//! Configuration files and what is said about them. In `tests/data/config`, `X.good.yaml` runs, and
//! `X.bad.yaml` does not; `X.….problems` beside it holds every line that `check` prints about it, and
//! `X.….env` its environment. `UPDATE=1` writes the problems anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pgvigil::config::{
    Destination, Examined, Flags, Input, InstanceKind, LogInput, Redaction, Settings, examine, load,
};
use proptest::prelude::*;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config")
}

/// Examines as the agent would on a machine called `host`, in an environment of our own.
fn examine_with(file: Option<&Path>, flags: Flags, environment: &[(&str, &str)]) -> Examined {
    let environment: BTreeMap<&str, &str> =
        [("HOME", "/home/pgvigil")].into_iter().chain(environment.iter().copied()).collect();
    examine(&Input {
        file: file.map(Path::to_path_buf),
        flags,
        environment: &|name| environment.get(name).map(|value| (*value).to_owned()),
        host_name: "host".to_owned(),
    })
}

fn examine_file(file: &Path) -> Examined {
    let environment = fs::read_to_string(file.with_extension("env")).unwrap_or_default();
    let pairs: Vec<(&str, &str)> =
        environment.lines().filter_map(|line| line.split_once('=')).collect();
    examine_with(Some(file), Flags::default(), &pairs)
}

fn settings(file: &str) -> Settings {
    let Examined { settings, problems } = examine_file(&data().join(file));
    let fatal: Vec<String> =
        problems.iter().filter(|problem| problem.fatal).map(ToString::to_string).collect();
    assert_eq!(fatal, [""; 0]);
    settings
}

#[test]
fn every_file_has_exactly_its_problems() {
    let update = std::env::var_os("UPDATE").is_some();
    let folder = format!("{}/", data().display());
    let mut files: Vec<PathBuf> = fs::read_dir(data())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.to_string_lossy();
            name.ends_with(".good.yaml") || name.ends_with(".bad.yaml")
        })
        .collect();
    files.sort();
    assert!(files.len() > 20, "the files are gone");
    let mut wrong = Vec::new();
    for file in files {
        let Examined { problems, .. } = examine_file(&file);
        let found: String =
            problems.iter().map(|problem| format!("{problem}\n").replace(&folder, "")).collect();
        // Every secret of the files is called hunter2; the name of a file is none.
        assert!(!found.contains("hunter2"), "a secret was told about {file:?}:\n{found}");
        assert_eq!(
            problems.iter().any(|problem| problem.fatal),
            file.to_string_lossy().ends_with(".bad.yaml"),
            "{file:?} runs or not, against its name:\n{found}"
        );
        let golden = file.with_extension("problems");
        if update {
            match found.as_str() {
                "" => drop(fs::remove_file(&golden)),
                _ => fs::write(&golden, &found).unwrap(),
            }
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if found != expected {
            wrong.push(format!("{file:?}\n--- expected\n{expected}--- found\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_problem_is_one_sentence_with_its_remedy() {
    for file in fs::read_dir(data()).unwrap().map(|entry| entry.unwrap().path()) {
        if file.to_string_lossy().ends_with(".bad.yaml") {
            for problem in examine_file(&file).problems {
                let text = problem.to_string();
                assert_eq!(text.lines().count(), 1, "{text}");
                assert!(problem.place.file.is_some(), "{text}");
                for part in [&problem.what, &problem.remedy] {
                    assert!(
                        !part.is_empty() && !part.ends_with('.') && !part.contains("; "),
                        "{text}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_full_example_says_what_it_means() {
    let settings = settings("full.good.yaml");
    assert_eq!(settings.labels["environment"], "production");
    assert_eq!(settings.state_directory, Path::new("/var/lib/pgvigil"));
    assert_eq!(settings.http.listen.len(), 2);
    assert_eq!(settings.http.web_config_file, Some(data().join("web.yml")));

    let [instance, pooler] = settings.instances.as_slice() else { panic!() };
    assert_eq!((pooler.name.as_str(), pooler.kind), ("shop-pool-rw", InstanceKind::Pgbouncer));
    let probe = pooler.probe.as_ref().unwrap();
    assert_eq!((probe.database.as_str(), probe.user.as_deref()), ("shop", Some("probe")));
    assert_eq!(probe.timeout.as_secs(), 5);
    assert_eq!((instance.name.as_str(), instance.cluster.as_str()), ("shop-1", "shop"));
    let password = instance.password.as_ref().unwrap().read();
    assert_eq!(password.as_ref().map(pgvigil::secret::Secret::expose), Ok("hunter2"));
    assert_eq!(instance.databases.exclude, ["tmp_*"]);
    assert_eq!(instance.exclude_packs, ["pg_bloat"]);
    assert_eq!(instance.storage.data.as_ref().unwrap().size, Some(100 << 30));
    assert_eq!(instance.backups[0].keep.unwrap().as_secs(), 15 * 86400);
    assert!(instance.backups[0].offsite);
    assert_eq!(settings.packs.directories[1].dialect.as_deref(), Some("native"));

    let logs = settings.logs.unwrap();
    assert_eq!(logs.sources[0].instance, Some(0));
    assert_eq!(logs.sources[0].labels.len(), 2);
    assert_eq!(logs.sources[0].line_prefix.as_deref(), Some("%m [%p] %q%u@%d "));
    assert_eq!(logs.routes[1].redact, Redaction::Literals);
    assert_eq!(logs.routes[1].exclude_events, ["authentication"]);
    assert_eq!(logs.destination, Destination::Loki);
    let loki = logs.loki.unwrap();
    assert_eq!(loki.basic_auth.unwrap().1.read().unwrap().expose(), "hunter2-loki");
}

#[test]
fn what_the_full_example_calls_a_default_is_one() {
    let (full, minimal) = (settings("full.good.yaml"), settings("minimal.good.yaml"));
    assert_eq!(full.collection, minimal.collection);
    assert_eq!(
        (full.cluster_label, full.server_label),
        (minimal.cluster_label, minimal.server_label)
    );
    assert_eq!(full.logs.unwrap().store, pgvigil::config::Store::default());
    assert_eq!(minimal.http.listen[0].to_string(), "127.0.0.1:9187");
    assert_eq!(minimal.state_directory, Path::new("/home/pgvigil/.local/state/pgvigil"));
    let instance = &minimal.instances[0];
    assert_eq!((instance.name.as_str(), instance.cluster.as_str()), ("db1:5432", "db1:5432"));
    assert_eq!(instance.databases.include, ["*"]);
    assert!(minimal.logs.is_none());
}

#[test]
fn small_files() {
    let logs = settings("logs-alone.good.yaml");
    assert_eq!(logs.http.listen[0].to_string(), "0.0.0.0:9187");
    let logs = logs.logs.unwrap();
    assert_eq!((logs.sources[0].server.as_str(), logs.sources[0].instance), ("host", None));
    assert_eq!((logs.destination, logs.routes[0].name.as_str()), (Destination::Local, "admin"));

    let anchors = settings("anchors.good.yaml");
    assert_eq!(anchors.instances[1].labels["team"], "payments");
    assert_eq!(anchors.instances[1].name, "b");

    assert_eq!(settings("dollars.good.yaml").instances[0].cluster, "one-$-$x");
    assert_eq!(settings("dollars.good.yaml").instances[0].name, "costs 5$");
}

#[test]
fn flags_outrank_the_file() {
    let flags = Flags {
        listen: vec!["localhost:9999".to_owned()],
        logs: vec!["/other/*.log".to_owned()],
        loki: Some("http://localhost:3100/".to_owned()),
        state_directory: Some("/elsewhere".into()),
        dsn: None,
    };
    let file = data().join("doubtful.good.yaml");
    let Examined { settings, .. } = examine_with(Some(&file), flags, &[]);
    assert_eq!(settings.http.listen.len(), 1);
    assert_eq!(settings.http.listen[0].to_string(), "127.0.0.1:9999");
    assert_eq!(settings.state_directory, Path::new("/elsewhere"));
    let logs = settings.logs.unwrap();
    assert_eq!(logs.sources.len(), 1);
    assert_eq!(logs.sources[0].input, LogInput::Files(vec!["/other/*.log".to_owned()]));
    let loki = logs.loki.unwrap();
    assert_eq!(loki.url, "http://localhost:3100");
    assert!(loki.bearer_token.is_some(), "the rest of the block stays");
}

#[test]
fn without_a_file_the_environment_names_the_instance() {
    let name = |environment: &[(&str, &str)]| {
        let Examined { settings, problems } = examine_with(None, Flags::default(), environment);
        assert!(problems.iter().all(|problem| !problem.fatal), "{problems:?}");
        settings.instances[0].name.clone()
    };
    assert_eq!(name(&[("DATA_SOURCE_NAME", "postgresql://u@db1/x")]), "db1:5432");
    assert_eq!(name(&[("DATA_SOURCE_NAME", "host=db1 port=5433")]), "db1:5433");
    assert_eq!(name(&[("DATA_SOURCE_URI", "db1:5434/x")]), "db1:5434");
    assert_eq!(name(&[("PGHOST", "db1"), ("PGPORT", "5435")]), "db1:5435");
    // The address would say nothing to a reader elsewhere.
    assert_eq!(name(&[("PGHOST", "127.0.0.1")]), "host:5432");
    assert_eq!(name(&[("PGHOST", "/run/postgresql")]), "host:5432");
    assert_eq!(name(&[("DATA_SOURCE_NAME", "user=u")]), "host:5432");

    // With a file they only fill gaps.
    let environment = [("DATA_SOURCE_NAME", "host=db9"), ("PGPORT", "5436"), ("PGHOST", "db8")];
    let minimal = data().join("minimal.good.yaml");
    let Examined { settings, .. } = examine_with(Some(&minimal), Flags::default(), &environment);
    assert_eq!(settings.instances.len(), 1);
    assert_eq!(settings.instances[0].name, "db1:5436");
}

#[test]
fn logs_alone_from_the_command_line() {
    let flags = Flags { logs: vec!["log/*.log".to_owned()], ..Flags::default() };
    let Examined { settings, problems } = examine_with(None, flags, &[]);
    assert_eq!(problems, []);
    assert!(settings.instances.is_empty());
    let logs = settings.logs.unwrap();
    let here = std::env::current_dir().unwrap().join("log/*.log");
    assert_eq!(logs.sources[0].input, LogInput::Files(vec![here.display().to_string()]));
    assert_eq!(logs.sources[0].server, "host");
}

#[test]
fn wrong_flags_and_nothing_at_all() {
    let told = |flags: Flags, environment: &[(&str, &str)]| {
        let problems = examine_with(None, flags, environment).problems;
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert!(told(Flags::default(), &[]).contains("nothing to watch"));
    let flags = Flags {
        listen: vec!["9187".to_owned()],
        loki: Some("http://u:hunter2@loki".to_owned()),
        logs: vec!["/a/{b,c}".to_owned()],
        ..Flags::default()
    };
    let text = told(flags, &[]);
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    let text = told(Flags::default(), &[("DATA_SOURCE_NAME", "host=db1 password='hunter2")]);
    assert!(text.lines().count() == 1 && !text.contains("hunter2"), "{text}");
    let text = told(Flags::default(), &[("DATA_SOURCE_NAME_FILE", "/nowhere/dsn")]);
    assert!(text.lines().count() == 1 && text.contains("/nowhere/dsn"), "{text}");
}

#[test]
fn a_file_that_is_not_there_is_one_problem() {
    let file = data().join("nowhere.yaml");
    let Examined { problems, .. } = examine_with(Some(&file), Flags::default(), &[]);
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    assert!(problem.fatal && problem.what.contains("cannot read the file"), "{problem}");
    let input = Input {
        file: Some(file),
        flags: Flags::default(),
        environment: &|_| None,
        host_name: "host".to_owned(),
    };
    assert_eq!(load(&input).err().unwrap().len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The full example with a slip in it: something is said or not, but nothing panics, and no
    /// secret is told.
    #[test]
    fn slips_never_panic(line in 0usize..180, column in 0usize..60, slip in slips()) {
        let text = fs::read_to_string(data().join("full.good.yaml")).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let line = line % lines.len();
        match slip {
            Slip::Drop => drop(lines.remove(line)),
            Slip::Twice => lines.insert(line, lines[line].clone()),
            Slip::Indent => lines[line].insert(0, ' '),
            Slip::Put(text) => {
                let at = lines[line].char_indices().nth(column).map_or(lines[line].len(), |c| c.0);
                lines[line].insert_str(at, &text);
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("x.yaml");
        fs::write(&file, lines.join("\n")).unwrap();
        for problem in examine_with(Some(&file), Flags::default(), &[]).problems {
            prop_assert!(!problem.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("x.yaml");
        fs::write(&file, bytes).unwrap();
        examine_with(Some(&file), Flags::default(), &[]);
    }
}

#[derive(Clone, Debug)]
enum Slip {
    Drop,
    Twice,
    Indent,
    Put(String),
}

fn slips() -> impl Strategy<Value = Slip> {
    prop_oneof![
        Just(Slip::Drop),
        Just(Slip::Twice),
        Just(Slip::Indent),
        "[-:{}\\[\\]'\"$#&*!a-z0-9 \\t]{1,4}".prop_map(Slip::Put),
    ]
}
