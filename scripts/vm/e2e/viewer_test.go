//go:build vm

package e2e

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph264"
	"github.com/pion/rtp"

	"iid2secure.nl/camagent/hal"
)

// viewer watches the main stream by RTSP over TCP.
type viewer struct {
	client *gortsplib.Client
	units  chan hal.AccessUnit
}

// watch connects as soon as camagent serves.
func watch(t *testing.T, ctx context.Context, h home) *viewer {
	t.Helper()
	where := &url.URL{Scheme: "rtsp", Host: h.address, Path: "/main", User: url.UserPassword(h.user, h.password)}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		v := &viewer{units: make(chan hal.AccessUnit, 1000)}
		err := v.play(where.String())
		if err == nil {
			t.Cleanup(v.client.Close)
			return v
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(context.Cause(ctx), err)
		}
	}
}

func (v *viewer) play(address string) error {
	u, err := base.ParseURL(address)
	if err != nil {
		return err
	}
	tcp := gortsplib.TransportTCP
	v.client = &gortsplib.Client{Scheme: u.Scheme, Host: u.Host, Transport: &tcp}
	if err := v.client.Start2(); err != nil {
		return err
	}
	if err := v.setup(u); err != nil {
		v.client.Close()
		return err
	}
	return nil
}

func (v *viewer) setup(u *base.URL) error {
	desc, _, err := v.client.Describe(u)
	if err != nil {
		return err
	}
	var h264 *format.H264
	media := desc.FindFormat(&h264)
	if media == nil {
		return errors.New("no H.264 in the description")
	}
	if _, err := v.client.Setup(desc.BaseURL, media, 0, 0); err != nil {
		return err
	}
	decoder, err := h264.CreateDecoder()
	if err != nil {
		return err
	}
	v.client.OnPacketRTP(media, h264, func(p *rtp.Packet) { v.packet(decoder, p) })
	_, err = v.client.Play(nil)
	return err
}

// packet collects packets to access units; the client's goroutine calls it.
func (v *viewer) packet(decoder *rtph264.Decoder, p *rtp.Packet) {
	nals, err := decoder.Decode(p)
	if err != nil {
		return // more packets needed; what is lost misses in the comparison
	}
	var au hal.AccessUnit
	for _, n := range nals {
		au.Data = hal.AppendAVC(au.Data, n)
		au.Key = au.Key || n[0]&31 == hal.NALIDR
	}
	v.units <- au
}

func (v *viewer) next(ctx context.Context) (hal.AccessUnit, error) {
	select {
	case au := <-v.units:
		return au, nil
	case <-ctx.Done():
		return hal.AccessUnit{}, context.Cause(ctx)
	}
}
