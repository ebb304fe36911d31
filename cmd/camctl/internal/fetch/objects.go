package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
	"iid2secure.nl/camagent/cloud/seal"

	"iid2secure.nl/camagent/cmd/camctl/internal/verify"
)

// Each reads all pages of q and hands every object to fn, whatever it is.
func (g *Getter) Each(ctx context.Context, q api.ObjectQuery, fn func(api.Object)) error {
	for range maxPages {
		page, err := g.page(ctx, q)
		if err != nil {
			return err
		}
		for _, o := range page.Objects {
			fn(o)
		}
		if page.Next == "" {
			return nil
		}
		if page.Next <= q.After {
			return errors.New("list objects: the cloud repeats itself")
		}
		q.After = page.Next
	}
	return errors.New("list objects: the cloud's list has no end")
}

// Object opens an object as it is stored. Nothing is verified.
func (g *Getter) Object(ctx context.Context, name string) (io.ReadCloser, error) {
	return g.open(ctx, name, 0)
}

// Gap fetches and verifies a signed gap, by its name without ending; token is its
// text. Errors of kind *verify.Error are final.
func (g *Getter) Gap(ctx context.Context, name string) (gap verify.Gap, token string, err error) {
	b, err := g.small(ctx, name+cloud.ExtGap, seal.MaxStatement)
	if err != nil {
		return gap, "", fmt.Errorf("gap %s: %w", name, err)
	}
	gap, err = g.Camera.Gap(name, string(b))
	return gap, string(b), err
}
