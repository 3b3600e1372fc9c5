use super::*;
use crate::config::{self, Handler};
use crate::documents::assert_says;
use crate::format::or_list;

const PRESETS: &str = r#""presets": {"thumb": "w=160&h=120&f=auto", "own": ""}"#;

fn handler(fields: &str) -> Handler {
    let text = format!(
        r#"{{"handlers": [{{"name": "h", "directory": "/", "max_dimension": 1000, {fields}}}]}}"#
    );
    config::parse(&text, "test").unwrap().handlers.remove(0)
}

/// The canonical query as the edge computes it, or the error.
fn ask(handler: &Handler, query: &str) -> std::result::Result<String, String> {
    let query = Query::parse(query).unwrap();
    let whole = handler.size_policy.with_preset(&query).map_err(|error| error.0)?;
    let options =
        Options::resolve(&whole, "image/webp", handler.defaults()).map_err(|error| error.0)?;
    handler.size_policy.check_size(&query, &whole).map_err(|error| error.0)?;
    Ok(options.canonical())
}

fn check(handler: &Handler, expectations: &[(&str, std::result::Result<&str, &str>)]) {
    for (query, expected) in expectations {
        let got = ask(handler, query);
        assert_eq!(got.as_deref().map_err(String::as_str), *expected, "{query}");
    }
}

