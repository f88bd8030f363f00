# foreign-event.py PID NUMBER: make an event for a descriptor that no client of the server has.  Adds the read end
# of a pipe, under this number, to the server's epoll instance, and returns when the server has the event.
# Exit code: 77 if a descriptor of the server cannot be copied here.
import ctypes, os, select, sys, time
pid, number = int(sys.argv[1]), int(sys.argv[2])
link = "/proc/%d/fd/" % pid
epoll = next(int(fd) for fd in os.listdir(link) if "[eventpoll]" in os.readlink(link + fd))
libc = ctypes.CDLL(None)
copy = libc.syscall(438, libc.syscall(434, pid, 0), epoll, 0)  # pidfd_getfd(pidfd_open())
if copy == -1:
    sys.exit(77)
reading, writing = os.pipe()
os.dup2(reading, number)
instance = select.epoll.fromfd(copy)
instance.register(number, select.EPOLLIN | select.EPOLLONESHOT)
os.write(writing, b"x")
for _ in range(500):  # EPOLLONESHOT: once the server has the event, EPOLLIN is not set any more
    time.sleep(0.01)
    entries = [line.split() for line in open("/proc/self/fdinfo/%d" % copy)]
    if [1 for e in entries if e[:2] == ["tfd:", str(number)] and int(e[3], 16) & select.EPOLLIN == 0]:
        sys.exit(0)
sys.exit("the server did not take the event")
