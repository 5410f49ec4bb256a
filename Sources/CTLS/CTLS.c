#include "CTLS.h"
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define FUNCTIONS(each)                                                                                                \
    each(gnutls_strerror) each(gnutls_init) each(gnutls_deinit) each(gnutls_priority_set_direct)                       \
    each(gnutls_credentials_set) each(gnutls_server_name_set) each(gnutls_certificate_server_set_request)              \
    each(gnutls_transport_set_ptr) each(gnutls_transport_set_push_function) each(gnutls_transport_set_pull_function)   \
    each(gnutls_transport_set_pull_timeout_function)                                                                   \
    each(gnutls_transport_set_errno) each(gnutls_handshake) each(gnutls_record_recv) each(gnutls_record_send)          \
    each(gnutls_error_is_fatal) each(gnutls_handshake_set_max_packet_length)                          \
    each(gnutls_certificate_allocate_credentials) each(gnutls_certificate_free_credentials)                            \
    each(gnutls_certificate_set_x509_trust_file) each(gnutls_certificate_set_x509_crl_file)                            \
    each(gnutls_certificate_set_x509_key_file2) each(gnutls_certificate_verify_peers3)                                 \
    each(gnutls_certificate_get_peers)                                                                                 \
    each(gnutls_psk_allocate_server_credentials) each(gnutls_psk_free_server_credentials)                              \
    each(gnutls_psk_set_server_credentials_file) each(gnutls_psk_allocate_client_credentials)                          \
    each(gnutls_psk_free_client_credentials) each(gnutls_psk_set_client_credentials)                                   \
    each(gnutls_psk_set_server_known_dh_params)                                                                        \
    each(gnutls_anon_allocate_server_credentials) each(gnutls_anon_free_server_credentials)                            \
    each(gnutls_anon_allocate_client_credentials) each(gnutls_anon_free_client_credentials)                            \
    each(gnutls_anon_set_server_known_dh_params) each(gnutls_certificate_set_known_dh_params)                          \
    each(gnutls_x509_crt_init) each(gnutls_x509_crt_import) each(gnutls_x509_crt_deinit) each(gnutls_x509_crt_get_dn)

// The library's functions, of the types that its header gives them.
static struct {
#define FIELD(name) __typeof__(&name) name;
    FUNCTIONS(FIELD)
} tls;
static int is_loaded;

const long nacre_tls_more = -1000000;

static void load(void) {
    // The name of what the header is of: another version has another one.
    void *library = dlopen("libgnutls.so.30", RTLD_NOW | RTLD_LOCAL);
    if (!library) return;
#define FIND(name) tls.name = (__typeof__(tls.name))dlsym(library, #name);
    FUNCTIONS(FIND)
#define HAS(name) &&tls.name
    is_loaded = 1 FUNCTIONS(HAS);
}

int nacre_tls_load(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    return is_loaded;
}

const char *nacre_tls_text(int code) { return tls.gnutls_strerror(code); }

// MARK: Credentials

struct nacre_tls_credentials {
    gnutls_credentials_type_t type;
    enum nacre_tls_side side;
    void *all;
};

void nacre_tls_forget(struct nacre_tls_credentials *credentials) {
    int is_server = credentials->side == nacre_tls_server;
    switch (credentials->type) {
    case GNUTLS_CRD_CERTIFICATE: tls.gnutls_certificate_free_credentials(credentials->all); break;
    case GNUTLS_CRD_PSK:
        if (is_server) tls.gnutls_psk_free_server_credentials(credentials->all);
        else tls.gnutls_psk_free_client_credentials(credentials->all);
        break;
    default:
        if (is_server) tls.gnutls_anon_free_server_credentials(credentials->all);
        else tls.gnutls_anon_free_client_credentials(credentials->all);
    }
    free(credentials);
}

// Wraps what the library made, or forgets it where `code` says that it came to nothing.
static int keep(struct nacre_tls_credentials **made, gnutls_credentials_type_t type, enum nacre_tls_side side,
                void *all, int code) {
    struct nacre_tls_credentials *credentials = malloc(sizeof *credentials);
    if (!credentials) abort();
    *credentials = (struct nacre_tls_credentials){type, side, all};
    if (code >= 0) {
        *made = credentials;
        return 0;
    }
    nacre_tls_forget(credentials);
    return code;
}

int nacre_tls_certificates(struct nacre_tls_credentials **made) {
    gnutls_certificate_credentials_t all;
    int code = tls.gnutls_certificate_allocate_credentials(&all);
    if (code < 0) return code;
    code = tls.gnutls_certificate_set_known_dh_params(all, GNUTLS_SEC_PARAM_MEDIUM);
    return keep(made, GNUTLS_CRD_CERTIFICATE, nacre_tls_server, all, code);
}

