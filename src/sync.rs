//! Locks without poisoning. A panic under a lock costs the request that panicked and nothing else: no critical section
//! leaves a guarded value half updated.

use std::sync::{self, Condvar, MutexGuard, PoisonError, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

#[derive(Debug, Default)]
pub struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Mutex<T> {
        Mutex(sync::Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
pub struct RwLock<T>(sync::RwLock<T>);

impl<T> RwLock<T> {
    pub const fn new(value: T) -> RwLock<T> {
        RwLock(sync::RwLock::new(value))
    }

    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

pub fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Returns after a notification, after the timeout, or spuriously.
pub fn wait_timeout<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    timeout: Duration,
) -> MutexGuard<'a, T> {
    condvar.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner).0
}

pub fn wait_while<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    condition: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    condvar.wait_while(guard, condition).unwrap_or_else(PoisonError::into_inner)
}

/// Waits while the condition holds. The guard is returned in either case; the condition tells which one it was.
pub fn wait_timeout_while<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    timeout: Duration,
    condition: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    condvar.wait_timeout_while(guard, timeout, condition).unwrap_or_else(PoisonError::into_inner).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;

    #[test]
    fn a_panic_under_a_lock_does_not_poison_it() {
        let mutex = Mutex::new(1);
        let rwlock = RwLock::new(1);
        let result = catch_unwind(AssertUnwindSafe(|| {
            let _mutex = mutex.lock();
            let _rwlock = rwlock.write();
            panic!("under both locks");
        }));
        assert!(result.is_err() && mutex.0.is_poisoned() && rwlock.0.is_poisoned());
        *mutex.lock() += 1;
        *rwlock.write() += 1;
        assert_eq!(*mutex.lock(), 2);
        assert_eq!(*rwlock.read(), 2);
    }

    #[test]
    fn condvar_waits_end_with_the_condition_or_the_timeout() {
        let mutex = Mutex::new(false);
        let condvar = Condvar::new();
        let short = Duration::from_millis(1);
        assert!(!*wait_timeout_while(&condvar, mutex.lock(), short, |set| !*set));
        thread::scope(|scope| {
            scope.spawn(|| {
                *mutex.lock() = true;
                condvar.notify_all();
            });
            assert!(*wait_while(&condvar, mutex.lock(), |set| !*set));
        });
    }
}
