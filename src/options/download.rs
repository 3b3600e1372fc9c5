//! `dl`: the name of a download.

/// Characters that a name may have.
pub(super) const MAX_CHARACTERS: usize = 100;
/// Those that file systems give a meaning (Windows refuses them), and those that end a value in `Content-Disposition` or in a signed
/// query.
const FORBIDDEN: &str = "\"&*/:<>?\\|";

/// A file name for `Content-Disposition`, in which nothing has to be escaped but bytes beyond ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download(Box<str>);

impl Download {
    pub(super) fn parse(text: &str) -> Option<Download> {
        let is_allowed = !text.chars().any(|c| FORBIDDEN.contains(c) || is_invisible(c));
        let is_framed = |part: &str| part.starts_with(['.', ' ']) || part.ends_with(['.', ' ']);
        let length = text.chars().take(MAX_CHARACTERS + 1).count();
        let is_name = (1..=MAX_CHARACTERS).contains(&length) && is_allowed && !is_framed(text);
        is_name.then(|| Download(text.into()))
    }

    /// The rule of its row.
    pub(super) fn rule() -> String {
        format!(
            "must be a file name of 1 to {MAX_CHARACTERS} characters, without invisible ones, quotation marks, slashes, \
             backslashes, ampersands, asterisks, colons, question marks, angle brackets and vertical bars, and without a \
             dot or a space at its ends"
        )
    }

    /// The name with one of these extensions: the first one is added to a name that ends with none of them. A name that
    /// says something else would make a program of an image, as `setup.exe` or `page.html`.
    pub fn with_extension(&self, extensions: &[&str]) -> String {
        let name = &*self.0;
        let extension = name.rsplit_once('.').map(|(_, extension)| extension);
        let has_extension =
            |extension: &str| extensions.iter().any(|known| known.eq_ignore_ascii_case(extension));
        match extensions.first() {
            Some(first) if !extension.is_some_and(has_extension) => format!("{name}.{first}"),
            _ => name.to_owned(),
        }
    }
}

/// Control characters, and those that show nothing or turn the direction of what follows (Unicode category Cf, spaces
/// other than U+0020, separators), with which a name looks like another one.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || c != ' ' && c.is_whitespace()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'..='\u{891}'
                | '\u{8e2}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{fffe}'..='\u{ffff}'
                | '\u{110bd}'
                | '\u{110cd}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Query;

    #[test]
    fn names_are_checked_and_get_the_extension_of_the_answer() {
        for (name, expected) in [
            ("a", "a.jpg"),
            ("a.jpg", "a.jpg"),
            ("A.JPEG", "A.JPEG"),
            ("a.html", "a.html.jpg"),
            ("setup.exe", "setup.exe.jpg"),
            ("a.jpg.html", "a.jpg.html.jpg"),
            ("jpg", "jpg.jpg"),
            ("it's 100%; (new), v1.2", "it's 100%; (new), v1.2.jpg"),
            (
                "\u{dc}bersicht \u{65e5}\u{672c} \u{1f600}",
                "\u{dc}bersicht \u{65e5}\u{672c} \u{1f600}.jpg",
            ),
        ] {
            let download = Download::parse(name).unwrap();
            assert_eq!(download.with_extension(&["jpg", "jpeg"]), expected);
            assert_eq!(download.with_extension(&[]), name);
        }
        assert!(Download::parse(&"\u{fc}".repeat(MAX_CHARACTERS)).is_some());
    }

    #[test]
    fn hostile_names_are_refused() {
        let mut names: Vec<String> =
            ["", ".", "..", ".htaccess", "a.", "a ", " a", "a\u{a0}b", "a\u{2003}b"]
                .map(str::to_owned)
                .to_vec();
        names.push("a".repeat(MAX_CHARACTERS + 1));
        names.extend(FORBIDDEN.chars().map(|c| format!("a{c}b")));
        names.extend(
            (0..0x20).chain(0x7f..0xa0).filter_map(char::from_u32).map(|c| format!("a{c}b")),
        );
        // Bidirectional and zero-width characters.
        let hidden = (0x200b..=0x200f).chain(0x202a..=0x202e).chain(0x2066..=0x2069);
        let hidden = hidden.chain([0x61c, 0xad, 0x2028, 0x2029, 0x2060, 0xfeff, 0xe0041]);
        names.extend(hidden.filter_map(char::from_u32).map(|c| format!("invoice{c}gpj.exe")));
        for name in names {
            assert_eq!(Download::parse(&name), None, "{name:?}");
        }
    }

    #[test]
    fn a_query_has_a_download_or_an_error_with_the_rule() {
        let download = |text| Query::parse(text).and_then(|query| query.download());
        assert_eq!(download("w=1"), Ok(None));
        assert_eq!(download("dl=a%20b"), Ok(Download::parse("a b")));
        assert_eq!(download("dl=a+b"), Ok(Download::parse("a b")));
        for refused in ["dl=", "dl=a/b", "dl=a%0d%0aSet-Cookie:x", "dl=a%22", "dl=a%26b"] {
            let error = download(refused).unwrap_err().0;
            assert!(error.starts_with("dl: must be a file name of 1 to 100 characters"), "{error}");
        }
        assert!(download("dl=a&dl=a").unwrap_err().0.contains("given twice"));
        assert!(download("dl=%ff").unwrap_err().0.contains("UTF-8"));
    }
}
