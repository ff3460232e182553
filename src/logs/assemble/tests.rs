//! The assembler over small logs written by hand.

use proptest::prelude::*;

use super::*;
use crate::config::LogFormat;
use crate::logs::record::{Key, Part, Severity};
use crate::logs::redact::first_sign;

/// Feeds a text line by line and takes what is ready after each.
fn feed(assembler: &mut Assembler, text: &str, from: u64, now: Instant) -> Vec<Record> {
    let mut at = from;
    let mut records = Vec::new();
    for line in text.split_inclusive('\n') {
        let end = at + line.len() as u64;
        assembler.line(line.trim_end_matches('\n').as_bytes(), at..end, now);
        at = end;
        assert_eq!(assembler.weight, assembler.records.iter().map(Open::weight).sum::<usize>());
        records.extend(std::iter::from_fn(|| assembler.ready()));
    }
    records
}

fn read(prefix: &str, text: &str) -> (Vec<Record>, Counts) {
    let mut assembler = Assembler::new(Reading::new(Some(prefix), Some("UTC"), Some("default")));
    let mut records = feed(&mut assembler, text, 0, Instant::now());
    assembler.finish();
    records.extend(std::iter::from_fn(|| assembler.ready()));
    (records, assembler.counts())
}

fn lines(records: &[Record]) -> Vec<&str> {
    records.iter().map(Record::line).collect()
}

const SAMPLE: &str = "\
2026-03-04 09:15:01.207 UTC [4411] app@shop/web-7 ERROR:  duplicate key value violates unique constraint \"orders_pkey\"
2026-03-04 09:15:01.655 UTC [77] LOG:  checkpoint starting: time
2026-03-04 09:15:01.207 UTC [4411] app@shop/web-7 DETAIL:  Key (id)=(90210) already exists.
2026-03-04 09:15:01.207 UTC [4411] app@shop/web-7 STATEMENT:  INSERT INTO orders
\t  (id, total)
\tVALUES ($1, $2)
cp: cannot stat 'x'
";

#[test]
fn parts_join_by_process_while_another_writes() {
    let (records, counts) = read("%m [%p] %q%u@%d/%a ", SAMPLE);
    assert_eq!(
        lines(&records),
        [
            "ERROR:  duplicate key value violates unique constraint \"orders_pkey\"\n\
             DETAIL:  Key (id)=(90210) already exists.\n\
             STATEMENT:  INSERT INTO orders\n  (id, total)\nVALUES ($1, $2)",
            "LOG:  checkpoint starting: time",
            "cp: cannot stat 'x'",
        ]
    );
    assert_eq!(records[0].field(Key::User), Some("app"));
    assert_eq!(records[0].field(Key::Dbname), Some("shop"));
    assert_eq!(records[0].field(Key::ApplicationName), Some("web-7"));
    assert_eq!(records[0].field(Key::Pid), Some("4411"));
    assert_eq!(records[0].time, Some(1_772_615_701_207_000_000));
    assert_eq!(records[0].part(Part::Statement).map(str::len), Some(48));
    assert!(records[2].is_plain());
    assert_eq!(counts, Counts { plain: 1, ..Counts::default() });
}

/// A half line of one stream, begun within a csv record of the other. The record's last line has the
/// beginning of one, and a quote that nothing closes.
const STREAMS: &str = "\
2026-03-04T09:15:04.1Z stderr F 2026-03-04 09:15:03.999 UTC,\"app\",\"shop\",4411,\"10.1.2.3:50122\",69a7f9b1.113b,9,\"INSERT\",2026-03-04 09:10:25 UTC,5/881,70213,ERROR,23505,\"two lines
2026-03-04T09:15:04.2Z stdout P half a li
2026-03-04T09:15:04.3Z stderr F 2026-03-04 09:15:03.999 UTC,\"\"app\",,,,,,,,,\"web-7\",\"client backend\",,0
2026-03-04T09:15:04.4Z stderr F 2026-03-04 09:15:04.400 UTC [77] LOG:  checkpoint starting: time
2026-03-04T09:15:04.5Z stdout F ne
2026-03-04T09:15:04.6Z stderr F 2026-03-04 09:15:04.600 UTC [78] LOG:  checkpoint complete
";

/// Whatever record was sent last: a reading from its `resume` gives the records that followed, and
/// no others.
#[test]
fn a_reading_resumes_behind_every_record() {
    let all = resumed(&SAMPLE.repeat(3));
    assert_eq!(all.len(), 9);
    assert_eq!(all[0].resume, 0, "the DETAIL behind the checkpoint's start is of the first record");
    let all = resumed(STREAMS);
    assert_eq!(lines(&all)[1..3], ["half a line", "LOG:  checkpoint starting: time"]);
    assert_eq!(all[1].resume, 0, "the half line begins within the csv record");
}

