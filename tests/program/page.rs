//! The page for browsers and what its script asks for, without a browser; tests/program/browser has the rest.

use serde_json::{Value, json};

use crate::admin::{
    SECRET, admin, cached, config, json_of, send, send_ok, small_image, with_admin,
};
use crate::support::client::{Answer, Client, request};
use crate::support::directory::Directory;
use crate::support::images::{self, size_of};
use crate::support::merged;
use crate::support::server::Server;

const TOKEN_SECRET: &str = "a secret of this handler";

fn hmac(handler: Value) -> Value {
    merged(handler, json!({"token": {"type": "hmac", "secrets": [TOKEN_SECRET]}}))
}

/// A GET on the admin listener without the secret.
fn get_without(server: &Server, target: &str, headers: &[(&str, &str)]) -> Answer {
    let mut client = Client::connect(admin(server));
    client.send(&request("GET", target, headers));
    client.read()
}

/// The data in a page.
fn data(page: &Answer) -> Value {
    let html = page.text();
    let (_, data) = html.split_once("id=\"data\">").expect("a page");
    serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap()
}

#[track_caller]
fn assert_is_page(page: &Answer) {
    assert_eq!(page.status, 200);
    assert_eq!(page.expect("Content-Type"), "text/html; charset=utf-8");
    assert_eq!(page.expect("Cache-Control"), "no-cache");
    assert_eq!(page.expect("X-Content-Type-Options"), "nosniff");
    assert_eq!(page.expect("Referrer-Policy"), "no-referrer");
    let policies: Vec<_> =
        page.headers.iter().filter(|(name, _)| name == "Content-Security-Policy").collect();
    let [(_, policy)] = policies[..] else { panic!("{policies:?}") };
    for part in ["default-src 'none'; script-src 'sha256-", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe") && page.body.len() < 60_000, "{}", page.body.len());
}

#[test]
fn admin_page_opens_without_the_secret_and_tells_nothing() {
    let directory = Directory::new().with("a.png", &small_image());
    let server = Server::start(config(directory.handler()));
    let page = get_without(&server, "/-/", &[]);
    assert_is_page(&page);
    let found = data(&page);
    assert_eq!(found.as_object().unwrap().keys().collect::<Vec<_>>(), ["parameters"]);
    for word in [SECRET, directory.path().to_str().unwrap()] {
        assert!(!page.text().contains(word), "{word}");
    }
    // A 304 replaces the policy in the browser's cache.
    let again = get_without(&server, "/-/", &[("If-None-Match", page.expect("ETag"))]);
    assert_eq!((again.status, again.body.len()), (304, 0));
    let policy = "Content-Security-Policy";
    assert_eq!(again.expect(policy), page.expect(policy));
    for target in ["/-/status", "/-/keys/h", "/-/image/h/a.png", "/-/page.js", "/", "/-", "/-//"] {
        let refused = get_without(&server, target, &[]);
        assert_eq!((refused.status, refused.body.len()), (401, 0), "{target}");
    }
    let mut client = Client::connect(admin(&server));
    client.send(&request("POST", "/-/sign/h/a.png", &[]));
    assert_eq!(client.read().status, 401);
}

#[test]
fn status_names_handlers_origins_and_failures_and_no_secret() {
    let directory = Directory::new().with("broken.png", &small_image()[..40]);
    let server = Server::start(with_admin(json!({"handlers": [
        hmac(directory.handler()),
        {"name": "bucket", "aws": {"bucket_name": "b", "file_path": "p", "endpoint": "http://127.0.0.1:9",
            "aws_access": "the access key", "aws_secret": "the secret key"}},
    ]})));
    assert_eq!(send(&server, "GET", "/-/image/h/broken.png").status, 404);
    assert_eq!(send(&server, "GET", "/-/image/h/broken.png").status, 404);
    assert_eq!(send(&server, "GET", "/-/image/h/missing.png").status, 404);
    assert_eq!(server.get("/bucket/a.jpg").status, 404);
    let status = send_ok(&server, "GET", "/-/status");
    let handlers = &status["handlers"];
    assert_eq!(
        handlers[0]["origins"][0],
        json!({"kind": "bucket", "bucket": "b", "file_path": "p", "region": "us-east-1",
            "endpoint": "http://127.0.0.1:9"})
    );
    assert_eq!(handlers[0]["problems"].as_array().unwrap().len(), 1, "{status}");
    let origin = json!({"kind": "directory", "directory": directory.path()});
    assert_eq!(handlers[1]["origins"], json!([origin]));
    assert_eq!(handlers[1]["token"], json!({"type": "hmac", "required": true}));
    assert_eq!(handlers[1]["problems"], json!([]));
    let failures = status["failures"].as_array().unwrap();
    let of = |failure: &Value| {
        json!([failure["handler"], failure["key"], failure["code"], failure["count"]])
    };
    assert_eq!(
        failures.iter().map(of).collect::<Value>(),
        json!([
            ["bucket", "a.jpg", "origin_unreachable", 1],
            ["h", "broken.png", "corrupt_image", 2]
        ])
    );
    assert!(failures[1]["reason"].as_str().unwrap().contains("can't be decoded"), "{status}");
    assert!(failures.iter().all(|failure| failure["request_id"].is_string()), "{status}");
    let text = status.to_string();
    for secret in [TOKEN_SECRET, "the access key", "the secret key", SECRET] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn keys_are_those_of_a_directory_and_bounded() {
    let directory = Directory::new().with("sub/a.png", &small_image()).with("notes.txt", b"x");
    for number in 0..510 {
        directory.put(&format!("many/{number}.png"), b"");
    }
    std::os::unix::fs::symlink("/etc", directory.path().join("etc")).unwrap();
    let server = Server::start(with_admin(json!({"handlers": [
        directory.handler(),
        merged(directory.handler(), json!({"name": "sub é", "directory": directory.path().join("sub")})),
        merged(directory.handler(), json!({"name": "gif", "allowed_formats": ["gif"]})),
        {"name": "bucket", "aws": {"bucket_name": "b", "anonymous": true}},
    ]})));
    let keys = |route: &str| send_ok(&server, "GET", &format!("/-/keys/{route}"));
    let many = keys("h");
    assert_eq!(many["keys"].as_array().unwrap().len(), 500);
    assert_eq!((&many["keys"][0], &many["complete"]), (&json!("many/0.png"), &json!(false)));
    assert_eq!(keys("sub%20%C3%A9"), json!({"keys": ["a.png"], "complete": true}));
    for route in ["bucket", "gif"] {
        assert_eq!(keys(route), json!({"keys": [], "complete": true}), "{route}");
    }
    assert_eq!(send(&server, "GET", "/-/keys/none").status, 404);
    assert_eq!(send(&server, "GET", "/-/keys/h/x").status, 400);
}

#[test]
fn admin_images_need_no_token_and_are_private() {
    let directory = Directory::new().with("a b.png", &small_image());
    let cache = Directory::new();
    let handler =
        merged(cached(hmac(directory.handler()), &cache), json!({"presets": {"p": "w=4"}}));
    let server = Server::start(config(handler));
    assert_eq!(server.get("/h/a%20b.png?w=5").expect("X-Error"), "token_refused");
    let image = send(&server, "GET", "/-/image/h/a%20b.png?w=5").ok();
    assert_eq!(size_of(&image.body), (5, 5));
    assert!(image.expect("Server-Timing").contains("encode;dur="));
    assert!(image.expect("Cache-Control").starts_with("private"));
    assert_eq!(image.expect("X-Cache"), "miss");
    assert_eq!(send(&server, "GET", "/-/image/h/a%20b.png?w=5").ok().expect("X-Cache"), "hit");
    assert_eq!(size_of(&send(&server, "GET", "/-/image/h/a%20b.png?p=p").ok().body), (4, 4));
    for (target, status) in [
        ("/-/image/h/a%20b.png?w=0", 400),
        ("/-/image/h/../h/a", 404),
        ("/-/image/h/", 404),
        ("/-/image/none/a", 404),
        ("/-/image/h", 404),
        ("/-/image//", 404),
        ("/-/image/", 404),
    ] {
        assert_eq!(send(&server, "GET", target).status, status, "{target}");
    }
    // The public ports have no such path.
    assert_eq!(server.get("/-/image/h/a%20b.png").status, 404);
    assert_eq!(server.get("/-/").status, 404);
}

#[test]
fn sign_gives_a_url_that_the_handler_accepts() {
    let directory = Directory::new().with("a b.png", &small_image());
    let server = Server::start(with_admin(json!({"handlers": [
        hmac(directory.handler()),
        merged(directory.handler(), json!({"name": "open"})),
    ]})));
    let signed = send_ok(&server, "POST", "/-/sign/h/a%20b.png?w=5&f=webp");
    let url = signed["url"].as_str().unwrap();
    assert!(url.starts_with("/h/a%20b.png?f=webp&w=5&t="), "{url}");
    assert_eq!(size_of(&server.get(url).ok().body), (5, 5));
    assert_eq!(server.get(&url.replace("w=5", "w=6")).expect("X-Error"), "token_refused");
    for (target, part) in [
        ("/-/sign/open/a.png", "has no token"),
        ("/-/sign/none/a.png", "no handler"),
        ("/-/sign/h/a.png?w=0", "w: "),
        ("/-/sign/h/", "the key is empty"),
    ] {
        let refused = send(&server, "POST", target);
        assert_eq!(refused.status, 400, "{target}");
        assert!(json_of(&refused)["error"].as_str().unwrap().contains(part), "{target}");
    }
}

#[test]
fn playground_is_off_by_default_and_replaces_only_the_empty_key() {
    let directory = Directory::new().with("a.png", &small_image());
    let playground = json!({"name": "p", "playground": true});
    let server = Server::start(json!({"handlers": [
        directory.handler(),
        merged(directory.handler(), playground.clone()),
        merged(hmac(directory.handler()), merged(playground, json!({"name": "signed"}))),
    ]}));
    server.log.event_with("playground_open", "/p/");
    assert_eq!(server.get("/h/").expect("X-Error"), "invalid_key");
    let page = server.get("/p/");
    assert_is_page(&page);
    let found = data(&page);
    assert_eq!(found["handler"]["name"], "p");
    assert_eq!((&found["keys"], &found["complete"]), (&json!(["a.png"]), &json!(true)));
    assert!(!page.text().contains(directory.path().to_str().unwrap()));
    let again = server.get_with("/p/", &[("If-None-Match", page.expect("ETag"))]);
    assert_eq!(again.status, 304);
    let head = server.head_with("/p/", &[]);
    assert_eq!((head.status, head.expect("Content-Length")), (200, &*page.body.len().to_string()));
    assert_eq!(server.ask("POST", "/p/").status, 405);
    assert_eq!(server.get("/p").status, 404);
    assert_eq!(server.get("/p//").expect("X-Error"), "not_found");
    assert_eq!(server.get("/p/a.png").ok().expect("Content-Type"), "image/png");
    // The page is not an image: it needs no token, and gives none.
    let page = server.get("/signed/");
    assert_is_page(&page);
    assert_eq!(data(&page)["handler"]["token"], json!({"type": "hmac", "required": true}));
    assert!(!page.text().contains(TOKEN_SECRET));
    assert_eq!(server.get("/signed/a.png").expect("X-Error"), "token_refused");
}

#[test]
fn names_of_files_do_not_become_html() {
    let name = "</script><script>alert(1)<!--.png";
    let directory = Directory::new().with("a.png", &images::png(images::solid(1, 1, images::RED)));
    // A slash is a directory.
    directory.put(name, b"x");
    let handler = merged(directory.handler(), json!({"playground": true}));
    let server = Server::with_handler(handler);
    let page = server.get("/h/");
    assert_eq!(page.text().matches("</script>").count(), 2);
    assert!(!page.text().contains("<!--"));
    let keys = data(&page)["keys"].clone();
    assert_eq!(keys, json!(["a.png", name]));
}