#[test]
fn by_default_every_size_is_allowed() {
    let handler = handler(r#""fail_on": "none""#);
    check(
        &handler,
        &[
            ("", Ok("")),
            ("w=17&dpr=0.7", Ok("w=12")),
            ("p=thumb", Err("p: there is no preset \"thumb\" here")),
            ("p=", Err("p: there is no preset \"\" here")),
        ],
    );
}

#[test]
fn a_preset_is_replaced_by_its_query() {
    let handler = handler(PRESETS);
    check(
        &handler,
        &[
            ("p=thumb", Ok("w=160&h=120&f=auto:webp:original:-gif")),
            ("p=%74humb", Ok("w=160&h=120&f=auto:webp:original:-gif")),
            ("p=thumb&w=30&f=png", Ok("w=30&h=120&f=png")),
            ("p=own", Ok("")),
            ("w=30", Ok("w=30")),
            ("", Ok("")),
            ("p=Thumb", Err("p: there is no preset \"Thumb\" here")),
            ("p=thumb&w=0", Err("w: must be a whole number of pixels above 0, not \"0\"")),
        ],
    );
    let long = ask(&handler, &format!("p={}", "\u{fc}".repeat(1000))).unwrap_err();
    assert!(long.len() < 100, "{long}");
}

#[test]
fn presets_only_refuses_other_parameters() {
    let only = handler(&format!(r#""presets_only": true, {PRESETS}"#));
    check(
        &only,
        &[
            ("p=thumb&t=1&unknown=2", Ok("w=160&h=120&f=auto:webp:original:-gif")),
            ("p=own", Ok("")),
            ("", Err("p: required here, the name of a preset")),
            ("t=1", Err("p: required here, the name of a preset")),
            ("p=default", Err("p: there is no preset \"default\" here")),
        ],
    );
    let default = handler(r#""presets_only": true, "presets": {"default": "w=9", "own": ""}"#);
    check(&default, &[("", Ok("w=9")), ("t=1&unknown=2", Ok("w=9")), ("p=own", Ok(""))]);
    for handler in [&only, &default] {
        for query in
            ["w=1", "h=1", "c=true", "f=png", "q=1", "dpr=1", "g=ce", "e=true", "bg=000000"]
        {
            for query in [query.to_owned(), format!("p=own&{query}")] {
                let sentence = ask(handler, &query).unwrap_err();
                assert!(
                    sentence.contains("not allowed here; choose a preset"),
                    "{query}: {sentence}"
                );
            }
        }
    }
}

#[test]
fn a_preset_named_default_is_an_ordinary_one_without_presets_only() {
    let handler = handler(r#""presets": {"default": "w=9"}"#);
    check(&handler, &[("", Ok("")), ("h=3", Ok("h=3")), ("p=default", Ok("w=9"))]);
}

#[test]
fn allowed_sizes_are_compared_before_dpr_and_clamping() {
    let listed = handler(r#""allowed_sizes": [[300, 200], [600, 0], [0, 400]]"#);
    const SIZE: std::result::Result<&str, &str> = Err("w, h: this size is not allowed here");
    const RATIO: std::result::Result<&str, &str> = Err("dpr: must be 1, 1.5, 2 or 3 here");
    check(
        &listed,
        &[
            ("w=300&h=200", Ok("w=300&h=200")),
            ("h=0200&w=300&c=false&q=8", Ok("w=300&h=200&c=false&q=8")),
            ("w=600", Ok("w=600")),
            ("h=400", Ok("h=400")),
            ("w=300&h=200&dpr=1", Ok("w=300&h=200")),
            ("w=300&h=200&dpr=1.50", Ok("w=450&h=300")),
            ("w=300&h=200&dpr=2", Ok("w=600&h=400")),
            ("w=300&h=200&dpr=3.0", Ok("w=900&h=600")),
            // Clamped after it was found in the list.
            ("w=600&dpr=3", Ok("w=1000")),
            ("", SIZE),
            ("f=png", SIZE),
            ("w=300", SIZE),
            ("h=200", SIZE),
            ("w=200&h=300", SIZE),
            ("w=600&h=1", SIZE),
            ("w=301&h=200", SIZE),
            ("w=99999999999", SIZE),
            // The product is listed, the size is not.
            ("w=300&dpr=2", SIZE),
            ("w=400&dpr=1.5", SIZE),
            ("w=300&h=200&dpr=0.5", RATIO),
            ("w=300&h=200&dpr=1.01", RATIO),
            ("w=300&h=200&dpr=8", RATIO),
            ("dpr=4", RATIO),
            ("w=0&h=200", Err("w: must be a whole number of pixels above 0, not \"0\"")),
            ("w=300&h=200&dpr=9", Err("dpr: must be a number from 0.1 to 8, not \"9\"")),
        ],
    );
    check(
        &handler(r#""allowed_sizes": [[0, 0]]"#),
        &[("", Ok("")), ("f=png", Ok("f=png")), ("w=1", SIZE)],
    );
}

#[test]
fn allowed_sizes_do_not_apply_to_presets() {
    let presets = r#""presets": {"a": "w=50&dpr=4", "b": "f=png"}"#;
    let listed = handler(&format!(r#"{presets}, "allowed_sizes": [[300, 0], [60, 70]]"#));
    const SIZE: std::result::Result<&str, &str> = Err("w, h: this size is not allowed here");
    check(
        &listed,
        &[
            ("p=a", Ok("w=200")),
            ("p=a&q=9", Ok("w=200&q=9")),
            ("p=a&dpr=1.5", Ok("w=75")),
            ("p=a&dpr=4", Err("dpr: must be 1, 1.5, 2 or 3 here")),
            ("p=b", Ok("f=png")),
            // The client's own parameters are compared with the list.
            ("p=a&w=300&dpr=1", Ok("w=300")),
            ("p=b&w=300", Ok("w=300&f=png")),
            ("p=b&w=301", SIZE),
            ("p=a&h=70", SIZE),
            ("p=a&w=50", SIZE),
        ],
    );
    check(
        &handler(&format!(r#"{presets}, "allowed_sizes": []"#)),
        &[("p=b", Ok("f=png")), ("", SIZE)],
    );
}

#[test]
fn max_variants_has_a_default_without_presets_only() {
    for (fields, expected) in [
        (r#""fail_on": "none""#, Some(64)),
        (r#""max_variants": 0"#, None),
        (r#""max_variants": 5"#, Some(5)),
        (PRESETS, Some(64)),
        (r#""presets": {"a": ""}, "presets_only": true"#, None),
        (r#""presets": {"a": ""}, "presets_only": true, "max_variants": 3"#, Some(3)),
        (r#""allowed_sizes": [[1, 1], [2, 2], [3, 0]]"#, Some(192)),
        (r#""allowed_sizes": [[1, 1], [2, 2]], "max_variants": 7"#, Some(7)),
    ] {
        assert_eq!(handler(fields).max_variants, expected, "{fields}");
    }
    let many = vec!["[1, 1]"; 1000].join(",");
    assert_eq!(handler(&format!(r#""allowed_sizes": [{many}]"#)).max_variants, Some(10_000));
}

#[test]
fn numbers_of_the_size_policy_are_as_documented() {
    let names = format!("names of 1 to {MAX_NAME} letters");
    let max_variants = format!(
        "{DEFAULT_MAX_VARIANTS}; with `allowed_sizes` {DEFAULT_MAX_VARIANTS} per size, at most \
         {MAX_VARIANTS_LIMIT}"
    );
    for text in [names, max_variants] {
        assert_says("docs/configuration.md", &text);
    }
    let ratios = RATIOS.map(|ratio| ratio.to_string());
    let sentence = format!("must be {}", or_list(ratios.iter().map(String::as_str)));
    assert_says("docs/tokens.md", &sentence);
}

#[test]
fn a_preset_may_be_an_object_and_keep_its_variants_local() {
    let handler = handler(
        r#""presets": {"tiny": {"query": "w=16&f=auto", "share": false}, "one": {"query": "w=17"},
            "own": {"query": "", "share": false}, "two": "w=18"}"#,
    );
    check(&handler, &[("p=tiny", Ok("w=16&f=auto:webp:original:-gif")), ("p=one", Ok("w=17"))]);
    let shares = |query: &str| {
        let query = Query::parse(query).unwrap();
        let options = Options::from_canonical(&query, handler.defaults()).unwrap();
        handler.size_policy.shares(&options, handler.defaults())
    };
    for query in ["", "w=16&f=auto:webp:original:-gif", "w=16&f=auto:avif:webp:original"] {
        assert!(!shares(query), "{query}");
    }
    for query in ["w=16", "w=16&f=webp", "w=17&f=auto:webp:original", "w=17", "w=18", "f=png"] {
        assert!(shares(query), "{query}");
    }
}

#[test]
fn a_preset_that_is_an_object_is_checked() {
    for (preset, expected) in [
        (r#"{}"#, ".query: required"),
        (r#"{"query": 1}"#, ".query: must be a string, not a number"),
        (r#"{"query": "w=x"}"#, ": w: must be"),
        (r#"{"query": "w=1", "share": "no"}"#, ".share: must be true or false"),
        (r#"{"query": "w=1", "shared": true}"#, ".shared: unknown field, did you mean share?"),
        ("[]", ": must be a query, such as \"w=300&h=200\", or an object with one, not an array"),
    ] {
        let text = format!(
            r#"{{"handlers": [{{"name": "h", "directory": "/", "presets": {{"a": {preset}}}}}]}}"#
        );
        let error = config::parse(&text, "test").unwrap_err();
        let error = format!("{}: {}", error.path, error.message);
        assert!(error.starts_with(&format!("handlers[0].presets.a{expected}")), "{error}");
    }
}
