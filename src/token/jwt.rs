//! JSON Web Tokens (RFC 7519) in the compact serialisation of RFC 7515, signed with HS256.
//!
//! Without a crate, because one algorithm needs little code: the crates bring RSA, elliptic curves, PEM, and a choice
//! of algorithm by the token itself, a known source of vulnerabilities (RFC 8725 §2.1). Here the signature is checked
//! first, with the configured secrets and HS256; the header and the claims are read only if it is valid.

use base64::Engine;
use serde_json::{Map, Value};

use super::keys::Keys;
use super::{BASE64URL, Grant, Refusal, json};
use crate::config::Rules;
use crate::options::{Options, Query, Size};

/// The largest image that a token permits, in pixels of the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaxSize {
    /// The claim `w`.
    pub width: Option<u32>,
    /// The claim `h`.
    pub height: Option<u32>,
}

impl MaxSize {
    /// Whether an image of this size is permitted. A side that is not given is not known here, so it is not permitted
    /// where that side is limited.
    pub fn allows(self, size: Size) -> bool {
        let (width, height) = size.limits();
        let is_within = |max: Option<u32>, side: Option<u32>| match max {
            None => true,
            Some(max) => side.is_some_and(|side| side <= max),
        };
        is_within(self.width, width) && is_within(self.height, height)
    }

    /// Whether the part of the original that an image shows is permitted. A client that chooses a small one gets its pixels
    /// at full size, and in many requests those of the whole original. In a preset, or in the handler's defaults, the
    /// operator has chosen the part. `query` is that of the request, and `options` are those of all of them.
    pub fn allows_part(self, query: &Query, options: &Options) -> bool {
        self == MaxSize::default()
            || (!query.cuts() && (options.minimum.is_none() || !query.has_any(&["g"])))
    }
}

/// Checks a token for a key at this Unix time.
pub fn check(
    keys: &Keys,
    rules: &Rules,
    token: &[u8],
    key: &str,
    now: u64,
) -> Result<Grant, Refusal> {
    let parts: Vec<&[u8]> = token.splitn(4, |byte| *byte == b'.').collect();
    let [header, payload, signature] = parts[..] else { return Err(Refusal::Malformed) };
    let signed = token.get(..header.len() + 1 + payload.len()).ok_or(Refusal::Malformed)?;
    let decode = |part| BASE64URL.decode(part).map_err(|_| Refusal::Malformed);
    if !keys.verify(signed, &decode(signature)?) {
        return Err(Refusal::Signature);
    }
    let header = json::parse_object(&decode(header)?).ok_or(Refusal::Malformed)?;
    if header.get("alg").and_then(Value::as_str) != Some("HS256") {
        return Err(Refusal::Algorithm);
    }
    // RFC 7515 §4.1.11: an extension that is not understood makes the token invalid.
    if header.contains_key("crit") {
        return Err(Refusal::Critical);
    }
    let claims = json::parse_object(&decode(payload)?).ok_or(Refusal::Malformed)?;
    check_parties(&claims, rules)?;
    let expires = check_times(&claims, rules, now)?;
    if !path_claim(&claims)?.is_none_or(|path| covers(path, key)) {
        return Err(Refusal::Path);
    }
    let max_size =
        MaxSize { width: pixel_claim(&claims, "w")?, height: pixel_claim(&claims, "h")? };
    Ok(Grant { expires, max_size, ..Grant::default() })
}

/// Checks `iss` and `aud`.
fn check_parties(claims: &Map<String, Value>, rules: &Rules) -> Result<(), Refusal> {
    if let Some(issuer) = &rules.issuer
        && claims.get("iss").and_then(Value::as_str) != Some(issuer)
    {
        return Err(Refusal::Issuer);
    }
    let is_own_name =
        |value: &Value| value.as_str().is_some_and(|name| rules.audience.as_deref() == Some(name));
    let is_audience = match claims.get("aud") {
        None => rules.audience.is_none(),
        // RFC 7519 §4.1.3: a token with an audience is valid for its members only.
        Some(Value::Array(names)) => {
            names.iter().all(Value::is_string) && names.iter().any(is_own_name)
        }
        Some(name) => is_own_name(name),
    };
    if is_audience { Ok(()) } else { Err(Refusal::Audience) }
}

