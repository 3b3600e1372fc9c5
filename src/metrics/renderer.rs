//! The metrics of renderers: their restarts, and the work that they have done.

use super::family::{
    DECODE_DURATION, DECODED_PIXELS, ENCODE_DURATION, ENCODED_PIXELS, PERMIT_WAIT, QUEUE_WAIT,
    RENDERER_REQUESTS, RENDERER_RESTARTS,
};
use super::labels::{By, Restart};
use super::text::Writer;
use super::values::{Counter, Gauge, Histogram};
use crate::media_type::MediaType;
use crate::phases::{Phases, Side};

/// The types, and an unknown one.
const TYPES: usize = MediaType::ALL.len() + 1;

#[derive(Debug, Default)]
pub struct RendererMetrics {
    pub restarts: By<Restart, Counter>,
    /// Requests that a renderer works on.
    pub requests: Gauge,
    pub queue_wait: Histogram,
    permit_wait: Histogram,
    /// By the types of the original and of the result.
    renders: [[Renders; TYPES]; TYPES],
}

/// Renders from one type to another.
#[derive(Debug, Default)]
struct Renders {
    decode: Histogram,
    encode: Histogram,
    decoded_pixels: Counter,
    encoded_pixels: Counter,
}

impl RendererMetrics {
    /// Counts what a renderer has done for one request. A request that needed no render adds nothing.
    pub fn count_render(&self, phases: &Phases) {
        let index = |side: Option<Side>| {
            let index = side.and_then(|side| {
                MediaType::ALL.iter().position(|media_type| *media_type == side.media_type)
            });
            index.unwrap_or(MediaType::ALL.len())
        };
        let by_output = self.renders.get(index(phases.input));
        let renders = by_output.and_then(|renders| renders.get(index(phases.output)));
        let Some(renders) = renders.filter(|_| !phases.decode.is_zero()) else { return };
        self.permit_wait.observe(phases.permit);
        renders.decode.observe(phases.decode);
        if !phases.encode.is_zero() {
            renders.encode.observe(phases.encode);
        }
        renders.decoded_pixels.add(phases.input.map_or(0, |side| side.pixels));
        renders.encoded_pixels.add(phases.output.map_or(0, |side| side.pixels));
    }

    pub fn write(&self, writer: &mut Writer) {
        let mut samples = writer.family(RENDERER_RESTARTS);
        self.restarts.iter().for_each(|(name, counter)| samples.add(&[name], counter.get()));
        writer.family(RENDERER_REQUESTS).add(&[], self.requests.get());
        writer.family(QUEUE_WAIT).histogram(&[], &self.queue_wait);
        writer.family(PERMIT_WAIT).histogram(&[], &self.permit_wait);
        let name = |index: usize| MediaType::ALL.get(index).map_or("none", |known| known.name());
        let renders = || {
            let all = self.renders.iter().enumerate().flat_map(move |(input, by_output)| {
                let by_output = by_output.iter().enumerate();
                by_output.map(move |(output, renders)| ([name(input), name(output)], renders))
            });
            all.filter(|(_, renders)| !renders.decode.is_empty())
        };
        let mut samples = writer.family(DECODE_DURATION);
        renders().for_each(|(labels, renders)| samples.histogram(&labels, &renders.decode));
        let mut samples = writer.family(ENCODE_DURATION);
        renders().for_each(|(labels, renders)| samples.histogram(&labels, &renders.encode));
        let mut samples = writer.family(DECODED_PIXELS);
        renders().for_each(|(labels, renders)| samples.add(&labels, renders.decoded_pixels.get()));
        let mut samples = writer.family(ENCODED_PIXELS);
        renders().for_each(|(labels, renders)| samples.add(&labels, renders.encoded_pixels.get()));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::text::Exposition;
    use super::*;
    use crate::format::Format;

    fn text(metrics: &RendererMetrics) -> String {
        let mut writer = Writer::new(Exposition::OpenMetrics);
        metrics.write(&mut writer);
        writer.finish()
    }

    #[test]
    fn renders_are_counted_by_their_formats_as_far_as_they_got() {
        let metrics = RendererMetrics::default();
        let time = Duration::from_millis(30);
        let side = |format: Format, pixels| Some(Side { media_type: format.into(), pixels });
        let failed = Phases { decode: time, input: side(Format::Avif, 1000), ..Phases::default() };
        let complete = Phases {
            encode: time,
            input: side(Format::Jpeg, 4000),
            output: side(Format::Webp, 100),
            ..failed.clone()
        };
        metrics.count_render(&complete);
        metrics.count_render(&complete);
        metrics.count_render(&failed);
        metrics.count_render(&Phases::default());
        let text = text(&metrics);
        for line in [
            "decode_duration_seconds_count{input=\"jpg\",output=\"webp\"} 2",
            "encode_duration_seconds_count{input=\"jpg\",output=\"webp\"} 2",
            "decoded_pixels_total{input=\"jpg\",output=\"webp\"} 8000",
            "encoded_pixels_total{input=\"jpg\",output=\"webp\"} 200",
            "decode_duration_seconds_count{input=\"avif\",output=\"none\"} 1",
            "encode_duration_seconds_count{input=\"avif\",output=\"none\"} 0",
            "renderer_permit_wait_seconds_count 3",
        ] {
            let line = format!("s3imageserver_{line}");
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        assert_eq!(text.matches("decode_duration_seconds_count").count(), 2);
    }
}
