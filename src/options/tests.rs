use super::gravity::NAMED;
use super::parameters::{self, PARAMETERS};
use super::*;
use crate::key::decode_query;

fn defaults(output_format: &str) -> Defaults<'static> {
    Defaults::for_tests(Format::parse(output_format))
}

fn canonical(query: &str) -> Result<String, String> {
    let query = Query::parse(query).map_err(|error| error.0)?;
    let options = Options::resolve(&query, "", defaults("jpg")).map_err(|error| error.0)?;
    let canonical = options.canonical();
    let again = Options::from_canonical(&Query::parse(&canonical).unwrap(), defaults("jpg"));
    assert_eq!(again.unwrap(), options, "{canonical} must mean the same as {query:?}");
    Ok(canonical)
}

#[test]
fn the_canonical_query_holds_exactly_what_changes_the_bytes() {
    for (query, expected) in [
        ("", "f=jpg"),
        ("w=300&h=200&c=true&f=webp", "w=300&h=200&f=webp"),
        ("h=200&w=300", "w=300&h=200&f=jpg"),
        ("w=300&h=200&c=false", "w=300&h=200&c=false&f=jpg"),
        ("w=300&c=false", "w=300&f=jpg"),
        ("h=7", "h=7&f=jpg"),
        ("w=99999999999999999999", "w=3840&f=jpg"),
        ("w=100&dpr=2", "w=200&f=jpg"),
        ("w=1000&dpr=8", "w=3840&f=jpg"),
        ("w=1&dpr=0.1", "w=1&f=jpg"),
        ("dpr=2", "f=jpg"),
        ("w=1&utm_source=x&t=secret", "w=1&f=jpg"),
        ("w=1&exp=99999999999999999999999", "w=1&f=jpg"),
        ("w=%33%30", "w=30&f=jpg"),
        ("q=75", "f=jpg"),
        ("q=9", "f=jpg&q=9"),
        ("f=png&q=9&bg=000000", "f=png"),
        ("f=jpeg&bg=00FF7f", "f=jpg&bg=00ff7f"),
        ("e=true", "f=jpg"),
        ("e=true&w=9", "w=9&f=jpg&e=true"),
        ("w=1&h=1&g=ce", "w=1&h=1&f=jpg"),
        ("w=1&h=1&g=nw", "w=1&h=1&g=nw&f=jpg"),
        ("w=1&h=1&g=smart", "w=1&h=1&g=smart&f=jpg"),
        ("w=1&h=1&g=fp:0.33333:1", "w=1&h=1&g=fp:0.3333:1&f=jpg"),
        ("w=1&h=1&c=false&g=nw", "w=1&h=1&c=false&f=jpg"),
        ("f=auto", "f=auto:jpg"),
        ("w=300&f=auto&bg=000000&q=9", "w=300&f=auto:jpg&q=9&bg=000000"),
        ("w=1&h=1&pad=true&f=auto&bg=00000080", "w=1&h=1&pad=true&f=auto:jpg&bg=00000080"),
        ("f=auto&frames=1&page=2", "f=auto:jpg&page=2&frames=1"),
        ("f=auto&strip=false", "f=auto:jpg&strip=false"),
        ("bg=000000ff&f=jpg", "f=jpg&bg=000000"),
        ("bg=00000080&f=jpg", "f=jpg&bg=000000"),
        ("w=1&h=1&pad=true", "w=1&h=1&pad=true&f=jpg"),
        ("w=1&h=1&pad=true&c=true", "w=1&h=1&pad=true&f=jpg"),
        ("w=1&h=1&pad=true&c=false", "w=1&h=1&pad=true&f=jpg"),
        ("w=1&h=1&pad=false", "w=1&h=1&f=jpg"),
        ("w=1&pad=true", "w=1&f=jpg"),
        ("pad=true", "f=jpg"),
        ("w=1&h=1&pad=true&g=n&e=true", "w=1&h=1&pad=true&g=n&f=jpg&e=true"),
        ("w=1&h=1&pad=true&g=smart", "w=1&h=1&pad=true&f=jpg"),
        ("w=1&h=1&pad=true&g=fp:0:0", "w=1&h=1&pad=true&f=jpg"),
        ("w=1&h=1&pad=true&f=png&bg=ABCDEF", "w=1&h=1&pad=true&f=png&bg=abcdef"),
        ("w=1&h=1&pad=true&f=png&bg=abcdef7F", "w=1&h=1&pad=true&f=png&bg=abcdef7f"),
        ("w=1&h=1&pad=true&f=png&bg=ffffff00", "w=1&h=1&pad=true&f=png&bg=ffffff00"),
        ("w=1&h=1&pad=true&f=png&bg=ffffffff", "w=1&h=1&pad=true&f=png"),
        ("w=1&h=1&pad=true&f=jpg&bg=abcdef7f", "w=1&h=1&pad=true&f=jpg&bg=abcdef"),
        ("rot=0", "f=jpg"),
        ("rot=90", "f=jpg&rot=90"),
        ("rot=270", "f=jpg&rot=270"),
        ("rot=360", "f=jpg"),
        ("rot=090.000", "f=jpg&rot=90"),
        ("rot=0.004", "f=jpg"),
        ("rot=359.999", "f=jpg"),
        ("rot=45", "f=jpg&rot=45"),
        ("rot=12.345", "f=jpg&rot=12.35"),
        ("rot=12.5&bg=00000080", "f=jpg&bg=000000&rot=12.5"),
        ("rot=12.5&bg=00000080&f=png", "f=png&bg=00000080&rot=12.5"),
        ("rot=12.5&bg=000000&f=png", "f=png&bg=000000&rot=12.5"),
        ("rot=45&flip=hv", "f=jpg&rot=225"),
        ("rot=225&flip=h", "f=jpg&rot=45&flip=v"),
        ("crop=none", "f=jpg"),
        ("crop=0:0:1:1", "f=jpg"),
        ("crop=0.0:0:1.0:01", "f=jpg"),
        ("crop=0:0:1:1:px", "f=jpg&crop=0:0:1:1:px"),
        ("crop=0:0:2:1", "f=jpg&crop=0:0:2:1"),
        ("crop=0:0:2:1:px", "f=jpg&crop=0:0:2:1"),
        ("crop=010:020:300:400", "f=jpg&crop=10:20:300:400"),
        ("crop=0:0:99999999999:1", "f=jpg&crop=0:0:4294967295:1"),
        ("crop=0.25:.5:0.3333333:1", "f=jpg&crop=0.25:0.5:0.333333:1"),
        ("crop=0.25%3A0.5%3A0.5%3A0.5", "f=jpg&crop=0.25:0.5:0.5:0.5"),
        ("w=9&h=9&g=ne:10:20", "w=9&h=9&g=ne:10:20&f=jpg"),
        ("w=9&h=9&g=ne:0:0.0", "w=9&h=9&g=ne&f=jpg"),
        ("w=9&h=9&g=ce:0:0", "w=9&h=9&f=jpg"),
        ("w=9&h=9&g=n:0.25:1&dpr=2", "w=18&h=18&g=n:0.25:2&f=jpg"),
        ("w=9&h=9&pad=true&g=se:1:2", "w=9&h=9&pad=true&g=se:1:2&f=jpg"),
        ("w=9&h=9&c=false&g=se:1:2", "w=9&h=9&c=false&f=jpg"),
        ("w=9&g=se:1:2", "w=9&f=jpg"),
        ("w=9&h=9&fit=cover", "w=9&h=9&f=jpg"),
        ("w=9&h=9&fit=contain", "w=9&h=9&c=false&f=jpg"),
        ("w=9&h=9&fit=pad&g=n", "w=9&h=9&pad=true&g=n&f=jpg"),
        ("w=9&h=9&fit=stretch&g=n&e=true", "w=9&h=9&fit=stretch&f=jpg"),
        ("w=9&h=9&fit=outside&g=n&e=true", "w=9&h=9&fit=outside&f=jpg&e=true"),
        ("w=9&h=9&fit=ratio&g=n", "w=9&h=9&fit=ratio&g=n&f=jpg"),
        ("w=9&h=9&fit=ratio&e=true", "w=9&h=9&f=jpg&e=true"),
        ("w=9&fit=stretch", "w=9&f=jpg"),
        ("fit=outside", "f=jpg"),
        ("min-w=9", "min-w=9&f=jpg"),
        ("min-w=9&min-h=8&dpr=2", "min-w=18&min-h=16&f=jpg"),
        ("min-w=99999999999", "min-w=3840&f=jpg"),
        ("min-w=9&g=n", "min-w=9&f=jpg"),
        ("w=5&min-h=9&g=n", "w=5&min-h=9&g=n&f=jpg"),
        ("w=5&h=5&fit=outside&min-w=9&g=n", "w=5&h=5&fit=outside&min-w=9&f=jpg"),
        ("w=5&h=5&fit=stretch&min-w=9", "w=5&h=5&fit=stretch&f=jpg"),
        ("round=0", "f=jpg"),
        ("round=00", "f=jpg"),
        ("round=5", "f=jpg&round=5"),
        ("round=5&dpr=1.5", "f=jpg&round=8"),
        ("round=max&dpr=2", "f=jpg&round=max"),
        ("round=99999999999", "f=jpg&round=max"),
        ("round=5&bg=000000", "f=jpg&bg=000000&round=5"),
        ("round=5&bg=000000&f=png", "f=png&round=5"),
        ("trim=10:auto", "f=jpg&trim=10"),
        ("trim=10:auto:lrtb", "f=jpg&trim=10"),
        ("trim=10:auto:bltr", "f=jpg&trim=10"),
        ("trim=10:FFFFFFff", "f=jpg&trim=10:ffffff"),
        ("trim=10:ffffff00:rl", "f=jpg&trim=10:ffffff00:lr"),
        ("trim=10:auto:vh", "f=jpg&trim=10:auto:hv"),
        ("trim=10:auto:bh", "f=jpg&trim=10:auto:bh"),
        ("flip=none", "f=jpg"),
        ("flip=h", "f=jpg&flip=h"),
        ("flip=hv", "f=jpg&rot=180"),
        ("flip=hv&rot=180", "f=jpg"),
        ("flip=h&rot=180", "f=jpg&flip=v"),
        ("rot=270&flip=v", "f=jpg&rot=90&flip=h"),
        ("trim=0", "f=jpg&trim=0"),
        ("trim=255", "f=jpg&trim=255"),
        ("trim=none", "f=jpg"),
        ("bri=1", "f=jpg"),
        ("bri=1.004&con=0.996&sat=1.0&gamma=1.00", "f=jpg"),
        ("bri=0", "f=jpg&bri=0"),
        ("bri=1.255", "f=jpg&bri=1.25"),
        ("sat=.5&con=10&bri=1.50", "f=jpg&bri=1.5&con=10&sat=0.5"),
        ("gamma=0.1", "f=jpg&gamma=0.1"),
        ("hue=0", "f=jpg"),
        ("hue=360", "f=jpg"),
        ("hue=-360", "f=jpg"),
        ("hue=-90", "f=jpg&hue=270"),
        ("hue=12.345", "f=jpg&hue=12.35"),
        ("gray=0&neg=false", "f=jpg"),
        ("gray=false&neg=0.0", "f=jpg"),
        ("neg=true&gray=true", "f=jpg&gray=1&neg=1"),
        ("gray=0.5&neg=1", "f=jpg&gray=0.5&neg=1"),
        ("tint=none&duo=none", "f=jpg"),
        ("tint=ff0000:0", "f=jpg"),
        ("tint=FF8000", "f=jpg&tint=ff8000:1"),
        ("tint=ff8000:0.50", "f=jpg&tint=ff8000:0.5"),
        ("duo=000000:FFffFF", "f=jpg&duo=000000:ffffff"),
        // Luminance is the same before and after `gray`.
        ("gray=1&duo=000000:ff0000", "f=jpg&duo=000000:ff0000"),
        ("gray=0.3&tint=ff0000:1", "f=jpg&tint=ff0000:1"),
        (
            "gray=1&tint=ff0000:0.9&duo=000000:ff0000",
            "f=jpg&gray=1&tint=ff0000:0.9&duo=000000:ff0000",
        ),
        ("pix=1", "f=jpg"),
        ("pix=01000", "f=jpg&pix=1000"),
        ("blur=0", "f=jpg"),
        ("blur=0.5", "f=jpg&blur=0.5"),
        ("blur=2.50", "f=jpg&blur=2.5"),
        ("blur=1.234", "f=jpg&blur=1.23"),
        ("blur=100", "f=jpg&blur=100"),
        ("sharp=0.0", "f=jpg"),
        ("sharp=10", "f=jpg&sharp=10"),
        ("sharp=.5&blur=1", "f=jpg&blur=1&sharp=0.5"),
        ("lossless=true", "f=png"),
        ("lossless=false", "f=jpg"),
        ("lossless=true&f=auto", "f=auto:png&lossless=true"),
        ("lossless=true&f=png", "f=png"),
        ("lossless=true&f=webp&q=9", "f=webp&lossless=true"),
        ("lossless=true&f=avif", "f=avif&lossless=true"),
        ("max_bytes=none", "f=jpg"),
        ("max_bytes=1000", "f=jpg&max_bytes=1000"),
        ("max_bytes=0050000&q=9", "f=jpg&q=9&max_bytes=50000"),
        ("max_bytes=100000000&f=auto", "f=auto:jpg&max_bytes=100000000"),
        ("max_bytes=1000&f=png", "f=png"),
        ("max_bytes=1000&f=gif", "f=gif"),
        ("max_bytes=1000&f=webp&lossless=true", "f=webp&lossless=true"),
        ("page=0", "f=jpg"),
        ("page=007", "f=jpg&page=7"),
        ("page=99999", "f=jpg&page=99999"),
        ("frames=1", "f=jpg"),
        ("frames=1&f=gif", "f=gif&frames=1"),
        ("frames=100000&f=webp&page=2", "f=webp&page=2"),
        ("strip=true", "f=jpg"),
        ("strip=false", "f=jpg&strip=false"),
        ("strip=false&f=gif", "f=gif"),
        ("strip=false&f=avif", "f=avif&strip=false"),
    ] {
        assert_eq!(canonical(query).as_deref(), Ok(expected), "{query}");
    }
}

