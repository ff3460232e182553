//! A strict reader of metrics pages, written from the formats' own texts and sharing nothing with the
//! writer: what it accepts, every Prometheus accepts, and it refuses what some would let pass.

use std::collections::{BTreeMap, BTreeSet};

/// A page, read.
#[derive(Debug, Default)]
pub struct Parsed {
    pub families: Vec<ParsedFamily>,
}

#[derive(Debug, Default)]
pub struct ParsedFamily {
    /// The name in the header: in OpenMetrics without a counter's `_total`.
    pub name: String,
    /// `counter`, `gauge`, `untyped`, `unknown`, `histogram`.
    pub kind: String,
    pub help: Option<String>,
    pub samples: Vec<ParsedSample>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ParsedSample {
    /// The whole name, with `_total`, `_bucket` …
    pub name: String,
    /// In the order of the page.
    pub labels: Vec<(String, String)>,
    pub value: f64,
}

impl ParsedSample {
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl Parsed {
    /// The family with this header.
    pub fn family(&self, name: &str) -> Option<&ParsedFamily> {
        self.families.iter().find(|family| family.name == name)
    }

    /// Every series of this name.
    pub fn series(&self, name: &str) -> impl Iterator<Item = &ParsedSample> {
        self.families.iter().flat_map(|f| &f.samples).filter(move |s| s.name == name)
    }

    /// The value of the one series of this name that has all of these labels; none where there is no
    /// such series. Panics where there are several, for then the question was not exact enough.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut fitting =
            self.series(name).filter(|s| labels.iter().all(|(n, v)| s.label(n) == Some(v)));
        let first = fitting.next()?;
        assert!(fitting.next().is_none(), "several series {name} with {labels:?}");
        Some(first.value)
    }
}

/// Reads a page in the text format 0.0.4.
pub fn parse_text(page: &str) -> Result<Parsed, String> {
    parse(page, false)
}

/// Reads a page in OpenMetrics 1.0.
pub fn parse_openmetrics(page: &str) -> Result<Parsed, String> {
    let body = page.strip_suffix("# EOF\n").ok_or("the page does not end in # EOF")?;
    parse(body, true)
}

fn parse(page: &str, open: bool) -> Result<Parsed, String> {
    if !page.is_empty() && !page.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    let mut reader = Reader { open, families: Vec::new(), names: BTreeSet::new() };
    // Only a line feed ends a line: str::lines would also eat a carriage return.
    for (at, line) in page.split('\n').enumerate() {
        if line.is_empty() && at == page.matches('\n').count() {
            break;
        }
        reader.line(line).map_err(|e| format!("line {}: {e}: {line:?}", at + 1))?;
    }
    for family in &reader.families {
        check_family(family, open).map_err(|e| format!("family {}: {e}", family.name))?;
    }
    check_names(&reader.families, open)?;
    Ok(Parsed { families: reader.families })
}

struct Reader {
    open: bool,
    families: Vec<ParsedFamily>,
    names: BTreeSet<String>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or("HELP without a text")?;
            let open = self.open;
            let family = self.header(name)?;
            if family.help.is_some() || !family.kind.is_empty() {
                return Err("HELP twice, or after TYPE".to_owned());
            }
            family.help = Some(unescape(help, open)?);
            Ok(())
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or("TYPE without a kind")?;
            let kinds: &[&str] = if self.open {
                &["counter", "gauge", "unknown", "histogram"]
            } else {
                &["counter", "gauge", "untyped", "histogram"]
            };
            if !kinds.contains(&kind) {
                return Err(format!("no kind {kind}"));
            }
            let family = self.header(name)?;
            if !family.kind.is_empty() {
                return Err("TYPE twice".to_owned());
            }
            kind.clone_into(&mut family.kind);
            Ok(())
        } else if line.starts_with('#') {
            Err("a comment that is neither HELP nor TYPE".to_owned())
        } else {
            let sample = sample(line)?;
            let family = self.families.last_mut().ok_or("a sample before any header")?;
            if family.kind.is_empty() {
                return Err("a sample before its TYPE".to_owned());
            }
            if !family.names(self.open).contains(&sample.name) {
                return Err(format!("a sample of another family than {}", family.name));
            }
            family.samples.push(sample);
            Ok(())
        }
    }

    /// The family that a header line speaks of: the present one while it has no samples, or a new one.
    fn header(&mut self, name: &str) -> Result<&mut ParsedFamily, String> {
        if !is_name(name, true) {
            return Err(format!("{name:?} is no name of a metric"));
        }
        let same = self.families.last().is_some_and(|f| f.name == name && f.samples.is_empty());
        if !same {
            if !self.names.insert(name.to_owned()) {
                return Err(format!("{name} has two headers"));
            }
            self.families.push(ParsedFamily { name: name.to_owned(), ..ParsedFamily::default() });
        }
        self.families.last_mut().ok_or_else(|| "no family".to_owned())
    }
}

