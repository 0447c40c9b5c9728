/* Two tun devices with a wire between them: a round trip, a rate, and a router's queue.
 *
 *     wire DEVICE DEVICE ROUND_TRIP_MS MEGABITS QUEUE_MS
 *
 * What enters one device leaves the other, as late as the wire is long and no faster than its
 * rate. What would have to wait longer than the queue holds is dropped, as routers do. It makes
 * the devices, says so with a line on stdout, and works until it is killed.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 16384, LARGEST = 2048 };
static const int64_t SECOND = 1000000000, SHORTEST_NAP = 100000;

typedef struct {
    int64_t due;
    ssize_t size;
    char bytes[LARGEST];
} Packet;

/* One direction, with a thread of its own; packets stand in a ring, in the order of their times. */
typedef struct {
    int from, to;
    int64_t one_way, longest_wait, free_at;
    double nanoseconds_a_byte;
    unsigned first, count;
    Packet *ring;
} Direction;

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

static void take_in(Direction *way) {
    for (;;) {
        Packet *packet = &way->ring[(way->first + way->count) % MOST];
        packet->size = read(way->from, packet->bytes, LARGEST);
        if (packet->size <= 0)
            return;
        int64_t time = now();
        int64_t begins = way->free_at > time ? way->free_at : time;
        if (begins - time > way->longest_wait || way->count == MOST - 1)
            continue;
        way->free_at = begins + (int64_t)(packet->size * way->nanoseconds_a_byte);
        packet->due = way->free_at + way->one_way;
        way->count++;
    }
}

static void give_out(Direction *way) {
    for (; way->count; way->first = (way->first + 1) % MOST, way->count--) {
        Packet *packet = &way->ring[way->first];
        if (packet->due > now())
            return;
        if (write(way->to, packet->bytes, packet->size) < 0) {
            /* The device is down or full: the packet is lost. */
        }
    }
}

static void *work(void *given) {
    Direction *way = given;
    for (;;) {
        int64_t nap = way->count ? way->ring[way->first].due - now() : SECOND;
        if (nap < SHORTEST_NAP)
            nap = way->count ? SHORTEST_NAP : nap;
        struct timespec longest = {nap / SECOND, nap % SECOND};
        struct pollfd readable = {way->from, POLLIN, 0};
        ppoll(&readable, 1, &longest, NULL);
        take_in(way);
        give_out(way);
    }
    return NULL;
}

static int open_device(const char *name) {
    struct ifreq asked = {0};
    int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    asked.ifr_flags = IFF_TUN | IFF_NO_PI;
    strncpy(asked.ifr_name, name, IFNAMSIZ - 1);
    if (device < 0 || ioctl(device, TUNSETIFF, &asked) < 0) {
        perror(name);
        exit(1);
    }
    return device;
}

int main(int count, char **words) {
    if (count != 6) {
        fprintf(stderr, "usage: wire DEVICE DEVICE ROUND_TRIP_MS MEGABITS QUEUE_MS\n");
        return 2;
    }
    int ends[2] = {open_device(words[1]), open_device(words[2])};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        Direction *way = calloc(1, sizeof *way);
        way->from = ends[i];
        way->to = ends[1 - i];
        way->one_way = (int64_t)(atof(words[3]) * 1e6 / 2);
        way->nanoseconds_a_byte = 8e3 / atof(words[4]);
        way->longest_wait = (int64_t)(atof(words[5]) * 1e6);
        way->ring = calloc(MOST, sizeof *way->ring);
        pthread_create(&threads[i], NULL, work, way);
    }
    puts("ready");
    fflush(stdout);
    pthread_join(threads[0], NULL);
    return 0;
}
