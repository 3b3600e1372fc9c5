//! The data of a page in JSON: parameters, and what the configuration allows a handler's clients.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::config::{Handler, TokenKind};
use crate::format::{Format, formats_that};
use crate::options::{Control, PARAMETERS, Parameter, Quality, Query};

pub fn admin() -> Value {
    json!({"parameters": parameters()})
}

pub fn playground(handler: &Handler, keys: Option<(Vec<String>, bool)>) -> Value {
    let (keys, complete) = keys.unwrap_or_default();
    json!({
        "parameters": parameters(),
        "handler": handler_data(handler),
        "keys": keys,
        "complete": complete,
    })
}

/// A handler as its clients may know it: neither its origin nor a secret.
pub fn handler_data(handler: &Handler) -> Value {
    let policy = &handler.size_policy;
    let token = handler.token.as_ref().map(|token| {
        let kind = if token.kind == TokenKind::Hmac { "hmac" } else { "jwt" };
        json!({"type": kind, "required": token.required})
    });
    let presets: Map<String, Value> =
        policy.presets().map(|(name, query)| (name.to_owned(), written(query).into())).collect();
    // Where every image has them, there is nothing to choose.
    let watermarks = handler.watermarks.all.iter().filter(|_| !handler.has_mandatory_watermark());
    let watermarks: Vec<&str> = watermarks.map(|watermark| watermark.name.as_str()).collect();
    json!({
        "name": handler.route,
        "defaults": defaults(handler),
        "output_format": handler.output_format.map(|format| format.name()),
        "max_dimension": handler.max_dimension,
        "token": token,
        "presets": presets,
        "presets_only": policy.presets_only(),
        "allowed_sizes": policy.sizes(),
        "watermarks": watermarks,
    })
}

/// The handler's defaults where they are not those of the table, by parameter.
fn defaults(handler: &Handler) -> Value {
    let all = handler.size_policy.defaults().pairs();
    let mut all: Map<String, Value> =
        all.map(|(name, value)| (name.to_owned(), value.into())).collect();
    if let Some(format) = handler.output_format {
        all.insert("f".to_owned(), format.name().into());
    }
    if handler.quality != Quality::default() {
        all.insert("q".to_owned(), quality(&handler.quality).into());
    }
    all.into()
}

/// One number, or such as `jpg 75, webp 80, avif native50`.
fn quality(quality: &Quality) -> String {
    let formats = || formats_that(Format::has_quality);
    let levels: BTreeSet<String> = formats().map(|format| quality.of(format).to_string()).collect();
    if let (1, Some(level)) = (levels.len(), levels.first()) {
        return level.clone();
    }
    let each = formats().map(|format| format!("{} {}", format.name(), quality.of(format)));
    each.collect::<Vec<_>>().join(", ")
}

fn written(query: &Query) -> String {
    let pairs: Vec<String> = query.pairs().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// The parameters that are about the image.
fn parameters() -> Value {
    PARAMETERS.iter().filter(|parameter| parameter.is_image_option).map(parameter).collect()
}

fn parameter(parameter: &Parameter) -> Value {
    let Parameter { name, control, default, documentation, rule, .. } = parameter;
    let control = match control {
        Control::Flag => json!({"type": "flag"}),
        Control::Number { min, max, step } => {
            json!({"type": "number", "min": min, "max": max, "step": step})
        }
        Control::Choice(names) => json!({"type": "choice", "values": names()}),
        Control::Colour => json!({"type": "colour"}),
        Control::Text => json!({"type": "text"}),
    };
    json!({
        "name": name,
        "control": control,
        "default": default.replace('`', ""),
        "documentation": documentation.replace('`', ""),
        "rule": rule(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn defaults_are_those_that_the_handler_changes() {
        let of = |fields: &str| {
            let text = format!(r#"{{"handlers": [{{"name": "h", "directory": "/"{fields}}}]}}"#);
            let config = config::parse(&text, "test").unwrap();
            handler_data(&config.handlers[0])["defaults"].clone()
        };
        assert_eq!(of(""), json!({}));
        assert_eq!(of(r#", "defaults": "f=auto&w=9""#), json!({"f": "auto", "w": "9"}));
        let levels = r#", "quality": {"avif": 60, "scale": "native"}, "defaults": "q=82""#;
        let quality = of(levels)["q"].as_str().unwrap().to_owned();
        assert!(quality.starts_with("jpg 82, webp 82, avif native60"), "{quality}");
    }

    #[test]
    fn data_has_every_image_option_and_no_secret() {
        let directory = env!("CARGO_MANIFEST_DIR");
        let text = format!(
            r#"{{"handlers": [{{"name": "h", "directory": "{directory}", "presets": {{"a": "w=9&f=webp"}},
                "allowed_sizes": [[3, 0]], "output_format": "jpg", "defaults": "e=true&q=82",
                "watermarks": {{"logo": {{"file": "{directory}/examples/images/logo.png"}}}},
                "token": {{"type": "hmac", "secrets": ["a secret of the handler"]}}}}]}}"#
        );
        let config = config::parse(&text, "test").unwrap();
        let value = playground(&config.handlers[0], None);
        let text = value.to_string();
        assert!(!text.contains("a secret") && !text.contains(directory), "{text}");
        assert_eq!(
            value["handler"],
            json!({"name": "h", "defaults": {"e": "true", "f": "jpg", "q": "82"}, "output_format": "jpg", "max_dimension": 3840,
                "token": {"type": "hmac", "required": true}, "presets": {"a": "w=9&f=webp&e=true"},
                "presets_only": false, "allowed_sizes": [[3, 0]], "watermarks": ["logo"]})
        );
        let parameters = value["parameters"].as_array().unwrap();
        assert_eq!(parameters.len(), PARAMETERS.len() - 4);
        assert_eq!(
            parameters[0]["control"],
            json!({"type": "number", "min": 1.0, "max": 16383.0, "step": 1.0})
        );
    }
}
