/* Playing the network card: Ethernet frames, built by this program. */
#ifndef TAP_H
#define TAP_H

#include "recording.h"

struct tap_host;

/* Use `fd`, the card's end of a TAP device.  `print`: at the end, print each frame that matters. */
struct tap_host *tap_open(int fd, unsigned port, bool print, struct recording *recording);
bool tap_connect(struct tap_host *host);
bool tap_warm_up(struct tap_host *host, unsigned echoes);
/* Send a message in this many frames, stamp them, and receive the echo. */
bool tap_echo(struct tap_host *host, unsigned frames);
void tap_close(struct tap_host *host);

#endif
