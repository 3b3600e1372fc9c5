//! The choice of a format that can hold the result, where the options allow several (`f=auto`).

use crate::error::{Code, Failure};
use crate::format::Format;

/// An original whose container has been checked.
#[derive(Debug)]
pub struct Examined {
    /// Bytes of memory that rendering may take.
    pub memory: u64,
    /// More, if the original turns out to be damaged: then another decoder takes over.
    pub memory_if_damaged: Option<u64>,
    /// The formats for which the container exceeds a limit.
    refused: Vec<(Format, Failure)>,
}

impl Examined {
    /// Checks the container for each format with `check`, which returns the bytes of memory that rendering may take.
    /// Fails if all formats are refused, or with the first failure that another format would not avoid.
    pub fn new(
        formats: &[Format],
        check: impl Fn(Format) -> Result<u64, Failure>,
    ) -> Result<Examined, Failure> {
        let mut examined = Examined { memory: 0, memory_if_damaged: None, refused: Vec::new() };
        for format in formats {
            match check(*format) {
                Ok(bytes) => examined.memory = examined.memory.max(bytes),
                Err(failure) if is_of_format(&failure) => examined.refused.push((*format, failure)),
                Err(failure) => return Err(failure),
            }
        }
        match examined.refused.first() {
            Some((_, first)) if examined.refused.len() == formats.len() => Err(first.clone()),
            _ => Ok(examined),
        }
    }

    /// An original for which no format is chosen.
    pub fn with_memory(memory: u64, memory_if_damaged: Option<u64>) -> Examined {
        Examined { memory, memory_if_damaged, refused: Vec::new() }
    }

    /// The same original, with the memory that it takes if it is damaged.
    pub fn with_full_memory(self) -> Examined {
        let memory = self.memory_if_damaged.unwrap_or(self.memory);
        Examined { memory, memory_if_damaged: None, ..self }
    }

    /// The result of `attempt` for the first format in which no limit is exceeded. Fails like [`Examined::new`].
    pub fn choose<T>(
        &self,
        formats: &[Format],
        mut attempt: impl FnMut(Format) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut first = None;
        for format in formats {
            let refused = self.refused.iter().find(|(refused, _)| refused == format);
            let outcome = match refused {
                Some((_, failure)) => Err(failure.clone()),
                None => attempt(*format),
            };
            match outcome {
                Err(failure) if is_of_format(&failure) => first = first.or(Some(failure)),
                outcome => return outcome,
            }
        }
        let no_format = || Failure::new(Code::ResultTooLarge, "no format can hold the result");
        Err(first.unwrap_or_else(no_format))
    }
}

/// Whether another format may not have this failure: it holds a larger image, or fewer frames.
fn is_of_format(failure: &Failure) -> bool {
    matches!(failure.code, Code::ResultTooLarge | Code::TooManyFrames | Code::AnimationTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [Format; 3] = [Format::Webp, Format::Gif, Format::Avif];

    fn failure<T>(code: Code, sentence: &str) -> Result<T, Failure> {
        Err(Failure::new(code, sentence))
    }

    #[test]
    fn the_first_format_without_a_failure_is_chosen() {
        let examined = Examined::new(&FORMATS, |format| match format {
            Format::Webp => failure(Code::TooManyFrames, "webp"),
            Format::Gif => Ok(7),
            _ => Ok(5),
        })
        .unwrap();
        assert_eq!(examined.memory, 7);
        assert_eq!(examined.choose(&FORMATS, Ok).unwrap(), Format::Gif);
        let chosen = examined.choose(&FORMATS, |format| match format {
            Format::Gif => failure(Code::ResultTooLarge, "gif"),
            other => Ok(other),
        });
        assert_eq!(chosen.unwrap(), Format::Avif);
    }

    #[test]
    fn the_failure_is_that_of_the_best_format() {
        let too_large = |format: Format| failure::<u64>(Code::ResultTooLarge, format.name());
        assert_eq!(Examined::new(&FORMATS, too_large).unwrap_err().detail, "webp");
        let examined = Examined::new(&FORMATS, |_| Ok(1)).unwrap();
        assert_eq!(examined.choose(&FORMATS, too_large).unwrap_err().detail, "webp");
        assert_eq!(examined.choose(&[], too_large).unwrap_err().code, Code::ResultTooLarge);
    }

    #[test]
    fn a_failure_of_every_format_ends_the_search() {
        let corrupt = |format: Format| match format {
            Format::Webp => failure::<u64>(Code::ResultTooLarge, "webp"),
            Format::Gif => failure(Code::CorruptImage, "gif"),
            _ => Ok(1),
        };
        assert_eq!(Examined::new(&FORMATS, corrupt).unwrap_err().detail, "gif");
        let examined = Examined::new(&FORMATS, |_| Ok(1)).unwrap();
        assert_eq!(examined.choose(&FORMATS, corrupt).unwrap_err().detail, "gif");
    }
}
