/* Used by bench/encoders: encodes images as JPEG XL with libjxl, one thread, and decodes them again.
 *
 * Reads requests from standard input, each `WIDTH HEIGHT BANDS EFFORT DISTANCE\n` and that many samples of 8 bits in
 * sRGB (BANDS 3, or 4 with straight alpha); DISTANCE 0 is lossless. Answers `BYTES CPU PEAK\n` and the decoded samples:
 * the length of the file, the CPU time of the encoder in milliseconds, and the most memory that it had allocated at
 * once, in bytes, without the samples. */
#include <jxl/decode.h>
#include <jxl/encode.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "jxl: failed: %s\n", #condition); \
            exit(1); \
        } \
    } while (0)

static size_t in_use, peak;

static void *count_alloc(void *opaque, size_t size) {
    (void)opaque;
    max_align_t *block = malloc(size + sizeof(max_align_t));
    if (!block) return NULL;
    *(size_t *)block = size;
    in_use += size;
    if (in_use > peak) peak = in_use;
    return block + 1;
}

static void count_free(void *opaque, void *address) {
    (void)opaque;
    if (!address) return;
    max_align_t *block = (max_align_t *)address - 1;
    in_use -= *(size_t *)block;
    free(block);
}

static unsigned char *encode(const unsigned char *samples, JxlBasicInfo info, JxlPixelFormat format, int effort,
                             float distance, size_t *length) {
    JxlMemoryManager memory = {NULL, count_alloc, count_free};
    JxlEncoder *encoder = JxlEncoderCreate(&memory);
    CHECK(encoder);
    info.uses_original_profile = distance == 0;
    CHECK(!JxlEncoderSetBasicInfo(encoder, &info));
    JxlColorEncoding srgb;
    JxlColorEncodingSetToSRGB(&srgb, 0);
    CHECK(!JxlEncoderSetColorEncoding(encoder, &srgb));
    JxlEncoderFrameSettings *settings = JxlEncoderFrameSettingsCreate(encoder, NULL);
    CHECK(!JxlEncoderFrameSettingsSetOption(settings, JXL_ENC_FRAME_SETTING_EFFORT, effort));
    if (distance == 0)
        CHECK(!JxlEncoderSetFrameLossless(settings, 1));
    else
        CHECK(!JxlEncoderSetFrameDistance(settings, distance));
    if (info.alpha_bits) CHECK(!JxlEncoderSetExtraChannelDistance(settings, 0, 0));
    size_t size = (size_t)info.xsize * info.ysize * format.num_channels;
    CHECK(!JxlEncoderAddImageFrame(settings, &format, samples, size));
    JxlEncoderCloseInput(encoder);

    size_t capacity = size + 4096, left;
    unsigned char *file = malloc(capacity), *next = file;
    JxlEncoderStatus status;
    CHECK(file);
    while (left = capacity - (size_t)(next - file), (status = JxlEncoderProcessOutput(encoder, &next, &left)) == JXL_ENC_NEED_MORE_OUTPUT) {
        size_t written = (size_t)(next - file);
        CHECK(file = realloc(file, capacity *= 2));
        next = file + written;
    }
    CHECK(status == JXL_ENC_SUCCESS);
    *length = (size_t)(next - file);
    JxlEncoderDestroy(encoder);
    return file;
}

static void decode(const unsigned char *file, size_t length, JxlPixelFormat format, unsigned char *samples, size_t size) {
    JxlDecoder *decoder = JxlDecoderCreate(NULL);
    CHECK(decoder);
    CHECK(!JxlDecoderSubscribeEvents(decoder, JXL_DEC_FULL_IMAGE | JXL_DEC_COLOR_ENCODING));
    CHECK(!JxlDecoderSetInput(decoder, file, length));
    JxlDecoderCloseInput(decoder);
    for (;;) {
        switch (JxlDecoderProcessInput(decoder)) {
        case JXL_DEC_COLOR_ENCODING: {
            JxlColorEncoding srgb;
            JxlColorEncodingSetToSRGB(&srgb, 0);
            CHECK(!JxlDecoderSetPreferredColorProfile(decoder, &srgb));
            break;
        }
        case JXL_DEC_NEED_IMAGE_OUT_BUFFER:
            CHECK(!JxlDecoderSetImageOutBuffer(decoder, &format, samples, size));
            break;
        case JXL_DEC_FULL_IMAGE: JxlDecoderDestroy(decoder); return;
        default: CHECK(!"the file can be decoded");
        }
    }
}

int main(void) {
    unsigned width, height, bands;
    int effort;
    float distance;
    while (scanf("%u %u %u %d %f", &width, &height, &bands, &effort, &distance) == 5) {
        CHECK(getchar() == '\n' && (bands == 3 || bands == 4));
        size_t size = (size_t)width * height * bands, length;
        unsigned char *samples = malloc(size);
        CHECK(samples && fread(samples, 1, size, stdin) == size);
        JxlBasicInfo info;
        JxlEncoderInitBasicInfo(&info);
        info.xsize = width;
        info.ysize = height;
        if (bands == 4) {
            info.num_extra_channels = 1;
            info.alpha_bits = 8;
        }
        JxlPixelFormat format = {bands, JXL_TYPE_UINT8, JXL_NATIVE_ENDIAN, 0};
        peak = in_use = 0;
        clock_t before = clock();
        unsigned char *file = encode(samples, info, format, effort, distance, &length);
        double cpu = (double)(clock() - before) * 1000 / CLOCKS_PER_SEC;
        decode(file, length, format, samples, size);
        printf("%zu %.3f %zu\n", length, cpu, peak);
        CHECK(fwrite(samples, 1, size, stdout) == size);
        fflush(stdout);
        free(samples);
        free(file);
    }
    return 0;
}
