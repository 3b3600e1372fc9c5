//! Where a handler's originals are. A kind of origin is a module here, which reads its field, and a module of
//! `render::origin`, which fetches.

mod access_point;
mod ca_file;
mod directory;
mod http;
mod s3;

use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use jsonc_parser::ast::Value;

pub use directory::Directory;
pub use http::Http;
#[cfg(test)]
pub use http::TABLE as HTTP_TABLE;
pub use s3::{AssumedRole, Credentials, S3, TABLE as AWS_TABLE, read_bucket as read_s3};

use super::error::{ConfigError, Result};
use super::fields::Fields;
use super::schema::{Kind, Optional, Table, array, concat};
use crate::format::or_list;

/// The most origins that a handler may have: each adds a request to that for a key which none of them has.
const MAX_ORIGINS: usize = 8;

const ORIGINS: Optional<&'static [Value<'static>]> =
    array("origins", "objects", &Kind::Object(EACH_TABLE))
        .absent("one of `aws`, `directory`, `http` and `origins` is required")
        .doc("At most 8 origins, each an object with one of the three fields above: a key that an origin does not have is looked for in the next one ([several origins](s3.md#several-origins)).");

const ORIGINS_TABLE: Table = &[ORIGINS.row];

/// The fields of a handler that say where its originals are.
pub(super) const TABLE: Table =
    &concat::<{ EACH_TABLE.len() + ORIGINS_TABLE.len() }>(EACH_TABLE, ORIGINS_TABLE);

/// The configuration of an origin of any kind.
pub trait OriginConfig: fmt::Debug + Send + Sync {
    /// Identifies the origin: in each cache key if it is the handler's first, else in the entries of its originals.
    fn identity(&self) -> String;

