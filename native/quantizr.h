/* The part of the Rust crate quantizr's C interface (feature "capi", MIT licence) that libvips calls. */
#ifndef QUANTIZR_H
#define QUANTIZR_H

#include <stddef.h>
#include <stdint.h>

typedef enum QuantizrError {
	QUANTIZR_OK = 0,
	QUANTIZR_BUFFER_TOO_SMALL = 1,
	QUANTIZR_VALUE_OUT_OF_RANGE = 100
} QuantizrError;

typedef struct QuantizrOptions QuantizrOptions;
typedef struct QuantizrImage QuantizrImage;
typedef struct QuantizrResult QuantizrResult;

typedef struct QuantizrColor {
	uint8_t r, g, b, a;
} QuantizrColor;

typedef struct QuantizrPalette {
	uint32_t count;
	QuantizrColor entries[256];
} QuantizrPalette;

QuantizrOptions *quantizr_new_options(void);
QuantizrError quantizr_set_max_colors(QuantizrOptions *options, int32_t colors);
void quantizr_free_options(QuantizrOptions *options);

QuantizrImage *quantizr_create_image_rgba(const uint8_t *data, int32_t width, int32_t height);
void quantizr_free_image(QuantizrImage *image);

QuantizrResult *quantizr_quantize(const QuantizrImage *image, const QuantizrOptions *options);
QuantizrError quantizr_set_dithering_level(QuantizrResult *result, float level);
const QuantizrPalette *quantizr_get_palette(const QuantizrResult *result);
QuantizrError quantizr_remap(const QuantizrResult *result, const QuantizrImage *image, uint8_t *buffer,
	size_t buffer_size);
void quantizr_free_result(QuantizrResult *result);

#endif
