// Package mirror keeps a folder in step with a camera's clips in the cloud:
// each clip is fetched, verified and decrypted once, and what is missing or
// forged is told once. It goes on where it was stopped, from what lies in the
// folder alone. It never deletes anything, neither here nor in the cloud.
package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
	"iid2secure.nl/camagent/cloud/durable"
	"iid2secure.nl/camagent/cloud/retry"

	"iid2secure.nl/camagent/cmd/camctl/internal/fetch"
	"iid2secure.nl/camagent/cmd/camctl/internal/files"
	"iid2secure.nl/camagent/cmd/camctl/internal/verify"
)

// How a mirror that follows looks around.
const (
	pollEvery = 2 * time.Second
	// Backfill comes with old names: between whole lists only names from
	// shortly before the newest clip are asked for.
	wholeEvery = time.Minute
	lookBack   = 10 * time.Minute
	// settle is how long a clip may be missing before that is told: lanes of the
	// upload overtake each other.
	settle = time.Minute
	// doubt is that when not all of the list could be had: it may be about to come.
	doubt   = 5 * time.Minute
	maxWait = time.Minute
	// maxFailed ends a round: the cloud is away, no use to try every clip.
	maxFailed = 3
)

// Mirror is one folder of one camera.
type Mirror struct {
	Dir    string
	Getter *fetch.Getter
	// OnClip is told of each clip that has arrived, OnWarn of what is missing,
	// forged, or away; one line each. Both from Run's goroutine.
	OnClip func(Record)
	OnWarn func(string)
}

// Summary counts what one Run did.
type Summary struct {
	Fetched int `json:"fetched"`
	Present int `json:"present"`  // were there already
	Refused int `json:"refused"`  // are not what the camera made, or are listed and not there
	Missing int `json:"missing"`  // by the numbers of the chain
	GivenUp int `json:"given_up"` // of these numbers, by the camera's own signed word
}

// run is the state of one Run.
type run struct {
	*Mirror
	have    map[string]bool // by name: on disk
	refused map[string]bool // by name: told already
	failed  map[string]int  // by name: how often it could not be had
	chain   verify.Chain
	missing map[verify.Missing]time.Time // since when; zero once told
	told    map[verify.Told]bool
	gapless bool // told that gaps could not be had
	newest  string
	sum     Summary
}

// Run fetches what is not there yet; with follow it goes on until ctx ends, and
// survives the cloud being away. It returns ctx's error when it was ended.
func (m *Mirror) Run(ctx context.Context, follow bool) (Summary, error) {
	r := &run{Mirror: m, have: map[string]bool{}, refused: map[string]bool{}, failed: map[string]int{},
		missing: map[verify.Missing]time.Time{}, told: map[verify.Told]bool{}}
	if err := r.resume(); err != nil {
		return Summary{}, err
	}
	if follow {
		return r.sum, r.follow(ctx)
	}
	_, err := r.round(ctx, "", true)
	if told := r.tellMissing(ctx, 0, true); err == nil {
		err = told
	}
	return r.sum, err
}

func (r *run) resume() error {
	records, err := readRecords(r.Dir, r.Getter.Camera)
	if err != nil {
		return err
	}
	for _, rec := range records {
		r.have[rec.Name] = true
		r.newest = max(r.newest, rec.Name)
		r.warn(r.chain.Add(rec.clip())...)
	}
	r.sum.Present = len(records)
	return r.resumeGaps()
}

func (r *run) follow(ctx context.Context) error {
	wait := retry.Backoff{Min: pollEvery, Max: maxWait}
	var whole time.Time
	away := false
	for {
		after, all := r.after(), time.Since(whole) >= wholeEvery
		if all {
			after = ""
		}
		listed, err := r.round(ctx, after, all)
		pause := pollEvery
		switch {
		case ctx.Err() != nil || final(err):
			return errors.Join(ctx.Err(), ignore(err, ctx.Err()))
		case err != nil:
			pause = wait.Next()
			if !away {
				r.warn(fmt.Sprintf("trying again: %v", err))
			}
			away = true
		default:
			if away {
				r.warn("the cloud is back")
			}
			away = false
			wait.Reset()
			if all {
				whole = time.Now()
			}
		}
		if listed {
			patience := settle
			if err != nil {
				patience = doubt
			}
			before := r.gapless
			err := r.tellMissing(ctx, patience, all)
			if final(err) {
				return err
			}
			if err != nil && !before && ctx.Err() == nil {
				r.warn(fmt.Sprintf("what the camera says of missing clips can't be had: %v", err))
			}
		}
		if err := retry.Sleep(ctx, pause, nil); err != nil {
			return err
		}
	}
}

// ignore drops err if the end of the context explains it.
func ignore(err, ended error) error {
	if ended != nil {
		return nil
	}
	return err
}

// final tells whether to go on is in vain: the account is refused, or the
// folder can't be written to.
func final(err error) bool {
	if refusal, ok := errors.AsType[*api.Error](err); ok {
		return refusal.Status == http.StatusUnauthorized || refusal.Status == http.StatusForbidden
	}
	_, disk := errors.AsType[*diskError](err)
	return disk
}

// diskError is a failure on our side.
type diskError struct{ error }

func (e *diskError) Unwrap() error { return e.error }

// after is the name from which a short list begins.
func (r *run) after() string {
	start, err := cloud.ParseClipName(r.newest)
	if err != nil {
		return ""
	}
	return cloud.ClipTime(start.Add(-lookBack))
}

