//! The credential chain: credentials from the environment, a profile or the machine, not from the configuration.
//!
//! A thread looks them up and refreshes them before they expire. A request uses the credentials that the thread has
//! found; only the first requests wait for it, for a limited time.

use std::sync::{Arc, Condvar, Weak};
use std::time::{Duration, Instant, SystemTime};

use s3::creds::Credentials;
use s3::creds::error::CredentialsError;
use ureq::Agent;

use super::keys::{Keys, METADATA, Names};
use super::sts::{self, WebIdentity};
use crate::config::{Limits, WHITE_SPACE_AROUND, has_white_space_around};
use crate::error::{Code, Failure};
use crate::render::http::agent;
use crate::renderer_status::CredentialsStatus;
use crate::sync::{self, Mutex};
use crate::time::unix_seconds;

/// How long before their expiry credentials are refreshed. AWS issues new ones at least that early:
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html>
const REFRESH_AHEAD: Duration = Duration::from_secs(5 * 60);
/// How often the profile's file is read again: login tools rewrite it.
const PROFILE_INTERVAL: Duration = Duration::from_secs(60);
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// The longest sleep, so that a jump of the clock, as after a suspend, is noticed soon.
const MAX_SLEEP: Duration = Duration::from_secs(30);

/// Keys, and when to look them up again; `None` is never.
pub(super) struct Found {
    keys: Keys,
    again: Option<Duration>,
}

impl Found {
    pub(super) fn new(keys: Keys) -> Found {
        let again = keys
            .expires
            .map(|at| refresh_after(at.duration_since(SystemTime::now()).unwrap_or_default()));
        Found { keys, again }
    }
}

/// When to refresh credentials that expire after this time.
fn refresh_after(left: Duration) -> Duration {
    left.saturating_sub(REFRESH_AHEAD).max(left * 3 / 4).max(Duration::from_secs(1))
}

/// The credentials of the chain or of a role, refreshed by a thread that ends when this is dropped.
pub(super) struct Provider {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    keys: Option<Arc<Keys>>,
    /// Why the last lookup failed, if it did.
    problem: Option<String>,
    looked: bool,
    stopped: bool,
}

static PROVIDER: Mutex<Weak<Provider>> = Mutex::new(Weak::new());

/// The provider that all handlers share. The limits of the first handler apply to its requests.
pub(super) fn shared(limits: &Limits) -> Result<Arc<Provider>, String> {
    let mut provider = PROVIDER.lock();
    if let Some(running) = provider.upgrade() {
        return Ok(running);
    }
    let agent = agent::shared(None, limits)?;
    let timeout = limits.origin_timeout;
    let started = Arc::new(Provider::start(move || {
        // aws-creds has one timeout for the whole process; its default is twice as long.
        s3::creds::set_request_timeout(Some(timeout));
        chain(&agent)
    })?);
    *provider = Arc::downgrade(&started);
    Ok(started)
}

impl Provider {
    pub(super) fn start(
        look: impl FnMut() -> Result<Found, String> + Send + 'static,
    ) -> Result<Provider, String> {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let refresher = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("credentials".into())
            .spawn(move || refresher.run(look))
            .map_err(|error| format!("can't start a thread for the credentials: {error}"))?;
        Ok(Provider { shared })
    }

    /// The current credentials. Waits, at most until `until`, for the first lookup only.
    pub(super) fn keys(&self, until: Instant) -> Result<Arc<Keys>, Failure> {
        let mut state = self.shared.state.lock();
        loop {
            match &state.keys {
                Some(keys) if !keys.expired() => return Ok(Arc::clone(keys)),
                _ if state.looked => return Err(state.failure()),
                _ => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let problem = "credentials are still being looked for (environment, profile, web identity, \
                               container, instance metadata, role)";
                return Err(Failure::new(Code::NoCredentials, problem));
            }
            state = sync::wait_timeout(&self.shared.changed, state, left);
        }
    }

    pub(super) fn status(&self) -> CredentialsStatus {
        let state = self.shared.state.lock();
        match &state.keys {
            Some(keys) => CredentialsStatus::Found { expires: keys.expires.map(unix_seconds) },
            None if state.looked => CredentialsStatus::Missing,
            None => CredentialsStatus::Pending,
        }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.shared.state.lock().stopped = true;
        self.shared.changed.notify_all();
    }
}

impl State {
    fn failure(&self) -> Failure {
        let problem = self.problem.as_deref().unwrap_or("their refresh is under way");
        let what = if self.keys.is_some() {
            "the credentials have expired"
        } else {
            "no credentials found"
        };
        Failure::new(Code::NoCredentials, format!("{what}: {problem}"))
    }
}

