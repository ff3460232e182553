//! Which names Prometheus takes everywhere (its data model, "Metric names and labels").

/// Whether `name` is a metric name in the classic character set.
pub fn is_metric_name(name: &str) -> bool {
    is_name(name, |c| c == b':')
}

/// Whether `name` is a label name that a user may choose; two leading underscores are Prometheus's.
pub fn is_label_name(name: &str) -> bool {
    !name.starts_with("__") && is_name(name, |_| false)
}

fn is_name(name: &str, also: impl Fn(u8) -> bool) -> bool {
    let letter = |c: u8| c.is_ascii_alphabetic() || c == b'_' || also(c);
    match name.as_bytes() {
        [] => false,
        [first, rest @ ..] => {
            letter(*first) && rest.iter().all(|c| letter(*c) || c.is_ascii_digit())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(is_metric_name("job:up:rate5m"));
        assert!(!is_metric_name("1up") && !is_metric_name("") && !is_metric_name("a-b"));
        assert!(is_label_name("datname") && !is_label_name("__name__") && !is_label_name("a:b"));
    }
}
