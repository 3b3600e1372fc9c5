//! For the tests, of the modules and of the program.

/// Reports a test that can't run here, for example without root. With `REQUIRE_ALL=1` it fails instead, so that no
/// test disappears unnoticed.
#[track_caller]
pub fn skip(reason: &str) {
    let is_required = std::env::var_os("REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!is_required, "can't run this test: {reason}");
    eprintln!("skipped: {reason}");
}