int nacre_tls_trust(struct nacre_tls_credentials *own, const char *authorities) {
    return tls.gnutls_certificate_set_x509_trust_file(own->all, authorities, GNUTLS_X509_FMT_PEM);
}

int nacre_tls_revoke(struct nacre_tls_credentials *own, const char *revoked) {
    return tls.gnutls_certificate_set_x509_crl_file(own->all, revoked, GNUTLS_X509_FMT_PEM);
}

int nacre_tls_identify(struct nacre_tls_credentials *own, const char *certificate, const char *key,
                       const char *password) {
    return tls.gnutls_certificate_set_x509_key_file2(own->all, certificate, key, GNUTLS_X509_FMT_PEM, password, 0);
}

int nacre_tls_server_keys(struct nacre_tls_credentials **made, const char *file) {
    gnutls_psk_server_credentials_t all;
    int code = tls.gnutls_psk_allocate_server_credentials(&all);
    if (code < 0) return code;
    code = tls.gnutls_psk_set_server_credentials_file(all, file);
    if (code >= 0) code = tls.gnutls_psk_set_server_known_dh_params(all, GNUTLS_SEC_PARAM_MEDIUM);
    return keep(made, GNUTLS_CRD_PSK, nacre_tls_server, all, code);
}

int nacre_tls_client_key(struct nacre_tls_credentials **made, const char *name, const char *digits, size_t count) {
    gnutls_psk_client_credentials_t all;
    int code = tls.gnutls_psk_allocate_client_credentials(&all);
    if (code < 0) return code;
    gnutls_datum_t key = {(unsigned char *)digits, (unsigned)count};
    code = tls.gnutls_psk_set_client_credentials(all, name, &key, GNUTLS_PSK_KEY_HEX);
    return keep(made, GNUTLS_CRD_PSK, nacre_tls_client, all, code);
}

int nacre_tls_anonymous(struct nacre_tls_credentials **made, enum nacre_tls_side side) {
    if (side == nacre_tls_client) {
        gnutls_anon_client_credentials_t all;
        int code = tls.gnutls_anon_allocate_client_credentials(&all);
        return code < 0 ? code : keep(made, GNUTLS_CRD_ANON, side, all, 0);
    }
    gnutls_anon_server_credentials_t all;
    int code = tls.gnutls_anon_allocate_server_credentials(&all);
    if (code < 0) return code;
    return keep(made, GNUTLS_CRD_ANON, side, all, tls.gnutls_anon_set_server_known_dh_params(all, GNUTLS_SEC_PARAM_MEDIUM));
}

// MARK: Sessions

struct nacre_tls_session {
    gnutls_session_t session;
    // What came in and the library has not taken, for the time of one call.
    const unsigned char *in;
    size_t in_count;
    // What is to go out: one buffer is filled while the other is sent.
    struct {
        unsigned char *bytes;
        size_t count, room;
    } out[2];
    int filled;
};

static ssize_t pull(gnutls_transport_ptr_t pointer, void *to, size_t room) {
    struct nacre_tls_session *own = pointer;
    if (!own->in_count) {
        tls.gnutls_transport_set_errno(own->session, EAGAIN);
        return -1;
    }
    size_t count = room < own->in_count ? room : own->in_count;
    memcpy(to, own->in, count);
    own->in += count;
    own->in_count -= count;
    return (ssize_t)count;
}

// Nobody waits here: what has come is there.
static int has_more(gnutls_transport_ptr_t pointer, unsigned ms) {
    (void)ms;
    return ((struct nacre_tls_session *)pointer)->in_count > 0;
}

static const size_t usual_room = 40 << 10;

static ssize_t push(gnutls_transport_ptr_t pointer, const void *bytes, size_t count) {
    struct nacre_tls_session *own = pointer;
    __typeof__(&own->out[0]) out = &own->out[own->filled];
    if (out->count + count > out->room) {
        // As much as is encrypted at a time fits at once; only a long chain of certificates does not.
        size_t room = out->count + count < usual_room ? usual_room : out->count + count;
        unsigned char *more = realloc(out->bytes, room);
        if (!more) abort();
        out->bytes = more;
        out->room = room;
    }
    memcpy(out->bytes + out->count, bytes, count);
    out->count += count;
    return (ssize_t)count;
}

// Whether it is a number, which has no place in what a client asks for by name.
static int is_address(const char *hostname) {
    unsigned char address[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, hostname, address) == 1 || inet_pton(AF_INET6, hostname, address) == 1;
}

