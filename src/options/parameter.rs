//! One query parameter.

use std::borrow::Cow;

use super::Control;

/// One row of the table.
#[derive(Debug)]
pub struct Parameter {
    pub name: &'static str,
    /// Whether it is about the image. The others are about the request and can't be in a preset.
    pub is_image_option: bool,
    /// The rule for its values, as in an error: `must be …`.
    pub rule: fn() -> Cow<'static, str>,
    /// How a form asks for it.
    pub control: Control,
    /// The default in Markdown: the value, or a description of it.
    pub default: &'static str,
    #[cfg(test)]
    pub changes_pixels: bool,
    /// A sentence in Markdown, for docs/options.md and the playground.
    pub documentation: &'static str,
}
