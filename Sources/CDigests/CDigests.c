#include "CDigests.h"
#include <dlfcn.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <sys/random.h>

_Static_assert(NACRE_LONGEST_DIGEST >= EVP_MAX_MD_SIZE, "room for every digest");

// The library's functions, of the types that its header gives them.
static struct {
    __typeof__(&EVP_MD_CTX_new) make;
    __typeof__(&EVP_MD_CTX_free) free;
    __typeof__(&EVP_DigestInit_ex) begin;
    __typeof__(&EVP_DigestUpdate) add;
    __typeof__(&EVP_DigestFinal_ex) finish;
    __typeof__(&EVP_md5) hashes[3];
} evp;
static int is_loaded;

static void load(void) {
    // The name of what the header is of: another version has another one.
    void *library = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);
    if (!library) return;
    evp.make = (__typeof__(evp.make))dlsym(library, "EVP_MD_CTX_new");
    evp.free = (__typeof__(evp.free))dlsym(library, "EVP_MD_CTX_free");
    evp.begin = (__typeof__(evp.begin))dlsym(library, "EVP_DigestInit_ex");
    evp.add = (__typeof__(evp.add))dlsym(library, "EVP_DigestUpdate");
    evp.finish = (__typeof__(evp.finish))dlsym(library, "EVP_DigestFinal_ex");
    evp.hashes[nacre_md5] = (__typeof__(evp.hashes[0]))dlsym(library, "EVP_md5");
    evp.hashes[nacre_sha1] = (__typeof__(evp.hashes[0]))dlsym(library, "EVP_sha1");
    evp.hashes[nacre_sha256] = (__typeof__(evp.hashes[0]))dlsym(library, "EVP_sha256");
    is_loaded = evp.make && evp.free && evp.begin && evp.add && evp.finish && evp.hashes[nacre_md5] &&
                evp.hashes[nacre_sha1] && evp.hashes[nacre_sha256];
}

struct nacre_hashing *nacre_hash_begin(enum nacre_hash hash) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    if (!is_loaded) return NULL;
    EVP_MD_CTX *context = evp.make();
    if (!context) return NULL;
    if (evp.begin(context, evp.hashes[hash](), NULL) == 1) return (struct nacre_hashing *)context;
    evp.free(context);
    return NULL;
}

int nacre_hash_add(struct nacre_hashing *hashing, const void *p, size_t n) {
    return evp.add((EVP_MD_CTX *)hashing, p, n) == 1;
}

size_t nacre_hash_finish(struct nacre_hashing *hashing, unsigned char *digest) {
    unsigned count = 0;
    return evp.finish((EVP_MD_CTX *)hashing, digest, &count) == 1 ? count : 0;
}

void nacre_hash_free(struct nacre_hashing *hashing) { evp.free((EVP_MD_CTX *)hashing); }

int nacre_random_bytes(void *p, size_t n) { return n <= 256 && getrandom(p, n, 0) == (ssize_t)n ? 0 : -1; }
