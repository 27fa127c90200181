// What a plain C program over librabbitmq reaches on the queues that Warren declares: the figure to compare with.
//
// It does what such programs do: amqp_basic_publish (three writes to the socket per event), a window of unconfirmed
// publishes, one acknowledgement for several deliveries; no typing, no JSON coding, no deadlines.
#include "support.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "event_template.h"

static const char usage[] =
    "usage: broker_yardstick publish|consume|fill|clean [--queue classic|quorum] [--count N] [--window N]\n"
    "         [--size BYTES] [--bare] [--prefilled] [--keep] [--service NAME] [--type TYPE] [--limit SECONDS]\n"
    "         [--url URL]\n"
    "\n"
    "  publish   confirmed publishes into an empty queue, at most --window (1000) of them unconfirmed\n"
    "  consume   fills a queue, then receives and acknowledges everything, with --window (500) as the prefetch\n"
    "  fill      leaves --count events in a queue\n"
    "  clean     deletes exchange, queue and dead-letter queue of --service and --type, with what is in them\n"
    "  --bare    without the properties and headers that Warren writes\n"
    "One JSON line per run. The URL is --url, RABBITMQ_URL or amqp://guest:guest@localhost:5672.";

typedef struct options {
  const char *bench;
  const char *queue, *service, *type;
  const char *url;
  long count, window, size, limit;
  bool bare, prefilled, keep;
} options;

/// Which publishes are confirmed: everything below `low`, and those beyond it that are marked.
typedef struct confirms {
  uint64_t low;
  uint64_t count;
  uint64_t refused, returned;
  bool *marked;
  uint32_t *microseconds;  // when it was written, and once it is confirmed, how long that took
  uint64_t epoch;
} confirms;

static void settle(confirms *c, uint64_t tag, uint32_t now) {
  if (c->marked[tag]) return;
  c->marked[tag] = true;
  c->microseconds[tag] = now - c->microseconds[tag];
  c->count++;
}

static void settle_through(confirms *c, uint64_t tag, bool multiple, uint64_t sent) {
  if (tag > sent) fail(exit_internal, "a confirm for publish %llu, which was not made", (unsigned long long)tag);
  uint32_t now = (uint32_t)(now_us() - c->epoch);
  if (!multiple) settle(c, tag, now);
  if (multiple)
    for (uint64_t t = c->low; t <= tag; t++) settle(c, t, now);
  while (c->low <= sent && c->marked[c->low]) c->low++;
}

/// Takes one frame; false when none has come before the timeout.
static bool take_confirm(amqp_connection_state_t connection, confirms *c, uint64_t sent, struct timeval timeout) {
  amqp_frame_t frame;
  int status = amqp_simple_wait_frame_noblock(connection, &frame, &timeout);
  if (status == AMQP_STATUS_TIMEOUT) return false;
  expect_status(status, "waiting for confirms");
  // The header and the body of a returned message need nothing.
  if (frame.frame_type != AMQP_FRAME_METHOD) return true;
  switch (frame.payload.method.id) {
    case AMQP_BASIC_ACK_METHOD: {
      amqp_basic_ack_t *m = frame.payload.method.decoded;
      settle_through(c, m->delivery_tag, m->multiple, sent);
      break;
    }
    case AMQP_BASIC_NACK_METHOD: {
      amqp_basic_nack_t *m = frame.payload.method.decoded;
      uint64_t before = c->count;
      settle_through(c, m->delivery_tag, m->multiple, sent);
      c->refused += c->count - before;
      break;
    }
    case AMQP_BASIC_RETURN_METHOD: c->returned++; break;
    default: expect_open(&frame);
  }
  return true;
}