/// Checks `exp` and `nbf`, and returns the expiry.
fn check_times(
    claims: &Map<String, Value>,
    rules: &Rules,
    now: u64,
) -> Result<Option<u64>, Refusal> {
    // RFC 7519 §2: a NumericDate may have a fraction. The conversion saturates.
    let time = |name| match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(seconds)) => Ok(seconds.as_f64()),
        Some(_) => Err(Refusal::Claim),
    };
    let expires = time("exp")?.map(|seconds| seconds.floor() as u64);
    let not_before = time("nbf")?.map(|seconds| seconds.ceil() as u64);
    match expires {
        Some(at) if at.saturating_add(rules.leeway) <= now => return Err(Refusal::Expired),
        None if rules.require_exp => return Err(Refusal::NoExpiry),
        _ => {}
    }
    if not_before.is_some_and(|at| at > now.saturating_add(rules.leeway)) {
        return Err(Refusal::NotYet);
    }
    Ok(expires)
}

fn path_claim(claims: &Map<String, Value>) -> Result<Option<&str>, Refusal> {
    match claims.get("path") {
        None => Ok(None),
        // An empty path would permit every key.
        Some(Value::String(path)) if !path.is_empty() => Ok(Some(path)),
        Some(_) => Err(Refusal::Claim),
    }
}

/// Whether a path is a prefix of the key by whole segments: `a` and `a/` cover `a/x` and not `ab`.
fn covers(path: &str, key: &str) -> bool {
    match key.strip_prefix(path) {
        Some(rest) => rest.is_empty() || path.ends_with('/') || rest.starts_with('/'),
        None => false,
    }
}

