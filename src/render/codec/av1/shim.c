#include "shim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <aom/aom_encoder.h>
#include <aom/aomcx.h>
#include <dav1d/dav1d.h>

_Static_assert(S3AV1_400 == (int)DAV1D_PIXEL_LAYOUT_I400 && S3AV1_420 == (int)DAV1D_PIXEL_LAYOUT_I420 &&
                   S3AV1_422 == (int)DAV1D_PIXEL_LAYOUT_I422 && S3AV1_444 == (int)DAV1D_PIXEL_LAYOUT_I444,
               "the layouts are dav1d's");
/* src/render/codec/av1/ffi.rs asserts the same sizes. */
_Static_assert(sizeof(struct s3av1_frame) == 88 && sizeof(struct s3av1_image) == 64, "Rust repeats the layout");

/* The caller owns the stream. */
static void keep(const uint8_t *stream, void *cookie) {
    (void)stream;
    (void)cookie;
}

/* The first frame that the data shows. */
static int one_frame(Dav1dContext *decoder, const uint8_t *stream, size_t length, Dav1dPicture *picture) {
    Dav1dData data = {0};
    int status = dav1d_data_wrap(&data, stream, length, keep, NULL);
    if (status != 0) return status;
    /* A decoder that has decoded all data takes more at once, and stops at the first frame that it can show. */
    status = dav1d_send_data(decoder, &data);
    if (status == 0) status = dav1d_get_picture(decoder, picture);
    dav1d_data_unref(&data);
    return status;
}

static int decoder_error(int status) {
    switch (status) {
    case DAV1D_ERR(ENOMEM): return S3AV1_MEMORY;
    case DAV1D_ERR(ERANGE): return S3AV1_SIZE;
    default: return S3AV1_STREAM;
    }
}

static int start(uint32_t max_pixels, Dav1dContext **decoder) {
    Dav1dSettings settings;
    dav1d_default_settings(&settings);
    settings.n_threads = 1;
    settings.max_frame_delay = 1;
    settings.operating_point = 0;
    settings.all_layers = 0;
    settings.frame_size_limit = max_pixels;
    settings.logger.callback = NULL;
    return dav1d_open(decoder, &settings);
}

/* Gives the picture to the caller, or frees it after an error. */
static int finish(int status, Dav1dPicture *picture, struct s3av1_frame *frame) {
    if (status != 0) {
        free(picture);
        return decoder_error(status);
    }
    frame->owner = picture;
    frame->width = (uint32_t)picture->p.w;
    frame->height = (uint32_t)picture->p.h;
    frame->depth = picture->p.bpc;
    frame->layout = (int32_t)picture->p.layout;
    for (int i = 0; i < (picture->p.layout == DAV1D_PIXEL_LAYOUT_I400 ? 1 : 3); i++) {
        /* dav1d's default allocator uses positive strides. */
        frame->plane[i] = picture->data[i];
        frame->stride[i] = (size_t)picture->stride[i > 0];
    }
    frame->primaries = (int32_t)picture->seq_hdr->pri;
    frame->transfer = (int32_t)picture->seq_hdr->trc;
    frame->matrix = (int32_t)picture->seq_hdr->mtrx;
    frame->full_range = picture->seq_hdr->color_range;
    return 0;
}

int s3av1_decode(const uint8_t *stream, size_t length, uint32_t max_pixels, struct s3av1_frame *frame) {
    memset(frame, 0, sizeof *frame);
    Dav1dPicture *picture = calloc(1, sizeof *picture);
    if (!picture) return S3AV1_MEMORY;
    Dav1dContext *decoder = NULL;
    int status = start(max_pixels, &decoder);
    if (status == 0) {
        status = one_frame(decoder, stream, length, picture);
        /* The picture has its own references to everything that it points to. */
        dav1d_close(&decoder);
    }
    return finish(status, picture, frame);
}

struct s3av1_decoder {
    Dav1dContext *context;
};

int s3av1_start(uint32_t max_pixels, struct s3av1_decoder **decoder) {
    *decoder = NULL;
    struct s3av1_decoder *started = calloc(1, sizeof *started);
    if (!started) return S3AV1_MEMORY;
    int status = start(max_pixels, &started->context);
    if (status != 0) {
        free(started);
        return decoder_error(status);
    }
    *decoder = started;
    return 0;
}

