//! What the tools write, as fixtures (`tests/data/backups`), and what is made of it.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::backups::fault::Reason;
use crate::backups::findings::{Kind, Outcome};

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/backups/", $name))
    };
}

fn of(source: BackupSource, text: &[u8], server: Option<&str>) -> Result<Findings, Fault> {
    let zone = TimeZone::UTC;
    let probable = ["shop-1", "shop"];
    parse(source, text, &Wanted { server, repository: None, probable, zone: &zone })
}

/// One word for each backup: type, outcome, repository, begin, end, bytes.
fn told(findings: &Findings) -> Vec<String> {
    let time = |time: Option<Timestamp>| time.map_or("-".to_owned(), |time| time.to_string());
    let line = |t: &crate::backups::findings::Taken| {
        format!(
            "{} {:?} {} {} {} {}",
            t.kind.as_str(),
            t.outcome,
            t.repository.as_deref().unwrap_or("-"),
            time(t.began),
            time(t.ended),
            t.bytes.map_or("-".to_owned(), |bytes| bytes.to_string())
        )
    };
    findings.taken.iter().map(line).collect()
}

#[test]
fn pgbackrest() {
    let text = fixture!("pgbackrest.json");
    let findings = of(BackupSource::PgBackRest, text, Some("main")).unwrap();
    assert_eq!(
        told(&findings),
        [
            "full Done 1 2026-01-01T00:00:00Z 2026-01-01T00:10:00Z 6682738",
            "differential Failed 1 2026-01-02T00:00:00Z 2026-01-02T00:01:00Z 53587",
            "incremental Done 1 2026-01-03T00:00:00Z 2026-01-03T00:00:02Z 53000",
        ]
    );
    assert!(findings.running && findings.listed && findings.complaint.is_none());
    assert_eq!(findings.repositories.iter().collect::<Vec<_>>(), ["1", "2"]);

    let zone = TimeZone::UTC;
    let second =
        Wanted { server: Some("main"), repository: Some("2"), probable: ["", ""], zone: &zone };
    let findings = parse(BackupSource::PgBackRest, text, &second).unwrap();
    assert!(findings.taken.is_empty() && findings.listed && findings.complaint.is_none());
    let third = Wanted { repository: Some("3"), ..second };
    let findings = parse(BackupSource::PgBackRest, text, &third).unwrap();
    assert_eq!(findings.complaint.unwrap(), "repository 3 is not among those it tells of");

    let findings = of(BackupSource::PgBackRest, text, Some("other")).unwrap();
    assert_eq!(findings.complaint.unwrap(), "repository 1: missing stanza path");
    let fault = of(BackupSource::PgBackRest, text, Some("mian")).unwrap_err();
    assert_eq!(fault.reason, Reason::Absent);
    let fault = of(BackupSource::PgBackRest, text, None).unwrap_err();
    assert_eq!(fault.reason, Reason::Ambiguous);
    assert!(fault.sentence.contains("main, other"), "{}", fault.sentence);

    // As pgBackRest 2.45 wrote it: the stanza's code 4 says that its repositories differ.
    let real = of(BackupSource::PgBackRest, fixture!("pgbackrest-2.45.json"), None).unwrap();
    assert_eq!(
        told(&real),
        [
            "full Done 1 2026-11-25T07:45:40Z 2026-11-25T07:45:47Z 3043482",
            "differential Done 1 2026-11-25T07:45:48Z 2026-11-25T07:45:49Z 432",
            "incremental Done 1 2026-11-25T07:45:50Z 2026-11-25T07:45:52Z 429",
        ]
    );
    assert!(real.complaint.is_none() && !real.running);
    assert_eq!(real.repositories.len(), 2);

    let old = of(BackupSource::PgBackRest, fixture!("pgbackrest-2.30.json"), None).unwrap();
    assert_eq!(told(&old), ["full Done - 2026-01-01T00:00:00Z 2026-01-01T00:00:10Z 3000000"]);
    assert_eq!(of(BackupSource::PgBackRest, b"[]", Some("main")).unwrap().taken, []);
}

