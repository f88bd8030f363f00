# Start here: `make help` says what there is.
#
# Plain POSIX make.  tests/commands/targets decides everything, so GNU make and BSD make do the same.
# What you give on the command line (V=1 PORT=7000 ARGS=-e STAGE=04 SERVER=./mine CC=clang ...)
# reaches it in the environment; POSIX has every make do that, and no quoting can go wrong.
TARGET = exec env MAKE='$(MAKE)' sh tests/commands/targets

.PHONY: all help tour doctor test tests bench prove check book clean
.PHONY: 01-blocking 02-select 03-poll 04-epoll 05-kqueue 06-selector 07-nic-to-app
.PHONY: 01-blocking/ 02-select/ 03-poll/ 04-epoll/ 05-kqueue/ 06-selector/ 07-nic-to-app/

all:
	@$(TARGET) all

# These names are folders as well, so make has to be told that they are targets.
help tour doctor test tests bench prove check book clean:
	@$(TARGET) $@
01-blocking 02-select 03-poll 04-epoll 05-kqueue 06-selector 07-nic-to-app:
	@$(TARGET) $@
01-blocking/ 02-select/ 03-poll/ 04-epoll/ 05-kqueue/ 06-selector/ 07-nic-to-app/:
	@$(TARGET) $@

# Everything else: 04, run-04, diff-04-epoll, test-04, and what does not exist.
.DEFAULT:
	@$(TARGET) '$<'
