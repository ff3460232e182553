//! Records made up, printed as PostgreSQL prints them for a prefix made up too, written by several
//! processes at once, and read back: they must be what they were, whatever happens while reading.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pgvigil::logs::{
    Assembler, Break, IDLE, Key, Level, Part, Prefix, Reading, Record, Severity, classify, entry,
    redact,
};
use proptest::prelude::*;

/// A record before it is printed.
#[derive(Clone, Debug)]
struct Made {
    /// Index of the process.
    process: usize,
    /// Milliseconds since 1970.
    time: i64,
    severity: Severity,
    sqlstate: String,
    parts: BTreeMap<Part, String>,
}

/// A process: a session, or one of the server's own.
#[derive(Clone, Debug)]
struct Process {
    pid: u32,
    /// User, database, application, address and port.
    session: Option<(String, String, String, String)>,
}

#[derive(Clone, Debug)]
enum Piece {
    Literal(&'static str),
    Escape(char, i32),
    Stop,
}

fn pad(width: i32, value: &str) -> String {
    let size = usize::try_from(width.unsigned_abs()).unwrap();
    if width < 0 { format!("{value:<size$}") } else { format!("{value:>size$}") }
}

/// elog.c's `log_line_prefix()`; `line` is what `%l` counts.
fn print_prefix(prefix: &[Piece], process: &Process, made: &Made, line: u64) -> String {
    let time = TimeZone::UTC.to_datetime(Timestamp::from_millisecond(made.time).unwrap());
    let mut text = String::new();
    for piece in prefix {
        let (escape, width) = match piece {
            Piece::Literal(literal) => {
                text.push_str(literal);
                continue;
            }
            Piece::Stop if process.session.is_none() => break,
            Piece::Stop => continue,
            Piece::Escape(escape, width) => (*escape, *width),
        };
        let session = process.session.as_ref();
        let value = match escape {
            'u' => session.map_or("", |s| &s.0).to_owned(),
            'd' => session.map_or("", |s| &s.1).to_owned(),
            'a' => session.map_or("", |s| &s.2).to_owned(),
            'h' => session.map_or("", |s| &s.3).to_owned(),
            'r' => session.map_or(String::new(), |s| match s.3.as_str() {
                "[local]" => s.3.clone(),
                host => format!("{host}(41744)"),
            }),
            'i' => session.map_or("", |_| "idle in transaction").to_owned(),
            'b' => {
                if session.is_some() { "client backend" } else { "background writer" }.to_owned()
            }
            'p' => process.pid.to_string(),
            'P' => String::new(),
            't' | 's' => time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
            'm' => time.strftime("%Y-%m-%d %H:%M:%S%.3f UTC").to_string(),
            'n' => format!("{}.{:03}", made.time / 1000, made.time % 1000),
            'c' => format!("6b001a35.{:x}", process.pid),
            'l' => line.to_string(),
            'e' => made.sqlstate.clone(),
            'v' => if session.is_some() { "3/27" } else { "" }.to_owned(),
            'x' => "0".to_owned(),
            'Q' => "-7525930216565746870".to_owned(),
            'L' => if session.is_some() { "127.0.0.1" } else { "[none]" }.to_owned(),
            other => panic!("{other}"),
        };
        text.push_str(&pad(width, &value));
    }
    text
}

/// The lines of a record, each group (head, DETAIL …) with its continuation lines.
fn print(
    prefix: &[Piece],
    process: &Process,
    made: &Made,
    verbose: bool,
    line: &mut u64,
) -> Vec<String> {
    made.parts
        .iter()
        .map(|(part, text)| {
            *line += 1;
            let mut group = print_prefix(prefix, process, made, *line);
            if *part == Part::Message {
                let _ = write!(group, "{}:  ", made.severity.as_str());
                if verbose {
                    let _ = write!(group, "{}: ", made.sqlstate);
                }
            } else {
                group.push_str(part.label());
            }
            group.push_str(&text.replace('\n', "\n\t"));
            group.push('\n');
            group
        })
        .collect()
}

fn configuration(prefix: &[Piece]) -> String {
    let mut text = String::new();
    for piece in prefix {
        match piece {
            Piece::Literal(literal) => text.push_str(&literal.replace('%', "%%")),
            Piece::Stop => text.push_str("%q"),
            Piece::Escape(escape, 0) => {
                let _ = write!(text, "%{escape}");
            }
            Piece::Escape(escape, width) => {
                let _ = write!(text, "%{width}{escape}");
            }
        }
    }
    text
}

/// Between two fields there is always a literal that no field holds.
fn prefixes() -> impl Strategy<Value = Vec<Piece>> {
    let escape = prop::sample::select(
        ['a', 'u', 'd', 'r', 'h', 'L', 'b', 'P', 's', 'l', 'i', 'e', 'v', 'x', 'Q', 'c'].to_vec(),
    );
    let width = prop_oneof![6 => Just(0), 1 => 1..40_i32, 1 => -40..0_i32];
    let literal = prop::sample::select(["|", " |", "= ", "[;", "%|"].to_vec());
    let field = (literal, escape, width);
    let time = prop::sample::select(["m", "t", "n", ""].to_vec());
    (time, any::<bool>(), prop::collection::vec(field, 0..7), 0..9_usize).prop_map(
        |(time, pid, fields, stop)| {
            let mut prefix = Vec::new();
            if let Some(time) = time.chars().next() {
                prefix.extend([Piece::Escape(time, 0), Piece::Literal(" ")]);
            }
            if pid {
                prefix.extend([Piece::Literal("["), Piece::Escape('p', 0), Piece::Literal("]")]);
            }
            let mut seen = Vec::new();
            for (at, (literal, escape, width)) in fields.into_iter().enumerate() {
                if seen.contains(&escape)
                    || (escape == 'h' && seen.contains(&'r'))
                    || (escape == 'r' && seen.contains(&'h'))
                {
                    continue;
                }
                seen.push(escape);
                if at == stop {
                    prefix.extend([Piece::Literal(" "), Piece::Stop]);
                }
                prefix.extend([Piece::Literal(literal), Piece::Escape(escape, width)]);
            }
            prefix.push(Piece::Literal("> "));
            prefix
        },
    )
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9 .,'\"()$=_-]{0,60}",
        "([a-z ]{0,12}\n){0,4}[a-zé\t ]{0,8}",
        Just("x LOG:  y".to_owned()),
        Just("2026-03-04 09:15:01.207 UTC [77]> LOG:  fake".to_owned()),
        Just("first\n2026-03-04 09:15:01.207 UTC [77]> LOG:  fake\n\nlast".to_owned()),
    ]
}

