//! How a form asks for the value of a parameter: the controls of the playground.

/// A control of a form. What it accepts is valid; [`super::Parameter::rule`] says what else is.
#[derive(Clone, Copy, Debug)]
pub enum Control {
    /// `true` or `false`.
    Flag,
    Number {
        min: f64,
        max: f64,
        step: f64,
    },
    /// One of several values.
    Choice(fn() -> Vec<&'static str>),
    /// Six hexadecimal digits.
    Colour,
    Text,
}

impl Control {
    pub(super) const fn number(min: f64, max: f64, step: f64) -> Control {
        Control::Number { min, max, step }
    }

    pub(super) const fn whole(min: u32, max: u32) -> Control {
        Control::Number { min: min as f64, max: max as f64, step: 1.0 }
    }
}
