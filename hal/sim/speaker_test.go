package sim

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"iid2secure.nl/camagent/hal"
)

func TestM1_SpeakerKeepsThePaceAndIsHeard(t *testing.T) {
	t.Parallel()
	bubble(t, Config{}, func(t *testing.T, b *Board) {
		p := speak(t, b)
		began := time.Now()
		for i := range 50 {
			if i == 30 {
				time.Sleep(time.Second) // simulated: the talker pauses
			}
			if err := p.Write(t.Context(), pcm(i)); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != 30*20*time.Millisecond-hal.SpeakerAhead+time.Second+10*20*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		time.Sleep(hal.SpeakerAhead)
		heard := b.Heard()
		if len(heard) != 50 {
			t.Fatalf("%d pieces", len(heard))
		}
		for i, h := range heard {
			want := began.Add(time.Duration(i) * 20 * time.Millisecond)
			if i >= 30 {
				want = began.Add(30*20*time.Millisecond - hal.SpeakerAhead + time.Second + time.Duration(i-30)*20*time.Millisecond)
			}
			if !h.Time.Equal(want) || !bytes.Equal(h.Data, pcm(i).Data) || h.Format.Codec != hal.PCMU {
				t.Errorf("piece %d: %d at %v, want %v", i, h.Data[0], h.Time.Sub(began), want.Sub(began))
			}
		}
	})
}

func TestM1_WhatIsQueuedWhenTheSpeakerClosesIsNotPlayed(t *testing.T) {
	t.Parallel()
	bubble(t, Config{}, func(t *testing.T, b *Board) {
		p := speak(t, b)
		for i := range 10 {
			if err := p.Write(t.Context(), pcm(i)); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		if err := p.Write(ctx, pcm(10)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the queue is full: %v", err)
		}
		blocked := make(chan error)
		time.Sleep(25 * time.Millisecond)
		go func() {
			var err error
			for i := 10; err == nil; i++ {
				err = p.Write(context.Background(), pcm(i))
			}
			blocked <- err
		}()
		synctest.Wait()
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-blocked; !errors.Is(err, hal.ErrClosed) {
			t.Errorf("%v", err)
		}
		time.Sleep(time.Second)
		heard := b.Heard()
		if len(heard) != 2 || len(heard[0].Data) != 160 || len(heard[1].Data) != 80 {
			t.Fatalf("%d pieces", len(heard))
		}
		if b.State().Talking {
			t.Error("it still talks")
		}
		speak(t, b)
		if !b.State().Talking {
			t.Error("it talks")
		}
	})
}

func TestS5_TheSpeakersMemoryIsBounded(t *testing.T) {
	t.Parallel()
	bubble(t, Config{}, func(t *testing.T, b *Board) {
		p := speak(t, b)
		for i := range 3000 {
			if err := p.Write(t.Context(), pcm(i)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		heard := b.Heard()
		if n := len(heard) * 160; n > maxHeard || n < maxHeard-200 {
			t.Errorf("%d bytes are kept", n)
		}
		if last := heard[len(heard)-1]; !bytes.Equal(last.Data, pcm(2999).Data) {
			t.Error("the newest is lost")
		}
	})
}