fn resumed(text: &str) -> Vec<Record> {
    let reading = Reading::new(Some("%m [%p] %q%u@%d/%a "), Some("UTC"), None);
    let mut whole = Assembler::new(reading.clone());
    let mut all = feed(&mut whole, text, 0, Instant::now());
    whole.finish();
    all.extend(std::iter::from_fn(|| whole.ready()));
    for (sent, record) in all.iter().enumerate() {
        let mut again = Assembler::new(reading.clone());
        again.resume(record.next);
        let from = record.resume;
        let mut rest = feed(&mut again, &text[from as usize..], from, Instant::now());
        again.finish();
        rest.extend(std::iter::from_fn(|| again.ready()));
        assert_eq!(lines(&rest), lines(&all[sent + 1..]), "after record {sent}");
    }
    all
}

#[test]
fn the_clock_decides_only_when_asked_and_can_be_played_back() {
    let reading = Reading::new(Some("%m [%p] %q%u@%d/%a "), Some("UTC"), None);
    let (head, rest) = SAMPLE
        .split_at(SAMPLE.find("2026-03-04 09:15:01.207 UTC [4411] app@shop/web-7 DETAIL").unwrap());
    let start = Instant::now();
    let mut live = Assembler::new(reading.clone());
    assert_eq!(feed(&mut live, head, 0, start), []);
    assert_eq!(live.idle(start + Duration::from_millis(299)), None);
    let stop = live.idle(start + IDLE).unwrap();
    let mut seen: Vec<_> = std::iter::from_fn(|| live.ready()).collect();
    assert_eq!(seen.len(), 2, "both rested");
    seen.extend(feed(&mut live, rest, head.len() as u64, start + IDLE));
    live.finish();
    seen.extend(std::iter::from_fn(|| live.ready()));
    assert_eq!(live.counts().late, 1);
    assert!(seen[2].is_late());
    assert_eq!(seen[2].message(), "");

    let mut again = Assembler::new(reading);
    again.replay([stop]);
    let mut same = feed(&mut again, SAMPLE, 0, start);
    again.finish();
    same.extend(std::iter::from_fn(|| again.ready()));
    assert_eq!(same, seen);
}

#[test]
fn a_client_cannot_forge_a_severity() {
    let text = "\
2026-03-04 09:15:01.207 UTC [4411] app=LOG:  fine] ERROR:  division by zero
2026-03-04 09:15:01.207 UTC [4411] app=LOG:  fine] STATEMENT:  SELECT 1/0;
\t-- end
";
    let (records, counts) = read("%m [%p] app=%a] ", text);
    assert_eq!(lines(&records), ["ERROR:  division by zero\nSTATEMENT:  SELECT 1/0;\n-- end"]);
    assert_eq!(records[0].field(Key::ApplicationName), Some("LOG:  fine"));
    assert_eq!(records[0].severity, Some(Severity::Error));
    assert_eq!(counts.late, 0);

    let text = "2026-03-04 09:15:01.207 UTC [4411] app=x] ERROR:  fake] LOG:  hello\n";
    let (records, counts) = read("%m [%p] app=%a] ", text);
    assert_eq!(lines(&records), ["ERROR:  fake] LOG:  hello"], "nothing settles it: the left-most");
    assert_eq!(counts.ambiguous, 1);
}

#[test]
fn a_torn_line_is_taken_apart_and_mended() {
    let long = "x".repeat(5000);
    let text = format!(
        "2026-03-04 09:15:01.207 UTC [1] LOG:  statement: SELECT '{long}2026-03-04 09:15:01.300 UTC [2] ERROR:  boom\n\
         2026-03-04 09:15:01.300 UTC [2] STATEMENT:  SELECT 1\n\
         rest'\n\t, 2\n\
         2026-03-04 09:15:01.207 UTC [1] STATEMENT:  odd\n"
    );
    let (records, counts) = read("%m [%p] ", &text);
    let first = format!("LOG:  statement: SELECT '{long}rest'\n, 2\nSTATEMENT:  odd");
    assert_eq!(lines(&records), [first.as_str(), "ERROR:  boom\nSTATEMENT:  SELECT 1"]);
    assert_eq!(counts, Counts { torn: 1, ..Counts::default() });
}