// round lists once and fetches what is new. One clip that fails does not keep
// the others, and is the last the next time; the first failure is the round's. What
// was refused is looked at again only with retry.
func (r *run) round(ctx context.Context, after string, retry bool) (listed bool, err error) {
	list, err := r.Getter.List(ctx, api.ObjectQuery{After: after})
	if err != nil {
		return false, err
	}
	slices.SortStableFunc(list, func(a, b fetch.Listed) int { return cmp.Compare(r.failed[a.Name], r.failed[b.Name]) })
	var failed failures
	for _, l := range list {
		if !l.Complete || r.have[l.Name] || r.refused[l.Name] && !retry {
			continue
		}
		err := r.one(ctx, l.Name)
		if why := alone(err); why != nil {
			r.refuse(l.Name, why)
			err = nil
		}
		if err != nil {
			r.failed[l.Name]++
		}
		if failed.enough(ctx, err) {
			break
		}
	}
	return true, failed.first
}

// alone returns why an object is left out, nil if that is not what has failed: it
// says nothing of the others, and to fetch it at once again is in vain.
func alone(err error) error {
	if bad, ok := errors.AsType[*verify.Error](err); ok {
		return bad
	}
	if fetch.Gone(err) {
		return err
	}
	return nil
}

// failures counts objects that can't be had: several in a row say that the cloud is
// away.
type failures struct {
	first error // or the one that ends it
	row   int
}

// enough notes how it went with one, and tells whether to try others is in vain.
func (f *failures) enough(ctx context.Context, err error) bool {
	if err == nil {
		f.row = 0
		return false
	}
	if f.first == nil || final(err) {
		f.first = err
	}
	f.row++
	return f.row == maxFailed || ctx.Err() != nil || final(err)
}

// refuse tells once why an object is left out.
func (r *run) refuse(name string, why error) {
	if !r.refused[name] {
		r.refused[name] = true
		r.sum.Refused++
		r.warn(why.Error())
	}
}

// came notes an object that is in the folder, perhaps in place of one that was refused.
func (r *run) came(name string) {
	r.have[name] = true
	delete(r.failed, name)
	if r.refused[name] {
		delete(r.refused, name)
		r.sum.Refused--
	}
}

// one brings one clip: the clip first, its record last.
func (r *run) one(ctx context.Context, name string) error {
	clip, err := r.Getter.Manifest(ctx, name)
	if err != nil {
		return err
	}
	r.warn(r.chain.Add(clip)...)
	rec, err := r.save(ctx, clip)
	if err != nil {
		return err
	}
	r.came(name)
	r.newest = max(r.newest, name)
	r.sum.Fetched++
	r.OnClip(rec)
	return nil
}

func (r *run) save(ctx context.Context, clip verify.Clip) (Record, error) {
	path := filepath.Join(r.Dir, clip.Name)
	dst, err := files.Create(path + ".mp4")
	if err != nil {
		return Record{}, &diskError{err}
	}
	defer dst.Abort()
	details, err := r.Getter.Clip(ctx, clip, dst, path+cloud.ExtClip, "")
	if err != nil {
		return Record{}, local(err)
	}
	rec := NewRecord(clip, details)
	if err := dst.Commit(); err != nil {
		return Record{}, &diskError{err}
	}
	if err := durable.WriteJSON(path+".json", rec); err != nil {
		return Record{}, &diskError{err}
	}
	return rec, nil
}

// local tells failures of the folder from failures of the way to the cloud.
func local(err error) error {
	if _, ok := errors.AsType[*os.PathError](err); ok {
		return &diskError{err}
	}
	return err
}

// tellMissing tells, once each, what has been missing for at least so long, and
// what of it the camera says it has given up; also if not all of its words can be
// had, which is the error. With again these are asked for another time.
func (r *run) tellMissing(ctx context.Context, patience time.Duration, again bool) error {
	missing, told := r.chain.Missing()
	var err error
	if len(missing) > 0 && (r.anyOlder(missing, patience) || again && r.gapless) {
		if err = r.fetchGaps(ctx); ctx.Err() != nil || final(err) {
			return err
		}
		r.gapless = err != nil
		missing, told = r.chain.Missing()
	}
	now := time.Now()
	open := map[verify.Missing]time.Time{}
	r.sum.Missing, r.sum.GivenUp = 0, 0
	for _, m := range missing {
		r.sum.Missing += int(m.To - m.From + 1)
		since := r.since(m, now)
		if !since.IsZero() && now.Sub(since) >= patience {
			r.warn(m.String() + " (not in the cloud, or not yet)")
			since = time.Time{}
		}
		open[m] = since
	}
	r.missing = open
	for _, t := range told {
		r.sum.GivenUp += int(t.To - t.From + 1)
		if !r.told[t] {
			r.told[t] = true
			r.warn(t.String())
		}
	}
	return err
}

// anyOlder tells whether anything is missing that is to be told now.
func (r *run) anyOlder(missing []verify.Missing, patience time.Duration) bool {
	now := time.Now()
	return slices.ContainsFunc(missing, func(m verify.Missing) bool {
		since := r.since(m, now)
		return !since.IsZero() && now.Sub(since) >= patience
	})
}

// since is from when on a run is known to be missing; one that is what is left of
// a larger one is not told again.
func (r *run) since(m verify.Missing, now time.Time) time.Time {
	for old, since := range r.missing {
		if old.Stream == m.Stream && old.From <= m.From && m.To <= old.To {
			return since
		}
	}
	return now
}

func (r *run) warn(lines ...string) {
	for _, l := range lines {
		r.OnWarn(l)
	}
}
