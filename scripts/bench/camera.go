package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// The messages of docs/sidecar.md that a camera of one stream needs.
const (
	msgHello   = 1
	msgVideo   = 2
	msgReply   = 4
	msgCommand = 65

	replyUnknown = 4
)

// camera is `bench camera FILE`: a sidecar that plays the film in real time. It
// stamps each picture when it hands it over, right before one write, so that a
// late timer of its own is not counted as the server's.
type camera struct {
	film  *film
	begin sync.Once
	on    atomic.Bool
	mu    sync.Mutex // over buf and standard output
	buf   []byte
}

func runCamera(file string) error {
	f, err := loadFilm(file)
	if err != nil {
		return err
	}
	c := &camera{film: f}
	stream := map[string]any{"name": "main", "default": map[string]int{"width": 1920, "height": 1080, "fps": filmFPS, "gop": filmGOP, "bitrate": filmBitrate}}
	hello, err := json.Marshal(map[string]any{"protocol": 1, "model": "film", "streams": []any{stream}})
	if err != nil {
		return err
	}
	if err := c.write(msgHello, 0, 0, 0, hello); err != nil {
		return err
	}
	return c.obey(os.Stdin)
}

// obey answers commands until there are no more.
func (c *camera) obey(r io.Reader) error {
	var h [16]byte
	for {
		if _, err := io.ReadFull(r, h[:]); err != nil {
			return nil // the server is gone, or wants us to end
		}
		body := make([]byte, min(binary.LittleEndian.Uint32(h[:]), 64<<10))
		if _, err := io.ReadFull(r, body); err != nil {
			return err
		}
		if h[4] != msgCommand {
			continue
		}
		if err := c.command(binary.LittleEndian.Uint16(h[6:]), string(body)); err != nil {
			return err
		}
	}
}

func (c *camera) command(number uint16, text string) error {
	switch {
	case strings.HasPrefix(text, "start main "):
		err := c.write(msgReply, 0, number, 0, fmt.Appendf(nil, "1920 1080 %d %d %d", filmFPS, filmGOP, filmBitrate))
		c.on.Store(true)
		c.begin.Do(func() { go c.play() })
		return err
	case text == "stop main":
		c.on.Store(false)
		return c.write(msgReply, 0, number, 0, nil)
	}
	return c.write(msgReply, replyUnknown, number, 0, []byte("no such command"))
}

// play goes on until its reader does not.
func (c *camera) play() {
	begin := time.Now()
	for n := 0; ; n++ {
		time.Sleep(time.Until(begin.Add(time.Duration(n) * time.Second / filmFPS)))
		if !c.on.Load() {
			continue
		}
		if c.write(msgVideo, 0, 0, monotonic(), c.film.units[n%len(c.film.units)]) != nil {
			return
		}
	}
}

func monotonic() uint64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return 0
	}
	return uint64(ts.Nano())
}

func (c *camera) write(kind, detail byte, number uint16, stamp uint64, body []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf = binary.LittleEndian.AppendUint32(c.buf[:0], uint32(len(body)))
	c.buf = append(c.buf, kind, detail)
	c.buf = binary.LittleEndian.AppendUint16(c.buf, number)
	c.buf = binary.LittleEndian.AppendUint64(c.buf, stamp)
	c.buf = append(c.buf, body...)
	_, err := os.Stdout.Write(c.buf)
	return err
}
