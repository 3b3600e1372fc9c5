//! The page for browsers: the operator's on the admin listener, and the playground of a handler on the public ones.
//!
//! It is one document. Its style and its script are inline, and the policy allows exactly these by their hashes (CSP
//! Level 3 §6.7.3.2), so the page needs no other path and loads nothing but what its script fetches from this listener.
//! The script receives its data in a `script` element that is not JavaScript, to which the policy does not apply (HTML
//! §4.12.1.1).

mod data;

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};

pub use self::data::handler_data;
use crate::config::Handler;
use crate::edge::http::conditional::{Conditions, Outcome, Validators};
use crate::edge::http::response::{Body, Response};

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
/// Places in the document.
const MARKS: [&str; 3] = ["{{style}}", "{{data}}", "{{script}}"];

/// A document without its data.
struct Template {
    before_data: String,
    after_data: String,
    policy: String,
}

static ADMIN: LazyLock<Template> = LazyLock::new(|| {
    Template::new(concat!(
        "'use strict';\n",
        include_str!("elements.js"),
        include_str!("playground.js"),
        include_str!("charts.js"),
        include_str!("status.js"),
        include_str!("admin.js"),
    ))
});

static PLAYGROUND: LazyLock<Template> = LazyLock::new(|| {
    Template::new(concat!(
        "'use strict';\n",
        include_str!("elements.js"),
        include_str!("playground.js"),
        "startPlayground();\n",
    ))
});

impl Template {
    fn new(script: &str) -> Template {
        let [style_mark, data_mark, script_mark] = MARKS;
        let html = HTML.replace(style_mark, STYLE).replace(script_mark, script);
        let (before_data, after_data) = html.split_once(data_mark).unwrap_or((&html, ""));
        let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
        Template {
            before_data: before_data.to_owned(),
            after_data: after_data.to_owned(),
            policy: format!(
                "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; \
                 img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                 frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
                hash(script),
                hash(STYLE)
            ),
        }
    }

    fn respond(&'static self, data: &Value, conditions: &Conditions) -> Response {
        // In a script element, `<` may begin its end tag or a comment (HTML §4.12.1.3).
        let data = data.to_string().replace('<', "\\u003c");
        let html = [self.before_data.as_str(), &data, &self.after_data].concat();
        let hash = Sha256::digest(&html);
        let etag = format!("\"{}\"", STANDARD.encode(hash));
        let length = html.len() as u64;
        let validators = Validators { etag: &etag, last_modified: None, length };
        let response = match conditions.evaluate(validators) {
            Outcome::NotModified => Response::new(304, Body::None),
            _ => Response::new(200, Body::Text(html))
                .with("Content-Type", "text/html; charset=utf-8")
                .with("Referrer-Policy", "no-referrer"),
        };
        // Also in a 304, whose fields replace those in the browser's cache (RFC 9111 §3.2).
        let response = response.with_policy(&self.policy);
        response.with("ETag", &etag).with("Cache-Control", "no-cache")
    }
}

/// The operator's page. It has no data of the server: it asks for the secret first.
pub fn admin(conditions: &Conditions) -> Response {
    ADMIN.respond(&data::admin(), conditions)
}

/// The playground of a handler. `keys` are some of its keys, and whether these are all.
pub fn playground(
    handler: &Handler,
    keys: Option<(Vec<String>, bool)>,
    conditions: &Conditions,
) -> Response {
    PLAYGROUND.respond(&data::playground(handler, keys), conditions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::edge::http::response::{Date, HeadOptions};

    const MAX_BYTES: usize = 60_000;

    fn head(response: &Response) -> String {
        let mut head = String::new();
        let options =
            HeadOptions { request_id: None, is_http_10: false, keep_alive: true, hsts: None };
        let now = std::time::SystemTime::now();
        response.write_head(&mut head, &mut Date::default(), now, options);
        head
    }

    fn text(response: &Response) -> &str {
        std::str::from_utf8(response.body.bytes()).unwrap()
    }

    #[test]
    fn pages_are_complete_and_small() {
        for template in [&*ADMIN, &*PLAYGROUND] {
            let length = template.before_data.len() + template.after_data.len();
            assert!((10_000..MAX_BYTES).contains(&length), "{length}");
            let html = [template.before_data.as_str(), &template.after_data].concat();
            assert!(!MARKS.iter().any(|mark| html.contains(mark)));
            assert_eq!(html.matches("<style>").count(), 1);
            // Nothing in a script may end its element.
            assert_eq!(html.matches("</script").count(), 2);
            assert_eq!(html.matches("<!--").count(), 0);
            // The hash is of the text after line ends are normalised (HTML §13.2.3.5).
            assert!(!html.contains('\r'));
        }
    }

    #[test]
    fn the_script_parses_no_html_and_names_no_host() {
        let all = [&*ADMIN, &*PLAYGROUND].map(|template| template.after_data.as_str()).concat();
        for word in
            ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function("]
        {
            assert!(!all.contains(word), "{word}");
        }
        let namespace = "http://www.w3.org/2000/svg";
        assert!(!all.replace(namespace, "").contains("://"), "a URL of another host");
    }

    #[test]
    fn the_policy_allows_one_script_and_one_style() {
        let response = admin(&Conditions::default());
        let head = head(&response);
        assert_eq!(head.matches("Content-Security-Policy: ").count(), 1, "{head}");
        for part in ["'none'; script-src 'sha256-", "frame-ancestors 'none'", "\r\nETag: \""] {
            assert!(head.contains(part), "{head}");
        }
        assert!(!head.contains("unsafe") && !head.contains('*'), "{head}");
        let html = text(&response);
        let (_, script) = html.rsplit_once("<script>").unwrap();
        let (script, _) = script.split_once("</script>").unwrap();
        assert!(head.contains(&STANDARD.encode(Sha256::digest(script))));
    }

    #[test]
    fn names_in_the_configuration_do_not_end_the_data() {
        let directory = env!("CARGO_MANIFEST_DIR");
        let text_of = format!(
            r#"{{"handlers": [{{"name": "</script><script>alert(1)", "directory": "{directory}",
                "playground": true}}]}}"#
        );
        // A slash is not allowed in a name, so only the start of a tag can occur.
        assert!(config::parse(&text_of, "test").is_err());
        let text_of = text_of.replace("</script>", "<!--");
        let config = config::parse(&text_of, "test").unwrap();
        let keys = Some((vec!["</script><b>.jpg".to_owned()], false));
        let response = playground(&config.handlers[0], keys, &Conditions::default());
        let html = text(&response);
        assert_eq!(html.matches("</script").count(), 2);
        assert!(!html.contains("<!--") && !html.contains("<b>"));
        let (_, data) = html.split_once("id=\"data\">").unwrap();
        let data: Value = serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap();
        assert_eq!(data["handler"]["name"], "<!--<script>alert(1)");
        assert_eq!(data["keys"][0], "</script><b>.jpg");
    }
}
