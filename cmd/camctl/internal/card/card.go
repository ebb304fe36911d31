// Package card reads a camera's clips from the card in the camera itself, over a
// session: for when cloud and storage are away, and for clips that have not been
// uploaded yet. It lists and reads, and asks for uploads. What it hands over is
// sealed and unverified, as any fetch.Source does.
package card

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"

	"iid2secure.nl/camagent/cmd/camctl/internal/verify"
)

// Card is a fetch.Source. Safe for concurrent use.
type Card struct {
	caller command.Caller
	piece  pace
}

// New reads through a session, which stays its caller's.
func New(c command.Caller) *Card { return &Card{caller: c, piece: pace{size: firstPiece}} }

// pageSize clips are no more than one message carries.
const pageSize = 250

// Clips lists the clips that begin in [from, to), oldest first; zero: no bound.
func (c *Card) Clips(ctx context.Context, from, to time.Time) ([]command.CardClip, error) {
	list := []command.CardClip{}
	err := c.Each(ctx, from, to, func(k command.CardClip) {
		if verify.Name(k.Name) { // pictures and gaps are no clips
			list = append(list, k)
		}
	})
	if err != nil {
		return nil, err
	}
	slices.Reverse(list)
	return list, nil
}

// Each hands all to fn that begins in [from, to), gaps and pictures, too, newest
// first; zero: no bound.
func (c *Card) Each(ctx context.Context, from, to time.Time, fn func(command.CardClip)) error {
	q := command.ClipsQuery{From: timeText(from), To: timeText(to), Limit: pageSize}
	for {
		page, err := command.ClipsList.Call(ctx, c.caller, q)
		if err != nil {
			return err
		}
		for _, k := range page.Clips {
			fn(k)
		}
		if !page.More || len(page.Clips) == 0 {
			return nil
		}
		last := page.Clips[len(page.Clips)-1].Name
		if q.Before != "" && last >= q.Before {
			return errors.New("clips: the camera's list repeats itself")
		}
		q.Before = last
	}
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// Objects lists both objects of each clip, as a store would. Sizes are not exact:
// the camera tells that of both together.
func (c *Card) Objects(ctx context.Context, _ cloud.Serial, q api.ObjectQuery) (api.ObjectList, error) {
	list, err := c.Clips(ctx, q.From, q.To)
	var out api.ObjectList
	for _, k := range list {
		for _, o := range []api.Object{{Name: k.Name + cloud.ExtManifest}, {Name: k.Name + cloud.ExtClip, Size: k.Size}} {
			if strings.HasPrefix(o.Name, q.Prefix) && o.Name > q.Begin() && !q.Past(o.Name) {
				out.Objects = append(out.Objects, o)
			}
		}
	}
	return out, err
}

// Get names the object; nobody has to be asked.
func (c *Card) Get(_ context.Context, _ cloud.Serial, name string) (api.Download, error) {
	return api.Download{URL: name}, nil
}

// Fetch reads an object from d.Offset on.
func (c *Card) Fetch(ctx context.Context, d api.Download) (io.ReadCloser, error) {
	r := &reader{ctx: ctx, card: c, at: command.ClipsPiece{Offset: d.Offset}}
	var ok bool
	if r.at.Name, ok = strings.CutSuffix(d.URL, cloud.ExtClip); ok {
		r.at.Part = command.PartClip
	} else if r.at.Name, ok = strings.CutSuffix(d.URL, cloud.ExtGap); ok { // before the manifest's, with which it ends
		r.at.Part = command.PartGap
	} else if r.at.Name, ok = strings.CutSuffix(d.URL, cloud.ExtManifest); ok {
		r.at.Part = command.PartManifest
	} else {
		return nil, &api.Error{Status: http.StatusNotFound, Code: api.CodeNotFound, Message: "neither clip nor gap, and only those are read from the card"}
	}
	return r, r.more() // which tells at once if it is not there
}

// reader asks for piece after piece.
type reader struct {
	ctx  context.Context //nolint:containedctx // of the download
	card *Card
	at   command.ClipsPiece
	rest []byte
	end  bool
}

func (r *reader) more() error {
	r.at.Length = r.card.piece.now()
	began := time.Now()
	d, err := command.ClipsRead.Call(r.ctx, r.card.caller, r.at)
	if refusal, ok := errors.AsType[*cloud.Refusal](err); ok && refusal.Code == cloud.CodeArgument {
		return &api.Error{Status: http.StatusNotFound, Code: api.CodeNotFound, Message: refusal.Message}
	}
	if err != nil {
		return err
	}
	if len(d.Data) > r.at.Length {
		return fmt.Errorf("clips.read: %d bytes, want %d at most", len(d.Data), r.at.Length)
	}
	r.card.piece.took(time.Since(began), len(d.Data))
	r.rest = d.Data
	r.at.Offset += int64(len(d.Data))
	r.end = len(d.Data) == 0 || r.at.Offset >= d.Size
	return nil
}

func (r *reader) Read(b []byte) (int, error) {
	if len(r.rest) == 0 && !r.end {
		if err := r.more(); err != nil {
			return 0, err
		}
	}
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *reader) Close() error { return nil }

// A piece is to take about as long as one can wait for a command behind it.
const (
	firstPiece = 8 << 10
	tooLong    = time.Second
	brisk      = 250 * time.Millisecond
)

// pace finds how much to ask for at a time: half of it if the last took too long,
// twice if it was brisk.
type pace struct {
	mu   sync.Mutex
	size int
}

func (p *pace) now() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.size
}

func (p *pace) took(d time.Duration, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case d > tooLong:
		p.size = max(p.size/2, 1<<10)
	case d < brisk && n == p.size:
		p.size = min(2*p.size, command.MaxClipsPiece)
	}
}
