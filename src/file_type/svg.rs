//! Recognises SVG: what precedes the root element of an XML document, and the name of that element (XML 1.0 §2.8).

/// Bytes in which the root element must start: declarations, licences in comments and the entities of drawing programs.
const MAX_PROLOG: usize = 64 << 10;
/// The byte order mark of UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Whether it is an XML document whose root element is `svg`, with any prefix.
///
/// An encoding that is no superset of ASCII is refused, because a browser would read another document than this
/// function, and so is a style sheet for the document, which may be a program that makes HTML of it (XSLT).
pub fn is_svg(bytes: &[u8]) -> bool {
    let start = bytes.get(..bytes.len().min(MAX_PROLOG)).unwrap_or_default();
    let start = start.strip_prefix(MARK).unwrap_or(start);
    root_element(start).is_some_and(|name| local_name(name) == b"svg")
}

/// The name of the root element. `None` if something else is found, or nothing.
fn root_element(mut rest: &[u8]) -> Option<&[u8]> {
    if let Some(declaration) = rest.strip_prefix(b"<?xml")
        && declaration.first().is_some_and(u8::is_ascii_whitespace)
    {
        let (declaration, after) = split(declaration, b"?>")?;
        if !has_superset_of_ascii(declaration) {
            return None;
        }
        rest = after;
    }
    loop {
        rest = rest.trim_ascii_start();
        if let Some(comment) = rest.strip_prefix(b"<!--") {
            rest = split(comment, b"-->")?.1;
        } else if let Some(instruction) = rest.strip_prefix(b"<?") {
            let (instruction, after) = split(instruction, b"?>")?;
            let (target, _) = split_name(instruction);
            // A declaration is at the start only (§2.6, `PITarget`).
            if instruction.starts_with(b"xml-stylesheet") || target.eq_ignore_ascii_case(b"xml") {
                return None;
            }
            rest = after;
        } else if let Some(declaration) = rest.strip_prefix(b"<!DOCTYPE") {
            let (name, after) = split_name(declaration.trim_ascii_start());
            if local_name(name) != b"svg" {
                return None;
            }
            rest = after_document_type(after)?;
        } else {
            let (name, after) = split_name(rest.strip_prefix(b"<")?);
            let is_ended = after
                .first()
                .is_some_and(|byte| byte.is_ascii_whitespace() || b"/>".contains(byte));
            return is_ended.then_some(name);
        }
    }
}

/// What follows the rest of a document type declaration, whose internal subset may hold anything (§2.8, `intSubset`) but
/// processing instructions, which may be style sheets, and parameter entities, which may hold them.
fn after_document_type(mut rest: &[u8]) -> Option<&[u8]> {
    let mut is_in_subset = false;
    loop {
        let (first, after) = rest.split_first()?;
        rest = match first {
            b'"' | b'\'' => split(after, &[*first])?.1,
            b'<' if after.starts_with(b"!--") => split(after, b"-->")?.1,
            b'<' if after.starts_with(b"?") => return None,
            b'%' => return None,
            b'>' if !is_in_subset => return Some(after),
            other => {
                is_in_subset = match other {
                    b'[' => true,
                    b']' => false,
                    _ => is_in_subset,
                };
                after
            }
        };
    }
}

/// Whether the encoding of an XML declaration has the characters of ASCII as in ASCII; without one it is UTF-8 here.
fn has_superset_of_ascii(mut declaration: &[u8]) -> bool {
    let mut encoding = None;
    loop {
        let rest = declaration.trim_ascii_start();
        if rest.is_empty() {
            break;
        }
        let is_separated = rest.len() < declaration.len();
        let (name, rest) = split_name(rest);
        let value = rest.trim_ascii_start().strip_prefix(b"=").map(<[u8]>::trim_ascii_start);
        let quoted = value.and_then(|value| match value.split_first()? {
            (quote @ (b'"' | b'\''), value) => split(value, &[*quote]),
            _ => None,
        });
        let Some((value, after)) = quoted.filter(|_| is_separated) else { return false };
        match name {
            b"version" | b"standalone" => {}
            b"encoding" if encoding.is_none() => encoding = Some(value.to_ascii_lowercase()),
            // There are no others (§2.8, `XMLDecl`).
            _ => return false,
        }
        declaration = after;
    }
    encoding.is_none_or(|name| {
        [&b"utf-8"[..], b"us-ascii", b"ascii"].contains(&&name[..])
            || name.starts_with(b"iso-8859-")
            || name.starts_with(b"windows-125")
    })
}

fn split_name(bytes: &[u8]) -> (&[u8], &[u8]) {
    let is_of_name =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte) || *byte >= 0x80;
    let end = bytes.iter().position(|byte| !is_of_name(byte)).unwrap_or(bytes.len());
    bytes.split_at(end)
}

fn local_name(name: &[u8]) -> &[u8] {
    name.iter()
        .position(|byte| *byte == b':')
        .and_then(|colon| name.get(colon + 1..))
        .unwrap_or(name)
}

