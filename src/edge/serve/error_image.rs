//! The images for failures, resized to what was asked for and kept in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cache::EncodedImage;
use crate::config::Config;
use crate::edge::renderer::{RenderRequest, Renderer};
use crate::options::Options;
use crate::singleflight::SingleFlight;
use crate::wire;

/// How many bytes of resized error images are kept before all of them are dropped.
const MOST_BYTES: usize = 16 << 20;

/// A new renderer is ready within this; longer is not worth waiting for.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Every handler's error image.
#[derive(Debug)]
pub struct ErrorImages {
    originals: HashMap<String, Arc<EncodedImage>>,
    resized: Mutex<Resized>,
    /// What is being resized, by the same target.
    singleflight: SingleFlight<String, Option<Arc<EncodedImage>>>,
}

#[derive(Debug, Default)]
struct Resized {
    /// By the target that the renderer is asked with.
    images: HashMap<String, Arc<EncodedImage>>,
    bytes: usize,
}

impl ErrorImages {
    /// The error images as they are in their files.
    pub fn new(config: &Config) -> ErrorImages {
        let image = |handler: &crate::config::Handler| {
            let image = &handler.error_image;
            Arc::new(EncodedImage::new(image.bytes.to_vec(), image.format, None))
        };
        let originals =
            config.handlers.iter().map(|handler| (handler.route.clone(), image(handler))).collect();
        ErrorImages { originals, resized: Mutex::default(), singleflight: SingleFlight::new() }
    }

    /// The error image of a handler with these options. Where it is not in memory and no renderer answers soon,
    /// it is the file as it is: an error must be told even when nothing works any more.
    pub fn get(
        &self,
        route: &str,
        options: &Options,
        renderer: &Renderer,
    ) -> Option<Arc<EncodedImage>> {
        let target = target(route, options);
        if let Some(known) = self.find(&target) {
            return Some(known);
        }
        // A crowd of failures must not fill the queue that others wait in for their images.
        let resized = self.singleflight.get(&target, TIMEOUT, None, || {
            self.find(&target).or_else(|| {
                let image = Arc::new(
                    renderer.render_within(RenderRequest::new(&target), TIMEOUT).ok()?.image,
                );
                self.remember(target.clone(), &image);
                Some(image)
            })
        });
        resized.flatten().or_else(|| self.original(route))
    }

    /// The error image of a handler as it is in its file.
    pub fn original(&self, route: &str) -> Option<Arc<EncodedImage>> {
        self.originals.get(route).map(Arc::clone)
    }

    /// The error image of a handler with these options, if it is in memory.
    pub fn known(&self, route: &str, options: &Options) -> Option<Arc<EncodedImage>> {
        self.find(&target(route, options))
    }

    fn find(&self, target: &str) -> Option<Arc<EncodedImage>> {
        self.lock().images.get(target).map(Arc::clone)
    }

    fn remember(&self, target: String, image: &Arc<EncodedImage>) {
        let mut resized = self.lock();
        if resized.bytes + image.bytes.len() > MOST_BYTES {
            *resized = Resized::default();
        }
        resized.bytes += image.bytes.len();
        if let Some(replaced) = resized.images.insert(target, Arc::clone(image)) {
            resized.bytes -= replaced.bytes.len();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Resized> {
        self.resized.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the renderer is asked with.
fn target(route: &str, options: &Options) -> String {
    let path = crate::key::to_path("-", route);
    format!(
        "{}{}?{}",
        wire::ERROR_IMAGE_PATH,
        path.trim_start_matches("/-/"),
        options.of_error_image().canonical()
    )
}
