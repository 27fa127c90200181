// What Swift cannot reach in OpenSSL's headers by itself: macros, callbacks, and the socket that they work on.
// Works with 1.1.1 and later.
#ifndef WARREN_TLS_SHIM_H
#define WARREN_TLS_SHIM_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

/// One connection's socket, and what the callbacks have seen on it.
typedef struct warren_tls_wire {
  int fd;
  bool is_at_end;
  /// The first byte that came: it tells a server that speaks TLS from one that does not.
  int first_byte;
  /// Bytes that came, encrypted.
  uint64_t received;
  bool certificate_was_requested;
  /// The first thing that is wrong with the server's certificates, and of which certificate.
  int problem;
  int depth;
  char subject[256];
  char names[512];
  char not_before[40];
  char not_after[40];
} warren_tls_wire;

// MARK: The socket
//
// OpenSSL's own socket BIO writes with write(2), which raises SIGPIPE when the peer is gone.

static inline int warren_tls_bio_write(BIO *bio, const char *bytes, int count) {
  warren_tls_wire *wire = (warren_tls_wire *)BIO_get_data(bio);
  BIO_clear_retry_flags(bio);
#if defined(MSG_NOSIGNAL)
  ssize_t n = send(wire->fd, bytes, (size_t)count, MSG_NOSIGNAL);
#else
  ssize_t n = send(wire->fd, bytes, (size_t)count, 0);
#endif
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) BIO_set_retry_write(bio);
  return (int)n;
}

static inline int warren_tls_bio_read(BIO *bio, char *bytes, int count) {
  warren_tls_wire *wire = (warren_tls_wire *)BIO_get_data(bio);
  BIO_clear_retry_flags(bio);
  ssize_t n = recv(wire->fd, bytes, (size_t)count, 0);
  if (n > 0) {
    if (wire->received == 0) wire->first_byte = (unsigned char)bytes[0];
    wire->received += (uint64_t)n;
  } else if (n == 0) {
    wire->is_at_end = true;
  } else if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
    BIO_set_retry_read(bio);
  }
  return (int)n;
}

static inline long warren_tls_bio_control(BIO *bio, int command, long number, void *pointer) {
  (void)number;
  (void)pointer;
  switch (command) {
    case BIO_CTRL_FLUSH: return 1;
    case BIO_CTRL_EOF: return ((warren_tls_wire *)BIO_get_data(bio))->is_at_end;
    default: return 0;
  }
}

static inline int warren_tls_bio_create(BIO *bio) {
  BIO_set_init(bio, 1);
  return 1;
}

/// How OpenSSL reads and writes our sockets. Made once in a process; NULL when there is no memory.
static inline BIO_METHOD *warren_tls_bio_method(void) {
  BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "warren");
  if (!method) return NULL;
  BIO_meth_set_write(method, warren_tls_bio_write);
  BIO_meth_set_read(method, warren_tls_bio_read);
  BIO_meth_set_ctrl(method, warren_tls_bio_control);
  BIO_meth_set_create(method, warren_tls_bio_create);
  return method;
}

// MARK: What the server's certificates look like

static inline void warren_tls_print(char *out, size_t capacity, BIO *from) {
  int n = BIO_read(from, out, (int)capacity - 1);
  out[n > 0 ? n : 0] = 0;
}

static inline void warren_tls_print_time(char *out, size_t capacity, const ASN1_TIME *time) {
  BIO *memory = BIO_new(BIO_s_mem());
  if (!memory) return;
  ASN1_TIME_print(memory, time);
  warren_tls_print(out, capacity, memory);
  BIO_free(memory);
}

static inline void warren_tls_print_names(char *out, size_t capacity, X509 *certificate) {
  GENERAL_NAMES *names = (GENERAL_NAMES *)X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
  BIO *memory = BIO_new(BIO_s_mem());
  for (int i = 0; memory && i < sk_GENERAL_NAME_num(names); i++) {
    if (i > 0) BIO_write(memory, ", ", 2);
    GENERAL_NAME_print(memory, sk_GENERAL_NAME_value(names, i));
  }
  if (memory) warren_tls_print(out, capacity, memory);
  BIO_free(memory);
  GENERAL_NAMES_free(names);
}

