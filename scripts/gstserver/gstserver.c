/*
 * gstserver: GStreamer's RTSP server on a loopback port, for the tests of
 * hal/onboard.
 *
 *   gstserver [--port N] [--user NAME --password WORD [--basic]] [--udp] PATH PIPELINE ...
 *
 * Each PIPELINE, in the words of gst-launch with payloaders named pay0, pay1 …,
 * is served at its PATH, from its beginning to every client. The port goes to
 * standard output, on a line. With a user, clients need it, by Digest or by
 * Basic. It ends when standard input does, so that it doesn't outlive who
 * started it.
 *
 * Build: cc gstserver.c -o gstserver $(pkg-config --cflags --libs gstreamer-rtsp-server-1.0)
 */
#include <gst/gst.h>
#include <gst/rtsp-server/rtsp-server.h>
#include <stdio.h>

#define ROLE "viewer"

static char *port = "0", *user, *password;
static gboolean basic, udp;

static GOptionEntry options[] = {
	{"port", 0, 0, G_OPTION_ARG_STRING, &port, "port, 0: any", "N"},
	{"user", 0, 0, G_OPTION_ARG_STRING, &user, "who may look", "NAME"},
	{"password", 0, 0, G_OPTION_ARG_STRING, &password, "by which word", "WORD"},
	{"basic", 0, 0, G_OPTION_ARG_NONE, &basic, "ask for it by Basic", NULL},
	{"udp", 0, 0, G_OPTION_ARG_NONE, &udp, "no RTP by TCP", NULL},
	{NULL},
};

static void ask(GstRTSPServer *server)
{
	GstRTSPAuth *auth = gst_rtsp_auth_new();
	GstRTSPToken *token = gst_rtsp_token_new(GST_RTSP_TOKEN_MEDIA_FACTORY_ROLE, G_TYPE_STRING, ROLE, NULL);

	if (basic) {
		char *word = gst_rtsp_auth_make_basic(user, password);

		gst_rtsp_auth_set_supported_methods(auth, GST_RTSP_AUTH_BASIC);
		gst_rtsp_auth_add_basic(auth, word, token);
		g_free(word);
	} else {
		gst_rtsp_auth_set_supported_methods(auth, GST_RTSP_AUTH_DIGEST);
		gst_rtsp_auth_add_digest(auth, user, password, token);
	}
	gst_rtsp_token_unref(token);
	gst_rtsp_server_set_auth(server, auth);
	g_object_unref(auth);
}

static void serve(GstRTSPServer *server, const char *path, const char *pipeline)
{
	GstRTSPMountPoints *mounts = gst_rtsp_server_get_mount_points(server);
	GstRTSPMediaFactory *factory = gst_rtsp_media_factory_new();
	char *launch = g_strdup_printf("( %s )", pipeline);

	gst_rtsp_media_factory_set_launch(factory, launch);
	if (udp)
		gst_rtsp_media_factory_set_protocols(factory, GST_RTSP_LOWER_TRANS_UDP);
	if (user)
		gst_rtsp_media_factory_add_role(factory, ROLE,
			GST_RTSP_PERM_MEDIA_FACTORY_ACCESS, G_TYPE_BOOLEAN, TRUE,
			GST_RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, G_TYPE_BOOLEAN, TRUE, NULL);
	gst_rtsp_mount_points_add_factory(mounts, path, factory);
	g_object_unref(mounts);
	g_free(launch);
}

static gboolean over(GIOChannel *in, GIOCondition condition, gpointer loop)
{
	g_main_loop_quit(loop);
	return FALSE;
}

int main(int argc, char **argv)
{
	GError *error = NULL;
	GOptionContext *context = g_option_context_new("PATH PIPELINE ...");

	g_option_context_add_main_entries(context, options, NULL);
	g_option_context_add_group(context, gst_init_get_option_group());
	if (!g_option_context_parse(context, &argc, &argv, &error)) {
		fprintf(stderr, "gstserver: %s\n", error->message);
		return 2;
	}
	GMainLoop *loop = g_main_loop_new(NULL, FALSE);
	GstRTSPServer *server = gst_rtsp_server_new();

	gst_rtsp_server_set_address(server, "127.0.0.1");
	gst_rtsp_server_set_service(server, port);
	if (user)
		ask(server);
	for (int i = 1; i + 1 < argc; i += 2)
		serve(server, argv[i], argv[i + 1]);
	if (gst_rtsp_server_attach(server, NULL) == 0) {
		fprintf(stderr, "gstserver: port %s can't be had\n", port);
		return 1;
	}
	printf("%d\n", gst_rtsp_server_get_bound_port(server));
	fflush(stdout);
	g_io_add_watch(g_io_channel_unix_new(0), G_IO_HUP, over, loop);
	g_main_loop_run(loop);
	return 0;
}
