// The ground-truth programs in C: each does one thing for a second or two and writes what its own clocks say about it.
//
//   programs NAME ..      names below, in main
//
// A thread adds up its processor time (its own clock) and, around each call that waits, wall time less processor time.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static double wall(void) { return now(CLOCK_MONOTONIC); }
static double mine(void) { return now(CLOCK_THREAD_CPUTIME_ID); }

static pthread_mutex_t adding = PTHREAD_MUTEX_INITIALIZER;
static double waited[4];
enum { LOCK, SLEEP, DISK, QUEUE };

static void add(int kind, double s) {
    pthread_mutex_lock(&adding);
    waited[kind] += s;
    pthread_mutex_unlock(&adding);
}

static unsigned long spin(double millions) {
    unsigned long x = 88172645463325252ul;
    for (long i = 0; i < millions * 1e6; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    return x;
}

static volatile unsigned long sink;

static void *compute(void *millions) {
    sink += spin(*(double *)millions);
    return NULL;
}

static void together(int n, void *(*run)(void *), void *argument) {
    pthread_t threads[256];
    for (int i = 0; i < n; i++) pthread_create(&threads[i], NULL, run, argument);
    for (int i = 0; i < n; i++) pthread_join(threads[i], NULL);
}

// One mutex, held for a sleep or for computing; a little outside.
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
struct convoy {
    int rounds;
    double inside_ms, inside_m, outside_m;
};

static void *convoy(void *argument) {
    struct convoy *c = argument;
    double lock = 0, sleep = 0;
    for (int i = 0; i < c->rounds; i++) {
        double w = wall(), m = mine();
        pthread_mutex_lock(&gate);
        lock += wall() - w - (mine() - m);
        if (c->inside_ms > 0) {
            double w = wall(), m = mine();
            usleep(c->inside_ms * 1000);
            sleep += wall() - w - (mine() - m);
        }
        sink += spin(c->inside_m);
        pthread_mutex_unlock(&gate);
        sink += spin(c->outside_m);
    }
    add(LOCK, lock);
    add(SLEEP, sleep);
    return NULL;
}

static void *sleeper(void *seconds) {
    double w = wall(), m = mine();
    usleep(*(double *)seconds * 1e6);
    add(SLEEP, wall() - w - (mine() - m));
    return NULL;
}

static void *spins(void *rounds) {
    static volatile int held;
    for (int i = 0; i < *(double *)rounds; i++) {
        while (__sync_lock_test_and_set(&held, 1))
            while (held)
                ;
        sink += spin(0.002);
        __sync_lock_release(&held);
    }
    return NULL;
}

// A crowd: each computes a little and sleeps a little, in turn, until its part is done.
struct crowd {
    int rounds;
    double millions;
};

static void *one_of_many(void *argument) {
    struct crowd *c = argument;
    for (int i = 0; i < c->rounds; i++) {
        sink += spin(c->millions);
        usleep(2000);
    }
    return NULL;
}

static void crowd(int n, double millions) {
    enum { ROUNDS = 20 };
    static pthread_t threads[2000];
    struct crowd each = {ROUNDS, millions / n / ROUNDS};
    for (int i = 0; i < n; i++) pthread_create(&threads[i], NULL, one_of_many, &each);
    for (int i = 0; i < n; i++) pthread_join(threads[i], NULL);
}

// Eight workers of a pool that nobody gives anything.
static pthread_cond_t work_came = PTHREAD_COND_INITIALIZER;
static int stopping;
static void *idler(void *_) {
    (void)_;
    pthread_mutex_lock(&gate);
    while (!stopping) pthread_cond_wait(&work_came, &gate);
    pthread_mutex_unlock(&gate);
    return NULL;
}

static void idle_pool(double millions) {
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) pthread_create(&threads[i], NULL, idler, NULL);
    sink += spin(millions);
    pthread_mutex_lock(&gate);
    stopping = 1;
    pthread_cond_broadcast(&work_came);
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
}

// Two threads that meet after each round, one of which computes three times as long as the other.
static pthread_barrier_t meeting;
static void *meets(void *part) {
    for (int round = 0; round < 40; round++) {
        sink += spin(*(double *)part);
        pthread_barrier_wait(&meeting);
    }
    return NULL;
}

static void uneven(double millions) {
    double parts[2] = {millions / 40, millions / 120};
    pthread_t threads[2];
    pthread_barrier_init(&meeting, NULL, 2);
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, meets, &parts[i]);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
}

static void flushes(const char *path, double seconds) {
    static char block[65536];
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    double disk = 0, end = wall() + seconds;
    while (wall() < end) {
        double w = wall(), m = mine();
        if (pwrite(fd, block, sizeof block, 0) < 0) exit(1);
        fsync(fd);
        disk += wall() - w - (mine() - m);
    }
    add(DISK, disk);
    close(fd);
    unlink(path);
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    const char *name = argv[1];
    double began = wall(), x = argc > 2 ? atof(argv[2]) : 1;
    if (!strcmp(name, "cpu")) together(x, compute, &(double){argc > 3 ? atof(argv[3]) : 400});
    else if (!strcmp(name, "compute")) sink += spin(x);
    else if (!strcmp(name, "convoy-sleep")) together(8, convoy, &(struct convoy){x, 10, 0, 0.01});
    else if (!strcmp(name, "convoy-cpu")) together(8, convoy, &(struct convoy){x, 0, 0.2, 0.01});
    else if (!strcmp(name, "sleepers")) together(4, sleeper, &x);
    else if (!strcmp(name, "spinlock")) together(2, spins, &x);
    else if (!strcmp(name, "idle-pool")) idle_pool(x);
    else if (!strcmp(name, "crowd")) crowd(x, argc > 3 ? atof(argv[3]) : 1000);
    else if (!strcmp(name, "uneven")) uneven(x);
    else if (!strcmp(name, "fsync")) flushes(argv[3], x);
    else return 2;
    const char *truth = getenv("TRUTH");
    if (truth) {
        struct rusage u;
        getrusage(RUSAGE_SELF, &u);
        FILE *f = fopen(truth, "w");
        fprintf(f, "{\"wall\": %f, \"cpu\": %f, \"lock\": %f, \"sleep\": %f, \"disk\": %f}\n", wall() - began,
                u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6, waited[LOCK],
                waited[SLEEP], waited[DISK]);
        fclose(f);
    }
    return 0;
}
