//! What a server and the programs beside it write: records with numbers, in one of the three formats, in
//! files of their own or in a container's.

use std::collections::BTreeMap;

use super::container::Runtime;
use super::random::Random;

/// The format of all that one schedule writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Csv,
    Json,
}

/// A record, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Its bytes in the file.
    pub(super) bytes: u64,
    /// Its database; none for what other programs write.
    pub(super) database: Option<&'static str>,
    /// The length of its statement; none where it has none.
    pub(super) statement: Option<usize>,
    /// It came in two pieces, with a pause in which the clock may have taken the first for whole.
    pub(super) torn: bool,
    /// Its form rests on what the checkpoint alone knows: see [`Writer::unsettle`].
    pub(super) unsettled: bool,
    /// Behind an unsettled one, with whose time it may share a millisecond, in which it is then counted
    /// on.
    pub(super) near: bool,
}

/// One record in so many has a long statement, and one a short one.
const LONG: usize = 3;

const DATABASES: [&str; 2] = ["shop", "other"];

/// Writes records, each with a number of its own: `number N `.
pub(super) struct Writer {
    form: Form,
    runtime: Option<Runtime>,
    /// What a runtime does is chance of its own: schedules without one stay what they are.
    chance: Random,
    pub(super) known: Vec<Known>,
    /// csvlog's and jsonlog's count of a session's records.
    lines: BTreeMap<u32, usize>,
    unsettled: bool,
    near: bool,
}