fn processes() -> impl Strategy<Value = Vec<Process>> {
    let name = "[a-z][a-z0-9_.-]{0,20}";
    let host =
        prop::sample::select(["[local]", "10.0.0.7", "2001:db8::1", "db.example.org"].to_vec());
    let session = (name, name, "[a-zA-Z][a-zA-Z0-9 _.-]{0,20}[a-z]", host)
        .prop_map(|(u, d, a, h)| (u, d, a, h.to_owned()));
    prop::collection::vec((1..4_000_000_u32, prop::option::weighted(0.8, session)), 1..5).prop_map(
        |made| {
            let mut pids = Vec::new();
            made.into_iter()
                .filter(|(pid, _)| {
                    !pids.contains(pid) && {
                        pids.push(*pid);
                        true
                    }
                })
                .map(|(pid, session)| Process { pid, session })
                .collect()
        },
    )
}

fn records() -> impl Strategy<Value = Vec<Made>> {
    let parts =
        prop::collection::btree_map(prop::sample::select(Part::ALL.to_vec()), texts(), 0..4);
    let one =
        (0..5_usize, 0..3000_i64, prop::sample::select(Severity::ALL.to_vec()), parts, texts());
    prop::collection::vec(one, 1..12).prop_map(|made| {
        let mut time = 1_772_615_701_207;
        made.into_iter()
            .map(|(process, later, severity, mut parts, message)| {
                time += later;
                parts.insert(Part::Message, message);
                let sqlstate = if severity >= Severity::Error { "23505" } else { "00000" };
                Made { process, time, severity, sqlstate: sqlstate.into(), parts }
            })
            .collect()
    })
}

