//! `pgvigil logs parse`: how a log's lines become records, without Loki or a server.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use jiff::Timestamp;

use super::args;
use super::process::{coloured, input};
use crate::app::Failure;
use crate::config::{self, Flags, LogFormat, Masking, Redaction, Route};
use crate::logs::format::shorten;
use crate::logs::{
    Assembler, Counts, Prefix, Reading, Record, Redacted, Rules, Severity, classify, entry,
};
use crate::loki::Metadata;

/// How much of a file's beginning a prefix is guessed from.
const SAMPLE: usize = 64 * 1024;

/// What is shown, and how.
#[derive(Debug)]
struct Parse {
    /// `-` is standard input.
    files: Vec<PathBuf>,
    /// None: guessed from the lines.
    line_prefix: Option<String>,
    time_zone: Option<String>,
    format: LogFormat,
    /// Which records, and what of them is masked.
    rules: Rules,
    /// One JSON object a record.
    json: bool,
    /// For a terminal: coloured, control characters made visible.
    colour: bool,
}

/// `pgvigil logs parse` on the real streams.
///
/// # Errors
/// When a file cannot be read, after all the others are shown, or the configuration has no such route.
pub(super) fn run(args: &args::Parse) -> Result<(), Failure> {
    let json = args.format == args::Format::Json;
    let parse = Parse {
        files: args.files.clone(),
        line_prefix: args.line_prefix.clone(),
        time_zone: args.time_zone.clone(),
        format: args.input_format,
        rules: Rules::new(&route(args)?),
        json,
        colour: !json && coloured(&io::stdout()),
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let shown = show(&parse, &mut io::stdin(), &mut out, &mut io::stderr());
    match shown.and_then(|all| out.flush().map(|()| all)) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::Unavailable("a file could not be read; see above".to_owned())),
        // `| head` has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::Internal(format!("cannot print: {error}"))),
    }
}

/// The configuration's route, or one that lets everything through; with the patterns asked for.
fn route(args: &args::Parse) -> Result<Route, Failure> {
    let mut route = match &args.config {
        Some(file) => configured(file, args.route.as_deref())?,
        None => Route {
            redact: match args.redact {
                args::Redact::Credentials => Redaction::Credentials,
                args::Redact::Literals => Redaction::Literals,
            },
            ..Route::everything()
        },
    };
    route.patterns.extend(
        args.pattern
            .iter()
            .map(|pattern| Masking { pattern: pattern.clone(), replace: Masking::MASK.to_owned() }),
    );
    Ok(route)
}

fn configured(file: &Path, name: Option<&str>) -> Result<Route, Failure> {
    let examined = config::examine(&input(Some(file.to_owned()), Flags::default()));
    if examined.problems.iter().any(|problem| problem.fatal) {
        return Err(Failure::Configuration(examined.problems));
    }
    let routes = examined.settings.logs.map(|logs| logs.routes).unwrap_or_default();
    let names: Vec<String> = routes.iter().map(|route| route.name.clone()).collect();
    let mut found = routes.into_iter().filter(|route| name.is_none_or(|name| route.name == name));
    found.next().ok_or_else(|| {
        let file = file.display();
        Failure::Usage(match name {
            Some(name) if !names.is_empty() => {
                format!("{file} has no route {name}; ask for one of: {}", names.join(", "))
            }
            _ => format!("{file} reads no logs, so it has no routes; add `logs: {{sources: […]}}`"),
        })
    })
}

/// Shows the records of all files on `out`, and what was met on `notes`. Gives false where a file could
/// not be read, which is told on `notes`; the others are shown all the same. An error is one of
/// writing.
fn show(
    parse: &Parse,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    notes: &mut dyn Write,
) -> io::Result<bool> {
    let mut all = true;
    for path in &parse.files {
        let name = path.display();
        let shown = if path == Path::new("-") {
            file(parse, stdin, out)
        } else {
            match File::open(path) {
                Ok(mut opened) => file(parse, &mut opened, out),
                Err(error) => Err(Fault::Read(error)),
            }
        };
        match shown {
            Ok(met) => writeln!(notes, "{name}: {met}")?,
            Err(Fault::Read(error)) => {
                all = false;
                writeln!(
                    notes,
                    "{name}: can't be read ({error}); give a log file that this user may read"
                )?;
            }
            Err(Fault::Write(error)) => return Err(error),
        }
    }
    Ok(all)
}

enum Fault {
    Read(io::Error),
    Write(io::Error),
}

