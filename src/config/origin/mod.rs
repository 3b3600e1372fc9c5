//! Where a handler's originals are. A kind of origin is a module here, which reads its field, and a module of
//! `render::origin`, which fetches.

mod access_point;
mod directory;
mod s3;

use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};

pub use directory::Directory;
pub use s3::{AssumedRole, Credentials, S3, TABLE as AWS_TABLE, read_bucket as read_s3};

use super::error::Result;
use super::fields::Fields;
use super::schema::Table;
use crate::format::or_list;

/// The configuration of an origin of any kind.
pub trait OriginConfig: fmt::Debug + Send + Sync {
    /// Identifies the origin in each cache key.
    fn identity(&self) -> String;

    /// The directory of this machine that its originals are in, absolute; its path may have symbolic links. `None` for
    /// an origin that is reached over the network.
    fn local_directory(&self) -> Option<&Path> {
        None
    }

    /// The key of an object that an event names by its bucket and its own key. `None` if it is not in this origin.
    fn key_of<'o>(&self, _bucket: &str, _object: &'o str) -> Option<&'o str> {
        None
    }

    /// Checks that `user`, the current user of this process, can use the files that the origin names.
    fn check_access(&self, user: &str) -> Result<()>;
}

/// Defines [`Origin`] with a variant for each kind. A kind's module has the row of its field, `FIELD`, and `read`.
macro_rules! origins {
    ($($module:ident::$kind:ident,)+) => {
        /// Where originals come from.
        #[allow(clippy::large_enum_variant, reason = "there is one for each handler")]
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Origin {
            $($kind($kind),)+
        }

        /// The field of each kind; a handler has one of them.
        pub(super) const TABLE: Table = &[$($module::FIELD.row),+];

        /// Reads the first kind that is given.
        fn read_first(
            fields: &Fields,
            local: Option<PathBuf>,
            is_checked: bool,
        ) -> Result<Option<Origin>> {
            $(if let Some(value) = fields.optional(&$module::FIELD)? {
                let origin = $module::read(fields, value, local, is_checked)?;
                return Ok(Some(Origin::$kind(origin)));
            })+
            Ok(None)
        }

        impl Origin {
            /// The field of a handler that gives it.
            pub fn field(&self) -> &'static str {
                match self {
                    $(Origin::$kind(_) => $module::FIELD.name(),)+
                }
            }
        }

        impl Deref for Origin {
            type Target = dyn OriginConfig;

            fn deref(&self) -> &(dyn OriginConfig + 'static) {
                match self {
                    $(Origin::$kind(origin) => origin,)+
                }
            }
        }
    };
}

origins! {
    s3::S3,
    directory::Directory,
}

impl Origin {
    /// Whether events can be about its objects.
    pub fn is_bucket(&self) -> bool {
        matches!(self, Origin::S3(_))
    }

    /// Reads a handler's origin. `local` is the directory that was found when the text was checked; with `is_checked`,
    /// the file system is not read.
    pub(super) fn read(
        fields: &Fields,
        local: Option<PathBuf>,
        is_checked: bool,
    ) -> Result<Origin> {
        let names: Vec<_> = TABLE.iter().map(|row| row.name).collect();
        let given = names.iter().filter(|name| fields.has(name));
        if let Some(second) = given.skip(1).last() {
            let message = format!("a handler has one origin: {}", or_list(names.iter().copied()));
            return Err(fields.error(second, message));
        }
        read_first(fields, local, is_checked)?.ok_or_else(|| {
            let message =
                format!("required: where the originals are ({})", or_list(names.iter().copied()));
            fields.error(names[0], message)
        })
    }
}
