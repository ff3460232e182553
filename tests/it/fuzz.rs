//! Broken logs: what tests/data/logs holds, cut, torn, joined and bitten into by a seeded generator, for
//! each format. No input makes the reading panic, grow, lose or double a byte, or depend on how the bytes
//! came. `PGVIGIL_TEST_LONG=1` goes on for a minute for each format.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pgvigil::config::LogFormat;
use pgvigil::logs::format::shorten;
use pgvigil::logs::{Assembler, IDLE, Level, Reading, Record, classify, entry, redact};

/// Mutations for each format when time matters.
const ROUNDS: u64 = 800;
const LONG: Duration = Duration::from_secs(60);

/// xorshift64*: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }
}

/// Pieces that mean something to one parser or another.
const WORDS: &[&[u8]] = &[
    b"\"",
    b"\"\"",
    b",",
    b"\n",
    b"\t",
    b"\r",
    b"\\",
    b"\\u00",
    b"{",
    b"}",
    b"{\"log\":\"",
    b"\0",
    b"\xff",
    b"\xe2\x82",
    b":  ",
    b"LOG:  ",
    b"ERROR:  ",
    b"STATEMENT:  ",
    b"] ",
    b" stderr P ",
    b" stdout F ",
    b"2026-03-04 09:15:01.207 UTC",
    b"2026-03-04T09:15:01.207Z ",
    b"[postgresql] ",
    b"2026-03-04 09:15:01.207 UTC [77] LOG:  ",
    b"2026-03-04 09:15:01.207 UTC,\"a\",\"b\",77,\"[local]\",69a7f9b1.4d,1,",
    b"{\"timestamp\":\"2026-03-04 09:15:01.207 UTC\",\"error_severity\":\"LOG\",\"message\":\"x\"}",
    b"AUDIT: SESSION,1,1,",
    b"duration: 1e999 ms",
    b"checkpoint complete: wrote ",
    b"99999999999999999999",
    b"-",
    b"password '",
    b"$$",
    b"/*",
];

fn mutate(log: &[u8], random: &mut Random) -> Vec<u8> {
    let mut text = log.to_vec();
    for _ in 0..=random.below(12) {
        let at = random.below(text.len() + 1);
        let length = random.below((text.len() - at).min(200) + 1);
        match random.below(8) {
            0 => drop(text.drain(at..at + length)),
            1 => {
                let piece = text[at..at + length].to_vec();
                let to = random.below(text.len() + 1);
                text.splice(to..to, piece);
            }
            2 => text.truncate(at),
            3 if at < text.len() => text[at] = random.next() as u8,
            4 => drop(text.drain(..at)),
            5 if random.below(40) == 0 => {
                // A line without end, of one letter or of one word over and over.
                let word = WORDS[random.below(WORDS.len())].repeat(1 + random.below(30_000));
                text.splice(at..at, word);
            }
            _ => {
                let word = WORDS[random.below(WORDS.len())];
                text.splice(at..at, word.iter().copied());
            }
        }
    }
    text.truncate(4 << 20);
    text
}

/// Lines as `source` splits them.
fn lines(text: &[u8]) -> impl Iterator<Item = (Vec<u8>, std::ops::Range<u64>)> {
    let mut at = 0;
    text.split_inclusive(|b| *b == b'\n').map(move |line| {
        let start = at;
        at += line.len() as u64;
        let bare = line.strip_suffix(b"\n").unwrap_or(line);
        let mut kept = bare.to_vec();
        shorten(&mut kept);
        (kept, start..at)
    })
}

fn read(text: &[u8], reading: &Reading) -> Vec<Record> {
    let mut assembler = Assembler::new(reading.clone());
    let now = Instant::now();
    let mut records = Vec::new();
    for (line, at) in lines(text) {
        assembler.line(&line, at, now);
        records.extend(std::iter::from_fn(|| assembler.ready()));
    }
    assembler.finish();
    records.extend(std::iter::from_fn(|| assembler.ready()));
    assert_eq!(assembler.open_since(), None, "something was kept for ever");
    records
}

