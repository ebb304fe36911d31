package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/seal"
)

// Kind is what is wrong with an object, or with a chain.
type Kind string

// The kinds of faults.
const (
	KindMissing    Kind = "missing"    // it is not there, and the camera has not said that it gave it up
	KindCut        Kind = "cut"        // its end is missing, and the camera has not said so
	KindAltered    Kind = "altered"    // it is not what the camera sealed or signed
	KindForeign    Kind = "foreign"    // it is of another camera, of another binding, or of nobody
	KindOrder      Kind = "order"      // numbers or frames contradict each other
	KindUnreadable Kind = "unreadable" // it is there, and can't be read
)

// Fault is one thing that is wrong.
type Fault struct {
	Kind   Kind   `json:"kind"`
	Object string `json:"object,omitempty"` // where it lies
	Stream string `json:"stream,omitempty"` // with From and To: numbers of its chain
	From   uint64 `json:"from,omitempty"`
	To     uint64 `json:"to,omitempty"`
	Text   string `json:"text"` // one line for its owner
}

// GivenUp is what is not there by the camera's own signed word: numbers of its
// chain, or, without numbers, a time in which nothing was recorded.
type GivenUp struct {
	Stream string          `json:"stream"`
	From   uint64          `json:"from,omitempty"`
	To     uint64          `json:"to,omitempty"`
	Reason cloud.GapReason `json:"reason"`
	Begin  string          `json:"begin,omitempty"`
	End    string          `json:"end,omitempty"`
	Text   string          `json:"text"`
}

// Line is what has been seen of one stream's chain.
type Line struct {
	Stream string `json:"stream"`
	First  uint64 `json:"first"`
	Last   uint64 `json:"last"`
	// Begin and End tell whether the chain is known to begin, and to end, there.
	Begin bool `json:"begin"`
	End   bool `json:"end"`
}

// Report is the outcome of a Check.
type Report struct {
	// Good: nothing is wrong, and, if all should be there, Complete, unless Partial was asked for.
	Good bool `json:"good"`
	// Complete: the camera has told where every chain ends, so that nothing is missing unseen.
	Complete bool `json:"complete"`

	Clips   int       `json:"clips"` // whole and genuine
	Cut     int       `json:"cut"`   // of these, ended by a power cut, by the camera's own word
	Bytes   int64     `json:"bytes"` // of these, sealed
	Gaps    int       `json:"gaps"`
	Waiting int       `json:"waiting"` // on the card of the camera only, by its signed word
	Lines   []Line    `json:"streams"`
	Faults  []Fault   `json:"faults"`
	GivenUp []GivenUp `json:"given_up"`
	Notes   []string  `json:"notes"` // what is no fault, and should be known
}

// Head is the newest statement of a stream, as the camera's status tells it.
type Head struct {
	Sequence uint64
	Hash     string
}

// Check looks at all that a store holds of one camera.
type Check struct {
	Camera Camera
	Secret cloud.Secret // the owner's age identity
	Store  Store
	// Parts says that the store is a card's folder, or a copy of one: what a power cut
	// kept from its place lies there as a .part, and is as good if it is what was signed.
	Parts bool
	// All says that the store should hold everything from number 1 on; else what
	// comes before the first one that is there is not missed.
	All bool
	// Heads are the camera's; nil if it does not answer: then nobody can tell
	// whether newer ones are missing.
	Heads map[string]Head
	// Seen are the newest heads that the camera has ever told before: whatever it says
	// now, or does not, what is numbered up to there has been signed.
	Seen map[string]Head
	// Partial takes it for good, with All, that nobody tells where the chains end.
	Partial bool
	// Waiting and WaitingGaps are the manifests and the gaps that are on the camera's
	// card only, by name. They count for what they say once their signature is verified.
	Waiting, WaitingGaps map[string]string
	// Workers read at once; 0: one a processor.
	Workers int
	// Progress, if set, is told of the bytes that have been looked at.
	Progress func(done, total int64)
}

// Run reads everything once. Its error is that of a store that can't be listed,
// or ctx's.
func (c Check) Run(ctx context.Context) (Report, error) {
	r := &checking{Check: c, files: map[string]*files{}}
	if err := c.Store.Each(ctx, r.sort); err != nil {
		return Report{}, err
	}
	if err := r.readAll(ctx); err != nil {
		return Report{}, err
	}
	r.waiting()
	r.follow()
	r.frames()
	r.finish()
	return r.report, nil
}

// checking is one Run.
type checking struct {
	Check
	files map[string]*files // by the clip's or gap's name
	total int64

	done   atomic.Int64
	mu     sync.Mutex // guards what follows, while workers are at it
	report Report
	clips  []seen
	gaps   []seenGap
	chain  Chain
}

// files are the objects of one name. The same may lie in several places.
type files struct {
	manifests, sealed, gaps []Object
	parts                   []Object // the clip is being written, or was when the power was cut
}

