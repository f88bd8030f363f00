# The entry point: `make help` lists the targets.
#
# The targets are in the script tests/commands/targets, so that GNU make and BSD make do the same.  Variables on
# make's command line (V=1 PORT=7000 ARGS=-e STAGE=04 SERVER=./mine CC=clang) reach the script in the
# environment, as POSIX requires of every make, so none of them has to be quoted here.
TARGET = exec env MAKE='$(MAKE)' sh tests/commands/targets

.PHONY: all help tour doctor test tests torture bench prove sync check book pack clean
.PHONY: lab start reset grade watch see hint solution
.PHONY: 01-blocking 02-select 03-poll 04-epoll 05-kqueue 06-selector 07-nic-to-app
.PHONY: 01-blocking/ 02-select/ 03-poll/ 04-epoll/ 05-kqueue/ 06-selector/ 07-nic-to-app/

all:
	@$(TARGET) all

# Some of these targets are also the names of folders, hence the .PHONY above.
help tour doctor test tests torture bench prove sync check book pack clean:
	@$(TARGET) $@
lab start reset grade watch see hint solution: # `make solution >solution` makes a file of this name
	@$(TARGET) $@
01-blocking 02-select 03-poll 04-epoll 05-kqueue 06-selector 07-nic-to-app:
	@$(TARGET) $@
01-blocking/ 02-select/ 03-poll/ 04-epoll/ 05-kqueue/ 06-selector/ 07-nic-to-app/:
	@$(TARGET) $@

# All other targets: 04, run-04, diff-04-epoll, test-04, and unknown names.
.DEFAULT:
	@$(TARGET) '$<'
