//! JSON Web Tokens, signed by another library: what each permits.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::directory::Directory;
use crate::support::images::{self, Image, size_of};
use crate::support::merged;
use crate::support::origin::{RawOrigin, object};
use crate::support::server::Server;
use crate::support::tokens::{
    OTHER_SECRET, SECRET, at, bearer_token, bearer_token_by, jwt, max_age, now, with_token,
};

const A_WEEK: u64 = 604_800;

fn image() -> Vec<u8> {
    images::png(images::gradient(80, 60))
}

fn start(directory: &Directory, token: Value) -> Server {
    Server::with_handler(merged(directory.handler(), json!({"token": token})))
}

fn directory() -> Directory {
    Directory::new().with("a.png", &image()).with("x/a.png", &image()).with("xy/a.png", &image())
}

fn get_with_bearer(server: &Server, target: &str, token: &str) -> Answer {
    server.get_with(target, &[("Authorization", &format!("Bearer {token}"))])
}

#[test]
fn jwt_is_read_from_the_query_or_authorization() {
    let directory = directory();
    let server = start(&directory, jwt());
    let token = bearer_token(json!({}));
    let in_query = with_token("/h/a.png?w=20", &token);
    server.get(&in_query).ok();
    get_with_bearer(&server, "/h/a.png?w=20", &token).ok();
    get_with_bearer(&server, &in_query, &token).ok();
    server.get_with("/h/a.png", &[("authorization", &format!("bEARER   {token}"))]).ok();
    // Other schemes are ignored.
    server.get_with(&in_query, &[("Authorization", "Basic dTpw")]).ok();
    let other = bearer_token(json!({"sub": "other"}));
    get_with_bearer(&server, &in_query, &other).failed("token_refused");
    get_with_bearer(&server, "/h/a.png?t=", &token).failed("token_refused");
    server.log.event_with("token_refused", "two different tokens");
    let field = format!("Bearer {token}");
    let twice = [("Authorization", field.as_str()), ("Authorization", field.as_str())];
    server.get_with("/h/a.png", &twice).failed("token_refused");
    server
        .get_with(&in_query, &[("Authorization", "Basic dTpw"), ("Authorization", &field)])
        .failed("token_refused");
    for wrong in [
        format!("Bearer {token}x"),
        format!("Bearer {token}, Bearer {token}"),
        format!("Bearer \"{token}\""),
    ] {
        server.get_with("/h/a.png", &[("Authorization", &wrong)]).failed("token_refused");
    }
    for absent in [
        &[][..],
        &[("Authorization", "Bearer")],
        &[("Authorization", &token)],
        &[("Proxy-Authorization", &field)],
    ] {
        server.get_with("/h/a.png", absent).failed("token_refused");
    }
    let log = server.log.lines().join("\n");
    assert!(!log.contains(&token) && !log.contains(&other) && !log.contains(SECRET), "{log}");
}

#[test]
fn invalid_jwts_do_not_reach_the_origin() {
    let origin = RawOrigin::always(object(&image()));
    let server = Server::with_handler(merged(origin.handler(), json!({"token": jwt()})));
    let good = bearer_token(json!({}));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    // {"alg":"none"}
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", signed.split_once('.').unwrap().1);
    let mut tokens = vec![
        String::new(),
        "letmein".to_owned(),
        signed.to_owned(),
        format!("{signed}."),
        format!("{good}="),
        format!("{good}."),
        format!("{signed}.{}", signature.to_ascii_lowercase()),
        unsigned.clone(),
        format!("{unsigned}{signature}"),
        bearer_token_by(OTHER_SECRET, Algorithm::HS256, json!({})),
        bearer_token_by(SECRET, Algorithm::HS384, json!({})),
        bearer_token_by(SECRET, Algorithm::HS512, json!({})),
    ];
    for claims in [
        json!({"exp": at(-61)}),
        json!({"exp": "4102444800"}),
        json!({"exp": null}),
        json!({"nbf": at(300)}),
        json!({"aud": "other"}),
        json!({"path": "b"}),
        json!({"path": ""}),
        json!({"w": 0}),
    ] {
        tokens.push(bearer_token(claims));
    }
    for token in &tokens {
        server.get(&with_token("/h/a.png", token)).failed("token_refused");
        if !token.is_empty() {
            get_with_bearer(&server, "/h/a.png", token).failed("token_refused");
        }
    }
    assert_eq!(origin.accepted(), 0);
    server.get(&with_token("/h/a.png", &good)).ok();
}

