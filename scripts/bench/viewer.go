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
	"github.com/pion/rtcp"
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

// play sets up the video of url over TCP and hands over packets and reports,
// each from the client's reading goroutine.
func play(url string, on func(*rtp.Packet), report func(rtcp.Packet)) (*gortsplib.Client, error) {
	u, err := base.ParseURL(url)
	if err != nil {
		return nil, err
	}
	tcp := gortsplib.TransportTCP
	c := &gortsplib.Client{Scheme: u.Scheme, Host: u.Host, Transport: &tcp}
	if err := c.Start2(); err != nil {
		return nil, err
	}
	if err := setup(c, u, on, report); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func setup(c *gortsplib.Client, u *base.URL, on func(*rtp.Packet), report func(rtcp.Packet)) error {
	desc, _, err := c.Describe(u)
	if err != nil {
		return err
	}
	var h264 *format.H264
	media := desc.FindFormat(&h264)
	if media == nil {
		return errors.New("no H.264 in the description")
	}
	if _, err := c.Setup(desc.BaseURL, media, 0, 0); err != nil {
		return err
	}
	c.OnPacketRTP(media, h264, on)
	c.OnPacketRTCP(media, report)
	_, err = c.Play(nil)
	return err
}

// clock maps RTP time to wall-clock by the newest sender report (RFC 3550, 6.4.1).
type clock struct {
	mu    sync.Mutex
	known bool
	rtp   uint32
	wall  time.Time
}

// ntpEpoch is 1 January 1900 in Unix seconds.
const ntpEpoch = -2208988800

func (c *clock) report(p rtcp.Packet) {
	sr, ok := p.(*rtcp.SenderReport)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	nanos := (sr.NTPTime & 0xffffffff) * 1e9 >> 32
	c.known, c.rtp, c.wall = true, sr.RTPTime, time.Unix(int64(sr.NTPTime>>32)+ntpEpoch, int64(nanos))
}

func (c *clock) capture(timestamp uint32) (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ticks := int64(int32(timestamp - c.rtp))
	return c.wall.Add(time.Duration(ticks) * time.Second / 90000), c.known
}

// latencies measures, in ms, from the capture of each frame (when the simulated
// board hands it over, told by the sender reports) to its last packet here.
func latencies(ctx context.Context, url string, span time.Duration) ([]float64, error) {
	var mu sync.Mutex
	var list []float64
	var clk clock
	begin := time.Now().Add(time.Second) // what the viewer gets at once from the ring is old on purpose
	c, err := play(url, func(p *rtp.Packet) {
		now := time.Now()
		capture, known := clk.capture(p.Timestamp)
		if p.Marker && known && now.After(begin) {
			mu.Lock()
			list = append(list, float64(now.Sub(capture).Microseconds())/1000)
			mu.Unlock()
		}
	}, clk.report)
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
		c, err := play(url, func(p *rtp.Packet) {
			if p.Marker {
				select {
				case got <- struct{}{}:
				default:
				}
			}
		}, func(rtcp.Packet) {})
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
