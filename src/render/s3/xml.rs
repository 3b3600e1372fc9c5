//! Finds elements by name in the XML that S3 and STS answer with.

use quick_xml::events::Event;
use quick_xml::{Reader, escape};

/// The longest text that [`word`] returns, in bytes.
const MAX_WORD: usize = 80;

/// The text of the first element of this local name, without the white space around it. See [`text`].
pub(super) fn element(document: &str, name: &str) -> Option<String> {
    text(document, name).map(|text| text.trim().to_owned())
}

/// The text of the first element of this local name, with its entities resolved. `None` without such an element, for one
/// that has child elements, and for a document that ends inside it.
pub(super) fn text(document: &str, name: &str) -> Option<String> {
    next_text(&mut Reader::from_str(document), name)?
}

/// The texts of all elements of this local name, as [`text`] returns one. `None` if the text of one of them can't be
/// read, or the document is not well formed up to there.
pub(super) fn texts(document: &str, name: &str) -> Option<Vec<String>> {
    let mut reader = Reader::from_str(document);
    let mut texts = Vec::new();
    while let Some(text) = next_text(&mut reader, name)? {
        texts.push(text);
    }
    Some(texts)
}

/// The text of the next element of this name; `Some(None)` at the end of the document.
fn next_text(reader: &mut Reader<&[u8]>, name: &str) -> Option<Option<String>> {
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) if start.local_name().as_ref() == name.as_bytes() => break,
            Event::Eof => return Some(None),
            _ => {}
        }
    }
    let mut text = String::new();
    loop {
        match reader.read_event().ok()? {
            Event::Text(part) => text.push_str(&part.decode().ok()?),
            Event::CData(part) => text.push_str(&part.decode().ok()?),
            Event::GeneralRef(reference) => match reference.resolve_char_ref().ok()? {
                Some(character) => text.push(character),
                None => text.push_str(escape::resolve_xml_entity(&reference.decode().ok()?)?),
            },
            Event::Comment(_) | Event::PI(_) => {}
            Event::End(_) => return Some(Some(text)),
            _ => return None,
        }
    }
}

/// As [`element`], for a text that goes into a log line: short, and without characters that could break it.
pub(super) fn word(document: &str, name: &str) -> Option<String> {
    let text = element(document, name)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (!text.is_empty() && text.len() <= MAX_WORD && text.bytes().all(is_plain)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_elements_are_found_by_name() {
        let document = "<?xml version=\"1.0\"?>\n<Error><Code> AccessDenied </Code><A>x &amp;lt; &#x79;</A></Error>";
        assert_eq!(element(document, "Code").as_deref(), Some("AccessDenied"));
        assert_eq!(element(document, "A").as_deref(), Some("x &lt; y"));
        for name in ["Region", "cod", "B"] {
            assert_eq!(element(document, name), None, "{name}");
        }
    }

    #[test]
    fn all_elements_of_a_name_are_found_in_order() {
        let keys = |document: &str| texts(document, "Key");
        let some = |keys: &[&str]| Some(keys.iter().map(|key| (*key).to_owned()).collect());
        assert_eq!(
            keys("<L><C><Key>a</Key></C><C><x:Key> b&amp;</x:Key></C></L>"),
            some(&["a", " b&"])
        );
        assert_eq!(keys("<L><Other>a</Other></L>"), some(&[]));
        assert_eq!(keys("<L><Key></Key><Key>b</Key></L>"), some(&["", "b"]));
        for document in ["<L><Key>a</Key><Key>b", "<L><Key>a</L>", "<L><Key><x/></Key></L>"] {
            assert_eq!(keys(document), None, "{document}");
        }
    }

    #[test]
    fn xml_is_read_with_namespaces_attributes_comments_and_cdata() {
        for document in [
            "<e:Error xmlns:e=\"urn:x\"><e:Code a=\"<Code>no</Code>\">yes</e:Code></e:Error>",
            "<Error><!-- <Code>no</Code> --><Code>yes</Code></Error>",
            "<Error><Code>y<!-- -->es</Code></Error>",
            "<Error><Code><![CDATA[yes]]></Code></Error>",
        ] {
            assert_eq!(element(document, "Code").as_deref(), Some("yes"), "{document}");
        }
    }

    #[test]
    fn broken_xml_has_no_elements() {
        for document in [
            "",
            "<Code>",
            "</Code><Code>",
            "<Code>x</Cod",
            "<Code/>",
            "<Code>x</Error>",
            "<Code>&unknown;</Code>",
            "<Code><B>x</B></Code>",
            "<Code",
        ] {
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
