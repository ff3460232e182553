//! Other names for the identity labels in expressions and templates. Pure.

/// How `cluster` and `server` are called here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    pub(super) cluster: &'a str,
    pub(super) server: &'a str,
}

impl Names<'_> {
    /// Whether nothing is called otherwise than in the files that are embedded.
    pub(super) fn are_ours(self) -> bool {
        self.cluster == "cluster" && self.server == "server"
    }

    /// The name here of a label; every other word stays as it is.
    pub(super) fn of<'w>(&'w self, word: &'w str) -> &'w str {
        match word {
            "cluster" => self.cluster,
            "server" => self.server,
            other => other,
        }
    }

    /// A PromQL or LogQL expression, or a query of Grafana's variables: labels outside of quotes,
    /// and those in templates within them. Variables (`$server`) keep their names.
    pub(super) fn expression(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let end = match first {
                '"' | '\'' | '`' => quoted(rest, first),
                _ => word(rest).max(first.len_utf8()),
            };
            let (token, after) = rest.split_at(end);
            let is_variable = out.ends_with('$') || out.ends_with("${");
            if matches!(first, '"' | '\'' | '`') {
                out.push_str(&self.template(token));
            } else if is_variable || after.trim_start().starts_with('(') && !is_list(token) {
                out.push_str(token);
            } else {
                out.push_str(self.of(token));
            }
            rest = after;
        }
        out
    }

    /// A text with templates in it: `{{server}}`, `{{ $labels.server }}`, `${__field.labels.server}`.
    /// All other words stay as they are.
    pub(super) fn template(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((at, open, close)) = [("{{", "}}"), ("${__", "}")]
            .into_iter()
            .filter_map(|(open, close)| Some((rest.find(open)?, open, close)))
            .min()
        {
            let start = at + open.len();
            let Some(length) = rest[start..].find(close) else { break };
            out.push_str(&rest[..start]);
            out.push_str(&self.words(&rest[start..start + length]));
            out.push_str(close);
            rest = &rest[start + length + close.len()..];
        }
        out + rest
    }

    fn words(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let (token, after) = rest.split_at(word(rest).max(first.len_utf8()));
            out.push_str(if out.ends_with('$') { token } else { self.of(token) });
            rest = after;
        }
        out
    }
}

/// Words that a list of labels in parentheses follows; before others they belong to a function.
fn is_list(token: &str) -> bool {
    matches!(token, "by" | "without" | "on" | "ignoring" | "group_left" | "group_right")
}

/// Bytes of the identifier that `text` begins with; 0 where it begins with none.
fn word(text: &str) -> usize {
    let in_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c| !in_word(c)).unwrap_or(text.len())
}

/// Bytes of the quoted string that `text` begins with, quotes included.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' && quote != '`' {
            escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names<'_> = Names { cluster: "pg_cluster", server: "pg_server" };

    #[test]
    fn expressions() {
        for (given, expected) in [
            (
                "sum by (cluster, server) (up{cluster=~\"$cluster\",server!=\"server\"})",
                "sum by (pg_cluster, pg_server) (up{pg_cluster=~\"$cluster\",pg_server!=\"server\"})",
            ),
            (
                "a * on (server) group_left (cluster) b",
                "a * on (pg_server) group_left (pg_cluster) b",
            ),
            (
                "label_values(x{cluster=~\"$cluster\"}, server)",
                "label_values(x{pg_cluster=~\"$cluster\"}, pg_server)",
            ),
            (
                "server(x) + ${server:regex} + pg_server_cluster",
                "server(x) + ${server:regex} + pg_server_cluster",
            ),
            (
                "{a=`\\`} | line_format \"{{.server}} \\\" server\"",
                "{a=`\\`} | line_format \"{{.pg_server}} \\\" server\"",
            ),
            ("rate(x[5m]) > 1e3 or vector(0)", "rate(x[5m]) > 1e3 or vector(0)"),
            ("ü{server=\"ü", "ü{pg_server=\"ü"),
        ] {
            assert_eq!(NAMES.expression(given), expected);
        }
    }

    #[test]
    fn templates() {
        for (given, expected) in [
            ("server {{server}}, {{ cluster }}", "server {{pg_server}}, {{ pg_cluster }}"),
            (
                "{{ $labels.server }} of {{ $value }} server",
                "{{ $labels.pg_server }} of {{ $value }} server",
            ),
            (
                "/d/x?var-server=${__data.fields.server}&${server}",
                "/d/x?var-server=${__data.fields.pg_server}&${server}",
            ),
            ("{{ $server }} {{ server", "{{ $server }} {{ server"),
        ] {
            assert_eq!(NAMES.template(given), expected);
        }
    }
}
