//! Topics of Amazon SNS, whose messages about buckets are accepted.

/// The DNS suffix of each AWS partition that an ARN may name.
/// <https://docs.aws.amazon.com/general/latest/gr/rande.html>
const PARTITIONS: [(&str, &str); 4] = [
    ("aws", "amazonaws.com"),
    ("aws-cn", "amazonaws.com.cn"),
    ("aws-us-gov", "amazonaws.com"),
    ("aws-eusc", "amazonaws.eu"),
];
/// In characters: <https://docs.aws.amazon.com/sns/latest/api/API_CreateTopic.html>
const MAX_NAME: usize = 256;
/// The digits of an account number.
const ACCOUNT: usize = 12;

/// A topic, by its ARN. It names the only host that is asked for its certificates and confirmations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub arn: String,
    region: String,
    partition: String,
    suffix: &'static str,
}

impl Topic {
    /// Parses `arn:PARTITION:sns:REGION:ACCOUNT:NAME`. Each part has only characters that need no escape in a URL.
    pub fn parse(arn: &str) -> Option<Topic> {
        let parts: Vec<&str> = arn.split(':').collect();
        let ["arn", partition, "sns", region, account, name] = parts[..] else { return None };
        let (_, suffix) = PARTITIONS.into_iter().find(|(known, _)| *known == partition)?;
        let is_region = (1..=32).contains(&region.len())
            && region
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        let is_account =
            account.len() == ACCOUNT && account.bytes().all(|byte| byte.is_ascii_digit());
        let is_name = (1..=MAX_NAME).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        (is_region && is_account && is_name).then(|| Topic {
            arn: arn.to_owned(),
            region: region.to_owned(),
            partition: partition.to_owned(),
            suffix,
        })
    }

    /// The host of SNS in the topic's region.
    pub fn host(&self) -> String {
        format!("sns.{}.{}", self.region, self.suffix)
    }

    /// The names of which the certificate of a message has one. They depend on the region's age; these are those of the
    /// message managers in AWS's SDKs for Java. Only AWS can have a certificate for any of them.
    pub fn certificate_names(&self) -> Vec<String> {
        let Topic { region, suffix, .. } = self;
        let mut names = vec![
            format!("sns.{suffix}"),
            format!("sns.{region}.{suffix}"),
            format!("sns-signing.{region}.{suffix}"),
            format!("sns-{region}.{suffix}"),
        ];
        if self.partition == "aws-us-gov" {
            names.push(format!("sns-us-gov-west-1.{suffix}"));
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_topic_is_that_of_its_region() {
        for (arn, host, name) in [
            (
                "arn:aws:sns:eu-central-1:123456789012:images",
                "sns.eu-central-1.amazonaws.com",
                "sns.amazonaws.com",
            ),
            (
                "arn:aws:sns:af-south-1:123456789012:a-b_C",
                "sns.af-south-1.amazonaws.com",
                "sns-signing.af-south-1.amazonaws.com",
            ),
            (
                "arn:aws-cn:sns:cn-north-1:123456789012:images",
                "sns.cn-north-1.amazonaws.com.cn",
                "sns-cn-north-1.amazonaws.com.cn",
            ),
            (
                "arn:aws-us-gov:sns:us-gov-east-1:123456789012:images",
                "sns.us-gov-east-1.amazonaws.com",
                "sns-us-gov-west-1.amazonaws.com",
            ),
        ] {
            let topic = Topic::parse(arn).unwrap_or_else(|| panic!("{arn}"));
            assert_eq!((topic.arn.as_str(), topic.host().as_str()), (arn, host));
            let names = topic.certificate_names();
            assert!(names.iter().any(|known| known == name), "{arn}: {names:?}");
        }
    }

    #[test]
    fn other_texts_are_no_topic() {
        for arn in [
            "",
            "images",
            "arn:aws:sns:eu-central-1:123456789012",
            "arn:aws:sns:eu-central-1:123456789012:images:0f0e",
            "arn:aws:sns:eu-central-1:12345678901:images",
            "arn:aws:sns:eu-central-1:12345678901x:images",
            "arn:aws:sns:eu-central-1:123456789012:",
            "arn:aws:sns::123456789012:images",
            "arn:aws:sns:evil.example/:123456789012:images",
            "arn:aws:sns:EU-CENTRAL-1:123456789012:images",
            "arn:aws:sqs:eu-central-1:123456789012:images",
            "arn:minio:sns:eu-central-1:123456789012:images",
            "arn:aws:sns:eu-central-1:123456789012:images?x",
            "arn:aws:sns:eu-central-1:123456789012:images.fifo",
            "arn:aws:sns:eu-central-1:123456789012:a/b",
        ] {
            assert_eq!(Topic::parse(arn), None, "{arn}");
        }
        let long = format!("arn:aws:sns:eu-central-1:123456789012:{}", "n".repeat(MAX_NAME + 1));
        assert_eq!(Topic::parse(&long), None);
    }
}