/// What must hold of every reading.
fn check(text: &[u8], reading: &Reading) {
    let records = read(text, reading);
    // Every byte is some record's, and they come in the order of their beginnings.
    let mut reach = 0;
    let mut start = 0;
    let mut kept = 0;
    for record in &records {
        assert!(record.bytes.start >= start, "{:?} after {start}", record.bytes);
        assert!(record.bytes.start <= reach, "bytes {reach}..{} are nobody's", record.bytes.start);
        assert!(record.bytes.start < record.bytes.end, "{:?}", record.bytes);
        assert!(record.resume <= record.next);
        start = record.bytes.start;
        reach = reach.max(record.bytes.end);
        kept += record.line().len();
        assert!(record.line().len() <= 128 * 1024 * 4, "{} bytes", record.line().len());
    }
    assert_eq!(reach, text.len() as u64, "the end is nobody's");
    assert!(kept <= 4 * text.len() + 40 * records.len(), "{kept} bytes out of {}", text.len());
    for record in &records {
        let event = classify(record);
        for level in [Level::Credentials, Level::Literals] {
            let (masked, _) = redact(record.clone(), level);
            let _ = (entry::line(&masked), entry::metadata(&masked, &event));
        }
    }
    // Read again behind some record, from the start of a line: the same records follow.
    let at = records.len() / 2;
    if let Some(record) = records.get(at) {
        let end = usize::try_from(record.resume).unwrap();
        assert!(end == 0 || text[end - 1] == b'\n' || end == text.len(), "{end} is within a line");
        let mut again = Assembler::new(reading.clone());
        again.resume(record.next);
        let from = usize::try_from(record.resume).unwrap();
        let mut rest = Vec::new();
        for (line, range) in lines(&text[from..]) {
            let start = record.resume;
            again.line(&line, start + range.start..start + range.end, Instant::now());
            rest.extend(std::iter::from_fn(|| again.ready()));
        }
        again.finish();
        rest.extend(std::iter::from_fn(|| again.ready()));
        let show = |records: &[Record]| -> Vec<String> {
            records.iter().map(|r| format!("{:?} {}", r.bytes, r.line())).collect()
        };
        assert_eq!(show(&rest), show(&records[at + 1..]), "behind {}", show(&records[at..=at])[0]);
    }
    // The clock's decisions, played back, give the same records.
    let mut now = Instant::now();
    let (mut live, mut played) = (Assembler::new(reading.clone()), Assembler::new(reading.clone()));
    let (mut seen, mut same, mut stops) = (Vec::new(), Vec::new(), Vec::new());
    for (number, (line, at)) in lines(text).enumerate() {
        live.line(&line, at, now);
        if number % 3 == 0 {
            now += IDLE;
            stops.extend(live.idle(now));
        }
        seen.extend(std::iter::from_fn(|| live.ready()));
    }
    played.replay(stops);
    for (line, at) in lines(text) {
        played.line(&line, at, now);
        same.extend(std::iter::from_fn(|| played.ready()));
    }
    for (assembler, records) in [(&mut live, &mut seen), (&mut played, &mut same)] {
        assembler.finish();
        records.extend(std::iter::from_fn(|| assembler.ready()));
    }
    let show = |records: &[Record]| -> Vec<String> {
        records.iter().map(|r| format!("{:?} {:?} {}", r.bytes, r.time, r.line())).collect()
    };
    assert_eq!(show(&seen), show(&same));
}

fn corpus(pick: impl Fn(&Path) -> bool) -> Vec<(PathBuf, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/logs");
    let mut logs: Vec<PathBuf> = ["stderr", "secrets", "wrapped"]
        .into_iter()
        .flat_map(|folder| fs::read_dir(root.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "log") && pick(path))
        .collect();
    logs.sort();
    assert!(!logs.is_empty());
    logs.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn fuzz(pick: impl Fn(&Path) -> bool, formats: &[LogFormat]) {
    let end = std::env::var_os("PGVIGIL_TEST_LONG").map(|_| Instant::now() + LONG);
    let logs = corpus(pick);
    let mut seed = 0;
    loop {
        for (path, log) in &logs {
            for format in formats {
                seed += 1;
                let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ seed);
                let text =
                    if seed <= logs.len() as u64 { log.clone() } else { mutate(log, &mut random) };
                let prefix = match random.below(4) {
                    0 => None,
                    1 => Some("%t [%p]: [%l-1] %c %x %d %u %a %h "),
                    2 => Some("%a %u|%d:"),
                    _ => Some("%m [%p] %q%u@%d "),
                };
                let reading = Reading::new(prefix, None, None).of(*format);
                let outcome = std::panic::catch_unwind(|| check(&text, &reading));
                if let Err(panic) = outcome {
                    let kept = std::env::temp_dir().join(format!("pgvigil-fuzz-{seed}.log"));
                    fs::write(&kept, &text).unwrap();
                    eprintln!(
                        "{} number {seed}, {format:?}, {prefix:?}: kept as {}",
                        path.display(),
                        kept.display()
                    );
                    std::panic::resume_unwind(panic);
                }
            }
        }
        let enough = match end {
            Some(end) => Instant::now() > end,
            None => seed > ROUNDS,
        };
        if enough {
            return;
        }
    }
}

fn name(path: &Path) -> &str {
    path.file_stem().unwrap().to_str().unwrap()
}

fn folder(path: &Path) -> &str {
    path.parent().unwrap().file_name().unwrap().to_str().unwrap()
}

#[test]
fn broken_text_logs_are_read() {
    fuzz(|path| folder(path) != "wrapped", &[LogFormat::Auto, LogFormat::Stderr]);
}

#[test]
fn broken_csv_is_read() {
    fuzz(|path| name(path) == "csv", &[LogFormat::Auto, LogFormat::Csv]);
}

#[test]
fn broken_json_is_read() {
    fuzz(
        |path| matches!(name(path), "others" | "cnpg"),
        &[LogFormat::Auto, LogFormat::Json, LogFormat::Cnpg],
    );
}

#[test]
fn broken_envelopes_are_read() {
    fuzz(
        |path| matches!(name(path), "cri" | "docker" | "pebble" | "pgbouncer"),
        &[LogFormat::Auto, LogFormat::Plain],
    );
}