    /// The JSON path of its field, for errors.
    fn json_path(&self) -> &str;

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

/// The directories that were found when a text was checked, in the order of their origins.
type Found<'f> = &'f mut dyn Iterator<Item = PathBuf>;

/// Defines [`Origin`] with a variant for each kind. A kind's module has the row of its field, `FIELD`, and `read`.
macro_rules! origins {
    ($($module:ident::$kind:ident,)+) => {
        /// Where originals come from.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Origin {
            $($kind($kind),)+
        }

        /// The field of each kind; an origin has one of them.
        pub(super) const EACH_TABLE: Table = &[$($module::FIELD.row),+];

        /// Reads the first kind that is given.
        fn read_first(
            fields: &Fields,
            found: Found,
            is_checked: bool,
        ) -> Result<Option<Origin>> {
            $(if let Some(value) = fields.optional(&$module::FIELD)? {
                let origin = $module::read(fields, value, found, is_checked)?;
                return Ok(Some(Origin::$kind(origin)));
            })+
            Ok(None)
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
    http::Http,
}

/// The origins of a handler, at least one, in the order in which they are asked for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins(Vec<Origin>);

impl Deref for Origins {
    type Target = [Origin];

    fn deref(&self) -> &[Origin] {
        &self.0
    }
}

impl Origins {
    /// Identifies the first origin, in each cache key. The others are identified by the entries of their originals, so
    /// that a list can grow, shrink and change behind its first origin without the loss of a cache.
    pub fn identity(&self) -> String {
        self.first().map(|origin| origin.identity()).unwrap_or_default()
    }

    /// Whether events can be about the objects of any of them.
    pub fn has_bucket(&self) -> bool {
        self.iter().any(|origin| matches!(origin, Origin::S3(_)))
    }

    /// The keys that an object of a bucket has, see [`OriginConfig::key_of`].
    pub fn keys_of<'o>(&self, bucket: &str, object: &'o str) -> Vec<&'o str> {
        let mut keys = Vec::new();
        for key in self.iter().filter_map(|origin| origin.key_of(bucket, object)) {
            // Buckets at two endpoints may have the same name, as during a move.
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    /// The directories of this machine that originals are in.
    pub fn local_directories(&self) -> impl Iterator<Item = &Path> {
        self.iter().filter_map(|origin| origin.local_directory())
    }

    /// Reads a handler's origins. `found` are the directories that were found when the text was checked; with
    /// `is_checked`, the file system is not read.
    pub(super) fn read(fields: &Fields, found: Found, is_checked: bool) -> Result<Origins> {
        refuse_second(fields, TABLE)?;
        if let Some(origin) = read_first(fields, found, is_checked)? {
            return Ok(Origins(vec![origin]));
        }
        let Some(elements) = fields.optional(&ORIGINS)? else { return Err(missing(fields, TABLE)) };
        if !(1..=MAX_ORIGINS).contains(&elements.len()) {
            let message = format!("must have 1 to {MAX_ORIGINS} origins, not {}", elements.len());
            return Err(fields.error(ORIGINS.name(), message));
        }
        let mut origins: Vec<Origin> = Vec::new();
        for (index, element) in elements.iter().enumerate() {
            let name = format!("{}[{index}]", ORIGINS.name());
            let each = Fields::of(element, fields.path(&name), EACH_TABLE)?;
            refuse_second(&each, EACH_TABLE)?;
            let origin =
                read_first(&each, found, is_checked)?.ok_or_else(|| missing(&each, EACH_TABLE))?;
            let identity = origin.identity();
            if let Some(same) = origins.iter().find(|other| other.identity() == identity) {
                let message = format!("is the same origin as {}", same.json_path());
                return Err(fields.error(&name, message));
            }
            origins.push(origin);
        }
        Ok(Origins(origins))
    }
}

fn refuse_second(fields: &Fields, table: Table) -> Result<()> {
    match table.iter().filter(|row| fields.has(row.name)).nth(1) {
        None => Ok(()),
        Some(second) => {
            let message = format!("only one of these may be given: {}", names(table));
            Err(fields.error(second.name, message))
        }
    }
}

fn missing(fields: &Fields, table: Table) -> ConfigError {
    let message = format!("required: where the originals are ({})", names(table));
    match table.first() {
        Some(row) => fields.error(row.name, message),
        None => ConfigError::new(fields.own_path(), message),
    }
}

fn names(table: Table) -> String {
    or_list(table.iter().map(|row| row.name))
}

#[cfg(test)]
mod tests {
    use super::MAX_ORIGINS;
    use crate::config::Origin;
    use crate::config::tests::{error_of, parse};
    use crate::documents::assert_says;

    fn with(origins: &str) -> String {
        format!(r#"{{"handlers": [{{"name": "h", "origins": {origins}}}]}}"#)
    }

    #[test]
    fn several_origins_are_read_in_order() {
        let text = with(r#"[{"http": "https://Legacy.example.com/a b/../"}, {"directory": "/"}]"#);
        assert!(error_of(&text).starts_with("handlers[0].origins[0].http: "), "{text}");
        let config = parse(&with(
            r#"[{"aws": {"bucket_name": "new", "anonymous": true}},
                {"aws": {"bucket_name": "old", "anonymous": true}},
                {"directory": "/"}, {"http": "https://Legacy.example.com:443/images"}]"#,
        ));
        let origins = &config.handlers[0].origins;
        let [Origin::S3(new), Origin::S3(old), Origin::Directory(root), Origin::Http(web)] =
            &origins[..]
        else {
            panic!("{origins:?}");
        };
        assert_eq!((new.bucket.as_str(), old.bucket.as_str()), ("new", "old"));
        assert_eq!(old.json_path, "handlers[0].origins[1].aws");
        assert_eq!(root.path, std::path::Path::new("/"));
        assert_eq!(web.json_path, "handlers[0].origins[3].http");
        assert_eq!(web.base(), "https://legacy.example.com/images/");
        assert_eq!(origins.local_directories().count(), 1);
    }

    #[test]
    fn the_identity_is_that_of_the_first_origin() {
        let identity = |fields: &str| {
            let text = format!(r#"{{"handlers": [{{"name": "h", {fields}}}]}}"#);
            parse(&text).handlers[0].identity()
        };
        let a = r#""aws": {"bucket_name": "a", "anonymous": true}"#;
        let b = r#""aws": {"bucket_name": "b", "anonymous": true}"#;
        let alone = identity(a);
        assert_eq!(alone, "h\0s3\0aws\0a\0");
        for list in [format!("[{{{a}}}]"), format!("[{{{a}}}, {{{b}}}]")] {
            assert_eq!(identity(&format!(r#""origins": {list}"#)), alone, "{list}");
        }
        assert_ne!(identity(&format!(r#""origins": [{{{b}}}, {{{a}}}]"#)), alone);
    }

    #[test]
    fn an_object_has_its_keys_of_all_origins_once() {
        let aws = |fields: &str| format!(r#"{{"aws": {{"anonymous": true, {fields}}}}}"#);
        let origins = [
            aws(r#""bucket_name": "b""#),
            aws(r#""bucket_name": "b", "endpoint": "http://h""#),
            aws(r#""bucket_name": "b", "file_path": "a""#),
            aws(r#""bucket_name": "c", "file_path": "a/b""#),
        ];
        let config = parse(&with(&format!("[{}]", origins.join(","))));
        let origins = &config.handlers[0].origins;
        assert_eq!(origins.keys_of("b", "a/b/c"), ["a/b/c", "b/c"]);
        assert_eq!(origins.keys_of("c", "a/b/c"), ["c"]);
        assert_eq!(origins.keys_of("d", "a/b/c"), [""; 0]);
    }

    #[test]
    fn the_number_of_origins_is_as_documented() {
        assert_says("docs/configuration.md", &format!("At most {MAX_ORIGINS} origins"));
    }

    #[test]
    fn errors_of_origins_name_their_path() {
        let bucket = r#"{"aws": {"bucket_name": "b", "anonymous": true}}"#;
        let many = [bucket; MAX_ORIGINS + 1].join(",");
        for (origins, expected) in [
            ("[]", "origins: must have 1 to 8 origins, not 0"),
            (&format!("[{many}]"), "origins: must have 1 to 8 origins, not 9"),
            ("{}", "origins: must be an array, not an object"),
            ("[1]", "origins[0]: must be an object, not a number"),
            ("[{}]", "origins[0].aws: required: where the originals are (aws, directory or http)"),
            (
                r#"[{"directory": "/", "http": "http://h/"}]"#,
                "origins[0].http: only one of these may be given: aws, directory or http",
            ),
            (r#"[{"origins": []}]"#, "origins[0].origins: unknown field"),
            (
                r#"[{"directory": "/"}, {"directory": "//"}]"#,
                "origins[1]: is the same origin as handlers[0].origins[0].directory",
            ),
            (
                r#"[{"directory": "/"}, {"aws": {"bucket_name": 1}}]"#,
                "origins[1].aws.bucket_name: must be a string",
            ),
            (r#"[{"directory": "/no/such"}]"#, "origins[0].directory: /no/such: can't be opened"),
        ] {
            let got = error_of(&with(origins));
            assert!(got.starts_with(&format!("handlers[0].{expected}")), "{origins}: {got}");
        }
        let both = r#"{"handlers": [{"name": "h", "directory": "/", "origins": []}]}"#;
        let expected =
            "handlers[0].origins: only one of these may be given: aws, directory, http or origins";
        assert_eq!(error_of(both), expected);
    }
}
