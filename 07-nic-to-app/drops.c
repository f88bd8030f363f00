/* trace drops [KIND...]: provoke the kernel's drops. */
#define _GNU_SOURCE

#include "drops.h"

#include <signal.h>
#include <string.h>
#include <stdlib.h>
volatile sig_atomic_t stopped;

int main(int argc, char **argv)
{
    char why[WHY_SIZE] = "";
    if (!wire_open(why) || !watch_open(why)) { puts(why); return 1; }
    for (size_t i = 0; i < kind_count; i++) {
        struct result r;
        if (argc > 1 && strcmp(argv[1], kinds[i].name)) continue;
        kind_run(&kinds[i], &r);
        printf("%-16s %s seen=%d end=%d hop=%s reason=%s fn=%s\n", kinds[i].name, r.not_tried ? r.not_tried : "", r.was_seen, r.verdict.end, hops[r.verdict.hop].name, r.verdict.reason, r.verdict.function);
        for (size_t j = 0; j < r.increases.count; j++) printf("    %s +%llu\n", r.increases.list[j].name, r.increases.list[j].by);
        printf("  C %s\n  S %s\n", r.client, r.server);
        fflush(stdout);
    }
    watch_close(); wire_close();
}
