/* AV1 images with dav1d and libaom. Only the types below cross into Rust (src/render/codec/av1), which repeats
 * their layout; the structs of the two libraries stay in shim.c. */
#ifndef S3AV1_H
#define S3AV1_H

#include <stddef.h>
#include <stdint.h>

/* Status codes; 0 is success. */
enum {
    S3AV1_MEMORY = -1,   /* out of memory */
    S3AV1_SIZE = -2,     /* the frame has more pixels than allowed */
    S3AV1_STREAM = -3,   /* the stream is invalid or shows no frame */
    S3AV1_OPTION = -4,   /* libaom refuses an option or its value */
    S3AV1_ENCODER = -5,  /* libaom failed */
};

/* Subsampling of the chroma planes, numbered like enum Dav1dPixelLayout. */
enum { S3AV1_400 = 0, S3AV1_420 = 1, S3AV1_422 = 2, S3AV1_444 = 3 };

/* A decoded frame. Its samples take one byte at a depth of 8 and two (native order) at 10 and 12. */
struct s3av1_frame {
    void *owner; /* null once released */
    const void *plane[3];
    size_t stride[3]; /* bytes from one row to the next */
    uint32_t width, height; /* of plane 0 */
    int32_t depth, layout, primaries, transfer, matrix, full_range;
};

/* Decodes the first frame that the stream shows, with one thread: the highest layer of a layered stream (AV1 §7.18). On
 * success the caller owns the frame, which does not refer to the stream. */
int s3av1_decode(const uint8_t *stream, size_t length, uint32_t max_pixels, struct s3av1_frame *frame);
void s3av1_release(struct s3av1_frame *frame);

/* A decoder of frames that are predicted from those before them, with one thread. */
struct s3av1_decoder;
int s3av1_start(uint32_t max_pixels, struct s3av1_decoder **decoder);
/* Decodes a sample, which shows one frame; the caller owns it as above. The decoder may refer to the sample until it is
 * stopped. */
int s3av1_decode_next(struct s3av1_decoder *decoder, const uint8_t *sample, size_t length, struct s3av1_frame *frame);
void s3av1_stop(struct s3av1_decoder *decoder);

/* An image to encode: 8 bits per sample, full range, 4:0:0 (plane 0 only), 4:2:0 or 4:4:4. */
struct s3av1_image {
    const uint8_t *plane[3];
    int32_t stride[3];
    uint32_t width, height;
    int32_t layout, primaries, transfer, matrix;
};

/* Encodes one still image with one thread; options are libaom's, by name. Free the bytes with s3av1_free. */
int s3av1_encode(const struct s3av1_image *image, const char *const *names, const char *const *values, size_t options,
                 uint8_t **bytes, size_t *length);
void s3av1_free(uint8_t *bytes);

/* An encoder of frames that are predicted from those before them, with one thread. The frames have the size, layout and
 * colours of the image that it is opened with, whose samples are not read. */
struct s3av1_encoder;
int s3av1_open(const struct s3av1_image *image, const char *const *names, const char *const *values, size_t options,
               struct s3av1_encoder **encoder);
/* Encodes one frame. Free the bytes with s3av1_free. */
int s3av1_next(struct s3av1_encoder *encoder, const struct s3av1_image *image, uint8_t **bytes, size_t *length,
               int32_t *is_key);
void s3av1_close(struct s3av1_encoder *encoder);

#endif
