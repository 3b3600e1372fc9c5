//! `fit`: how the image meets the box of `w` and `h`.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// `c=true`
    Cover,
    /// `c=false`
    Contain,
    /// `pad=true`
    Pad,
    Stretch,
    Outside,
    Ratio,
}

const NAMED: [(&str, Fit); 6] = [
    ("cover", Fit::Cover),
    ("contain", Fit::Contain),
    ("pad", Fit::Pad),
    ("stretch", Fit::Stretch),
    ("outside", Fit::Outside),
    ("ratio", Fit::Ratio),
];

/// The parameters that say the same in part, which a query can't have beside it.
pub(super) const OLDER: [&str; 2] = ["c", "pad"];

impl Fit {
    pub fn names() -> Vec<&'static str> {
        NAMED.iter().map(|(name, _)| *name).collect()
    }

    pub fn parse(text: &str) -> Option<Fit> {
        NAMED.iter().find(|(name, _)| *name == text).map(|(_, fit)| *fit)
    }
}
