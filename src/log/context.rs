//! The request that a thread works on. Its ids are part of every line that the thread logs meanwhile, so that no
//! function has to pass them on.

use std::cell::RefCell;
use std::marker::PhantomData;

use super::request_id::RequestId;
use super::trace_context::TraceContext;

/// What identifies a request in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestIds {
    pub id: RequestId,
    /// Of a trusted proxy.
    pub trace: Option<TraceContext>,
}

impl RequestIds {
    /// A new id, and no trace.
    pub fn random() -> RequestIds {
        RequestIds { id: RequestId::random(), trace: None }
    }
}

thread_local! {
    static CURRENT: RefCell<Option<RequestIds>> = const { RefCell::new(None) };
}

/// Held while a thread works on a request.
#[derive(Debug)]
#[must_use = "the request ends when this is dropped"]
pub struct Scope(
    /// It ends on the thread on which it began.
    PhantomData<*const ()>,
);

/// Lines that this thread logs are about this request until the result is dropped.
pub fn enter(ids: RequestIds) -> Scope {
    CURRENT.set(Some(ids));
    Scope(PhantomData)
}

impl Drop for Scope {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

/// The request of this thread, for another thread that works on it.
pub fn current() -> Option<RequestIds> {
    CURRENT.with_borrow(Clone::clone)
}

/// Calls `work` if this thread works on a request.
pub fn with(work: impl FnOnce(&RequestIds)) {
    CURRENT.with_borrow(|current| current.as_ref().map(work));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_with_its_scope_and_belongs_to_one_thread() {
        let ids = RequestIds::random();
        assert_eq!(current(), None);
        {
            let _scope = enter(ids.clone());
            assert_eq!(current(), Some(ids));
            assert_eq!(std::thread::spawn(current).join().unwrap(), None);
        }
        assert_eq!(current(), None);
    }
}
