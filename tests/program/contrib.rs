//! contrib/kubernetes and contrib/compose.yaml: they are valid YAML, fit together, and their configurations are accepted
//! in the environments that they set.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::directory::Directory;
use crate::support::server::{PROGRAM, Setup, command, run};
use crate::support::skip::skip;

fn contrib() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib")
}

/// The documents of a YAML file; `None` if nothing here reads YAML.
fn yaml(path: &Path) -> Option<Vec<Value>> {
    const SCRIPT: &str = "import json, sys, yaml\n\
                          print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let has_yaml = Command::new("python3").args(["-c", "import yaml"]).output();
    if !has_yaml.is_ok_and(|output| output.status.success()) {
        skip("python3 with yaml is missing");
        return None;
    }
    let output = Command::new("python3").args(["-c", SCRIPT]).arg(path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", path.display());
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// The objects in contrib/kubernetes by kind.
fn kubernetes() -> Option<BTreeMap<String, Value>> {
    let mut objects = BTreeMap::new();
    for entry in std::fs::read_dir(contrib().join("kubernetes")).unwrap() {
        for object in yaml(&entry.unwrap().path())? {
            let kind = object["kind"].as_str().unwrap().to_owned();
            assert!(objects.insert(kind, object).is_none(), "one object of each kind");
        }
    }
    Some(objects)
}

/// Runs `--check` on a configuration, with its cache in a directory of the test.
#[track_caller]
fn check(config: &str, environment: &BTreeMap<String, String>) {
    let directory = Directory::new();
    let cache = directory.path().join("cache");
    let config = config.replace("/var/cache/s3imageserver", cache.to_str().unwrap());
    directory.put("config.json", config.as_bytes());
    let mut command = command(Path::new(PROGRAM), directory.path());
    let output = run(command.arg("--check").envs(environment));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{config}");
    // The variables are needed.
    if let Some((name, _)) =
        environment.iter().find(|(name, _)| config.contains(&format!("\"${name}\"")))
    {
        command.env_remove(name);
        assert_eq!(run(&mut command).status.code(), Some(2), "{name}");
    }
}

fn strings(object: &Value) -> BTreeMap<String, String> {
    let fields = object.as_object().into_iter().flatten();
    fields.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}

#[test]
fn kubernetes_objects_fit_together() {
    let Some(objects) = kubernetes() else { return };
    let kinds: Vec<&str> = objects.keys().map(String::as_str).collect();
    let expected = [
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "Secret",
        "Service",
    ];
    assert_eq!(kinds, expected);
    for (kind, object) in &objects {
        assert!(object["apiVersion"].is_string(), "{kind}");
        assert_eq!(object["metadata"]["name"], "s3imageserver", "{kind}");
    }
    let deployment = &objects["Deployment"]["spec"];
    let labels = &deployment["template"]["metadata"]["labels"];
    for selected in [
        &deployment["selector"]["matchLabels"],
        &objects["Service"]["spec"]["selector"],
        &objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        &deployment["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ] {
        assert_eq!(selected, labels);
    }
    let scaled = &objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"];
    assert_eq!(
        *scaled,
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "s3imageserver"})
    );
    assert!(deployment["replicas"].is_null(), "the autoscaler sets them");

    let pod = &deployment["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["envFrom"][0]["secretRef"]["name"], "s3imageserver");
    let mounted = |path: &str| {
        let mounts = container["volumeMounts"].as_array().unwrap();
        let mount = mounts.iter().find(|mount| mount["mountPath"] == path).unwrap();
        let volumes = pod["volumes"].as_array().unwrap();
        volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap().clone()
    };
    assert_eq!(mounted("/etc/s3imageserver")["configMap"]["name"], "s3imageserver");
    // With a read-only root directory these two are writable.
    for path in ["/tmp", "/var/cache/s3imageserver"] {
        assert!(mounted(path)["emptyDir"].is_object(), "{path}");
    }
    assert_eq!(container["ports"][0], json!({"name": "http", "containerPort": 8080}));
    assert_eq!(objects["Service"]["spec"]["ports"][0]["targetPort"], "http");
    // The autoscaler needs the request, and the defaults of the server the limits.
    assert!(container["resources"]["requests"]["cpu"].is_string());
    for name in ["cpu", "memory"] {
        assert!(container["resources"]["limits"][name].is_string(), "{name}");
    }
}

#[test]
fn kubernetes_configuration_is_accepted_and_answers_the_probes() {
    let Some(objects) = kubernetes() else { return };
    let pod = &objects["Deployment"]["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let mut environment = strings(&objects["Secret"]["stringData"]);
    for variable in container["env"].as_array().unwrap() {
        let text = |name: &str| variable[name].as_str().unwrap().to_owned();
        environment.insert(text("name"), text("value"));
    }
    let config = objects["ConfigMap"]["data"]["config.json"].as_str().unwrap();
    check(config, &environment);

    // A grace period that ends before the server does would cut responses.
    let limits = config.lines().find(|line| line.contains("\"limits\"")).unwrap();
    let limits: Value = serde_json::from_str(&format!("{{{limits}}}")).unwrap();
    let seconds = |name: &str| limits["limits"][name].as_u64().unwrap();
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(seconds("stop_delay") + seconds("stop_timeout") < grace);

    let directory = Directory::new();
    let server = Setup::new(json!({"handlers": [directory.handler()]})).start();
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let get = &container[probe]["httpGet"];
        assert_eq!(get["port"], "http", "{probe}");
        assert_eq!(server.get(get["path"].as_str().unwrap()).status, 200, "{probe}");
    }
    // The liveness probe must not end a pod that is stopping.
    let liveness = &container["livenessProbe"];
    let number = |name: &str| liveness[name].as_u64().unwrap();
    assert!(number("periodSeconds") * number("failureThreshold") > grace);
}

#[test]
fn compose_configuration_is_accepted() {
    let Some(documents) = yaml(&contrib().join("compose.yaml")) else { return };
    let services = &documents[0]["services"];
    let server = &services["server"];
    let source = &server["configs"][0];
    assert_eq!(*source, json!({"source": "server", "target": "/etc/s3imageserver/config.json"}));
    let config = documents[0]["configs"]["server"]["content"].as_str().unwrap();
    assert!(!config.replace("$$", "").contains('$'), "Compose would replace it");
    let config = config.replace("$$", "$");
    let environment = strings(&server["environment"]);
    check(&config, &environment);
    let parsed: Value = serde_json::from_str(&config).unwrap();
    let published = server["ports"][0].as_str().unwrap();
    assert!(published.ends_with(&format!(":{}", parsed["http_port"])), "{published}");
    // The other services have the server's endpoint, bucket and credentials.
    let bucket = strings(&services["bucket"]["environment"]);
    let s3 = strings(&services["s3"]["environment"]);
    assert_eq!(environment["ENDPOINT"], bucket["AWS_ENDPOINT_URL"]);
    assert_eq!(environment["ENDPOINT"], format!("http://s3{}", s3["VGW_PORT"]));
    for (name, other) in
        [("AWS_ACCESS_KEY_ID", "ROOT_ACCESS_KEY"), ("AWS_SECRET_ACCESS_KEY", "ROOT_SECRET_KEY")]
    {
        assert_eq!(environment[name], bucket[name]);
        assert_eq!(environment[name], s3[other]);
    }
    let script = services["bucket"]["command"][0].as_str().unwrap();
    assert!(script.contains(&format!("s3://{}", environment["BUCKET"])), "{script}");
    for volume in ["cache", "originals"] {
        assert!(documents[0]["volumes"][volume].is_object(), "{volume}");
    }
    assert_eq!(server["read_only"], true);
}
