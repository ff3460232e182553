//! The values that one word can hold: durations, sizes, names, and text with `${NAME}` in it.

use std::time::Duration;

use super::environment::Lookup;

/// Units of a duration, the longest first, and their milliseconds.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A duration as Prometheus and Loki write it: `15s`, `1h30m`, `30d`, `2w`, `500ms`; no fractions,
/// each unit once, the longest first.
///
/// # Errors
/// What is wrong with it, as the rest of a sentence that begins with the text.
pub fn duration(text: &str) -> Result<Duration, String> {
    const EXAMPLE: &str = "such as 15s, 1h30m or 30d";
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 =
            rest[..digits].parse().map_err(|_| format!("is no duration {EXAMPLE}"))?;
        rest = &rest[digits..];
        let letters = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let unit = &rest[..letters];
        if unit.is_empty() {
            return Err(format!("has no unit, {EXAMPLE}"));
        }
        // `units` goes on where it stands, so a unit out of order is not found.
        let (_, milliseconds) = units
            .find(|(name, _)| *name == unit)
            .ok_or_else(|| format!("is no duration {EXAMPLE}"))?;
        rest = &rest[letters..];
        total = number
            .checked_mul(*milliseconds)
            .and_then(|part| total.checked_add(part))
            // A hundred years: what is longer is a slip, and instants overflow.
            .filter(|total| *total <= 100 * UNITS[0].1)
            .ok_or_else(|| "is longer than 100 years".to_owned())?;
    }
    match (text, total) {
        ("", _) => Err(format!("is no duration {EXAMPLE}")),
        _ => Ok(Duration::from_millis(total)),
    }
}

/// A size in bytes: `100GiB`, `1GB`, `512MiB`, Kubernetes's `10Gi`, or bytes alone.
///
/// # Errors
/// What is wrong with it, as the rest of a sentence that begins with the text.
pub fn byte_size(text: &str) -> Result<u64, String> {
    let wrong = || "is no size such as 512MiB or 100GB".to_owned();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit = text[digits..].trim_start();
    let unit = unit.strip_suffix('B').unwrap_or(unit);
    let factor: u64 = match unit {
        "" => 1,
        "k" | "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(|| "is more than 16 EiB".to_owned())
}

/// Puts the environment's values into `${NAME}`, and a dollar for `$$`. Any other dollar stands for
/// itself.
///
/// # Errors
/// What is wrong and what to do, of the first thing that is.
pub(super) fn expand(text: &str, lookup: Lookup<'_>) -> Result<String, (String, String)> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let Some((name, after)) = after.split_once('}') else {
                return Err((
                    "`${` is not closed".to_owned(),
                    "write ${NAME}, or $$ for a dollar".to_owned(),
                ));
            };
            if !is_variable(name) {
                return Err((
                    "what stands in `${…}` is no environment variable's name".to_owned(),
                    "write ${NAME}, or $$ for a dollar".to_owned(),
                ));
            }
            let Some(value) = lookup(name) else {
                return Err((
                    format!("the environment variable {name} is not set"),
                    format!("set it, or write $${{{name}}} if that text is meant"),
                ));
            };
            out.push_str(&value);
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn is_variable(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

/// What other programs, or habit, call some of our keys.
const ALIASES: [(&str, &str); 14] = [
    ("url", "dsn"),
    ("uri", "dsn"),
    ("host", "dsn"),
    ("port", "dsn"),
    ("user", "dsn"),
    ("dbname", "dsn"),
    ("sslmode", "dsn"),
    ("address", "listen"),
    ("paths", "files"),
    ("path", "files"),
    ("glob", "files"),
    ("retention", "keep"),
    ("period", "keep"),
    ("endpoint", "url"),
];

/// The candidate that `word` was probably meant to be: by a slip, cut short or drawn out, or by
/// another name.
pub fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    // One slip in a short word, three in a long one.
    let most = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
        .or_else(|| {
            let begins = |long: &str, short: &str| short.len() >= 4 && long.starts_with(short);
            candidates.iter().copied().find(|c| begins(c, word) || begins(word, c))
        })
        .or_else(|| {
            let (_, meant) = ALIASES.iter().find(|(alias, _)| *alias == word)?;
            candidates.iter().copied().find(|candidate| candidate == meant)
        })
}

