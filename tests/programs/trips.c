/* For tests/trace.bats: judge the round trips of a recording, which is on standard input.
 *
 * It prints how many there are, how many are complete, and of how many the shares add up to what
 * the client's own clock said; and a line for each hop that is not there: its name, its state, and
 * the thread, the CPU and the time at which the next event shows that the thread ran. */
#include "journey.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void recording_free(struct recording *recording)
{
    free(recording->events);
    *recording = (struct recording){0};
}

/* The time of the next event with this name, from `*at` on; the clock does not depend on journeys. */
static uint64_t next_time(const struct recording *recording, const char *name, size_t *at)
{
    while (*at < recording->count && strcmp(event_label(&recording->events[*at]), name) != 0)
        ++*at;
    return *at < recording->count ? recording->events[(*at)++].ns : 0;
}

static void show_missing(const struct journey *leg)
{
    static const struct event none;

    for (int hop = 0; hop < HOP_ACK; hop++) {
        const struct event *ran = leg->at[leg->at[HOP_WAIT] != NULL ? HOP_WAIT : HOP_COPY];
        enum hop_state state = leg->state[hop];
        if (ran == NULL)
            ran = &none;
        if (state == NOT_SEEN || state == NOT_NEEDED || state == MERGED)
            printf("missing %s %s %d %d %" PRIu64 "\n", hops[hop].name,
                   state == NOT_SEEN ? "not-seen" : "other", ran->pid, ran->cpu, ran->ns);
    }
}

int main(void)
{
    struct recording recording;
    struct journeys journeys;
    char problem[160];
    size_t equal = 0, start = 0, done = 0;

    if (!recording_read(&recording, stdin, problem, sizeof problem) ||
        !stitch(&recording, WAY_BOTH, &journeys))
        return 1;
    for (unsigned i = 0; i < recording.skip; i++) { /* the first one prepares the server */
        next_time(&recording, "client_starts", &start);
        next_time(&recording, "client_is_done", &done);
    }
    for (size_t i = 0; i < journeys.count; i++) {
        const struct journey *trip = &journeys.list[i];
        uint64_t ns[SHARES], began = next_time(&recording, "client_starts", &start);
        uint64_t took = next_time(&recording, "client_is_done", &done) - began;
        equal += journey_shares(trip, ns) + journey_shares(trip->reply, ns) == took;
        for (; trip != NULL && journeys.list[i].outcome != COMPLETE; trip = trip->reply)
            show_missing(trip);
    }
    printf("%zu trips, %zu complete, %zu add up\n", journeys.count, journeys.outcomes[COMPLETE],
           equal);
    free(journeys.list);
    free(journeys.other);
    recording_free(&recording);
    return 0;
}
