//! The variants that are being revalidated in the background: each once, and a bounded number at a time.

use std::collections::HashSet;
use std::sync::Arc;

use crate::cache::Name;
use crate::sync::Mutex;

/// Maximum number per handler: each has a thread, and requests that wait for an image come first.
const MAX_REVALIDATIONS: usize = 16;

#[derive(Debug, Default)]
pub struct Revalidations(Mutex<HashSet<Name>>);

/// Held while a revalidation runs.
#[derive(Debug)]
pub struct Revalidation {
    all: Arc<Revalidations>,
    name: Name,
}

impl Revalidations {
    /// Registers a revalidation. `None` if this variant is being revalidated already, or too many others are.
    pub fn begin(self: &Arc<Revalidations>, name: &Name) -> Option<Revalidation> {
        let mut all = self.0.lock();
        if all.len() >= MAX_REVALIDATIONS || !all.insert(name.clone()) {
            return None;
        }
        Some(Revalidation { all: Arc::clone(self), name: name.clone() })
    }
}

impl Drop for Revalidation {
    fn drop(&mut self) {
        self.all.0.lock().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revalidations_are_unique_and_bounded() {
        let revalidations = Arc::new(Revalidations::default());
        let name = |number: usize| Name {
            handler: "h".into(),
            key: number.to_string(),
            options: "".into(),
        };
        let first = revalidations.begin(&name(0)).unwrap();
        assert!(revalidations.begin(&name(0)).is_none());
        let others: Vec<Revalidation> = (1..MAX_REVALIDATIONS)
            .map(|number| revalidations.begin(&name(number)).unwrap())
            .collect();
        assert!(revalidations.begin(&name(MAX_REVALIDATIONS)).is_none());
        drop(first);
        assert!(revalidations.begin(&name(MAX_REVALIDATIONS)).is_some());
        drop(others);
        assert!(revalidations.0.lock().is_empty());
    }
}
