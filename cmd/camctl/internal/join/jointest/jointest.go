// Package jointest makes clips as a camera does, and looks at films as a player
// does, for tests. Nothing but tests may import it.
package jointest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/bluenviron/mediacommon/v2/pkg/formats/fmp4"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/fmp4/seekablebuffer"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mp4"

	"iid2secure.nl/camagent/hal"
)

// What the clips are made of.
const (
	GOP        = 25   // pictures, a second of them
	ticks      = 3600 // of 90 kHz, that a picture lasts
	soundClock = 8000
	block      = 320 // samples of sound, as long as a picture
)

// pictures are the committed stream, or another one of another size.
func pictures(t testing.TB, size string) (list []hal.AccessUnit) {
	t.Helper()
	var stream []byte
	var err error
	if size == "" {
		_, here, _, _ := runtime.Caller(0)
		stream, err = os.ReadFile(filepath.Join(filepath.Dir(here), "../../../../../testdata/high-320x180.h264"))
	} else {
		stream, err = exec.Command(tool(t, "ffmpeg"), "-v", "error", "-f", "lavfi", "-i", "testsrc2=s="+size+":r=25:d=4", "-c:v", "libx264",
			"-pix_fmt", "yuv420p", "-bf", "0", "-g", "25", "-x264-params", "aud=1:repeat-headers=1:scenecut=0", "-f", "h264", "-").Output()
	}
	if err != nil {
		t.Fatal(err)
	}
	var params []byte
	delimiter := []byte{0, 0, 0, 1, hal.NALAUD}
	for _, b := range bytes.Split(stream, delimiter)[1:] {
		au, err := hal.ParseAnnexB(append(bytes.Clone(delimiter), b...), params)
		if err != nil {
			t.Fatal(err)
		}
		if params = au.Data[:au.Params]; au.Params == 0 {
			params = nil
		}
		list = append(list, au)
	}
	return list
}

// Clip makes one of whole seconds, which begins at second from of the stream; size
// as 160x96, or "" for the committed stream.
func Clip(t testing.TB, from, seconds int, size string, sound bool) []byte {
	t.Helper()
	list := pictures(t, size)
	list = append(append([]hal.AccessUnit{}, list[from*GOP%len(list):]...), list[:from*GOP%len(list)]...)
	sps, pps := list[0].ParameterSets()
	init := fmp4.Init{Tracks: []*fmp4.InitTrack{{ID: 1, TimeScale: 90000, Codec: &mp4.CodecH264{SPS: sps, PPS: pps}}}}
	if sound {
		init.Tracks = append(init.Tracks, &fmp4.InitTrack{ID: 2, TimeScale: soundClock,
			Codec: &mp4.CodecLPCM{LittleEndian: true, BitDepth: 16, SampleRate: soundClock, ChannelCount: 1}})
	}
	var out bytes.Buffer
	write(t, &out, init.Marshal)
	for second := range seconds {
		video := &fmp4.PartTrack{ID: 1, BaseTime: uint64(second * GOP * ticks)}
		// Sound is a little late, and its last block reaches into the next clip.
		audio := &fmp4.PartTrack{ID: 2, BaseTime: uint64(second*GOP*block + 7)}
		for i := range GOP {
			au := list[(second*GOP+i)%len(list)]
			video.Samples = append(video.Samples, &fmp4.Sample{Duration: ticks, IsNonSyncSample: !au.Key, Payload: au.Data[au.Params:]})
			audio.Samples = append(audio.Samples, &fmp4.Sample{Duration: block, Payload: make([]byte, 2*block)})
		}
		part := fmp4.Part{SequenceNumber: uint32(second), Tracks: []*fmp4.PartTrack{video}}
		if sound {
			part.Tracks = append(part.Tracks, audio)
		}
		write(t, &out, part.Marshal)
	}
	return out.Bytes()
}

func write[W any, F ~func(W) error](t testing.TB, out *bytes.Buffer, marshal F) {
	t.Helper()
	var b seekablebuffer.Buffer
	if err := marshal(any(&b).(W)); err != nil { //nolint:forcetypeassert // an io.WriteSeeker
		t.Fatal(err)
	}
	out.Write(b.Bytes())
}

func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: apt install ffmpeg", name)
	}
	return path
}

// Seen is what a player finds in a film.
type Seen struct {
	Pictures, Sounds int     // decoded; sounds are packets
	Seconds          float64 // of the pictures
}

// Look has a film decoded by ffmpeg, which must not say a word, and counted by
// ffprobe.
func Look(t testing.TB, path string) (s Seen) {
	t.Helper()
	out, err := exec.Command(tool(t, "ffmpeg"), "-v", "warning", "-xerror", "-err_detect", "explode",
		"-guess_layout_max", "0", "-i", path, "-map", "0:v", "-f", "null", "-", "-map", "0:a?", "-c", "copy", "-f", "null", "-").CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("ffmpeg: %v\n%s", err, out)
	}
	out, err = exec.Command(tool(t, "ffprobe"), "-v", "error", "-count_frames", "-count_packets", "-show_streams", "-of", "json", path).Output()
	if err != nil {
		t.Fatalf("ffprobe: %v", err)
	}
	var answer struct {
		Streams []struct {
			Type     string `json:"codec_type"`
			Frames   string `json:"nb_read_frames"`
			Packets  string `json:"nb_read_packets"`
			Duration string `json:"duration"`
		}
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatal(err)
	}
	for _, st := range answer.Streams {
		if st.Type == "video" {
			fmt.Sscan(st.Frames, &s.Pictures)
			fmt.Sscan(st.Duration, &s.Seconds)
		} else {
			fmt.Sscan(st.Packets, &s.Sounds)
		}
	}
	return s
}
