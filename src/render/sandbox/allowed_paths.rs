//! The files and directories that the renderer's work needs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::render::origin::{self, ReadPath};

/// What a renderer does at a place and beneath it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathAccess {
    /// Reads files and lists directories.
    Read,
    /// Reads and changes everything: a cache.
    Store,
    /// Makes a socket: the directory in which it listens.
    Listen,
}

/// A file or directory, or the path where one may come to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedPath {
    /// The path as it is going to be opened.
    pub path: PathBuf,
    /// What is done there.
    pub right: PathAccess,
    /// Whether something else may come to be at this path while the renderer runs.
    pub is_watched: bool,
}

/// What the kernel tells everyone: how many processors there are, and whether freed memory must be given back,
/// both of which malloc asks for.
const MACHINE: [&str; 2] = ["/sys/devices/system/cpu", "/proc/sys/vm/overcommit_memory"];

/// Everything that this configuration needs; some of it may not exist. `variable` tells the environment.
pub fn needed(
    config: &Config,
    socket: &Path,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Vec<AllowedPath> {
    let mut places = Vec::new();
    let mut add = |path: PathBuf, right, is_watched| {
        let place = AllowedPath { path, right, is_watched };
        if !places.contains(&place) {
            places.push(place);
        }
    };
    if let Some(directory) = socket.parent() {
        add(directory.to_owned(), PathAccess::Listen, false);
    }
    MACHINE.iter().for_each(|path| add(path.into(), PathAccess::Read, false));
    for handler in &config.handlers {
        handler
            .stores()
            .for_each(|(_, directory)| add(directory.to_owned(), PathAccess::Store, true));
        for ReadPath { path, may_be_replaced } in origin::read_paths(&handler.origin, variable) {
            add(path, PathAccess::Read, may_be_replaced);
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config;

    fn places(
        handlers: serde_json::Value,
        environment: &[(&str, &Path)],
    ) -> Vec<(PathBuf, PathAccess)> {
        let text = serde_json::json!({"handlers": handlers}).to_string();
        let config = config::parse(&text, "test").unwrap();
        let variable = |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, path)| path.as_os_str().to_owned())
        };
        let needed = needed(&config, Path::new("/run/x/renderer-1.sock"), &variable);
        needed.into_iter().map(|place| (place.path, place.right)).collect()
    }

    #[test]
    fn a_directories_renderer_gets_that_directory_and_its_cache_and_nothing_of_the_network() {
        let temp = tempfile::tempdir().unwrap();
        let (originals, cache) = (temp.path().join("originals"), temp.path().join("cache"));
        std::fs::create_dir(&originals).unwrap();
        let handler = serde_json::json!({"name": "h", "directory": originals, "cache_path": cache});
        let second = serde_json::json!({"name": "h2", "directory": originals, "cache_path": cache});
        let mut expected = vec![(PathBuf::from("/run/x"), PathAccess::Listen)];
        expected.extend(MACHINE.map(|path| (path.into(), PathAccess::Read)));
        expected.push((cache, PathAccess::Store));
        expected.push((originals.canonicalize().unwrap(), PathAccess::Read));
        assert_eq!(places(serde_json::json!([handler, second]), &[]), expected);
    }

    #[test]
    fn a_bucket_with_keys_of_its_own_needs_no_credential_files() {
        let aws = serde_json::json!({"bucket_name": "b", "aws_access": "a", "aws_secret": "s"});
        let token = Path::new("/run/token");
        let found = places(
            serde_json::json!([{"name": "h", "aws": aws}]),
            &[("AWS_WEB_IDENTITY_TOKEN_FILE", token)],
        );
        assert!(found.contains(&("/etc/resolv.conf".into(), PathAccess::Read)));
        let has = |path: &str| found.iter().any(|(found, _)| found.ends_with(path));
        assert!(!has("token") && !has("credentials") && !has("uuid"), "{found:?}");
        assert!(found.iter().all(|(_, right)| *right != PathAccess::Store), "{found:?}");
    }

    #[test]
    fn a_bucket_may_have_two_caches() {
        let temp = tempfile::tempdir().unwrap();
        let (cache, originals) = (temp.path().join("cache"), temp.path().join("originals"));
        let handler = serde_json::json!({
            "name": "h",
            "aws": {"bucket_name": "b", "anonymous": true},
            "cache_path": cache,
            "originals_cache": {"path": originals},
        });
        let mut found = places(serde_json::json!([handler]), &[]);
        found.retain(|(_, right)| *right == PathAccess::Store);
        assert_eq!(found, [(cache, PathAccess::Store), (originals, PathAccess::Store)]);
    }

    #[test]
    fn a_token_behind_a_link_opens_its_directory_and_any_other_only_itself() {
        let temp = tempfile::tempdir().unwrap();
        let (file, link) = (temp.path().join("file"), temp.path().join("projected/token"));
        std::fs::write(&file, "t").unwrap();
        std::fs::create_dir(temp.path().join("projected")).unwrap();
        symlink("..data/token", &link).unwrap();
        let handlers = serde_json::json!([{"name": "h", "aws": {"bucket_name": "b"}}]);
        let environment = [
            ("HOME", Path::new("/nonexistent")),
            ("AWS_SHARED_CREDENTIALS_FILE", Path::new("/keys")),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", &link),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &file),
        ];
        let found = places(handlers.clone(), &environment);
        for path in
            [Path::new("/keys"), link.parent().unwrap(), &file, Path::new("/sys/hypervisor/uuid")]
        {
            assert!(
                found.contains(&(path.to_owned(), PathAccess::Read)),
                "{}: {found:?}",
                path.display()
            );
        }
        assert!(
            !found.iter().any(|(path, _)| path == temp.path() || path == Path::new("/etc/passwd"))
        );
        assert!(places(handlers, &[]).contains(&("/etc/passwd".into(), PathAccess::Read)));
    }
}
