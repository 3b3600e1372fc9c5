//! The type of a body: an image in one of the formats, or text about an image.

use crate::format::Format;

/// The type of what is answered and cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaType {
    Image(Format),
    Json,
    Text,
}

/// The number of types.
const COUNT: usize = Format::ALL.len() + 2;

impl MediaType {
    /// All types: those of images first, in the order of [`Format::ALL`].
    pub const ALL: [MediaType; COUNT] = {
        let mut all = [MediaType::Json; COUNT];
        let mut index = 0;
        while index < Format::ALL.len() {
            all[index] = MediaType::Image(Format::ALL[index]);
            index += 1;
        }
        all[COUNT - 1] = MediaType::Text;
        all
    };

    /// The type with this short name.
    pub fn parse(name: &str) -> Option<MediaType> {
        match name {
            "json" => Some(MediaType::Json),
            "text" => Some(MediaType::Text),
            _ => Format::parse(name).map(MediaType::Image),
        }
    }

    /// The one short name, as in the headers of entries, on the private socket, in the log and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            MediaType::Image(format) => format.name(),
            MediaType::Json => "json",
            MediaType::Text => "text",
        }
    }

    /// The value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            MediaType::Image(format) => format.media_type(),
            MediaType::Json => "application/json",
            MediaType::Text => "text/plain; charset=utf-8",
        }
    }
}

impl From<Format> for MediaType {
    fn from(format: Format) -> MediaType {
        MediaType::Image(format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_distinct_names_that_are_parsed() {
        let mut names = Vec::new();
        for media_type in MediaType::ALL {
            let name = media_type.name();
            assert_eq!(MediaType::parse(name), Some(media_type));
            assert!(!names.contains(&name), "{name}");
            names.push(name);
        }
        assert_eq!(names.len(), COUNT);
        assert_eq!((MediaType::parse("html"), MediaType::parse("")), (None, None));
    }

    #[test]
    fn names_of_images_are_those_of_their_formats() {
        for format in Format::ALL {
            let media_type = MediaType::from(*format);
            assert_eq!(media_type.name(), format.name());
            assert_eq!(media_type.content_type(), format.media_type());
            for name in format.names() {
                assert_eq!(MediaType::parse(name), Some(media_type));
            }
        }
    }
}