#[test]
fn every_gravity_is_in_the_canonical_query() {
    for (word, _) in NAMED {
        canonical(&format!("w=2&h=3&g={word}")).unwrap();
    }
}

#[test]
fn bad_values_are_errors_that_name_the_parameter() {
    for query in [
        "w=",
        "w",
        "w=0",
        "w=-1",
        "w=1.5",
        "w=a",
        "w=%2B1",
        "h=0x10",
        "w=1&w=1",
        "w=1&%77=2",
        "w=%zz",
        "w=%ff",
        "c=1",
        "c=",
        "c=TRUE",
        "f=svg",
        "f=",
        "f=JPG",
        "f=auto:jpg",
        "f=auto:avif:webp:jpg",
        "f=auto:",
        "f=AUTO",
        "q=0",
        "q=101",
        "q=-1",
        "q=1e1",
        "dpr=0",
        "dpr=0.09",
        "dpr=8.1",
        "dpr=inf",
        "dpr=nan",
        "dpr=1e0",
        "dpr=",
        "g=x",
        "g=",
        "g=fp:1",
        "g=fp:2:0",
        "g=fp:-1:0",
        "g=fp:a:b",
        "g=fp:0:0:0",
        "e=yes",
        "bg=fff",
        "bg=%23ffffff",
        "bg=gggggg",
        "bg=fffffff",
        "bg=fffffffff",
        "bg=+fffffff",
        "pad=1",
        "pad=",
        "rot=",
        "rot=-90",
        "rot=-0",
        "rot=360.01",
        "rot=400",
        "rot=1e2",
        "rot=1e400",
        "rot=nan",
        "rot=inf",
        "rot=.",
        "rot=9999999999999999999999",
        "crop=",
        "crop=1",
        "crop=1:2:3",
        "crop=1:2:3:4:5",
        "crop=1:2:3:4:",
        "crop=:2:3:4",
        "crop=1:2::4",
        "crop=1:2:3:0",
        "crop=1:2:0:3",
        "crop=0:0:0:0",
        "crop=-1:0:5:5",
        "crop=-0:0:5:5",
        "crop=%2B1:0:5:5",
        "crop=1.5:0:5:5",
        "crop=0.5:0:5:5",
        "crop=0:0:0.5:2",
        "crop=0:0:0.5:0.5:px",
        "crop=0:0:1:1:PX",
        "crop=0:0:1:1:px:px",
        "crop=px",
        "crop=0:0:0.0000001:1",
        "crop=1:0:1:1",
        "crop=0:1:0.5:0.5",
        "crop=nan:0:1:1",
        "crop=0:0:inf:1",
        "crop=0:0:1e400:1",
        "crop=1e1:0:5:5",
        "crop= 1:2:3:4",
        "crop=1,2,3,4",
        "crop=%zz",
        "crop=1:2:3:4&crop=1:2:3:4",
        "g=ce:1",
        "g=ce:1:2:3",
        "g=ce::",
        "g=ne:-1:0",
        "g=ne:-0:0",
        "g=ne:1.0:0",
        "g=ne:1.5:0",
        "g=ne:.:0",
        "g=ne:nan:0",
        "g=ne:1e400:0",
        "g=smart:1:1",
        "g=fp:0.1:0.1:5:5",
        "g=:1:1",
        "fit=",
        "fit=COVER",
        "fit=fill",
        "fit=stretch&c=true",
        "fit=cover&pad=false",
        "fit=cover&fit=cover",
        "min-w=0",
        "min-w=-1",
        "min-w=1.5",
        "min-w=",
        "min-h=1e3",
        "min-h=nan",
        "round=",
        "round=-1",
        "round=-0",
        "round=0.5",
        "round=50%25",
        "round=MAX",
        "round=nan",
        "trim=10:",
        "trim=10::lr",
        "trim=10:red",
        "trim=10:fff",
        "trim=10:auto:",
        "trim=10:auto:x",
        "trim=10:auto:ll",
        "trim=10:auto:hl",
        "trim=10:auto:tv",
        "trim=10:auto:lr:tb",
        "trim=:ffffff",
        "trim=none:ffffff",
        "flip=",
        "flip=H",
        "flip=vh",
        "trim=",
        "trim=256",
        "trim=-1",
        "trim=1.5",
        "trim=true",
        "bri=",
        "bri=-0.1",
        "bri=10.01",
        "bri=150%25",
        "bri=1,5",
        "bri=nan",
        "con=10.001",
        "con=true",
        "gamma=0",
        "gamma=0.09",
        "gamma=10.1",
        "sat=-1",
        "sat=1e0",
        "hue=361",
        "hue=-360.1",
        "hue=90deg",
        "hue=+9",
        "hue=",
        "gray=1.1",
        "gray=yes",
        "gray=TRUE",
        "gray=-0",
        "tint=",
        "tint=fff:0.5",
        "tint=ff0000:",
        "tint=ff0000:1.1",
        "tint=ff0000:-1",
        "tint=ff0000ff:1",
        "tint=ff0000:0.5:0.5",
        "tint=red",
        "duo=ff0000",
        "duo=ff0000:",
        "duo=ff0000:00ff0",
        "duo=ff0000:00ff00ff",
        "duo=ff0000:00ff00:0000ff",
        "duo=:",
        "neg=2",
        "neg=",
        "pix=0",
        "pix=1001",
        "pix=2.5",
        "pix=-1",
        "pix=true",
        "pix=2&pix=2",
        "blur=",
        "blur=0.49",
        "blur=100.01",
        "blur=-1",
        "blur=1e1",
        "blur=nan",
        "blur=.",
        "sharp=0.49",
        "sharp=10.1",
        "sharp=inf",
        "lossless=1",
        "lossless=true&f=jpg",
        "lossless=true&f=gif",
        "page=",
        "page=-1",
        "page=100000",
        "page=1.0",
        "frames=0",
        "frames=100001",
        "frames=",
        "frames=all",
        "strip=no",
        "t=1&t=2",
        "exp=",
        "exp=-1",
        "exp=1.5",
        "exp=%2B1",
        "exp=1&exp=1",
    ] {
        let sentence = canonical(query).expect_err(query);
        let name = decode_query(query.split(['=', '&']).next().unwrap()).unwrap();
        assert!(sentence.starts_with(&format!("{name}: ")), "{query}: {sentence}");
    }
}

