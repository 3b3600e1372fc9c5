//! Metrics by a name of the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::sync::Mutex;

/// Names with series of their own, over all reloads. Further ones share those of [`OTHER`].
const MAX_NAMES: usize = 1000;
/// A value of a label in place of those that are not known.
pub const OTHER: &str = "other";

/// The metrics outlive what has the name, which may come back with a reload.
#[derive(Debug)]
pub struct ByName<T>(Mutex<BTreeMap<String, Arc<T>>>);

impl<T> Default for ByName<T> {
    fn default() -> ByName<T> {
        ByName(Mutex::default())
    }
}

impl<T> ByName<T> {
    /// The metrics of this name, which are made if there are none.
    pub fn find(&self, name: &str, make: impl FnOnce(&str) -> T) -> Arc<T> {
        let mut all = self.0.lock();
        let has_room = all.len() < MAX_NAMES || all.contains_key(name);
        let name = if has_room { name } else { OTHER };
        Arc::clone(all.entry(name.to_owned()).or_insert_with(|| Arc::new(make(name))))
    }

    /// The metrics of all names, in their order.
    pub fn all(&self) -> Vec<(String, Arc<T>)> {
        let all = self.0.lock();
        all.iter().map(|(name, metrics)| (name.clone(), Arc::clone(metrics))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_names_is_bounded_and_their_metrics_stay() {
        let names = ByName::<String>::default();
        let first = names.find("a", str::to_owned);
        assert!(Arc::ptr_eq(&first, &names.find("a", str::to_owned)));
        for number in 0..2 * MAX_NAMES {
            names.find(&format!("b{number}"), str::to_owned);
        }
        assert_eq!(names.all().len(), MAX_NAMES + 1);
        assert_eq!(*names.find("c", str::to_owned), OTHER);
        assert!(Arc::ptr_eq(&first, &names.find("a", str::to_owned)));
    }
}
