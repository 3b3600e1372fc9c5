//! Stops the work on an image from another thread.
//!
//! libvips looks at an image's kill flag each time that pixels of it are asked for. What a thread computes is noted
//! while it does, by the functions that compute, so that whoever holds a [`Stop`] can set the flags. A decoder that
//! makes the whole image in one go does not look at any flag before it is done.

use std::cell::RefCell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libvips::bindings as ffi;

use super::image::Image;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Shared>>> = const { RefCell::new(None) };
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    computed: Mutex<Vec<Target>>,
}

/// The work of this thread on one image, until it is dropped.
#[derive(Debug)]
pub struct Work {
    shared: Arc<Shared>,
    /// Dropping it elsewhere would end another thread's work.
    _stays: std::marker::PhantomData<*const ()>,
}

/// End a piece of work.
#[derive(Clone, Debug)]
pub struct Stop(Arc<Shared>);

/// A reference of its own to an image that is being computed.
#[derive(Debug)]
struct Target(NonNull<ffi::VipsImage>);

// SAFETY: a reference to a GObject may be given back by any thread, the count is atomic. Besides that only the kill
// flag is written, an int of its own that libvips has for exactly this: to be set by other threads than those that
// compute the image. No pixel, no metadata and no encoded byte is touched through it.
unsafe impl Send for Target {}

impl Work {
    /// Start. All that this thread computes from now on can be stopped.
    pub fn begin() -> Work {
        let shared = Arc::<Shared>::default();
        CURRENT.set(Some(Arc::clone(&shared)));
        Work { shared, _stays: std::marker::PhantomData }
    }

    /// What stops it, from any thread.
    pub fn stop(&self) -> Stop {
        Stop(Arc::clone(&self.shared))
    }

    /// Whether it was stopped.
    pub fn was_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Acquire)
    }
}

impl Work {
    /// Whether the work of this thread, if it does some that can be stopped, was stopped.
    pub fn is_stopped() -> bool {
        CURRENT.with_borrow(|shared| {
            shared.as_ref().is_some_and(|shared| shared.stopped.load(Ordering::Acquire))
        })
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

impl Stop {
    /// Stops what is being computed and what will be. It is to be called again until the work has ended: libvips
    /// clears the flag of an image when it begins with it.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Release);
        self.0.lock().iter().for_each(Target::kill);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Target>> {
        self.computed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target {
    fn kill(&self) {
        // SAFETY: a live image, of which this value holds a reference.
        unsafe { ffi::vips_image_set_kill(self.0.as_ptr(), 1) }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // SAFETY: this is the one reference that this value owns.
        unsafe { ffi::g_object_unref(self.0.as_ptr().cast()) }
    }
}

/// Held while the pixels of an image are computed.
#[derive(Debug)]
pub(super) struct Computing(Option<Arc<Shared>>);

impl Computing {
    /// Notes an image, if this thread does some work that can be stopped.
    pub fn of(image: &Image) -> Computing {
        let shared = CURRENT.with_borrow(Clone::clone);
        if let Some(shared) = &shared
            && let Some(raw) = NonNull::new(image.raw())
        {
            // SAFETY: a live image; the reference that is taken is the target's own.
            unsafe { ffi::g_object_ref(raw.as_ptr().cast()) };
            let target = Target(raw);
            if shared.stopped.load(Ordering::Acquire) {
                target.kill();
            }
            shared.lock().push(target);
        }
        Computing(shared)
    }
}

impl Drop for Computing {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            // What was noted last ends first. Given back here and not under the lock, in which others would wait.
            let target = shared.lock().pop();
            drop(target);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::GIF;
    use super::super::{Value, Vips};
    use super::*;
    use std::sync::mpsc::{TryRecvError, channel};
    use std::thread;
    use std::time::{Duration, Instant};

    fn gif<'b>() -> Image<'b> {
        Vips::start().unwrap().load(GIF, c"gifload_buffer", &[]).unwrap()
    }

    /// An image whose pixels take half a minute.
    fn slow<'b>() -> Image<'b> {
        let small = gif().copy_memory().unwrap();
        let times = [(c"across", Value::Int(4000)), (c"down", Value::Int(8000))];
        let large = small.apply(c"replicate", &times).unwrap();
        large.apply(c"gaussblur", &[(c"sigma", Value::Double(40.0))]).unwrap()
    }

    #[test]
    fn work_that_is_not_stopped_is_done() {
        let work = Work::begin();
        assert!(gif().encode(".png").is_ok());
        assert!(!work.was_stopped());
        assert!(work.shared.lock().is_empty(), "nothing is kept");
    }

    #[test]
    fn another_thread_stops_what_takes_too_long() {
        let (image, work) = (slow(), Work::begin());
        let (stop, begun) = (work.stop(), Instant::now());
        let (done, is_done) = channel::<()>();
        let stopping = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            while is_done.try_recv() == Err(TryRecvError::Empty) {
                stop.stop();
                thread::sleep(Duration::from_millis(5));
            }
        });
        let outcome = image.encode(".png");
        // End the other thread whatever came of it.
        drop(done);
        stopping.join().unwrap();
        assert!(outcome.is_err());
        assert!(work.was_stopped());
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        drop(work);
        // The next image of the same thread is another piece of work.
        assert!(gif().encode(".png").is_ok());
    }

    #[test]
    fn nothing_is_begun_after_a_stop() {
        let (image, work) = (slow(), Work::begin());
        let (stop, begun) = (work.stop(), Instant::now());
        let (done, is_done) = channel::<()>();
        stop.stop();
        let stopping = thread::spawn(move || {
            while is_done.try_recv() == Err(TryRecvError::Empty) {
                stop.stop();
            }
        });
        let outcome = image.copy_memory();
        drop(done);
        stopping.join().unwrap();
        assert!(outcome.is_err() && begun.elapsed() < Duration::from_secs(10));
    }
}