#[test]
fn jwt_claims_must_match_the_configuration() {
    let directory = directory();
    let rules = json!({"issuer": "shop", "audience": "images", "leeway": 0, "require_exp": false});
    let server = start(&directory, merged(jwt(), rules));
    let good = json!({"iss": "shop", "aud": ["mail", "images"]});
    for (claims, is_good) in [
        (json!({}), true),
        (json!({"aud": "images"}), true),
        (json!({"iss": "shop2"}), false),
        (json!({"iss": null}), false),
        (json!({"aud": "mail"}), false),
        (json!({"aud": ["Images"]}), false),
        (json!({"exp": at(-1)}), false),
        (json!({"nbf": at(100)}), false),
        (json!({"nbf": at(-5)}), true),
    ] {
        let token = bearer_token(merged(good.clone(), claims.clone()));
        let answer = server.get(&with_token("/h/a.png", &token));
        assert_eq!(answer.status == 200, is_good, "{claims}");
    }
    // Without the helper, which adds an expiry.
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    let unlimited = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &good, &key).unwrap();
    let answer = server.get(&with_token("/h/a.png", &unlimited)).ok();
    assert_eq!(max_age(&answer.cache_control()), A_WEEK);
    let strict = start(&directory, merged(jwt(), json!({"issuer": "shop", "audience": "images"})));
    strict.get(&with_token("/h/a.png", &unlimited)).failed("token_refused");
}

#[test]
fn jwt_path_covers_whole_segments() {
    let directory = directory();
    let server = start(&directory, jwt());
    for (path, target, is_permitted) in [
        ("x", "/h/x/a.png", true),
        ("x/", "/h/x/a.png", true),
        ("x", "/h/%78%2Fa.png", true),
        ("x", "/h/xy/a.png", false),
        ("x/", "/h/xy/a.png", false),
        ("x", "/h/a.png", false),
        ("x", "/h/x/../a.png", false),
        ("x", "/h/x/%2e%2e/a.png", false),
        ("x", "/h/x%2F..%2Fa.png", false),
        ("x/a.png", "/h/x/a.png", true),
        ("x/a", "/h/x/a.png", false),
        ("/x", "/h/x/a.png", false),
    ] {
        let answer = server.get(&with_token(target, &bearer_token(json!({"path": path}))));
        assert_eq!(answer.status == 200, is_permitted, "{path} {target}");
        assert!(is_permitted || answer.status == 404, "{path} {target}");
    }
}

#[test]
fn jwt_w_and_h_limit_the_pixels_of_the_result() {
    let directory = directory();
    let server = start(&directory, jwt());
    let get = |claims: &Value, query: &str| {
        let answer =
            server.get(&with_token(&format!("/h/a.png{query}"), &bearer_token(claims.clone())));
        (answer.status, answer.header("X-Error").map(str::to_owned), answer.body)
    };
    let both = json!({"w": 40, "h": 30});
    for query in ["?w=40&h=30", "?w=20&h=15&dpr=2", "?w=40&h=30&c=false", "?w=1&h=1"] {
        let (status, _, body) = get(&both, query);
        let (width, height) = size_of(&body);
        assert!(status == 200 && width <= 40 && height <= 30, "{query}");
    }
    for query in [
        "",
        "?w=41&h=30",
        "?w=40&h=31",
        "?w=40",
        "?h=30",
        "?w=21&h=15&dpr=2",
        "?q=5",
        "?w=99999&h=1",
    ] {
        let (status, code, _) = get(&both, query);
        assert_eq!((status, code.as_deref()), (404, Some("token_refused")), "{query}");
    }
    assert_eq!(get(&json!({"w": 40}), "?w=40").0, 200);
    assert_eq!(get(&json!({"w": 40}), "?h=1").0, 404);
    assert_eq!(get(&json!({"h": 30}), "?h=30").0, 200);
    assert_eq!(get(&both, "?w=none").0, 400);
    server.log.event_with("token_refused", "w or h");
}

