//! Stops a render from another thread.
//!
//! libvips checks the kill flag of an image when pixels of it are requested. Functions that compute register their
//! image for that time, so that a [`Stop`] can set the flags. A decoder that decodes the whole image in one call
//! checks no flag until it is done.

use std::cell::RefCell;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use libvips::bindings as ffi;

use super::error::Error;
use super::image::Image;
use crate::sync::Mutex;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Shared>>> = const { RefCell::new(None) };
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    computed: Mutex<Vec<Target>>,
}

/// A render on this thread, until it is dropped.
#[derive(Debug)]
pub struct Work {
    shared: Arc<Shared>,
    /// Not `Send`: dropping it clears the work of the current thread.
    _not_send: std::marker::PhantomData<*const ()>,
}

/// Stops a render from any thread.
#[derive(Clone, Debug)]
pub struct Stop(Arc<Shared>);

/// A reference to an image that is being computed.
#[derive(Debug)]
struct Target(NonNull<ffi::VipsImage>);

// SAFETY: a GObject reference may be released by any thread, since the count is atomic. Otherwise only the kill flag is
// written, an int that other threads than the computing ones may set. No pixel, metadata or encoded byte is accessed.
unsafe impl Send for Target {}

impl Work {
    /// Starts a render: from now on, computations of this thread can be stopped.
    pub fn begin() -> Work {
        let shared = Arc::<Shared>::default();
        CURRENT.set(Some(Arc::clone(&shared)));
        Work { shared, _not_send: std::marker::PhantomData }
    }

    pub fn stop_handle(&self) -> Stop {
        Stop(Arc::clone(&self.shared))
    }

    pub fn was_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Acquire)
    }

    /// Whether the current render of this thread, if there is one, was stopped.
    pub fn is_stopped() -> bool {
        CURRENT.with_borrow(|shared| {
            shared.as_ref().is_some_and(|shared| shared.stopped.load(Ordering::Acquire))
        })
    }

    /// Fails if the current render of this thread was stopped: for loops over pixels outside of libvips.
    pub fn check() -> Result<(), Error> {
        if Work::is_stopped() { Err(Error("the render was stopped".into())) } else { Ok(()) }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

impl Stop {
    /// Stops the running computation and later ones. Must be called again until the render has ended: libvips clears
    /// the flag of an image when it starts to compute it.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Release);
        self.0.computed.lock().iter().for_each(Target::kill);
    }
}

impl Shared {}

impl Target {
    fn kill(&self) {
        // SAFETY: this value holds a reference to the image.
        unsafe { ffi::vips_image_set_kill(self.0.as_ptr(), 1) }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // SAFETY: this value owns the reference.
        unsafe { ffi::g_object_unref(self.0.as_ptr().cast()) }
    }
}

/// Registers an image while its pixels are computed.
#[derive(Debug)]
pub(super) struct Computing(Option<Arc<Shared>>);

impl Computing {
    /// Registers an image, if this thread has a render that can be stopped.
    pub fn of(image: &Image) -> Computing {
        let shared = CURRENT.with_borrow(Clone::clone);
        if let Some(shared) = &shared
            && let Some(raw) = NonNull::new(image.raw())
        {
            // SAFETY: a live image; the target owns the new reference.
            unsafe { ffi::g_object_ref(raw.as_ptr().cast()) };
            let target = Target(raw);
            if shared.stopped.load(Ordering::Acquire) {
                target.kill();
            }
            shared.computed.lock().push(target);
        }
        Computing(shared)
    }
}

impl Drop for Computing {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            // The last registered image ends first. It is released without the lock, for which others may wait.
            let target = shared.computed.lock().pop();
            drop(target);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Value;
    use super::super::testing::two_pixels;
    use super::*;
    use std::sync::mpsc::{TryRecvError, channel};
    use std::thread;
    use std::time::{Duration, Instant};

    /// An image whose pixels take half a minute to compute.
    fn slow<'b>() -> Image<'b> {
        let small = two_pixels().copy_memory().unwrap();
        let times = [(c"across", Value::Int(4000)), (c"down", Value::Int(8000))];
        let large = small.apply(c"replicate", &times).unwrap();
        large.apply(c"gaussblur", &[(c"sigma", Value::Double(40.0))]).unwrap()
    }

    #[test]
    fn a_render_that_is_not_stopped_completes() {
        let work = Work::begin();
        assert!(two_pixels().encode(".png").is_ok() && Work::check().is_ok());
        assert!(!work.was_stopped());
        assert!(work.shared.computed.lock().is_empty(), "no image stays registered");
    }

    #[test]
    fn another_thread_stops_a_slow_render() {
        let image = slow();
        let work = Work::begin();
        let stop = work.stop_handle();
        let begun = Instant::now();
        let (done, is_done) = channel::<()>();
        let stopping = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            while is_done.try_recv() == Err(TryRecvError::Empty) {
                stop.stop();
                thread::sleep(Duration::from_millis(5));
            }
        });
        let outcome = image.encode(".png");
        // Ends the other thread.
        drop(done);
        stopping.join().unwrap();
        assert!(outcome.is_err());
        assert!(work.was_stopped());
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        drop(work);
        // The next render of the same thread is not stopped.
        assert!(two_pixels().encode(".png").is_ok());
    }

    #[test]
    fn nothing_is_computed_after_a_stop() {
        let image = slow();
        let work = Work::begin();
        let stop = work.stop_handle();
        let begun = Instant::now();
        let (done, is_done) = channel::<()>();
        stop.stop();
        let stopping = thread::spawn(move || {
            while is_done.try_recv() == Err(TryRecvError::Empty) {
                stop.stop();
            }
        });
        assert!(Work::check().is_err());
        let outcome = image.copy_memory();
        drop(done);
        stopping.join().unwrap();
        assert!(outcome.is_err() && begun.elapsed() < Duration::from_secs(10));
    }
}
