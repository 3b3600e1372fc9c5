//! `s3imageserver sign …`: signs URLs.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::hmac;
use super::keys::Keys;
use crate::config::{Handler, TokenKind};
use crate::key;
use crate::options::{Options, Query};

/// The characters to escape in a value: all but the unreserved ones (RFC 3986 §2.3) and the `:` of `fp:x:y`.
const VALUE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// The path and query of a target of one of these handlers with its token, valid for `lifetime` from this Unix time on, or without expiry. An
/// error is a sentence.
pub fn sign<'h>(
    handlers: impl IntoIterator<Item = &'h Handler>,
    target: &str,
    lifetime: Option<Duration>,
    now: u64,
) -> Result<String, String> {
    if target.contains('#') {
        return Err("a # must be written as %23".to_owned());
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (route, key) = key::split_path(path)
        .ok_or("the path must be /HANDLER/KEY, percent-encoded as in a URL")?;
    let handler = handlers.into_iter().find(|handler| handler.route == route);
    let handler = handler.ok_or_else(|| format!("no handler has the prefix /{route}/"))?;
    let keys = match &handler.token {
        Some(token) if token.kind == TokenKind::Hmac => Keys::new(&token.secrets),
        Some(_) => return Err(format!("the token of the handler {route} is not of type hmac")),
        None => return Err(format!("the handler {route} has no token")),
    };
    if !key::is_valid(&key) {
        return Err("the key is empty, too long, or has a . or .. segment".to_owned());
    }
    for name in query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split('=').next())
    {
        let name =
            name.and_then(key::decode_query).ok_or("the query is not percent-encoded UTF-8")?;
        // The server ignores unknown parameters; here one is most likely a typing error.
        if !Query::names().any(|known| known == name) {
            return Err(format!("{name}: unknown parameter"));
        }
    }
    let mut query_text = query.trim_matches('&').to_owned();
    let query = Query::parse(&query_text).map_err(|error| error.0)?;
    if query.token().is_some() {
        return Err("t: must not be given".to_owned());
    }
    match (lifetime, query.expires().map_err(|error| error.0)?) {
        (Some(_), Some(_)) => {
            return Err("exp: can't be combined with --expires".to_owned());
        }
        (Some(lifetime), None) => {
            let separator = if query_text.is_empty() { "" } else { "&" };
            query_text += &format!("{separator}exp={}", now.saturating_add(lifetime.as_secs()));
        }
        (None, Some(expires)) if expires <= now => return Err("exp: is in the past".to_owned()),
        (None, _) => {}
    }
    let query = Query::parse(&query_text).map_err(|error| error.0)?;
    // A request that the handler refuses in any case is not signed.
    let resolved = handler.size_policy.with_preset(&query).map_err(|error| error.0)?;
    Options::resolve(&resolved, "", handler.defaults())
        .and_then(|options| handler.as_is.check(&options))
        .map_err(|error| error.0)?;
    handler.size_policy.check_size(&query, &resolved).map_err(|error| error.0)?;
    let canonical =
        hmac::canonical(&route, &key, &query).ok_or("a value has a control character or an &")?;
    let token = hmac::sign(&keys, &canonical).ok_or("there is no secret")?;
    let mut pairs: Vec<_> = query.pairs().collect();
    pairs.sort_unstable();
    let pair =
        |(name, value): (&str, &str)| format!("{name}={}&", utf8_percent_encode(value, VALUE));
    let pairs: String = pairs.into_iter().map(pair).collect();
    Ok(format!("{}?{pairs}t={token}", key::to_path(&route, &key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Config};
    use crate::token::{Bearer, TokenRequest, Tokens};

    fn config() -> Config {
        let directory = env!("CARGO_MANIFEST_DIR");
        let text = format!(
            r#"{{"handlers": [
                {{"name": "h", "directory": "{directory}",
                  "token": {{"type": "hmac", "secrets": ["the first of the secrets", "the second secret"]}}}},
                {{"name": "j", "directory": "{directory}", "token": {{"type": "jwt", "secrets": ["the first of the secrets"]}}}},
                {{"name": "p", "directory": "{directory}", "presets": {{"small": "w=9"}}, "presets_only": true,
                  "token": {{"type": "hmac", "secrets": ["the first of the secrets"]}}}},
                {{"name": "s", "directory": "{directory}", "allowed_sizes": [[3, 0]],
                  "token": {{"type": "hmac", "secrets": ["the first of the secrets"]}}}},
                {{"name": "open", "directory": "{directory}"}}]}}"#
        );
        config::parse(&text, "test").unwrap()
    }

    #[test]
    fn signed_urls_are_accepted() {
        let config = config();
        let tokens = Tokens::new(config.handlers[0].token.as_ref().unwrap());
        for (target, lifetime, start, expires) in [
            ("/h/a.jpg", None, "/h/a.jpg?t=", None),
            ("/h/a.jpg?", None, "/h/a.jpg?t=", None),
            ("/h/a%20b.jpg?w=3&h=%32", Some(60), "/h/a%20b.jpg?exp=1060&h=2&w=3&t=", Some(1060)),
            (
                "/h/a b/ü.jpg?g=fp:0.5:1&bg=ffffff",
                None,
                "/h/a%20b/%C3%BC.jpg?bg=ffffff&g=fp:0.5:1&t=",
                None,
            ),
            ("/h/%2B+%253F?exp=1001", None, "/h/++%253F?exp=1001&t=", Some(1001)),
        ] {
            let signed =
                sign(&config.handlers, target, lifetime.map(Duration::from_secs), 1000).unwrap();
            assert!(signed.starts_with(start), "{signed}");
            let (path, query) = signed.split_once('?').unwrap();
            let (route, key) = key::split_path(path).unwrap();
            let query = Query::parse(query).unwrap();
            let request =
                TokenRequest { route: &route, key: &key, query: &query, bearer: Bearer::None };
            assert_eq!(
                tokens.check(&request, 1000).map(|grant| grant.expires),
                Ok(expires),
                "{signed}"
            );
            assert!(tokens.check(&TokenRequest { key: "other", ..request }, 1000).is_err());
        }
    }

    #[test]
    fn urls_that_can_not_be_signed_are_errors() {
        let config = config();
        for (target, lifetime, part) in [
            ("", None, "/HANDLER/KEY"),
            ("h/a.jpg", None, "/HANDLER/KEY"),
            ("/h", None, "/HANDLER/KEY"),
            ("/h/%zz", None, "/HANDLER/KEY"),
            ("https://example.com/h/a.jpg", None, "/HANDLER/KEY"),
            ("/x/a.jpg", None, "no handler has the prefix /x/"),
            ("/p/a.jpg?w=3", None, "w: "),
            ("/p/a.jpg?p=other", None, "other"),
            ("/s/a.jpg?w=4", None, "not allowed here"),
            ("/open/a.jpg", None, "has no token"),
            ("/j/a.jpg", None, "not of type hmac"),
            ("/h/", None, "the key is empty"),
            ("/h/a/../b", None, "segment"),
            ("/h/a#b", None, "%23"),
            ("/h/a?w=0", None, "w: must be"),
            ("/h/a?raw=true", None, "raw: originals are not served"),
            ("/h/a?dl=a/b", None, "dl: must be"),
            ("/h/a?w=1&w=1", None, "w: given twice"),
            ("/h/a?w=%zz", None, "w: its value"),
            ("/h/a?widht=1", None, "widht: unknown parameter"),
            ("/h/a?%zz=1", None, "percent-encoded"),
            ("/h/a?t=x", None, "t: must not be given"),
            ("/h/a?t=", None, "t: must not be given"),
            ("/h/a?exp=x", None, "exp: must be"),
            ("/h/a?exp=1000", None, "exp: is in the past"),
            ("/h/a?exp=2000", Some(60), "exp: can't be combined"),
        ] {
            let error = sign(&config.handlers, target, lifetime.map(Duration::from_secs), 1000)
                .expect_err(target);
            assert!(error.contains(part), "{target}: {error}");
        }
    }
}
