// Goes through everything in Sources/CWarrenTLS/shim.h again and again, for valgrind: right and wrong certificates,
// against a server that speaks TLS. Usage: tls_harness HOST PORT CA-FILE OTHER-CA-FILE [ROUNDS]
#include "../../Sources/CWarrenTLS/shim.h"

#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void fail(const char *what) {
  fprintf(stderr, "tls_harness: %s\n", what);
  exit(70);
}

static int connect_to(const char *host, const char *port) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_INET}, *found = NULL;
  if (getaddrinfo(host, port, &hints, &found) != 0) fail("no such host");
  int fd = socket(found->ai_family, found->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (connect(fd, found->ai_addr, found->ai_addrlen) != 0 && errno != EINPROGRESS) fail("cannot connect");
  freeaddrinfo(found);
  return fd;
}

/// Repeats a call until it does not want to wait; returns its last result.
static int settled(SSL *ssl, int fd, int (*call)(SSL *)) {
  for (;;) {
    ERR_clear_error();
    int result = call(ssl);
    int error = SSL_get_error(ssl, result);
    if (result == 1 || (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)) return result;
    struct pollfd waiting = {fd, error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, 0};
    if (poll(&waiting, 1, 10000) == 0) fail("the server is silent");
  }
}

static int say_hello(SSL *ssl) {
  size_t n = 0;
  return SSL_write_ex(ssl, "AMQP\0\0\11\1", 8, &n);
}

static int hear_answer(SSL *ssl) {
  char bytes[4096];
  size_t n = 0;
  return SSL_read_ex(ssl, bytes, sizeof bytes, &n);
}

static void round_trip(BIO_METHOD *method, const char *host, const char *port, const char *ca, bool is_good) {
  SSL_CTX *context = warren_tls_context(TLS1_2_VERSION, true);
  if (!context || SSL_CTX_load_verify_locations(context, ca, NULL) != 1) fail("no context");
  warren_tls_wire wire = {.fd = connect_to(host, port)};
  SSL *ssl = warren_tls_new(context, method, &wire);
  if (!ssl || warren_tls_say_name(ssl, host) != 1 || warren_tls_expect(ssl, host, false) != 1) fail("no connection");
  bool is_open = settled(ssl, wire.fd, SSL_do_handshake) == 1;
  if (is_open != is_good) fail(is_good ? "a right certificate is refused" : "a wrong certificate is taken");
  if (is_good) {
    if (settled(ssl, wire.fd, say_hello) != 1 || settled(ssl, wire.fd, hear_answer) != 1) fail("no answer");
    SSL_shutdown(ssl);
  } else if (wire.problem == 0 || wire.subject[0] == 0) {
    fail("nothing is known about the wrong certificate");
  }
  SSL_free(ssl);
  SSL_CTX_free(context);
  close(wire.fd);
}

int main(int argc, char **argv) {
  if (argc < 5) fail("usage: tls_harness HOST PORT CA-FILE OTHER-CA-FILE [ROUNDS]");
  int rounds = argc > 5 ? atoi(argv[5]) : 20;
  BIO_METHOD *method = warren_tls_bio_method();
  for (int i = 0; i < rounds; i++) {
    round_trip(method, argv[1], argv[2], argv[3], true);
    round_trip(method, argv[1], argv[2], argv[4], false);
  }
  BIO_meth_free(method);
  printf("%d connections, %d refused certificates\n", rounds, rounds);
}
