//! A stream's labels and their text, which names the stream.

/// Labels and their values in the order of names, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamLabels(Vec<(String, String)>);

impl StreamLabels {
    /// The set of `pairs`. Of a name that comes twice the first value stays; labels without a value
    /// are none (Loki drops them).
    pub fn new<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut pairs: Vec<(String, String)> =
            pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, first| later.0 == first.0);
        pairs.retain(|(_, value)| !value.is_empty());
        Self(pairs)
    }

    /// These labels and one more, which replaces a value of the same name.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let rest = self.0.iter().filter(|(n, _)| n != name).cloned();
        Self::new(std::iter::once((name.to_owned(), value.to_owned())).chain(rest))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Names and values, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// `{a="b", c="d"}`, as the push API takes it: values are quoted as Go quotes strings.
    pub fn text(&self) -> String {
        let mut out = String::from("{");
        for (i, (name, value)) in self.0.iter().enumerate() {
            if i > 0 {
                out.push_str(", ");
            }
            out.push_str(name);
            out.push_str("=\"");
            for c in value.chars() {
                match c {
                    '"' => out.push_str("\\\""),
                    '\\' => out.push_str("\\\\"),
                    '\n' => out.push_str("\\n"),
                    '\r' => out.push_str("\\r"),
                    '\t' => out.push_str("\\t"),
                    c if c.is_control() => {
                        out.push_str(&format!("\\u{:04x}", u32::from(c)));
                    }
                    c => out.push(c),
                }
            }
            out.push('"');
        }
        out.push('}');
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_sorted_and_quoted() {
        let labels = StreamLabels::new([("b", "x\"y\\\n\u{1}"), ("a", "1"), ("a", "2"), ("c", "")]);
        assert_eq!(labels.text(), r#"{a="1", b="x\"y\\\n\u0001"}"#);
        assert_eq!(labels.with("a", "3").text(), r#"{a="3", b="x\"y\\\n\u0001"}"#);
    }
}
