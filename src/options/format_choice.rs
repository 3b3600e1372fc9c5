//! The values of `f`.

use super::Description;
use crate::format::{Format, formats_that, or_list};

/// The value of `f` that leaves the format to the server.
pub(super) const AUTO: &str = "auto";
/// The value of `f`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FormatChoice {
    /// No `f`: the handler's `output_format`.
    Default,
    /// `auto`: negotiated by `Accept`.
    Auto,
    Named(Format),
    /// No image, but a description of it.
    Description(Description),
}

impl FormatChoice {
    pub fn parse(text: &str) -> Option<FormatChoice> {
        match text {
            AUTO => Some(FormatChoice::Auto),
            _ => {
                let format = Format::parse(text).filter(|format| format.is_written());
                let named = format.map(FormatChoice::Named);
                named.or_else(|| Description::parse(text).map(FormatChoice::Description))
            }
        }
    }
}

/// The rule for the values.
pub(super) fn format_rule() -> String {
    let names = formats_that(Format::is_written).flat_map(Format::names).copied();
    let others = [AUTO].into_iter().chain(Description::ALL.map(Description::name));
    format!("must be {}", or_list(names.chain(others)))
}

/// All values, each with one name.
pub(super) fn format_names() -> Vec<&'static str> {
    let names = formats_that(Format::is_written).map(Format::name).chain([AUTO]);
    names.chain(Description::ALL.map(Description::name)).collect()
}