/// What is before and what is after the first occurrence of `end`.
fn split<'b>(bytes: &'b [u8], end: &[u8]) -> Option<(&'b [u8], &'b [u8])> {
    let at = bytes.windows(end.len()).position(|window| window == end)?;
    Some((bytes.get(..at)?, bytes.get(at + end.len()..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_with_the_root_element_svg_are_recognised() {
        for document in [
            "<svg/>",
            "<svg xmlns='http://www.w3.org/2000/svg'><path d='M0 0h9'/></svg>",
            "\u{feff}<svg>",
            " \r\n\t<svg\nwidth='1'>",
            "<?xml version=\"1.0\"?><svg>",
            "<?xml version='1.0' encoding='UTF-8' standalone='no'?>\n<!-- a > b -- <html> -->\n<svg>",
            "<?xml version=\"1.0\" encoding = \"ISO-8859-1\"?><svg>",
            "<?xml version = 'encoding=\"UTF-16\"' encoding\n=\n'utf-8' ?><svg>",
            "<?app data?><?xmlish?><svg>",
            "<!DOCTYPE svg><svg>",
            "<!DOCTYPE svg PUBLIC \"-//W3C//DTD SVG 1.1//EN\" 'http://www.w3.org/TR/svg11.dtd'><svg>",
            // As Adobe Illustrator writes it.
            "<!DOCTYPE svg PUBLIC \"-\" \"a.dtd\" [\n<!ENTITY ns_svg \"http://www.w3.org/2000/svg\">\n\
             <!ENTITY x \"]>%<?p?>\"> <!-- ' ]> <?p?> % -->\n]>\n<svg xmlns=\"&ns_svg;\">",
            "<s:svg xmlns:s='http://www.w3.org/2000/svg'/>",
            "<!DOCTYPE s:svg><s:svg/>",
        ] {
            assert!(is_svg(document.as_bytes()), "{document}");
        }
    }

    #[test]
    fn other_documents_are_not_svg() {
        let utf_16: Vec<u8> = "\u{feff}<svg/>".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(!is_svg(&utf_16));
        for document in [
            "",
            "<",
            "<svg",
            "<svgx/>",
            "<SVG/>",
            "svg",
            "text <svg/>",
            "<html><svg/></html>",
            "<!DOCTYPE html><svg/>",
            "<!doctype html><html><svg/></html>",
            "<!DOCTYPE html><html><body><script>alert(1)</script></body></html>",
            "<html xmlns='http://www.w3.org/1999/xhtml'><svg/></html>",
            "<!-- <svg/> --><html>",
            "<!-- <svg/>",
            "<!DOCTYPE svg [<!ENTITY a '<svg/>'>]><html/>",
            "<!DOCTYPE svg [ <svg/>",
            "<?xml version='1.0'?><html><svg/></html>",
            "<?xml version='1.0' encoding='UTF-16'?><svg/>",
            "<?xml version='1.0' encoding='UTF-7'?><svg/>",
            "<?xml version='1.0' encoding=''?><svg/>",
            "<?xml version=\"1.0\" a=\"encoding='utf-8'\" encoding=\"UTF-16\"?><svg/>",
            "<?xml version=\"encoding='utf-8'\" encoding=\"UTF-16\"?><svg/>",
            "<?xml version='1.0' encoding='utf-8' encoding='UTF-16'?><svg/>",
            "<?xml version='1.0'encoding='UTF-8'?><svg/>",
            "<?xml version='1.0' encoding=utf-8?><svg/>",
            "<?xml version='1.0' encoding?><svg/>",
            "<?app data?><?xml version='1.0' encoding='UTF-16'?><svg/>",
            "<!DOCTYPE svg [<?xml-stylesheet type=\"text/xsl\" href=\"#x\"?>]><svg/>",
            "<!DOCTYPE svg [<!ENTITY a 'b'><?p?>]><svg/>",
            "<!DOCTYPE svg [<!ENTITY % a '<?xml-stylesheet href=\"#x\"?>'> %a;]><svg/>",
            "<?xml version='1.0' encoding='utf-8<svg/>",
            "<?xml-stylesheet type='text/xsl' href='#x'?><svg/>",
            "<?xml version='1.0'?><?xml-stylesheet href='a.css'?><svg/>",
            "<svg:html/>",
            "<script>alert(1)</script>",
            "GIF89a<svg/>",
            "\0<svg/>",
        ] {
            assert!(!is_svg(document.as_bytes()), "{document}");
        }
    }

    #[test]
    fn a_prolog_is_read_up_to_its_limit() {
        let document = |padding: usize| format!("<!--{}--><svg/>", "x".repeat(padding));
        assert!(is_svg(document(MAX_PROLOG - 20).as_bytes()));
        assert!(!is_svg(document(MAX_PROLOG).as_bytes()));
        // Each part is searched once.
        let hostile = "<!DOCTYPE svg [".to_owned() + &"<!ENTITY a '".repeat(1 << 20);
        assert!(!is_svg(hostile.as_bytes()));
    }
}
