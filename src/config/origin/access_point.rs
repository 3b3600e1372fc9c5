//! Access points of S3: another name for a bucket, with a host and a policy of its own.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-points-naming.html>

/// An access point that was named by its ARN.
#[derive(Debug, PartialEq, Eq)]
pub struct AccessPoint {
    /// The first label of its host name, in place of a bucket's name.
    pub host_label: String,
    pub region: String,
    /// Scheme and host below which `host_label` is.
    pub endpoint: String,
}

/// Reads the ARN of an access point; `None` for the name of a bucket. An error is the rest of a sentence about it.
pub fn parse(name: &str) -> Option<Result<AccessPoint, String>> {
    name.starts_with("arn:").then(|| {
        let parts: Vec<&str> = name.splitn(6, ':').collect();
        let [_, partition, service, region, account, resource] = parts[..] else {
            return Err(malformed());
        };
        let suffix = match partition {
            "aws-cn" => "amazonaws.com.cn",
            "aws" | "aws-us-gov" => "amazonaws.com",
            _ => return Err(format!("is in the partition {partition:?}, whose hosts are unknown")),
        };
        match service {
            "s3" => {}
            "s3-object-lambda" => {
                return Err("is an Object Lambda access point, which is signed for another service; give its \
                            alias, which ends in --ol-s3"
                    .to_owned());
            }
            "s3-outposts" => return Err("is on AWS Outposts, which is not supported".to_owned()),
            _ => return Err(malformed()),
        }
        let name = resource.strip_prefix("accesspoint").and_then(|rest| rest.strip_prefix(['/', ':']));
        let name = name.ok_or_else(malformed)?;
        if region.is_empty() {
            return Err("is a Multi-Region Access Point, which needs Signature Version 4A, which is not \
                        supported; give the ARN of an access point in one region"
                .to_owned());
        }
        let is_label = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        if !is_label(name) || !is_label(region) || !is_account {
            return Err(malformed());
        }
        Ok(AccessPoint {
            host_label: format!("{name}-{account}"),
            region: region.to_owned(),
            endpoint: format!("https://s3-accesspoint.{region}.{suffix}"),
        })
    })
}

fn malformed() -> String {
    "must be a bucket's name or arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arn_of_an_access_point_gives_host_and_region() {
        let found = parse("arn:aws:s3:us-west-2:123456789012:accesspoint/prod");
        let expected = |region: &str, suffix: &str| AccessPoint {
            host_label: "prod-123456789012".into(),
            region: region.into(),
            endpoint: format!("https://s3-accesspoint.{region}.{suffix}"),
        };
        assert_eq!(found, Some(Ok(expected("us-west-2", "amazonaws.com"))));
        let found = parse("arn:aws-cn:s3:cn-north-1:123456789012:accesspoint:prod");
        assert_eq!(found, Some(Ok(expected("cn-north-1", "amazonaws.com.cn"))));
        for bucket in ["b", "prod-ol6kz1exampleusw2a-s3alias", "prod-2abcexample--ol-s3", "arn"] {
            assert_eq!(parse(bucket), None);
        }
    }

    #[test]
    fn other_arns_are_refused_with_a_reason() {
        for (arn, reason) in [
            ("arn:aws:s3:::bucket", "must be a bucket's name or arn:"),
            ("arn:aws:s3", "must be a bucket's name or arn:"),
            ("arn:aws:s3:eu-west-1:123456789012:accesspoint/", "must be a bucket's name or arn:"),
            ("arn:aws:s3:eu-west-1:1:accesspoint/a", "must be a bucket's name or arn:"),
            ("arn:aws:s3:eu/west:123456789012:accesspoint/a", "must be a bucket's name or arn:"),
            (
                "arn:aws:s3:eu-west-1:123456789012:accesspoint/a/b",
                "must be a bucket's name or arn:",
            ),
            ("arn:aws:s3:eu-west-1:123456789012:accesspoint/a.evil.example", "must be a bucket's"),
            ("arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap", "is a Multi-Region"),
            (
                "arn:aws:s3-object-lambda:eu-west-1:123456789012:accesspoint/a",
                "is an Object Lambda",
            ),
            (
                "arn:aws:s3-outposts:eu-west-1:123456789012:outpost/op/accesspoint/a",
                "is on AWS Out",
            ),
            ("arn:aws-iso:s3:us-iso-east-1:123456789012:accesspoint/a", "is in the partition"),
            ("arn:aws:iam::123456789012:role/a", "must be a bucket's name or arn:"),
        ] {
            let got = parse(arn).unwrap().unwrap_err();
            assert!(got.starts_with(reason), "{arn}: {got}");
        }
    }
}
