/* A server for `make bench` with libuv, like the echo server in its guide: it allocates a buffer
 * for each read and passes it to the write.  Usage: libuv PORT */
#define _DEFAULT_SOURCE

#include <netinet/in.h>
#include <stdlib.h>
#include <uv.h>

struct answer {
    uv_write_t request;
    uv_buf_t buffer;
};

static void give_buffer(uv_handle_t *client, size_t suggested, uv_buf_t *buffer)
{
    (void)client;
    *buffer = uv_buf_init(malloc(suggested), (unsigned)suggested);
}

static void has_closed(uv_handle_t *client)
{
    free(client);
}

static void has_written(uv_write_t *request, int status)
{
    struct answer *answer = (struct answer *)request;

    (void)status;
    free(answer->buffer.base);
    free(answer);
}

static void has_read(uv_stream_t *client, ssize_t n, const uv_buf_t *buffer)
{
    if (n <= 0) {
        free(buffer->base);
        if (n < 0)
            uv_close((uv_handle_t *)client, has_closed);
        return;
    }
    struct answer *answer = malloc(sizeof *answer);
    if (answer == NULL)
        abort();
    answer->buffer = uv_buf_init(buffer->base, (unsigned)n);
    uv_write(&answer->request, client, &answer->buffer, 1, has_written);
}

static void can_accept(uv_stream_t *listener, int status)
{
    uv_tcp_t *client = malloc(sizeof *client);

    if (client == NULL || status < 0)
        abort();
    uv_tcp_init(listener->loop, client);
    if (uv_accept(listener, (uv_stream_t *)client) == 0) {
        uv_tcp_nodelay(client, 1);
        uv_read_start((uv_stream_t *)client, give_buffer, has_read);
    } else {
        uv_close((uv_handle_t *)client, has_closed);
    }
}

int main(int argc, char **argv)
{
    uv_loop_t *loop = uv_default_loop();
    struct sockaddr_in address;
    uv_tcp_t listener;

    if (argc != 2)
        return 2;
    uv_ip4_addr("127.0.0.1", atoi(argv[1]), &address);
    uv_tcp_init(loop, &listener);
    if (uv_tcp_bind(&listener, (struct sockaddr *)&address, 0) != 0 ||
        uv_listen((uv_stream_t *)&listener, SOMAXCONN, can_accept) != 0)
        return 1;
    return uv_run(loop, UV_RUN_DEFAULT);
}
