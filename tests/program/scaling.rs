//! docs/scaling.md: its balancers are started in front of servers, and its capacity table is what contrib/scaling/capacity.awk
//! prints.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::support::client::Client;
use crate::support::directory::Directory;
use crate::support::eventually;
use crate::support::images::{jpeg, solid};
use crate::support::server::Server;
use crate::support::skip::skip;
use crate::support::unused_port::UnusedPort;

/// The servers in the document.
const NODES: [&str; 3] = ["10.0.0.11:8080", "10.0.0.12:8080", "10.0.0.13:8080"];
const KEYS: usize = 24;
const VARIANTS: [&str; 3] = ["w=10", "w=11&f=webp", "w=12&h=9"];

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// The configuration in the document.
fn block(language: &str) -> String {
    let page = fs::read_to_string(root().join("docs/scaling.md")).unwrap();
    let (_, rest) = page.split_once(&format!("\n```{language}\n")).unwrap();
    rest.split_once("\n```").unwrap().0.to_owned() + "\n"
}

/// Replaces a part of a configuration that it has once.
#[track_caller]
fn replaced(config: &str, from: &str, to: &str) -> String {
    assert_eq!(config.matches(from).count(), 1, "{from}");
    config.replace(from, to)
}

/// Debian installs both in /usr/sbin, which is not in an ordinary user's PATH.
fn program(name: &str) -> Option<Command> {
    let path =
        ["/usr/sbin", "/usr/local/sbin", "/usr/bin"].map(|place| Path::new(place).join(name));
    let path = path.iter().find(|path| path.exists());
    if path.is_none() {
        skip(&format!("there is no {name}"));
    }
    path.map(Command::new)
}

struct Balancer {
    child: Child,
    address: SocketAddr,
}

impl Balancer {
    fn start(command: &mut Command, address: SocketAddr) -> Balancer {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let balancer = Balancer { child, address };
        eventually("the balancer listens", || Client::try_connect(address).is_ok());
        balancer
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two servers with caches of their own, and a third address that refuses connections.
struct Nodes {
    caches: [Directory; 2],
    servers: [Server; 2],
    down: UnusedPort,
    _originals: Directory,
}

impl Nodes {
    fn start() -> Nodes {
        let originals = Directory::new();
        for key in 0..2 * KEYS {
            originals.put(&format!("{key}.jpg"), &jpeg(solid(40, 30, [key as u8 * 5, 0, 0])));
        }
        let caches = [Directory::new(), Directory::new()];
        let servers = caches.each_ref().map(|cache| {
            Server::with_handler(json!({
                "name": "h", "directory": originals.path(), "cache_path": cache.path()
            }))
        });
        Nodes { caches, servers, down: UnusedPort::new(), _originals: originals }
    }

    /// The configuration with these servers in place of those of the document.
    fn in_place(&self, mut config: String) -> String {
        let [one, other] = self.servers.each_ref().map(Server::http);
        for (node, address) in NODES.iter().zip([one, other, self.down.address()]) {
            config = replaced(&config, node, &address.to_string());
        }
        config
    }

    /// The keys that each server has variants of.
    fn keys(&self) -> [usize; 2] {
        self.caches.each_ref().map(|cache| {
            let files = cache.files();
            // An entry is v1/aa/bb/key/options.
            let of_key =
                |file: &PathBuf| file.strip_prefix(cache.path()).ok()?.parent().map(Path::to_owned);
            let keys: BTreeSet<PathBuf> = files.iter().filter_map(of_key).collect();
            keys.iter().filter(|key| key.iter().count() == 4).count()
        })
    }

    #[track_caller]
    fn assert_keys_stay_together(&self, balancer: &Balancer) {
        let before: usize = self.keys().iter().sum();
        ask(balancer, 0..KEYS, &VARIANTS);
        let keys = self.keys();
        let count = keys.iter().sum::<usize>() - before;
        assert_eq!(count, KEYS, "a key has variants on two nodes: {keys:?}");
        assert!(keys.iter().all(|count| *count > 0), "one node has everything: {keys:?}");
    }
}

/// Each is answered with an image.
#[track_caller]
fn ask(balancer: &Balancer, keys: Range<usize>, variants: &[&str]) {
    let mut client = Client::connect(balancer.address);
    for variant in variants {
        for key in keys.clone() {
            client.get(&format!("/h/{key}.jpg?{variant}")).ok();
        }
    }
}

#[test]
fn haproxy_sends_all_variants_of_a_key_to_one_node_and_passes_over_a_dead_one() {
    let Some(mut check) = program("haproxy") else { return };
    let (directory, port, nodes) = (Directory::new(), UnusedPort::new(), Nodes::start());
    let config = block("haproxy");
    let file = directory.put("documented.cfg", config.as_bytes());
    let output = check.arg("-c").arg("-f").arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let config = replaced(&config, "bind :80\n", &format!("bind {}\n", port.address()));
    // On a machine that is busy with other tests, a check may be late.
    let config = replaced(&config, "inter 1s fall 2", "inter 250ms fall 8");
    let file = directory.put("haproxy.cfg", nodes.in_place(config).as_bytes());
    let mut command = program("haproxy").unwrap();
    let log = directory.path().join("log");
    command.arg("-db").arg("-f").arg(file).stderr(File::create(&log).unwrap());
    let balancer = Balancer::start(&mut command, port.address());
    ask(&balancer, KEYS..2 * KEYS, &VARIANTS[..1]);
    // Until then, a key of the dead node may go to either of the others.
    let is_noticed = || fs::read_to_string(&log).unwrap().contains("/node3 is DOWN");
    eventually("HAProxy has noticed the dead node", is_noticed);
    nodes.assert_keys_stay_together(&balancer);
    // Which node answered, for whoever looks for a problem.
    let node = Client::connect(balancer.address).get("/h/0.jpg?w=10").ok();
    assert!(["node1", "node2"].contains(&node.expect("X-Node")));
}

#[test]
fn nginx_sends_all_variants_of_a_key_to_one_node_and_passes_over_a_dead_one() {
    let Some(mut command) = program("nginx") else { return };
    let (directory, port, nodes) = (Directory::new(), UnusedPort::new(), Nodes::start());
    let config = replaced(&block("nginx"), "listen 80;", &format!("listen {};", port.address()));
    // Its own files go into the directory of the test.
    let mut own = "http {\n    access_log off;\n".to_owned();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        own += &format!("    {kind}_temp_path {}/{kind};\n", directory.path().display());
    }
    let config = replaced(&config, "http {\n", &own);
    let file = directory.put("nginx.conf", nodes.in_place(config).as_bytes());
    let globals =
        format!("daemon off; master_process off; pid {}/pid;", directory.path().display());
    command.arg("-e").arg(directory.path().join("errors"));
    command.args(["-g", &globals]).arg("-c").arg(file).stderr(Stdio::null());
    let balancer = Balancer::start(&mut command, port.address());
    nodes.assert_keys_stay_together(&balancer);
}

#[test]
fn capacity_table_is_what_the_model_prints() {
    let output = Command::new("awk")
        .arg("-f")
        .arg(root().join("contrib/scaling/capacity.awk"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.lines().count() > 4, "{printed}");
    let page = fs::read_to_string(root().join("docs/scaling.md")).unwrap();
    assert!(
        page.contains(&format!("\n{printed}\n")),
        "docs/scaling.md needs this table:\n{printed}"
    );
}
