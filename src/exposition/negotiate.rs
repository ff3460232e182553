//! Which format a scraper gets: the `Accept` and `Accept-Encoding` headers (RFC 9110, 12.4 and 12.5).

/// A page's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus's text format, version 0.0.4.
    Text,
    /// OpenMetrics 1.0 as text.
    OpenMetrics,
}

/// What a request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Choice {
    pub format: Format,
    pub gzip: bool,
}

/// The best that both sides know; the plain text format where the client asks for none of ours, as
/// every Prometheus reads it. Parameters that say how names are to be escaped need no answer: our
/// names are all in the classic character set.
pub fn negotiate(accept: Option<&str>, accept_encoding: Option<&str>) -> Choice {
    Choice { format: format(accept.unwrap_or("")), gzip: gzip(accept_encoding.unwrap_or("")) }
}

/// The `Content-Type` of a page.
pub fn content_type(format: Format) -> &'static str {
    match format {
        Format::Text => "text/plain; version=0.0.4; charset=utf-8",
        Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
    }
}

/// How a media range fits a format: more exact ranges outrank the wider ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Anything,
    Type,
    Exact,
}

fn format(accept: &str) -> Format {
    // Per format: the fit and the wish of the range that speaks for it.
    let mut text: Option<(Fit, f32)> = None;
    let mut open: Option<(Fit, f32)> = None;
    for item in accept.split(',') {
        let (range, q) = item_and_wish(item);
        let version = parameter(item, "version");
        let (for_text, for_open) = match range.as_str() {
            "*/*" => (Some(Fit::Anything), Some(Fit::Anything)),
            "text/*" => (Some(Fit::Type), None),
            "application/*" => (None, Some(Fit::Type)),
            // The later 1.0.0 is a superset of 0.0.4 and its readers read both.
            "text/plain" if matches!(version, None | Some("0.0.4" | "1.0.0")) => {
                (Some(Fit::Exact), None)
            }
            "application/openmetrics-text" if matches!(version, None | Some("0.0.1" | "1.0.0")) => {
                (None, Some(Fit::Exact))
            }
            _ => (None, None),
        };
        improve(&mut text, for_text, q);
        improve(&mut open, for_open, q);
    }
    let wish = |found: Option<(Fit, f32)>| found.map_or(0.0, |(_, q)| q);
    // Where both are as welcome, OpenMetrics must have been named: `*/*` is a browser or curl.
    let named = open.is_some_and(|(fit, _)| fit == Fit::Exact);
    if wish(open) > wish(text) || (named && wish(open) > 0.0 && wish(open) >= wish(text)) {
        Format::OpenMetrics
    } else {
        Format::Text
    }
}

fn improve(best: &mut Option<(Fit, f32)>, fit: Option<Fit>, q: f32) {
    let Some(fit) = fit else { return };
    // Of several ranges that fit as exactly (two versions), the more welcome one counts.
    if best.is_none_or(|(known, wish)| fit > known || (fit == known && q > wish)) {
        *best = Some((fit, q));
    }
}

fn gzip(accept_encoding: &str) -> bool {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    for item in accept_encoding.split(',') {
        let (coding, q) = item_and_wish(item);
        match coding.as_str() {
            "gzip" | "x-gzip" => gzip = Some(q),
            "identity" => identity = Some(q),
            "*" => any = Some(q),
            _ => {}
        }
    }
    let wish = gzip.or(any).unwrap_or(0.0);
    wish > 0.0 && wish >= identity.unwrap_or(0.0)
}

/// One list item's name in lower case and its weight, 1 where none is given or it cannot be read.
fn item_and_wish(item: &str) -> (String, f32) {
    let name = item.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let q = parameter(item, "q").and_then(|q| q.parse::<f32>().ok()).filter(|q| q.is_finite());
    (name, q.unwrap_or(1.0).clamp(0.0, 1.0))
}

fn parameter<'a>(item: &'a str, name: &str) -> Option<&'a str> {
    item.split(';').skip(1).find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept() {
        use Format::{OpenMetrics, Text};
        for (accept, format) in [
            ("", Text),
            ("*/*", Text),
            ("text/plain", Text),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Text),
            ("image/png", Text),
            ("application/openmetrics-text", OpenMetrics),
            ("Application/OpenMetrics-Text; Version=1.0.0", OpenMetrics),
            ("application/openmetrics-text;version=0.0.1", OpenMetrics),
            ("application/openmetrics-text;version=2.0.0", Text),
            ("application/openmetrics-text;q=0", Text),
            ("application/openmetrics-text;q=0.5,text/plain;q=0.6", Text),
            ("text/plain, application/openmetrics-text", OpenMetrics),
            ("text/plain;q=0.5, application/*;q=0.7", OpenMetrics),
            // Prometheus 2.42.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
                 version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            // Prometheus 3.15.
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.7,\
                 application/openmetrics-text;version=0.0.1;q=0.6,text/plain;version=1.0.0;\
                 escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3",
                OpenMetrics,
            ),
            // The same with `scrape_native_histograms`: protobuf first, which we do not speak.
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                 encoding=delimited;q=0.7,application/openmetrics-text;version=1.0.0;\
                 escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,\
                 */*;q=0.2",
                OpenMetrics,
            ),
            // A scraper that was told to use the text format alone.
            ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", Text),
            ("text/plain;q=nonsense", Text),
        ] {
            assert_eq!(negotiate(Some(accept), None).format, format, "{accept}");
        }
        assert_eq!(negotiate(None, None), Choice { format: Text, gzip: false });
    }

    #[test]
    fn accept_encoding() {
        for (header, gzip) in [
            ("gzip", true),
            ("GZIP;q=0.1", true),
            ("deflate, gzip, br", true),
            ("gzip;q=0", false),
            ("gzip;q=0, *", false),
            ("*", true),
            ("identity;q=1, gzip;q=0.5", false),
            ("identity", false),
            ("br", false),
            ("", false),
        ] {
            assert_eq!(negotiate(None, Some(header)).gzip, gzip, "{header}");
        }
    }
}
