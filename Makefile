# The entry point: `make help` lists the targets.
#
# The targets are in the script tests/front, so that GNU make and BSD make do the same.  Variables on
# make's command line (V=1 PORT=7000 ARGS=-e STAGE=04 SERVER=./mine CC=clang) reach the script in the
# environment, as POSIX requires of every make, so none of them has to be quoted here.
FRONT = exec env MAKE='$(MAKE)' sh tests/front

.PHONY: all help tour doctor test tests bench prove sync check book clean
.PHONY: 01-blocking 02-select 03-poll 04-epoll 05-kqueue 06-selector 07-nic-to-app
.PHONY: 01-blocking/ 02-select/ 03-poll/ 04-epoll/ 05-kqueue/ 06-selector/ 07-nic-to-app/

all:
	@$(FRONT) all

# Some of these targets are also the names of folders, hence the .PHONY above.
help tour doctor test tests bench prove sync check book clean:
	@$(FRONT) $@
01-blocking 02-select 03-poll 04-epoll 05-kqueue 06-selector 07-nic-to-app:
	@$(FRONT) $@
01-blocking/ 02-select/ 03-poll/ 04-epoll/ 05-kqueue/ 06-selector/ 07-nic-to-app/:
	@$(FRONT) $@

# All other targets: 04, run-04, diff-04-epoll, test-04, and unknown names.
.DEFAULT:
	@$(FRONT) '$<'