int s3av1_decode_next(struct s3av1_decoder *decoder, const uint8_t *sample, size_t length, struct s3av1_frame *frame) {
    memset(frame, 0, sizeof *frame);
    Dav1dPicture *picture = calloc(1, sizeof *picture);
    if (!picture) return S3AV1_MEMORY;
    int status = one_frame(decoder->context, sample, length, picture);
    if (status == 0) {
        /* The rest of the sample is decoded, so that the decoder takes the next one. What it shows is left out. */
        Dav1dPicture other = {0};
        int rest;
        while ((rest = dav1d_get_picture(decoder->context, &other)) == 0) dav1d_picture_unref(&other);
        if (rest != DAV1D_ERR(EAGAIN)) {
            dav1d_picture_unref(picture);
            status = rest;
        }
    }
    return finish(status, picture, frame);
}

void s3av1_stop(struct s3av1_decoder *decoder) {
    dav1d_close(&decoder->context);
    free(decoder);
}

void s3av1_release(struct s3av1_frame *frame) {
    if (!frame->owner) return;
    dav1d_picture_unref(frame->owner);
    free(frame->owner);
    memset(frame, 0, sizeof *frame);
}

static int encoder_error(aom_codec_err_t status) {
    return status == AOM_CODEC_MEM_ERROR ? S3AV1_MEMORY : S3AV1_ENCODER;
}

static void describe(const struct s3av1_image *image, aom_image_t *described) {
    memset(described, 0, sizeof *described);
    int full = image->layout == S3AV1_444;
    described->fmt = full ? AOM_IMG_FMT_I444 : AOM_IMG_FMT_I420;
    described->monochrome = image->layout == S3AV1_400;
    described->w = described->d_w = image->width;
    described->h = described->d_h = image->height;
    described->bit_depth = 8;
    described->bps = full ? 24 : 12;
    described->x_chroma_shift = described->y_chroma_shift = full ? 0 : 1;
    described->range = AOM_CR_FULL_RANGE;
    described->cp = (aom_color_primaries_t)image->primaries;
    described->tc = (aom_transfer_characteristics_t)image->transfer;
    described->mc = (aom_matrix_coefficients_t)image->matrix;
    for (int i = 0; i < (image->layout == S3AV1_400 ? 1 : 3); i++) {
        described->planes[i] = (unsigned char *)image->plane[i]; /* libaom only reads it */
        described->stride[i] = image->stride[i];
    }
}

/* Passes the image, or null to flush, to the encoder and appends its output. */
static int step(aom_codec_ctx_t *encoder, const aom_image_t *image, int64_t number, uint8_t **bytes, size_t *length,
                int32_t *is_key) {
    aom_codec_err_t status = aom_codec_encode(encoder, image, number, 1, 0);
    if (status != AOM_CODEC_OK) return encoder_error(status);
    aom_codec_iter_t at = NULL;
    const aom_codec_cx_pkt_t *packet;
    while ((packet = aom_codec_get_cx_data(encoder, &at))) {
        if (packet->kind != AOM_CODEC_CX_FRAME_PKT || packet->data.frame.sz == 0) continue;
        uint8_t *more = realloc(*bytes, *length + packet->data.frame.sz);
        if (!more) return S3AV1_MEMORY;
        memcpy(more + *length, packet->data.frame.buf, packet->data.frame.sz);
        *bytes = more;
        *length += packet->data.frame.sz;
        *is_key = (packet->data.frame.flags & AOM_FRAME_IS_KEY) != 0;
    }
    return 0;
}

static int set_options(aom_codec_ctx_t *encoder, const struct s3av1_image *image, const char *const *names,
                       const char *const *values, size_t options) {
    if (aom_codec_control(encoder, AV1E_SET_COLOR_RANGE, 1) ||
        aom_codec_control(encoder, AV1E_SET_COLOR_PRIMARIES, image->primaries) ||
        aom_codec_control(encoder, AV1E_SET_TRANSFER_CHARACTERISTICS, image->transfer) ||
        aom_codec_control(encoder, AV1E_SET_MATRIX_COEFFICIENTS, image->matrix))
        return S3AV1_OPTION;
    for (size_t i = 0; i < options; i++)
        if (aom_codec_set_option(encoder, names[i], values[i]) != AOM_CODEC_OK) return S3AV1_OPTION;
    return 0;
}

