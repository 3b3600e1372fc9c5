//! The type of a body: an image in one of the formats, text about an image, or a file that is passed through.

use crate::file_type::FileType;
use crate::format::Format;

/// The type of what is answered and cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaType {
    Image(Format),
    Json,
    Text,
    /// An original of a type that is not decoded, and not written either: see [`MediaType::from`].
    File(FileType),
}

/// The number of types that are made.
const COUNT: usize = Format::ALL.len() + 2;

impl MediaType {
    /// The types that are made: those of images first, in the order of [`Format::ALL`].
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
            _ => Format::parse(name)
                .map(MediaType::Image)
                .or_else(|| FileType::parse(name).map(MediaType::File)),
        }
    }

    /// The one short name, as in the headers of entries, on the private socket, in the log and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            MediaType::Image(format) => format.name(),
            MediaType::Json => "json",
            MediaType::Text => "text",
            MediaType::File(file_type) => file_type.name(),
        }
    }

    /// The value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            MediaType::Image(format) => format.media_type(),
            MediaType::Json => "application/json",
            MediaType::Text => "text/plain; charset=utf-8",
            MediaType::File(file_type) => file_type.content_type(),
        }
    }

    /// The extensions of its file names, the usual one first.
    pub const fn extensions(self) -> &'static [&'static str] {
        match self {
            MediaType::Image(format) => format.names(),
            MediaType::Json => &["json"],
            MediaType::Text => &["txt"],
            MediaType::File(file_type) => file_type.extensions(),
        }
    }

    /// Whether a browser saves it instead of showing it.
    pub const fn is_attachment(self) -> bool {
        match self {
            MediaType::Image(_) | MediaType::Json | MediaType::Text => false,
            MediaType::File(file_type) => !file_type.is_image(),
        }
    }
}

impl From<Format> for MediaType {
    fn from(format: Format) -> MediaType {
        MediaType::Image(format)
    }
}

/// A type has one name, so that of a file is the image's where images of it are written.
impl From<FileType> for MediaType {
    fn from(file_type: FileType) -> MediaType {
        Format::parse(file_type.name()).map_or(MediaType::File(file_type), MediaType::Image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_distinct_names_that_are_parsed() {
        let mut names = Vec::new();
        let files = FileType::ALL.iter().copied().map(MediaType::from);
        let files: Vec<_> = files.filter(|file| !MediaType::ALL.contains(file)).collect();
        assert_eq!(files.len(), FileType::ALL.len() - 1, "all but JPEG XL");
        for media_type in MediaType::ALL.into_iter().chain(files) {
            let name = media_type.name();
            assert_eq!(MediaType::parse(name), Some(media_type));
            assert!(!names.contains(&name), "{name}");
            names.push(name);
        }
        assert_eq!(names.len(), COUNT + FileType::ALL.len() - 1);
        assert_eq!((MediaType::parse("html"), MediaType::parse("")), (None, None));
    }

    #[test]
    fn a_file_is_sent_as_its_type_says() {
        for file_type in FileType::ALL {
            let media_type = MediaType::from(*file_type);
            assert_eq!(media_type.name(), file_type.name());
            assert_eq!(media_type.content_type(), file_type.content_type());
            assert_eq!(media_type.extensions(), file_type.extensions());
            assert_eq!(media_type.is_attachment(), !file_type.is_image());
        }
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