// seen is a clip that is genuine.
type seen struct {
	Clip
	where  string
	opened bool
	told   cloud.ClipDetails
}

type seenGap struct {
	Gap
	told cloud.GapDetails
}

// extPart is the ending that a card gives to what is not in its place.
const extPart = ".part"

// sort puts an object where it belongs; what has no clip's name is none of ours.
func (r *checking) sort(o Object) {
	for ext, list := range map[string]func(*files) *[]Object{
		cloud.ExtGap:            func(f *files) *[]Object { return &f.gaps },
		cloud.ExtManifest:       func(f *files) *[]Object { return &f.manifests },
		cloud.ExtClip:           func(f *files) *[]Object { return &f.sealed },
		cloud.ExtClip + extPart: func(f *files) *[]Object { return &f.parts },
	} {
		name, ok := strings.CutSuffix(o.Name, ext)
		if !ok || !Name(name) || ext == cloud.ExtClip+extPart && !r.Parts {
			continue
		}
		to := list(r.of(name))
		*to = append(*to, o)
		r.total += o.Size
	}
}

func (r *checking) of(name string) *files {
	if r.files[name] == nil {
		r.files[name] = &files{}
	}
	return r.files[name]
}

// readAll looks at each name, several at once: hashing is most of the work.
func (r *checking) readAll(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(cmp.Or(r.Workers, runtime.GOMAXPROCS(0)))
	for name, f := range r.files {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			for _, o := range f.gaps {
				r.readGap(ctx, name, o)
			}
			r.readClip(ctx, name, f)
			return ctx.Err()
		})
	}
	return g.Wait()
}

func (r *checking) progress(n int64) {
	if r.Progress != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.Progress(r.done.Add(n), r.total)
	}
}

// readClip looks at one clip: its manifest, and then its sealed file.
func (r *checking) readClip(ctx context.Context, name string, f *files) {
	var clip *seen
	broken := false
	for _, o := range f.manifests {
		if k, ok := r.readManifest(ctx, name, o); ok && clip == nil {
			clip = k
		} else if !ok {
			broken = true
		}
	}
	if clip != nil && len(f.sealed) == 0 && len(f.parts) > 0 {
		f.sealed, f.parts = f.parts, nil
		r.mu.Lock()
		r.note("%s: clip %d, %s, is signed and not in its place yet: the camera does that when it goes on", clip.Stream, clip.Sequence, name)
		r.mu.Unlock()
	}
	switch {
	case clip != nil && len(f.sealed) == 0:
		r.fault(Fault{Kind: KindMissing, Object: clip.where, Stream: clip.Stream, From: clip.Sequence, To: clip.Sequence,
			Text: fmt.Sprintf("%s: clip %d is missing: its manifest is here, %s is not", clip.Stream, clip.Sequence, name+cloud.ExtClip)})
	case clip == nil && !broken && len(f.sealed) > 0 && r.Waiting[name] == "": // else it is about to come
		r.fault(Fault{Kind: KindForeign, Object: f.sealed[0].Path, Text: fmt.Sprintf(
			"%s has no manifest: nothing says that the camera made it", f.sealed[0].Path)})
	}
	good := clip != nil && len(f.sealed) > 0
	for _, o := range f.sealed {
		if clip != nil {
			good = r.readSealed(ctx, clip, o) && good
		}
		r.progress(o.Size)
	}
	for _, o := range f.parts {
		r.progress(o.Size)
	}
	if clip == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clips = append(r.clips, *clip)
	if good {
		r.report.Clips++
		r.report.Bytes += clip.Size
		if clip.told.Cut {
			r.report.Cut++
		}
	}
}

func (r *checking) readManifest(ctx context.Context, name string, o Object) (*seen, bool) {
	token, ok := r.token(ctx, o)
	if !ok {
		return nil, false
	}
	clip, err := r.Camera.Manifest(name, token)
	if err != nil {
		r.forged(o, err)
		return nil, false
	}
	k := &seen{Clip: clip, where: o.Path}
	if k.told, err = clip.Details(r.Secret); err == nil {
		k.opened = true
	}
	k.Manifest.Details = nil // it has been read
	return k, true
}

func (r *checking) readGap(ctx context.Context, name string, o Object) {
	token, ok := r.token(ctx, o)
	if !ok {
		return
	}
	gap, err := r.Camera.Gap(name, token)
	if err != nil {
		r.forged(o, err)
		return
	}
	k := seenGap{Gap: gap}
	k.told, _ = gap.Details(r.Secret) // sealed to others: its number counts all the same
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gaps = append(r.gaps, k)
}

// token reads a signed text.
func (r *checking) token(ctx context.Context, o Object) (string, bool) {
	defer r.progress(o.Size)
	f, err := r.Store.Open(ctx, o)
	if err == nil {
		defer f.Close()
		var b []byte
		if b, err = io.ReadAll(io.LimitReader(f, seal.MaxStatement+1)); err == nil {
			return string(b), true
		}
	}
	r.unreadable(ctx, o, err)
	return "", false
}

