//! `s3imageserver init`: a configuration to start with.

use crate::config;

/// Prefix of the only handler.
const PREFIX: &str = "images";

/// The options of the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub name: String,
    pub region: Option<String>,
    pub endpoint: Option<String>,
}

/// A configuration with comments for this bucket. An error is a sentence that names the option.
pub fn configuration(bucket: &Bucket) -> Result<String, String> {
    let text = text(bucket);
    match config::parse(&text, "") {
        Ok(_) => Ok(text),
        Err(error) => {
            let option = match error.path.rsplit('.').next() {
                Some("bucket_name") => "--bucket",
                Some("region") => "--region",
                Some("endpoint") => "--endpoint",
                _ => return Err(error.to_string()),
            };
            Err(format!("{option}: {}", error.message))
        }
    }
}

fn text(Bucket { name, region, endpoint }: &Bucket) -> String {
    let region = json(region.as_deref().unwrap_or("us-east-1"));
    let endpoint = match endpoint {
        Some(endpoint) => format!("\"endpoint\": {},", json(endpoint)),
        None => r#"// "endpoint": "https://s3.example.com", // a server other than AWS"#.to_owned(),
    };
    let name = json(name);
    format!(
        r#"// Save this as config.json. `s3imageserver --check --online` checks it and asks the bucket; `s3imageserver` serves.
// Values may come from the environment: "$NAME" or "${{NAME:-default}}". docs/configuration.md explains every field.
{{
  "handlers": [
    {{
      "prefix": "{PREFIX}", // http://127.0.0.1:8080/{PREFIX}/KEY?w=300&f=webp
      "aws": {{
        "bucket_name": {name},
        "file_path": "", // a directory in the bucket; "" is the whole bucket
        "region": {region},
        {endpoint}
        // Without these two, credentials come from the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), a
        // profile, or the role of the container or machine. They need s3:GetObject.
        // "aws_access": "$BUCKET_ACCESS_KEY",
        // "aws_secret": "$BUCKET_SECRET_KEY",
      }},
      "cache_path": "./cache", // variants on disk; created if missing
      "cache_max_bytes": 10000000000,
      "cache_time": 604800, // seconds until an image is revalidated
      // Anyone may request any size, unless sizes are listed or requests need a token:
      // "allowed_sizes": [[300, 0], [600, 0], [1200, 0]],
      // "token": {{"type": "hmac", "secrets": ["$SIGNING_SECRET"]}},
      // "error_image": "error_image.jpg", // sent in place of an image that failed
    }},
  ],
  "address": "127.0.0.1", // this machine only; remove the line to listen on every address
  "http_port": "${{PORT:-8080}}",
  // "trusted_proxies": ["10.0.0.0/8"], // load balancers, for the addresses of clients
  // "admin": {{"secret": "$ADMIN_SECRET"}}, // purge and statistics at 127.0.0.1:9090
}}
"#
    )
}

/// A JSON string. What starts with `$` is not a reference to a variable here.
fn json(value: &str) -> String {
    let escape = if value.starts_with('$') { "$" } else { "" };
    serde_json::Value::from(format!("{escape}{value}")).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;

    fn bucket(name: &str, region: Option<&str>, endpoint: Option<&str>) -> Bucket {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Bucket { name: name.to_owned(), region: owned(region), endpoint: owned(endpoint) }
    }

    #[test]
    fn the_configuration_names_the_bucket() {
        for (region, endpoint) in [
            (None, None),
            (Some("eu-west-1"), Some("http://127.0.0.1:9000")),
            (None, Some("https://[::1]")),
        ] {
            let text = configuration(&bucket("my-bucket", region, endpoint)).unwrap();
            let config = config::parse(&text, "test").unwrap();
            let Some(Origin::S3(s3)) = config.handlers[0].origins.first() else { panic!("not S3") };
            assert_eq!((s3.bucket.as_str(), s3.endpoint.as_deref()), ("my-bucket", endpoint));
            assert_eq!(s3.region, region.unwrap_or("us-east-1"));
            assert!(config.handlers[0].cache.is_some());
        }
    }

    #[test]
    fn the_commented_fields_of_the_configuration_are_valid() {
        let text = configuration(&bucket("b", None, None)).unwrap();
        let uncommented = text.replace("// \"", "\"");
        let filled = ["BUCKET_ACCESS_KEY", "BUCKET_SECRET_KEY", "SIGNING_SECRET", "ADMIN_SECRET"]
            .iter()
            .fold(uncommented, |text, name| {
                text.replace(&format!("\"${name}\""), "\"0123456789abcdef\"")
            });
        let filled = filled.replace("\"error_image\": \"error_image.jpg\",", "");
        let config =
            config::parse(&filled, "test").unwrap_or_else(|error| panic!("{error}\n{filled}"));
        assert!(config.admin.is_some() && config.handlers[0].token.is_some());
    }

    #[test]
    fn an_invalid_value_is_an_error_that_names_its_option() {
        for (bucket, start) in [
            (bucket("", None, None), "--bucket: must not be empty"),
            (bucket("a/b", None, None), "--bucket: may contain"),
            (bucket("a\",\"", None, None), "--bucket: may contain"),
            (bucket("$HOME", None, None), "--bucket: may contain"),
            (bucket("b", Some("eu west"), None), "--region: must be"),
            (bucket("b", None, Some("minio:9000")), "--endpoint: must be http:// or https://"),
        ] {
            let error = configuration(&bucket).unwrap_err();
            assert!(error.starts_with(start), "{error}");
        }
    }
}
