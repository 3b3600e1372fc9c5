//! Signed URLs: `t` is the HMAC-SHA256 of the path and the parameters in canonical form.

use base64::Engine;

use super::keys::Keys;
use super::{BASE64URL, Grant, Refusal};
use crate::options::Query;

/// The parameter of the token. It is not signed.
const TOKEN: &str = "t";

/// The signed string: path and parameters after decoding. It is unambiguous: the route has no slash or line break, and
/// no value has a line break or an `&`, so that the last line is the parameters and the rest is the path, for any key.
///
/// `None` for a value with a control character or an `&`; no valid value has one.
pub fn canonical(route: &str, key: &str, query: &Query) -> Option<String> {
    let mut pairs: Vec<(&str, &str)> = query.pairs().filter(|(name, _)| *name != TOKEN).collect();
    pairs.sort_unstable();
    let mut text = String::with_capacity(route.len() + key.len() + 64);
    for part in ["/", route, "/", key, "\n"] {
        text.push_str(part);
    }
    for (number, (name, value)) in pairs.into_iter().enumerate() {
        if value.contains(|c: char| c.is_control() || c == '&') {
            return None;
        }
        if number > 0 {
            text.push('&');
        }
        for part in [name, "=", value] {
            text.push_str(part);
        }
    }
    Some(text)
}

/// The value of `t` for a canonical string.
pub fn sign(keys: &Keys, canonical: &str) -> Option<String> {
    keys.sign(canonical.as_bytes()).map(|code| BASE64URL.encode(code))
}