#[test]
fn without_output_format_the_original_format_is_kept() {
    let options =
        Options::resolve(&Query::parse("bg=000000&q=3").unwrap(), "", defaults("")).unwrap();
    assert_eq!(options.canonical(), "q=3&bg=000000");
    let options =
        Options::resolve(&Query::parse("lossless=true&q=3").unwrap(), "", defaults("")).unwrap();
    assert_eq!(options.canonical(), "lossless=true");
    for (original, written) in [
        (Format::Jpeg, Format::Png),
        (Format::Gif, Format::Png),
        (Format::Png, Format::Png),
        (Format::Webp, Format::Webp),
        (Format::Avif, Format::Avif),
    ] {
        let needs = Needs { animation: false, transparency: false };
        assert_eq!(options.formats(original, needs), [written]);
    }
}

#[test]
fn error_images_keep_size_format_quality_and_background_only() {
    let all = "w=9&h=8&pad=true&g=n&bg=00ff0080&rot=90&flip=h&trim=1&bri=2&con=2&gamma=2&sat=2&hue=9&gray=1&tint=ff0000:0.5&duo=ff0000:00ff00&neg=1&pix=9&blur=2&sharp=3&page=4&frames=5&strip=false";
    for (query, expected) in [
        (format!("{all}&f=webp&lossless=true"), "w=9&h=8&pad=true&g=n&f=webp&bg=00ff0080"),
        (format!("{all}&f=jpg&q=7"), "w=9&h=8&pad=true&g=n&f=jpg&q=7&bg=00ff00"),
    ] {
        let options = Options::resolve(&Query::parse(&query).unwrap(), "", defaults("")).unwrap();
        assert_eq!(options.of_error_image().canonical(), expected);
    }
}

