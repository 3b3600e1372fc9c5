//! Rows that say everything about a field once: its name, type, range, default and documentation.
//!
//! A table of rows determines which names an object may have. Parsing, range checks, defaults and the reference
//! ([`super::reference`]) follow from the row.

use std::marker::PhantomData;
use std::time::Duration;

/// The fields of one object, in the order of the reference.
pub type Table = &'static [Row];

/// The part of a field that does not depend on its Rust type.
#[derive(Clone, Copy)]
#[cfg_attr(not(test), expect(dead_code, reason = "the documents are written by a test"))]
pub struct Row {
    pub name: &'static str,
    pub kind: Kind,
    pub default: Shown,
    /// The unit of a number; empty for other types.
    pub unit: &'static str,
    /// Sentences in Markdown.
    pub doc: &'static str,
}

/// The JSON type of a field and what its values may be.
#[derive(Clone, Copy)]
#[cfg_attr(not(test), expect(dead_code, reason = "the documents are written by a test"))]
pub enum Kind {
    Boolean,
    /// A whole number.
    Integer {
        min: i64,
        max: i64,
    },
    /// A number, fractions allowed.
    Number {
        min: f64,
        max: f64,
    },
    /// A number of seconds, fractions allowed; `zero` allows 0 as well.
    Seconds {
        zero: bool,
    },
    /// A string that may be empty.
    String,
    /// A string that must not be empty.
    Text,
    /// A string that errors don't repeat.
    Secret,
    /// A list of secrets.
    Secrets,
    /// One of several strings.
    Choice(fn() -> Vec<&'static str>),
    /// A list of elements of this kind; the text names them.
    Array {
        items: &'static str,
        kind: &'static Kind,
    },
    /// An object with fields of its own.
    Object(Table),
    /// A string that must not be empty, or such an object in its place.
    TextOrObject(Table),
    /// An object whose names the operator chooses, of strings and of objects with these fields; the text names its
    /// values.
    Map(&'static str, Table),
    /// Any JSON, whose strings may be references.
    Json,
}

/// The default as the reference shows it.
#[derive(Clone, Copy)]
#[cfg_attr(not(test), expect(dead_code, reason = "the documents are written by a test"))]
pub enum Shown {
    Required,
    Boolean(bool),
    Integer(i64),
    Seconds(Duration),
    String(&'static str),
    Words(&'static str),
}

/// The shortest and the longest time, in seconds, that a field takes.
pub const MIN_SECONDS: f64 = 0.001;
pub const MAX_SECONDS: f64 = 86_400.0;

/// A field that is read as a `T`. `D` says where its default comes from: [`Absent`], [`Or`] or [`Computed`].
pub struct Field<T, D> {
    pub row: Row,
    pub(super) default: D,
    of: PhantomData<fn() -> T>,
}

/// Without a default: reading gives an `Option`, or an error where the field is required.
#[derive(Clone, Copy)]
pub struct Absent;

#[derive(Clone, Copy)]
pub struct Or<T>(pub(super) T);

#[derive(Clone, Copy)]
pub struct Computed<T>(pub(super) fn() -> T);

pub type Optional<T> = Field<T, Absent>;
pub type Defaulted<T> = Field<T, Or<T>>;

/// Where a missing field's value comes from.
pub trait DefaultValue<T> {
    fn value(&self) -> T;
}

impl<T: Copy> DefaultValue<T> for Or<T> {
    fn value(&self) -> T {
        self.0
    }
}

impl<T> DefaultValue<T> for Computed<T> {
    fn value(&self) -> T {
        self.0()
    }
}

/// A type whose values are named by strings.
pub trait Choice: Copy + 'static {
    const CHOICES: &'static [(&'static str, Self)];
}

const fn field<T>(name: &'static str, kind: Kind) -> Optional<T> {
    let row = Row { name, kind, default: Shown::Required, unit: "", doc: "" };
    Field { row, default: Absent, of: PhantomData }
}

pub const fn boolean(name: &'static str) -> Optional<bool> {
    field(name, Kind::Boolean)
}

pub const fn integer<T>(name: &'static str, min: i64, max: i64) -> Optional<T> {
    field(name, Kind::Integer { min, max })
}

pub const fn number(name: &'static str, min: f64, max: f64) -> Optional<f64> {
    field(name, Kind::Number { min, max })
}

/// Seconds from 0.001 to 86400.
pub const fn seconds<T>(name: &'static str) -> Optional<T> {
    field(name, Kind::Seconds { zero: false })
}

/// Seconds from 0.001 to 86400, or 0.
pub const fn seconds_or_zero<T>(name: &'static str) -> Optional<T> {
    field(name, Kind::Seconds { zero: true })
}

/// Whole seconds from 0.
pub const fn whole_seconds(name: &'static str) -> Optional<Duration> {
    integer::<Duration>(name, 0, u32::MAX as i64).unit("seconds")
}

pub const fn string(name: &'static str) -> Optional<&'static str> {
    field(name, Kind::String)
}

pub const fn text(name: &'static str) -> Optional<&'static str> {
    field(name, Kind::Text)
}

pub const fn secret(name: &'static str) -> Optional<String> {
    field(name, Kind::Secret)
}

pub const fn secrets(name: &'static str) -> Optional<Vec<String>> {
    field(name, Kind::Secrets)
}

pub const fn choice<T: Choice>(name: &'static str) -> Optional<T> {
    field(name, Kind::Choice(|| T::CHOICES.iter().map(|(name, _)| *name).collect()))
}

pub const fn array<T>(name: &'static str, items: &'static str, kind: &'static Kind) -> Optional<T> {
    field(name, Kind::Array { items, kind })
}

pub const fn object<T>(name: &'static str, table: Table) -> Optional<T> {
    field(name, Kind::Object(table))
}

pub const fn text_or_object<T>(name: &'static str, table: Table) -> Optional<T> {
    field(name, Kind::TextOrObject(table))
}

pub const fn map<T>(name: &'static str, values: &'static str, table: Table) -> Optional<T> {
    field(name, Kind::Map(values, table))
}

pub const fn json<T>(name: &'static str) -> Optional<T> {
    field(name, Kind::Json)
}

impl<T, D: Copy> Field<T, D> {
    pub const fn name(&self) -> &'static str {
        self.row.name
    }

    pub const fn unit(self, unit: &'static str) -> Field<T, D> {
        Field { row: Row { unit, ..self.row }, default: self.default, of: PhantomData }
    }

    pub const fn doc(self, doc: &'static str) -> Field<T, D> {
        Field { row: Row { doc, ..self.row }, default: self.default, of: PhantomData }
    }
}

impl<T> Optional<T> {
    const fn or(self, value: T, default: Shown) -> Defaulted<T>
    where
        T: Copy,
    {
        Field { row: Row { default, ..self.row }, default: Or(value), of: PhantomData }
    }

    /// Describes what applies when an optional field is missing.
    pub const fn absent(self, words: &'static str) -> Optional<T> {
        Field {
            row: Row { default: Shown::Words(words), ..self.row },
            default: Absent,
            of: PhantomData,
        }
    }

    /// A default that depends on the machine, and the words for it.
    pub const fn computed(self, compute: fn() -> T, words: &'static str) -> Field<T, Computed<T>> {
        Field {
            row: Row { default: Shown::Words(words), ..self.row },
            default: Computed(compute),
            of: PhantomData,
        }
    }
}

impl Optional<bool> {
    pub const fn default(self, value: bool) -> Defaulted<bool> {
        self.or(value, Shown::Boolean(value))
    }
}

impl Optional<&'static str> {
    pub const fn default(self, value: &'static str) -> Defaulted<&'static str> {
        self.or(value, Shown::String(value))
    }
}

impl Optional<Duration> {
    pub const fn default(self, seconds: u64) -> Defaulted<Duration> {
        let value = Duration::from_secs(seconds);
        self.or(value, Shown::Seconds(value))
    }

    pub const fn default_milliseconds(self, milliseconds: u64) -> Defaulted<Duration> {
        let value = Duration::from_millis(milliseconds);
        self.or(value, Shown::Seconds(value))
    }
}

macro_rules! integers {
    ($($integer:ty),*) => {
        $(impl Optional<$integer> {
            pub const fn default(self, value: $integer) -> Defaulted<$integer> {
                self.or(value, Shown::Integer(value as i64))
            }
        })*
    };
}

integers!(i64, u32, u64, usize);

impl<T: Choice> Optional<T> {
    /// The default by its place in [`Choice::CHOICES`].
    pub const fn default_choice(self, index: usize) -> Defaulted<T> {
        let (name, value) = T::CHOICES[index];
        self.or(value, Shown::String(name))
    }
}

/// Defines a constant for each field and the table of them all, so that none is left out.
macro_rules! table {
    (
        $visibility:vis $table:ident;
        $($(#[doc = $doc:literal])+ $name:ident: $type:ty = $field:expr;)*
    ) => {
        $(pub(super) const $name: $type = $field.doc(concat!($($doc),+));)*
        $visibility const $table: $crate::config::schema::Table = &[$($name.row),*];
    };
}

pub(super) use table;

/// One table after the other; `N` is the sum of their lengths.
pub const fn concat<const N: usize>(first: Table, second: Table) -> [Row; N] {
    let mut rows = [first[0]; N];
    let mut index = 0;
    while index < N {
        let in_first = index < first.len();
        rows[index] = if in_first { first[index] } else { second[index - first.len()] };
        index += 1;
    }
    rows
}
