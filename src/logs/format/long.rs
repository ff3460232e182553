//! Lines that are too long to be kept whole: their beginning and their end stay, what is between goes.
//! The end is where csvlog and jsonlog have the short columns, behind the statement.

/// As much of a line as is kept.
pub const LINE_BYTES: usize = 256 * 1024;

/// As much of that is its end.
const END_BYTES: usize = 16 * 1024;

/// Where the kept beginning of a line ends.
pub(in crate::logs) const BEGINNING_BYTES: usize = LINE_BYTES - END_BYTES;

/// Takes the middle out of a line that is longer; gives how many bytes that were.
pub fn shorten(line: &mut Vec<u8>) -> usize {
    let excess = line.len().saturating_sub(LINE_BYTES);
    if excess > 0 {
        line.drain(BEGINNING_BYTES..BEGINNING_BYTES + excess);
    }
    excess
}

/// Where in a line the middle is missing; at its end, where none is. `beyond`: bytes that are not here.
pub(in crate::logs) fn joint(line: &[u8], beyond: u64) -> usize {
    if beyond > 0 && line.len() > END_BYTES { line.len() - END_BYTES } else { line.len() }
}
