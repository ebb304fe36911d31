package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"iid2secure.nl/camagent/cloud"

	"iid2secure.nl/camagent/cmd/camctl/internal/fetch"
	"iid2secure.nl/camagent/cmd/camctl/internal/files"
	"iid2secure.nl/camagent/cmd/camctl/internal/join"
	"iid2secure.nl/camagent/cmd/camctl/internal/verify"
)

// filmLine is one film that was made.
type filmLine struct {
	File       string   `json:"file"`
	From       string   `json:"from"` // RFC 3339, as the camera says it
	DurationMS int64    `json:"duration_ms"`
	Frames     int      `json:"frames"`
	Clips      []string `json:"clips"`
	Ends       string   `json:"ends,omitempty"` // why it goes on in another file
}

// film makes one film of clips, or several, if they don't follow one another.
func (c *ctl) film(ctx context.Context, o owned, g *fetch.Getter, names []string, f *getFlags) error {
	if f.out != "-" && isFolder(f.out) {
		return usage("get: a film goes to a file: want -o FILE.mp4")
	}
	var err error
	if len(names) == 0 {
		f.details = true
		if names, err = c.chosen(ctx, o, g, f); err != nil {
			return err
		}
	}
	m := &filmmaker{ctl: c, g: g, out: f.out}
	tell, done := c.counting("manifests")
	said, err := g.Describe(ctx, names, o.known(g.Camera), m.refused, tell)
	done()
	if err != nil {
		return err
	}
	if m.list, err = oneStream(said, f.stream); err != nil {
		return err
	}
	m.dir = filepath.Dir(f.out)
	if f.out == "-" {
		if m.dir, err = o.parts(); err != nil {
			return err
		}
	}
	if err := m.run(ctx, f.jobs); err != nil {
		return err
	}
	if f.out != "-" {
		err = c.show(m.films, func(w io.Writer) {
			for _, l := range m.films {
				fmt.Fprintf(w, "%s: %d clips from %s, %.1f s, %d frames, verified\n", l.File, len(l.Clips), l.From, float64(l.DurationMS)/1000, l.Frames)
			}
		})
	}
	if err == nil && m.bad > 0 {
		err = fmt.Errorf("%d clips are not what the camera made, or not there, and are in no film", m.bad)
	}
	return err
}