/* What still images and frames have in common. */
static void configure(aom_codec_enc_cfg_t *config, const struct s3av1_image *image) {
    config->g_w = image->width;
    config->g_h = image->height;
    config->g_lag_in_frames = 0;
    config->g_threads = 1;
    config->g_profile = image->layout == S3AV1_444 ? 1 : 0; /* AV1 §A.2: profile 1 (High) has 4:4:4 */
    config->g_bit_depth = AOM_BITS_8;
    config->g_input_bit_depth = 8;
    config->monochrome = image->layout == S3AV1_400;
    config->rc_end_usage = AOM_Q;
    config->rc_min_quantizer = 0;
    config->rc_max_quantizer = 63;
}

/* Frees the output of a call that failed. */
static int ended(int status, uint8_t **bytes, size_t *length) {
    if (status == 0 && *length == 0) status = S3AV1_ENCODER;
    if (status != 0) {
        free(*bytes);
        *bytes = NULL;
        *length = 0;
    }
    return status;
}

int s3av1_encode(const struct s3av1_image *image, const char *const *names, const char *const *values, size_t options,
                 uint8_t **bytes, size_t *length) {
    *bytes = NULL;
    *length = 0;
    aom_codec_iface_t *av1 = aom_codec_av1_cx();
    aom_codec_enc_cfg_t config;
    aom_codec_err_t found = aom_codec_enc_config_default(av1, &config, AOM_USAGE_ALL_INTRA);
    if (found != AOM_CODEC_OK) return encoder_error(found);
    configure(&config, image);
    config.g_limit = 1; /* a still picture with the reduced header */
    config.kf_mode = AOM_KF_DISABLED;
    config.kf_max_dist = 0;

    aom_codec_ctx_t encoder;
    aom_codec_err_t opened = aom_codec_enc_init(&encoder, av1, &config, 0);
    if (opened != AOM_CODEC_OK) return encoder_error(opened);
    aom_image_t described;
    describe(image, &described);
    int32_t is_key;
    int status = set_options(&encoder, image, names, values, options);
    /* No frame is predicted from the reconstructed one, so loop filters are not needed. */
    if (status == 0 && aom_codec_control(&encoder, AV1E_SET_SKIP_POSTPROC_FILTERING, 1)) status = S3AV1_OPTION;
    if (status == 0) status = step(&encoder, &described, 0, bytes, length, &is_key);
    if (status == 0) status = step(&encoder, NULL, 0, bytes, length, &is_key);
    aom_codec_destroy(&encoder);
    return ended(status, bytes, length);
}

void s3av1_free(uint8_t *bytes) { free(bytes); }

struct s3av1_encoder {
    aom_codec_ctx_t context;
    int64_t number; /* of the next frame */
};

int s3av1_open(const struct s3av1_image *image, const char *const *names, const char *const *values, size_t options,
               struct s3av1_encoder **encoder) {
    *encoder = NULL;
    aom_codec_iface_t *av1 = aom_codec_av1_cx();
    aom_codec_enc_cfg_t config;
    /* Without lag there is one packet for each frame. */
    aom_codec_err_t found = aom_codec_enc_config_default(av1, &config, AOM_USAGE_REALTIME);
    if (found != AOM_CODEC_OK) return encoder_error(found);
    configure(&config, image);
    config.g_error_resilient = 0;

    struct s3av1_encoder *opened = calloc(1, sizeof *opened);
    if (!opened) return S3AV1_MEMORY;
    aom_codec_err_t status = aom_codec_enc_init(&opened->context, av1, &config, 0);
    if (status != AOM_CODEC_OK) {
        free(opened);
        return encoder_error(status);
    }
    int set = set_options(&opened->context, image, names, values, options);
    if (set != 0) {
        s3av1_close(opened);
        return set;
    }
    *encoder = opened;
    return 0;
}

int s3av1_next(struct s3av1_encoder *encoder, const struct s3av1_image *image, uint8_t **bytes, size_t *length,
               int32_t *is_key) {
    *bytes = NULL;
    *length = 0;
    *is_key = 0;
    aom_image_t described;
    describe(image, &described);
    return ended(step(&encoder->context, &described, encoder->number++, bytes, length, is_key), bytes, length);
}

void s3av1_close(struct s3av1_encoder *encoder) {
    aom_codec_destroy(&encoder->context);
    free(encoder);
}
