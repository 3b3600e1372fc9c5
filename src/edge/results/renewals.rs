//! Which results are being renewed behind what is served: each once, and not too many.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cache::Name;

/// Each has a thread; those who wait for a picture come first.
const MOST: usize = 16;

/// Those under way.
#[derive(Debug, Default)]
pub struct Renewals(Mutex<HashSet<Name>>);

/// Held for as long as a renewal takes.
#[derive(Debug)]
pub struct Renewal {
    all: Arc<Renewals>,
    name: Name,
}

impl Renewals {
    /// A place for this name, unless it is being renewed already or too many others are.
    pub fn begin(self: &Arc<Renewals>, name: &Name) -> Option<Renewal> {
        let mut all = self.lock();
        if all.len() >= MOST || !all.insert(name.clone()) {
            return None;
        }
        Some(Renewal { all: Arc::clone(self), name: name.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Name>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.all.lock().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_renewed_once_and_few_at_a_time() {
        let renewals = Arc::new(Renewals::default());
        let name = |number: usize| Name { handler: "h".into(), key: number.to_string(), options: "".into() };
        let first = renewals.begin(&name(0)).unwrap();
        assert!(renewals.begin(&name(0)).is_none());
        let others: Vec<Renewal> = (1..MOST).map(|number| renewals.begin(&name(number)).unwrap()).collect();
        assert!(renewals.begin(&name(MOST)).is_none());
        drop(first);
        assert!(renewals.begin(&name(MOST)).is_some());
        drop(others);
        assert!(renewals.lock().is_empty());
    }
}
