//! What the checkpoint holds: for each file what identifies it, how it is read, and for each route
//! how far Loki (or the local store) has acknowledged it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::LogFormat;
use crate::logs::assemble::Break;
use crate::logs::format::Reading;
use crate::logs::source::{Head, Tail};
use crate::logs::stamp::Stamps;
use crate::logs::store::Place;

/// A file, or one content of it: a truncated file is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::logs) struct FileId(pub(in crate::logs) u64);

/// Everything that a restart needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::logs) struct State {
    /// Of two, the one with the higher number was saved later.
    #[serde(default)]
    pub(super) generation: u64,
    pub(super) next_id: u64,
    pub(in crate::logs) files: BTreeMap<FileId, FileState>,
    /// Sources that have been looked at before: what is new in them was not there then.
    #[serde(default)]
    pub(in crate::logs) known_sources: Vec<String>,
    /// For each stream the newest time that was acknowledged: what is an hour behind it is late.
    #[serde(default)]
    pub(in crate::logs) streams: BTreeMap<String, i64>,
    /// For each spool (of standard input) what Loki has acknowledged.
    #[serde(default)]
    pub(in crate::logs) spools: BTreeMap<String, Place>,
}

/// One file of a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::logs) struct FileState {
    pub(in crate::logs) source: String,
    /// Where it was last seen; a hint, for its identity is below.
    pub(in crate::logs) path: String,
    /// The path that it had before any rotation; empty: the same.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(in crate::logs) name: String,
    pub(in crate::logs) device: u64,
    pub(in crate::logs) inode: u64,
    pub(in crate::logs) head: Head,
    /// When it was met, in nanoseconds since 1970: the time of lines before the first that has one.
    pub(in crate::logs) met: i64,
    /// As far as it has been seen to reach.
    pub(in crate::logs) size: u64,
    /// When it was last written to as far as was seen, in nanoseconds since 1970.
    #[serde(default)]
    pub(in crate::logs) modified: i64,
    /// What is older and lies beside it under a rotated name has been looked at, in nanoseconds since
    /// 1970.
    #[serde(default)]
    pub(in crate::logs) looked: i64,
    /// Where reading begins anew, in the order of offsets.
    pub(in crate::logs) cuts: Vec<Cut>,
    /// Boxed, for a tree's node has room for eleven, and there may be thousands of files.
    pub(in crate::logs) routes: BTreeMap<String, Box<RouteState>>,
    /// Set when no more of it will be read: its end.
    #[serde(default)]
    pub(in crate::logs) end: Option<u64>,
    /// Since when it is nowhere to be found, in nanoseconds since 1970.
    #[serde(default)]
    pub(in crate::logs) missing_since: Option<i64>,
    /// It is nowhere to be found, and what of it was not acknowledged is counted as lost.
    #[serde(default)]
    pub(in crate::logs) given_up: bool,
}

impl FileState {
    pub(in crate::logs) fn key(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// All of it is acknowledged, and no more will come.
    pub(in crate::logs) fn is_done(&self) -> bool {
        let end = self.end;
        end.is_some_and(|end| self.routes.values().all(|own| own.mark.offset >= end))
    }

    /// Bytes that are known to be there, and that some route has not acknowledged.
    pub(in crate::logs) fn behind(&self) -> u64 {
        let size = self.end.map_or(self.size, |end| end.min(self.size));
        let least = self.routes.values().map(|own| own.mark.offset).min().unwrap_or(0);
        size.saturating_sub(least)
    }

    /// As far as the route that is furthest has acknowledged.
    pub(in crate::logs) fn reached(&self) -> u64 {
        self.routes.values().map(|own| own.mark.offset).max().unwrap_or(0)
    }

    /// Where it was last seen to lie.
    pub(in crate::logs) fn directory(&self) -> &Path {
        Path::new(&self.path).parent().unwrap_or(Path::new("/"))
    }

    /// What rotation made other names of.
    pub(in crate::logs) fn name(&self) -> &Path {
        Path::new(if self.name.is_empty() { &self.path } else { &self.name })
    }
}

/// What shaped records at an offset beside the file's bytes: the clock, which took records as whole
/// (see [`Break`]), or a change of how lines are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::logs) struct Cut {
    pub(in crate::logs) at: u64,
    /// Records that ended up to here took no more lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::logs) before: Option<u64>,
    /// How the lines from here on are read; none: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::logs) reading: Option<ReadingText>,
}

impl Cut {
    /// The clock's decision in it, if it is one.
    pub(in crate::logs) fn stop(&self) -> Option<Break> {
        Some(Break { at: self.at, before: self.before? })
    }
}

impl From<Break> for Cut {
    fn from(stop: Break) -> Self {
        Self { at: stop.at, before: Some(stop.before), reading: None }
    }
}

