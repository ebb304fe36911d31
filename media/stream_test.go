package media

import (
	"context"
	"errors"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
)

// unit makes an access unit of NAL units given as text.
func unit(t *testing.T, nals ...string) hal.AccessUnit {
	t.Helper()
	var b []byte
	for _, n := range nals {
		b = append(append(b, 0, 0, 1), n...)
	}
	au, err := hal.ParseAnnexB(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return au
}

func TestM2_ParametersWaitForTheFirstKeyFrame(t *testing.T) {
	t.Parallel()
	s := NewStream("main", 1<<20)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Parameters(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	got := make(chan string)
	go func() {
		sps, pps, err := s.Parameters(context.Background())
		got <- string(sps) + " " + string(pps)
		if err != nil {
			t.Error(err)
		}
	}()
	s.PushVideo(unit(t, "\x41p"))
	first := unit(t, "\x67sps", "\x68pps", "\x65key")
	s.PushVideo(first)
	if g := <-got; g != "\x67sps \x68pps" {
		t.Errorf("%q", g)
	}
	first.Data[5] = 'X' // they are a copy: a whole key frame is not kept alive for them
	if sps, _, _ := s.Parameters(t.Context()); string(sps) != "\x67sps" {
		t.Errorf("%q", sps)
	}
	s.PushVideo(unit(t, "\x67SPS", "\x68pps", "\x65key"))
	s.PushVideo(unit(t, "\x67half", "\x65key"))
	if sps, pps, err := s.Parameters(t.Context()); err != nil || string(sps) != "\x67SPS" || string(pps) != "\x68pps" {
		t.Errorf("%q %q %v", sps, pps, err)
	}
}

func TestP2_SoundCarriesItsFormat(t *testing.T) {
	t.Parallel()
	s := NewStream("main", 1<<20)
	rd := s.Ring.NewReader(0)
	defer rd.Close()
	s.PushVideo(unit(t, "\x67sps", "\x68pps", "\x65key"))
	if s.Audio() != nil {
		t.Error("there is sound before the microphone was opened")
	}
	f := &hal.AudioFormat{Codec: hal.PCMU, Rate: 8000, Channels: 1}
	s.SetAudio(f)
	at := time.Now()
	s.PushAudio(hal.AudioFrame{Data: []byte{1, 2}, Samples: 2, Time: at})
	s.SetAudio(nil)
	if _, _, err := rd.TryNext(); err != nil {
		t.Fatal(err)
	}
	got, ok, err := rd.TryNext()
	if err != nil || !ok || got.Kind != Audio || got.Format != f || got.Samples != 2 || got.Time != at || len(got.Data) != 2 {
		t.Errorf("%+v %v %v", got, ok, err)
	}
}