/// What the log holds, and the records in the order of their heads.
fn write_log(
    prefix: &[Piece],
    processes: &[Process],
    made: &[Made],
    verbose: bool,
    order: &[usize],
) -> (String, Vec<Made>) {
    let mut line = 0;
    let mut queues: Vec<Vec<(usize, usize, String)>> = vec![Vec::new(); processes.len()];
    let mut made = made.to_vec();
    for (number, record) in made.iter_mut().enumerate() {
        record.process %= processes.len();
        let groups = print(prefix, &processes[record.process], record, verbose, &mut line);
        queues[record.process]
            .extend(groups.into_iter().enumerate().map(|(at, group)| (number, at, group)));
    }
    // Only where lines tell their process may processes write between another's lines.
    let told = prefix
        .iter()
        .take_while(|piece| !matches!(piece, Piece::Stop))
        .any(|piece| matches!(piece, Piece::Escape('p' | 'c', _)));
    let mut text = String::new();
    let mut heads = Vec::new();
    let mut order = order.iter().cycle();
    let mut current = 0;
    while queues.iter().any(|queue| !queue.is_empty()) {
        let between = queues[current].first().is_none_or(|(_, at, _)| *at == 0);
        if told || between {
            current = order.next().copied().unwrap_or(0) % processes.len();
        }
        while queues[current].is_empty() {
            current = (current + 1) % processes.len();
        }
        let (number, at, group) = queues[current].remove(0);
        text.push_str(&group);
        if at == 0 {
            heads.push(made[number].clone());
        }
    }
    (text, heads)
}

/// Reads a log from an offset; `pause` says after which line no more was there for a while.
fn read(
    assembler: &mut Assembler,
    text: &[u8],
    from: u64,
    pause: &[bool],
) -> (Vec<Record>, Vec<Break>) {
    let mut now = Instant::now();
    let mut records = Vec::new();
    let mut breaks = Vec::new();
    let mut at = from;
    for (number, line) in
        text[usize::try_from(from).unwrap()..].split_inclusive(|b| *b == b'\n').enumerate()
    {
        let end = at + line.len() as u64;
        assembler.line(line.strip_suffix(b"\n").unwrap_or(line), at..end, now);
        at = end;
        now += Duration::from_millis(120);
        if pause.get(number).copied().unwrap_or(false) {
            now += IDLE / 2;
            breaks.extend(assembler.idle(now));
        }
        records.extend(std::iter::from_fn(|| assembler.ready()));
    }
    assembler.finish();
    records.extend(std::iter::from_fn(|| assembler.ready()));
    (records, breaks)
}

