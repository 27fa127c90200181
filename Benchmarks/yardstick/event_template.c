#include "event_template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char body_start[] = "{\"id\":\"";
static const char body_middle[] = "\",\"text\":\"";
static const char body_end[] = "\"}";
static const int counter_digits = 12;

static void header_text(amqp_table_entry_t *entry, const char *key, const char *text) {
  entry->key = amqp_cstring_bytes(key);
  entry->value.kind = AMQP_FIELD_KIND_UTF8;
  entry->value.value.bytes = amqp_cstring_bytes(text);
}

static void header_number(amqp_table_entry_t *entry, const char *key, int64_t number) {
  entry->key = amqp_cstring_bytes(key);
  entry->value.kind = AMQP_FIELD_KIND_I64;
  entry->value.value.i64 = number;
}

static char *append(char *at, const char *text, size_t count) {
  memcpy(at, text, count);
  return at + count;
}

static void make_body(event_template *event, size_t size) {
  char *at = malloc(size);
  if (!at || size < event_smallest_size) fail(exit_internal, "no body of %zu bytes", size);
  event->body = (amqp_bytes_t){size, at};
  char *end = at + size;
  at = append(at, body_start, sizeof body_start - 1);
  event->counter = at;
  at = append(at + counter_digits, body_middle, sizeof body_middle - 1);
  memset(at, 'x', (size_t)(end - at));
  append(end - (sizeof body_end - 1), body_end, sizeof body_end - 1);
}

void event_template_init(event_template *event, const entity_names *names, size_t size, bool bare) {
  memset(event, 0, sizeof *event);
  make_body(event, size);
  time_t now = time(NULL);
  struct tm utc;
  gmtime_r(&now, &utc);
  strftime(event->time, sizeof event->time, "%Y-%m-%dT%H:%M:%S.000Z", &utc);
  snprintf(event->id, sizeof event->id, "0190a1b2-c3d4-7e5f-8a6b-000000000000");

  amqp_basic_properties_t *p = &event->properties;
  p->_flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG;
  p->content_type = amqp_cstring_bytes("application/json");
  p->delivery_mode = AMQP_DELIVERY_PERSISTENT;
  if (!bare) {
    p->_flags |= AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_TIMESTAMP_FLAG |
                 AMQP_BASIC_TYPE_FLAG | AMQP_BASIC_APP_ID_FLAG;
    p->message_id = amqp_cstring_bytes(event->id);
    p->timestamp = (uint64_t)now;
    p->type = amqp_cstring_bytes(names->type);
    p->app_id = amqp_cstring_bytes("yardstick");
    header_number(&event->headers[0], "warren-seq", 0);
    header_text(&event->headers[1], "cloudEvents:id", event->id);
    header_text(&event->headers[2], "cloudEvents:source", "yardstick");
    header_text(&event->headers[3], "cloudEvents:specversion", "1.0");
    header_text(&event->headers[4], "cloudEvents:time", event->time);
    header_text(&event->headers[5], "cloudEvents:type", names->type);
    header_number(&event->headers[6], "warren-id", 1);
    p->headers = (amqp_table_t){event_header_count, event->headers};
  }
  event_template_number(event, 0);
}

void event_template_number(event_template *event, uint64_t number) {
  event->headers[0].value.value.i64 = (int64_t)number;
  for (int i = 1; i <= counter_digits; i++) {
    char digit = (char)('0' + number % 10);
    event->counter[counter_digits - i] = digit;
    event->id[event_id_size - i] = digit;
    number /= 10;
  }
}

void event_template_free(event_template *event) { free(event->body.bytes); }
