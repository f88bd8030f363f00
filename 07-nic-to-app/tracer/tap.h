/* Being a network card: Ethernet frames, written by hand. */
#ifndef TAP_H
#define TAP_H

#include "recording.h"

struct tap_host;

/* The end of a TAP device that is the card's.  `tell`: print each frame that matters. */
struct tap_host *tap_open(int fd, unsigned port, bool tell, struct recording *recording);
bool tap_connect(struct tap_host *host);
bool tap_warm_up(struct tap_host *host, unsigned echoes);
/* Send a message in so many frames, and take the answer; the frames are stamped. */
bool tap_echo(struct tap_host *host, unsigned frames);
void tap_close(struct tap_host *host);

#endif