fn pixel_claim(claims: &Map<String, Value>, name: &str) -> Result<Option<u32>, Refusal> {
    let pixels = |value: &Value| u32::try_from(value.as_u64()?).ok().filter(|pixels| *pixels > 0);
    claims.get(name).map(|value| pixels(value).ok_or(Refusal::Claim)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Defaults, Gravity};
    use serde_json::json;

    const NOW: u64 = 1_000_000;
    const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

    fn keys() -> Keys {
        Keys::new(&["a secret of these tests".to_owned(), "and an older secret".to_owned()])
    }

    fn signed_by(keys: &Keys, header: &str, payload: &str) -> String {
        let [header, payload] = [header, payload].map(|part| BASE64URL.encode(part));
        let message = format!("{header}.{payload}");
        let signature = BASE64URL.encode(keys.sign(message.as_bytes()).unwrap());
        format!("{message}.{signature}")
    }

    fn signed(header: &str, payload: &str) -> String {
        signed_by(&keys(), header, payload)
    }

    fn rules() -> Rules {
        Rules { issuer: None, audience: None, leeway: 60, require_exp: true }
    }

    fn check_token(token: &str) -> Result<Grant, Refusal> {
        check(&keys(), &rules(), token.as_bytes(), "a/b.jpg", NOW)
    }

    fn with(claims: Value) -> Result<Grant, Refusal> {
        let mut all = json!({"exp": NOW + 100});
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        check_token(&signed(HEADER, &all.to_string()))
    }

    fn good() -> String {
        signed(HEADER, &json!({"exp": NOW + 100}).to_string())
    }

    #[test]
    fn valid_tokens_are_accepted_with_every_secret() {
        let grant = Grant { expires: Some(NOW + 100), ..Grant::default() };
        assert_eq!(check_token(&good()), Ok(grant.clone()));
        let older = Keys::new(&["and an older secret".to_owned()]);
        let token = signed_by(&older, HEADER, &json!({"exp": NOW + 100}).to_string());
        assert_eq!(check_token(&token), Ok(grant));
        let foreign = Keys::new(&["a foreign secret".to_owned()]);
        let token = signed_by(&foreign, HEADER, &json!({"exp": NOW + 100}).to_string());
        assert_eq!(check_token(&token), Err(Refusal::Signature));
    }

    #[test]
    fn the_example_of_rfc_7515_verifies() {
        // RFC 7515 §A.1; its key is not text.
        let key: Vec<u8> = BASE64URL.decode(
            b"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
        )
        .unwrap();
        let signed = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0\
                      dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let code = BASE64URL.decode(b"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").unwrap();
        assert!(Keys::of_bytes(&key).verify(signed.as_bytes(), &code));
        let token = format!("{signed}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        let at = |now| {
            check(&Keys::of_bytes(&key), &rules(), token.as_bytes(), "x", now)
                .map(|grant| grant.expires)
        };
        assert_eq!(at(1_300_819_379), Ok(Some(1_300_819_380)));
        assert_eq!(at(1_300_819_440), Err(Refusal::Expired));
    }

    #[test]
    fn malformed_tokens_are_rejected() {
        let good = good();
        let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
            panic!("{good}")
        };
        for token in [
            "".to_owned(),
            "..".to_owned(),
            format!("{header}.{payload}"),
            format!("{header}.{payload}."),
            format!("{good}."),
            format!("{good}.{signature}"),
            format!("{header}.{payload}.{}", &signature[1..]),
            format!("{good}="),
            format!("{good}A"),
            format!(" {good}"),
            format!("{good}\n"),
            format!("{header}.{payload}={signature}"),
            format!("{payload}.{header}.{signature}"),
            good.to_ascii_lowercase(),
            format!("{header}=.{payload}.{signature}"),
            signed("", "{}"),
            signed("[]", "{}"),
            signed(HEADER, ""),
            signed(HEADER, "\"exp\""),
            signed(HEADER, r#"{"exp":2000000,"exp":2000000}"#),
            signed(r#"{"alg":"none","alg":"HS256"}"#, r#"{"exp":2000000}"#),
            signed(HEADER, r#"{"exp":2000000,"x":{"a":1,"a":1}}"#),
        ] {
            let got = check_token(&token);
            assert!(
                matches!(got, Err(Refusal::Malformed | Refusal::Signature)),
                "{token}: {got:?}"
            );
        }
        assert!(check(&keys(), &rules(), b"\xff.\xff.\xff", "a", NOW).is_err());
    }

    #[test]
    fn algorithms_other_than_hs256_are_rejected() {
        let payload = json!({"exp": NOW + 100}).to_string();
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"None"}"#,
            r#"{"alg":"hs256"}"#,
            r#"{"alg":"HS384"}"#,
            r#"{"alg":"HS512"}"#,
            r#"{"alg":"RS256"}"#,
            r#"{"alg":["HS256"]}"#,
            r#"{"alg":null}"#,
            r#"{"typ":"JWT"}"#,
            "{}",
        ] {
            assert_eq!(check_token(&signed(header, &payload)), Err(Refusal::Algorithm), "{header}");
        }
        let unsigned = [r#"{"alg":"none"}"#, &payload].map(|part| BASE64URL.encode(part)).join(".");
        assert_eq!(check_token(&format!("{unsigned}.")), Err(Refusal::Signature));
        for header in [r#"{"alg":"HS256"}"#, r#"{"alg":"HS256","typ":"at+jwt","kid":"1"}"#] {
            assert!(check_token(&signed(header, &payload)).is_ok(), "{header}");
        }
        for header in
            [r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, r#"{"alg":"HS256","crit":[]}"#]
        {
            assert_eq!(check_token(&signed(header, &payload)), Err(Refusal::Critical), "{header}");
        }
    }

    #[test]
    fn exp_and_nbf_are_checked_with_leeway() {
        let expiry = |exp: Value| with(json!({"exp": exp})).map(|grant| grant.expires);
        assert_eq!(expiry(json!(NOW - 59)), Ok(Some(NOW - 59)));
        assert_eq!(expiry(json!(NOW - 60)), Err(Refusal::Expired));
        assert_eq!(expiry(json!(NOW as f64 + 9.9)), Ok(Some(NOW + 9)));
        assert_eq!(expiry(json!(-1)), Err(Refusal::Expired));
        assert_eq!(expiry(json!(1e300)), Ok(Some(u64::MAX)));
        for exp in [json!("2000000"), json!(null), json!(true), json!([2_000_000])] {
            assert_eq!(expiry(exp.clone()), Err(Refusal::Claim), "{exp}");
        }
        for (nbf, expected) in [
            (json!(NOW + 60), Ok(())),
            (json!(NOW + 61), Err(Refusal::NotYet)),
            (json!(NOW as f64 + 60.1), Err(Refusal::NotYet)),
            (json!(-5), Ok(())),
            (json!("0"), Err(Refusal::Claim)),
        ] {
            assert_eq!(with(json!({"nbf": nbf})).map(drop), expected, "{nbf}");
        }
        let strict = Rules { leeway: 0, ..rules() };
        let token = |exp| signed(HEADER, &json!({"exp": exp}).to_string());
        assert!(check(&keys(), &strict, token(NOW + 1).as_bytes(), "a", NOW).is_ok());
        assert_eq!(check(&keys(), &strict, token(NOW).as_bytes(), "a", NOW), Err(Refusal::Expired));
        assert_eq!(check_token(&signed(HEADER, "{}")), Err(Refusal::NoExpiry));
        let lax = Rules { require_exp: false, ..rules() };
        let grant = check(&keys(), &lax, signed(HEADER, "{}").as_bytes(), "a", NOW);
        assert_eq!(grant, Ok(Grant::default()));
    }

    #[test]
    fn issuer_and_audience_are_checked() {
        let strict = Rules { issuer: Some("me".into()), audience: Some("us".into()), ..rules() };
        let check_claims = |rules: &Rules, claims: Value| {
            let mut all = json!({"exp": NOW + 100});
            all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
            check(&keys(), rules, signed(HEADER, &all.to_string()).as_bytes(), "a", NOW).map(drop)
        };
        for (claims, expected) in [
            (json!({"iss": "me", "aud": "us"}), Ok(())),
            (json!({"iss": "me", "aud": ["them", "us"]}), Ok(())),
            (json!({"aud": "us"}), Err(Refusal::Issuer)),
            (json!({"iss": "you", "aud": "us"}), Err(Refusal::Issuer)),
            (json!({"iss": ["me"], "aud": "us"}), Err(Refusal::Issuer)),
            (json!({"iss": "me"}), Err(Refusal::Audience)),
            (json!({"iss": "me", "aud": "US"}), Err(Refusal::Audience)),
            (json!({"iss": "me", "aud": []}), Err(Refusal::Audience)),
            (json!({"iss": "me", "aud": ["us", 1]}), Err(Refusal::Audience)),
            (json!({"iss": "me", "aud": {"us": 1}}), Err(Refusal::Audience)),
            (json!({"iss": "me", "aud": null}), Err(Refusal::Audience)),
        ] {
            assert_eq!(check_claims(&strict, claims.clone()), expected, "{claims}");
        }
        assert_eq!(check_claims(&rules(), json!({"iss": "any"})), Ok(()));
        assert_eq!(
            check_claims(&rules(), json!({"aud": "us"})),
            Err(Refusal::Audience),
            "a server without a configured audience is not the audience"
        );
    }

    #[test]
    fn paths_cover_whole_segments() {
        for (path, key, expected) in [
            ("a", "a/x", true),
            ("a/", "a/x", true),
            ("a", "a", true),
            ("a/", "a", false),
            ("a", "ab", false),
            ("a/", "ab/x", false),
            ("a/b", "a/b/c", true),
            ("a/b", "a/bc", false),
            ("a/b", "a", false),
            ("a", "A/x", false),
            ("/", "x", false),
            ("/a", "a", false),
            ("ü", "ü/x", true),
            ("a.jpg", "a.jpg", true),
        ] {
            assert_eq!(covers(path, key), expected, "{path} {key}");
        }
        assert!(with(json!({"path": "a"})).is_ok());
        assert_eq!(with(json!({"path": "b"})), Err(Refusal::Path));
        for path in [json!(""), json!(null), json!(["a"]), json!(1)] {
            assert_eq!(with(json!({"path": path})), Err(Refusal::Claim), "{path}");
        }
    }

    #[test]
    fn w_and_h_limit_the_requested_size() {
        let max_size = with(json!({"w": 300, "h": 200})).unwrap().max_size;
        let fill = |width, height| Size::Fill(width, height, Gravity::Smart);
        for (size, expected) in [
            (fill(300, 200), true),
            (Size::Fit(300, 200), true),
            (Size::Fit(1, 1), true),
            (Size::Pad(300, 200, Gravity::CENTRE), true),
            (Size::Pad(300, 201, Gravity::CENTRE), false),
            (fill(301, 200), false),
            (fill(300, 201), false),
            (Size::Fit(301, 1), false),
            (Size::Stretch(300, 200), true),
            (Size::Ratio(300, 201, Gravity::CENTRE), false),
            // One side of the result is longer.
            (Size::Outside(1, 1), false),
            (Size::Width(300), false),
            (Size::Height(200), false),
            (Size::Original, false),
        ] {
            assert_eq!(max_size.allows(size), expected, "{size:?}");
        }
        let width = with(json!({"w": 300})).unwrap().max_size;
        assert!(
            width.allows(Size::Width(300))
                && !width.allows(Size::Width(301))
                && !width.allows(Size::Height(1))
        );
        let height = with(json!({"h": 300})).unwrap().max_size;
        assert!(
            height.allows(Size::Height(300))
                && !height.allows(Size::Height(301))
                && !height.allows(Size::Width(1))
        );
        assert!(MaxSize::default().allows(Size::Original));
        for bad in
            [json!(0), json!(-1), json!(1.5), json!("300"), json!(null), json!(5_000_000_000_u64)]
        {
            assert_eq!(with(json!({"w": bad})), Err(Refusal::Claim), "{bad}");
            assert_eq!(with(json!({"h": bad})), Err(Refusal::Claim), "{bad}");
        }
    }

    #[test]
    fn w_or_h_excludes_a_part_of_the_original_that_the_request_chooses() {
        let limited = with(json!({"h": 20})).unwrap().max_size;
        for (query, preset, expected) in [
            ("w=9&h=9", "", true),
            ("w=9&h=9&g=n&trim=9&page=2", "", true),
            ("w=9&h=9&crop=none", "crop=0:0:5:5", true),
            ("w=9&h=9", "crop=0:0:5:5&min-w=50", true),
            ("w=9&h=9&g=n", "crop=0:0:5:5", true),
            ("w=9&h=9&crop=0:0:5:5", "", false),
            ("w=9&h=9&crop=0:0:0.5:0.5", "crop=0:0:5:5", false),
            ("w=9&h=9&min-w=50", "", false),
            ("w=9&h=9&min-h=50", "min-h=50", false),
            ("w=9&h=9&g=nw:1:1", "min-w=50", false),
        ] {
            let own = Query::parse(query).unwrap();
            let whole = own.over(&Query::parse(preset).unwrap());
            let options = Options::resolve(&whole, "", Defaults::new(None, 100)).unwrap();
            assert_eq!(limited.allows_part(&own, &options), expected, "{query} over {preset}");
            assert!(MaxSize::default().allows_part(&own, &options), "{query}");
        }
    }
}
