//! The files that the lookup of credentials reads, in `credentials.rs` and in the crate aws-creds.

use std::path::PathBuf;

use crate::render::read_path::{ReadPath, Variable};

/// The files by which aws-creds recognizes an EC2 instance.
const EC2: [&str; 2] = ["/sys/hypervisor/uuid", "/sys/class/dmi/id/board_vendor"];
/// The variables that name a file with a token.
const TOKEN_VARIABLES: [&str; 2] =
    ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"];

pub(super) fn read_paths(variable: Variable) -> Vec<ReadPath> {
    let mut paths = Vec::from(EC2.map(ReadPath::fixed));
    match variable("AWS_SHARED_CREDENTIALS_FILE") {
        Some(file) => paths.push(ReadPath::replaceable(file)),
        None => {
            let home = variable("HOME").map(PathBuf::from).or_else(|| {
                // `home_dir` looks there without HOME, and so does aws-creds.
                paths.push(ReadPath::replaceable("/etc/passwd"));
                std::env::home_dir()
            });
            paths.extend(home.map(|home| ReadPath::replaceable(home.join(".aws/credentials"))));
        }
    }
    for token in TOKEN_VARIABLES.into_iter().filter_map(variable) {
        let Ok(token) = std::path::absolute(token) else { continue };
        // Kubernetes refreshes a projected token by replacing a symbolic link (`token -> ..data/token`). All of its
        // targets are in the directory of the link, which contains nothing else.
        let directory = token.parent().filter(|_| token.is_symlink());
        paths.push(ReadPath::replaceable(directory.unwrap_or(&token)));
    }
    paths
}
