/* JPEG XL with libjxl, encoder only. Only the struct below crosses into Rust (src/render/codec/jxl), which repeats its
 * layout; the types of libjxl stay in shim.c. */
#ifndef S3JXL_H
#define S3JXL_H

#include <stddef.h>
#include <stdint.h>

/* Status codes; 0 is success. */
enum {
    S3JXL_MEMORY = -1,  /* out of memory */
    S3JXL_PROFILE = -2, /* the colour profile is not one of these samples, or invalid */
    S3JXL_STOPPED = -3, /* is_stopped said so */
    S3JXL_ENCODER = -4, /* libjxl failed */
};

/* An image to encode: 8 bits per sample, row by row without padding. */
struct s3jxl_image {
    const uint8_t *samples;
    size_t length;
    const uint8_t *profile; /* an ICC profile, or null for sRGB */
    size_t profile_length;
    uint32_t width, height;
    uint32_t bands; /* 1: gray, 2: gray and alpha, 3: RGB, 4: RGB and alpha; alpha is not premultiplied */
    float distance; /* of Butteraugli; 0 is lossless */
};

/* Encodes one still image with one thread. is_stopped is called between parts of the work, with its argument; what it
 * returns other than 0 ends the work. Free the bytes with s3jxl_free. */
int s3jxl_encode(const struct s3jxl_image *image, int (*is_stopped)(void *), void *argument, uint8_t **bytes,
                 size_t *length);
void s3jxl_free(uint8_t *bytes);

#endif
