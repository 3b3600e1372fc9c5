//! Limits of the control group: a tree of files in place of /sys/fs/cgroup, as a container sees its own.

use serde_json::{Value, json};

use crate::support::directory::Directory;
use crate::support::images::{self, RED};
use crate::support::merged;
use crate::support::server::{Server, Setup, can_mount};

/// Starts the server where these limits apply.
fn start(directory: &Directory, more: Value, memory: &str, cpu: &str) -> Server {
    let config = merged(json!({"handlers": [directory.handler()]}), more);
    Setup::new(config)
        .mounts(format!(
            "mount -t tmpfs none /sys/fs/cgroup
             echo {memory} >/sys/fs/cgroup/memory.max
             echo {cpu} >/sys/fs/cgroup/cpu.max"
        ))
        .start()
}

/// `RLIMIT_DATA` of the renderer, which contains its `memory_budget`.
fn data_limit(server: &Server) -> u64 {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.renderer().id)).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max data size")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap()
}

#[test]
fn defaults_of_edge_and_renderer_follow_the_limits_of_the_cgroup() {
    if !can_mount() {
        return;
    }
    let directory = Directory::new().with("a.png", &images::png(images::solid(8, 8, RED)));
    let one = "'100000 100000'";
    let unlimited = start(&directory, json!({}), "max", one);
    let said = unlimited.log.event("cgroup_limits");
    assert!(
        said.contains("memory_budget 268435456") && said.contains("renders_at_once 1,"),
        "{said}"
    );

    let limited = start(&directory, json!({}), "402653184", one);
    let said = limited.log.event("cgroup_limits");
    for value in [
        "memory limit 402653184",
        "memory_budget 100663296",
        "renderer_max_rss 201326592",
        "memory_cache 25165824",
    ] {
        assert!(said.contains(value), "no {value} in {said}");
    }
    limited.get("/h/a.png?w=4").ok();
    assert_eq!(data_limit(&unlimited) - data_limit(&limited), 268_435_456 - 100_663_296);

    // A configured value takes precedence.
    let limits = json!({"limits": {"memory_budget": 268_435_456, "renders_at_once": 2}});
    let configured = start(&directory, limits, "402653184", one);
    let said = configured.log.event("cgroup_limits");
    assert!(
        said.contains("memory_budget 268435456") && said.contains("renders_at_once 2,"),
        "{said}"
    );
    assert_eq!(data_limit(&configured), data_limit(&unlimited));
}

#[test]
fn a_server_without_limits_says_nothing_about_them() {
    if !can_mount() {
        return;
    }
    let directory = Directory::new().with("a.png", &images::png(images::solid(8, 8, RED)));
    let server = start(&directory, json!({}), "max", "'max 100000'");
    server.get("/h/a.png?w=4").ok();
    assert!(!server.log.lines().iter().any(|line| line.contains("cgroup_limits")));
}
