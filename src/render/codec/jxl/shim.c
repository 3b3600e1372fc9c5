#include "shim.h"

#include <stdlib.h>

#include <jxl/encode.h>

/* src/render/codec/jxl/ffi.rs asserts the same size. */
_Static_assert(sizeof(struct s3jxl_image) == 48, "Rust repeats the layout");

struct stop {
    int (*is_stopped)(void *);
    void *argument;
    int was_stopped;
};

/* Does the work of libjxl on this thread, part by part. */
static JxlParallelRetCode run(void *opaque, void *work, JxlParallelRunInit init, JxlParallelRunFunction part,
                              uint32_t start, uint32_t end) {
    struct stop *stop = opaque;
    JxlParallelRetCode status = init(work, 1);
    for (uint32_t number = start; status == JXL_PARALLEL_RET_SUCCESS && number < end; number++) {
        if (stop->was_stopped || stop->is_stopped(stop->argument)) {
            stop->was_stopped = 1;
            return JXL_PARALLEL_RET_RUNNER_ERROR;
        }
        part(work, number, 0);
    }
    return status;
}

static int error_of(const JxlEncoder *encoder) {
    return JxlEncoderGetError((JxlEncoder *)encoder) == JXL_ENC_ERR_OOM ? S3JXL_MEMORY : S3JXL_ENCODER;
}

/* Describes the image to the encoder and hands its samples over, which are copied. */
static int set_image(JxlEncoder *encoder, const struct s3jxl_image *image) {
    int is_gray = image->bands < 3;
    int has_alpha = image->bands % 2 == 0;
    JxlBasicInfo info;
    JxlEncoderInitBasicInfo(&info);
    info.xsize = image->width;
    info.ysize = image->height;
    info.bits_per_sample = 8;
    info.num_color_channels = is_gray ? 1 : 3;
    info.num_extra_channels = has_alpha ? 1 : 0;
    info.alpha_bits = has_alpha ? 8 : 0;
    info.uses_original_profile = image->distance == 0; /* otherwise XYB */
    if (JxlEncoderSetBasicInfo(encoder, &info)) return error_of(encoder);

    if (image->profile) {
        if (JxlEncoderSetICCProfile(encoder, image->profile, image->profile_length)) return S3JXL_PROFILE;
    } else {
        JxlColorEncoding srgb;
        JxlColorEncodingSetToSRGB(&srgb, is_gray);
        if (JxlEncoderSetColorEncoding(encoder, &srgb)) return error_of(encoder);
    }

    JxlEncoderFrameSettings *settings = JxlEncoderFrameSettingsCreate(encoder, NULL);
    if (!settings) return S3JXL_MEMORY;
    if (image->distance == 0 ? JxlEncoderSetFrameLossless(settings, 1)
                             : JxlEncoderSetFrameDistance(settings, image->distance))
        return error_of(encoder);
    /* Edges of alpha show every loss. */
    if (has_alpha && JxlEncoderSetExtraChannelDistance(settings, 0, 0)) return error_of(encoder);
    JxlPixelFormat format = {image->bands, JXL_TYPE_UINT8, JXL_NATIVE_ENDIAN, 0};
    if (JxlEncoderAddImageFrame(settings, &format, image->samples, image->length)) return error_of(encoder);
    JxlEncoderCloseInput(encoder);
    return 0;
}

/* Encodes what the encoder has got. */
static int get_output(JxlEncoder *encoder, uint8_t **bytes, size_t *length) {
    for (size_t capacity = 1 << 15;; capacity *= 2) {
        uint8_t *more = realloc(*bytes, capacity);
        if (!more) return S3JXL_MEMORY;
        *bytes = more;
        uint8_t *next = more + *length;
        size_t left = capacity - *length;
        JxlEncoderStatus status = JxlEncoderProcessOutput(encoder, &next, &left);
        *length = (size_t)(next - more);
        if (status == JXL_ENC_SUCCESS) return *length > 0 ? 0 : S3JXL_ENCODER;
        if (status != JXL_ENC_NEED_MORE_OUTPUT) return error_of(encoder);
        if (capacity > SIZE_MAX / 2) return S3JXL_MEMORY;
    }
}

int s3jxl_encode(const struct s3jxl_image *image, int (*is_stopped)(void *), void *argument, uint8_t **bytes,
                 size_t *length) {
    *bytes = NULL;
    *length = 0;
    JxlEncoder *encoder = JxlEncoderCreate(NULL);
    if (!encoder) return S3JXL_MEMORY;
    struct stop stop = {is_stopped, argument, 0};
    int status = JxlEncoderSetParallelRunner(encoder, run, &stop) ? error_of(encoder) : 0;
    if (status == 0) status = set_image(encoder, image);
    if (status == 0) status = get_output(encoder, bytes, length);
    JxlEncoderDestroy(encoder);
    if (stop.was_stopped) status = S3JXL_STOPPED;
    if (status != 0) {
        free(*bytes);
        *bytes = NULL;
        *length = 0;
    }
    return status;
}

void s3jxl_free(uint8_t *bytes) { free(bytes); }
