//! A page in Chromium, driven with the DevTools protocol over two pipes (`--remote-debugging-pipe`): messages are JSON,
//! each ends with NUL.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use super::chromium;
use super::directory::Directory;

/// How long a test waits for the browser.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Page {
    child: Child,
    input: File,
    messages: Receiver<Value>,
    session: String,
    last_id: u64,
    /// Errors in the console, and exceptions.
    pub errors: Vec<String>,
    /// The URLs of all requests.
    pub requests: Vec<String>,
    _profile: Directory,
}

impl Page {
    /// Opens a URL in a window of this size. `None` if Chromium is not installed.
    #[track_caller]
    pub fn open(url: &str, size: (u32, u32)) -> Option<Page> {
        use std::os::unix::process::CommandExt;
        if !chromium::is_installed() {
            return None;
        }
        let profile = Directory::new();
        let [to, from] = ["to", "from"].map(|name| profile.path().join(name));
        assert!(Command::new("mkfifo").args([&to, &from]).status().unwrap().success());
        // Opened for both, a FIFO does not wait for its other end (fifo(7)).
        let input = File::options().read(true).write(true).open(&to).unwrap();
        let browser = chromium::command(&profile);
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" 3<\"$0/to\" 4>\"$0/from\""]).arg(profile.path());
        command.arg(browser.get_program()).args(browser.get_args());
        command.args(["--remote-debugging-pipe", "--lang=en"]);
        command.env("HOME", profile.path()).env("TMPDIR", profile.path()).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(File::open(from).unwrap()).split(0).map_while(Result::ok)
            {
                if sender.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    return;
                }
            }
        });
        let mut page = Page {
            child,
            input,
            messages,
            session: String::new(),
            last_id: 0,
            errors: Vec::new(),
            requests: Vec::new(),
            _profile: profile,
        };
        let target = page.call("Target.createTarget", json!({"url": "about:blank"}));
        let attached = page.call(
            "Target.attachToTarget",
            json!({"targetId": target["targetId"], "flatten": true}),
        );
        page.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.call(&format!("{domain}.enable"), json!({}));
        }
        page.resize(size);
        page.call("Page.navigate", json!({"url": url}));
        page.until("document.readyState === 'complete' && location.href !== 'about:blank'");
        Some(page)
    }

    #[track_caller]
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let mut message = json!({"id": self.last_id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        self.input.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let mut answer = self.messages.recv_timeout(PATIENCE).expect("chromium hangs");
            if answer["id"] == self.last_id {
                assert_eq!(answer.get("error"), None, "{method} {params}");
                return answer["result"].take();
            }
            self.note(&answer);
        }
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                self.requests.push(params["request"]["url"].as_str().unwrap().to_owned());
            }
            Some("Runtime.exceptionThrown") => self.errors.push(params.to_string()),
            Some("Runtime.consoleAPICalled") if params["type"] != "log" => {
                self.errors.push(params.to_string());
            }
            // Statuses of responses are logged as well; the tests look at what the page makes of them.
            Some("Log.entryAdded") => {
                let entry = &params["entry"];
                if entry["source"] != "network" && entry["level"] != "verbose" {
                    self.errors.push(params.to_string());
                }
            }
            Some("Page.javascriptDialogOpening") => {
                self.last_id += 1;
                let message = json!({"id": self.last_id, "method": "Page.handleJavaScriptDialog",
                    "params": {"accept": true}, "sessionId": self.session});
                self.input.write_all(format!("{message}\0").as_bytes()).unwrap();
            }
            _ => {}
        }
    }

    /// The value of an expression, or of the promise that it gives.
    #[track_caller]
    pub fn eval(&mut self, expression: &str) -> Value {
        let params = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true,
            "userGesture": true,
        });
        let mut result = self.call("Runtime.evaluate", params);
        assert_eq!(result.get("exceptionDetails"), None, "{expression}");
        result["result"]["value"].take()
    }

    #[track_caller]
    pub fn text(&mut self, expression: &str) -> String {
        self.eval(expression).as_str().unwrap_or_else(|| panic!("{expression}")).to_owned()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn until(&mut self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.eval(expression) != true {
            if Instant::now() > deadline {
                let text = self.eval("document.body.innerText");
                panic!("never true: {expression}; errors: {:?}; page: {text}", self.errors);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Writes a value into the control that a selector finds, as a user does.
    #[track_caller]
    pub fn set(&mut self, selector: &str, value: &str) {
        self.eval(&format!(
            "(() => {{ const element = document.querySelector({selector:?});
                element.value = {value:?};
                for (const type of ['input', 'change']) element.dispatchEvent(new Event(type, {{ bubbles: true }}));
            }})()"
        ));
    }

    #[track_caller]
    pub fn click(&mut self, selector: &str) {
        self.eval(&format!("document.querySelector({selector:?}).click()"));
    }

    /// Presses a key: `Enter`, `ArrowRight`.
    #[track_caller]
    pub fn press(&mut self, key: &str) {
        let code = if key == "Enter" { 13 } else { 39 };
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let params = json!({
                "type": kind, "key": key, "windowsVirtualKeyCode": code, "text": text,
            });
            self.call("Input.dispatchKeyEvent", params);
        }
    }

    #[track_caller]
    pub fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// Clicks with the mouse at this position of an element, in fractions of its sides.
    #[track_caller]
    pub fn click_at(&mut self, selector: &str, (x, y): (f64, f64)) {
        let place = self.eval(&format!(
            "(() => {{ const element = document.querySelector({selector:?}); element.scrollIntoView();
                const box = element.getBoundingClientRect();
                return [box.left + box.width * {x}, box.top + box.height * {y}]; }})()"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            let params = json!({
                "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1,
            });
            self.call("Input.dispatchMouseEvent", params);
        }
    }

    #[track_caller]
    pub fn resize(&mut self, (width, height): (u32, u32)) {
        let params = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        });
        self.call("Emulation.setDeviceMetricsOverride", params);
    }

    /// `dark` or `light`.
    #[track_caller]
    pub fn prefer(&mut self, scheme: &str) {
        let feature = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": feature}));
    }

    /// A picture of the window as WebP.
    #[track_caller]
    pub fn screenshot(&mut self) -> Vec<u8> {
        use base64::Engine;
        let params = json!({"format": "webp", "quality": 80});
        let mut result = self.call("Page.captureScreenshot", params);
        let data = result["data"].take();
        base64::engine::general_purpose::STANDARD.decode(data.as_str().unwrap()).unwrap()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // Its renderer processes are in its group.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