impl Writer {
    pub(super) fn new(form: Form, runtime: Option<Runtime>, seed: u64) -> Self {
        Self {
            form,
            runtime,
            chance: Random::new(seed),
            known: Vec::new(),
            lines: BTreeMap::new(),
            unsettled: true,
            near: false,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.known.len()
    }

    /// Lines without a time take their predecessor's; at a file's head the time when it was met, and
    /// behind a record that the clock may have ended early one that is counted on from there. So the
    /// next of them depend on more than the file's bytes.
    pub(super) fn unsettle(&mut self) {
        self.unsettled = true;
    }

    /// A new content begins, alone: nothing stands before it.
    pub(super) fn begin(&mut self) {
        self.unsettled = true;
        self.near = false;
    }

    /// One or two records, as one or several processes write them at once.
    pub(super) fn next(&mut self, random: &mut Random) -> String {
        let text = self.plain(random);
        let Some(runtime) = self.runtime else { return text };
        let mut lines = runtime.wrap(&text, &mut self.chance);
        if self.chance.once_in(3) {
            let number = self.note(None);
            let other = runtime.other(&format!("number {number} of another program"));
            self.measure(number, other.len());
            lines.insert(self.chance.below(lines.len() + 1), other);
        }
        lines.concat()
    }

    /// The same as the server writes it.
    fn plain(&mut self, random: &mut Random) -> String {
        match (self.form, random.below(5)) {
            (Form::Text, 0) => {
                let number = self.note(None);
                let text = format!("number {number} of another program\n");
                self.measure(number, text.len());
                text
            }
            (Form::Text, 1) => self.interleaved(random),
            (Form::Text, _) => self.text(random).concat(),
            (Form::Csv, _) => self.csv(random),
            (Form::Json, _) => self.json(random),
        }
    }

    /// The last record came in two pieces.
    pub(super) fn tore(&mut self, from: usize) {
        for known in &mut self.known[from..] {
            known.torn = true;
            known.unsettled = true;
        }
        self.unsettled = true;
        self.near = true;
    }

    fn note(&mut self, database: Option<&'static str>) -> usize {
        // A record with a time of its own needs nobody else's; a runtime gives each line one.
        self.unsettled &= database.is_none() && self.runtime.is_none();
        let unsettled = self.unsettled;
        self.near |= unsettled;
        let near = self.near;
        let (bytes, statement, torn) = (0, None, false);
        self.known.push(Known { bytes, database, statement, torn, unsettled, near });
        self.known.len() - 1
    }

    fn measure(&mut self, number: usize, bytes: usize) {
        self.known[number].bytes = bytes as u64;
    }

    /// A record's parts in the text format.
    fn text(&mut self, random: &mut Random) -> Vec<String> {
        let pid = 100 + random.below(5);
        self.text_of(pid, random)
    }

    fn text_of(&mut self, pid: usize, random: &mut Random) -> Vec<String> {
        let database = DATABASES[random.below(2)];
        let number = self.note(Some(database));
        let prefix = format!("{} UTC [{pid}] app@{database} ", now());
        let mut parts = vec![format!("{prefix}ERROR:  number {number} failed\n")];
        match random.below(LONG) {
            0 => {
                parts.push(format!("{prefix}DETAIL:  of {number}\n"));
                self.known[number].statement = Some("SELECT\n1".len());
                parts.push(format!("{prefix}STATEMENT:  SELECT\n\t1\n"));
            }
            1 => {
                let statement = "x".repeat(random.below(20_000));
                self.known[number].statement = Some(statement.len());
                parts.push(format!("{prefix}STATEMENT:  {statement}\n"));
            }
            _ => {}
        }
        self.measure(number, parts.iter().map(String::len).sum());
        parts
    }

    /// Two processes write at once, part by part.
    fn interleaved(&mut self, random: &mut Random) -> String {
        let pid = 100 + random.below(4);
        let one = self.text_of(pid, random);
        let other = self.text_of(pid + 1, random);
        let mut text = String::new();
        for at in 0..one.len().max(other.len()) {
            text.extend(one.get(at).into_iter().chain(other.get(at)).map(String::as_str));
        }
        text
    }

    fn session(&mut self, random: &mut Random) -> (u32, usize) {
        let pid = 100 + u32::try_from(random.below(5)).unwrap();
        let line = self.lines.entry(pid).or_default();
        *line += 1;
        (pid, *line)
    }

    /// A short statement, one of many lines, or none.
    fn statement(&mut self, number: usize, random: &mut Random) -> String {
        let statement = match random.below(LONG) {
            0 => "SELECT\n  'a, \"b\"',\n\n  1".to_owned(),
            1 => {
                let lines = random.below(9_000);
                // In a container each of csvlog's takes an envelope.
                let lines = if self.runtime.is_none() { lines } else { lines / 20 };
                "x\n".repeat(lines)
            }
            _ => String::new(),
        };
        self.known[number].statement = Some(statement.len()).filter(|length| *length > 0);
        statement
    }

    fn csv(&mut self, random: &mut Random) -> String {
        let database = DATABASES[random.below(2)];
        let number = self.note(Some(database));
        let (pid, line) = self.session(random);
        let detail = [String::new(), format!("\"of \"\"{number}\"\"\"")][random.below(2)].clone();
        let statement = self.statement(number, random);
        let statement = match statement.is_empty() {
            true => statement,
            false => format!("\"{}\"", statement.replace('"', "\"\"")),
        };
        let text = format!(
            "{} UTC,\"app\",\"{database}\",{pid},\"10.1.2.3:50122\",69a7f9b1.{pid:x},{line},\"INSERT\",\
             2026-03-04 09:10:25 UTC,5/881,0,ERROR,23505,\"number {number} failed\",{detail},,,,,\
             {statement},,,\"web-7\",\"client backend\",,0\n",
            now(),
        );
        self.measure(number, text.len());
        text
    }

    fn json(&mut self, random: &mut Random) -> String {
        let database = DATABASES[random.below(2)];
        let number = self.note(Some(database));
        let (pid, line) = self.session(random);
        let statement = self.statement(number, random);
        let statement = match statement.is_empty() {
            true => statement,
            false => format!(",\"statement\":{}", serde_json::to_string(&statement).unwrap()),
        };
        let text = format!(
            "{{\"timestamp\":\"{} UTC\",\"user\":\"app\",\"dbname\":\"{database}\",\"pid\":{pid},\
             \"session_id\":\"69a7f9b1.{pid:x}\",\"line_num\":{line},\"ps\":\"INSERT\",\
             \"error_severity\":\"ERROR\",\"state_code\":\"23505\",\"message\":\"number {number} \
             failed\"{statement},\"backend_type\":\"client backend\",\"query_id\":0}}\n",
            now(),
        );
        self.measure(number, text.len());
        text
    }
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// The numbers in a text, in their order.
pub(super) fn numbers(text: &str) -> Vec<usize> {
    let found = text.split("number ").skip(1);
    found.filter_map(|rest| rest.split(' ').next()?.parse().ok()).collect()
}
