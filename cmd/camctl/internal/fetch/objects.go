package fetch

import (
	"context"
	"errors"
	"io"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"

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
// text. Errors of kind *verify.Error are final, and of this gap alone; so are those
// that Gone tells.
func (g *Getter) Gap(ctx context.Context, name string) (gap verify.Gap, token string, err error) {
	token, err = g.statement(ctx, "gap", name, cloud.ExtGap)
	if err != nil {
		return gap, "", err
	}
	gap, err = g.Camera.Gap(name, token)
	return gap, token, err
}