#[test]
fn other_languages_become_english() {
    let text = "\
2026-03-04 10:15:01.207 CET [7] FEHLER:  Relation »x« existiert nicht bei Zeichen 15
2026-03-04 10:15:01.207 CET [7] TIPP:  Prüfen.
2026-03-04 10:15:01.207 CET [7] ANWEISUNG:  SELECT * FROM x
";
    let mut assembler = Assembler::new(Reading::new(Some("%m [%p] "), Some("Europe/Berlin"), None));
    let mut records = feed(&mut assembler, text, 0, Instant::now());
    assembler.finish();
    records.extend(std::iter::from_fn(|| assembler.ready()));
    assert_eq!(
        lines(&records),
        [
            "ERROR:  Relation »x« existiert nicht at character 15\nHINT:  Prüfen.\nSTATEMENT:  SELECT * FROM x"
        ]
    );
    assert_eq!(records[0].part(Part::Hint), Some("Prüfen."));
    assert_eq!(records[0].time, Some(1_772_615_701_207_000_000));
}

#[test]
fn a_record_is_cut_at_its_cap_and_keeps_swallowing_its_lines() {
    let long = format!("\t{}\n", "y".repeat(99_999));
    let text = format!(
        "2026-03-04 09:15:01.207 UTC [1] LOG:  plan:\n{long}{long}\
         2026-03-04 09:15:01.207 UTC [1] STATEMENT:  SELECT 1\n\
         2026-03-04 09:15:02.207 UTC [1] LOG:  next\n"
    );
    let (records, counts) = read("%m [%p] ", &text);
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].line().len(), open::RECORD_BYTES);
    assert!(records[0].left_out > 68_000);
    assert_eq!(records[0].part(Part::Statement), None);
    assert_eq!(counts.cut, 1);
}

/// One format alone: what is written otherwise stays as it is, whatever it looks like.
#[test]
fn a_source_of_one_format_takes_no_other() {
    let text = "2026-03-04 09:15:01.207 UTC [1] LOG:  text\n\
        2026-03-04 09:15:01.207 UTC,,,77,,69a7f9b1.4d,1,,,,0,LOG,00000,\"csv\",,,,,,,,,\"\"\n\
        {\"timestamp\":\"2026-03-04 09:15:01.207 UTC\",\"error_severity\":\"LOG\",\"message\":\"json\"}\n\
        {\"msg\":\"record\",\"record\":{\"log_time\":\"2026-03-04 09:15:01.207 UTC\",\"error_severity\":\"LOG\",\"message\":\"cnpg\"}}\n";
    for (format, wanted) in [
        (LogFormat::Auto, &["LOG:  text", "LOG:  csv", "LOG:  json", "LOG:  cnpg"][..]),
        (LogFormat::Stderr, &["LOG:  text"]),
        (LogFormat::Csv, &["LOG:  csv"]),
        (LogFormat::Json, &["LOG:  json"]),
        (LogFormat::Cnpg, &["LOG:  cnpg"]),
        (LogFormat::Plain, &[]),
    ] {
        let mut assembler =
            Assembler::new(Reading::new(Some("%m [%p] "), Some("UTC"), None).of(format));
        let mut records = feed(&mut assembler, text, 0, Instant::now());
        assembler.finish();
        records.extend(std::iter::from_fn(|| assembler.ready()));
        assert_eq!(records.len(), 4, "{format:?}");
        let known: Vec<&str> =
            records.iter().filter(|record| !record.is_plain()).map(Record::line).collect();
        assert_eq!(known, wanted, "{format:?}");
    }
}

/// A container that ended within a line, and one that goes on after a pause.
#[test]
fn a_line_without_its_last_part_ends_by_the_clock() {
    let first = "2026-03-04T09:15:01.3Z stderr P 2026-03-04 09:15:01.207 UTC [1] LOG:  ends he\n\
        2026-03-04T09:15:01.4Z stdout F other\n";
    let then = "2026-03-04T09:15:02Z stderr F re\n\
        2026-03-04T09:15:03Z stderr F 2026-03-04 09:15:03.000 UTC [1] LOG:  next\n";
    let reading = Reading::new(Some("%m [%p] "), Some("UTC"), None);
    let start = Instant::now();
    let mut live = Assembler::new(reading.clone());
    assert_eq!(feed(&mut live, first, 0, start), [], "the first keeps the second back");
    let stop = live.idle(start + IDLE).unwrap();
    let mut seen: Vec<Record> = std::iter::from_fn(|| live.ready()).collect();
    seen.extend(feed(&mut live, then, first.len() as u64, start + IDLE));
    live.finish();
    seen.extend(std::iter::from_fn(|| live.ready()));
    assert_eq!(lines(&seen), ["LOG:  ends he", "other", "re", "LOG:  next"]);
    assert_eq!(seen[2].time, Some(1_772_615_702_000_000_000), "the envelope's");
    let mut again = Assembler::new(reading.clone());
    again.replay([stop]);
    let mut same = feed(&mut again, &format!("{first}{then}"), 0, start);
    again.finish();
    same.extend(std::iter::from_fn(|| again.ready()));
    assert_eq!(same, seen);
    // Without the pause the line is whole.
    let mut whole = Assembler::new(reading);
    let mut records = feed(&mut whole, &format!("{first}{then}"), 0, start);
    whole.finish();
    records.extend(std::iter::from_fn(|| whole.ready()));
    assert_eq!(lines(&records), ["LOG:  ends here", "other", "LOG:  next"]);
}

