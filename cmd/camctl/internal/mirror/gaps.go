package mirror

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
	"iid2secure.nl/camagent/cloud/durable"

	"iid2secure.nl/camagent/cmd/camctl/internal/verify"
)

// gapName is the name of a signed gap by that of its file.
func gapName(file string) (name string, ok bool) {
	name, ok = strings.CutSuffix(file, cloud.ExtGap)
	return name, ok && verify.Name(name)
}

// resumeGaps reads the gaps that lie in the folder already: as they were signed.
func (r *run) resumeGaps() error {
	entries, err := os.ReadDir(r.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, ok := gapName(e.Name())
		if !ok {
			continue
		}
		token, err := os.ReadFile(filepath.Join(r.Dir, e.Name()))
		if err != nil {
			return err
		}
		if gap, err := r.Getter.Camera.Gap(name, string(token)); err == nil { // else of another camera, or fetched again
			r.have[e.Name()] = true
			r.warn(r.chain.AddGap(gap)...)
		}
	}
	return nil
}

// fetchGaps brings the gaps that are not here yet. It is called only when clips
// are missing. One that fails does not keep the others; the first failure is told.
func (r *run) fetchGaps(ctx context.Context) error {
	var names []string
	err := r.Getter.Each(ctx, api.ObjectQuery{}, func(o api.Object) {
		if name, ok := gapName(o.Name); ok && !r.have[o.Name] {
			names = append(names, name)
		}
	})
	if err != nil {
		return err
	}
	var failed failures
	for _, name := range names {
		gap, token, err := r.Getter.Gap(ctx, name)
		if why := alone(err); why != nil {
			r.refuse(name+cloud.ExtGap, why)
			continue
		}
		if failed.enough(ctx, err) {
			break
		}
		if err != nil {
			continue
		}
		if err := durable.WriteFile(filepath.Join(r.Dir, name+cloud.ExtGap), []byte(token)); err != nil {
			return &diskError{err}
		}
		r.came(name + cloud.ExtGap)
		r.warn(r.chain.AddGap(gap)...)
	}
	return failed.first
}