fn same(record: &Record, made: &Made, process: &Process, prefix: &[Piece], verbose: bool) {
    assert_eq!(record.severity, Some(made.severity));
    for part in Part::ALL {
        assert_eq!(record.part(part), made.parts.get(&part).map(String::as_str), "{part:?}");
    }
    let mut line = format!("{}:  {}", made.severity.as_str(), made.parts[&Part::Message]);
    for (part, text) in made.parts.iter().skip(1) {
        let _ = write!(line, "\n{}{text}", part.label());
    }
    assert_eq!(entry::line(record), line);
    let stop = prefix.iter().position(|piece| matches!(piece, Piece::Stop));
    let printed = match stop {
        Some(stop) if process.session.is_none() => &prefix[..stop],
        _ => prefix,
    };
    let has =
        |wanted: char| printed.iter().any(|p| matches!(p, Piece::Escape(e, _) if *e == wanted));
    let session = process.session.as_ref();
    let field = |escape: char, key: Key, value: Option<&str>| {
        let wanted = if has(escape) { value } else { None };
        assert_eq!(record.field(key), wanted, "{key:?}");
    };
    let pid = process.pid.to_string();
    field('p', Key::Pid, Some(&pid));
    field('u', Key::User, session.map(|s| s.0.as_str()));
    field('d', Key::Dbname, session.map(|s| s.1.as_str()));
    field('a', Key::ApplicationName, session.map(|s| s.2.as_str()));
    field('c', Key::SessionId, Some(&format!("6b001a35.{:x}", process.pid)));
    field('Q', Key::QueryId, Some("-7525930216565746870"));
    field('x', Key::Txid, Some("0"));
    field('v', Key::Vxid, session.map(|_| "3/27"));
    field('i', Key::Ps, session.map(|_| "idle in transaction"));
    field(
        'b',
        Key::BackendType,
        Some(if session.is_some() { "client backend" } else { "background writer" }),
    );
    field('L', Key::LocalHost, Some(if session.is_some() { "127.0.0.1" } else { "[none]" }));
    if has('h') || has('r') {
        assert_eq!(record.field(Key::RemoteHost), session.map(|s| s.3.as_str()));
    }
    let port = has('r') && session.is_some_and(|s| s.3 != "[local]");
    assert_eq!(record.field(Key::RemotePort), port.then_some("41744"));
    let time = if has('m') || has('n') {
        Some(made.time * 1_000_000)
    } else if has('t') {
        Some(made.time / 1000 * 1_000_000_000)
    } else {
        None
    };
    assert_eq!(record.time, time);
    let sqlstate = (has('e') || verbose).then(|| made.sqlstate.clone());
    assert_eq!(record.sqlstate.map(|s| s.as_str().to_owned()), sqlstate);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_is_read(
        prefix in prefixes(),
        processes in processes(),
        made in records(),
        verbose in any::<bool>(),
        order in prop::collection::vec(0..5_usize, 1..40),
    ) {
        let (text, heads) = write_log(&prefix, &processes, &made, verbose, &order);
        let verbosity = if verbose { "verbose" } else { "default" };
        let reading = Reading::new(Some(&configuration(&prefix)), Some("UTC"), Some(verbosity));
        let (records, _) = read(&mut Assembler::new(reading), text.as_bytes(), 0, &[]);
        prop_assert_eq!(records.len(), heads.len(), "{}\n{}", configuration(&prefix), text);
        for (record, made) in records.iter().zip(&heads) {
            same(record, made, &processes[made.process], &prefix, verbose);
        }
    }

    /// From the resume point of any record, with the clock's decisions given back, the same records
    /// follow, byte for byte, whatever pauses there were the first time.
    #[test]
    fn a_second_reading_gives_the_same(
        prefix in prefixes(),
        processes in processes(),
        made in records(),
        order in prop::collection::vec(0..5_usize, 1..40),
        pauses in prop::collection::vec(prop::bool::weighted(0.3), 60),
        plain in prop::collection::vec((0..30_usize, "[a-z \t][a-z' ]{0,9}"), 0..3),
    ) {
        let (text, _) = write_log(&prefix, &processes, &made, false, &order);
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        let noise: Vec<String> = plain.iter().map(|(_, text)| format!("{text}\n")).collect();
        for ((at, _), line) in plain.iter().zip(&noise) {
            lines.insert((*at).min(lines.len()), line);
        }
        let text = lines.concat();
        let reading = Reading::new(Some(&configuration(&prefix)), Some("UTC"), None);
        let (first, breaks) =
            read(&mut Assembler::new(reading.clone()), text.as_bytes(), 0, &pauses);
        for (sent, record) in first.iter().enumerate() {
            let mut again = Assembler::new(reading.clone());
            again.resume(record.next);
            again.replay(breaks.iter().copied().filter(|stop| stop.at > record.resume));
            let (rest, _) = read(&mut again, text.as_bytes(), record.resume, &[]);
            let rest: Vec<_> = rest.iter().map(|r| (r.line(), r.bytes.clone(), r.next)).collect();
            let wanted: Vec<_> =
                first[sent + 1..].iter().map(|r| (r.line(), r.bytes.clone(), r.next)).collect();
            prop_assert_eq!(rest, wanted, "after record {} of\n{}\n{:?}", sent, text, breaks);
        }
    }

    /// Nothing that a file may hold makes anything panic, and no byte is dropped silently.
    #[test]
    fn any_bytes_are_read(
        prefix in "(%[-]?[0-9]{0,3}[a-zA-Z%]|[ -~]){0,12}",
        lines in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..80),
                "[ -~]{0,80}".prop_map(String::into_bytes),
                "\t[ -~]{0,80}".prop_map(String::into_bytes),
                "(2026-03-04 09:15:01.207 UTC \\[[0-9]{1,2}\\] (LOG|ERROR|DETAIL|STATEMENT):  [ -~é]{0,60}){1,2}"
                    .prop_map(String::into_bytes),
            ],
            0..20,
        ),
        own in any::<bool>(),
        pauses in prop::collection::vec(any::<bool>(), 20),
    ) {
        let text: Vec<u8> = lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect();
        let prefix = if own { prefix.as_str() } else { "%m [%p] " };
        let _ = Prefix::guess(&text);
        let mut assembler = Assembler::new(Reading::new(Some(prefix), Some("Europe/Berlin"), None));
        let (records, _) = read(&mut assembler, &text, 0, &pauses);
        let mut next = 0;
        for record in records {
            prop_assert!(record.bytes.start >= next && record.bytes.end > record.bytes.start);
            next = record.bytes.start;
            prop_assert!(record.resume <= record.next);
            let event = classify(&record);
            for level in [Level::Credentials, Level::Literals] {
                let (masked, _) = redact(record.clone(), level);
                prop_assert_eq!(masked.severity, record.severity);
                let _ = (entry::line(&masked), entry::metadata(&masked, &event));
            }
        }
    }

    /// A password in a statement never passes, wherever it is cut.
    #[test]
    fn no_password_passes_wherever_it_is_cut(
        secret in "[a-zA-Z0-9 !#%&()*+,./:;<=>?@^_`{|}~é-]{3,20}",
        shape in 0..9_usize,
        cut in 0..20_usize,
    ) {
        let secret = format!("hunter2{}", secret.replace("  ", " "));
        let statement = match shape {
            0 => format!("ALTER ROLE bob PASSWORD '{secret}'"),
            1 => format!("ALTER ROLE bob PASSWORD E'{secret}' VALID UNTIL 'infinity'"),
            2 => format!("CREATE USER bob ENCRYPTED PASSWORD $${secret}$$"),
            3 => format!("CREATE SUBSCRIPTION s CONNECTION 'password=''{secret}'' host=x' PUBLICATION p"),
            4 => format!("ALTER USER MAPPING FOR a SERVER s OPTIONS (SET password '{secret}')"),
            5 => format!("DO $do$ BEGIN EXECUTE 'ALTER ROLE bob PASSWORD ''{secret}'''; END $do$"),
            6 => format!("SELECT '{{\"password\": \"{secret}\"}}'::jsonb"),
            7 => format!("SELECT f(password => '{secret}')"),
            _ => format!("UPDATE users SET password = '{secret}' WHERE id = 1"),
        };
        let end = statement.find("hunter2").unwrap() + "hunter2".len() + cut;
        let end = (end..=statement.len()).find(|at| statement.is_char_boundary(*at)).unwrap_or(statement.len());
        let message = format!("statement: {}", &statement[..end]);
        for level in [Level::Credentials, Level::Literals] {
            let (masked, counts) = redact(Record::new(Severity::Log, &message), level);
            prop_assert!(!masked.line().contains("hunter2"), "{}", masked.line());
            prop_assert!(counts.credentials > 0);
            for tail in secret.split(' ').filter(|word| word.len() > 3 && message.ends_with(*word)) {
                prop_assert!(!masked.line().contains(tail), "{} in {}", tail, masked.line());
            }
        }
    }
}