/// A client may put as many prefixes into a line as fit: they cost no depth, and no byte is lost.
#[test]
fn a_line_of_prefixes_is_taken_apart_so_often_and_no_more() {
    for (head, piece) in [
        ("2026-03-04 09:15:01.207 UTC [1] LOG:  ", "2026-03-04 09:15:01.300 UTC [N] LOG:  x"),
        (
            "2026-03-04 09:15:01.207 UTC,,,1,,a.b,1,",
            "2026-03-04 09:15:01.300 UTC,\"a\",,N,,a.b,1,\"z",
        ),
        ("{\"timestamp\":\"", "{\"timestamp\":\"N"),
    ] {
        let mut text = format!("{head}{}", "y".repeat(5000));
        for number in 0..6000 {
            text.push_str(&piece.replace('N', &(number % 7 + 2).to_string()));
        }
        text.push('\n');
        let (records, counts) = read("%m [%p] ", &text);
        assert!(counts.torn > 0, "{head}");
        assert_eq!(records[0].bytes.start, 0);
        assert!(records.iter().any(|record| record.bytes.end == text.len() as u64), "{head}");
        let kept: u64 = records.iter().map(|r| r.line().len() as u64 + r.left_out).sum();
        assert!(kept * 2 > text.len() as u64, "{head}: {kept} of {}", text.len());
    }
}

/// A write over 4,096 bytes may be torn at its first bytes, so that the first line is short.
#[test]
fn a_short_torn_line_is_seen_by_what_follows() {
    let long = "x".repeat(5000);
    let text = format!(
        "2026-03-04 09:15:01.207 UTC [1] LOG:  statement: SELECT 'a2026-03-04 09:15:01.300 UTC [2] ERROR:  boom\n\
         2026-03-04 09:15:01.300 UTC [2] STATEMENT:  SELECT 1\n\
         {long}'\n\
         2026-03-04 09:15:01.207 UTC [3] LOG:  statement: SELECT 'a2026-03-04 09:15:01.300 UTC [4] LOG:  four\n\
         {long}'\n\
         2026-03-04 09:15:01.207 UTC [5] LOG:  statement: SELECT '2026-03-04 09:15:01.300 UTC [6] LOG:  data'\n\
         2026-03-04 09:15:01.207 UTC [7] LOG:  seven\n"
    );
    let (records, counts) = read("%m [%p] ", &text);
    let long = |process: &str| format!("LOG:  statement: SELECT '{process}{long}'");
    assert_eq!(
        lines(&records),
        [
            long("a").as_str(),
            "ERROR:  boom\nSTATEMENT:  SELECT 1",
            long("a").as_str(),
            "LOG:  four",
            "LOG:  statement: SELECT '2026-03-04 09:15:01.300 UTC [6] LOG:  data'",
            "LOG:  seven",
        ]
    );
    assert_eq!(counts, Counts { torn: 2, ..Counts::default() });
    assert_eq!(records[1].bytes.start, 58);
}

