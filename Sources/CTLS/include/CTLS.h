#pragma once
#include <stddef.h>

// GnuTLS, loaded where TLS is used first, behind what Swift needs of it: credentials, and sessions that read and write
// memory. Functions answer 0 or a negative code of the library; `nacre_tls_text` says what that means.

struct nacre_tls_credentials;
struct nacre_tls_session;

enum nacre_tls_side { nacre_tls_client, nacre_tls_server };

// Whether the library could be loaded.
int nacre_tls_load(void);
const char *nacre_tls_text(int code);

// MARK: Credentials

// Certificates, of which there are none yet.
int nacre_tls_certificates(struct nacre_tls_credentials **made);
// Adds from files: the authorities that are trusted, what they have revoked, and one's own certificate with its key and the key's
// password (or NULL).
int nacre_tls_trust(struct nacre_tls_credentials *credentials, const char *authorities);
int nacre_tls_revoke(struct nacre_tls_credentials *credentials, const char *revoked);
int nacre_tls_identify(struct nacre_tls_credentials *credentials, const char *certificate, const char *key,
                       const char *password);
// A server's pre-shared keys: a file with a line `NAME:HEXADECIMAL` each.
int nacre_tls_server_keys(struct nacre_tls_credentials **made, const char *file);
// A client's pre-shared key, in hexadecimal digits.
int nacre_tls_client_key(struct nacre_tls_credentials **made, const char *name, const char *digits, size_t count);
// None: the connection is private, and nobody knows with whom.
int nacre_tls_anonymous(struct nacre_tls_credentials **made, enum nacre_tls_side side);
void nacre_tls_forget(struct nacre_tls_credentials *credentials);

// MARK: Sessions

// `priority`: in the library's words, which protocols and ciphers may be used. `asks`: whether a server wants the client's
// certificate. `hostname`: what a client tells the server that it looks for, or NULL; a number is told to nobody (RFC 6066, section 3).
int nacre_tls_begin(struct nacre_tls_session **made, struct nacre_tls_credentials *credentials,
                    enum nacre_tls_side side, const char *priority, int asks, const char *hostname);
void nacre_tls_end(struct nacre_tls_session *session);

// Each takes of the `*count` bytes that came in as many as it needs, and sets `*count` to how many are left behind them. 1: more must
// come in before it goes on.
int nacre_tls_shake_hands(struct nacre_tls_session *session, const void *in, size_t *count);
// Bytes that were read, 0 at the end of the stream, or a code; `nacre_tls_more` where more must come in.
long nacre_tls_read(struct nacre_tls_session *session, const void *in, size_t *count, void *to, size_t room);
extern const long nacre_tls_more;
// What is to go out afterwards lies in memory until it is taken: the bytes, and a few dozen for each 16 KiB of them.
int nacre_tls_write(struct nacre_tls_session *session, const void *bytes, size_t count);

// What is to go out, and its length; it stays where it is until the next call of this, which alone forgets it.
const void *nacre_tls_take(struct nacre_tls_session *session, size_t *count);

// After the handshake: whether the other end's certificate is to be trusted and, where `hostname` is not NULL, is that host's. A
// code where it could not be seen; else a combination of the reasons against it, 0 for none.
enum {
    nacre_tls_invalid = 1,
    nacre_tls_unknown_authority = 2,
    nacre_tls_revoked = 4,
    nacre_tls_weak = 8,
    nacre_tls_expired = 16,
    nacre_tls_not_yet = 32,
    nacre_tls_other_host = 64,
};
int nacre_tls_verify(struct nacre_tls_session *session, const char *hostname);
// The name in the other end's certificate, its parts in the certificate's order, as in `O=Example,CN=backup`; answers its length, which is 0 where there is none or no room.
size_t nacre_tls_name(struct nacre_tls_session *session, char *to, size_t room);
