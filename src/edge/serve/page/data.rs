//! The data of a page in JSON: parameters, and what the configuration allows a handler's clients.

use serde_json::{Map, Value, json};

use crate::config::{Handler, TokenKind};
use crate::options::{Control, PARAMETERS, Parameter, Query};

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
        "output_format": handler.output_format.map(|format| format.name()),
        "max_dimension": handler.max_dimension,
        "token": token,
        "presets": presets,
        "presets_only": policy.presets_only(),
        "allowed_sizes": policy.sizes(),
        "watermarks": watermarks,
    })
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
    fn data_has_every_image_option_and_no_secret() {
        let directory = env!("CARGO_MANIFEST_DIR");
        let text = format!(
            r#"{{"handlers": [{{"name": "h", "directory": "{directory}", "presets": {{"a": "w=9&f=webp"}},
                "allowed_sizes": [[3, 0]], "output_format": "jpg",
                "watermarks": {{"logo": {{"file": "{directory}/examples/images/logo.png"}}}},
                "token": {{"type": "hmac", "secrets": ["a secret of the handler"]}}}}]}}"#
        );
        let config = config::parse(&text, "test").unwrap();
        let value = playground(&config.handlers[0], None);
        let text = value.to_string();
        assert!(!text.contains("a secret") && !text.contains(directory), "{text}");
        assert_eq!(
            value["handler"],
            json!({"name": "h", "output_format": "jpg", "max_dimension": 3840,
                "token": {"type": "hmac", "required": true}, "presets": {"a": "w=9&f=webp"},
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