#[test]
fn barman() {
    let list = of(BackupSource::Barman, fixture!("barman-list.json"), None).unwrap();
    assert_eq!(
        told(&list),
        [
            "full Running - 2026-01-04T00:00:00Z - -",
            "full Failed - 2026-01-03T00:00:00Z - -",
            "incremental Done - - 2026-01-02T00:10:00Z 31457280",
            "full Done - - 2026-01-01T00:10:00Z 314572800",
        ]
    );
    let none = of(BackupSource::Barman, fixture!("barman-list.json"), Some("crm")).unwrap();
    assert!(none.taken.is_empty() && none.listed);

    // As Barman 3.4 wrote it, of a backup that was broken off and one that was not.
    let real = of(BackupSource::Barman, fixture!("barman-3.4.json"), None).unwrap();
    assert_eq!(
        told(&real),
        ["full Failed - 2026-11-25T07:46:58Z - -", "full Done - - 2026-11-25T07:46:33Z 39907398",]
    );

    let one = of(BackupSource::Barman, fixture!("barman-show.json"), None).unwrap();
    assert_eq!(told(&one), ["full Done - 2026-01-01T00:00:01Z 2026-01-01T00:10:00Z 314572800"]);
    assert!(!one.listed);

    let cloud = of(BackupSource::Barman, fixture!("barman-cloud.json"), None).unwrap();
    assert_eq!(
        told(&cloud),
        [
            "full Done - 2026-01-01T00:00:01Z 2026-01-01T00:10:00Z 314572800",
            "snapshot Done - 2026-01-02T00:00:01Z 2026-01-02T00:10:00Z -",
            "full Failed - 2026-01-03T00:00:01Z - -",
        ]
    );
}

#[test]
fn cnpg() {
    let text = fixture!("cnpg-backups.json");
    // The cluster is called as the instance's.
    let findings = of(BackupSource::Cnpg, text, None).unwrap();
    assert_eq!(
        told(&findings),
        [
            "full Done - 2026-01-01T00:00:02Z 2026-01-01T00:10:00Z -",
            "snapshot Done - 2026-01-02T00:00:03Z 2026-01-02T00:00:33Z -",
            "full Failed - 2026-01-03T00:00:00Z - -",
            "full Running - 2026-01-04T00:00:02Z - -",
        ]
    );
    assert!(findings.listed);
    assert!(of(BackupSource::Cnpg, text, Some("crm")).unwrap().taken.is_empty());

    let findings = of(BackupSource::Cnpg, fixture!("cnpg-windows.json"), None).unwrap();
    assert_eq!(findings.window_start.unwrap().to_string(), "2025-12-20T00:10:00Z");
    assert_eq!(
        told(&findings),
        ["full Done - - 2026-01-03T00:10:00Z -", "full Failed - - 2026-01-02T00:01:00Z -",]
    );
    assert!(!findings.listed);
    // As the API itself answers: the kind stands once, above the items.
    let api =
        br#"{"kind":"BackupList","items":[{"metadata":{"name":"b"},"spec":{"cluster":{"name":"c"}},
        "status":{"phase":"completed","stoppedAt":"2026-01-01T00:00:00Z"}}]}"#;
    assert_eq!(
        told(&of(BackupSource::Cnpg, api, None).unwrap()),
        ["full Done - - 2026-01-01T00:00:00Z -"]
    );
    let none = of(BackupSource::Cnpg, br#"{"kind":"List","items":[]}"#, Some("shop")).unwrap();
    assert!(none.listed && none.taken.is_empty());
    assert_eq!(of(BackupSource::Cnpg, b"{}", None).unwrap_err().reason, Reason::Shape);
}

