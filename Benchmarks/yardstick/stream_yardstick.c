// What SQLite can do with the SQL of Warren's event streams, on a file that Warren has made: the yardstick for appending and
// reading.
//
//   stream_yardstick append FILE [--count N] [--callers N] [--size BYTES]
//   stream_yardstick replay FILE
//
// append: one transaction for each `callers` events, as if all of them always met in one commit: the version is looked up, the
// head moved, the event written, in streams of ten. replay: all events, in pages of a thousand. Nothing is coded, decoded,
// checked or handed to another thread. Prints one JSON line.
#define _GNU_SOURCE
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static sqlite3 *db;

static _Noreturn void fail(const char *what) {
  fprintf(stderr, "stream_yardstick: %s: %s\n", what, db ? sqlite3_errmsg(db) : "no database");
  exit(70);
}

static void run(const char *sql) {
  if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) fail(sql);
}

static sqlite3_stmt *prepared(const char *sql) {
  sqlite3_stmt *statement = NULL;
  if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK) fail(sql);
  return statement;
}

static void done(sqlite3_stmt *statement) {
  if (sqlite3_step(statement) != SQLITE_DONE) fail("step");
  sqlite3_reset(statement);
}

static double now_us(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static double cpu_us(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void text(sqlite3_stmt *statement, int at, const char *value) {
  sqlite3_bind_text(statement, at, value, -1, SQLITE_TRANSIENT);
}

static void report(const char *bench, long count, long callers, long size, double began, double cpu) {
  printf("{\"bench\":\"%s\",\"n\":%ld,\"callers\":%ld,\"size\":%ld,\"rate\":%.0f,\"cpu_us\":%.2f,\"sqlite\":\"%s\"}\n", bench,
         count, callers, size, (double)count / ((now_us() - began) / 1e6), (cpu_us() - cpu) / (double)count,
         sqlite3_libversion());
}

static void append(long count, long callers, long size) {
  run("PRAGMA synchronous = FULL");
  sqlite3_stmt *begin = prepared("BEGIN IMMEDIATE"), *commit = prepared("COMMIT");
  sqlite3_stmt *inline_readers = prepared("SELECT value FROM warren_meta WHERE name = 'inline'");
  sqlite3_stmt *version = prepared("SELECT version FROM warren_events WHERE stream = ? ORDER BY version DESC LIMIT 1");
  sqlite3_stmt *head =
      prepared("UPDATE warren_head SET position = position + ?1, rows = rows + ?2, bytes = bytes + ?3");
  sqlite3_stmt *last = prepared("SELECT position, rows, bytes FROM warren_head");
  sqlite3_stmt *minute = prepared("SELECT minute FROM warren_minutes ORDER BY minute DESC LIMIT 1");
  sqlite3_stmt *insert =
      prepared("INSERT INTO warren_events VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)");
  char *body = malloc((size_t)size);
  if (!body) fail("no memory");
  memset(body, 'x', (size_t)size);

  double began = now_us(), cpu = cpu_us();
  long written = 0;
  while (written < count) {
    long group = count - written < callers ? count - written : callers;
    done(begin);
    if (sqlite3_step(inline_readers) == SQLITE_ROW) fail("a file with inline readers");
    sqlite3_reset(inline_readers);
    sqlite3_bind_int64(head, 1, group);
    sqlite3_bind_int64(head, 2, 0);
    sqlite3_bind_int64(head, 3, 0);
    done(head);
    if (sqlite3_step(last) != SQLITE_ROW) fail("head");
    sqlite3_int64 position = sqlite3_column_int64(last, 0) - group;
    sqlite3_reset(last);
    sqlite3_step(minute);
    sqlite3_reset(minute);
    for (long i = 0; i < group; i++, written++) {
      // As many streams at once as callers, each with ten events, one after the other.
      long round = written / (callers * 10), caller = written % callers;
      char id[48], stream[48];
      snprintf(id, sizeof id, "01234567-89ab-7def-8123-%012ld", written);
      snprintf(stream, sizeof stream, "bench-%ld", round * callers + caller);
      text(version, 1, stream);
      sqlite3_int64 next = sqlite3_step(version) == SQLITE_ROW ? sqlite3_column_int64(version, 0) + 1 : 1;
      sqlite3_reset(version);
      sqlite3_clear_bindings(insert);
      sqlite3_bind_int64(insert, 1, ++position);
      text(insert, 3, "warren.bench");
      text(insert, 4, id);
      sqlite3_bind_int64(insert, 5, 1);
      text(insert, 6, "warren-bench");
      sqlite3_bind_int64(insert, 7, 1750000000000);
      sqlite3_bind_int64(insert, 8, 1750000000000);
      text(insert, 9, stream);
      text(insert, 16, "application/json");
      sqlite3_bind_blob(insert, 20, body, (int)size, SQLITE_TRANSIENT);
      text(insert, 21, stream);
      sqlite3_bind_int64(insert, 22, next);
      done(insert);
    }
    done(commit);
  }
  report("append", count, callers, size, began, cpu);
  free(body);
}

static void replay(void) {
  sqlite3_stmt *page = prepared("SELECT * FROM warren_events WHERE position >= ? ORDER BY position LIMIT 1000");
  double began = now_us(), cpu = cpu_us();
  sqlite3_int64 next = 0;
  long count = 0, bytes = 0, rows;
  do {
    rows = 0;
    sqlite3_bind_int64(page, 1, next);
    while (sqlite3_step(page) == SQLITE_ROW) {
      for (int column = 0; column < 22; column++) bytes += sqlite3_column_bytes(page, column);
      next = sqlite3_column_int64(page, 0) + 1;
      rows++;
    }
    sqlite3_reset(page);
    count += rows;
  } while (rows > 0);
  if (count == 0 || bytes == 0) fail("a file without events");
  report("replay", count, 1, bytes / count, began, cpu);
}

int main(int argc, char **argv) {
  long count = 60000, callers = 64, size = 160;
  const char *mode = argc > 1 ? argv[1] : "", *file = NULL;
  for (int i = 2; i < argc; i++) {
    if (strcmp(argv[i], "--count") == 0 && i + 1 < argc) count = atol(argv[++i]);
    else if (strcmp(argv[i], "--callers") == 0 && i + 1 < argc) callers = atol(argv[++i]);
    else if (strcmp(argv[i], "--size") == 0 && i + 1 < argc) size = atol(argv[++i]);
    else file = argv[i];
  }
  int appends = strcmp(mode, "append") == 0;
  if (!file || count < 1 || callers < 1 || size < 1 || (!appends && strcmp(mode, "replay") != 0)) {
    fprintf(stderr, "usage: stream_yardstick append|replay FILE [--count N] [--callers N] [--size BYTES]\n");
    return 64;
  }
  if (sqlite3_open_v2(file, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) fail("open");
  run("PRAGMA journal_mode = WAL");
  if (appends) append(count, callers, size);
  else replay();
  return 0;
}
