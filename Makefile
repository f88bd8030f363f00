# The front door: `make help` says what there is.
#
# Plain POSIX make.  Every decision is in tests/front, so GNU make and BSD make do the same.
# What you give on the command line (V=1 PORT=7000 ARGS=-e STAGE=04 SERVER=./mine CC=clang ...)
# reaches it in the environment; POSIX has every make do that, and no quoting can go wrong.
FRONT = exec env MAKE='$(MAKE)' sh tests/front

.PHONY: all help tour doctor test tests bench prove check book clean
.PHONY: 01-blocking 02-select 03-poll 04-epoll 05-kqueue 06-selector 07-nic-to-app
.PHONY: 01-blocking/ 02-select/ 03-poll/ 04-epoll/ 05-kqueue/ 06-selector/ 07-nic-to-app/

all:
	@$(FRONT) all

# These names are folders as well, so make has to be told that they are targets.
help tour doctor test tests bench prove check book clean:
	@$(FRONT) $@
01-blocking 02-select 03-poll 04-epoll 05-kqueue 06-selector 07-nic-to-app:
	@$(FRONT) $@
01-blocking/ 02-select/ 03-poll/ 04-epoll/ 05-kqueue/ 06-selector/ 07-nic-to-app/:
	@$(FRONT) $@

# Everything else: 04, run-04, diff-04-epoll, test-04, and what does not exist.
.DEFAULT:
	@$(FRONT) '$<'
