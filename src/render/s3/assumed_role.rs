//! Roles that a bucket's credentials assume at STS.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ureq::Agent;

use super::credentials::{Found, Provider, variable};
use super::keys::Keys;
use super::sts;
use crate::config::{AssumedRole, Credentials, Limits, S3};
use crate::sync::Mutex;

/// What a role is assumed with.
pub(super) enum Base {
    Static(Keys),
    Chain(Arc<Provider>),
}

/// The settings by which providers differ.
#[derive(PartialEq, Eq)]
struct Settings {
    credentials: Credentials,
    role: AssumedRole,
    region: String,
    ca_file: Option<PathBuf>,
}

static PROVIDERS: Mutex<Vec<(Settings, Weak<Provider>)>> = Mutex::new(Vec::new());

/// The provider that all buckets with the same role, credentials and region share. The limits of the first one apply to
/// its requests.
pub(super) fn shared(
    config: &S3,
    role: &AssumedRole,
    base: Base,
    agent: &Arc<Agent>,
    limits: &Limits,
) -> Result<Arc<Provider>, String> {
    let settings = Settings {
        credentials: config.credentials.clone(),
        role: role.clone(),
        region: config.region.clone(),
        ca_file: config.ca_file.clone(),
    };
    let mut providers = PROVIDERS.lock();
    providers.retain(|(_, provider)| provider.strong_count() > 0);
    let known = providers.iter().find(|(known, _)| *known == settings);
    if let Some(provider) = known.and_then(|(_, provider)| provider.upgrade()) {
        return Ok(provider);
    }
    let (role, region) = (role.clone(), config.region.clone());
    let (agent, timeout) = (Arc::clone(agent), limits.origin_timeout);
    let look = move || assume(&agent, &region, &role, &base, timeout).map(Found::new);
    let started = Arc::new(Provider::start(look)?);
    providers.push((settings, Arc::downgrade(&started)));
    Ok(started)
}

fn assume(
    agent: &Agent,
    region: &str,
    role: &AssumedRole,
    base: &Base,
    timeout: Duration,
) -> Result<Keys, String> {
    let endpoint = variable("AWS_ENDPOINT_URL_STS").unwrap_or_else(|| sts::endpoint(Some(region)));
    let with = |keys: &Keys| {
        let keys = sts::assume_role(agent, &endpoint, region, role, keys)?;
        if keys.expired() {
            Err(format!("{endpoint} gave credentials that have expired"))
        } else {
            Ok(keys)
        }
    };
    match base {
        Base::Static(keys) => with(keys),
        Base::Chain(provider) => {
            let keys = provider.keys(Instant::now() + timeout).map_err(|failure| failure.detail)?;
            with(&keys)
        }
    }
}
