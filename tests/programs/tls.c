/* A library with SIZE bytes of initialised thread-local storage, of which every thread gets a copy.
 * glibc takes them out of the thread's stack.  Loaded into the server with LD_PRELOAD. */
#ifndef SIZE
#define SIZE 49000
#endif
_Thread_local char thread_local_bytes[SIZE] = {1};
