package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/pion/rtp"
)

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// play sets up the video of url over TCP and gives every packet to on, with the
// client for its clock.
func play(url string, on func(c *gortsplib.Client, p *rtp.Packet, capture time.Time, known bool)) (*gortsplib.Client, error) {
	u, err := base.ParseURL(url)
	if err != nil {
		return nil, err
	}
	tcp := gortsplib.TransportTCP
	c := &gortsplib.Client{Scheme: u.Scheme, Host: u.Host, Transport: &tcp}
	if err := c.Start2(); err != nil {
		return nil, err
	}
	desc, _, err := c.Describe(u)
	if err != nil {
		c.Close()
		return nil, err
	}
	var h264 *format.H264
	media := desc.FindFormat(&h264)
	if media == nil {
		c.Close()
		return nil, errors.New("no H.264 in the description")
	}
	if _, err := c.Setup(desc.BaseURL, media, 0, 0); err != nil {
		c.Close()
		return nil, err
	}
	c.OnPacketRTP(media, h264, func(p *rtp.Packet) {
		ntp, ok := c.PacketNTP(media, p)
		on(c, p, ntp, ok)
	})
	if _, err := c.Play(nil); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// latencies measures, in ms, from the capture of each frame (when the simulated
// board hands it over, told by the sender reports) to its last packet here.
func latencies(ctx context.Context, url string, span time.Duration) ([]float64, error) {
	var mu sync.Mutex
	var list []float64
	begin := time.Now().Add(time.Second) // what the viewer gets at once from the ring is old on purpose
	c, err := play(url, func(_ *gortsplib.Client, p *rtp.Packet, capture time.Time, known bool) {
		if now := time.Now(); p.Marker && known && now.After(begin) {
			mu.Lock()
			list = append(list, float64(now.Sub(capture).Microseconds())/1000)
			mu.Unlock()
		}
	})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	select {
	case <-time.After(span):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	mu.Lock()
	defer mu.Unlock()
	if want := int(span.Seconds()*25) / 2; len(list) < want {
		return nil, fmt.Errorf("only %d frames with a known capture time in %s, want %d", len(list), span, want)
	}
	return list, nil
}

// firstKeyFrame connects until it is let in, and returns when a whole key frame is there.
func firstKeyFrame(ctx context.Context, url string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		got := make(chan struct{}, 1)
		c, err := play(url, func(_ *gortsplib.Client, p *rtp.Packet, _ time.Time, _ bool) {
			if p.Marker {
				select {
				case got <- struct{}{}:
				default:
				}
			}
		})
		if err == nil {
			defer c.Close()
			select {
			case <-got:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("no key frame within %s: %w", limit, err)
		}
	}
}
