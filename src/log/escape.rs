//! Escapes text from outside before it is printed: a key, a path or a decoder's message must not look like another
//! line, another column or a terminal command.

/// Appends text to a line, with control characters as `\u{…}`.
pub fn push(line: &mut String, text: &str) {
    push_where(line, text, char::is_control);
}

/// Appends text to a line whose columns are separated by spaces: white space is escaped as well.
pub fn push_column(line: &mut String, text: &str) {
    push_where(line, text, |c| c.is_control() || c.is_whitespace());
}

fn push_where(line: &mut String, text: &str, must_escape: impl Fn(char) -> bool) {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return line.push_str(text);
    }
    for c in text.chars() {
        if must_escape(c) {
            line.extend(c.escape_unicode());
        } else {
            line.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_white_space_in_columns() {
        let text = "a\nb\u{1b}[0m\u{85} ü";
        let mut line = String::new();
        push(&mut line, text);
        assert_eq!(line, "a\\u{a}b\\u{1b}[0m\\u{85} ü");
        line.clear();
        push_column(&mut line, text);
        assert_eq!(line, "a\\u{a}b\\u{1b}[0m\\u{85}\\u{20}ü");
    }
}