/// Publishes `count` events and returns when all are confirmed. The latencies are left in `c`.
static stopwatch publish_all(amqp_connection_state_t connection, const entity_names *names, const options *o,
                             uint64_t window, confirms *c) {
  uint64_t count = (uint64_t)o->count;
  *c = (confirms){.low = 1, .marked = calloc(count + 2, sizeof(bool)), .microseconds = calloc(count + 2, 4)};
  if (!c->marked || !c->microseconds) fail(exit_internal, "no memory for %ld events", o->count);
  event_template event;
  event_template_init(&event, names, (size_t)o->size, o->bare);
  amqp_bytes_t exchange = amqp_cstring_bytes(names->exchange), key = amqp_cstring_bytes(names->type);
  amqp_confirm_select(connection, 1);
  expect_reply(amqp_get_rpc_reply(connection), "confirm.select");

  stopwatch start = stopwatch_start();
  c->epoch = start.wall_us;
  uint64_t sent = 0;
  while (c->count < count) {
    while (sent < count && sent - c->count < window) {
      event_template_number(&event, ++sent);
      c->microseconds[sent] = (uint32_t)(now_us() - c->epoch);
      int status = amqp_basic_publish(connection, 1, exchange, key, 1, 0, &event.properties, event.body);
      expect_status(status, "publishing");
    }
    if (!take_confirm(connection, c, sent, (struct timeval){30, 0}))
      fail(exit_too_slow, "no confirm for 30 seconds, %llu of %ld confirmed", (unsigned long long)c->count, o->count);
    while (take_confirm(connection, c, sent, (struct timeval){0, 0})) {}
    amqp_maybe_release_buffers(connection);
  }
  stopwatch result = stopwatch_stop(start);
  if (c->refused || c->returned)
    fail(exit_internal, "%llu refused and %llu returned", (unsigned long long)c->refused,
         (unsigned long long)c->returned);
  event_template_free(&event);
  return result;
}

/// Receives `count` events, acknowledging every tenth part of the prefetch at once.
static stopwatch consume_all(amqp_connection_state_t connection, const entity_names *names, const options *o) {
  uint64_t count = (uint64_t)o->count, done = 0, acknowledged = 0;
  uint64_t every = o->window >= 10 ? (uint64_t)o->window / 10 : 1;
  amqp_basic_qos(connection, 1, 0, (uint16_t)o->window, 0);
  expect_reply(amqp_get_rpc_reply(connection), "basic.qos");

  stopwatch start = stopwatch_start();
  amqp_basic_consume(connection, 1, amqp_cstring_bytes(names->work), amqp_cstring_bytes("yardstick"), 0, 0, 0,
                     amqp_empty_table);
  expect_reply(amqp_get_rpc_reply(connection), "basic.consume");
  uint64_t tag = 0, missing = 0;
  while (done < count) {
    amqp_frame_t frame;
    struct timeval timeout = {30, 0};
    int status = amqp_simple_wait_frame_noblock(connection, &frame, &timeout);
    if (status == AMQP_STATUS_TIMEOUT)
      fail(exit_too_slow, "no delivery for 30 seconds, %llu of %ld received", (unsigned long long)done, o->count);
    expect_status(status, "waiting for deliveries");
    bool complete = false;
    if (frame.frame_type == AMQP_FRAME_HEADER) {
      missing = frame.payload.properties.body_size;
      complete = missing == 0;
    } else if (frame.frame_type == AMQP_FRAME_BODY) {
      missing -= frame.payload.body_fragment.len;
      complete = missing == 0;
    } else if (frame.frame_type == AMQP_FRAME_METHOD && frame.payload.method.id == AMQP_BASIC_DELIVER_METHOD) {
      tag = ((amqp_basic_deliver_t *)frame.payload.method.decoded)->delivery_tag;
    } else {
      expect_open(&frame);
      if (frame.frame_type == AMQP_FRAME_METHOD && frame.payload.method.id == AMQP_BASIC_CANCEL_METHOD)
        fail(exit_internal, "the broker cancelled the consumer");
    }
    if (!complete) continue;
    done++;
    if (tag - acknowledged >= every || done == count) {
      expect_status(amqp_basic_ack(connection, 1, tag, 1), "acknowledging");
      acknowledged = tag;
    }
    amqp_maybe_release_buffers(connection);
  }
  return stopwatch_stop(start);
}

