/* The pseudo-random bytes that the test programs send.  Each byte is a function of its position in
 * the stream, so a receiver can tell which byte came back where another was expected. */
#ifndef STREAM_H
#define STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define STREAM_END (UINT64_C(1) << 41) /* no position is as large as this */

/* The stream is a sequence of 8-byte words; word number `index` is splitmix64 of its index. */
static inline uint64_t stream_word(uint64_t index)
{
    uint64_t word = (index + 1) * 0x9e3779b97f4a7c15u;

    word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9u;
    word = (word ^ (word >> 27)) * 0x94d049bb133111ebu;
    return word ^ (word >> 31);
}

/* The inverse of stream_word(). */
static inline uint64_t stream_index(uint64_t word)
{
    word = (word ^ (word >> 31) ^ (word >> 62)) * 0x319642b2d24d8ec3u;
    word = (word ^ (word >> 27) ^ (word >> 54)) * 0x96de1b173f119089u;
    word = word ^ (word >> 30) ^ (word >> 60);
    return word * 0xf1de83e19937733du - 1;
}

/* Write `length` bytes of the stream, from `position` on, into the buffer. */
static inline void make_stream(unsigned char *buffer, uint64_t position, size_t length)
{
    while (length > 0) {
        uint64_t word = stream_word(position / 8);
        size_t skip = (size_t)(position % 8), take = 8 - skip < length ? 8 - skip : length;
        memcpy(buffer, (unsigned char *)&word + skip, take);
        buffer += take;
        position += take;
        length -= take;
    }
}

/* Find the position in the stream of these bytes.  Returns false if they are fewer than 23 or not
 * part of the stream. */
static inline bool find_in_stream(const unsigned char *bytes, size_t length, uint64_t *position)
{
    unsigned char expected[23];

    for (size_t skip = 0; skip < 8 && length >= sizeof expected; skip++) {
        uint64_t word;
        memcpy(&word, bytes + skip, sizeof word);
        uint64_t start = stream_index(word) * 8 - skip;
        if (start >= STREAM_END)
            continue;
        make_stream(expected, start, sizeof expected);
        if (memcmp(expected, bytes, sizeof expected) == 0) {
            *position = start;
            return true;
        }
    }
    return false;
}

#endif