/// How lines are read, in the server's own words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::logs) struct ReadingText {
    pub(in crate::logs) line_prefix: Option<String>,
    pub(in crate::logs) time_zone: Option<String>,
    pub(in crate::logs) verbosity: Option<String>,
    /// The configuration's word for the only format; none: each line tells its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::logs) format: Option<String>,
}

impl From<&ReadingText> for Reading {
    fn from(text: &ReadingText) -> Self {
        let format = LogFormat::WORDS
            .into_iter()
            .find(|(word, _)| Some(*word) == text.format.as_deref())
            .map_or(LogFormat::Auto, |(_, format)| format);
        let [prefix, zone, verbosity] =
            [&text.line_prefix, &text.time_zone, &text.verbosity].map(|text| text.as_deref());
        Self::new(prefix, zone, verbosity).of(format)
    }
}

/// How far one route has come in one file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::logs) struct RouteState {
    pub(in crate::logs) mark: Mark,
    /// Records that start before this offset have been given their stream, and it stays.
    #[serde(default)]
    pub(in crate::logs) decided: u64,
    /// Those of them that went to the backfill stream: first and last start of each run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::logs) late: Vec<(u64, u64)>,
}

/// A position that reading can go on from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::logs) struct Mark {
    /// Where to read again: before it everything is done.
    pub(in crate::logs) offset: u64,
    /// Records that begin before this offset are done as well.
    pub(in crate::logs) next: u64,
    /// As it stood after the last record that is done.
    pub(in crate::logs) stamps: Stamps,
    /// The bytes before the offset.
    pub(in crate::logs) tail: Tail,
}

impl State {
    /// A name for a file that was just met.
    pub(in crate::logs) fn name_file(&mut self, file: FileState) -> FileId {
        let id = FileId(self.next_id);
        self.next_id += 1;
        self.files.insert(id, file);
        id
    }

    /// Records that `route` is done with the file up to `mark`, and forgets what is behind.
    pub(in crate::logs) fn acknowledge(&mut self, file: FileId, route: &str, mark: Mark) {
        let Some(state) = self.files.get_mut(&file) else { return };
        let Some(own) = state.routes.get_mut(route) else { return };
        own.mark = mark;
        own.late.retain(|(_, last)| *last >= mark.offset);
        // A cut at the offset itself still matters: no open record may reach across it.
        let behind = state.routes.values().map(|r| r.mark.offset).min().unwrap_or(0);
        let reading = state.cuts.iter().rposition(|c| c.at <= behind && c.reading.is_some());
        let mut place = 0;
        state.cuts.retain(|cut| {
            let keep = cut.at >= behind || Some(place) == reading;
            place += 1;
            keep
        });
    }

    /// Records which stream the records starting in `from..decided` of a batch go to.
    pub(in crate::logs) fn decide(
        &mut self,
        file: FileId,
        route: &str,
        decided: u64,
        late: &[(u64, u64)],
    ) {
        let Some(own) = self.files.get_mut(&file).and_then(|f| f.routes.get_mut(route)) else {
            return;
        };
        own.decided = own.decided.max(decided);
        for run in late {
            if !own.late.iter().any(|(first, last)| *first <= run.0 && run.1 <= *last) {
                own.late.push(*run);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(cuts: Vec<Cut>, routes: &[&str]) -> FileState {
        FileState {
            source: "s".into(),
            path: "/f".into(),
            name: String::new(),
            device: 1,
            inode: 2,
            head: Head::default(),
            met: 5,
            size: 0,
            modified: 0,
            looked: 0,
            cuts,
            routes: routes.iter().map(|r| ((*r).to_owned(), Box::default())).collect(),
            end: None,
            missing_since: None,
            given_up: false,
        }
    }

    fn cut(at: u64, prefix: Option<&str>) -> Cut {
        let reading = prefix
            .map(|p| ReadingText { line_prefix: Some(p.to_owned()), ..ReadingText::default() });
        Cut { at, before: reading.is_none().then_some(at), reading }
    }

    #[test]
    fn what_every_route_is_past_is_forgotten() {
        let mut state = State::default();
        let cuts = vec![
            cut(0, Some("a")),
            cut(10, None),
            cut(20, Some("b")),
            cut(30, None),
            cut(40, None),
        ];
        let id = state.name_file(file(cuts, &["x", "y"]));
        state.decide(id, "x", 50, &[(12, 18), (33, 40)]);
        let mark = |offset| Mark { offset, ..Mark::default() };
        state.acknowledge(id, "x", mark(30));
        assert_eq!(state.files[&id].cuts.len(), 5, "route y still needs them all");
        assert_eq!(state.files[&id].routes["x"].late, [(33, 40)]);
        state.acknowledge(id, "y", mark(35));
        let left: Vec<u64> = state.files[&id].cuts.iter().map(|c| c.at).collect();
        assert_eq!(left, [20, 30, 40], "the reading in force stays, and what lies ahead");
        assert_eq!(state.files[&id].routes["x"].decided, 50);
    }
}
