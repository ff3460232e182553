//! What a container's runtime makes of lines: each in an envelope with a time and a stream, long ones in
//! parts, and now and then a line of the container's other stream between.

use super::random::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runtime {
    /// Kubernetes: `TIME stderr F LINE`.
    Cri,
    /// Docker's json-file driver.
    Docker,
}

/// A line's beginning is never cut: it holds the record's number.
const HEAD: usize = 400;

impl Runtime {
    /// Half of the schedules have none: their files are as the server writes them.
    pub(super) fn of(seed: u64) -> Option<Self> {
        match seed % 4 {
            1 => Some(Self::Cri),
            3 => Some(Self::Docker),
            _ => None,
        }
    }

    fn line(self, stream: &str, text: &str, is_part: bool) -> String {
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%9fZ");
        match self {
            Self::Cri => format!("{time} {stream} {} {text}\n", if is_part { 'P' } else { 'F' }),
            Self::Docker => {
                let end = if is_part { "" } else { "\n" };
                let log = serde_json::to_string(&format!("{text}{end}")).unwrap();
                format!("{{\"log\":{log},\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n")
            }
        }
    }

    /// The lines of the file that come of a text.
    pub(super) fn wrap(self, text: &str, random: &mut Random) -> Vec<String> {
        let mut lines = Vec::new();
        for mut rest in text.lines() {
            while rest.len() > HEAD && random.once_in(2) {
                let (part, behind) = rest.split_at(HEAD + random.below(rest.len() - HEAD));
                lines.push(self.line("stderr", part, true));
                rest = behind;
            }
            lines.push(self.line("stderr", rest, false));
        }
        lines
    }

    /// A line of a program that writes to the other stream.
    pub(super) fn other(self, text: &str) -> String {
        self.line("stdout", text, false)
    }
}