/// Shows one file's records; gives a sentence about it.
fn file(parse: &Parse, input: &mut dyn Read, out: &mut dyn Write) -> Result<String, Fault> {
    let mut input = BufReader::with_capacity(SAMPLE, input);
    let sample = input.fill_buf().map_err(Fault::Read)?;
    let guessed = match &parse.line_prefix {
        Some(_) => None,
        None => Prefix::guess(sample),
    };
    let prefix = parse.line_prefix.as_deref().or(guessed.as_ref().map(Prefix::as_str));
    let reading = Reading::new(prefix, parse.time_zone.as_deref(), None).of(parse.format);
    let mut assembler = Assembler::new(reading);
    let mut met = Met::default();
    let mut at = 0;
    let mut line = Vec::new();
    let now = Instant::now();
    while let Some(length) = next_line(&mut input, &mut line).map_err(Fault::Read)? {
        assembler.line(&line, at..at + length, now);
        at += length;
        met.show(parse, &mut assembler, out).map_err(Fault::Write)?;
    }
    assembler.finish();
    met.show(parse, &mut assembler, out).map_err(Fault::Write)?;
    Ok(met.sentence(prefix, guessed.is_some(), assembler.counts()))
}

/// Reads a line without its newline, and without its middle where it is too long; gives its length in the file with it, none at the end.
fn next_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<Option<u64>> {
    line.clear();
    let mut length = 0;
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok((length > 0).then_some(length));
        }
        let newline = memchr::memchr(b'\n', buffer);
        let text = &buffer[..newline.unwrap_or(buffer.len())];
        line.extend_from_slice(text);
        // The pieces are of one size whatever the file holds.
        shorten(line);
        let used = newline.map_or(buffer.len(), |at| at + 1);
        input.consume(used);
        length += used as u64;
        if newline.is_some() {
            return Ok(Some(length));
        }
    }
}

#[derive(Default)]
struct Met {
    records: u64,
    /// Records that the route does not let through.
    others: u64,
    redacted: Redacted,
}

impl Met {
    fn show(
        &mut self,
        parse: &Parse,
        assembler: &mut Assembler,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        while let Some(record) = assembler.ready() {
            // What it is, is told by what it was.
            let event = classify(&record);
            let Some((record, redacted)) = parse.rules.shown(&record, &event) else {
                self.others += 1;
                continue;
            };
            self.records += 1;
            self.redacted.patterns += redacted.patterns;
            self.redacted.credentials += redacted.credentials;
            self.redacted.literals += redacted.literals;
            let metadata = entry::metadata(&record, &event);
            let text = if parse.json {
                json(&record, &metadata, redacted)
            } else {
                plain(&record, &metadata, redacted, parse.colour)
            };
            out.write_all(text.as_bytes())?;
        }
        Ok(())
    }

    fn sentence(&self, prefix: Option<&str>, guessed: bool, counts: Counts) -> String {
        let mut text = format!("{} records", self.records);
        for (count, words) in [
            (counts.plain, "lines that are no records"),
            (counts.torn, "torn lines"),
            (counts.late, "parts without their head"),
            (counts.cut, "records cut"),
            (counts.ambiguous, "lines with a name like a prefix"),
            (self.redacted.credentials, "credentials masked"),
            (self.redacted.literals, "literals masked"),
            (self.redacted.patterns, "places masked by patterns"),
            (self.others, "records that the route leaves out"),
        ] {
            if count > 0 {
                let _ = write!(text, ", {count} {words}");
            }
        }
        match prefix {
            Some(prefix) if guessed => {
                let _ = write!(text, "; the lines look like log_line_prefix = '{prefix}'");
            }
            Some(prefix) => {
                let _ = write!(text, "; read with log_line_prefix = '{prefix}'");
            }
            None if counts.plain > 0 => text.push_str(
                "; no known log_line_prefix fits the lines, give the server's as --line-prefix",
            ),
            // csvlog and jsonlog need none.
            None => {}
        }
        text
    }
}

fn time(record: &Record) -> Option<String> {
    let time = Timestamp::from_nanosecond(i128::from(record.time?)).ok()?;
    Some(format!("{time:.3}"))
}

fn json(record: &Record, metadata: &Metadata, redacted: Redacted) -> String {
    let mut text = String::from("{");
    let mut pair = |name: &str, value: &str| {
        let comma = if text.len() > 1 { "," } else { "" };
        let _ = write!(text, "{comma}\"{name}\":{value}");
    };
    let quoted = |value: &str| serde_json::Value::from(value).to_string();
    if let Some(time) = time(record) {
        pair("time", &quoted(&time));
    }
    for (name, value) in metadata.iter() {
        pair(name, &quoted(value));
    }
    pair("line", &quoted(&entry::line(record)));
    pair("start", &record.bytes.start.to_string());
    pair("end", &record.bytes.end.to_string());
    for (name, count) in [
        ("redacted_credentials", redacted.credentials),
        ("redacted_literals", redacted.literals),
        ("redacted_patterns", redacted.patterns),
    ] {
        if count > 0 {
            pair(name, &count.to_string());
        }
    }
    text.push_str("}\n");
    text
}