// oneStream puts clips into the order of their chain.
func oneStream(said []fetch.Said, stream string) ([]fetch.Said, error) {
	for _, s := range said {
		if stream == "" {
			stream = s.Stream
		}
		if s.Stream != stream {
			return nil, usage("get: clips of %s and %s can't be one film: choose by --stream", stream, s.Stream)
		}
	}
	slices.SortFunc(said, func(a, b fetch.Said) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return said, nil
}

// filmmaker makes films of a list of clips. It keeps the sealed files until the
// film that they are in is there: whatever breaks, nothing is downloaded twice.
type filmmaker struct {
	*ctl
	g     *fetch.Getter
	out   string
	dir   string // for the sealed files
	list  []fetch.Said
	films []filmLine
	bad   int

	file  *files.File // nil for standard output
	film  *join.Film  // nil: none has begun
	line  filmLine
	last  fetch.Said // the newest clip of the film
	parts []string   // what it is made of
}

func (m *filmmaker) refused(err error) {
	m.bad++
	m.warn(err.Error())
}

func (m *filmmaker) scratch(s fetch.Said) string { return filepath.Join(m.dir, s.Name+cloud.ExtClip) }

// run downloads ahead, and films in order.
func (m *filmmaker) run(ctx context.Context, jobs int) error {
	if len(m.list) == 0 {
		return errors.New("there are no such clips that the camera made")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer m.abort()
	ahead := m.ahead(ctx, jobs)
	// Nobody writes any more when the sealed files are removed.
	defer func() {
		cancel()
		for range ahead {
		}
	}()
	i := 0
	for came := range ahead {
		if err := m.next(ctx, m.list[i], <-came); err != nil {
			return err
		}
		i++
	}
	return m.commit("")
}

// ahead downloads up to jobs clips before they are asked for, in order.
func (m *filmmaker) ahead(ctx context.Context, jobs int) <-chan chan error {
	names := make([]string, len(m.list))
	for i, s := range m.list {
		names[i] = s.Name
	}
	tell, done := m.meter(names)
	out := make(chan chan error, jobs-1)
	go func() {
		defer done()
		defer close(out)
		var work sync.WaitGroup
		defer work.Wait()
		slots := make(chan struct{}, jobs)
		for _, s := range m.list {
			came := make(chan error, 1)
			slots <- struct{}{}
			work.Go(func() {
				g := *m.g
				g.Progress = tell(s.Name)
				came <- g.Ahead(ctx, s.Clip, m.scratch(s))
				<-slots
			})
			select {
			case out <- came:
			case <-ctx.Done():
				<-came
				return
			}
		}
	}()
	return out
}

// next takes one clip, which has come if err is nil.
func (m *filmmaker) next(ctx context.Context, s fetch.Said, err error) error {
	if _, bad := errors.AsType[*verify.Error](err); bad || fetch.Gone(err) {
		m.refused(err)
		return nil
	}
	if err != nil {
		return err
	}
	after, why := time.Duration(0), ""
	if m.film != nil {
		after, why = follows(m.last, s)
	}
	if why != "" {
		if err := m.cut(why, s); err != nil {
			return err
		}
	}
	return m.add(ctx, s, after)
}

// add decrypts a clip into the film; no plaintext lies anywhere else.
func (m *filmmaker) add(ctx context.Context, s fetch.Said, after time.Duration) error {
	r, w := io.Pipe()
	opened := make(chan error, 1)
	go func() {
		keep := m.scratch(s) + fetch.ExtPart
		if m.out == "-" { // what has gone out can't be taken back
			keep = ""
		}
		err := m.g.Open(ctx, s, w, m.scratch(s), keep)
		w.CloseWithError(err)
		opened <- err
	}()
	err := m.take(r, s, after)
	r.CloseWithError(err)
	if sealed := <-opened; sealed != nil && (err == nil || errors.Is(err, sealed)) {
		err = sealed
	}
	if bad, ok := errors.AsType[*join.FormatError](err); ok {
		m.refused(fmt.Errorf("clip %s: %w", s.Name, bad))
		return m.commit("the clip after it can't be read")
	}
	return err
}

func (m *filmmaker) take(r io.Reader, s fetch.Said, after time.Duration) error {
	k, err := join.Open(r)
	if err != nil {
		return err
	}
	k.Cut = s.What.Cut
	if m.film != nil && !m.film.Fits(k) {
		if err := m.cut("the picture or the sound is another", s); err != nil {
			return err
		}
		after = 0
	}
	if m.film == nil {
		if err := m.begin(s); err != nil {
			return err
		}
	}
	info, err := m.film.Add(k, after)
	if err != nil {
		return err
	}
	if info.Frames != s.What.Frames && !s.What.Cut {
		m.warn(fmt.Sprintf("clip %s has %d frames, and the camera signed %d", s.Name, info.Frames, s.What.Frames))
	}
	m.last = s
	m.line.Clips = append(m.line.Clips, s.Name)
	m.parts = append(m.parts, m.scratch(s)+fetch.ExtPart)
	// The rest of the file, which the decrypter wants to be rid of.
	_, err = io.Copy(io.Discard, r)
	return err
}

// begin begins a film: FILE.mp4, and then FILE-2.mp4.
func (m *filmmaker) begin(s fetch.Said) (err error) {
	m.line = filmLine{File: m.out, From: s.What.Started}
	if m.out == "-" {
		m.film = join.New(m.ctl.out)
		return nil
	}
	if n := len(m.films); n > 0 {
		ext := filepath.Ext(m.out)
		m.line.File = fmt.Sprintf("%s-%d%s", strings.TrimSuffix(m.out, ext), n+1, ext)
	}
	if m.file, err = files.Create(m.line.File); err == nil {
		m.film = join.New(m.file)
	}
	return err
}

// cut ends the film before s, and says why.
func (m *filmmaker) cut(why string, s fetch.Said) error {
	at := s.What.Started
	if m.out == "-" {
		return fmt.Errorf("the film on standard output ends before %s: %s (go on with --from %s)", at, why, at)
	}
	if err := m.commit(why); err != nil {
		return err
	}
	m.warn(fmt.Sprintf("before %s: %s: another file begins", at, why))
	return nil
}

// commit gives the film its name; now its parts are not needed any more.
func (m *filmmaker) commit(why string) error {
	if m.film == nil {
		return nil
	}
	info := m.film.Info()
	m.line.Frames, m.line.DurationMS, m.line.Ends = info.Frames, info.Duration.Milliseconds(), why
	if m.file != nil {
		if err := m.file.Commit(); err != nil {
			return err
		}
	}
	for _, p := range m.parts {
		os.Remove(p)
	}
	m.films = append(m.films, m.line)
	m.film, m.file, m.parts = nil, nil, nil
	return nil
}

func (m *filmmaker) abort() {
	if m.file != nil {
		m.file.Abort()
	}
}

// hole is how much may be missing between two clips of one film.
const hole = 500 * time.Millisecond

// follows tells how long after the end of a clip another one begins, or why it
// can't be shown as what follows.
func follows(a, b fetch.Said) (after time.Duration, why string) {
	if a.What.Boot != b.What.Boot {
		return 0, "the camera was restarted"
	}
	if a.What.LastFrame > 0 && b.What.FirstFrame == a.What.LastFrame+1 && !a.What.Cut {
		return 0, ""
	}
	switch after = apart(a.What, b.What); {
	case after > hole:
		return 0, fmt.Sprintf("nothing there for %.1f s", after.Seconds())
	case after < -hole || a.What.LastFrame > 0 && b.What.FirstFrame <= a.What.LastFrame:
		return 0, "it begins before the clip before has ended"
	}
	return max(after, 0), ""
}

// apart is the time between the end of a clip and the beginning of another of
// the same start of the camera.
func apart(a, b cloud.ClipDetails) time.Duration {
	length := time.Duration(a.DurationMS) * time.Millisecond
	if a.UptimeMS > 0 && b.UptimeMS > 0 {
		return time.Duration(b.UptimeMS-a.UptimeMS)*time.Millisecond - length
	}
	from, err := time.Parse(time.RFC3339, a.Started)
	to, err2 := time.Parse(time.RFC3339, b.Started)
	if err != nil || err2 != nil {
		return 0
	}
	return to.Sub(from) - length
}
