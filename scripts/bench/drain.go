package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/durable"
	"iid2secure.nl/camagent/cloud/spool"
)

// The backlog: clips as large as they may be, with manifests of usual size.
const (
	backlogClips  = 40
	backlogBytes  = 8_000_000
	manifestBytes = 1000
	drainTurns    = 2
)

// drain fills the card with what looks like clips, and looks how fast the camera
// has them confirmed; in turn with a bare PUT of the same bytes from memory.
func (b *bench) drain(ctx context.Context) ([]figure, error) {
	if err := b.record(ctx, command.RecordOff); err != nil {
		return nil, err
	}
	clip := make([]byte, backlogBytes)
	rand.Read(clip)
	bare, err := b.newBare()
	if err != nil {
		return nil, err
	}
	var ours, theirs, more []float64
	for turn := range drainTurns {
		took, growth, err := b.drainOnce(ctx, clip, turn)
		if err != nil {
			return nil, err
		}
		began := time.Now()
		for i := range backlogClips {
			if err := bare.put(ctx, fmt.Sprintf("bare/%d-%d", turn, i), clip); err != nil {
				return nil, err
			}
			if err := bare.put(ctx, fmt.Sprintf("bare/%d-%d.jws", turn, i), clip[:manifestBytes]); err != nil {
				return nil, err
			}
		}
		ours, theirs, more = append(ours, took.Seconds()), append(theirs, time.Since(began).Seconds()), append(more, growth)
	}
	const mb = backlogClips * (backlogBytes + manifestBytes) / 1e6
	speed, share := mb/median(ours), 100*median(theirs)/median(ours)
	whole := told(fmt.Sprintf("backlog of %.0f MB, card to confirmed in storage", mb), speed, "MB/s")
	if speed < 200 {
		whole = atLeast(whole.Name+", of a bare PUT's speed", share, "%", 80)
	}
	return []figure{
		whole,
		told("the same bytes by bare PUT", mb/median(theirs), "MB/s"),
		atMost("peak of resident memory, above that of a camera with an empty card", median(more), "MB", 4),
	}, nil
}

// drainOnce is the time from the first upload to the last confirmation.
func (b *bench) drainOnce(ctx context.Context, clip []byte, turn int) (took time.Duration, growth float64, err error) {
	if err := b.stack.StartCamera(); err != nil {
		return 0, 0, err
	}
	if _, err := b.stack.WaitLive(ctx); err != nil {
		return 0, 0, err
	}
	if err := sleep(ctx, 3*settle); err != nil {
		return 0, 0, err
	}
	idle, err := statusMB(b.stack.Camera.PID(), "VmHWM")
	if err := errors.Join(err, b.stack.Camera.Stop(), b.fill(clip, turn)); err != nil {
		return 0, 0, err
	}
	if err := b.stack.StartCamera(); err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, b.stack.Camera.Stop()) }()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var began time.Time
	for {
		n, err := b.waiting()
		switch {
		case err != nil:
			return 0, 0, err
		case n == 0:
			took := time.Since(began)
			top, err := statusMB(b.stack.Camera.PID(), "VmHWM")
			return took * backlogClips / (backlogClips - 1), top - idle, err
		case n < backlogClips && began.IsZero(): // the link and the first clip are not counted
			began = time.Now()
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			return 0, 0, fmt.Errorf("%d clips still wait: %w", n, err)
		}
	}
}

// waiting counts the clips on the card that are not confirmed.
func (b *bench) waiting() (int, error) {
	list, err := filepath.Glob(b.stack.Path("camera", "card", "pending", "*", "*", "*"+cloud.ExtClip))
	return len(list), err
}

// fill puts a backlog onto the card of the camera, which does not run.
func (b *bench) fill(clip []byte, turn int) error {
	card, err := spool.Open(b.stack.Path("camera", "card"), spool.Config{})
	if err != nil {
		return err
	}
	begin := time.Now().Add(-time.Hour)
	for i := range backlogClips {
		f, err := card.Create(cloud.ClipName(begin.Add(time.Duration(turn*backlogClips+i) * time.Second)))
		if err != nil {
			return errors.Join(err, card.Close())
		}
		if _, err := f.Write(clip); err != nil {
			return errors.Join(err, card.Close())
		}
		if _, err := f.Commit(spool.Routine, bytes.Repeat([]byte("m"), manifestBytes)); err != nil {
			return errors.Join(err, card.Close())
		}
	}
	return card.Close()
}

// bare stores by net/http and nothing else.
type bare struct {
	signer *minio.Client
	client *http.Client
}

func (b *bench) newBare() (*bare, error) {
	var keys struct{ Access, Secret string }
	if _, err := durable.ReadJSON(b.stack.Path("cloud", "storage-keys.json"), &keys); err != nil {
		return nil, err
	}
	var info struct{ Storage, CA string }
	if _, err := durable.ReadJSON(b.stack.Path("cloud", "info.json"), &info); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(info.CA)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, WriteBufferSize: 64 << 10}
	signer, err := minio.New(info.Storage, &minio.Options{Creds: credentials.NewStaticV4(keys.Access, keys.Secret, ""),
		Secure: true, Region: "us-east-1", BucketLookup: minio.BucketLookupPath, Transport: transport})
	return &bare{signer: signer, client: &http.Client{Transport: transport}}, err
}

func (u *bare) put(ctx context.Context, key string, data []byte) error {
	sum := sha256.Sum256(data)
	header := http.Header{"X-Amz-Checksum-Sha256": {base64.StdEncoding.EncodeToString(sum[:])}}
	to, err := u.signer.PresignHeader(ctx, http.MethodPut, "camagent", key, time.Minute, url.Values{}, header)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, to.String(), bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header = header
	resp, err := u.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1000))
	if resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("bare PUT: %s: %s", resp.Status, text)
	}
	return err
}