impl ParsedFamily {
    /// The names that this family's series may have.
    fn names(&self, open: bool) -> Vec<String> {
        match self.kind.as_str() {
            "histogram" => {
                ["_bucket", "_sum", "_count"].map(|s| format!("{}{s}", self.name)).to_vec()
            }
            "counter" if open => vec![format!("{}_total", self.name)],
            _ => vec![self.name.clone()],
        }
    }
}

fn sample(line: &str) -> Result<ParsedSample, String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, mut rest) = line.split_at(end);
    if !is_name(name, true) {
        return Err(format!("{name:?} is no name of a metric"));
    }
    let mut labels: Vec<(String, String)> = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").ok_or("a label without a value")?;
            if !is_name(label, false) || label.starts_with("__") {
                return Err(format!("{label:?} is no name of a label"));
            }
            if labels.iter().any(|(known, _)| known == label) {
                return Err(format!("the label {label} twice"));
            }
            let end = closing_quote(after).ok_or("a label's value without an end")?;
            labels.push((label.to_owned(), unescape(&after[..end], true)?));
            rest = &after[end + 1..];
            if let Some(more) = rest.strip_prefix(',') {
                rest = more;
            } else {
                rest = rest.strip_prefix('}').ok_or("labels without an end")?;
                break;
            }
        }
    }
    let text = rest.strip_prefix(' ').ok_or("no blank before the value")?;
    Ok(ParsedSample { name: name.to_owned(), labels, value: number(text)? })
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

fn unescape(text: &str, quotes: bool) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('\\') => out.push('\\'),
                Some('n') => out.push('\n'),
                Some('"') if quotes => out.push('"'),
                other => return Err(format!("no escape: \\{other:?}")),
            },
            '"' if quotes => return Err("a bare quote".to_owned()),
            c => out.push(c),
        }
    }
    Ok(out)
}

fn number(text: &str) -> Result<f64, String> {
    match text {
        "NaN" => Ok(f64::NAN),
        "+Inf" => Ok(f64::INFINITY),
        "-Inf" => Ok(f64::NEG_INFINITY),
        _ if text.bytes().all(|b| b.is_ascii_digit() || b"+-.e".contains(&b)) => {
            text.parse().map_err(|e| format!("{text:?} is no number: {e}"))
        }
        _ => Err(format!("{text:?} is no number")),
    }
}

fn is_name(name: &str, colon: bool) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || (colon && c == ':'))
}

fn check_family(family: &ParsedFamily, open: bool) -> Result<(), String> {
    if family.kind.is_empty() {
        return Err("no TYPE".to_owned());
    }
    if family.samples.is_empty() {
        return Err("a header without samples".to_owned());
    }
    let mut series = BTreeSet::new();
    // A histogram's parts by the labels that they share.
    let mut histograms: BTreeMap<Vec<(String, String)>, Vec<&ParsedSample>> = BTreeMap::new();
    for sample in &family.samples {
        // To Prometheus a label of empty value is none.
        let mut labels: Vec<_> =
            sample.labels.iter().filter(|(_, v)| !v.is_empty()).cloned().collect();
        labels.sort();
        if !series.insert((sample.name.clone(), labels.clone())) {
            return Err(format!("two series {}{labels:?}", sample.name));
        }
        if family.kind == "histogram" {
            labels.retain(|(name, _)| name != "le");
            histograms.entry(labels).or_default().push(sample);
        }
        if open && family.kind == "counter" && (sample.value.is_nan() || sample.value < 0.0) {
            return Err(format!("a counter of {}", sample.value));
        }
    }
    for parts in histograms.values() {
        check_histogram(&family.name, parts)?;
    }
    Ok(())
}

fn check_histogram(name: &str, parts: &[&ParsedSample]) -> Result<(), String> {
    let (mut bound, mut below) = (f64::NEG_INFINITY, 0.0);
    for part in parts.iter().filter(|p| p.name.ends_with("_bucket")) {
        let text = part.label("le").ok_or("a bucket without le")?;
        let le = number(text)?;
        if le.is_finite() && !text.contains(['.', 'e']) {
            return Err(format!("a bound that is not canonical: {text}"));
        }
        if le <= bound || part.value < below {
            return Err(format!("buckets out of order at {text}"));
        }
        (bound, below) = (le, part.value);
    }
    let one = |suffix: &str| {
        let full = format!("{name}{suffix}");
        let mut found = parts.iter().filter(|p| p.name == full);
        found.next().filter(|_| found.next().is_none()).ok_or(format!("not one {suffix}"))
    };
    one("_sum")?;
    let count = one("_count")?;
    if bound != f64::INFINITY || count.value != below {
        return Err("its last bucket is not +Inf, or not its count".to_owned());
    }
    Ok(())
}

/// No family's series may bear a name that belongs to another family.
fn check_names(families: &[ParsedFamily], open: bool) -> Result<(), String> {
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    for family in families {
        let mut names = family.names(open);
        names.push(family.name.clone());
        if open && family.kind == "counter" {
            names.push(format!("{}_created", family.name));
        }
        names.sort();
        names.dedup();
        for name in names {
            if let Some(other) = owners.insert(name.clone(), &family.name) {
                return Err(format!("{name} belongs to {other} and to {}", family.name));
            }
        }
    }
    Ok(())
}
