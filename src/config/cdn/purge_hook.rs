//! `"purge_hook"` of a handler: the request that is sent after a purge.

use std::fmt;
use std::time::Duration;

use jsonc_parser::ast::{ObjectProp, Value as Written};
use serde_json::{Map, Number, Value};

use super::super::error::Result;
use super::super::fields::Fields;
use super::super::schema::{
    Choice, Defaulted, Optional, choice, integer, json, map, seconds, table, text,
};
use super::super::url;
use super::field;
use super::template::{Placeholder, Purged, Template};

/// Bytes of a URL before its placeholders are replaced.
const MAX_URL: usize = 2 << 10;
const MAX_HEADERS: usize = 32;
/// Bytes of a body before its placeholders are replaced.
const MAX_BODY: usize = 16 << 10;
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest `repeat_after`, in seconds.
const MAX_REPEAT: i64 = 3600;
/// `repeat_after` where servers share results: longer than they take to learn of a purge.
const SHARED_REPEAT: Duration = Duration::from_secs(10);
const CONTRADICTION: &str = "{tags} is for several purges, so {tag}, {key}, {prefix} and {path} can't be in the same \
                             hook";

table! {
    pub TABLE;
    /// Where it is sent: `http://` or `https://`, a host, an optional port, and a path or query in which
    /// [placeholders](cdn.md#purge-hook) may be. The host may have a private address: only the operator names it.
    URL: Optional<&'static str> = text("url");
    /// The method of the request.
    METHOD: Defaulted<Method> = choice::<Method>("method").default_choice(0);
    /// Fields of the request, at most 32, such as `{"Authorization": "$CDN_AUTHORIZATION"}`; placeholders may be in the
    /// values.
    HEADERS: Optional<&'static [ObjectProp<'static>]> = map("headers", "strings", &[]).absent("none");
    /// The body: a JSON object or list, in whose strings placeholders may be, or a string that is sent as text.
    BODY: Optional<&'static Written<'static>> = json("body").absent("none");
    /// How long one attempt may take, at most 60 seconds.
    TIMEOUT: Defaulted<Duration> = seconds::<Duration>("timeout").default(5);
    /// Send each purge once more after this time: for several servers that learn of purges one after the other
    /// ([several servers](cdn.md#several-servers)). 0: it is sent once.
    REPEAT_AFTER: Optional<Duration> = integer::<Duration>("repeat_after", 0, MAX_REPEAT)
        .unit("seconds")
        .absent("0; 10 with `results`");
    /// How many purges `{tags}` may have in one request.
    MAX_TAGS: Defaulted<usize> = integer::<usize>("max_tags", 1, 256).default(100);
}

/// The method of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method(pub &'static str);

impl Choice for Method {
    const CHOICES: &'static [(&'static str, Method)] = &[
        ("POST", Method("POST")),
        ("GET", Method("GET")),
        ("PUT", Method("PUT")),
        ("PATCH", Method("PATCH")),
        ("DELETE", Method("DELETE")),
        ("PURGE", Method("PURGE")),
        ("BAN", Method("BAN")),
    ];
}

/// The request that is sent after a purge.
#[derive(Clone)]
pub struct PurgeHook {
    pub method: &'static str,
    pub url: Template,
    pub headers: Vec<(String, Template)>,
    pub body: Option<HookBody>,
    pub timeout: Duration,
    /// When each purge is sent once more; zero: never.
    pub repeat_after: Duration,
    /// The purges that one request may be for.
    pub max_purges: usize,
}

/// A body with placeholders.
#[derive(Clone, Debug)]
pub enum HookBody {
    Text(Template),
    Json(Json),
}

/// JSON whose strings are templates.
#[derive(Clone, Debug)]
pub enum Json {
    Fixed(Value),
    Text(Template),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

// The URL and the fields may hold secrets, which must not reach a log by way of `{:?}`.
impl fmt::Debug for PurgeHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PurgeHook({} {})", self.method, self.origin())
    }
}