static inline void warren_tls_note_problem(warren_tls_wire *wire, X509_STORE_CTX *context) {
  wire->problem = X509_STORE_CTX_get_error(context);
  wire->depth = X509_STORE_CTX_get_error_depth(context);
  X509 *certificate = X509_STORE_CTX_get_current_cert(context);
  if (!certificate) return;
  BIO *memory = BIO_new(BIO_s_mem());
  if (memory) {
    X509_NAME_print_ex(memory, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
    warren_tls_print(wire->subject, sizeof wire->subject, memory);
    BIO_free(memory);
  }
  warren_tls_print_names(wire->names, sizeof wire->names, certificate);
  warren_tls_print_time(wire->not_before, sizeof wire->not_before, X509_get0_notBefore(certificate));
  warren_tls_print_time(wire->not_after, sizeof wire->not_after, X509_get0_notAfter(certificate));
}

static inline int warren_tls_verified(int is_fine, X509_STORE_CTX *context) {
  SSL *ssl = (SSL *)X509_STORE_CTX_get_ex_data(context, SSL_get_ex_data_X509_STORE_CTX_idx());
  warren_tls_wire *wire = ssl ? (warren_tls_wire *)SSL_get_app_data(ssl) : NULL;
  if (!is_fine && wire && wire->problem == 0) warren_tls_note_problem(wire, context);
  return is_fine;
}

/// Called when the server wants a certificate and there is none.
static inline int warren_tls_certificate_wanted(SSL *ssl, X509 **certificate, EVP_PKEY **key) {
  (void)certificate;
  (void)key;
  warren_tls_wire *wire = (warren_tls_wire *)SSL_get_app_data(ssl);
  if (wire) wire->certificate_was_requested = true;
  return 0;
}

// MARK: Settings

/// The key's password is `userdata`; without one OpenSSL would ask on the terminal.
static inline int warren_tls_password(char *out, int capacity, int is_writing, void *userdata) {
  (void)is_writing;
  size_t count = userdata ? strlen((const char *)userdata) : 0;
  if (count == 0 || count > (size_t)capacity) return 0;
  memcpy(out, userdata, count);
  return (int)count;
}

/// Settings of a client that accepts nothing older than `minimum` (TLS1_2_VERSION, TLS1_3_VERSION).
static inline SSL_CTX *warren_tls_context(int minimum, bool verifies) {
  SSL_CTX *context = SSL_CTX_new(TLS_client_method());
  if (!context) return NULL;
  if (SSL_CTX_set_min_proto_version(context, minimum) != 1) {
    SSL_CTX_free(context);
    return NULL;
  }
  // No broker asks for it, and a read would have to write.
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
  // What waits to be sent moves in memory and grows between two tries.
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  // One read of the socket for a record instead of two.
  SSL_CTX_set_read_ahead(context, 1);
  SSL_CTX_set_verify(context, verifies ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, warren_tls_verified);
  SSL_CTX_set_client_cert_cb(context, warren_tls_certificate_wanted);
  SSL_CTX_set_default_passwd_cb(context, warren_tls_password);
  return context;
}

static inline int warren_tls_use_key(SSL_CTX *context, const char *file, const char *password) {
  SSL_CTX_set_default_passwd_cb_userdata(context, (void *)password);
  int status = SSL_CTX_use_PrivateKey_file(context, file, SSL_FILETYPE_PEM);
  SSL_CTX_set_default_passwd_cb_userdata(context, NULL);
  return status;
}

/// A client's side of one connection; `wire` must live as long. NULL when there is no memory.
static inline SSL *warren_tls_new(SSL_CTX *context, BIO_METHOD *method, warren_tls_wire *wire) {
  SSL *ssl = SSL_new(context);
  if (!ssl) return NULL;
  BIO *bio = BIO_new(method);
  if (!bio) {
    SSL_free(ssl);
    return NULL;
  }
  BIO_set_data(bio, wire);
  SSL_set_bio(ssl, bio, bio);
  SSL_set_app_data(ssl, wire);
  SSL_set_connect_state(ssl);
  return ssl;
}

/// Says to the server for which name we come; addresses are not said (RFC 6066 §3).
static inline int warren_tls_say_name(SSL *ssl, const char *name) { return (int)SSL_set_tlsext_host_name(ssl, name); }

/// The certificate has to be for this name, or for this address.
static inline int warren_tls_expect(SSL *ssl, const char *name, bool is_address) {
  X509_VERIFY_PARAM *expected = SSL_get0_param(ssl);
  if (is_address) return X509_VERIFY_PARAM_set1_ip_asc(expected, name);
  X509_VERIFY_PARAM_set_hostflags(expected, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  return X509_VERIFY_PARAM_set1_host(expected, name, 0);
}

// MARK: Errors

static inline int warren_tls_reason(unsigned long error) { return ERR_GET_REASON(error); }
static inline int warren_tls_library(unsigned long error) { return ERR_GET_LIB(error); }

#endif