// readSealed compares a sealed file with its manifest.
func (r *checking) readSealed(ctx context.Context, clip *seen, o Object) bool {
	f, err := r.Store.Open(ctx, o)
	if err != nil {
		r.unreadable(ctx, o, err)
		return false
	}
	defer f.Close()
	err = clip.Sealed(io.Discard, f)
	var mismatch *MismatchError
	switch {
	case err == nil:
		return true
	case !errors.As(err, &mismatch):
		r.unreadable(ctx, o, err)
	case mismatch.short:
		r.fault(clip.fault(KindCut, o, "is cut: "+mismatch.Error()))
	default:
		r.fault(clip.fault(KindAltered, o, "is altered: "+mismatch.Error()))
	}
	return false
}

func (k *seen) fault(kind Kind, o Object, text string) Fault {
	return Fault{Kind: kind, Object: o.Path, Stream: k.Stream, From: k.Sequence, To: k.Sequence,
		Text: fmt.Sprintf("%s: clip %d, %s, %s", k.Stream, k.Sequence, o.Path, text)}
}

func (r *checking) unreadable(ctx context.Context, o Object, err error) {
	if ctx.Err() != nil {
		return
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err // o says where
	}
	r.fault(Fault{Kind: KindUnreadable, Object: o.Path, Text: fmt.Sprintf("%s can't be read: %v", o.Path, err)})
}

// forged tells what is not signed by this camera for this owner, or not any more
// what was signed.
func (r *checking) forged(o Object, err error) {
	var bad *Error
	if errors.As(err, &bad) {
		err = bad.Err
	}
	r.fault(Fault{Kind: KindForeign, Object: o.Path, Text: fmt.Sprintf("%s is altered, or foreign: %v", o.Path, err)})
}

func (r *checking) fault(f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Faults = append(r.report.Faults, f)
}

// waiting takes in the manifests of what is on the camera's card only.
func (r *checking) waiting() {
	here := map[string]bool{}
	for _, k := range r.clips {
		here[k.Name] = true
	}
	for name, token := range r.Waiting {
		clip, err := r.Camera.Manifest(name, token)
		if err != nil {
			r.forged(Object{Path: name + cloud.ExtManifest + " on the camera's card"}, err)
			continue
		}
		if here[name] {
			continue
		}
		k := seen{Clip: clip}
		k.told, err = clip.Details(r.Secret)
		k.opened = err == nil
		r.clips = append(r.clips, k)
		r.report.Waiting++
	}
	r.waitingGaps()
}

func (r *checking) waitingGaps() {
	here := map[string]bool{}
	for _, g := range r.gaps {
		here[g.Hash] = true
	}
	for name, token := range r.WaitingGaps {
		gap, err := r.Camera.Gap(name, token)
		if err != nil {
			r.forged(Object{Path: name + cloud.ExtGap + " on the camera's card"}, err)
			continue
		}
		if here[gap.Hash] {
			continue
		}
		k := seenGap{Gap: gap}
		k.told, _ = gap.Details(r.Secret)
		r.gaps = append(r.gaps, k)
		r.report.Waiting++
	}
}

// sorted are the clips and gaps in the order of their chains.
func (r *checking) sortAll() {
	slices.SortFunc(r.clips, func(a, b seen) int {
		return cmp.Or(strings.Compare(a.Stream, b.Stream), compare(a.Sequence, b.Sequence), strings.Compare(a.where, b.where))
	})
	slices.SortFunc(r.gaps, func(a, b seenGap) int {
		return cmp.Or(strings.Compare(a.Stream, b.Stream), compare(a.Sequence, b.Sequence), strings.Compare(a.Name, b.Name))
	})
}

// finish sorts, and says whether all is good.
func (r *checking) finish() {
	slices.SortStableFunc(r.report.Faults, func(a, b Fault) int {
		return cmp.Or(strings.Compare(a.Stream, b.Stream), compare(a.From, b.From), strings.Compare(a.Object, b.Object))
	})
	r.report.Complete = r.Heads != nil && !slices.ContainsFunc(r.report.Lines, func(l Line) bool { return !l.End })
	r.report.Good = len(r.report.Faults) == 0 && (r.report.Complete || r.Partial || !r.All)
	r.report.Gaps = len(r.gaps)
	if r.report.Faults == nil {
		r.report.Faults = []Fault{}
	}
	if r.report.GivenUp == nil {
		r.report.GivenUp = []GivenUp{}
	}
	if r.report.Notes == nil {
		r.report.Notes = []string{}
	}
	if r.report.Lines == nil {
		r.report.Lines = []Line{}
	}
}

func (r *checking) note(format string, args ...any) {
	r.report.Notes = append(r.report.Notes, fmt.Sprintf(format, args...))
}
