package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/spool"
)

// cardWith is a camera with n clips on its card, a minute apart.
func cardWith(t *testing.T, n int) (a *Agent, names []string) {
	t.Helper()
	a = &Agent{log: zap.NewNop(), card: spool.New(filepath.Join(t.TempDir(), "card"), spool.Config{}), reads: newCardReader()}
	if err := a.card.Attach(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.card.Close() })
	for i := range n {
		name := cloud.ClipName(time.Date(2026, 1, 2, 3, i, 0, 0, time.UTC))
		f, err := a.card.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = f.Write(content(i)); err == nil {
			_, err = f.Commit(spool.Routine, []byte("manifest of "+name))
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return a, names
}

func content(i int) []byte { return bytes.Repeat([]byte{byte(i), 7, 9}, 40_000) }

func TestM10_ClipsOnTheCardAreReadInPieces(t *testing.T) {
	t.Parallel()
	a, names := cardWith(t, 2)
	read := func(part string, offset int64, length int) command.ClipsData {
		t.Helper()
		d, err := a.clipsRead(t.Context(), "", command.ClipsPiece{Name: names[1], Part: part, Offset: offset, Length: length})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	var got []byte
	for {
		d := read(command.PartClip, int64(len(got)), 50_000)
		if d.Size != 120_000 {
			t.Fatalf("size %d", d.Size)
		}
		if len(d.Data) == 0 {
			break
		}
		got = append(got, d.Data...)
	}
	if !bytes.Equal(got, content(1)) {
		t.Error("the pieces are not the clip")
	}
	if d := read(command.PartManifest, 9, 2); string(d.Data) != "of" {
		t.Errorf("%q", d.Data)
	}
	// A gap record lies there under its own name alone.
	gap := cloud.ClipName(time.Date(2026, 1, 2, 3, 9, 0, 0, time.UTC))
	if _, err := a.card.Add(gap+cloud.ExtGap, spool.Routine, []byte("a gap")); err != nil {
		t.Fatal(err)
	}
	names[1] = gap
	if d := read(command.PartGap, 2, 9); string(d.Data) != "gap" {
		t.Errorf("%q", d.Data)
	}
	_, err := a.clipsRead(t.Context(), "", command.ClipsPiece{Name: "20260102T030405.000Z-aaaaaaaa", Part: command.PartClip, Length: 1})
	var refusal *cloud.Refusal
	if !errors.As(err, &refusal) || refusal.Code != cloud.CodeArgument || !strings.Contains(refusal.Message, "is not on the card") {
		t.Error(err)
	}
}

// A member who reads all day leaves the card and the uplink to the others.
func TestR6_M10_ReadingIsHeldToItsRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newCardReader()
		began := time.Now()
		done := make(chan struct{})
		const readers, pieces = 4, 200
		for range readers {
			go func() {
				for range pieces {
					if r.wait(t.Context(), command.MaxClipsPiece) == nil {
						r.leave()
					}
				}
				done <- struct{}{}
			}()
		}
		for range readers {
			<-done
		}
		bytes := float64(readers * pieces * command.MaxClipsPiece)
		if rate := bytes / time.Since(began).Seconds(); rate > 1.02*readRate || rate < 0.9*readRate {
			t.Errorf("%.0f bytes a second, want %d", rate, readRate)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r.turn <- struct{}{} // somebody reads from a card that hangs
		if err := r.wait(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waits for ever: %v", err)
		}
	})
}

func TestM10_CardIsListedByTimeAndPage(t *testing.T) {
	t.Parallel()
	a, names := cardWith(t, 5)
	page, err := a.clipsList(t.Context(), "", command.ClipsQuery{From: "2026-01-02T03:01:00Z", To: "2026-01-02T04:04:00+01:00", Limit: 2})
	if err != nil || !page.More || len(page.Clips) != 2 || page.Clips[0].Name != names[3] {
		t.Fatalf("%+v, %v", page, err)
	}
	page, err = a.clipsList(t.Context(), "", command.ClipsQuery{From: "2026-01-02T03:01:00Z", Before: page.Clips[1].Name})
	if err != nil || page.More || len(page.Clips) != 1 || page.Clips[0].Name != names[1] {
		t.Fatalf("%+v, %v", page, err)
	}
}

func TestM4_M10_NamedClipsAreUploadedFirst(t *testing.T) {
	t.Parallel()
	a, names := cardWith(t, 4)
	sent, err := a.card.Next(t.Context())
	if err == nil {
		err = a.card.Release(sent)
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := a.clipsUpload(t.Context(), "", command.ClipsNames{Names: []string{names[3], names[0], "20260102T030405.000Z-aaaaaaaa"}})
	want := map[string]string{names[3]: command.UploadWaits, names[0]: command.UploadDone, "20260102T030405.000Z-aaaaaaaa": command.UploadMissing}
	if err != nil || fmt.Sprint(got.States) != fmt.Sprint(want) {
		t.Fatalf("%v, %v", got, err)
	}
	if o, err := a.card.Next(t.Context()); err != nil || o.Name != names[3] {
		t.Errorf("%s goes first: %v", o.Name, err)
	}
}
