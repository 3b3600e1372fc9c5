//! The public playground in a browser.

use serde_json::{Value, json};

use crate::support::devtools::Page;
use crate::support::directory::Directory;
use crate::support::images::{self, RED, size_of};
use crate::support::merged;
use crate::support::server::Server;

const WINDOW: (u32, u32) = (1100, 800);

fn start(fields: Value) -> Option<(Server, Page, Directory)> {
    let directory = Directory::new()
        .with("a photo.png", &images::png(images::solid(200, 100, RED)))
        .with("b.png", &images::png(images::solid(20, 10, RED)));
    let handler = merged(directory.handler(), merged(json!({"playground": true}), fields));
    let server = Server::with_handler(handler);
    let page = Page::open(&format!("http://{}/h/", server.http()), WINDOW)?;
    Some((server, page, directory))
}

/// The caption of a figure, once it matches.
fn caption(page: &mut Page, index: usize, start: &str) -> String {
    let text = format!("document.querySelectorAll('figcaption')[{index}].textContent");
    page.until(&format!("{text}.startsWith({start:?})"));
    page.text(&text)
}

#[track_caller]
fn finish(mut page: Page, server: &Server) {
    page.eval("0");
    assert_eq!(page.errors, [""; 0]);
    let origin = format!("http://{}", server.http());
    let own = |url: &String| {
        url.starts_with(&origin) || url.starts_with("blob:") || url.starts_with("data:")
    };
    assert!(page.requests.iter().all(own), "{:?}", page.requests);
}

#[test]
fn options_change_the_image_and_the_lines_to_copy() {
    let timing = json!({"server_timing": true});
    let Some((server, mut page, _directory)) = start(timing) else { return };
    assert_eq!(page.text("document.querySelector('#key').value"), "a photo.png");
    caption(&mut page, 0, "200 × 100 pixels, PNG");
    page.set("#option-w", "80");
    page.set("#option-f", "webp");
    let shown = caption(&mut page, 1, "80 × 40 pixels, WebP");
    assert!(shown.contains("(miss), encoded in "), "{shown}");
    let bytes = server.get("/h/a%20photo.png?w=80&f=webp").ok().body;
    assert_eq!(size_of(&bytes), (80, 40));
    assert!(shown.contains(&format!(", {}\u{a0}B, ", bytes.len())), "{shown}");
    for (index, format) in [(2, "JPEG"), (3, "WebP"), (4, "AVIF")] {
        caption(&mut page, index, &format!("80 × 40 pixels, {format}"));
    }
    page.until("document.querySelector('[data-name=URL]').textContent.includes('w=80&f=webp')");
    let url = page.text("document.querySelector('[data-name=URL]').textContent");
    let target = url.strip_prefix(&format!("http://{}", server.http())).expect("its own host");
    assert_eq!(server.get(target).ok().body, bytes);
    page.click(".snippet button");
    page.until("document.querySelector('.snippet button').textContent === 'Copied'");
    let srcset = page.text("document.querySelector('[data-name=\"<img srcset>\"]').textContent");
    assert!(
        srcset.contains("w=80&amp;f=webp&amp;dpr=2 2x\" width=\"80\" height=\"40\""),
        "{srcset}"
    );
    page.click("#reset");
    caption(&mut page, 1, "200 × 100");
    finish(page, &server);
}

#[test]
fn each_option_shows_the_default_of_the_handler() {
    let fields = json!({"defaults": "w=90&e=true&f=webp", "quality": {"avif": 60}});
    let Some((server, mut page, _directory)) = start(fields) else { return };
    caption(&mut page, 0, "90 × 45 pixels, WebP");
    for (option, expected) in [("w", "90"), ("h", "the original's"), ("bg", "ffffff")] {
        let shown = page.text(&format!("document.querySelector('#option-{option}').placeholder"));
        assert_eq!(shown, expected, "{option}");
    }
    let shown = page.text("document.querySelector('#option-q').placeholder");
    assert!(shown.starts_with("jpg 75, webp 75, avif 60"), "{shown}");
    for (option, expected) in [("e", "true"), ("f", "webp"), ("c", "true"), ("lossless", "false")] {
        let first = format!("document.querySelector('#option-{option}').options[0]");
        assert_eq!(page.text(&format!("{first}.textContent")), format!("default: {expected}"));
        assert_eq!(page.text(&format!("{first}.value")), "", "{option}");
    }
    page.set("#option-w", "40");
    caption(&mut page, 1, "40 × 20 pixels, WebP");
    finish(page, &server);
}

