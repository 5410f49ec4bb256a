// Checksums and hashes of libraries, as Swift calls them.
#ifndef NACRE_DIGESTS_H
#define NACRE_DIGESTS_H
#include <isa-l/crc.h>
#include <stddef.h>

enum nacre_hash { nacre_md5, nacre_sha1, nacre_sha256 };

// Bytes of the longest digest.
#define NACRE_LONGEST_DIGEST 64

// A hash in the making; null where OpenSSL's library is not there or refuses the hash (MD5 under FIPS rules). The library is
// loaded at the first of these calls: most programs never hash, and loading it is a third of their start.
struct nacre_hashing;
struct nacre_hashing *nacre_hash_begin(enum nacre_hash hash);

// 1, or 0 where the library fails.
int nacre_hash_add(struct nacre_hashing *hashing, const void *p, size_t n);

// The digest's bytes; 0 where the library fails. `digest` has room for NACRE_LONGEST_DIGEST.
size_t nacre_hash_finish(struct nacre_hashing *hashing, unsigned char *digest);

void nacre_hash_free(struct nacre_hashing *hashing);

// 0 with unpredictable bytes of the kernel's generator, or -1. At most 256, which are never cut short (getrandom(2)).
int nacre_random_bytes(void *p, size_t n);
#endif
