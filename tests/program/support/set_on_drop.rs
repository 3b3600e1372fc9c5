//! A flag that is set at the end of a block, also if the test fails: it stops the other threads of a scope.

use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Debug)]
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
