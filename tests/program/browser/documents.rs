//! Responses opened as documents: the browser's own page of an image, and what `Content-Security-Policy` prevents.

use image::Rgba;

use crate::support::chromium;
use crate::support::directory::Directory;
use crate::support::images::{self, RED};
use crate::support::origin::{RawOrigin, answer};
use crate::support::server::Server;

const WINDOW: (u32, u32) = (400, 300);

#[test]
fn an_image_opened_as_a_document_is_centred() {
    if !chromium::is_installed() {
        return;
    }
    let directory = Directory::new().with("a.png", &images::png(images::solid(100, 60, RED)));
    let server = Server::with_handler(directory.handler());
    let document = chromium::open(&format!("http://{}/h/a.png", server.http()), WINDOW);
    assert!(document.console.is_empty(), "{:?}", document.console);
    let red = Rgba([255, 0, 0, 255]);
    let places = document.screenshot.enumerate_pixels().filter(|(_, _, pixel)| **pixel == red);
    let places: Vec<(u32, u32)> = places.map(|(x, y, _)| (x, y)).collect();
    assert_eq!(places.len(), 100 * 60);
    assert_eq!(places.first(), Some(&((WINDOW.0 - 100) / 2, (WINDOW.1 - 60) / 2)));
}

#[test]
fn the_policy_lets_a_document_run_and_load_nothing() {
    if !chromium::is_installed() {
        return;
    }
    let directory = Directory::new().with("a.png", &images::png(images::solid(100, 60, RED)));
    let server = Server::with_handler(directory.handler());
    let policy = server.get("/h/a.png").ok().expect("Content-Security-Policy").to_owned();
    let html = "<!doctype html><link rel=stylesheet href=/loaded.css><link rel=icon href=/loaded.ico>\
        <style>@import '/loaded-import.css'; @font-face { font-family: f; src: url(/loaded.woff) }\
        body { background: url(/loaded-background.png); font-family: f }</style>\
        <body onload=\"fetch('/ran-onload')\">text<img src=/loaded.png onerror=\"fetch('/ran-onerror')\">\
        <iframe src=/loaded.html></iframe><object data=/loaded.svg></object><video src=/loaded.mp4></video>\
        <script src=/loaded.js></script><script>fetch('/ran-script'); location = '/ran-location'</script>\
        <form action=/ran-form><input name=a autofocus onfocus=\"this.form.submit()\"></form>\
        <meta http-equiv=refresh content='0; url=javascript:fetch(1)'>";
    let svg = "<svg xmlns='http://www.w3.org/2000/svg' xmlns:xlink='http://www.w3.org/1999/xlink' \
        onload=\"fetch('/ran-onload')\"><script>fetch('/ran-script')</script><image href='/loaded.png' \
        width='9' height='9'/><use xlink:href='/loaded.svg#a'/><foreignObject width='9' height='9'>\
        <iframe xmlns='http://www.w3.org/1999/xhtml' src='/loaded.html'/></foreignObject></svg>";
    for (media_type, text) in [("text/html", html), ("image/svg+xml", svg)] {
        let loaded = |policy: Option<&str>| {
            let mut headers = vec![("Content-Type", media_type), ("Connection", "close")];
            headers.extend(policy.map(|policy| ("Content-Security-Policy", policy)));
            let response = answer(200, &headers, text.as_bytes());
            let page = RawOrigin::start(move |request, peer| {
                peer.send(if request.target == "/" {
                    &response
                } else {
                    b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"
                })
            });
            chromium::open(&format!("http://{}/", page.address()), WINDOW);
            let targets = page.requests().into_iter().map(|request| request.target);
            targets.filter(|target| target != "/").collect::<Vec<_>>()
        };
        assert!(
            loaded(None).len() > 3,
            "{media_type}: nothing is loaded without the policy either"
        );
        assert_eq!(loaded(Some(&policy)), [""; 0], "{media_type}");
    }
}
