//! Error images, resized as requested and cached in memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::EncodedImage;
use crate::config::{Config, Handler};
use crate::edge::renderer::{RenderRequest, Renderer};
use crate::options::Options;
use crate::phases::Phases;
use crate::singleflight::SingleFlight;
use crate::sync::Mutex;
use crate::{key, wire};

/// Maximum bytes of resized error images; when they are exceeded, all of them are dropped.
const MAX_BYTES: usize = 16 << 20;
/// Maximum wait for a resized error image. A new renderer is ready within this time.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The error images of all handlers.
#[derive(Debug)]
pub struct ErrorImages {
    /// By route; those of handlers with one.
    originals: HashMap<String, Arc<EncodedImage>>,
    resized: Mutex<Resized>,
    /// By the renderer's request target.
    singleflight: SingleFlight<String, Option<Arc<EncodedImage>>>,
}

#[derive(Debug, Default)]
struct Resized {
    /// By the renderer's request target.
    images: HashMap<String, Arc<EncodedImage>>,
    bytes: usize,
}

impl ErrorImages {
    pub fn new(config: &Config) -> ErrorImages {
        let original = |handler: &Handler| {
            let image = handler.error_image.as_ref()?;
            let image = EncodedImage::new(image.bytes.to_vec(), image.format, None);
            Some((handler.route.clone(), Arc::new(image)))
        };
        ErrorImages {
            originals: config.handlers.iter().filter_map(original).collect(),
            resized: Mutex::default(),
            singleflight: SingleFlight::new(),
        }
    }

    /// Makes the error image of a handler with these options; `None` if the handler has none. If no renderer resizes it within [`TIMEOUT`], it is
    /// returned as it is, so that errors are reported even if rendering fails.
    pub fn make(
        &self,
        route: &str,
        options: &Options,
        renderer: &Renderer,
    ) -> Option<Arc<EncodedImage>> {
        let original = self.original(route)?;
        let target = render_target(route, options);
        // Singleflight, so that many failures at once don't fill the renderer's queue.
        let resized = self.singleflight.run(&target, TIMEOUT, None, || {
            // Another call may have ended between the lookup and this one.
            self.find_target(&target).or_else(|| {
                let request = RenderRequest::new(&target);
                let rendered = renderer.render_within(request, TIMEOUT, &mut Phases::default());
                let image = Arc::new(rendered.ok()?.image);
                self.insert(target.clone(), &image);
                Some(image)
            })
        });
        resized.flatten().or(Some(original))
    }

    /// The error image of a handler as it is in its file.
    pub fn original(&self, route: &str) -> Option<Arc<EncodedImage>> {
        self.originals.get(route).map(Arc::clone)
    }

    /// The error image of a handler with these options, if it is cached.
    pub fn find(&self, route: &str, options: &Options) -> Option<Arc<EncodedImage>> {
        self.find_target(&render_target(route, options))
    }

    fn find_target(&self, target: &str) -> Option<Arc<EncodedImage>> {
        self.resized.lock().images.get(target).map(Arc::clone)
    }

    fn insert(&self, target: String, image: &Arc<EncodedImage>) {
        let mut resized = self.resized.lock();
        if resized.bytes + image.bytes.len() > MAX_BYTES {
            *resized = Resized::default();
        }
        resized.bytes += image.bytes.len();
        if let Some(replaced) = resized.images.insert(target, Arc::clone(image)) {
            resized.bytes -= replaced.bytes.len();
        }
    }
}

/// The request target for the renderer.
fn render_target(route: &str, options: &Options) -> String {
    let path = key::to_path("-", route);
    format!(
        "{}{}?{}",
        wire::ERROR_IMAGE_PATH,
        path.trim_start_matches("/-/"),
        options.of_error_image().canonical()
    )
}
