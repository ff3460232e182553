//! How lines are to be read: as the server's session says, else as configured, else as the lines
//! themselves suggest.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::config::LogFormat;
use crate::logs::Prefix;
use crate::logs::checkpoint::ReadingText;
use crate::postgres::LogSettings;

/// How long new files wait for a session to tell the server's settings. A session takes far less;
/// where there is none, reading must not wait for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The sources of a reading, for one log source.
pub(in crate::logs) struct Readings {
    session: Option<watch::Receiver<Option<LogSettings>>>,
    configured: ReadingText,
    patience_until: Instant,
    /// What the last file suggested; a new file's head may be too short to suggest anything.
    guessed: Option<String>,
}

impl Readings {
    pub(in crate::logs) fn new(
        session: Option<watch::Receiver<Option<LogSettings>>>,
        line_prefix: Option<String>,
        time_zone: Option<String>,
    ) -> Self {
        Self {
            session,
            configured: ReadingText { line_prefix, time_zone, ..ReadingText::default() },
            patience_until: Instant::now() + PATIENCE,
            guessed: None,
        }
    }

    /// For logs of one format alone.
    pub(in crate::logs) fn of(mut self, format: LogFormat) -> Self {
        self.configured.format = LogFormat::WORDS
            .into_iter()
            .find(|(_, own)| *own == format && format != LogFormat::Auto)
            .map(|(word, _)| word.to_owned());
        self
    }

    /// What the session says, once it has said it.
    pub(in crate::logs) fn told(&self) -> Option<ReadingText> {
        let settings = self.session.as_ref()?.borrow();
        let settings = settings.as_ref()?;
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Some(ReadingText {
            line_prefix: Some(settings.line_prefix.clone()),
            time_zone: some(&settings.time_zone),
            verbosity: some(&settings.verbosity),
            format: self.configured.format.clone(),
        })
    }

    /// For a file that is met; none while a session may still tell. `sample` gives its first bytes.
    pub(in crate::logs) fn first(
        &mut self,
        now: Instant,
        sample: impl FnOnce() -> Vec<u8>,
    ) -> Option<ReadingText> {
        if let Some(told) = self.told() {
            return Some(told);
        }
        if self.session.is_some() && now < self.patience_until {
            return None;
        }
        Some(self.now(&sample()))
    }

    /// The same, without waiting for a session.
    pub(in crate::logs) fn now(&mut self, sample: &[u8]) -> ReadingText {
        if let Some(told) = self.told() {
            return told;
        }
        if self.configured.line_prefix.is_some() {
            return self.configured.clone();
        }
        let guess = self.guess(sample);
        ReadingText {
            line_prefix: guess.or_else(|| self.guessed.clone()),
            ..self.configured.clone()
        }
    }

    /// What the configuration says otherwise than what is in force; a session, where there is one, says
    /// it itself. A prefix that was guessed stays.
    pub(in crate::logs) fn configured(&self, in_force: &ReadingText) -> Option<ReadingText> {
        if self.session.is_some() {
            return None;
        }
        let line_prefix = self.configured.line_prefix.clone().or(in_force.line_prefix.clone());
        let reading = ReadingText { line_prefix, ..self.configured.clone() };
        (reading != *in_force).then_some(reading)
    }

    /// For a file whose prefix is unknown so far, when more of it has come.
    pub(in crate::logs) fn again(&mut self, sample: &[u8]) -> Option<ReadingText> {
        if self.configured.line_prefix.is_some() || self.told().is_some() {
            return None;
        }
        let line_prefix = Some(self.guess(sample)?);
        Some(ReadingText { line_prefix, ..self.configured.clone() })
    }

    fn guess(&mut self, sample: &[u8]) -> Option<String> {
        let prefix = Prefix::guess(sample)?.as_str().to_owned();
        self.guessed = Some(prefix.clone());
        Some(prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &[u8] = b"2026-03-04 09:15:01.207 UTC [4411] LOG:  one\n\
        2026-03-04 09:15:01.208 UTC [4412] LOG:  two\n";

    #[test]
    fn session_then_configuration_then_guess() {
        let now = Instant::now();
        let (tell, session) = watch::channel(None);
        let mut readings = Readings::new(Some(session), Some("%t ".into()), None);
        assert_eq!(readings.first(now, || unreachable!()), None, "waits for the session");
        let late = now + PATIENCE + Duration::from_secs(1);
        let prefix = |reading: Option<ReadingText>| reading.unwrap().line_prefix.unwrap();
        assert_eq!(prefix(readings.first(late, Vec::new)), "%t ");
        let settings = LogSettings { line_prefix: "%m [%p] %u ".into(), ..LogSettings::default() };
        tell.send_replace(Some(settings));
        assert_eq!(prefix(readings.first(now, || unreachable!())), "%m [%p] %u ");
        assert_eq!(prefix(readings.told()), "%m [%p] %u ");

        let mut alone = Readings::new(None, None, Some("Europe/Rome".into()));
        let guess = alone.first(now, || SAMPLE.to_vec()).unwrap();
        let guessed = guess.line_prefix.unwrap();
        assert!(guessed.starts_with("%m [%p] "), "{guessed}");
        assert_eq!(guess.time_zone.as_deref(), Some("Europe/Rome"));
        // The next file says too little by itself.
        assert_eq!(prefix(alone.first(now, || b"starting\n".to_vec())), guessed);
    }
}
