//! `server_timing`: where the time of a miss went, for the developer tools of browsers.

use serde_json::{Value, json};

use crate::support::directory::Directory;
use crate::support::server::Server;
use crate::support::{images, merged};

fn server(directory: &Directory, cache: &Directory, fields: Value) -> Server {
    let handler = merged(directory.handler(), json!({"cache_path": cache.path()}));
    Server::with_handler(merged(handler, fields))
}

fn directory() -> Directory {
    let png = images::png(images::gradient(80, 60));
    Directory::new().with("a.png", &png).with("text.png", b"no image")
}

/// The names of the metrics. Each has a duration in milliseconds.
#[track_caller]
fn names(value: &str) -> Vec<&str> {
    let name = |metric: &str| {
        let (_, took) = metric.split_once(";dur=").unwrap_or_else(|| panic!("{value}"));
        assert!(took.parse::<f64>().unwrap() >= 0.0, "{value}");
    };
    value.split(", ").for_each(name);
    value.split(", ").map(|metric| metric.split(';').next().unwrap()).collect()
}

#[test]
fn server_timing_has_the_phases_of_a_miss_and_is_not_stored() {
    let directory = directory();
    let cache = Directory::new();
    let server = server(&directory, &cache, json!({"server_timing": true}));
    let miss = server.get("/h/a.png?w=40").ok();
    let value = miss.expect("Server-Timing");
    let phases = names(value);
    for phase in ["queue", "fetch", "decode", "encode"] {
        assert!(phases.contains(&phase), "{value}");
    }
    for _ in 0..2 {
        let hit = server.get("/h/a.png?w=40").ok();
        assert_eq!((hit.expect("X-Cache"), hit.header("Server-Timing")), ("hit", None));
    }
    // As far as a failure got.
    let failed = server.get("/h/none.png").failed("not_found");
    assert_eq!(names(failed.expect("Server-Timing")), ["queue", "fetch"]);
    let failed = server.get("/h/text.png").failed("unsupported_format");
    assert!(names(failed.expect("Server-Timing")).contains(&"fetch"));
    // A response without the renderer has none.
    assert_eq!(server.get("/h/a.png?w=0").header("Server-Timing"), None);
    assert_eq!(server.get("/-/health").header("Server-Timing"), None);
}

#[test]
fn server_timing_is_off_by_default() {
    let directory = directory();
    let cache = Directory::new();
    let server = server(&directory, &cache, json!({}));
    assert_eq!(server.get("/h/a.png?w=40").ok().header("Server-Timing"), None);
    assert_eq!(server.get("/h/none.png").failed("not_found").header("Server-Timing"), None);
}