impl PurgeHook {
    pub(super) fn read(fields: &Fields, shares_results: bool) -> Result<PurgeHook> {
        let method = fields.get(&METHOD)?.0;
        let url = read_url(fields)?;
        let headers = read_headers(fields)?;
        let body = read_body(fields)?;
        if method == "GET" && body.is_some() {
            return Err(fields.error(BODY.name(), "is not for the method GET"));
        }
        let timeout = fields.get(&TIMEOUT)?;
        if timeout > MAX_TIMEOUT {
            let message = format!("must be at most {} seconds", MAX_TIMEOUT.as_secs());
            return Err(fields.error(TIMEOUT.name(), message));
        }
        let mut all: Vec<Placeholder> = url.placeholders().collect();
        all.extend(headers.iter().flat_map(|(_, value)| value.placeholders()));
        match &body {
            Some(HookBody::Text(template)) => all.extend(template.placeholders()),
            Some(HookBody::Json(json)) => json.collect(&mut all),
            None => {}
        }
        let max_tags = fields.get(&MAX_TAGS)?;
        let max_purges =
            max_purges(&all, max_tags).ok_or_else(|| fields.error(URL.name(), CONTRADICTION))?;
        let default = if shares_results { SHARED_REPEAT } else { Duration::ZERO };
        let repeat_after = fields.optional(&REPEAT_AFTER)?.unwrap_or(default);
        Ok(PurgeHook { method, url, headers, body, timeout, repeat_after, max_purges })
    }

    /// Scheme, host and port of the URL, which are no secrets.
    pub fn origin(&self) -> &str {
        let start = self.url.start();
        let scheme = start.find("://").map_or(0, |at| at + 3);
        let length = start.get(scheme..).and_then(|rest| rest.find(['/', '?']));
        length.and_then(|length| start.get(..scheme + length)).unwrap_or(start)
    }
}

impl Json {
    /// The value for these purges.
    pub fn fill(&self, purged: &Purged) -> Value {
        match self {
            Json::Fixed(value) => value.clone(),
            Json::Text(template) if template.is_tags() => purged.tags().collect(),
            Json::Text(template) => template.plain(purged).into(),
            Json::List(elements) => {
                // `["{tags}"]` is a list of tags, too, and not a list of a list.
                let filled =
                    elements.iter().flat_map(|element| match (element, element.fill(purged)) {
                        (Json::Text(_), Value::Array(tags)) => tags,
                        (_, value) => vec![value],
                    });
                filled.collect()
            }
            Json::Object(members) => {
                let member = |(name, value): &(String, Json)| (name.clone(), value.fill(purged));
                members.iter().map(member).collect::<Map<_, _>>().into()
            }
        }
    }

    fn collect(&self, placeholders: &mut Vec<Placeholder>) {
        match self {
            Json::Fixed(_) => {}
            Json::Text(template) => placeholders.extend(template.placeholders()),
            Json::List(elements) => {
                elements.iter().for_each(|element| element.collect(placeholders));
            }
            Json::Object(members) => {
                members.iter().for_each(|(_, value)| value.collect(placeholders));
            }
        }
    }
}

/// The number of purges that one request may be for. `None` if the placeholders contradict each other.
fn max_purges(placeholders: &[Placeholder], max_tags: usize) -> Option<usize> {
    use Placeholder::{Key, Path, Prefix, Tag, Tags};
    let is_single = placeholders.iter().any(|one| matches!(one, Tag | Key | Prefix | Path));
    match (is_single, placeholders.contains(&Tags)) {
        (true, true) => None,
        (true, false) => Some(1),
        (false, true) => Some(max_tags),
        // The request is the same for every purge.
        (false, false) => Some(usize::MAX),
    }
}

