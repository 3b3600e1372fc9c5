//! The operator's page in a browser.

use serde_json::json;

use crate::admin::{SECRET, admin, small_image, with_admin};
use crate::support::devtools::Page;
use crate::support::directory::Directory;
use crate::support::server::{Server, Setup};

const WINDOW: (u32, u32) = (1100, 800);
/// A name that would be an element if it were inserted as HTML.
const HOSTILE: &str = "<img src=x onerror=throw(1)>.png";
const PHONE: (u32, u32) = (360, 740);

struct Fixture {
    server: Server,
    page: Page,
    origin: String,
    _cache: Directory,
    originals: Directory,
}

/// A server with two handlers, and its page in a browser. `None` without Chromium.
fn fixture() -> Option<Fixture> {
    let sample = |name: &str| std::fs::read(format!("examples/images/{name}")).unwrap();
    let originals = Directory::new()
        .with("photo.jpg", &sample("photo.jpg"))
        .with("sub/a <b>.png", &small_image())
        .with("broken.png", &small_image()[..40])
        .with(HOSTILE, &small_image()[..40]);
    let cache = Directory::new();
    let server = Server::start(with_admin(json!({"handlers": [
        {"name": "h", "directory": originals.path(), "cache_path": cache.path()},
        {"name": "signed", "directory": originals.path(), "cache_path": cache.path(),
         "token": {"type": "hmac", "secrets": ["a secret of this handler"]}},
    ]})));
    let origin = format!("http://{}", admin(&server));
    let page = Page::open(&format!("{origin}/-/"), WINDOW)?;
    Some(Fixture { server, page, origin, _cache: cache, originals })
}

impl Fixture {
    /// Logs in with keys alone.
    #[track_caller]
    fn log_in(&mut self) {
        self.page.until("document.activeElement?.id === 'secret'");
        self.page.type_text(SECRET);
        self.page.press("Enter");
        self.page.until("!!document.querySelector('[data-handler]')");
    }

    /// Fails if the page wrote an error to the console or asked another host.
    #[track_caller]
    fn finish(mut self) {
        self.page.eval("0");
        assert_eq!(self.page.errors, [""; 0]);
        let own = |url: &&String| {
            url.starts_with(&self.origin) || url.starts_with("blob:") || url.starts_with("data:")
        };
        let others: Vec<&String> = self.page.requests.iter().filter(|url| !own(url)).collect();
        assert!(others.is_empty(), "{others:?}");
    }

    #[track_caller]
    fn assert_fits(&mut self) {
        let width = self.page.eval("document.documentElement.scrollWidth");
        assert!(width.as_f64().unwrap() <= f64::from(PHONE.0), "{width}");
    }
}

#[test]
fn the_page_shows_nothing_before_the_secret_and_forgets_it_on_request() {
    let Some(mut fixture) = fixture() else { return };
    let page = &mut fixture.page;
    page.until("document.activeElement?.id === 'secret'");
    page.type_text("not the secret");
    page.press("Enter");
    page.until("document.querySelector('[role=alert]').textContent.includes('not the secret')");
    assert!(!page.text("document.body.innerText").contains("photo.jpg"));
    assert_eq!(page.eval("sessionStorage.length"), 0);
    page.eval("document.querySelector('#secret').value = ''");
    fixture.log_in();
    let page = &mut fixture.page;
    assert_eq!(page.eval("sessionStorage.length + localStorage.length"), 1);
    assert_eq!(page.eval("document.cookie"), "");
    page.eval("window.isOld = true; location.reload()");
    page.until("!window.isOld && !!document.querySelector('[data-handler]')");
    page.click("#log-out");
    page.until("!!document.querySelector('#secret')");
    assert_eq!(page.eval("sessionStorage.length"), 0);
    assert!(page.eval("document.querySelector('#status')").is_null());
    fixture.finish();
}

