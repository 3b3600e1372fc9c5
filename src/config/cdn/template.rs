//! Texts of a purge hook with placeholders: `{tag}`, `{tags}`, `{handler}`, `{key}`, `{prefix}`, `{path}`.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::cache_tag::PurgeScope;
use crate::key;

/// The characters to escape outside JSON: all but the unreserved ones (RFC 3986 §2.3) and `/`.
const OTHERS: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// What a placeholder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// The tag of the purge.
    Tag,
    /// The tags of several purges.
    Tags,
    /// The handler's route.
    Handler,
    /// The key; empty for the purge of a prefix.
    Key,
    /// The prefix; empty for the purge of a key.
    Prefix,
    /// The path of key or prefix on this server, percent-encoded.
    Path,
}

const PLACEHOLDERS: [(&str, Placeholder); 6] = [
    ("tag", Placeholder::Tag),
    ("tags", Placeholder::Tags),
    ("handler", Placeholder::Handler),
    ("key", Placeholder::Key),
    ("prefix", Placeholder::Prefix),
    ("path", Placeholder::Path),
];

/// A text with placeholders.
#[derive(Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Placeholder(Placeholder),
}

// The text may be a secret, which must not reach a log by way of `{:?}`.
impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.placeholders()).finish()
    }
}

impl Template {
    /// Parses a text, in which `{{` and `}}` stand for braces. An error is the rest of a sentence about the field.
    pub fn parse(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            literal.push_str(before);
            if let Some(after) = from.strip_prefix("{{") {
                literal.push('{');
                rest = after;
            } else if let Some(after) = from.strip_prefix("}}") {
                literal.push('}');
                rest = after;
            } else {
                let inside = from.strip_prefix('{').and_then(|inside| inside.split_once('}'));
                let Some((name, after)) = inside else {
                    return Err("has a { or } without its pair; a brace is written {{ or }}".into());
                };
                let known = PLACEHOLDERS.iter().find(|(known, _)| *known == name);
                let Some((_, placeholder)) = known else { return Err(unknown()) };
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                parts.push(Part::Placeholder(*placeholder));
                rest = after;
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Template(parts))
    }

    pub fn placeholders(&self) -> impl Iterator<Item = Placeholder> {
        self.0.iter().filter_map(|part| match part {
            Part::Placeholder(placeholder) => Some(*placeholder),
            Part::Text(_) => None,
        })
    }

    /// Whether it is `{tags}` and nothing else.
    pub fn is_tags(&self) -> bool {
        self.0 == [Part::Placeholder(Placeholder::Tags)]
    }

    /// The text before the first placeholder.
    pub fn start(&self) -> &str {
        match self.0.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// The text for a place outside JSON: the values are percent-encoded, so that none has a delimiter or a line break.
    pub fn percent_encoded(&self, purged: &Purged) -> String {
        self.fill(|placeholder| match placeholder {
            // It is encoded already.
            Placeholder::Path => purged.value(placeholder),
            other => utf8_percent_encode(&purged.value(other), OTHERS).to_string(),
        })
    }

    /// The text for a string of JSON, or a header field whose values can't have delimiters.
    pub fn plain(&self, purged: &Purged) -> String {
        self.fill(|placeholder| purged.value(placeholder))
    }

    /// The text for a header field: as [`Template::percent_encoded`], with spaces between tags.
    pub fn field_value(&self, purged: &Purged) -> String {
        self.fill(|placeholder| match placeholder {
            Placeholder::Path | Placeholder::Tag | Placeholder::Tags => purged.value(placeholder),
            other => utf8_percent_encode(&purged.value(other), OTHERS).to_string(),
        })
    }

    fn fill(&self, value: impl Fn(Placeholder) -> String) -> String {
        self.0
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Placeholder(placeholder) => value(*placeholder),
            })
            .collect()
    }
}

