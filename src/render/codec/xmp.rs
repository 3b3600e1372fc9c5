//! XMP: reads what kind of image an original says that it is, such as one that a model has made, and writes a packet
//! that says the same and nothing else.
//!
//! The property is `DigitalSourceType` of IPTC Extension (IPTC Photo Metadata Standard §10.2), a term of a vocabulary of
//! URLs: <https://cv.iptc.org/newscodes/digitalsourcetype/>. A packet is XML (ISO 16684-1 §7). It is scanned once, from
//! start to end, in memory that does not depend on it. Entities are never expanded: a packet with a document type is not
//! read, and a value with an ampersand is not a term.

/// A larger packet is not read. Those of image editors have some kilobytes.
const MAX_PACKET: usize = 1 << 20;
/// Prefixes that a packet may bind to the namespace.
const MAX_PREFIXES: usize = 8;
/// The longest term. The vocabulary's have up to 36 letters.
const MAX_TERM: usize = 64;

const NAMESPACE: &str = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/";
const PROPERTY: &str = "DigitalSourceType";
/// The URL of the vocabulary without its scheme, which some writers change.
const VOCABULARY: &str = "://cv.iptc.org/newscodes/digitalsourcetype/";

/// A term of the vocabulary, such as `trainedAlgorithmicMedia`: letters only. One that is newer than this program is as
/// good as any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceType(String);

impl SourceType {
    /// Reads the property of the image from a packet. `None` if the packet has none, two that differ, or is malformed.
    pub fn parse(packet: &[u8]) -> Option<SourceType> {
        if packet.len() > MAX_PACKET {
            return None;
        }
        let packet = str::from_utf8(packet).ok()?;
        // Most have none.
        if !packet.contains(PROPERTY) {
            return None;
        }
        let mut scan = Scan { rest: packet, ..Scan::default() };
        while scan.step()? {}
        let is_whole = scan.depth == 0;
        scan.found.filter(|_| is_whole && !scan.is_ambiguous)
    }

    fn of_value(value: &str) -> Option<SourceType> {
        let term = value.trim_ascii();
        let term = term.strip_prefix("http").map(|rest| rest.strip_prefix('s').unwrap_or(rest))?;
        let term = term.strip_prefix(VOCABULARY)?;
        let is_term = (1..=MAX_TERM).contains(&term.len())
            && term.bytes().all(|byte| byte.is_ascii_alphabetic());
        is_term.then(|| SourceType(term.to_owned()))
    }

    /// A packet with this property only (ISO 16684-1 §7.3.2).
    pub fn to_packet(&self) -> String {
        format!(
            "<?xpacket begin=\"\u{feff}\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\
             <x:xmpmeta xmlns:x=\"adobe:ns:meta/\">\
             <rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\
             <rdf:Description rdf:about=\"\" xmlns:Iptc4xmpExt=\"{NAMESPACE}\">\
             <Iptc4xmpExt:{PROPERTY}>http{VOCABULARY}{}</Iptc4xmpExt:{PROPERTY}>\
             </rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end=\"r\"?>",
            self.0
        )
    }
}

/// A scan of a packet, tag by tag.
#[derive(Debug, Default)]
struct Scan<'p> {
    rest: &'p str,
    /// The number of open elements.
    depth: usize,
    /// The depth of `rdf:RDF`, while it is open.
    rdf: Option<usize>,
    /// The prefixes that are bound to the namespace.
    prefixes: Vec<&'p str>,
    found: Option<SourceType>,
    is_ambiguous: bool,
}

impl<'p> Scan<'p> {
    /// Reads the next tag. `Some(false)` at the end, `None` if the packet is malformed.
    fn step(&mut self) -> Option<bool> {
        let Some(start) = self.rest.find('<') else { return Some(false) };
        self.rest = self.rest.get(start..)?;
        for (open, close) in [("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>")] {
            if self.rest.starts_with(open) {
                self.skip_past(close)?;
                return Some(true);
            }
        }
        if self.rest.starts_with("<!") {
            // A document type, which may define entities, is not allowed in XMP (ISO 16684-1 §7.2).
            return None;
        }
        if self.rest.starts_with("</") {
            self.skip_past(">")?;
            self.close()?;
        } else {
            let tag = self.take_tag()?;
            self.open(tag)?;
        }
        Some(true)
    }

    fn skip_past(&mut self, end: &str) -> Option<()> {
        let at = self.rest.find(end)?;
        self.rest = self.rest.get(at + end.len()..)?;
        Some(())
    }