#[test]
fn status_shows_handlers_failures_and_a_purge() {
    let Some(mut fixture) = fixture() else { return };
    fixture.log_in();
    let server = &fixture.server;
    server.get("/h/broken.png?w=5");
    server.get("/h/photo.jpg?w=50").ok();
    assert_eq!(server.get("/h/photo.jpg?w=50").ok().expect("X-Cache"), "hit");
    let page = &mut fixture.page;
    page.until("document.querySelector('#failures').textContent.includes('h/broken.png')");
    assert!(page.text("document.querySelector('#failures').textContent").contains("corrupt_image"));
    server.get("/h/%3Cimg%20src=x%20onerror=throw(1)%3E.png?w=5");
    page.until("document.querySelector('#failures').textContent.includes('h/<img src=x onerror=')");
    assert!(page.eval("document.querySelector('#failures img')").is_null());
    fixture.originals.put("a\u{202e}gpj\n.png", &small_image()[..40]);
    server.get("/h/a%E2%80%AEgpj%0A.png").failed("corrupt_image");
    let escaped = r"h/a\\u{202e}gpj\\u{a}.png";
    page.until(&format!("document.querySelector('#failures').textContent.includes('{escaped}')"));
    let handlers = page.text("document.querySelector('#handlers').innerText");
    assert!(handlers.contains("signed") && handlers.contains("hmac"), "{handlers}");
    page.until("document.querySelector('#caches').textContent.includes(' entries')");
    page.set("#purge-key", "photo.jpg");
    page.click("#purge button");
    page.until("document.querySelector('#purge [role=status]').textContent.includes('Removed 1')");
    assert_eq!(fixture.server.get("/h/photo.jpg?w=50").ok().expect("X-Cache"), "miss");
    // A prefix needs a confirmation.
    let page = &mut fixture.page;
    page.set("#purge-key", "");
    page.click("#purge-prefix");
    page.until("document.querySelector('#purge [role=status]').textContent.includes('Removed 1')");
    assert_eq!(fixture.server.get("/h/photo.jpg?w=50").ok().expect("X-Cache"), "miss");
    fixture.finish();
}

#[test]
fn figures_move_under_load() {
    let Some(mut fixture) = fixture() else { return };
    fixture.log_in();
    let mut client = fixture.server.client();
    let hits = "document.querySelector('[data-series=hit] b')?.textContent";
    for _ in 0..20 {
        for _ in 0..50 {
            client.get("/h/photo.jpg?w=60").ok();
        }
        let shown = fixture.page.eval(hits);
        if shown.as_str().is_some_and(|shown| shown != "0.0/s") {
            let line = "document.querySelectorAll('#charts path.s1').length";
            assert!(fixture.page.eval(line).as_u64().unwrap() >= 3);
            return fixture.finish();
        }
        std::thread::sleep(std::time::Duration::from_millis(400));
    }
    panic!("the page shows no hits: {}", fixture.page.eval(hits));
}

#[test]
fn admin_playground_shows_images_of_a_handler_with_a_token_and_signs() {
    let Some(mut fixture) = fixture() else { return };
    fixture.log_in();
    let page = &mut fixture.page;
    page.click("nav button:nth-child(2)");
    page.set("#handler", "signed");
    page.until("document.querySelector('#keys').options.length === 4");
    page.set("#key", "photo.jpg");
    page.set("#option-w", "120");
    page.until("document.querySelectorAll('figcaption')[1].textContent.startsWith('120 × ')");
    page.until("!!document.querySelector('[data-name=sign]')");
    page.until("document.querySelector('[data-name=URL]').textContent.includes('w=120')");
    let url = page.text("document.querySelector('[data-name=URL]').textContent");
    assert!(url.starts_with("/signed/photo.jpg?w=120&t="), "{url}");
    let answer = fixture.server.get(&url).ok();
    assert_eq!(crate::support::images::size_of(&answer.body).0, 120);
    fixture.finish();
}

#[test]
fn the_page_fits_a_phone() {
    let Some(mut fixture) = fixture() else { return };
    fixture.page.resize(PHONE);
    fixture.page.prefer("dark");
    assert_eq!(fixture.page.eval("getComputedStyle(document.body).color"), "rgb(228, 230, 233)");
    fixture.assert_fits();
    fixture.log_in();
    fixture.server.get(&format!("/h/broken.png?w=5&{}", "a".repeat(300)));
    fixture.page.until("document.querySelector('#failures').textContent.includes('broken.png')");
    fixture.assert_fits();
    fixture.page.click("nav button:nth-child(2)");
    fixture.page.until("document.querySelector('#keys').options.length === 4");
    fixture.page.set("#key", "photo.jpg");
    fixture.page.until("document.querySelectorAll('figcaption')[4].textContent.includes('pixels')");
    fixture.assert_fits();
    fixture.finish();
}

