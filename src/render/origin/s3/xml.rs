//! The little XML that S3 and STS answer with: elements without attributes, found by name.

/// The text of the first element of this name, with its entities resolved (XML 1.0 §4.6).
pub(super) fn element(document: &str, name: &str) -> Option<String> {
    let start = document.find(&format!("<{name}>"))? + name.len() + 2;
    let rest = &document[start..];
    let text = &rest[..rest.find(&format!("</{name}>"))?];
    Some(unescape(text.trim()))
}

/// As [`element`], for a word that goes into a log or a sentence: short and without surprises.
pub(super) fn word(document: &str, name: &str) -> Option<String> {
    const LONGEST: usize = 80;
    let text = element(document, name)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (!text.is_empty() && text.len() <= LONGEST && text.bytes().all(plain)).then_some(text)
}

fn unescape(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    // The ampersand comes last, so that `&amp;lt;` becomes `&lt;` and no more.
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")]
        .into_iter()
        .fold(text.to_owned(), |text, (entity, character)| text.replace(entity, character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_by_name() {
        let document = "<?xml version=\"1.0\"?>\n<Error><Code> AccessDenied </Code><A>x &amp;lt; y</A></Error>";
        assert_eq!(element(document, "Code").as_deref(), Some("AccessDenied"));
        assert_eq!(element(document, "A").as_deref(), Some("x &lt; y"));
        for name in ["Region", "cod", "B"] {
            assert_eq!(element(document, name), None, "{name}");
        }
    }

    #[test]
    fn broken_documents_have_no_elements() {
        for document in ["", "<Code>", "</Code><Code>", "<Code>x</Cod", "<Code/>"] {
            assert_eq!(element(document, "Code"), None, "{document}");
        }
    }

    #[test]
    fn a_word_is_safe_to_log() {
        assert_eq!(word("<Code>NoSuchKey</Code>", "Code").as_deref(), Some("NoSuchKey"));
        let long = format!("<Code>{}</Code>", "x".repeat(81));
        for document in
            ["<Code></Code>", "<Code>a\nb</Code>", "<Code>a b</Code>", "<Code>é</Code>", &long]
        {
            assert_eq!(word(document, "Code"), None, "{document}");
        }
    }
}
