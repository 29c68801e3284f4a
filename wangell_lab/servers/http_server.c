/*
 * The fastest server a cold start can have: what is left of the time is the platform's.
 * Also a slow one, and one with a short backlog, for tests.
 *
 *   cc -O2 -static -o http_server http_server.c
 *   http_server [-p PORT] [-d MS before listen()] [-b BACKLOG] [-a MS before the first accept()]
 *
 * Without -p its port is $PORT, as with Knative, or 8080.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	EVENTS_AT_ONCE = 64,
	REQUEST_BYTES_MAX = 4096,
	DELAY_MS_MAX = 600 * 1000,	/* a test that waits longer waits for a mistake */
	SOMAXCONN_HERE = 65535,
};

static const char response[] =
	"HTTP/1.1 200 OK\r\n"
	"Content-Type: text/plain\r\n"
	"Content-Length: 6\r\n"
	"Connection: close\r\n"
	"\r\n"
	"hello\n";

static int number(const char *text, int most)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*text == '\0' || *end != '\0' || value < 0 || value > most)
		errx(2, "%s: not a number from 0 to %d", text, most);
	return value;
}

static void wait_ms(int ms)
{
	struct timespec left = { ms / 1000, ms % 1000 * 1000000L };

	while (nanosleep(&left, &left) == -1 && errno == EINTR)
		;
}

static int listen_on(int port, int backlog)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(port) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	if (listener == -1)
		err(1, "socket");
	/* The server before may have left connections in TIME_WAIT. */
	if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1)
		err(1, "SO_REUSEADDR");
	if (bind(listener, (struct sockaddr *)&any, sizeof(any)) == -1)
		err(1, "bind to port %d", port);
	if (listen(listener, backlog) == -1)
		err(1, "listen");
	return listener;
}

static void watch(int epoll, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == -1)
		err(1, "epoll_ctl");
}

/* A caller that went away is its own affair, so failures here end only its connection. */
static void answer(int connection)
{
	char request[REQUEST_BYTES_MAX];

	if (read(connection, request, sizeof(request)) > 0)
		(void)!send(connection, response, strlen(response), MSG_NOSIGNAL);
	close(connection);
}

int main(int argc, char **argv)
{
	const char *assigned = getenv("PORT");
	int port = assigned ? number(assigned, 65535) : 8080;
	int listen_delay_ms = 0, backlog = 128, accept_delay_ms = 0;
	struct epoll_event events[EVENTS_AT_ONCE];
	int option, listener, epoll;

	while ((option = getopt(argc, argv, "p:d:b:a:")) != -1) {
		switch (option) {
		case 'p': port = number(optarg, 65535); break;
		case 'd': listen_delay_ms = number(optarg, DELAY_MS_MAX); break;
		case 'b': backlog = number(optarg, SOMAXCONN_HERE); break;
		case 'a': accept_delay_ms = number(optarg, DELAY_MS_MAX); break;
		default: return 2;
		}
	}
	wait_ms(listen_delay_ms);
	listener = listen_on(port, backlog);
	wait_ms(accept_delay_ms);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll == -1)
		err(1, "epoll_create1");
	watch(epoll, listener);
	for (;;) {
		int ready = epoll_wait(epoll, events, EVENTS_AT_ONCE, -1);

		for (int i = 0; i < ready; i++) {
			int connection;

			if (events[i].data.fd != listener) {
				answer(events[i].data.fd);
				continue;
			}
			connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
			if (connection != -1)
				watch(epoll, connection);
		}
	}
}
