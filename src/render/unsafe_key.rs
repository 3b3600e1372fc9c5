//! Keys that can't be sent or opened as they are.

use crate::error::{Code, Failure};

/// Refuses keys that a library or a file system on the way to the original would change.
///
/// URL libraries remove `.` and `..` segments (WHATWG URL §4.4, path state; RFC 3986 §5.2.4), so a signed
/// `a/../b` would fetch `b`; file systems resolve them; and C ends a string at NUL.
pub fn refuse_unsafe(key: &str) -> Result<(), Failure> {
    if key.contains('\0') {
        return Err(Failure::new(Code::InvalidKey, format!("key {key:?}: has a NUL")));
    }
    if key.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(Failure::new(
            Code::InvalidKey,
            format!("key {key:?}: has . or .. as a segment"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_dot_segments_or_nul_are_refused() {
        for key in
            [".", "..", "a/..", "../a", "a/../b", "a/./b", "./a", "a/.", "//..", "a\0b", "\0"]
        {
            assert_eq!(refuse_unsafe(key).unwrap_err().code, Code::InvalidKey, "{key:?}");
        }
    }

    #[test]
    fn keys_that_resemble_dot_segments_are_accepted() {
        for key in
            ["...", "a..b", ".a", "a.", "%2e%2e/a", "..\\a", "a/ ../b", ".. /a", "/", "//", "é/…"]
        {
            assert_eq!(refuse_unsafe(key), Ok(()), "{key:?}");
        }
    }
}
