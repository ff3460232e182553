//! Alert rules with the identity labels under their names here. Pure, and line by line: what the rules
//! say beside their expressions stays as it was written.

use super::rename::Names;

/// A file of rules with other label names, in its expressions and its templates.
pub(super) fn fitted(text: &str, names: Names<'_>) -> String {
    if names.are_ours() {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    // The indentation of the `expr` whose further lines these are.
    let mut expression: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let word = line.trim_start();
        let indent = line.len() - word.len();
        if expression.is_some_and(|of| !word.is_empty() && indent <= of) {
            expression = None;
        }
        if word.starts_with('#') {
            let named = line.replace("`cluster`", &format!("`{}`", names.cluster));
            out.push_str(&named.replace("`server`", &format!("`{}`", names.server)));
        } else if expression.is_some() {
            out.push_str(&names.expression(line));
        } else if let Some(written) = word.trim_start_matches("- ").strip_prefix("expr:") {
            let (before, after) = line.split_at(line.len() - written.len());
            out.push_str(before);
            out.push_str(&names.expression(after));
            expression = Some(indent);
        } else {
            out.push_str(&names.template(line));
        }
    }
    out
}

/// All files as one: their groups under one `groups`.
pub(super) fn joined(files: &[(String, String)]) -> String {
    let mut out = String::new();
    for (at, (_, text)) in files.iter().enumerate() {
        let later =
            text.split_inclusive('\n').filter(|line| at == 0 || line.trim_end() != "groups:");
        out.extend(later);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "\
# `cluster` and `server` are labels.
groups:
  - name: server
    rules:
      - alert: A
        expr: |
          max by (cluster, server) (x)

            unless on (server) y
        labels: {severity: critical}
        annotations:
          summary: The server is down.
          description: >-
            {{ $labels.server }} of {{ $labels.cluster }}.
      - expr: x{server=\"server\"} == 0
        record: a:server
";

    #[test]
    fn expressions_and_templates_alone() {
        let fitted = fitted(RULES, Names { cluster: "c", server: "node" });
        let changed: Vec<&str> = fitted
            .lines()
            .zip(RULES.lines())
            .filter(|(new, old)| new != old)
            .map(|(new, _)| new.trim())
            .collect();
        assert_eq!(
            changed,
            [
                "# `c` and `node` are labels.",
                "max by (c, node) (x)",
                "unless on (node) y",
                "{{ $labels.node }} of {{ $labels.c }}.",
                "- expr: x{node=\"server\"} == 0",
            ]
        );
    }

    #[test]
    fn files_join_under_one_key() {
        let file = |text: &str| (String::new(), text.to_owned());
        let joined = joined(&[file("# A\ngroups:\n  - a\n"), file("# B\ngroups:\n  - b\n")]);
        assert_eq!(joined, "# A\ngroups:\n  - a\n# B\n  - b\n");
    }
}
