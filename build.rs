//! Links the static C libraries that `native/build.sh` (`make native`) has built.

use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::{env, fs};

/// In link order: each before those it needs.
const LIBRARIES: &[&str] = &[
    "vips",
    "cgif",
    "lcms2",
    "spng",
    "heif",
    "aom",
    "hwy",
    "webpmux",
    "webpdemux",
    "webp",
    "sharpyuv",
    "jpeg",
    "exif",
    "expat",
    "gio-2.0",
    "gmodule-2.0",
    "gobject-2.0",
    "glib-2.0",
    "pcre2-8",
    "ffi",
    "z",
    "stdc++",
];

fn main() {
    println!("cargo:rerun-if-env-changed=S3IMAGESERVER_NATIVE");
    println!("cargo:rerun-if-env-changed=S3IMAGESERVER_NATIVE_ROOT");
    println!("cargo:rerun-if-env-changed=XDG_CACHE_HOME");
    println!("cargo:rerun-if-changed=native");
    let prefix = match env::var_os("S3IMAGESERVER_NATIVE") {
        Some(prefix) => PathBuf::from(prefix),
        None => recipe_folder(),
    };
    println!("cargo:rerun-if-changed={}", prefix.join("complete").display());
    if !prefix.join("complete").exists() {
        fail(&format!("the native libraries are not in {}: run `make native`", prefix.display()));
    }

    let archives = prefix.join("lib");
    println!("cargo:rustc-link-search=native={}", archives.display());
    for library in LIBRARIES {
        // Debian's libsharpyuv exists only beside newer libwebp.
        if archives.join(format!("lib{library}.a")).exists() {
            // Not bundled into the rlib: whoever depends on this crate links the archives themselves.
            println!("cargo:rustc-link-lib=static:-bundle={library}");
        }
    }
    let versions = read(&prefix.join("versions.txt"));
    println!("cargo:rustc-env=NATIVE_VERSIONS={}", versions.lines().collect::<Vec<_>>().join(", "));
}

fn recipe_folder() -> PathBuf {
    let output = Command::new("native/build.sh").arg("--where").output();
    match output {
        Ok(output) if output.status.success() => {
            PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end())
        }
        Ok(output) => {
            fail(&format!("native/build.sh --where failed: {}", String::from_utf8_lossy(&output.stderr)))
        }
        Err(error) => fail(&format!("native/build.sh --where did not start: {error}")),
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| fail(&format!("{}: {error}", path.display())))
}

fn fail(sentence: &str) -> ! {
    println!("cargo:error={sentence}");
    exit(1)
}