#[test]
fn our_own() {
    let findings = of(BackupSource::Json, fixture!("plain.json"), None).unwrap();
    assert_eq!(
        told(&findings),
        [
            "full Done - 2026-01-01T00:00:00Z 2026-01-01T00:10:00Z 1000000",
            "incremental Failed - - 2026-01-02T00:10:00Z -",
            "full Running - 2026-01-03T00:00:00Z - -",
        ]
    );
    assert_eq!(findings.window_start.unwrap().to_string(), "2025-12-20T00:00:00Z");
    let crm = of(BackupSource::Json, fixture!("plain.json"), Some("crm")).unwrap();
    assert_eq!(told(&crm), ["other Done - - 2026-01-02T00:10:00Z -"]);

    let lines = of(BackupSource::Json, fixture!("plain.jsonl"), None).unwrap();
    assert_eq!(lines.taken.len(), 3);
    assert_eq!(lines.taken[2].bytes, Some(400.0));
    assert!(of(BackupSource::Json, b"", None).unwrap().listed);

    for (text, reason) in [
        ("{\"ended\": 1767226200", Reason::Syntax),
        ("nothing", Reason::Syntax),
        ("{\"ended\": 1767226200, \"state\": \"failed\"}", Reason::Shape),
        ("{\"ended\": 1767226200, \"status\": \"perhaps\"}", Reason::Shape),
        ("{\"status\": \"ok\"}", Reason::Shape),
        ("{\"started\": 1767226200}", Reason::Shape),
        ("3", Reason::Shape),
    ] {
        let fault = of(BackupSource::Json, text.as_bytes(), None).unwrap_err();
        assert_eq!(fault.reason, reason, "{text}: {}", fault.sentence);
        assert!(fault.sentence.contains("; "), "{}", fault.sentence);
    }
}

#[test]
fn dumps_by_their_files() {
    let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
    let dump = |bytes, written: &str| Dump { bytes, written: written.parse().unwrap() };
    let found = [
        dump(100, "2026-01-01T00:00:00Z"),
        dump(0, "2026-01-01T12:00:00Z"),
        dump(40, "2026-01-01T23:59:50Z"),
    ];
    let findings = dumps(&found, Some(7), std::time::Duration::from_secs(60), now);
    let outcomes: Vec<Outcome> = findings.taken.iter().map(|taken| taken.outcome).collect();
    assert_eq!(outcomes, [Outcome::Done, Outcome::Failed, Outcome::Running]);
    assert!(findings.taken.iter().all(|taken| taken.kind == Kind::Dump));
    assert_eq!(findings.space, Some(7));
}

#[test]
fn a_tool_s_text_is_no_other_tool_s() {
    let of = |source, text: &[u8]| of(source, text, Some("shop")).unwrap_err().reason;
    let pgbackrest = fixture!("pgbackrest.json");
    assert_eq!(of(BackupSource::Cnpg, pgbackrest), Reason::Shape);
    assert_eq!(of(BackupSource::Barman, pgbackrest), Reason::Shape);
    assert_eq!(of(BackupSource::Json, pgbackrest), Reason::Shape);
    assert_eq!(of(BackupSource::PgBackRest, fixture!("barman-list.json")), Reason::Shape);
    assert_eq!(of(BackupSource::PgBackRest, b"WARN: no\n[]"), Reason::Syntax);
}

proptest! {
    /// Whole texts cut, changed and strung together: never a panic, and always a finding or a fault.
    #[test]
    fn nothing_panics(cut in 0usize..4000, at in 0usize..4000, byte: u8, which in 0usize..5) {
        let texts: [&[u8]; 5] = [
            fixture!("pgbackrest.json"), fixture!("barman-list.json"), fixture!("barman-cloud.json"),
            fixture!("cnpg-backups.json"), fixture!("plain.json"),
        ];
        let mut text = texts[which][..cut.min(texts[which].len())].to_vec();
        if let Some(place) = text.get_mut(at) {
            *place = byte;
        }
        for source in [
            BackupSource::PgBackRest, BackupSource::Barman, BackupSource::Cnpg, BackupSource::Json,
        ] {
            let _ = of(source, &text, Some("shop"));
        }
    }

    #[test]
    fn any_json_is_a_finding_or_a_fault(text in "[\\[\\]{}:,\"a-z0-9. ]{0,60}") {
        for source in [
            BackupSource::PgBackRest, BackupSource::Barman, BackupSource::Cnpg, BackupSource::Json,
        ] {
            let _ = of(source, text.as_bytes(), None);
        }
    }
}