/// The purges that one call is for.
pub struct Purged<'p> {
    pub route: &'p str,
    /// Not empty; one of them unless the hook has only placeholders that allow several.
    pub scopes: &'p [PurgeScope],
}

impl Purged<'_> {
    pub fn tags(&self) -> impl Iterator<Item = String> {
        self.scopes.iter().map(|scope| scope.tag(self.route))
    }

    fn value(&self, placeholder: Placeholder) -> String {
        let scope = self.scopes.first();
        match (placeholder, scope) {
            (Placeholder::Handler, _) => self.route.to_owned(),
            (Placeholder::Tags, _) => self.tags().collect::<Vec<_>>().join(" "),
            (Placeholder::Tag, Some(scope)) => scope.tag(self.route),
            (Placeholder::Key, Some(PurgeScope::Key(key))) => key.clone(),
            (Placeholder::Prefix, Some(PurgeScope::Prefix(prefix))) => prefix.clone(),
            (Placeholder::Path, Some(PurgeScope::Key(rest) | PurgeScope::Prefix(rest))) => {
                key::to_path(self.route, rest)
            }
            (Placeholder::Key | Placeholder::Prefix, Some(_)) | (_, None) => String::new(),
        }
    }
}

/// Does not repeat the name, which may be part of a secret.
fn unknown() -> String {
    let names: Vec<String> = PLACEHOLDERS.iter().map(|(name, _)| format!("{{{name}}}")).collect();
    let names = names.join(", ");
    format!("has an unknown placeholder; there are {names}, and a brace is written {{{{ or }}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(template: &str, scope: PurgeScope) -> [String; 3] {
        let template = Template::parse(template).unwrap();
        let scopes = [scope];
        let purged = Purged { route: "a b", scopes: &scopes };
        [template.percent_encoded(&purged), template.plain(&purged), template.field_value(&purged)]
    }

    #[test]
    fn values_are_percent_encoded_outside_json() {
        let key = PurgeScope::Key("x\"\r\ny{tag}/ü&=".into());
        let encoded = "x%22%0D%0Ay%7Btag%7D/%C3%BC%26%3D";
        assert_eq!(
            text("<{key}|{prefix}|{handler}>", key.clone()),
            [
                format!("<{encoded}||a%20b>"),
                "<x\"\r\ny{tag}/ü&=||a b>".to_owned(),
                format!("<{encoded}||a%20b>")
            ]
        );
        let path = "/a%20b/x%22%0D%0Ay%7Btag%7D/%C3%BC&=";
        assert_eq!(text("{path}", key.clone()), [path; 3]);
        let tag = key.tag("a b");
        assert_eq!(text("{{{tag}}}", key), std::array::from_fn(|_| format!("{{{tag}}}")));
    }

    #[test]
    fn a_prefix_has_a_path_and_no_key() {
        let prefix = PurgeScope::Prefix("s/".into());
        assert_eq!(text("{key},{prefix},{path}", prefix)[1], ",s/,/a%20b/s/");
    }

    #[test]
    fn tags_are_between_spaces() {
        let template = Template::parse("{tags}").unwrap();
        let scopes = [PurgeScope::Key("a".into()), PurgeScope::Prefix(String::new())];
        let purged = Purged { route: "h", scopes: &scopes };
        let [a, b] = [scopes[0].tag("h"), scopes[1].tag("h")];
        assert!(template.is_tags());
        assert_eq!(template.field_value(&purged), format!("{a} {b}"));
        assert_eq!(template.percent_encoded(&purged), format!("{a}%20{b}"));
    }

    #[test]
    fn malformed_templates_are_refused() {
        for (text, part) in [
            ("{", "without its pair"),
            ("}", "without its pair"),
            ("a{key", "without its pair"),
            ("{keys}", "unknown placeholder; there are {tag}, {tags}, {handler}"),
            ("{}", "unknown placeholder"),
            ("{ key }", "unknown placeholder"),
        ] {
            let error = Template::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