/// Edits between two words: insert, drop, change, swap two neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) =
        (a.to_lowercase().chars().take(64).collect(), b.to_lowercase().chars().take(64).collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        let seconds = |text| duration(text).unwrap().as_secs();
        assert_eq!(seconds("15s"), 15);
        assert_eq!(seconds("1h30m"), 5400);
        assert_eq!(seconds("30d"), 2_592_000);
        assert_eq!(seconds("2w"), 1_209_600);
        assert_eq!(duration("1s500ms").unwrap(), Duration::from_millis(1500));
        assert_eq!(duration("0s").unwrap(), Duration::ZERO);
        for wrong in ["", "15", "s", "1.5h", "1m1h", "1h1h", "-1s", "1 h", "1H", "5fortnights"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(duration("99999999999y").unwrap_err().contains("100 years"));
        assert!(duration("15").unwrap_err().contains("no unit"));
    }

    #[test]
    fn sizes() {
        assert_eq!(byte_size("1GiB"), Ok(1 << 30));
        assert_eq!(byte_size("10Gi"), Ok(10 << 30));
        assert_eq!(byte_size("1GB"), Ok(1_000_000_000));
        assert_eq!(byte_size("512 MiB"), Ok(512 << 20));
        assert_eq!(byte_size("4096"), Ok(4096));
        assert_eq!(byte_size("4096B"), Ok(4096));
        for wrong in ["", "GiB", "1.5GiB", "-1", "1XB", "99999999PiB"] {
            assert!(byte_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn variables() {
        let lookup = |name: &str| match name {
            "USER" => Some("ann".to_owned()),
            "EMPTY" => Some(String::new()),
            "DOLLAR" => Some("$${USER}".to_owned()),
            _ => None,
        };
        let expand = |text| expand(text, &lookup);
        assert_eq!(expand("a ${USER}-${USER} b").unwrap(), "a ann-ann b");
        assert_eq!(expand("$$ $${USER} 5$ $x").unwrap(), "$ ${USER} 5$ $x");
        assert_eq!(expand("[${EMPTY}]").unwrap(), "[]");
        // A value is taken as it stands, whatever it looks like.
        assert_eq!(expand("${DOLLAR}").unwrap(), "$${USER}");
        assert!(expand("${NONE}").unwrap_err().0.contains("NONE is not set"));
        assert!(expand("${USER").unwrap_err().0.contains("not closed"));
        assert!(expand("${USER:-x}").unwrap_err().0.contains("no environment variable"));
        assert!(expand("${}").is_err() && expand("${1A}").is_err());
    }

    #[test]
    fn slips() {
        let keys = ["listen", "web_config_file", "dsn", "dsn_file"];
        assert_eq!(nearest("lisen", &keys), Some("listen"));
        assert_eq!(nearest("Listen", &keys), Some("listen"));
        assert_eq!(nearest("web_confg_flie", &keys), Some("web_config_file"));
        assert_eq!(nearest("dns", &keys), Some("dsn"));
        assert_eq!(nearest("web_config", &keys), Some("web_config_file"));
        assert_eq!(nearest("listen_address", &keys), Some("listen"));
        assert_eq!(nearest("uri", &keys), Some("dsn"));
        assert_eq!(nearest("paths", &keys), None);
        assert_eq!(nearest("", &keys), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,40}") {
            let _ = duration(&text);
            let _ = byte_size(&text);
            let _ = expand(&text, &|_| None);
            let _ = nearest(&text, &["listen", "dsn"]);
        }
    }
}
