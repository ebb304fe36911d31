package main

import (
	"context"
	"crypto/rand"
	"io"
	"runtime"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud/seal"
)

const (
	sealBytes = 4 << 20
	sealPiece = 128 << 10 // what the recorder hands over at once, a fragment
	sealTurns = 100
)

// sealing is the speed of age, to two members, in turn with that of the bare cipher.
func (b *bench) sealing(ctx context.Context) ([]figure, error) {
	var members []string
	for range 2 {
		_, r, err := seal.NewIdentity()
		if err != nil {
			return nil, err
		}
		members = append(members, r)
	}
	to, err := seal.ParseRecipients(members)
	if err != nil {
		return nil, err
	}
	aead, err := chacha20poly1305.New(make([]byte, chacha20poly1305.KeySize))
	if err != nil {
		return nil, err
	}
	plain := make([]byte, sealBytes)
	rand.Read(plain)
	out, nonce := make([]byte, 0, sealBytes+aead.Overhead()), make([]byte, aead.NonceSize())
	var begin, ours, bare []float64
	for range sealTurns {
		t0 := time.Now()
		w, err := seal.NewWriter(io.Discard, to)
		if err != nil {
			return nil, err
		}
		t1 := time.Now()
		for at := 0; at < sealBytes; at += sealPiece {
			if _, err := w.Write(plain[at : at+sealPiece]); err != nil {
				return nil, err
			}
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		t2 := time.Now()
		aead.Seal(out, nonce, plain, nil)
		begin, ours, bare = append(begin, t1.Sub(t0).Seconds()), append(ours, t2.Sub(t1).Seconds()), append(bare, time.Since(t2).Seconds())
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	whole := median(begin) + median(ours)
	return []figure{
		atLeast("sealing 4 MiB, of the speed of bare ChaCha20-Poly1305", 100*median(bare)/median(ours), "%", 80),
		told("sealing 4 MiB", sealBytes/median(ours)/1e6, "MB/s"),
		told("beginning a sealed file for two members", 1e6*median(begin), "µs"),
		atMost("sealing 4 Mbit/s", 100*whole/sealBytes*500_000, "% of a core", 1),
	}, nil
}

// recordingAllocations counts what recording allocates, in a camera in this process.
func (b *bench) recordingAllocations(ctx context.Context) ([]figure, error) {
	on, err := b.mallocs(ctx, command.RecordContinuous)
	if err != nil {
		return nil, err
	}
	off, err := b.mallocs(ctx, command.RecordOff)
	if err != nil {
		return nil, err
	}
	return []figure{told("allocations a frame for recording, sealing and uploading", on-off, "")}, nil
}

// mallocs is how many there are a frame, nobody watching.
func (b *bench) mallocs(ctx context.Context, mode string) (n float64, err error) {
	if err := b.record(ctx, mode); err != nil {
		return 0, err
	}
	stop, err := b.runAgent(ctx)
	if err != nil {
		return 0, err
	}
	var before, after runtime.MemStats
	err = sleep(ctx, 2*settle)
	runtime.ReadMemStats(&before)
	began := time.Now()
	if err == nil {
		err = sleep(ctx, window)
	}
	runtime.ReadMemStats(&after)
	frames := time.Since(began).Seconds() * filmFPS
	if stopped := stop(); err == nil {
		err = stopped
	}
	return float64(after.Mallocs-before.Mallocs) / frames, err
}