/// The screenshots of the documents: `make docs` sets the variable and so writes them.
#[test]
fn screenshots_are_small_and_written_by_make_docs() {
    const NAMES: [&str; 2] = ["screenshot-status.webp", "screenshot-playground.webp"];
    let path = |name: &str| std::path::Path::new("docs/images").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let [status, playground] = take_screenshots().expect("chromium is not installed");
        std::fs::write(path(NAMES[0]), status).unwrap();
        std::fs::write(path(NAMES[1]), playground).unwrap();
    }
    for name in NAMES {
        let image = std::fs::read(path(name)).unwrap();
        assert!(image.len() <= 150_000, "{name}: {} bytes", image.len());
        assert_eq!(crate::support::images::size_of(&image), (SCREENSHOT.0, SCREENSHOT.1), "{name}");
    }
}

const SCREENSHOT: (u32, u32) = (1000, 860);

/// The status under a small load, and the playground of a sample.
fn take_screenshots() -> Option<[Vec<u8>; 2]> {
    let samples = std::path::absolute("examples/images").unwrap();
    let mounted = Directory::new()
        .with("broken.jpg", &std::fs::read(samples.join("photo.jpg")).unwrap()[..9000]);
    let cache = Directory::new();
    let setup = Setup::new(with_admin(json!({"handlers": [
        {"name": "samples", "directory": samples, "cache_path": cache.path(),
         "cache_max_bytes": 2_000_000, "playground": true, "server_timing": true},
        {"name": "uploads", "directory": mounted.path(), "token": {"type": "hmac", "secrets": [SECRET]}},
        {"name": "products", "aws": {"bucket_name": "shop-images", "file_path": "products",
            "region": "eu-central-1", "endpoint": "http://127.0.0.1:9", "anonymous": true}},
    ]})));
    // A release build has other times than the one under test.
    let server = match std::env::var_os("SCREENSHOT_OF") {
        Some(program) => setup.program(std::path::absolute(program).unwrap()).start(),
        None => setup.start(),
    };
    let mut page = Page::open(&format!("http://{}/-/", admin(&server)), SCREENSHOT)?;
    page.until("document.activeElement?.id === 'secret'");
    page.type_text(SECRET);
    page.press("Enter");
    page.until("!!document.querySelector('[data-handler]')");
    server.get("/products/42.jpg?w=300");
    crate::admin::send(&server, "GET", "/-/image/uploads/broken.jpg?w=300");
    let mut client = server.client();
    let begun = std::time::Instant::now();
    let mut width: u32 = 100;
    while begun.elapsed() < std::time::Duration::from_secs(100) {
        width = 100 + (width + 7) % 300;
        client.get(&format!("/samples/portrait.jpg?w={width}&f=webp"));
        for _ in 0..20 + width % 40 {
            client.get("/samples/photo.jpg?w=300");
        }
        std::thread::sleep(std::time::Duration::from_millis(100 + u64::from(width % 50)));
    }
    // The directories of an installation, not of this machine. A hidden page does not replace them.
    page.eval("Object.defineProperty(document, 'hidden', { value: true })");
    page.eval("new Promise((resolve) => setTimeout(resolve, 500))");
    for (directory, shown) in [
        (cache.path(), "/var/cache/s3imageserver"),
        (samples.as_path(), "/usr/share/s3imageserver/samples"),
        (mounted.path(), "/srv/uploads"),
    ] {
        page.eval(&format!(
            "for (let walk = document.createTreeWalker(document.body, 4); walk.nextNode();) {{
                walk.currentNode.data = walk.currentNode.data.replace({directory:?}, {shown:?}); }}"
        ));
    }
    page.eval("scrollTo(0, 0); document.activeElement.blur()");
    let status = page.screenshot();
    drop(page);
    let mut page = Page::open(&format!("http://{}/samples/", server.http()), SCREENSHOT)?;
    page.until("document.querySelector('#keys').options.length > 1");
    page.set("#key", "photo.jpg");
    page.set("#option-w", "420");
    page.set("#option-h", "420");
    page.set("#option-f", "avif");
    page.until("document.querySelectorAll('figcaption')[0].textContent.includes('pixels')");
    page.click_at("#focus", (0.3, 0.6));
    page.until("document.querySelectorAll('figcaption')[4].textContent.startsWith('420')");
    page.eval("scrollTo(0, 0); document.activeElement.blur()");
    Some([status, page.screenshot()])
}
