/*
 * gsttalk: a client of GStreamer's that talks, for the tests of the back channel.
 *
 *   gsttalk LOCATION tcp|udp USER PASSWORD SECONDS
 *
 * It watches LOCATION, and says a tone of 400 Hz for SECONDS once that plays.
 * What it has seen goes to standard output: the number of pictures.
 *
 * Build: cc gsttalk.c -o gsttalk $(pkg-config --cflags --libs gstreamer-1.0)
 */
#include <gst/gst.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static GstElement *viewer, *source, *voice;
static guint channel = G_MAXUINT;
static int pictures;

static GstFlowReturn shovel(GstElement *sink, gpointer unused)
{
	GstSample *sample = NULL;
	GstFlowReturn ret = GST_FLOW_ERROR;

	g_signal_emit_by_name(sink, "pull-sample", &sample);
	if (sample)
		g_signal_emit_by_name(source, "push-backchannel-sample", channel, sample, &ret);
	return ret;
}

static gboolean select_stream(GstElement *src, guint index, GstCaps *caps, gpointer unused)
{
	if (gst_structure_has_field(gst_caps_get_structure(caps, 0), "a-sendonly"))
		channel = index;
	return TRUE;
}

static GstPadProbeReturn count(GstPad *pad, GstPadProbeInfo *info, gpointer unused)
{
	g_atomic_int_inc(&pictures);
	return GST_PAD_PROBE_OK;
}

static void pad_added(GstElement *src, GstPad *pad, gpointer unused)
{
	GstElement *sink = gst_element_factory_make("fakesink", NULL);
	GstPad *to = gst_element_get_static_pad(sink, "sink");

	g_object_set(sink, "sync", FALSE, "async", FALSE, NULL);
	gst_bin_add(GST_BIN(viewer), sink);
	gst_element_sync_state_with_parent(sink);
	gst_pad_link(pad, to);
	gst_pad_add_probe(to, GST_PAD_PROBE_TYPE_BUFFER, count, NULL, NULL);
	gst_object_unref(to);
}

static gboolean finish(gpointer loop)
{
	g_main_loop_quit(loop);
	return G_SOURCE_REMOVE;
}

static gboolean speak(gpointer unused)
{
	gst_element_set_state(voice, GST_STATE_PLAYING);
	return G_SOURCE_REMOVE;
}

static gboolean on_message(GstBus *bus, GstMessage *m, gpointer loop)
{
	GError *error = NULL;

	if (GST_MESSAGE_TYPE(m) == GST_MESSAGE_ERROR) {
		gst_message_parse_error(m, &error, NULL);
		fprintf(stderr, "%s: %s\n", GST_OBJECT_NAME(m->src), error->message);
		exit(1);
	}
	return TRUE;
}

int main(int argc, char **argv)
{
	GMainLoop *loop;
	GstElement *sink;

	gst_init(&argc, &argv);
	if (argc != 6)
		return 2;
	loop = g_main_loop_new(NULL, FALSE);
	viewer = gst_pipeline_new(NULL);
	source = gst_element_factory_make("rtspsrc", NULL);
	gst_util_set_object_arg(G_OBJECT(source), "protocols", argv[2]);
	gst_util_set_object_arg(G_OBJECT(source), "backchannel", "onvif");
	g_object_set(source, "location", argv[1], "user-id", argv[3], "user-pw", argv[4], "latency", 0, NULL);
	g_signal_connect(source, "select-stream", G_CALLBACK(select_stream), NULL);
	g_signal_connect(source, "pad-added", G_CALLBACK(pad_added), NULL);
	gst_bin_add(GST_BIN(viewer), source);
	gst_bus_add_watch(gst_element_get_bus(viewer), on_message, loop);

	voice = gst_parse_launch("audiotestsrc is-live=true freq=400 volume=0.3662 samplesperbuffer=160"
		" ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay min-ptime=20000000 max-ptime=20000000"
		" ! appsink name=out sync=false emit-signals=true", NULL);
	sink = gst_bin_get_by_name(GST_BIN(voice), "out");
	g_signal_connect(sink, "new-sample", G_CALLBACK(shovel), NULL);

	gst_element_set_state(viewer, GST_STATE_PLAYING);
	while (!g_atomic_int_get(&pictures))
		g_main_context_iteration(NULL, FALSE) || (g_usleep(1000), 0);
	if (channel == G_MAXUINT) {
		fprintf(stderr, "no back channel\n");
		return 1;
	}
	g_timeout_add(100, speak, NULL);
	g_timeout_add(100 + 1000 * atoi(argv[5]), finish, loop);
	g_main_loop_run(loop);
	gst_element_set_state(voice, GST_STATE_NULL);
	gst_element_set_state(viewer, GST_STATE_NULL);
	printf("%d\n", pictures);
	return 0;
}
