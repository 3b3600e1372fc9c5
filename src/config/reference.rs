//! Generates the tables of docs/configuration.md and docs/tokens.md from the tables that the parser uses.

use std::fmt::Write;

use super::schema::{Kind, MAX_SECONDS, MIN_SECONDS, Row, Shown, Table};
use super::{
    TABLE, admin, cache, cdn, defaults, handler, limits, origin, size_policy, token, watermarks,
};

/// A section of the reference: the path of an object and the table of its fields.
const SECTIONS: [(&str, Table); 15] = [
    ("configuration", TABLE),
    ("admin", admin::TABLE),
    ("events", admin::EVENTS_TABLE),
    ("limits", limits::TABLE),
    ("handler", handler::TABLE),
    ("aws", origin::AWS_TABLE),
    ("http", origin::HTTP_TABLE),
    ("origins", origin::EACH_TABLE),
    ("originals_cache", cache::ORIGINALS_TABLE),
    ("quality", defaults::QUALITY_TABLE),
    ("presets", size_policy::PRESET_TABLE),
    ("token", token::TABLE),
    ("cache_control", cdn::CACHE_CONTROL_TABLE),
    ("purge_hook", cdn::PURGE_HOOK_TABLE),
    ("watermarks", watermarks::EACH_TABLE),
];

/// The names of the sections, in the order of the reference.
pub fn sections() -> impl Iterator<Item = &'static str> {
    SECTIONS.into_iter().map(|(name, _)| name)
}

/// The fields of a section as a Markdown table; `None` for an unknown name.
pub fn markdown(section: &str) -> Option<String> {
    let (_, table) = SECTIONS.into_iter().find(|(name, _)| *name == section)?;
    let mut text =
        "| field | type | values | default | meaning |\n| --- | --- | --- | --- | --- |\n"
            .to_owned();
    for row in table {
        let Row { name, kind, default, unit, doc } = row;
        let doc = doc.trim();
        let values = match values(kind) {
            values if values.is_empty() => values,
            values => format!(" {values}"),
        };
        let default = default_text(default, unit);
        let unit = if unit.is_empty() { String::new() } else { format!(", {unit}") };
        let kind = type_name(kind);
        // Writing to a String can't fail.
        let _ = writeln!(text, "| `{name}` | {kind}{unit} |{values} | {default} | {doc} |");
    }
    Some(text)
}

fn type_name(kind: &Kind) -> String {
    match kind {
        Kind::Boolean => "boolean".to_owned(),
        Kind::Integer { .. } => "whole number".to_owned(),
        Kind::Number { .. } => "number".to_owned(),
        Kind::Seconds { .. } => "seconds".to_owned(),
        Kind::String | Kind::Text | Kind::Secret | Kind::Choice(_) => "string".to_owned(),
        Kind::Secrets => "list of strings".to_owned(),
        Kind::Array { items, .. } => format!("list of {items}"),
        Kind::Object(_) => "object".to_owned(),
        Kind::TextOrObject(_) => "string or object".to_owned(),
        Kind::Map(values, _) => format!("object of {values}"),
        Kind::Json => "JSON".to_owned(),
    }
}

fn values(kind: &Kind) -> String {
    match kind {
        Kind::Integer { min, max } => format!("{} – {max}", min.to_string().replace('-', "−")),
        Kind::Number { min, max } => format!("{} – {max}", min.to_string().replace('-', "−")),
        Kind::Seconds { zero } => {
            let zero = if *zero { "0, " } else { "" };
            format!("{zero}{MIN_SECONDS} – {MAX_SECONDS}")
        }
        Kind::Choice(names) => {
            names().iter().map(|name| format!("`\"{name}\"`")).collect::<Vec<_>>().join(", ")
        }
        _ => String::new(),
    }
}

fn default_text(default: &Shown, unit: &str) -> String {
    match default {
        Shown::Required => "required".to_owned(),
        Shown::Boolean(value) => format!("`{value}`"),
        Shown::Integer(value) => with_larger_unit(*value, unit),
        Shown::Seconds(value) if value.subsec_nanos() == 0 => {
            with_larger_unit(value.as_secs() as i64, "seconds")
        }
        Shown::Seconds(value) => value.as_secs_f64().to_string(),
        Shown::String(value) => format!("`\"{value}\"`"),
        Shown::Words(words) => (*words).to_owned(),
    }
}

/// A number that is a multiple of a larger unit also in that unit: `67108864 (64 MiB)`.
fn with_larger_unit(value: i64, unit: &str) -> String {
    let units: &[(i64, &str)] = match unit {
        "bytes" | "bytes a second" => &[(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")],
        "seconds" => &[(604_800, "week"), (86_400, "day")],
        _ => &[],
    };
    let larger = units.iter().find(|(size, _)| value > 0 && value % size == 0);
    larger.map_or_else(
        || value.to_string(),
        |(size, name)| format!("{value} ({} {name})", value / size),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_the_reference_has_a_sentence() {
        for section in sections() {
            let text = markdown(section).unwrap();
            for line in text.lines().skip(2) {
                assert_eq!(line.matches('|').count(), 6, "{line}");
                assert!(line.ends_with(". |"), "{line}");
            }
        }
        assert_eq!(markdown("absent"), None);
    }

    #[test]
    fn every_object_with_fields_has_a_section() {
        for (_, table) in SECTIONS {
            for row in table {
                if let Kind::Object(fields)
                | Kind::TextOrObject(fields)
                | Kind::Map(_, fields @ [_, ..]) = row.kind
                {
                    // An object with the fields of another one refers to its section.
                    let names = |table: Table| table.iter().map(|row| row.name).collect::<Vec<_>>();
                    let has_section =
                        SECTIONS.iter().any(|(_, table)| names(table) == names(fields));
                    assert!(has_section, "{}", row.name);
                }
            }
        }
    }

    #[test]
    fn the_reference_has_name_type_range_default_and_meaning() {
        let limits = markdown("limits").unwrap();
        let row = "| `queue_length` | whole number | 0 – 1000000 | 256 | Requests that may wait for the renderer; one \
                   more gets 503. |";
        assert!(limits.lines().any(|line| line == row), "{limits}");
        let handler = markdown("handler").unwrap();
        let row = "| `cache_time` | whole number, seconds | −1 – 4294967295 | 604800 (1 week) |";
        assert!(handler.contains(row), "{handler}");
        let row = r#"| `fail_on` | string | `"none"`, `"truncated"`, `"error"`, `"warning"` | `"truncated"` |"#;
        assert!(handler.contains(row), "{handler}");
        for name in ["aws", "directory", "http", "origins"] {
            assert!(handler.contains(&format!("\n| `{name}` |")), "{handler}");
        }
    }
}