#[test]
fn error_images_are_not_enlarged() {
    for (query, expected) in [
        ("w=9&h=8&e=true", "w=9&h=8"),
        ("w=9&e=true", "w=9"),
        ("min-w=9", ""),
        ("w=9&h=8&min-h=9&g=n&c=false", "w=9&h=8&c=false"),
        ("w=9&h=8&fit=outside&e=true", "w=9&h=8&fit=outside"),
        ("w=9&h=8&fit=ratio", "w=9&h=8&fit=ratio"),
        ("w=9&h=8&fit=stretch", "w=9&h=8"),
        ("w=9&h=8&fit=stretch&min-w=9", "w=9&h=8"),
    ] {
        let options = Options::resolve(&Query::parse(query).unwrap(), "", defaults("")).unwrap();
        assert_eq!(options.of_error_image().canonical(), expected, "{query}");
    }
}

/// The names of the parameters that are about the image.
fn image_options() -> impl Iterator<Item = &'static str> {
    PARAMETERS.iter().filter(|parameter| parameter.is_image_option).map(|parameter| parameter.name)
}

#[test]
fn every_image_option_is_explained_in_the_documentation() {
    let page = include_str!("../../docs/options.md");
    let headings: Vec<&str> = page.lines().filter(|line| line.starts_with("### ")).collect();
    for name in image_options() {
        assert!(
            headings.iter().any(|line| line.contains(&format!("`{name}`"))),
            "docs/options.md lacks {name}"
        );
    }
    let others = PARAMETERS.iter().filter(|parameter| !parameter.is_image_option);
    assert_eq!(others.map(|parameter| parameter.name).collect::<Vec<_>>(), ["t", "exp", "p", "dl"]);
}