impl Shared {
    fn run(&self, mut look: impl FnMut() -> Result<Found, String>) {
        let mut failures = 0;
        loop {
            let again = match look() {
                Ok(found) => {
                    failures = 0;
                    self.publish(Ok(found.keys));
                    found.again
                }
                Err(problem) => {
                    failures += 1;
                    self.publish(Err(problem));
                    Some(backoff(failures))
                }
            };
            match again {
                Some(wait) if !self.stopped_within(wait) => {}
                _ => return,
            }
        }
    }

    fn publish(&self, result: Result<Keys, String>) {
        let mut state = self.state.lock();
        state.looked = true;
        match result {
            Ok(keys) => {
                state.keys = Some(Arc::new(keys));
                state.problem = None;
            }
            Err(problem) => state.problem = Some(problem),
        }
        self.changed.notify_all();
    }

    /// Sleeps by both clocks: credentials expire by the wall clock, which may jump or stand still.
    fn stopped_within(&self, wait: Duration) -> bool {
        let start = Instant::now();
        let wall = SystemTime::now();
        let mut state = self.state.lock();
        loop {
            if state.stopped {
                return true;
            }
            let elapsed = start.elapsed().max(wall.elapsed().unwrap_or_default());
            let Some(left) = wait.checked_sub(elapsed).filter(|left| !left.is_zero()) else {
                return false;
            };
            let sleep = left.min(MAX_SLEEP);
            state = sync::wait_timeout(&self.changed, state, sleep);
        }
    }
}

/// 1 s after the first failure, doubled after each further one.
fn backoff(failures: u32) -> Duration {
    Duration::from_secs(1 << (failures - 1).min(6)).min(MAX_BACKOFF)
}

/// The outcome of one source of credentials.
enum Step {
    Found(Found),
    /// Nothing is set up here; the next source is tried.
    Absent(String),
    /// The source is set up and does not work. The next one could have the credentials of another identity, as those of
    /// the machine for a container with its own role, so the lookup ends.
    Broken(String),
}

fn chain(agent: &Agent) -> Result<Found, String> {
    let steps: [(&str, &dyn Fn() -> Step); 5] = [
        ("environment", &environment),
        ("profile", &profile),
        ("web identity", &|| web_identity(agent)),
        ("container", &container),
        ("instance metadata", &instance_metadata),
    ];
    first_of(&steps)
}

fn first_of(steps: &[(&str, &dyn Fn() -> Step)]) -> Result<Found, String> {
    let mut tried = Vec::new();
    for (name, step) in steps {
        match step() {
            Step::Found(found) => return Ok(found),
            Step::Absent(problem) => tried.push(format!("{name}: {problem}")),
            Step::Broken(problem) => {
                tried.push(format!("{name}: {problem}"));
                break;
            }
        }
    }
    Err(tried.join("; "))
}

/// A variable that is not empty: AWS's tools treat an empty one as missing.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn environment() -> Step {
    match (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
        (Some(access), Some(secret)) => {
            let token = ["AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"]
                .into_iter()
                .find_map(|name| variable(name).map(|token| (name, token)));
            let names = [
                "AWS_ACCESS_KEY_ID",
                "AWS_SECRET_ACCESS_KEY",
                token.as_ref().map_or("", |(name, _)| name),
            ];
            let session_token = token.map(|(_, token)| token);
            found_or_broken(Keys { access, secret, session_token, expires: None }.checked(names))
        }
        (None, None) => Step::Absent("AWS_ACCESS_KEY_ID is not set".into()),
        (Some(_), None) => {
            Step::Broken("AWS_ACCESS_KEY_ID is set, AWS_SECRET_ACCESS_KEY is not".into())
        }
        (None, Some(_)) => {
            Step::Broken("AWS_SECRET_ACCESS_KEY is set, AWS_ACCESS_KEY_ID is not".into())
        }
    }
}

fn profile() -> Step {
    const NAMES: Names = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"];
    let chosen = variable("AWS_PROFILE");
    let found = Credentials::from_profile(chosen.as_deref())
        .map_err(|error| error.to_string())
        .and_then(Keys::from_rust_s3);
    match (found, chosen) {
        (Ok(keys), chosen) => match keys.checked(NAMES) {
            Ok(keys) => Step::Found(Found { keys, again: Some(PROFILE_INTERVAL) }),
            Err(problem) => {
                let file = variable("AWS_SHARED_CREDENTIALS_FILE")
                    .unwrap_or_else(|| "~/.aws/credentials".to_owned());
                let profile = chosen.unwrap_or_else(|| "default".to_owned());
                Step::Broken(format!("{file}: profile {profile:?}: {problem}"))
            }
        },
        (Err(problem), Some(name)) => Step::Broken(format!("AWS_PROFILE is {name:?}: {problem}")),
        (Err(problem), None) => Step::Absent(problem),
    }
}

