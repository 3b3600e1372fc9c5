//! nginx's `proxy_cache` with the configuration of docs/cdn.md.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{handler, image};
use crate::admin::{config, send, send_ok};
use crate::support::client::{Answer, Client};
use crate::support::directory::Directory;
use crate::support::eventually;
use crate::support::images::{self, BLUE, size_of};
use crate::support::merged;
use crate::support::process;
use crate::support::server::{Server, Setup};
use crate::support::skip::skip;

const SECRET: &str = "a-secret-of-the-purge-hook";

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cdn.md")).unwrap()
}

/// The code block of a language in the section about nginx.
fn block(language: &str) -> String {
    let page = page();
    let (_, section) = page.split_once("\n## nginx\n").unwrap();
    let (_, rest) = section.split_once(&format!("\n```{language}\n")).unwrap();
    rest.split_once("\n```").unwrap().0.to_owned()
}

/// The fields of the handler in the document, with the hook at this port.
fn fields(port: u16) -> Value {
    let fields = format!("{{{}}}", block("json"));
    let mut fields: Value = serde_json::from_str(&fields).unwrap();
    let url = fields["purge_hook"]["url"].as_str().unwrap();
    assert!(url.contains("127.0.0.1:8081"), "{url}");
    let url = url.replace("127.0.0.1:8081", &format!("127.0.0.1:{port}"));
    fields["purge_hook"]["url"] = url.into();
    fields
}

struct Nginx {
    child: Child,
    directory: Directory,
}

impl Nginx {
    /// Starts nginx in front of a server. `None` if the port was taken meanwhile.
    fn start(server: &Server, port: u16) -> Option<Nginx> {
        let directory = Directory::new();
        let path = directory.path().to_str().unwrap();
        let replaced = [
            ("/var/cache/nginx", path.to_owned()),
            ("/run/nginx-versions.sock", format!("{path}/versions.sock")),
            ("127.0.0.1:8080", server.http().to_string()),
            ("127.0.0.1:8081", format!("127.0.0.1:{port}")),
            ("listen 80;", format!("listen unix:{path}/front.sock;")),
            ("CHANGE-ME", SECRET.to_owned()),
        ];
        let mut http = block("nginx");
        for (old, new) in replaced {
            assert!(http.contains(old), "{old} is not in the document");
            http = http.replace(old, &new);
        }
        let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {path}/{name};"))
            .join("\n");
        let text = format!(
            "{user}\ndaemon off;\nworker_processes 1;\npid {path}/pid;\nerror_log stderr;\nevents {{}}\n\
             http {{\naccess_log off;\n{temporary}\n{http}\n}}\n"
        );
        let file = directory.put("nginx.conf", text.as_bytes());
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let child = Command::new(program())
            .arg("-c")
            .arg(file)
            .args(["-p", path])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut nginx = Nginx { child, directory };
        let mut is_running = false;
        eventually("nginx listens or has exited", || {
            let has_exited = nginx.child.try_wait().unwrap().is_some();
            is_running = !has_exited && nginx.directory.path().join("pid").exists();
            has_exited || is_running
        });
        if !is_running {
            let log = fs::read_to_string(nginx.directory.path().join("log")).unwrap();
            assert!(log.contains("in use"), "{log}\n{text}");
            return None;
        }
        Some(nginx)
    }

    fn get(&self, target: &str, fields: &[(&str, &str)]) -> Answer {
        let mut client = Client::connect_unix(&self.directory.path().join("front.sock"));
        client.get_with(target, fields)
    }

    /// The image at a target, and whether nginx had it.
    #[track_caller]
    fn image(&self, target: &str, fields: &[(&str, &str)]) -> (Answer, String) {
        let answer = self.get(target, fields).ok();
        let status = answer.expect("X-Nginx-Cache").to_owned();
        (answer, status)
    }

    #[track_caller]
    fn status(&self, target: &str) -> String {
        self.image(target, &[]).1
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        process::send(self.child.id(), Signal::TERM);
        let _ = self.child.wait();
    }
}

fn program() -> PathBuf {
    // Debian has it outside of a user's path.
    let debian = Path::new("/usr/sbin/nginx");
    if debian.exists() { debian.to_owned() } else { "nginx".into() }
}

/// Whether nginx is here; if not, the test is skipped.
fn has_nginx() -> bool {
    let version = Command::new(program()).arg("-V").output();
    let has = version.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stderr).contains("http_auth_request_module")
    });
    if !has {
        skip("there is no nginx with auth_request (Debian: nginx-light)");
    }
    has
}

/// A server with the handlers `h` and `other`, and nginx in front of it.
fn start(directory: &Directory, cache: &Directory) -> (Server, Nginx) {
    for _ in 0..10 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let first = handler(directory, cache, fields(port));
        let second = merged(first.clone(), json!({"name": "other"}));
        let trusted = json!({"handlers": [first, second], "trusted_proxies": ["127.0.0.1"]});
        let config = merged(config(json!({})), trusted);
        let server = Setup::new(config).check_interval(20).env("PURGE_SECRET", SECRET).start();
        if let Some(nginx) = Nginx::start(&server, port) {
            return (server, nginx);
        }
    }
    panic!("no free port in ten attempts");
}

