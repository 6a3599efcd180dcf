//! A page to read: no script, nothing from elsewhere, every value escaped.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

const HEAD: &str = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
<meta name=\"viewport\" content=\"width=device-width\">\n";
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b}\
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.5rem}table{border-collapse:collapse;width:100%;font-size:.9rem}\
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #ddd}\
td{overflow-wrap:anywhere;min-width:4rem}th{font-weight:600;background:#f5f5f5;white-space:nowrap}.note{color:#555}.alarm{color:#a00;font-weight:600}\
@media print{body{margin:0}h2{break-after:avoid}}";

/// The page so far. Writing to a string can not fail.
pub(crate) struct Page {
    text: String,
}

impl Page {
    /// A page with this title and nothing else.
    pub(crate) fn new(title: &str) -> Self {
        let title = escape(title);
        let text = format!("{HEAD}<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n");
        Self { text }
    }

    /// All of it, as a file.
    pub(crate) fn finish(mut self) -> String {
        self.text.push_str("</body>\n</html>\n");
        self.text
    }

    /// A heading.
    pub(crate) fn heading(&mut self, text: &str) {
        let _ = writeln!(self.text, "<h2>{}</h2>", escape(text));
    }

    /// A paragraph.
    pub(crate) fn note(&mut self, text: &str) {
        let _ = writeln!(self.text, "<p class=\"note\">{}</p>", escape(text));
    }

    /// A paragraph that must be seen.
    pub(crate) fn alarm(&mut self, text: &str) {
        let _ = writeln!(self.text, "<p class=\"alarm\">{}</p>", escape(text));
    }

    /// Names and what they are.
    pub(crate) fn facts(&mut self, facts: &[(&str, String)]) {
        self.text.push_str("<table>\n");
        for (name, value) in facts {
            let _ = writeln!(self.text, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", escape(name), escape(value));
        }
        self.text.push_str("</table>\n");
    }

    /// Rows under a head.
    pub(crate) fn table(&mut self, head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
        self.text.push_str("<table>\n<tr>");
        for name in head {
            let _ = write!(self.text, "<th>{}</th>", escape(name));
        }
        self.text.push_str("</tr>\n");
        for row in rows {
            self.text.push_str("<tr>");
            for value in row {
                let _ = write!(self.text, "<td>{}</td>", escape(&value));
            }
            self.text.push_str("</tr>\n");
        }
        self.text.push_str("</table>\n");
    }
}

/// A value between tags or in a quoted attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A day and time of UTC, as HTTP writes it.
pub(crate) fn date(unix_ms: u64) -> String {
    // The format ends with the year 9999.
    const LAST_S: u64 = 253_402_300_799;
    let seconds = unix_ms / 1_000;
    if seconds > LAST_S {
        return format!("{unix_ms} ms after 1970");
    }
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_would_obey_is_escaped_and_no_date_is_too_late() {
        assert_eq!(escape("<b a='1' b=\"2\">&amp;"), "&lt;b a=&#39;1&#39; b=&quot;2&quot;&gt;&amp;amp;");
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert!(date(u64::MAX).ends_with("after 1970"));
    }
}
