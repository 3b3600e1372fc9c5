//! Which results are being revalidated behind what is served: each once, and not too many.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cache::Name;

/// Each has a thread; those who wait for an image come first.
const MOST: usize = 16;

/// Those under way.
#[derive(Debug, Default)]
pub struct Revalidations(Mutex<HashSet<Name>>);

/// Held for as long as a revalidation takes.
#[derive(Debug)]
pub struct Revalidation {
    all: Arc<Revalidations>,
    name: Name,
}

impl Revalidations {
    /// A place for this name, unless it is being revalidated already or too many others are.
    pub fn begin(self: &Arc<Revalidations>, name: &Name) -> Option<Revalidation> {
        let mut all = self.lock();
        if all.len() >= MOST || !all.insert(name.clone()) {
            return None;
        }
        Some(Revalidation { all: Arc::clone(self), name: name.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Name>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Revalidation {
    fn drop(&mut self) {
        self.all.lock().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_revalidated_once_and_few_at_a_time() {
        let revalidations = Arc::new(Revalidations::default());
        let name = |number: usize| Name {
            handler: "h".into(),
            key: number.to_string(),
            options: "".into(),
        };
        let first = revalidations.begin(&name(0)).unwrap();
        assert!(revalidations.begin(&name(0)).is_none());
        let others: Vec<Revalidation> =
            (1..MOST).map(|number| revalidations.begin(&name(number)).unwrap()).collect();
        assert!(revalidations.begin(&name(MOST)).is_none());
        drop(first);
        assert!(revalidations.begin(&name(MOST)).is_some());
        drop(others);
        assert!(revalidations.lock().is_empty());
    }
}