#[test]
fn bearer_responses_are_private_and_expire_with_the_token() {
    let directory = directory();
    let cache = Directory::new();
    for memory in [0, 64 << 20] {
        let handler = merged(
            directory.handler(),
            json!({"token": merged(jwt(), json!({"require_exp": false})), "cache_path": cache.path()}),
        );
        let server = Server::start(json!({"handlers": [handler], "memory_cache": memory}));
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
        let unlimited =
            jsonwebtoken::encode(&jsonwebtoken::Header::default(), &json!({}), &key).unwrap();
        let usual = with_token("/h/a.png?w=20", &unlimited);
        let tag = server.get(&usual).ok().expect("ETag").to_owned();
        let expires = at(600);
        let token = bearer_token(json!({"exp": expires}));
        let field = format!("Bearer {token}");
        let bearer = ("Authorization", field.as_str());
        for (headers, status) in [
            (vec![bearer], 200),
            (vec![bearer, ("If-None-Match", &tag)], 304),
            (vec![bearer, ("Range", "bytes=0-0")], 206),
        ] {
            let before = now();
            let answer = server.get_with("/h/a.png?w=20", &headers);
            let members = answer.cache_control();
            assert_eq!(
                (answer.status, members.contains(&"private")),
                (status, true),
                "{members:?}"
            );
            assert!(!members.contains(&"public"), "{members:?}");
            assert!(answer.varies_on("Authorization"));
            let left = max_age(&members) as f64 - answer.expect("Age").parse::<f64>().unwrap();
            assert!(
                left <= expires as f64 - before && left >= expires as f64 - now() - 1.0,
                "{left}"
            );
            // With the token in the URL, the response may be shared until the token expires.
            let in_query = server.get_with(&with_token("/h/a.png?w=20", &token), &headers[1..]);
            let members = in_query.cache_control();
            assert_eq!(
                (in_query.status, members.contains(&"public")),
                (status, true),
                "{members:?}"
            );
            assert!(max_age(&members) <= 620, "{members:?}");
            assert!(!in_query.varies_on("Authorization"));
            let others = server.get_with(&usual, &headers[1..]);
            assert_eq!(others.cache_control(), ["public", &format!("max-age={A_WEEK}")]);
            let unlimited = get_with_bearer(&server, "/h/a.png?w=20", &unlimited);
            assert_eq!(unlimited.cache_control(), ["private", &format!("max-age={A_WEEK}")]);
        }
        // Within the leeway it is served and not cached.
        let late =
            get_with_bearer(&server, "/h/a.png?w=20", &bearer_token(json!({"exp": at(-5)}))).ok();
        assert_eq!(max_age(&late.cache_control()).to_string(), late.expect("Age"));
    }
}

#[test]
fn an_optional_jwt_must_be_valid() {
    let directory = directory();
    let server = start(&directory, merged(jwt(), json!({"required": false})));
    assert!(server.get("/h/a.png").ok().cache_control().contains(&"public"));
    server.get("/h/a.png?exp=1").ok();
    server.get(&with_token("/h/a.png", &bearer_token(json!({})))).ok();
    server.get("/h/a.png?t=x").failed("token_refused");
    server.get("/h/a.png?t=").failed("token_refused");
    get_with_bearer(&server, "/h/a.png", &bearer_token(json!({"exp": at(-100)})))
        .failed("token_refused");
    let small = bearer_token(json!({"w": 10}));
    get_with_bearer(&server, "/h/a.png", &small).failed("token_refused");
}

#[test]
fn a_jwt_with_a_largest_size_does_not_give_the_original_in_parts() {
    let directory = directory();
    let presets = json!({"corner": "crop=40:30:20:20", "large": "min-w=160"});
    let fields = json!({"presets": presets, "token": jwt()});
    let server = Server::with_handler(merged(directory.handler(), fields));
    let limited = bearer_token(json!({"w": 40, "h": 30}));
    let unlimited = bearer_token(json!({}));
    for query in [
        "w=20&h=20&crop=20:20:20:20",
        "w=20&h=20&crop=0.5:0.5:0.1:0.1",
        "p=corner&w=20&h=20&crop=0:0:20:20",
        "w=40&h=30&min-w=80",
        "w=40&h=30&min-h=60&g=se",
        "p=large&w=40&h=30&g=se",
    ] {
        let target = format!("/h/a.png?{query}");
        server.get(&with_token(&target, &limited)).failed("token_refused");
        server.get(&with_token(&target, &unlimited)).ok();
    }
    server
        .get(&with_token("/h/a.png?w=9&h=9&crop=0:0:9:9&f=json", &limited))
        .failed("token_refused");
    server.log.event_with("token_refused", "crop");
    // What the operator has chosen.
    let get = |query: &str| {
        let target = with_token(&format!("/h/a.png?f=png&{query}"), &limited);
        Image::decode(&server.get(&target).ok().body)
    };
    let corner = get("p=corner&w=20&h=20");
    assert_eq!(corner.size(), (20, 20));
    let original = images::gradient(80, 60);
    for (x, y, pixel) in corner.pixels.enumerate_pixels() {
        assert_eq!(pixel.0[..3], original.get_pixel(40 + x, 30 + y).0, "{x}, {y}");
    }
    assert_eq!(get("p=large&w=40&h=30").size(), (40, 30));
    assert_eq!(get("p=corner&w=40&h=30&crop=none").size(), (40, 30));
}
