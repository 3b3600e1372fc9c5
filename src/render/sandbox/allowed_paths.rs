//! The files and directories that a renderer needs, as derived from the configuration.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::render::http;
use crate::render::origin;
use crate::render::read_path::ReadPath;
use crate::render::s3;

/// Access to a path and everything beneath it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathAccess {
    /// Read files, list directories.
    Read,
    /// Read and write files and directories: a cache.
    ReadWrite,
    /// Create a socket: the directory in which the renderer listens.
    CreateSocket,
}

/// The path of a file or directory, which may not exist yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AllowedPath {
    pub path: PathBuf,
    pub access: PathAccess,
    /// Whether the file or directory may be created or replaced while the renderer runs.
    pub is_watched: bool,
}

/// Read by glibc's malloc: the number of processors, and whether freed memory must be returned.
const MALLOC: [&str; 2] = ["/sys/devices/system/cpu", "/proc/sys/vm/overcommit_memory"];

/// The paths that this configuration needs. `variable` reads the environment.
pub fn allowed_paths(
    config: &Config,
    socket: &Path,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Vec<AllowedPath> {
    let mut paths = Vec::new();
    let mut known = HashSet::new();
    let mut add = |path: PathBuf, access, is_watched| {
        let path = AllowedPath { path, access, is_watched };
        if known.insert(path.clone()) {
            paths.push(path);
        }
    };
    if let Some(directory) = socket.parent() {
        add(directory.to_owned(), PathAccess::CreateSocket, false);
    }
    MALLOC.iter().for_each(|path| add(path.into(), PathAccess::Read, false));
    for handler in &config.handlers {
        handler.stores().for_each(|store| add(store.path.clone(), PathAccess::ReadWrite, true));
        if handler.cdn.purge_hook.is_some() {
            http::RESOLVER_FILES.iter().for_each(|path| add(path.into(), PathAccess::Read, true));
        }
        let origins = handler.origins.iter();
        let results = handler.results.iter();
        let read_paths = origins
            .flat_map(|origin| origin::read_paths(origin, variable))
            .chain(results.flat_map(|results| s3::read_paths(&results.bucket, variable)));
        for ReadPath { path, may_be_replaced } in read_paths {
            add(path, PathAccess::Read, may_be_replaced);
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config;

    fn paths(
        handlers: serde_json::Value,
        environment: &[(&str, &Path)],
    ) -> Vec<(PathBuf, PathAccess)> {
        let text = serde_json::json!({"handlers": handlers}).to_string();
        let config = config::parse(&text, "test").unwrap();
        let variable = |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, path)| path.as_os_str().to_owned())
        };
        let paths = allowed_paths(&config, Path::new("/run/x/renderer-1.sock"), &variable);
        paths.into_iter().map(|path| (path.path, path.access)).collect()
    }

    #[test]
    fn allowed_paths_of_a_directory_handler_are_its_directory_and_cache() {
        let temp = tempfile::tempdir().unwrap();
        let originals = temp.path().join("originals");
        let cache = temp.path().join("cache");
        std::fs::create_dir(&originals).unwrap();
        let handler = serde_json::json!({"name": "h", "directory": originals, "cache_path": cache});
        let second = serde_json::json!({"name": "h2", "directory": originals, "cache_path": cache});
        let mut expected = vec![(PathBuf::from("/run/x"), PathAccess::CreateSocket)];
        expected.extend(MALLOC.map(|path| (path.into(), PathAccess::Read)));
        expected.push((cache, PathAccess::ReadWrite));
        expected.push((originals.canonicalize().unwrap(), PathAccess::Read));
        assert_eq!(paths(serde_json::json!([handler, second]), &[]), expected);
    }

    #[test]
    fn allowed_paths_of_a_purge_hook_are_those_of_the_resolver() {
        let temp = tempfile::tempdir().unwrap();
        let handler = |more: serde_json::Value| {
            let mut handler = serde_json::json!({"name": "h", "directory": temp.path()});
            handler.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            paths(serde_json::json!([handler]), &[])
        };
        let resolver = ("/etc/resolv.conf".into(), PathAccess::Read);
        let hook = serde_json::json!({"purge_hook": {"url": "http://cdn.example.com/"}});
        assert!(handler(hook).contains(&resolver));
        assert!(!handler(serde_json::json!({})).contains(&resolver));
    }

    #[test]
    fn allowed_paths_of_a_bucket_with_keys_have_no_credential_files() {
        let aws = serde_json::json!({"bucket_name": "b", "aws_access": "a", "aws_secret": "s"});
        let token = Path::new("/run/token");
        let found = paths(
            serde_json::json!([{"name": "h", "aws": aws}]),
            &[("AWS_WEB_IDENTITY_TOKEN_FILE", token)],
        );
        assert!(found.contains(&("/etc/resolv.conf".into(), PathAccess::Read)));
        let has = |path: &str| found.iter().any(|(found, _)| found.ends_with(path));
        assert!(!has("token") && !has("credentials") && !has("uuid"), "{found:?}");
        assert!(found.iter().all(|(_, access)| *access != PathAccess::ReadWrite), "{found:?}");
    }

    #[test]
    fn allowed_paths_include_both_caches_of_a_bucket() {
        let temp = tempfile::tempdir().unwrap();
        let cache = temp.path().join("cache");
        let originals = temp.path().join("originals");
        let handler = serde_json::json!({
            "name": "h",
            "aws": {"bucket_name": "b", "anonymous": true},
            "cache_path": cache,
            "originals_cache": {"path": originals},
        });
        let mut found = paths(serde_json::json!([handler]), &[]);
        found.retain(|(_, access)| *access == PathAccess::ReadWrite);
        assert_eq!(found, [(cache, PathAccess::ReadWrite), (originals, PathAccess::ReadWrite)]);
    }

    #[test]
    fn allowed_paths_include_the_files_of_a_results_bucket() {
        let temp = tempfile::tempdir().unwrap();
        let ca_file = temp.path().join("ca.pem");
        std::fs::write(&ca_file, "").unwrap();
        let keys = serde_json::json!({"bucket_name": "b", "aws_access": "a", "aws_secret": "s"});
        let handler = serde_json::json!({
            "name": "h",
            "aws": keys,
            "cache_path": temp.path().join("cache"),
            "results": {"bucket_name": "r", "ca_file": ca_file},
        });
        let variables = [("AWS_SHARED_CREDENTIALS_FILE", Path::new("/keys"))];
        let found = paths(serde_json::json!([handler]), &variables);
        for path in [ca_file.as_path(), Path::new("/keys")] {
            let read = (path.to_owned(), PathAccess::Read);
            assert!(found.contains(&read), "{}: {found:?}", path.display());
        }
    }

    #[test]
    fn allowed_paths_include_the_directory_of_a_symlinked_token() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        let link = temp.path().join("projected/token");
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
        let found = paths(handlers.clone(), &environment);
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
        assert!(paths(handlers, &[]).contains(&("/etc/passwd".into(), PathAccess::Read)));
    }
}
