/*
 * An example of a sidecar: it plays a camera to camagent by the protocol of
 * docs/sidecar.md. The camera's video is a file in H.264 Annex B, replayed in a
 * loop; its microphone hears a tone of 1 kHz; it has a lamp, an LED, and a
 * button, which SIGUSR1 presses. A real one calls its SDK where this one reads
 * its file; the rest may stay as it is.
 *
 *	cc -O2 -Wall -Wextra -Werror -o sidecar sidecar.c
 *	./sidecar FILE [FPS]
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { HELLO = 1, VIDEO, SOUND, REPLY, EVENT, COMMAND = 65 }; /* types of messages */
enum { OK, FAILED, NOT_FOUND, BUSY, UNKNOWN };                /* details of replies */
#define MAX_FRAMES 100000
#define SECOND 1000000000ull

static struct frame { size_t at, size; int key; } frames[MAX_FRAMES];
static unsigned char *file;
static int count, next, fps = 25;   /* frames of the file, the one that is next */
static int streaming, listening;    /* what camagent has started */
static uint64_t video_due, sound_due;
static volatile sig_atomic_t pressed;

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, errno ? strerror(errno) : "wrong"); /* goes to camagent's log */
	exit(1);
}

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

/* message writes one message: its header of 16 bytes, little endian, and its body. */
static void message(int type, int detail, unsigned number, uint64_t stamp, const void *body, size_t size)
{
	unsigned char h[16] = { size, size >> 8, size >> 16, size >> 24, type, detail, number, number >> 8 };
	for (int i = 0; i < 8; i++)
		h[8 + i] = stamp >> 8 * i;
	if (fwrite(h, sizeof h, 1, stdout) != 1 || (size && fwrite(body, size, 1, stdout) != 1) || fflush(stdout))
		die("writing to camagent");
}

static void text(int type, int detail, unsigned number, const char *s)
{
	message(type, detail, number, now(), s, strlen(s));
}

/* seek_key goes to the next key frame of the file. */
static void seek_key(void)
{
	for (int i = 0; i < count && !frames[next].key; i++)
		next = (next + 1) % count;
}

/* command does what camagent wants, and answers: every command with a number gets one reply. */
static void command(unsigned number, char *s)
{
	const char *answer = "";
	int detail = OK, value;
	char name[33];
	if (strncmp(s, "start main ", 11) == 0) {
		streaming = 1; /* a real one looks at the wish: width height fps gop bitrate */
		video_due = now();
		seek_key();
		static char does[64];
		snprintf(does, sizeof does, "0 0 %d 0 0", fps); /* what it will do, in the same order; 0: not known */
		answer = does;
	} else if (strcmp(s, "stop main") == 0) {
		streaming = 0;
	} else if (strcmp(s, "keyframe main") == 0) {
		next = (next + 1) % count;
		seek_key();
	} else if (sscanf(s, "microphone %d", &value) == 1) {
		listening = value;
		sound_due = now();
	} else if (sscanf(s, "light white %d", &value) == 1) {
		fprintf(stderr, "lamp at %d %%\n", value); /* a PWM's duty cycle, say */
	} else if (sscanf(s, "led %32s %d", name, &value) == 2) {
		fprintf(stderr, "LED %s on for %d ms at a time\n", name, value);
	} else {
		detail = UNKNOWN;
		answer = "no such command";
	}
	if (number)
		text(REPLY, detail, number, answer);
}

/* receive reads one message. */
static void receive(void)
{
	static char body[65537];
	unsigned char h[16];
	if (fread(h, sizeof h, 1, stdin) != 1)
		exit(0); /* camagent is gone, or wants us to end */
	size_t size = h[0] | h[1] << 8 | h[2] << 16 | (size_t)h[3] << 24;
	if (size >= sizeof body)
		die("message too long");
	if (size && fread(body, size, 1, stdin) != 1)
		exit(0);
	body[size] = 0;
	if (h[4] == COMMAND) /* others are ignored, so that the protocol can grow */
		command(h[6] | h[7] << 8, body);
}

/* load finds the frames: one begins with what is no slice, or with a first slice, after a slice. */
static void load(const char *path)
{
	FILE *f = fopen(path, "rb");
	if (!f || fseek(f, 0, SEEK_END) != 0)
		die(path);
	size_t size = ftell(f), i;
	rewind(f);
	file = malloc(size);
	if (!file || fread(file, 1, size, f) != size)
		die(path);
	fclose(f);
	int slices = 1, first = 1;
	for (i = 0; i + 4 < size; i++) {
		if (file[i] || file[i + 1] || file[i + 2] != 1)
			continue;
		int type = file[i + 3] & 31, slice = type == 1 || type == 5;
		if ((first || slices) && (!slice || file[i + 4] & 0x80) && count < MAX_FRAMES) {
			frames[count++].at = i > 0 && file[i - 1] == 0 ? i - 1 : i;
			slices = first = 0;
		}
		slices |= slice;
		if (count > 0)
			frames[count - 1].key |= type == 5;
	}
	for (i = 0; i < (size_t)count; i++)
		frames[i].size = (i + 1 < (size_t)count ? frames[i + 1].at : size) - frames[i].at;
	seek_key();
	errno = 0;
	if (count == 0 || !frames[next].key)
		die("no key frame in the file");
}

static void press(int sig) { pressed = sig; }

int main(int argc, char **argv)
{
	static const unsigned char period[] = { 0x1e, 0x0b, 0x0b, 0x1e, 0x9e, 0x8b, 0x8b, 0x9e }; /* G.711, table 5 */
	unsigned char tone[160]; /* 20 ms */
	struct sigaction a = { .sa_handler = press, .sa_flags = SA_RESTART };
	if (argc < 2 || (argc > 2 && (fps = atoi(argv[2])) < 1))
		die("usage: sidecar FILE [FPS]");
	load(argv[1]);
	for (size_t i = 0; i < sizeof tone; i++)
		tone[i] = period[i % sizeof period];
	sigaction(SIGUSR1, &a, NULL);
	setvbuf(stdin, NULL, _IONBF, 0); /* poll is to see what was not read */
	text(HELLO, 0, 0, "{\"protocol\":1,\"model\":\"example\",\"streams\":[{\"name\":\"main\"}],\"keyframe\":true,"
		"\"microphone\":{\"codec\":\"pcmu\",\"rate\":8000,\"channels\":1},"
		"\"lights\":[\"white\"],\"leds\":[\"status\"],\"buttons\":[\"bell\"]}");
	for (;;) {
		uint64_t t = now(), due = t + SECOND;
		if (video_due + SECOND < t) /* we were stopped: frames are not made up for */
			video_due = t;
		if (sound_due + SECOND < t)
			sound_due = t;
		if (streaming && video_due <= t) {
			message(VIDEO, 0, 0, video_due, file + frames[next].at, frames[next].size);
			next = (next + 1) % count;
			video_due += SECOND / fps;
		}
		if (listening && sound_due <= t) {
			message(SOUND, 0, sizeof tone, sound_due, tone, sizeof tone);
			sound_due += SECOND / 50;
		}
		if (streaming && video_due < due)
			due = video_due;
		if (listening && sound_due < due)
			due = sound_due;
		struct pollfd in = { .fd = 0, .events = POLLIN };
		int n = poll(&in, 1, due > t ? (due - t + 999999) / 1000000 : 0);
		if (pressed) {
			pressed = 0;
			text(EVENT, 0, 0, "button bell 1");
			text(EVENT, 0, 0, "button bell 0");
		}
		if (n > 0)
			receive();
	}
}