/// Lines of all kinds, whose pieces, joined or decoded, may come to a sign that none of them holds.
fn pieces() -> impl Strategy<Value = String> {
    let time = "2026-03-04 09:15:01.207 UTC";
    let text = "pa|ss|word|pass|md|5|:/|//|to|\\\\u006ben|\"\"|\"|,|a{4100}|é|x";
    let text = prop::collection::vec(text, 0..4).prop_map(|pieces| pieces.concat());
    (0..13, 7..9, text).prop_map(move |(kind, process, text)| {
        let head = format!("{time} [{process}] {}@", if process == 7 { "pa" } else { "ss" });
        match kind {
            0 => format!("{head}shop LOG:  {text}"),
            1 => format!("{head}{text} ERROR:  x"),
            2 => format!("{head}shop DETAIL:  {text}"),
            3 => format!("\t{text}"),
            4 => format!("{text}{head}shop LOG:  {text}"),
            5 => format!("2026-03-04T09:15:01.4Z stdout P {text}"),
            6 => format!("2026-03-04T09:15:01.4Z stdout F {text}"),
            7 => format!("2026-03-04T09:15:01.4Z stderr P {head}shop LOG:  {text}"),
            8 => format!(r#"{{"log":"{head}shop LOG:  {text}\n","stream":"stderr","time":"2026-03-04T09:15:01Z"}}"#),
            9 => format!(r#"{{"timestamp":"{time}","error_severity":"LOG","message":"{text}"}}"#),
            10 => format!(r#"{time},"app","shop",7,"[local]",69.7,1,"x",{time},3/4,0,LOG,00000,"{text}"#),
            // Torn by another process, before and behind the middle of it.
            11 => format!("{head}shop LOG:  {}{text}{time} [9] LOG:  x\nss{text}", "a".repeat(4100)),
            _ => text,
        }
    })
}

proptest! {
    #[test]
    fn a_record_is_clean_only_without_signs(texts in prop::collection::vec(pieces(), 1..30)) {
        let mut assembler =
            Assembler::new(Reading::new(Some("%m [%p] %q%u@%d "), Some("UTC"), Some("default")));
        let mut records = Vec::new();
        let mut at = 0;
        for text in texts.join("\n").lines() {
            let end = at + text.len() as u64 + 1;
            let clean = first_sign(text.as_bytes()).is_none();
            assembler.searched_line(text.as_bytes(), at..end, clean, Instant::now());
            records.extend(std::iter::from_fn(|| assembler.ready()));
            at = end;
        }
        assembler.finish();
        records.extend(std::iter::from_fn(|| assembler.ready()));
        for record in records {
            let texts = record.fields.iter().map(|(_, value)| value).chain([record.line()]);
            let signs = texts.filter_map(|text| first_sign(text.as_bytes())).count();
            prop_assert!(!record.clean || signs == 0, "{:?}", record);
        }
    }
}

#[test]
fn most_records_are_clean() {
    let mut assembler = Assembler::new(Reading::new(Some("%m [%p] %q%u@%d/%a "), None, None));
    let mut at = 0;
    for line in SAMPLE.lines() {
        let end = at + line.len() as u64 + 1;
        assembler.searched_line(line.as_bytes(), at..end, true, Instant::now());
        at = end;
    }
    assembler.finish();
    assert!(std::iter::from_fn(|| assembler.ready()).all(|record| record.clean));
}

#[test]
fn what_is_found_late_in_a_line_stands_before_the_other_stream() {
    // One csv record breaks off in another, which is seen in the second line; between its lines stands
    // one of standard output.
    let text = "\
2026-03-04T09:15:04Z stderr F 2026-03-04 09:15:03.999 UTC,\"app\",\"shop\",4411,,69a7f9b1.113b,9,\"INSERT\",\
2026-03-04 09:10:25 UTC,5/881,702026-03-04 09:15:03.999 UTC,\"app\",\"shop\",4411,,69a7f9b1.113b,9,\"INSERT\",\
2026-03-04 09:10:25 UTC,5/881,70,ERROR,23505,\"two\",,,,,,\"INSERT\n\
2026-03-04T09:15:04.1Z stdout F between\n\
2026-03-04T09:15:04.2Z stderr F VALUES\",,,\"web-7\",\"client backend\",,0\n";
    let (records, counts) = read("%m [%p] ", text);
    let starts: Vec<u64> = records.iter().map(|record| record.bytes.start).collect();
    assert!(counts.torn == 1 && starts.is_sorted(), "{starts:?} {:?}", lines(&records));
    assert_eq!(records.len(), 3);
}

#[test]
fn what_is_found_in_a_line_before_takes_no_place_of_the_present_one() {
    // The rest of a torn line comes in parts, and shows that within the line before a part of another
    // record began, whose head was sent before.
    let text = "\
2026-03-04T09:15:02Z stderr F 2026-03-04 09:15:02.001 UTC [77] LOG:  checkpoint st2026-03-04 09:15:02.001 UTC [44] STATEMENT:  INSERT\n\
2026-03-04T09:15:02Z stderr P  orders\n\
2026-03-04T09:15:02Z stderr F  (id, total)\n";
    let (records, _) = read("%m [%p] ", text);
    let starts: Vec<u64> = records.iter().map(|record| record.bytes.start).collect();
    let within = text.find("2026-03-04 09:15:02.001 UTC [44]").unwrap() as u64;
    assert_eq!(starts, [0, within], "{:?}", lines(&records));
}