#[test]
fn a_description_is_shown_as_text() {
    let Some((server, mut page, _directory)) = start(json!({})) else { return };
    page.set("#option-w", "80");
    page.set("#option-f", "json");
    let text = "document.querySelectorAll('figure')[1].querySelector('pre')";
    page.until(&format!("!{text}.hidden && {text}.textContent.includes('thumbhash')"));
    let document: Value = serde_json::from_str(&page.text(&format!("{text}.textContent"))).unwrap();
    assert_eq!(document["result"]["width"], 80);
    assert_eq!(document["placeholder"]["average"], "#ff0000");
    assert_eq!(
        page.eval("document.querySelectorAll('figure')[1].querySelector('img').hidden"),
        true
    );
    page.until("document.querySelector('[data-name=URL]').textContent.includes('w=80&f=json')");
    assert_eq!(page.eval("document.querySelector('[data-name=\"<img srcset>\"]')"), Value::Null);
    page.set("#option-f", "webp");
    caption(&mut page, 1, "80 × 40 pixels, WebP");
    page.until(&format!("{text}.hidden"));
    finish(page, &server);
}

#[test]
fn a_click_into_the_original_sets_the_focal_point() {
    let Some((server, mut page, _directory)) = start(json!({})) else { return };
    caption(&mut page, 0, "200 × 100 pixels, PNG");
    page.set("#option-w", "50");
    page.set("#option-h", "50");
    page.click_at("#focus", (0.75, 0.5));
    // Positions of the mouse are whole pixels.
    page.until(
        "/&g=fp:0\\.7[45]\\d*:0\\.(49|5)/.test(document.querySelector('[data-name=URL]')?.textContent)",
    );
    caption(&mut page, 1, "50 × 50");
    // Without a mouse: arrow keys.
    page.set("#option-g", "");
    page.eval("document.querySelector('#focus').focus()");
    page.press("ArrowRight");
    page.until("document.querySelector('[data-name=URL]').textContent.includes('g=fp:0.55:0.5')");
    finish(page, &server);
}

#[test]
fn only_what_the_handler_allows_can_be_chosen() {
    let presets = json!({"presets": {"small": "w=9", "default": "w=7"}, "presets_only": true});
    let Some((server, mut page, _directory)) = start(presets) else { return };
    caption(&mut page, 1, "7 × 4");
    let open = page.eval(
        "[...document.querySelectorAll('[id^=option-]')].filter((one) => one.offsetParent).length",
    );
    assert_eq!(open, 1);
    page.set("#option-p", "small");
    caption(&mut page, 1, "9 × 5");
    finish(page, &server);

    let Some((server, mut page, _directory)) = start(json!({"allowed_sizes": [[0, 5], [8, 8]]}))
    else {
        return;
    };
    caption(&mut page, 0, "400");
    caption(&mut page, 1, "10 × 5");
    page.set("#size", "8x8");
    caption(&mut page, 1, "8 × 8");
    assert!(page.eval("document.querySelector('#option-w').offsetParent").is_null());
    finish(page, &server);
}

#[test]
fn errors_are_shown_as_text() {
    let Some((server, mut page, _directory)) = start(json!({"presets": {"small": "w=9"}})) else {
        return;
    };
    caption(&mut page, 1, "200 × 100");
    page.set("#option-p", "small");
    caption(&mut page, 1, "9 × 5");
    page.set("#key", "<img src=x onerror=alert(1)>.png");
    caption(&mut page, 1, "404: not_found");
    page.set("#key", "b.png");
    caption(&mut page, 0, "20 × 10");
    finish(page, &server);
}

#[test]
fn a_handler_with_a_token_shows_unsigned_urls_and_says_so() {
    let token = json!({"token": {"type": "hmac", "secrets": ["a secret of this handler"]}});
    let Some((server, mut page, _directory)) = start(token) else { return };
    caption(&mut page, 1, "404: token_refused");
    page.until("document.querySelector('#playground').innerText.includes('only with a signature')");
    let url = page.text("document.querySelector('[data-name=URL]').textContent");
    assert!(!url.contains("t="), "{url}");
    finish(page, &server);
}
