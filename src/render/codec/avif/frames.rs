//! The frames of an image sequence.

use std::fmt;

use super::sample_table::Place;

/// Where the frames of an image sequence are, and how they are shown.
pub struct Frames<'b> {
    file: &'b [u8],
    colour: Vec<Place>,
    /// As many, or none.
    alpha: Vec<Place>,
    /// The time of each frame in milliseconds.
    pub delays: Vec<u32>,
    /// How often the animation is shown; 0 is for ever.
    pub plays: u32,
}

/// The bytes of a frame and those of its alpha; `None` if the file ends before they do.
pub type Samples<'b> = (Option<&'b [u8]>, Option<&'b [u8]>);

impl Place {
    pub fn slice(self, file: &[u8]) -> Option<&[u8]> {
        file.get(usize::try_from(self.offset).ok()?..)?.get(..usize::try_from(self.size).ok()?)
    }
}

impl<'b> Frames<'b> {
    pub fn new(
        file: &'b [u8],
        colour: Vec<Place>,
        alpha: Vec<Place>,
        delays: Vec<u32>,
        plays: u32,
    ) -> Frames<'b> {
        Frames { file, colour, alpha, delays, plays }
    }

    /// The number of frames, which is not 0.
    pub fn count(&self) -> u32 {
        u32::try_from(self.colour.len()).unwrap_or(u32::MAX)
    }

    /// The time of all frames in milliseconds.
    pub fn duration(&self) -> u64 {
        self.delays.iter().copied().map(u64::from).sum()
    }

    /// The number of the first frame that is not all in the file.
    pub fn first_missing(&self) -> Option<u32> {
        let missing =
            |places: &[Place]| places.iter().position(|place| place.slice(self.file).is_none());
        let first = [missing(&self.colour), missing(&self.alpha)].into_iter().flatten().min();
        first.and_then(|number| u32::try_from(number).ok())
    }

    /// The data of a frame.
    pub fn samples(&self, number: usize) -> Samples<'b> {
        let sample = |places: &[Place]| places.get(number).and_then(|place| place.slice(self.file));
        (sample(&self.colour), sample(&self.alpha))
    }
}

impl fmt::Debug for Frames<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} frames", self.count())
    }
}
