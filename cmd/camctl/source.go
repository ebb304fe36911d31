package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"iid2secure.nl/camagent/cmd/camctl/internal/bucket"
	"iid2secure.nl/camagent/cmd/camctl/internal/card"
	"iid2secure.nl/camagent/cmd/camctl/internal/fetch"
	"iid2secure.nl/camagent/cmd/camctl/internal/remote"
	"iid2secure.nl/camagent/cmd/camctl/internal/verify"
)

// retries is how often a download that breaks goes on without any progress.
const retries = 4

// sourceFlags say where clips come from: the cloud, unless one is set.
type sourceFlags struct {
	onCard bool
	bucket string
}

func (f *sourceFlags) define(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.onCard, "on-card", false, "from the card in the camera, by a session with it")
	cmd.Flags().StringVar(&f.bucket, "bucket", "", "from the bucket itself, without a cloud: https://host[:port]/bucket[?region=REGION]; "+
		"keys by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, certificates by AWS_CA_BUNDLE")
}

func (f *sourceFlags) check() error {
	if f.onCard && f.bucket != "" {
		return usage("--on-card or --bucket: there is one place to read from")
	}
	return nil
}

func (f *sourceFlags) cloud() bool { return !f.onCard && f.bucket == "" }

// explain says what the owner can do about a failure.
func (f *sourceFlags) explain(err error) error {
	switch {
	case f.cloud():
		return explainCloud(err)
	case f.bucket != "" && errors.Is(err, context.DeadlineExceeded):
		return errors.New("the storage does not answer")
	}
	return err
}

// from runs fn with what reads the camera's clips from where the flags say.
func (c *ctl) from(ctx context.Context, f *sourceFlags, fn func(owned, *fetch.Getter) error) error {
	if err := f.check(); err != nil {
		return err
	}
	if f.bucket != "" {
		return c.fromBucket(f.bucket, fn)
	}
	o, err := c.own(ctx)
	if err != nil {
		return err
	}
	if f.onCard {
		return c.session(ctx, o, func(s *remote.Session) error {
			return fn(o, c.reader(o, card.New(s)))
		})
	}
	g, done, err := c.getter(o)
	if err != nil {
		return err
	}
	defer done()
	g.Retries = retries
	return f.explain(fn(o, g))
}

// fromBucket needs no account: the cloud may be gone for good.
func (c *ctl) fromBucket(address string, fn func(owned, *fetch.Getter) error) error {
	var o owned
	var err error
	if o.home, err = c.home(); err != nil {
		return err
	}
	if o.camera, err = c.pick(o.home); err != nil {
		return err
	}
	if o.owner, err = o.home.Owner(); err != nil {
		return err
	}
	b, err := bucket.Open(address, o.camera.BindID, os.LookupEnv)
	if err != nil {
		return usageError{err}
	}
	defer b.Close()
	err = fn(o, c.reader(o, b))
	return (&sourceFlags{bucket: address}).explain(err)
}

func (c *ctl) reader(o owned, source fetch.Source) *fetch.Getter {
	g := c.opener(o)
	g.Source, g.Retries = source, retries
	return g
}

// known is what earlier runs have learned of the camera's clips.
func (o owned) known(camera verify.Camera) *fetch.Known {
	id := sha256.Sum256([]byte(o.camera.Serial.Plain() + "/" + o.camera.BindID))
	return fetch.OpenKnown(filepath.Join(o.home.Dir(), "known", hex.EncodeToString(id[:8])+".jsonl"), camera)
}

// partsLife is how long what was broken off waits to be gone on with.
const partsLife = 24 * time.Hour

// parts is where downloads of clips lie that go to standard output.
func (o owned) parts() (string, error) {
	dir := filepath.Join(o.home.Dir(), "parts")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("configuration folder: %w", err)
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > partsLife {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
	return dir, nil
}