int nacre_tls_begin(struct nacre_tls_session **made, struct nacre_tls_credentials *credentials,
                    enum nacre_tls_side side, const char *priority, int asks, const char *hostname) {
    struct nacre_tls_session *own = calloc(1, sizeof *own);
    if (!own) abort();
    int code = tls.gnutls_init(&own->session, (side == nacre_tls_server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NONBLOCK);
    if (code < 0) {
        free(own);
        return code;
    }
    code = tls.gnutls_priority_set_direct(own->session, priority, NULL);
    if (code >= 0) code = tls.gnutls_credentials_set(own->session, credentials->type, credentials->all);
    if (code >= 0 && hostname && !is_address(hostname))
        code = tls.gnutls_server_name_set(own->session, GNUTLS_NAME_DNS, hostname, strlen(hostname));
    if (code < 0) {
        nacre_tls_end(own);
        return code;
    }
    if (asks) tls.gnutls_certificate_server_set_request(own->session, GNUTLS_CERT_REQUEST);
    // As much as a chain of certificates may be; the library's own limit is twice this.
    tls.gnutls_handshake_set_max_packet_length(own->session, 64 << 10);
    tls.gnutls_transport_set_ptr(own->session, own);
    tls.gnutls_transport_set_pull_function(own->session, pull);
    tls.gnutls_transport_set_pull_timeout_function(own->session, has_more);
    tls.gnutls_transport_set_push_function(own->session, push);
    *made = own;
    return 0;
}

void nacre_tls_end(struct nacre_tls_session *own) {
    tls.gnutls_deinit(own->session);
    free(own->out[0].bytes);
    free(own->out[1].bytes);
    free(own);
}

int nacre_tls_shake_hands(struct nacre_tls_session *own, const void *in, size_t *count) {
    own->in = in;
    own->in_count = *count;
    int code;
    // A warning is no reason to stop; of those there are as many as came in.
    do code = tls.gnutls_handshake(own->session);
    while (code < 0 && code != GNUTLS_E_AGAIN && !tls.gnutls_error_is_fatal(code));
    *count = own->in_count;
    own->in = NULL;
    return code == GNUTLS_E_AGAIN ? 1 : code;
}

long nacre_tls_read(struct nacre_tls_session *own, const void *in, size_t *count, void *to, size_t room) {
    own->in = in;
    own->in_count = *count;
    ssize_t got;
    do got = tls.gnutls_record_recv(own->session, to, room);
    while (got < 0 && got != GNUTLS_E_AGAIN && got != GNUTLS_E_REHANDSHAKE && !tls.gnutls_error_is_fatal((int)got));
    *count = own->in_count;
    own->in = NULL;
    return got == GNUTLS_E_AGAIN ? nacre_tls_more : got;
}

int nacre_tls_write(struct nacre_tls_session *own, const void *bytes, size_t count) {
    const unsigned char *rest = bytes;
    while (count > 0) {
        ssize_t written = tls.gnutls_record_send(own->session, rest, count);
        if (written < 0) return (int)written;
        rest += written;
        count -= (size_t)written;
    }
    return 0;
}

const void *nacre_tls_take(struct nacre_tls_session *own, size_t *count) {
    own->out[!own->filled].count = 0;
    *count = own->out[own->filled].count;
    const void *bytes = own->out[own->filled].bytes;
    own->filled = !own->filled;
    return bytes;
}

int nacre_tls_verify(struct nacre_tls_session *own, const char *hostname) {
    unsigned status = 0;
    int code = tls.gnutls_certificate_verify_peers3(own->session, hostname, &status);
    if (code < 0) return code;
    int reasons = 0;
    if (status & GNUTLS_CERT_INVALID) reasons |= nacre_tls_invalid;
    if (status & GNUTLS_CERT_SIGNER_NOT_FOUND) reasons |= nacre_tls_unknown_authority;
    if (status & GNUTLS_CERT_REVOKED) reasons |= nacre_tls_revoked;
    if (status & GNUTLS_CERT_INSECURE_ALGORITHM) reasons |= nacre_tls_weak;
    if (status & GNUTLS_CERT_EXPIRED) reasons |= nacre_tls_expired;
    if (status & GNUTLS_CERT_NOT_ACTIVATED) reasons |= nacre_tls_not_yet;
    if (status & GNUTLS_CERT_UNEXPECTED_OWNER) reasons |= nacre_tls_other_host;
    // Whatever else there is against it.
    return status && !reasons ? nacre_tls_invalid : reasons;
}

size_t nacre_tls_name(struct nacre_tls_session *own, char *to, size_t room) {
    unsigned count = 0;
    const gnutls_datum_t *all = tls.gnutls_certificate_get_peers(own->session, &count);
    gnutls_x509_crt_t certificate;
    if (!all || !count || tls.gnutls_x509_crt_init(&certificate) < 0) return 0;
    size_t length = room;
    int code = tls.gnutls_x509_crt_import(certificate, &all[0], GNUTLS_X509_FMT_DER);
    if (code >= 0) code = tls.gnutls_x509_crt_get_dn(certificate, to, &length);
    tls.gnutls_x509_crt_deinit(certificate);
    return code < 0 ? 0 : strnlen(to, length);
}
