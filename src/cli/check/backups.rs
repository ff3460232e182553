//! Backups, as their tools tell of them.

use super::found::Found;
use crate::backups::{self, State};
use crate::config::Instance;

/// Whether every source of backups tells something, and whether that is well.
pub(super) async fn backups(instance: &Instance, found: &mut Found) {
    for backup in instance.backups.iter().filter(|backup| backup.input.is_some()) {
        let told = backups::look(instance, backup).await;
        let name = format!("{}: backups by {}", instance.name, told.source);
        if let Some(sentence) = &told.message {
            let (what, remedy) =
                sentence.rsplit_once("; ").unwrap_or((sentence, "see its own log"));
            found.needs(&backup.place, format!("{name}: {what}"), remedy);
        }
        for state in &told.states {
            let Some((what, remedy)) = state.advice() else { continue };
            // Nothing known of a source that cannot be read has been said.
            if told.read.is_some() {
                found.advise(&backup.place, format!("{name}: {what}"), remedy);
            }
        }
        if told.states == [State::Ok] {
            found.notes.push(format!("{name}: ok"));
        }
    }
}
