//! What can happen to the checkpoint of a killed agent.

use std::fs;
use std::path::{Path, PathBuf};

use super::random::Random;

const CURRENT: &str = "checkpoint.json";
const PREVIOUS: &str = "checkpoint.previous.json";

/// The state directory, and an older generation that something has kept.
pub(super) struct State {
    directory: PathBuf,
    kept: Option<Vec<u8>>,
}

impl State {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, kept: None }
    }

    pub(super) fn current(&self) -> PathBuf {
        self.directory.join(CURRENT)
    }

    /// Keeps the generation of now.
    pub(super) fn keep(&mut self) {
        self.kept = fs::read(self.current()).ok();
    }

    /// Damages it, and says how.
    pub(super) fn damage(&self, random: &mut Random) -> &'static str {
        let current = self.current();
        let both = [current.clone(), self.directory.join(PREVIOUS)];
        match random.below(7) {
            0 => {
                cut(&current, random);
                "checkpoint cut"
            }
            1 => {
                flip(&current, random);
                "checkpoint flipped"
            }
            2 => {
                fs::write(&current, "").unwrap();
                "checkpoint emptied"
            }
            3 => {
                let _ = fs::remove_file(&current);
                "checkpoint removed"
            }
            4 => {
                both.iter().for_each(|path| drop(fs::remove_file(path)));
                "both removed"
            }
            5 => {
                both.iter().for_each(|path| cut(path, random));
                "both cut"
            }
            _ => match &self.kept {
                Some(kept) => {
                    fs::write(&current, kept).unwrap();
                    "an older checkpoint"
                }
                None => "no damage",
            },
        }
    }
}

fn cut(path: &Path, random: &mut Random) {
    let bytes = content(path);
    if !bytes.is_empty() {
        fs::write(path, &bytes[..random.below(bytes.len())]).unwrap();
    }
}

fn flip(path: &Path, random: &mut Random) {
    let mut bytes = content(path);
    if !bytes.is_empty() {
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
        fs::write(path, bytes).unwrap();
    }
}

/// Nothing where there is no file; an agent that was killed at once may have left one that was emptied.
fn content(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_default()
}