const RESET: &str = "\x1b[0m";

/// A line of what is known about the record, and its own lines, indented.
fn plain(record: &Record, metadata: &Metadata, redacted: Redacted, colour: bool) -> String {
    let paint = |code: &'static str| if colour { code } else { "" };
    let strong = match record.severity {
        Some(Severity::Error) => "\x1b[31m",
        Some(Severity::Fatal | Severity::Panic) => "\x1b[1;31m",
        Some(Severity::Warning) => "\x1b[33m",
        _ => "\x1b[36m",
    };
    let mut text = String::new();
    text.push_str(paint("\x1b[2m"));
    text.push_str(time(record).as_deref().unwrap_or("-"));
    for (name, value) in metadata.iter() {
        let _ = write!(text, " {name}={}", visible(value, colour));
    }
    for (name, count) in [
        ("credentials", redacted.credentials),
        ("literals", redacted.literals),
        ("by patterns", redacted.patterns),
    ] {
        if count > 0 {
            let _ = write!(text, " [{count} {name} masked]");
        }
    }
    text.push_str(paint(RESET));
    text.push('\n');
    for (number, line) in entry::line(record).split('\n').enumerate() {
        let code = if number == 0 { strong } else { "" };
        let _ = writeln!(text, "  {}{}{}", paint(code), visible(line, colour), paint(RESET));
    }
    text
}

/// On a terminal, what a log holds must not steer it.
pub(super) fn visible(text: &str, terminal: bool) -> std::borrow::Cow<'_, str> {
    let steers = |c: char| c.is_control() && c != '\t';
    if !terminal || !text.contains(steers) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if steers(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    safe.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
2026-03-04 09:15:01.207 UTC [4411] app@shop LOG:  statement: ALTER ROLE bob PASSWORD 'hunter2'
2026-03-04 09:15:01.300 UTC [77] LOG:  checkpoint starting: \x1b]0;evil\x07
";

    fn asked(files: &[&str], json: bool, colour: bool) -> Parse {
        Parse {
            files: files.iter().map(PathBuf::from).collect(),
            line_prefix: None,
            time_zone: None,
            format: LogFormat::Auto,
            rules: Rules::new(&Route::everything()),
            json,
            colour,
        }
    }

    fn parse(json: bool, colour: bool) -> (String, String) {
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let asked = asked(&["-"], json, colour);
        assert!(show(&asked, &mut LOG.as_bytes(), &mut out, &mut notes).unwrap());
        (String::from_utf8(out).unwrap(), String::from_utf8(notes).unwrap())
    }

    #[test]
    fn a_pipe_gets_plain_text_and_notes_stand_apart() {
        let (out, notes) = parse(false, false);
        assert!(
            out.starts_with(
                "2026-03-04T09:15:01.207Z severity=LOG level=info user=app dbname=shop pid=4411 \
             [1 credentials masked]\n  LOG:  statement: ALTER ROLE bob PASSWORD '***'\n"
            ),
            "{out}"
        );
        assert_eq!(
            notes,
            "-: 2 records, 1 credentials masked; the lines look like log_line_prefix = '%m [%p] %q%u@%d '\n"
        );
    }

    #[test]
    fn json_lines_can_be_read_back() {
        let (out, _) = parse(true, false);
        let lines: Vec<serde_json::Value> =
            out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["line"], "LOG:  statement: ALTER ROLE bob PASSWORD '***'");
        assert_eq!(lines[0]["redacted_credentials"], 1);
        assert_eq!(lines[1]["event"], "checkpoint");
        assert_eq!(lines[1]["start"], 95);
    }

    #[test]
    fn a_log_does_not_steer_the_terminal() {
        let (out, _) = parse(false, true);
        assert!(
            out.contains("\x1b[36mLOG:  checkpoint starting: \\u{1b}]0;evil\\u{7}\x1b[0m"),
            "{out}"
        );
    }

    #[test]
    fn a_missing_file_is_told_and_the_rest_is_shown() {
        let asked = asked(&["/nonexistent/x.log", "-"], false, false);
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        assert!(!show(&asked, &mut LOG.as_bytes(), &mut out, &mut notes).unwrap());
        assert!(
            String::from_utf8_lossy(&notes)
                .starts_with("/nonexistent/x.log: can't be read (No such file")
        );
        assert!(!out.is_empty());
    }
}