fn read_url(fields: &Fields) -> Result<Template> {
    let written = fields.required(&URL)?;
    let error = |problem: &str| Err(fields.error(URL.name(), problem));
    if written.len() > MAX_URL {
        return error(&format!("must have at most {MAX_URL} bytes"));
    }
    // RFC 3986 §2, and the braces of placeholders. A fragment is never sent.
    let is_allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=%{}".contains(&byte);
    if !written.bytes().all(is_allowed) {
        return error("must be a URL without spaces, control characters, quotes and #");
    }
    let rest = written.find("://").map_or(0, |at| at + 3);
    let end = written.get(rest..).and_then(|rest| rest.find(['/', '?']));
    let origin = end.and_then(|end| written.get(..rest + end)).unwrap_or(written);
    if !url::is_origin(origin) {
        return error(
            "must begin with http:// or https://, a host and an optional port, without user, password \
             and placeholders",
        );
    }
    Template::parse(written).or_else(|problem| error(&problem))
}

fn read_headers(fields: &Fields) -> Result<Vec<(String, Template)>> {
    let written = fields.optional(&HEADERS)?.unwrap_or_default();
    if written.len() > MAX_HEADERS {
        let message = format!("must have at most {MAX_HEADERS} fields");
        return Err(fields.error(HEADERS.name(), message));
    }
    let read = field::read_all(fields, HEADERS.name(), written, field::request_name_problem)?;
    let parse = |(name, value): (String, String)| match Template::parse(&value) {
        Ok(template) => Ok((name, template)),
        Err(problem) => Err(fields.error(&format!("{}.{name}", HEADERS.name()), problem)),
    };
    read.into_iter().map(parse).collect()
}

fn read_body(fields: &Fields) -> Result<Option<HookBody>> {
    let Some(written) = fields.optional(&BODY)? else { return Ok(None) };
    let error = |problem: String| fields.error(BODY.name(), problem);
    if length(written) > MAX_BODY {
        return Err(error(format!("must have at most {MAX_BODY} bytes")));
    }
    match written {
        Written::StringLit(text) => {
            Template::parse(&text.value).map(|text| Some(HookBody::Text(text))).map_err(error)
        }
        Written::Object(_) | Written::Array(_) => {
            parse_json(written).map(|json| Some(HookBody::Json(json))).map_err(error)
        }
        other => Err(fields.wrong_type(BODY.name(), "an object, an array or a string", other)),
    }
}

/// The bytes of all names, strings and numbers.
fn length(value: &Written) -> usize {
    match value {
        Written::StringLit(text) => text.value.len(),
        Written::NumberLit(number) => number.value.len(),
        Written::BooleanLit(_) | Written::NullKeyword(_) => 5,
        Written::Array(array) => array.elements.iter().map(|element| length(element) + 1).sum(),
        Written::Object(object) => {
            let members = object.properties.iter();
            members.map(|member| member.name.as_str().len() + length(&member.value) + 1).sum()
        }
    }
}

fn parse_json(value: &Written) -> std::result::Result<Json, String> {
    Ok(match value {
        Written::StringLit(text) => Json::Text(Template::parse(&text.value)?),
        Written::NumberLit(number) => {
            let parsed: Number =
                number.value.parse().map_err(|_| format!("has the number {}", number.value))?;
            Json::Fixed(Value::Number(parsed))
        }
        Written::BooleanLit(literal) => Json::Fixed(Value::Bool(literal.value)),
        Written::NullKeyword(_) => Json::Fixed(Value::Null),
        Written::Array(array) => Json::List(
            array.elements.iter().map(parse_json).collect::<std::result::Result<_, _>>()?,
        ),
        Written::Object(object) => {
            let member = |member: &ObjectProp| {
                Ok::<_, String>((member.name.as_str().to_owned(), parse_json(&member.value)?))
            };
            Json::Object(
                object.properties.iter().map(member).collect::<std::result::Result<_, _>>()?,
            )
        }
    })
}
