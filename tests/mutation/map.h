/* map.h: what tests/mutation/run --map appends to a source file in which each mutant's place calls
 * mutant_is().  A program that is built so writes a file that says for which mutants a value was
 * different from the mutant's.  A test that ran only programs without such a difference cannot
 * notice the mutant. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define MUTANTS_SIZE 3584 /* one byte for each mutant, */
#define TEST_SIZE 512     /* and then the name of the test */

__attribute__((weak)) unsigned char *mutant_map;

/* `value` is what the source computes, and `mutant` what the mutant puts in its place. */
__attribute__((weak)) int mutant_is(int id, int value, int mutant)
{
    if (mutant_map != NULL && value != mutant && id < MUTANTS_SIZE)
        mutant_map[id] = 1;
    return value;
}

__attribute__((weak, constructor)) void mutant_map_open(void)
{
    const char *folder = getenv("MUTANT_MAPS"), *test = getenv("MUTANT_TEST");
    static char path[500], name[TEST_SIZE];
    struct rlimit limit;
    void *map = MAP_FAILED;

    if (mutant_map != NULL || folder == NULL || test == NULL)
        return;
    snprintf(path, sizeof path, "%s/XXXXXX", folder);
    snprintf(name, sizeof name, "%s", test);
    int fd = mkstemp(path);
    if (fd == -1)
        return;
    fchmod(fd, 0644);
    getrlimit(RLIMIT_FSIZE, &limit); /* some tests limit the size of files */
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY});
    if (pwrite(fd, name, sizeof name, MUTANTS_SIZE) > 0)
        map = mmap(NULL, MUTANTS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    setrlimit(RLIMIT_FSIZE, &limit);
    close(fd);
    mutant_map = map == MAP_FAILED ? NULL : map;
}