fn web_identity(agent: &Agent) -> Step {
    let (role_arn, token_file) =
        match (variable("AWS_ROLE_ARN"), variable("AWS_WEB_IDENTITY_TOKEN_FILE")) {
            (Some(role_arn), Some(token_file)) => (role_arn, token_file),
            (None, _) => return Step::Absent("AWS_ROLE_ARN is not set".into()),
            (_, None) => return Step::Absent("AWS_WEB_IDENTITY_TOKEN_FILE is not set".into()),
        };
    // Read each time: its issuer replaces it before it expires.
    let token = match std::fs::read_to_string(&token_file) {
        Ok(token) => token,
        Err(error) => return Step::Broken(format!("{token_file}: can't be read: {error}")),
    };
    let session_name =
        variable("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "s3imageserver".to_owned());
    let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
    let endpoint =
        variable("AWS_ENDPOINT_URL_STS").unwrap_or_else(|| sts::endpoint(region.as_deref()));
    let identity = WebIdentity { role_arn, session_name, token };
    found_or_broken(sts::assume_role_with_web_identity(agent, &endpoint, &identity))
}

fn container() -> Step {
    // A token is sent to a full URI alone, and the one in a file comes first. A file may end in a line end, which
    // aws-creds removes.
    const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
    let is_set = |name| variable(name).is_some();
    if is_set("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        && !is_set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        && !is_set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        && variable(TOKEN).is_some_and(|token| has_white_space_around(&token))
    {
        return Step::Broken(format!("{TOKEN} {WHITE_SPACE_AROUND}"));
    }
    match Credentials::from_container_credentials_provider() {
        Ok(found) => from_metadata(found),
        Err(error @ CredentialsError::NotContainer) => Step::Absent(error.to_string()),
        Err(error) => Step::Broken(error.to_string()),
    }
}

fn instance_metadata() -> Step {
    if variable("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
    {
        return Step::Absent("AWS_EC2_METADATA_DISABLED is true".into());
    }
    match Credentials::from_instance_metadata_v2(false) {
        Ok(found) => from_metadata(found),
        Err(error @ CredentialsError::NotEc2) => Step::Absent(error.to_string()),
        Err(error) => Step::Broken(error.to_string()),
    }
}

fn from_metadata(found: Credentials) -> Step {
    found_or_broken(Keys::from_rust_s3(found).and_then(|keys| keys.checked(METADATA)))
}

fn found_or_broken(found: Result<Keys, String>) -> Step {
    match found {
        Ok(keys) if keys.expired() => Step::Broken("gave credentials that have expired".into()),
        Ok(keys) => Step::Found(Found::new(keys)),
        Err(problem) => Step::Broken(problem),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    fn living(access: &str, left: Option<Duration>) -> Keys {
        Keys {
            access: access.into(),
            secret: "secret".into(),
            session_token: None,
            expires: left.map(|left| SystemTime::now() + left),
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    /// The access key, or the failure's sentence.
    fn now(provider: &Provider) -> Result<String, String> {
        provider
            .keys(Instant::now())
            .map(|keys| keys.access.clone())
            .map_err(|failure| failure.detail)
    }

    fn eventually(provider: &Provider, wanted: &str) {
        let deadline = soon();
        while now(provider).as_deref() != Ok(wanted) {
            assert!(Instant::now() < deadline, "{:?}", now(provider));
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn only_the_first_request_waits_for_credentials() {
        let (found, look) = mpsc::channel::<()>();
        let provider = Provider::start(move || {
            look.recv().map_err(|error| error.to_string())?;
            Ok(Found::new(living("one", None)))
        })
        .unwrap();
        assert!(now(&provider).unwrap_err().contains("still being looked for"));
        assert_eq!(provider.status(), CredentialsStatus::Pending);
        let waiting = thread::scope(|scope| {
            let waiting = scope.spawn(|| provider.keys(soon()).map(|keys| keys.access.clone()));
            thread::sleep(Duration::from_millis(50));
            found.send(()).unwrap();
            waiting.join().unwrap()
        });
        assert_eq!(waiting, Ok("one".to_owned()));
        assert_eq!(provider.status(), CredentialsStatus::Found { expires: None });
        assert_eq!(now(&provider), Ok("one".to_owned()));
    }

    #[test]
    fn a_failed_first_credential_lookup_ends_the_wait() {
        let provider =
            Provider::start(|| Err("environment: nothing; profile: nothing".into())).unwrap();
        let start = Instant::now();
        let failure = provider.keys(soon()).err().unwrap();
        assert_eq!(failure.code, Code::NoCredentials);
        assert_eq!(failure.detail, "no credentials found: environment: nothing; profile: nothing");
        assert!(start.elapsed() < Duration::from_secs(5));
        assert_eq!(provider.status(), CredentialsStatus::Missing);
    }

    #[test]
    fn expiring_credentials_are_refreshed_while_requests_use_the_old_ones() {
        let (allow, refresh) = mpsc::channel::<()>();
        let mut looks = 0;
        let provider = Provider::start(move || {
            looks += 1;
            if looks == 1 {
                let keys = living("old", Some(Duration::from_secs(60)));
                return Ok(Found { keys, again: Some(Duration::ZERO) });
            }
            refresh.recv().map_err(|error| error.to_string())?;
            Ok(Found::new(living("new", Some(Duration::from_secs(3600)))))
        })
        .unwrap();
        eventually(&provider, "old");
        thread::sleep(Duration::from_millis(50));
        assert_eq!(now(&provider), Ok("old".to_owned()), "requests do not wait for the refresh");
        allow.send(()).unwrap();
        eventually(&provider, "new");
    }

    /// A provider whose first lookup finds keys that expire after `left`, and whose other lookups fail.
    fn failing_after(left: Duration) -> Provider {
        let mut first =
            Some(Found { keys: living("old", Some(left)), again: Some(Duration::ZERO) });
        let provider =
            Provider::start(move || first.take().ok_or_else(|| "STS is down".to_owned())).unwrap();
        let deadline = soon();
        while provider.shared.state.lock().problem.is_none() {
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(5));
        }
        provider
    }

    #[test]
    fn a_failed_credential_refresh_keeps_the_old_ones_until_they_expire() {
        assert_eq!(now(&failing_after(Duration::from_secs(3600))), Ok("old".to_owned()));
        let expired = Err("the credentials have expired: STS is down".to_owned());
        let provider = failing_after(Duration::ZERO);
        assert_eq!(now(&provider), expired);
        let seconds = unix_seconds(SystemTime::now());
        assert!(!provider.status().is_usable(seconds), "{:?}", provider.status());
    }

    #[test]
    fn the_credential_thread_ends_with_the_provider() {
        let (ended, end) = mpsc::channel::<()>();
        let provider = Provider::start(move || {
            let _kept_by_the_thread = &ended;
            Ok(Found::new(living("one", Some(Duration::from_secs(3600)))))
        })
        .unwrap();
        eventually(&provider, "one");
        drop(provider);
        assert_eq!(
            end.recv_timeout(Duration::from_secs(10)),
            Err(mpsc::RecvTimeoutError::Disconnected)
        );
    }

    #[test]
    fn credentials_are_refreshed_before_they_expire() {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        assert_eq!(refresh_after(minutes(60)), minutes(55));
        assert_eq!(refresh_after(minutes(20)), minutes(15));
        assert_eq!(refresh_after(minutes(8)), minutes(6));
        assert_eq!(refresh_after(Duration::from_secs(4)), Duration::from_secs(3));
        assert_eq!(refresh_after(Duration::ZERO), Duration::from_secs(1));
    }

    #[test]
    fn failed_credential_lookups_back_off() {
        let seconds: Vec<u64> = [1, 2, 3, 6, 7, 8, u32::MAX].map(|n| backoff(n).as_secs()).to_vec();
        assert_eq!(seconds, [1, 2, 4, 32, 60, 60, 60]);
    }

    #[test]
    fn the_credential_chain_stops_at_the_first_found_or_broken_source() {
        let absent: &dyn Fn() -> Step = &|| Step::Absent("not set".into());
        let broken: &dyn Fn() -> Step = &|| Step::Broken("refused".into());
        let found: &dyn Fn() -> Step = &|| Step::Found(Found::new(living("one", None)));
        let outcome =
            |steps: &[(&str, &dyn Fn() -> Step)]| first_of(steps).map(|found| found.keys.access);
        assert_eq!(outcome(&[("a", absent), ("b", found), ("c", broken)]), Ok("one".into()));
        assert_eq!(
            outcome(&[("a", absent), ("b", broken), ("c", found)]),
            Err("a: not set; b: refused".into())
        );
    }
}
