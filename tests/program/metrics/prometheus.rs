//! contrib/prometheus: the rules and the dashboard against the table of metrics, and as Prometheus reads them.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use super::families::documented;
use crate::support::directory::Directory;
use crate::support::server::PROGRAM;
use crate::support::skip::skip;
use crate::support::unused_port::UnusedPort;

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn contrib(name: &str) -> PathBuf {
    root().join("contrib/prometheus").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(contrib(name)).unwrap()
}

/// Runs promtool in contrib/prometheus. `None` if there is none.
fn promtool(arguments: &[&str]) -> Option<Output> {
    let mut command = Command::new("promtool");
    let output = command.args(arguments).current_dir(contrib("")).output().ok();
    if output.is_none() {
        skip("there is no promtool (Debian: prometheus)");
    }
    output
}

#[track_caller]
fn assert_promtool_accepts(arguments: &[&str]) {
    let Some(output) = promtool(arguments) else { return };
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&text));
}

/// The names of metrics in a text, without the suffixes of a histogram's samples.
fn metrics_of(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c| !is_part(c));
    let names = words.filter(|word| word.starts_with("s3imageserver_"));
    names.map(|name| histogram_of(name).unwrap_or(name).to_owned()).collect()
}

fn histogram_of(name: &str) -> Option<&str> {
    let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end))?;
    name.ends_with("_seconds").then_some(name)
}

fn dashboard() -> Value {
    serde_json::from_str(&read("grafana.json")).unwrap()
}

/// The panels of the dashboard with the queries of each.
fn panels() -> Vec<(String, Vec<String>)> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let expressions = |panel: &Value| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
    };
    let panels = panels.filter(|panel| panel["type"] != "row");
    panels.map(|panel| (panel["title"].as_str().unwrap().to_owned(), expressions(panel))).collect()
}

#[test]
fn rules_and_dashboard_name_only_metrics_that_exist() {
    let documented: BTreeSet<String> = documented().into_iter().collect();
    for name in ["rules.yml", "rules-test.yml", "grafana.json", "watch.sh"] {
        let used = metrics_of(&read(name));
        let unknown: Vec<&String> = used.difference(&documented).collect();
        assert!(!used.is_empty() && unknown.is_empty(), "{name}: {unknown:?}");
    }
    for (title, expressions) in panels() {
        assert!(!expressions.is_empty(), "{title}");
        for expression in &expressions {
            assert!(!metrics_of(expression).is_empty(), "{title}: {expression}");
        }
    }
    let page = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    assert_eq!(metrics_of(&page), documented.iter().map(String::to_owned).collect());
    let shown = metrics_of(&read("grafana.json"));
    let not_shown: Vec<&String> = documented.difference(&shown).collect();
    assert!(not_shown.is_empty(), "not on the dashboard: {not_shown:?}");
}

#[test]
fn panels_of_the_dashboard_fill_rows_without_overlapping() {
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    let mut cells = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|at| panel["gridPos"][at].as_u64().unwrap());
        assert!(x + w <= 24 && w > 0 && h > 0, "{panel}");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "{panel}");
        }
    }
}

#[test]
fn promtool_parses_the_queries_of_the_dashboard() {
    let directory = Directory::new();
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (number, expression) in panels().into_iter().flat_map(|(_, all)| all).enumerate() {
        let expression = expression.replace("$__rate_interval", "1m").replace("$instance", ".*");
        assert!(!expression.contains('$'), "{expression}");
        // JSON is YAML.
        rules +=
            &format!("      - record: panel_{number}\n        expr: {}\n", Value::from(expression));
    }
    let file = directory.put("rules.yml", rules.as_bytes());
    assert_promtool_accepts(&["check", "rules", file.to_str().unwrap()]);
}

#[test]
fn promtool_accepts_the_rules_and_their_tests_pass() {
    assert_promtool_accepts(&["check", "rules", "rules.yml"]);
    assert_promtool_accepts(&["test", "rules", "rules-test.yml"]);
}

#[test]
fn promtool_accepts_the_scrape_configuration() {
    let directory = Directory::new();
    let secret = directory.put("secret", b"a-secret");
    let config = read("prometheus.yml");
    let placeholder = "/etc/prometheus/s3imageserver.secret";
    assert!(config.matches(placeholder).count() >= 2);
    let config = config.replace(placeholder, secret.to_str().unwrap());
    let config = directory.put("prometheus.yml", config.as_bytes());
    directory.put("rules.yml", read("rules.yml").as_bytes());
    assert_promtool_accepts(&["check", "config", config.to_str().unwrap()]);
}

/// Each alert with its block of lines.
fn alerts(rules: &str) -> Vec<(&str, &str)> {
    let blocks = rules.split("- alert: ").skip(1);
    blocks.map(|block| (block.split_once('\n').unwrap().0, block)).collect()
}

#[test]
fn each_alert_says_what_to_do_and_has_a_test_in_which_it_fires() {
    let (rules, tests) = (read("rules.yml"), read("rules-test.yml"));
    let alerts = alerts(&rules);
    assert!(alerts.len() > 10);
    let pages = root().join("docs");
    let pages: String = fs::read_dir(pages)
        .unwrap()
        .filter_map(|page| fs::read_to_string(page.unwrap().path()).ok())
        .collect();
    for (name, block) in alerts {
        for field in ["severity: ", "summary: ", "action: "] {
            assert_eq!(block.matches(field).count(), 1, "{name}: {field}");
        }
        let action = block.split_once("action: ").unwrap().1.lines().next().unwrap();
        assert!(action.ends_with('.') && action.len() > 60, "{name}: {action}");
        for event in action.split("event=").skip(1) {
            let end = event.find(|c: char| !c.is_ascii_lowercase() && c != '_');
            let event = &event[..end.unwrap_or(event.len())];
            assert!(pages.contains(&format!("`{event}`")), "{name}: no document has {event}");
        }
        let fires = format!("alertname: {name}\n        exp_alerts:\n          - exp_labels:");
        assert_eq!(tests.matches(&fires).count(), 1, "{name} fires in no test");
        let is_quiet = format!("alertname: {name}}}");
        assert_eq!(tests.matches(&is_quiet).count(), 2, "{name} is quiet in no test");
    }
}

#[test]
fn watch_scrapes_a_server_under_load_and_stops_by_itself() {
    for tool in ["prometheus", "promtool", "curl"] {
        if Command::new(tool).arg("--version").output().is_err() {
            return skip(&format!("there is no {tool} (Debian: prometheus, curl)"));
        }
    }
    let temporary = Directory::new();
    let port = UnusedPort::new();
    let number = port.address().port().to_string();
    drop(port);
    let output = Command::new(contrib("watch.sh"))
        .args([PROGRAM, "5"])
        .env("PORT", number)
        .env("TMPDIR", temporary.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && problems.is_empty(), "{text}\n{problems}");
    assert!(text.contains("job=\"s3imageserver\"} => 1 @"), "{text}");
    let is_counted = |cache: &str| text.contains(&format!("{{cache=\"{cache}\"}} => "));
    assert!(is_counted("miss"), "{text}");
    assert!(!text.contains("S3ImageServer"), "no alert: {text}");
    assert!(temporary.files().is_empty(), "{:?}", temporary.files());
}
