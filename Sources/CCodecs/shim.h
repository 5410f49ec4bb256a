#include <zlib.h>
#include <libdeflate.h>
#include <zstd.h>