    /// The text of a start tag, without its brackets. A `>` in a value does not end it.
    fn take_tag(&mut self) -> Option<&'p str> {
        let mut quote = None;
        for (at, byte) in self.rest.bytes().enumerate().skip(1) {
            match (quote, byte) {
                (None, b'>') => {
                    let tag = self.rest.get(1..at)?;
                    self.rest = self.rest.get(at + 1..)?;
                    return Some(tag);
                }
                (_, b'<') => return None,
                (None, b'"' | b'\'') => quote = Some(byte),
                (Some(open), byte) if open == byte => quote = None,
                _ => {}
            }
        }
        None
    }

    fn close(&mut self) -> Option<()> {
        self.depth = self.depth.checked_sub(1)?;
        if self.rdf == Some(self.depth) {
            self.rdf = None;
        }
        Some(())
    }

    fn open(&mut self, tag: &'p str) -> Option<()> {
        let (tag, is_empty) = match tag.strip_suffix('/') {
            Some(tag) => (tag, true),
            None => (tag, false),
        };
        let end = tag.find(|c: char| c.is_ascii_whitespace()).unwrap_or(tag.len());
        let (name, attributes) = tag.split_at_checked(end)?;
        for (name, value) in Attributes(attributes) {
            if let Some(prefix) = name.strip_prefix("xmlns:") {
                self.bind(prefix, value);
            }
        }
        // Of the image itself, and not of another one that it was made of: those are deeper.
        match self.rdf.map(|rdf| self.depth.saturating_sub(rdf)) {
            Some(1) if local_name(name) == "Description" => {
                for (name, value) in Attributes(attributes) {
                    if self.is_property(name) {
                        self.add(value);
                    }
                }
            }
            Some(2) if self.is_property(name) => {
                let resource = Attributes(attributes)
                    .find(|(name, _)| local_name(name) == "resource")
                    .map(|(_, value)| value);
                let text = if is_empty { None } else { self.rest.split('<').next() };
                if let Some(value) = resource.or(text) {
                    self.add(value);
                }
            }
            _ => {}
        }
        if !is_empty {
            if self.rdf.is_none() && local_name(name) == "RDF" {
                self.rdf = Some(self.depth);
            }
            self.depth = self.depth.saturating_add(1);
        }
        Some(())
    }

    fn bind(&mut self, prefix: &'p str, namespace: &str) {
        let is_known = self.prefixes.contains(&prefix);
        if namespace != NAMESPACE {
            self.prefixes.retain(|known| *known != prefix);
        } else if !is_known && self.prefixes.len() < MAX_PREFIXES {
            self.prefixes.push(prefix);
        }
    }

    fn is_property(&self, name: &str) -> bool {
        let name = name.split_once(':');
        name.is_some_and(|(prefix, local)| local == PROPERTY && self.prefixes.contains(&prefix))
    }

    fn add(&mut self, value: &str) {
        let value = SourceType::of_value(value);
        self.is_ambiguous |= self.found.is_some() && self.found != value;
        self.found = self.found.take().or(value);
    }
}

fn local_name(name: &str) -> &str {
    name.split_once(':').map_or(name, |(_, local)| local)
}

/// The names and values of the attributes of a tag, up to the first that is malformed.
#[derive(Clone, Copy, Debug)]
struct Attributes<'p>(&'p str);

impl<'p> Iterator for Attributes<'p> {
    type Item = (&'p str, &'p str);

