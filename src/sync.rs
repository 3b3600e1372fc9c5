//! Locks without poisoning. A panic under a lock costs the request that panicked and nothing else: no critical section
//! leaves a guarded value half updated.

use std::sync::{
    Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::time::Duration;

pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn read<T: ?Sized>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub fn write<T: ?Sized>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
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
            let _mutex = lock(&mutex);
            let _rwlock = write(&rwlock);
            panic!("under both locks");
        }));
        assert!(result.is_err() && mutex.is_poisoned() && rwlock.is_poisoned());
        *lock(&mutex) += 1;
        *write(&rwlock) += 1;
        assert_eq!(*lock(&mutex), 2);
        assert_eq!(*read(&rwlock), 2);
    }

    #[test]
    fn condvar_waits_end_with_the_condition_or_the_timeout() {
        let mutex = Mutex::new(false);
        let condvar = Condvar::new();
        let short = Duration::from_millis(1);
        assert!(!*wait_timeout_while(&condvar, lock(&mutex), short, |set| !*set));
        thread::scope(|scope| {
            scope.spawn(|| {
                *lock(&mutex) = true;
                condvar.notify_all();
            });
            assert!(*wait_while(&condvar, lock(&mutex), |set| !*set));
        });
    }
}
