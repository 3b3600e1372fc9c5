//! Links the static C libraries that `native/build.sh` (`make native`) builds.

use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::{env, fs};

/// In link order: each library precedes its dependencies.
const LIBRARIES: &str = "vips jxl lcms2 spng hwy dav1d aom webpmux webpdemux webp sharpyuv jpeg expat \
                         gobject-2.0 glib-2.0 sysprof-capture-4 pcre2-8 ffi z stdc++";

fn main() {
    for variable in ["S3IMAGESERVER_NATIVE", "S3IMAGESERVER_NATIVE_ROOT", "XDG_CACHE_HOME", "HOME"]
    {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed=native");
    let directory =
        env::var_os("S3IMAGESERVER_NATIVE").map_or_else(recipe_directory, PathBuf::from);
    let complete = directory.join("complete");
    println!("cargo::rerun-if-changed={}", complete.display());
    if !complete.exists() {
        fail(&format!(
            "the native libraries are not in {}: run `make native`",
            directory.display()
        ));
    }
    // A security update of a Debian library moves the recipe's directory: these files tell.
    for watched in read(&directory.join("watch.txt")).lines() {
        println!("cargo::rerun-if-changed={watched}");
    }

    compile_shims(&directory.join("include"));
    let archives = directory.join("lib");
    println!("cargo::rustc-link-search=native={}", archives.display());
    // 15,000 addresses that are relocated at the start take 4 KB in place of 370 (DT_RELR; glibc 2.36). A linker that
    // does not know the option ignores it.
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    for library in LIBRARIES.split(' ') {
        // libsharpyuv and libsysprof-capture-4 exist only in newer releases of Debian.
        if archives.join(format!("lib{library}.a")).exists() {
            // Not bundled into the rlib: dependent crates get the same search path.
            println!("cargo::rustc-link-lib=static:-bundle={library}");
        }
    }

    let versions = read(&directory.join("versions.txt"));
    println!(
        "cargo::rustc-env=NATIVE_VERSIONS={}",
        versions.lines().collect::<Vec<_>>().join(", ")
    );
}

/// The C between dav1d, libaom and src/render/codec/av1, and between libjxl and src/render/codec/jxl.
fn compile_shims(headers: &Path) {
    for (directory, name) in [("av1", "s3av1"), ("jxl", "s3jxl")] {
        let [shim, header] =
            ["c", "h"].map(|extension| format!("src/render/codec/{directory}/shim.{extension}"));
        for file in [&shim, &header] {
            println!("cargo::rerun-if-changed={file}");
        }
        cc::Build::new()
            .file(&shim)
            .include(headers)
            .std("c11")
            .opt_level(2)
            .debug(false)
            .flag("-fstack-protector-strong")
            .warnings_into_errors(true)
            .cargo_warnings(true)
            .compile(name);
    }
}

fn recipe_directory() -> PathBuf {
    match Command::new("native/build.sh").arg("--where").output() {
        Ok(output) if output.status.success() => {
            PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end())
        }
        Ok(output) => fail(&format!(
            "native/build.sh --where failed: {}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        )),
        Err(error) => fail(&format!("native/build.sh --where did not start: {error}")),
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| fail(&format!("{}: {error}", path.display())))
}

fn fail(sentence: &str) -> ! {
    println!("cargo::error={sentence}");
    exit(1)
}