    fn next(&mut self) -> Option<(&'p str, &'p str)> {
        let (name, rest) = self.0.split_once('=')?;
        let rest = rest.trim_ascii_start();
        let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        let (value, rest) = rest.get(1..)?.split_once(quote)?;
        self.0 = rest;
        Some((name.trim_ascii(), value))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const URL: &str = "http://cv.iptc.org/newscodes/digitalsourcetype/";
    const RDF: &str = "<rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">";

    /// A packet with these attributes and this content in the description of the image.
    fn packet(attributes: &str, content: &str) -> String {
        format!(
            "<?xpacket begin=\"\u{feff}\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\n\
             <x:xmpmeta xmlns:x='adobe:ns:meta/' x:xmptk=\"a > b\">\n {RDF}\n\
             <rdf:Description rdf:about=\"\" xmlns:e=\"{NAMESPACE}\" {attributes}>{content}</rdf:Description>\n\
             </rdf:RDF>\n</x:xmpmeta>\n{}<?xpacket end=\"w\"?>",
            " ".repeat(2000)
        )
    }

    fn parse(packet: &str) -> Option<String> {
        SourceType::parse(packet.as_bytes()).map(|found| found.0)
    }

    fn ai() -> Option<String> {
        Some("trainedAlgorithmicMedia".to_owned())
    }

    fn attribute(value: &str) -> String {
        packet(&format!("e:DigitalSourceType=\"{value}\""), "")
    }

    #[test]
    fn the_property_is_read_in_each_form() {
        let url = format!("{URL}trainedAlgorithmicMedia");
        for packet in [
            attribute(&url),
            packet(&format!("a:b='>' e:DigitalSourceType = '{url}' c:d=\"x\""), ""),
            packet("", &format!("<e:DigitalSourceType>{url}</e:DigitalSourceType>")),
            packet("", &format!("<e:DigitalSourceType>\n  {url}\n</e:DigitalSourceType>")),
            packet("", &format!("<e:DigitalSourceType rdf:resource=\"{url}\"/>")),
            packet(
                "",
                &format!(
                    "<a:b/><a:c><rdf:Bag><rdf:li>x</rdf:li></rdf:Bag></a:c><e:DigitalSourceType rdf:resource='{url}'></e:DigitalSourceType>"
                ),
            ),
            // The self-closing description of some writers, and a second description.
            format!(
                "{RDF}<rdf:Description xmlns:e='{NAMESPACE}' e:DigitalSourceType='{url}'/></rdf:RDF>"
            ),
            format!(
                "{RDF}<rdf:Description a:b='c'/><rdf:Description xmlns:Iptc4xmpExt='{NAMESPACE}' Iptc4xmpExt:DigitalSourceType='{url}'/></rdf:RDF>"
            ),
            attribute(&format!("https{}", &url[4..])),
            // The same twice.
            packet(
                &format!("e:DigitalSourceType='{url}'"),
                &format!("<e:DigitalSourceType>{url}</e:DigitalSourceType>"),
            ),
            SourceType("trainedAlgorithmicMedia".into()).to_packet(),
        ] {
            assert_eq!(parse(&packet), ai(), "{packet}");
        }
        for term in ["digitalCapture", "compositeSynthetic", "minorHumanEdits", "aNewerTerm"] {
            assert_eq!(parse(&attribute(&format!("{URL}{term}"))).as_deref(), Some(term));
        }
    }

    #[test]
    fn a_packet_that_is_written_is_read_again_and_holds_nothing_else() {
        let source_type = SourceType("compositeWithTrainedAlgorithmicMedia".into());
        let packet = source_type.to_packet();
        assert_eq!(SourceType::parse(packet.as_bytes()), Some(source_type));
        // Readers that know no XML look for the whole URL.
        assert!(packet.contains(&format!("{URL}compositeWithTrainedAlgorithmicMedia<")));
        assert!(packet.len() < 600, "{}", packet.len());
    }

    #[test]
    fn other_values_are_dropped() {
        for value in [
            "",
            "trainedAlgorithmicMedia",
            "http://cv.iptc.org/newscodes/digitalsourcetype/",
            "http://cv.iptc.org/newscodes/digitalsourcetype/a b",
            "http://cv.iptc.org/newscodes/digitalsourcetype/a&amp;b",
            "http://cv.iptc.org/newscodes/digitalsourcetype/&#97;",
            "http://cv.iptc.org/newscodes/digitalsourcetype/a?user=1",
            "http://cv.iptc.org/newscodes/digitalsourcetype/../x",
            "http://cv.iptc.org/newscodes/digitalsourcetype/52.1,13.4",
            "http://cv.iptc.org/newscodes/digitalsourcetype/\u{e4}",
            "http://example.com/newscodes/digitalsourcetype/digitalCapture",
            "httpss://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture",
            "javascript:alert(1)",
        ] {
            assert_eq!(parse(&attribute(value)), None, "{value}");
        }
        let longest = "a".repeat(MAX_TERM);
        assert!(parse(&attribute(&format!("{URL}{longest}"))).is_some());
        assert!(parse(&attribute(&format!("{URL}{longest}a"))).is_none());
    }

    #[test]
    fn the_property_of_something_else_is_not_that_of_the_image() {
        let url = format!("{URL}trainedAlgorithmicMedia");
        let element = format!("<e:DigitalSourceType>{url}</e:DigitalSourceType>");
        for packet in [
            // Of an ingredient, in a structure, in a comment, as text.
            packet(
                "",
                &format!(
                    "<m:Ingredients><rdf:Bag><rdf:li>{element}</rdf:li></rdf:Bag></m:Ingredients>"
                ),
            ),
            packet(
                "",
                &format!(
                    "<m:Pantry><rdf:Bag><rdf:li><rdf:Description e:DigitalSourceType='{url}'/></rdf:li></rdf:Bag></m:Pantry>"
                ),
            ),
            packet("", &format!("<a:b rdf:parseType='Resource'>{element}</a:b>")),
            packet("", &format!("<!-- {element} -->")),
            packet("", &format!("<![CDATA[{element}]]>")),
            packet("", &format!("<?x {element} ?>")),
            packet(&format!("a:b=\"e:DigitalSourceType='{url}'\""), ""),
            packet(&format!("DigitalSourceType='{url}' x:DigitalSourceType='{url}'"), ""),
            packet("", &format!("<x:DigitalSourceType>{url}</x:DigitalSourceType>")),
            packet("", &format!("<e:DigitalSourceTypes>{url}</e:DigitalSourceTypes>")),
            // Another namespace, and no RDF.
            attribute(&url).replace(NAMESPACE, "http://example.com/"),
            packet(&format!("xmlns:e='http://example.com/' e:DigitalSourceType='{url}'"), ""),
            format!("<rdf:Description xmlns:e='{NAMESPACE}' e:DigitalSourceType='{url}'/>"),
            format!(
                "{RDF}</rdf:RDF><rdf:Description xmlns:e='{NAMESPACE}' e:DigitalSourceType='{url}'/>"
            ),
        ] {
            assert_eq!(parse(&packet), None, "{packet}");
        }
    }

    #[test]
    fn two_values_that_differ_are_none() {
        let of = |first: &str, second: &str| {
            let [first, second] = [first, second]
                .map(|term| format!("<e:DigitalSourceType>{URL}{term}</e:DigitalSourceType>"));
            parse(&packet("", &format!("{first}{second}")))
        };
        assert_eq!(of("digitalCapture", "trainedAlgorithmicMedia"), None);
        assert_eq!(of("trainedAlgorithmicMedia", "digitalCapture"), None);
        assert_eq!(of("digitalCapture", "not a term"), None);
        assert_eq!(of("digitalCapture", "digitalCapture").as_deref(), Some("digitalCapture"));
    }

    #[test]
    fn hostile_packets_take_no_time_and_expand_nothing() {
        let url = format!("{URL}trainedAlgorithmicMedia");
        let good = attribute(&url);
        let started = Instant::now();
        let entities = format!(
            "<!DOCTYPE x [<!ENTITY a \"{}\"><!ENTITY b \"&a;&a;&a;\">]>{good}",
            "&b;".repeat(100)
        );
        assert_eq!(parse(&entities), None);
        let external = format!("<!DOCTYPE x SYSTEM \"file:///etc/passwd\">{good}");
        assert_eq!(parse(&external), None);
        let value = good.replace(&url, &format!("{URL}&b;"));
        assert_eq!(parse(&value), None);
        let whole = MAX_PACKET - good.len();
        for filler in ["<a>", "</a>", "<", "<!--", "<![CDATA[", "<?", "'", "\"", "<a b='", "=", "&"]
        {
            let many = filler.repeat(whole / filler.len());
            let _ = parse(&format!("{many}{good}"));
            let _ = parse(&good.replace("<rdf:RDF", &format!("{many}<rdf:RDF")));
            let _ = parse(&packet(&format!("e:DigitalSourceType='{url}' {many}"), ""));
        }
        let attributes = "a:b='c' ".repeat(100_000);
        assert_eq!(parse(&packet(&format!("{attributes} e:DigitalSourceType='{url}'"), "")), ai());
        let prefixes: String = (0..20_000).map(|n| format!("xmlns:p{n}='{NAMESPACE}' ")).collect();
        assert_eq!(parse(&packet(&prefixes, "DigitalSourceType")), None);
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        assert_eq!(parse(&format!("{}{good}", " ".repeat(MAX_PACKET))), None, "too large");
        assert_eq!(SourceType::parse(&[good.as_bytes(), b"\xff"].concat()), None);
    }

    #[test]
    fn every_truncation_and_mutation_is_a_term_or_none() {
        let url = format!("{URL}trainedAlgorithmicMedia");
        for good in [
            attribute(&url),
            packet("", &format!("<e:DigitalSourceType rdf:resource=\"{url}\"/>")),
            SourceType("digitalCapture".into()).to_packet(),
        ] {
            let good = good.replace(&" ".repeat(2000), "");
            let is_term = |bytes: &[u8]| {
                SourceType::parse(bytes).is_none_or(|found| {
                    found.0.len() <= MAX_TERM && found.0.bytes().all(|b| b.is_ascii_alphabetic())
                })
            };
            for end in 0..good.len() {
                assert!(is_term(&good.as_bytes()[..end]), "{end}");
            }
            for at in 0..good.len() {
                for byte in *b"<>\"'=/&! x\xff" {
                    let mut bytes = good.clone().into_bytes();
                    bytes[at] = byte;
                    assert!(is_term(&bytes), "{at}");
                }
            }
        }
    }
}