static int by_size(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

static void report(const options *o, amqp_connection_state_t connection, stopwatch result, confirms *c) {
  double n = (double)o->count;
  amqp_bytes_t broker = broker_version(connection);
  printf("{\"bench\":\"%s\",\"client\":\"c\",\"queue\":\"%s\",", o->bench, o->queue);
  printf("\"n\":%ld,\"window\":%ld,\"size\":%ld,\"bare\":%s,", o->count, o->window, o->size,
         o->bare ? "true" : "false");
  printf("\"rate\":%.0f,\"cpu_us\":%.2f,", n * 1e6 / (double)result.wall_us, (double)result.cpu_us / n);
  if (c) {
    qsort(c->microseconds + 1, (size_t)o->count, sizeof *c->microseconds, by_size);
    printf("\"p50_us\":%u,\"p99_us\":%u,", c->microseconds[1 + o->count / 2], c->microseconds[1 + o->count * 99 / 100]);
  }
  printf("\"rss_kb\":%ld,\"broker\":\"%.*s\",\"librabbitmq\":\"%s\"}\n", peak_rss_kb(), (int)broker.len,
         (const char *)broker.bytes, amqp_version());
}

static void free_confirms(confirms *c) {
  free(c->marked);
  free(c->microseconds);
}

static void run(options *o) {
  entity_names names = names_for(o->service, o->type);
  bool quorum = strcmp(o->queue, "quorum") == 0;
  amqp_connection_state_t connection = connect_to_broker(o->url, "warren-yardstick");
  if (!o->prefilled) delete_entities(connection, &names);
  if (strcmp(o->bench, "clean") == 0) {
    close_connection(connection);
    return;
  }
  declare_entities(connection, &names, quorum);
  confirms c;
  if (strcmp(o->bench, "consume") != 0) {
    stopwatch result = publish_all(connection, &names, o, (uint64_t)o->window, &c);
    report(o, connection, result, &c);
    free_confirms(&c);
  } else {
    if (!o->prefilled) {
      amqp_connection_state_t filling = connect_to_broker(o->url, "warren-yardstick/fill");
      publish_all(filling, &names, o, 1000, &c);
      free_confirms(&c);
      close_connection(filling);
    }
    report(o, connection, consume_all(connection, &names, o), NULL);
  }
  if (!o->keep) delete_entities(connection, &names);
  close_connection(connection);
}

static void too_slow(int signal) {
  (void)signal;
  static const char text[] = "the time given by --limit is over\n";
  if (write(STDERR_FILENO, text, sizeof text - 1) < 0) _exit(exit_internal);
  _exit(exit_too_slow);
}

static long number(const char *text, long low, long high) {
  char *end;
  long value = strtol(text, &end, 10);
  if (end == text || *end || value < low || value > high)
    fail(exit_usage, "\"%s\" is not a number from %ld to %ld", text, low, high);
  return value;
}

static options parse(int argc, char **argv) {
  const char *environment = getenv("RABBITMQ_URL");
  options o = {.queue = "quorum", .service = "yardstick", .count = 50000, .size = 160, .limit = 120};
  o.url = environment && *environment ? environment : "amqp://guest:guest@localhost:5672";
  static const struct option known[] = {
      {"queue", required_argument, 0, 'q'}, {"count", required_argument, 0, 'n'}, {"window", required_argument, 0, 'w'},
      {"size", required_argument, 0, 's'},  {"limit", required_argument, 0, 'l'}, {"url", required_argument, 0, 'u'},
      {"bare", no_argument, 0, 'b'},        {"prefilled", no_argument, 0, 'p'},   {"keep", no_argument, 0, 'k'},
      {"json", no_argument, 0, 'j'},        {"service", required_argument, 0, 'S'}, {"type", required_argument, 0, 'T'},
      {0}};
  for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
    switch (option) {
      case 'q': o.queue = optarg; break;
      case 'n': o.count = number(optarg, 1, 10000000); break;
      case 'w': o.window = number(optarg, 1, 65535); break;
      case 's': o.size = number(optarg, event_smallest_size, 16 << 20); break;
      case 'l': o.limit = number(optarg, 1, 3600); break;
      case 'u': o.url = optarg; break;
      case 'b': o.bare = true; break;
      case 'p': o.prefilled = true; break;
      case 'k': o.keep = true; break;
      case 'S': o.service = optarg; break;
      case 'T': o.type = optarg; break;
      case 'j': break;  // as for warrenctl bench; there is no other form here
      default: fail(exit_usage, "%s", usage);
    }
  }
  if (optind != argc - 1) fail(exit_usage, "%s", usage);
  o.bench = argv[optind];
  if (strcmp(o.queue, "classic") != 0 && strcmp(o.queue, "quorum") != 0) fail(exit_usage, "%s", usage);
  bool fill = strcmp(o.bench, "fill") == 0, consume = strcmp(o.bench, "consume") == 0;
  if (!fill && !consume && strcmp(o.bench, "publish") != 0 && strcmp(o.bench, "clean") != 0)
    fail(exit_usage, "%s", usage);
  if (o.prefilled && !consume) fail(exit_usage, "--prefilled is for consume");
  if (fill) o.keep = true;
  if (!o.type) o.type = strcmp(o.queue, "quorum") == 0 ? "yardstick.quorum" : "yardstick.classic";
  if (!o.window) o.window = consume ? 500 : 1000;
  return o;
}

int main(int argc, char **argv) {
  options o = parse(argc, argv);
  // librabbitmq's writes have no deadline: a broker under an alarm would hold the program for ever.
  signal(SIGALRM, too_slow);
  alarm((unsigned)o.limit);
  run(&o);
  return 0;
}