#[test]
fn parameter_names_are_unique_and_documented() {
    for (index, row) in PARAMETERS.iter().enumerate() {
        assert!(PARAMETERS[..index].iter().all(|other| other.name != row.name), "{row:?}");
        assert!((row.rule)().starts_with("must be "), "{row:?}");
        assert!(row.documentation.ends_with('.') && !row.documentation.starts_with(' '), "{row:?}");
    }
}

#[test]
fn controls_accept_their_whole_range_and_no_more() {
    for row in PARAMETERS.iter().filter(|row| row.is_image_option) {
        let is_accepted = |value: &str| canonical(&format!("{}={value}", row.name)).is_ok();
        let (accepted, refused): (Vec<String>, Vec<String>) = match row.control {
            Control::Flag => (vec!["true".into(), "false".into()], vec!["1".into()]),
            Control::Choice(names) => (names().into_iter().map(str::to_owned).collect(), vec![]),
            Control::Colour => (vec!["00ff7f".into()], vec!["red".into()]),
            Control::Text => match row.name {
                "wm" => (vec!["none".into()], vec!["a b".into(), "unknown".into()]),
                "tint" => (vec!["ff8000:0.5".into()], vec!["ff8000:2".into()]),
                "duo" => (vec!["000000:ffffff".into()], vec!["ffffff".into()]),
                // Their values have no range.
                _ => (vec![row.default.trim_matches('`').into()], vec!["".into()]),
            },
            Control::Number { min, max, step } => {
                // 0 and beyond a handler's limit are clamped or stand for the default.
                let is_clamped = ["w", "h", "min-w", "min-h"].contains(&row.name);
                let above = (!is_clamped).then(|| (max + step).to_string());
                (vec![min.to_string(), max.to_string()], above.into_iter().collect())
            }
        };
        assert!(accepted.iter().all(|value| is_accepted(value)), "{row:?}");
        assert!(!refused.iter().any(|value| is_accepted(value)), "{row:?}");
    }
}

