#include <zlib.h>
#include <libdeflate.h>
#include <zstd.h>
#include <isa-l/igzip_lib.h>

// ISA-L's stream is too large a structure for Swift to see into: here it is memory of a size.
static inline size_t nacre_igzip_bytes(void) { return sizeof(struct isal_zstream); }
static inline size_t nacre_igzip_level_bytes(void) { return ISAL_DEF_LVL1_DEFAULT; }

// Raw deflate in one call, level 1. The compressed length; 0 where it does not fit, or cannot be had.
static inline size_t nacre_igzip(void *memory, void *level, unsigned window_bits, const void *input, size_t count,
                                 void *output, size_t room) {
    struct isal_zstream *stream = (struct isal_zstream *)memory;
    isal_deflate_stateless_init(stream);
    stream->level = 1;
    stream->level_buf = (uint8_t *)level;
    stream->level_buf_size = ISAL_DEF_LVL1_DEFAULT;
    stream->hist_bits = (uint16_t)window_bits;
    stream->gzip_flag = IGZIP_DEFLATE;
    stream->end_of_stream = 1;
    stream->flush = NO_FLUSH;
    stream->next_in = (uint8_t *)input;
    stream->avail_in = (uint32_t)count;
    stream->next_out = (uint8_t *)output;
    stream->avail_out = (uint32_t)room;
    if (isal_deflate_stateless(stream) != COMP_OK || stream->avail_in != 0) return 0;
    return room - stream->avail_out;
}