#[test]
fn nginx_keeps_images_until_a_purge_of_their_handler() {
    if !has_nginx() {
        return;
    }
    let directory = Directory::new().with("a b.png", &image()).with("c.png", &image());
    let cache = Directory::new();
    let (server, nginx) = start(&directory, &cache);
    let targets = ["/h/a%20b.png?w=5", "/h/a%20b.png", "/h/c.png", "/other/c.png"];
    for target in targets {
        assert_eq!(nginx.status(target), "MISS", "{target}");
        assert_eq!(nginx.status(target), "HIT", "{target}");
    }
    let (hit, _) = nginx.image("/h/c.png", &[]);
    assert_eq!(
        hit.expect("Cache-Control"),
        "public, max-age=604800, s-maxage=86400, stale-while-revalidate=60, stale-if-error=86400"
    );
    // Ranges and conditions are answered from nginx's cache.
    let part = nginx.get("/h/c.png", &[("Range", "bytes=1-3")]);
    assert_eq!((part.status, part.body.len(), part.expect("X-Nginx-Cache")), (206, 3, "HIT"));
    let not_modified = nginx.get("/h/c.png", &[("If-None-Match", hit.expect("ETag"))]);
    assert_eq!(not_modified.status, 304);
    // Errors are not kept.
    for _ in 0..2 {
        assert_eq!(nginx.get("/h/none.png", &[]).expect("X-Nginx-Cache"), "MISS");
    }
    assert_eq!(nginx.get("/-/health", &[]).status, 200);

    for (method, purge) in [("POST", "/-/purge/h/a%20b.png"), ("DELETE", "/-/purge/h/")] {
        let new = if method == "POST" { (20, 20) } else { (30, 30) };
        directory.put("a b.png", &images::png(images::solid(new.0, new.1, BLUE)));
        assert_eq!(nginx.status("/h/a%20b.png"), "HIT", "not purged yet");
        send_ok(&server, method, purge);
        eventually("the hook has been sent", || {
            let text = send(&server, "GET", "/-/metrics").text().to_owned();
            let series = "purge_hook_requests_total{handler=\"h\",result=\"ok\"}";
            let count = if method == "POST" { 1 } else { 2 };
            text.contains(&format!("{series} {count}\n"))
        });
        let (image, status) = nginx.image("/h/a%20b.png", &[]);
        assert_eq!((size_of(&image.body), status.as_str()), (new, "MISS"));
        for target in ["/h/a%20b.png?w=5", "/h/c.png"] {
            assert_eq!(nginx.status(target), "MISS", "{target}");
            assert_eq!(nginx.status(target), "HIT", "{target}");
        }
        assert_eq!(nginx.status("/other/c.png"), "HIT", "of another handler");
    }
    assert_eq!(server.log.count("purge_hook_failed"), 0);
}

#[test]
fn nginx_keeps_one_image_for_each_accept() {
    if !has_nginx() {
        return;
    }
    let directory = Directory::new().with("a.png", &image());
    let cache = Directory::new();
    let (_server, nginx) = start(&directory, &cache);
    for (accept, media_type) in [("image/webp", "image/webp"), ("image/png", "image/png")] {
        for expected in ["MISS", "HIT"] {
            let (answer, status) = nginx.image("/h/a.png?f=auto", &[("Accept", accept)]);
            assert_eq!((answer.expect("Content-Type"), status.as_str()), (media_type, expected));
            assert!(answer.varies_on("Accept"));
        }
    }
}

#[test]
fn nginx_gives_no_version_and_takes_no_purge_without_the_secret() {
    if !has_nginx() {
        return;
    }
    let directory = Directory::new().with("a.png", &image());
    let cache = Directory::new();
    let (_server, nginx) = start(&directory, &cache);
    assert_eq!(nginx.status("/h/a.png"), "MISS");
    assert_eq!(nginx.get("/-/version", &[]).status, 404, "internal");
    let conf = fs::read_to_string(nginx.directory.path().join("nginx.conf")).unwrap();
    let address = conf.split("listen 127.0.0.1:").nth(1).unwrap().split(';').next().unwrap();
    let address = format!("127.0.0.1:{address}").parse().unwrap();
    for fields in [&[][..], &[("X-Purge-Secret", "wrong")]] {
        let answer = Client::connect(address).get_with("/purge/h", fields);
        assert_eq!(answer.status, 403);
    }
    assert_eq!(nginx.status("/h/a.png"), "HIT");
    let right = [("X-Purge-Secret", SECRET)];
    assert_eq!(Client::connect(address).get_with("/purge/h", &right).status, 200);
    assert_eq!(nginx.status("/h/a.png"), "MISS");
}