/// Checks that the URL is signed and has not expired at this Unix time.
pub fn check(
    keys: &Keys,
    route: &str,
    key: &str,
    query: &Query,
    token: &str,
    now: u64,
) -> Result<Grant, Refusal> {
    let code = BASE64URL.decode(token).map_err(|_| Refusal::Malformed)?;
    let canonical = canonical(route, key, query).ok_or(Refusal::Malformed)?;
    if !keys.verify(canonical.as_bytes(), &code) {
        return Err(Refusal::Signature);
    }
    let expires = match query.expires() {
        Ok(Some(expires)) if expires <= now => return Err(Refusal::Expired),
        Ok(expires) => expires,
        Err(_) => return Err(Refusal::Malformed),
    };
    Ok(Grant { expires, binds_url: true, ..Grant::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key;

    fn data() -> serde_json::Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/signing.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    fn keys() -> Keys {
        Keys::new(&["the secret of these tests".to_owned()])
    }

    fn canonical_of(target: &str) -> Option<String> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (route, key) = key::split_path(path).unwrap();
        canonical(&route, &key, &Query::parse(query).unwrap())
    }

    fn checked(target: &str, token: &str, now: u64) -> Result<Grant, Refusal> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (route, key) = key::split_path(path).unwrap();
        check(&keys(), &route, &key, &Query::parse(query).unwrap(), token, now)
    }

    fn token(target: &str) -> String {
        sign(&keys(), &canonical_of(target).unwrap()).unwrap()
    }

    #[test]
    fn signing_test_vectors_hold() {
        let data = data();
        let vectors = data.as_array().unwrap();
        assert!(vectors.len() >= 8);
        for vector in vectors {
            let text = |name: &str| vector[name].as_str().unwrap();
            let canonical = canonical_of(text("url")).unwrap();
            assert_eq!(canonical, text("canonical"));
            let keys = Keys::new(&[text("secret").to_owned()]);
            assert_eq!(sign(&keys, &canonical).as_deref(), Some(text("t")), "{vector}");
            assert!(text("canonical").starts_with(&format!("{}\n", text("path"))), "{vector}");
        }
    }

    #[test]
    fn equivalent_urls_have_one_signature() {
        let expected = "/h/a b.jpg\nh=2&w=1";
        for target in [
            "/h/a%20b.jpg?w=1&h=2",
            "/h/a%20b.jpg?h=2&w=1",
            "/%68/a%20b%2Ejpg?h=%32&%77=1",
            "/h/a%20b.jpg?h=2&w=1&t=xyz&utm_source=mail&zz",
        ] {
            assert_eq!(canonical_of(target).as_deref(), Some(expected), "{target}");
        }
        assert_eq!(canonical_of("/h/a").as_deref(), Some("/h/a\n"));
        assert_eq!(canonical_of("/h/a?exp=9&dpr=2&e=").as_deref(), Some("/h/a\ndpr=2&e=&exp=9"));
    }

    #[test]
    fn different_requests_have_different_signatures() {
        let targets = [
            "/h/a",
            "/h/a?w=1",
            "/h/a?w=01",
            "/h/a?w=1&h=1",
            "/h/a?h=1",
            "/h/a?exp=1",
            "/h/a%0A",
            "/h/a%0Aw=1",
            "/h/A",
            "/h/a%0Aw=1?h=1",
            "/h/a?w=%20",
            "/h/a?w=",
            "/h//a",
            "/h/a/",
            "/h2/a",
            "/h/a%3Fw=1",
            "/h/%61?f=jpg",
            "/h/a?f=jpeg",
            "/h/a?f=auto",
        ];
        let signed: std::collections::HashSet<_> =
            targets.iter().map(|target| canonical_of(target).unwrap()).collect();
        assert_eq!(signed.len(), targets.len());
    }

    #[test]
    fn values_with_separators_are_not_signed() {
        for target in
            ["/h/a?w=1%26h=2", "/h/a?w=1%0Ah=2", "/h/a?w=%00", "/h/a?f=jpg%0D", "/h/a?w=1%C2%85"]
        {
            assert_eq!(canonical_of(target), None, "{target}");
            assert_eq!(checked(target, &token("/h/a"), 0), Err(Refusal::Malformed), "{target}");
        }
    }

    #[test]
    fn every_known_parameter_is_signed() {
        for name in Query::names().filter(|name| *name != TOKEN) {
            let target = format!("/h/a?{name}=1");
            assert_eq!(canonical_of(&target), Some(format!("/h/a\n{name}=1")));
            assert_eq!(checked(&target, &token("/h/a"), 0), Err(Refusal::Signature), "{name}");
            assert_eq!(checked("/h/a", &token(&target), 0), Err(Refusal::Signature), "{name}");
        }
        assert!(Query::names().any(|name| name == "exp") && Query::names().count() >= 11);
    }

    #[test]
    fn tokens_have_one_spelling() {
        let right = token("/h/a?w=1");
        assert!(checked("/h/a?w=1", &right, 0).is_ok());
        let (start, last) = right.split_at(right.len() - 1);
        let other_bits = char::from(last.as_bytes()[0] ^ 1);
        for wrong in [
            String::new(),
            start.to_owned(),
            format!("{right}="),
            format!("{right}A"),
            format!("{right}AAA"),
            format!("{start}{other_bits}"),
            right.to_ascii_lowercase(),
            right.to_ascii_uppercase(),
            right.replace(['-', '_'], "%2D") + "%41",
            format!(" {right}"),
            format!("{right}\n"),
        ] {
            assert!(checked("/h/a?w=1", &wrong, 0).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn signed_urls_expire_at_exp() {
        let target = "/h/a?exp=1000";
        let expiry = |now| checked(target, &token(target), now).map(|grant| grant.expires);
        assert_eq!(expiry(999), Ok(Some(1000)));
        assert_eq!(expiry(1000), Err(Refusal::Expired));
        assert_eq!(expiry(u64::MAX), Err(Refusal::Expired));
        assert_eq!(checked("/h/a", &token("/h/a"), u64::MAX).map(|grant| grant.expires), Ok(None));
        for value in ["", "-1", "%2B5000", "5e9", "5000.0", "0x99", "5000%20", "never"] {
            let target = format!("/h/a?exp={value}");
            assert_eq!(checked(&target, &token(&target), 1), Err(Refusal::Malformed), "{value}");
        }
        // The expiry is not revealed without the right signature.
        assert_eq!(checked(target, &token("/h/b?exp=1000"), 2000), Err(Refusal::Signature));
        let far = format!("/h/a?exp={}", "9".repeat(40));
        assert_eq!(checked(&far, &token(&far), 1).map(|grant| grant.expires), Ok(Some(u64::MAX)));
    }
}
