//! Shared results of servers whose watermarks differ: the hash in the key keeps them apart.

use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::directory::Directory;
use crate::support::eventually;
use crate::support::images::{self, BLUE, Image, RED, WHITE, within};
use crate::support::merged;
use crate::support::s3::{ARCHIVE, IMAGES, S3};
use crate::support::server::{Server, Setup};

/// A server with a cache and a watermark file of its own.
struct Node {
    server: Server,
    _cache: Directory,
    _marks: Directory,
}

impl Node {
    /// Its watermark is this file, with these fields.
    fn start(s3: &S3, mark: &[u8], fields: Value, when: &str) -> Node {
        let [cache, marks] = [Directory::new(), Directory::new()];
        let logo = merged(json!({"file": marks.put("logo.png", mark)}), fields);
        let shared = json!({
            "cache_path": cache.path(), "results": s3.aws(&ARCHIVE), "share_min_ms": 0,
            "results_timeout": 10, "watermarks": {"logo": logo}, "wm": when,
        });
        let config = json!({"handlers": [merged(s3.handler(), shared)]});
        let server = Setup::new(config).check_interval(20).start();
        Node { server, _cache: cache, _marks: marks }
    }

    #[track_caller]
    fn expect(&self, target: &str, cached: &str) -> Answer {
        let answer = self.server.get(target).ok();
        assert_eq!(answer.expect("X-Cache"), cached, "{target}");
        answer
    }
}

/// Keys of the results that were uploaded.
fn results(s3: &S3) -> Vec<String> {
    let puts = s3.answered(&ARCHIVE, "PUT").into_iter();
    let results = puts.filter(|(key, status)| *status == 200 && key.starts_with("v1/results/"));
    results.map(|(key, _)| key).collect()
}

#[track_caller]
fn wait_for_results(s3: &S3, count: usize) {
    eventually("results are uploaded", || results(s3).len() >= count);
    let mut keys = results(s3);
    assert_eq!(keys.len(), count);
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), count, "{keys:?}");
}

/// The colour in the lower right corner, where the watermark is, also the second copy of a tile.
fn corner(answer: &Answer) -> [u8; 4] {
    Image::decode(&answer.body).pixels.get_pixel(39, 39).0
}

#[test]
fn servers_share_images_with_the_same_watermark_and_no_others() {
    let [red, blue] = [RED, BLUE].map(|colour| images::png(images::solid(10, 10, colour)));
    for (when, query) in [("on_request", "?wm=logo"), ("always", "")] {
        let s3 = S3::start();
        s3.put(&IMAGES, "a.png", &images::png(images::solid(40, 40, WHITE)));
        let target = format!("/h/a.png{query}");
        // Another file, and the same file drawn otherwise.
        let tiled = json!({"tile": true, "spacing": [20, 20], "position": "nw"});
        let marks = [
            (&red, json!({}), RED),
            (&blue, json!({}), BLUE),
            (&red, json!({"opacity": 0.5}), [255, 127, 127]),
            (&red, tiled, RED),
        ];
        let mut nodes = Vec::new();
        let mut bodies = Vec::new();
        for (mark, fields, colour) in marks {
            let node = Node::start(&s3, mark, fields, when);
            let answer = node.expect(&target, "miss");
            assert!(within(corner(&answer), colour, 1), "{when}: {:?}", corner(&answer));
            nodes.push(node);
            bodies.push(answer.body);
            wait_for_results(&s3, nodes.len());
        }

        // The same file under another path.
        for (mark, body) in [&red, &blue].into_iter().zip(&bodies) {
            let node = Node::start(&s3, mark, json!({}), when);
            assert!(node.expect(&target, "shared").body == *body, "{when}");
            assert!(node.expect(&target, "hit").body == *body, "{when}");
        }
        assert_eq!(results(&s3).len(), 4);
        if when == "always" {
            continue;
        }
        // What has no watermark is shared by all of them.
        nodes[0].expect("/h/a.png", "miss");
        wait_for_results(&s3, 5);
        let plain = nodes[1].expect("/h/a.png?wm=none", "shared");
        assert!(within(corner(&plain), WHITE, 0));
    }
}