#[test]
fn documented_defaults_are_the_defaults() {
    for row in PARAMETERS.iter().filter(|row| row.is_image_option) {
        // Of the values that other parameters must accompany, the pair is given.
        let box_of =
            if ["c", "pad", "fit", "g", "dpr", "e"].contains(&row.name) { "w=1&h=1&" } else { "" };
        let expected = canonical(box_of.trim_end_matches('&')).unwrap();
        let default = row.default.trim_end_matches(", or the handler's").trim_matches('`');
        match canonical(&format!("{box_of}{}={default}", row.name)) {
            Ok(query) => assert_eq!(query, expected, "{row:?}"),
            Err(_) => {
                let described = ["w", "h", "min-w", "min-h", "f", "frames"];
                assert!(described.contains(&row.name), "{row:?}");
            }
        }
    }
}

#[test]
fn error_images_drop_options_that_change_the_pixels_of_the_original() {
    let resized = ["w", "h", "c", "pad", "fit", "min-w", "min-h", "g", "dpr", "e", "bg"];
    let reset = [
        ("rot", "90"),
        ("flip", "h"),
        ("crop", "1:2:3:4"),
        ("trim", "1"),
        ("bri", "2"),
        ("con", "2"),
        ("gamma", "2"),
        ("sat", "2"),
        ("hue", "9"),
        ("gray", "1"),
        ("tint", "ff0000:1"),
        ("duo", "ff0000:00ff00"),
        ("neg", "1"),
        ("pix", "2"),
        ("blur", "1"),
        ("sharp", "1"),
        ("round", "max"),
        ("page", "1"),
    ];
    for (name, value) in reset {
        let query = Query::parse(&format!("{name}={value}")).unwrap();
        let options = Options::resolve(&query, "", defaults("")).unwrap();
        assert_eq!(options.of_error_image().canonical(), "", "{name}");
    }
    let changing = PARAMETERS.iter().filter(|row| row.changes_pixels);
    let others = changing.filter(|row| !resized.contains(&row.name)).map(|row| row.name);
    let expected = reset.iter().map(|(name, _)| *name).chain(["wm"]);
    assert_eq!(others.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

#[test]
fn the_markdown_table_has_a_row_for_each_parameter() {
    let table = parameters::markdown();
    assert_eq!(table.lines().count(), 2 + PARAMETERS.len());
    assert!(
        table.contains("| `q` | a whole number from 1 to 100 | 75, or the handler's | Quality"),
        "{table}"
    );
}

#[test]
fn preset_values_apply_to_parameters_missing_from_the_query() {
    let preset = Query::parse_preset("w=160&h=120&c=true&f=auto&bg=00%30000").unwrap();
    for (query, expected) in [
        ("p=thumb", "w=160&h=120&f=auto:jpg&bg=000000"),
        ("p=thumb&h=90&f=png&t=1&unknown=2", "w=160&h=90&f=png"),
        ("c=false&bg=ffffff&q=9&f=jpg", "w=160&h=120&c=false&f=jpg&q=9"),
        ("pad=true&rot=90&f=jpg", "w=160&h=120&pad=true&f=jpg&bg=000000&rot=90"),
        // `fit` in place of the preset's `c`.
        ("fit=stretch&f=png", "w=160&h=120&fit=stretch&f=png"),
        ("fit=contain&f=png", "w=160&h=120&c=false&f=png"),
    ] {
        let query = Query::parse(query).unwrap();
        let whole = query.over(&preset);
        assert_eq!((whole.token(), whole.preset()), (query.token(), query.preset()));
        assert_eq!(whole.varies(), !query.has_any(&["f"]));
        let options = Options::resolve(&whole, "", defaults("jpg")).unwrap();
        assert_eq!(options.canonical(), expected);
    }
    assert_eq!(
        canonical("p=thumb&w=1").as_deref(),
        Ok("w=1&f=jpg"),
        "the canonical query has no preset"
    );
}

#[test]
fn c_and_pad_replace_the_fit_of_a_preset() {
    let preset = Query::parse_preset("w=9&h=8&fit=outside&f=png").unwrap();
    for (query, expected) in [
        ("", "w=9&h=8&fit=outside&f=png"),
        ("c=true", "w=9&h=8&f=png"),
        ("c=false", "w=9&h=8&c=false&f=png"),
        ("pad=true", "w=9&h=8&pad=true&f=png"),
        ("fit=ratio", "w=9&h=8&fit=ratio&f=png"),
    ] {
        let whole = Query::parse(query).unwrap().over(&preset);
        let options = Options::resolve(&whole, "", defaults("")).unwrap();
        assert_eq!(options.canonical(), expected, "{query}");
    }
    let both = Query::parse("fit=ratio&c=true").unwrap().over(&preset);
    let error = Options::resolve(&both, "", defaults("")).unwrap_err();
    assert_eq!(error.0, "fit: can't be given together with c");
}

#[test]
fn presets_hold_image_options_only() {
    for (written, sentence) in [
        ("p=x", "p: can't be in a preset"),
        ("w=1&t=secret", "t: can't be in a preset"),
        ("w=1&utm=2", "unknown parameter \"utm=2\""),
        ("W=1", "unknown parameter \"W=1\""),
        ("?w=1", "unknown parameter \"?w=1\""),
        ("w=1&", "unknown parameter \"\""),
        ("&", "unknown parameter \"\""),
        ("%zz=1", "unknown parameter \"%zz=1\""),
        ("w=1&w=2", "w: given twice"),
        ("bg=%ff", "bg: its value is not percent-encoded UTF-8"),
    ] {
        assert_eq!(Query::parse_preset(written).unwrap_err().0, sentence, "{written}");
    }
    for name in image_options() {
        let preset = Query::parse_preset(&format!("{name}=1")).unwrap();
        assert_eq!(preset.first_image_option(), Some(name));
    }
    assert_eq!(Query::parse_preset("").unwrap().first_image_option(), None);
    assert_eq!(Query::parse("p=a&t=b&unknown=c").unwrap().first_image_option(), None);
}

#[test]
fn query_sides_are_before_dpr_and_clamping() {
    for (query, sides, ratio) in [
        ("", [0, 0], None),
        ("w=300&h=200&dpr=1.5", [300, 200], Some(1.5)),
        ("w=0300", [300, 0], None),
        ("h=99999999999", [0, u32::MAX], None),
    ] {
        let query = Query::parse(query).unwrap();
        assert_eq!((query.sides(), query.dpr()), (sides, ratio));
    }
}

#[test]
fn auto_is_canonical_by_what_accept_allows() {
    for (query, accept, default, expected) in [
        ("f=auto", "image/webp,*/*", "jpg", "f=auto:webp:jpg"),
        ("f=auto&w=3", "image/avif, image/webp, image/*, x/y", "", "w=3&f=auto:avif:webp:original"),
        ("f=auto&w=3", "x/z, image/*, image/webp, image/avif", "", "w=3&f=auto:avif:webp:original"),
        // All of them have transparency, so that nothing is flattened.
        ("f=auto&bg=000000", "image/webp,*/*", "png", "f=auto:webp:png"),
        ("f=auto&bg=000000", "image/webp,*/*", "", "f=auto:webp:original&bg=000000"),
        // None of them has frames.
        ("f=auto&frames=2", "image/png", "png", "f=auto:png:-gif"),
        ("f=auto&frames=2", "image/avif", "png", "f=auto:avif:png:-gif&frames=2"),
        ("f=auto&frames=2", "image/webp", "png", "f=auto:webp:png:-gif&frames=2"),
        ("f=auto&q=9", "*/*", "png", "f=auto:png"),
        ("f=auto&q=9", "*/*", "gif", "f=auto:gif&q=9"),
        // A format that can't be lossless is not chosen, whatever its weight.
        ("lossless=true&f=auto&q=3", "image/jpeg", "jpg", "f=auto:png&lossless=true"),
        (
            "lossless=true&f=auto",
            "image/webp;q=0.1,image/jpeg",
            "jpg",
            "f=auto:webp:png:-gif&lossless=true",
        ),
        ("lossless=true&f=auto", "image/avif,image/gif", "gif", "f=auto:avif:png&lossless=true"),
        ("lossless=true&f=auto", "image/gif", "", "f=auto:original&lossless=true"),
    ] {
        let query = Query::parse(query).unwrap();
        assert!(query.varies());
        let options = Options::resolve(&query, accept, defaults(default)).unwrap();
        let canonical = options.canonical();
        assert_eq!(canonical, expected, "{query:?} with {accept}");
        let again = Options::from_canonical(&Query::parse(&canonical).unwrap(), defaults(default));
        assert_eq!(again.unwrap(), options);
    }
}

#[test]
fn options_without_auto_do_not_depend_on_accept() {
    for query in ["", "f=png", "w=1&f=webp", "lossless=true"] {
        let query = Query::parse(query).unwrap();
        assert!(!query.varies());
        let [one, other] = ["image/avif,image/webp,*/*", "image/gif;q=0"]
            .map(|accept| Options::resolve(&query, accept, defaults("")).unwrap());
        assert_eq!(one, other);
    }
}
