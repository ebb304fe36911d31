package sim

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"iid2secure.nl/camagent/hal"
)

func TestM1_MuLawIsG711(t *testing.T) {
	t.Parallel()
	for u := range 256 {
		if u == 0x7f { // the second zero
			continue
		}
		if got := muLaw(linear(byte(u))); got != byte(u) {
			t.Errorf("%#02x: %d becomes %#02x", u, linear(byte(u)), got)
		}
	}
	if muLaw(0) != 0xff || muLaw(32767) != 0x80 || muLaw(-32768) != 0x00 {
		t.Errorf("%#02x %#02x %#02x", muLaw(0), muLaw(32767), muLaw(-32768))
	}
}

// listen returns the times of the first and last loud sample of every beep.
func listen(t *testing.T, m hal.AudioStream, frames int) (beeps [][2]time.Time) {
	t.Helper()
	var quiet int
	for range frames {
		f, err := m.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i, u := range f.Data {
			at := f.Time.Add(time.Duration(i) * time.Second / 8000)
			if v := linear(u); v < 2000 && v > -2000 {
				quiet++
				continue
			}
			if len(beeps) == 0 || quiet > 80 {
				beeps = append(beeps, [2]time.Time{at})
			}
			beeps[len(beeps)-1][1] = at
			quiet = 0
		}
	}
	return beeps
}

// Issue 2: sound and picture can be aligned: the lamp in decoded pictures is
// lit in those captured while a beep is heard, and in no other.
func TestIssue2_BeepAndLampAgree(t *testing.T) {
	t.Parallel()
	for _, stream := range []string{"main", "sub"} {
		t.Run(stream, func(t *testing.T) {
			t.Parallel()
			var shots []shot
			var cfg hal.VideoConfig
			var beeps [][2]time.Time
			bubble(t, Config{}, func(t *testing.T, b *Board) {
				m, err := b.OpenMicrophone(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				v := open(t, b, stream, hal.VideoConfig{})
				heard := make(chan [][2]time.Time)
				go func() { heard <- listen(t, m, 220) }()
				shots, cfg = take(t, v, 106, nil), v.Config()
				beeps = <-heard
				for _, beep := range beeps {
					if !b.BeepAt(beep[0]) || !b.BeepAt(beep[1]) {
						t.Errorf("BeepAt denies the beep of %v", beep[0].Sub(b.Start()))
					}
				}
			})
			if len(beeps) != 3 {
				t.Fatalf("%d beeps in 4.4 s", len(beeps))
			}
			lit := 0
			decode(t, shots, cfg.Width, cfg.Height, func(i int, pic []byte) {
				on, ok := ReadLamp(pic, cfg.Width, cfg.Width, cfg.Height)
				if !ok {
					t.Fatalf("frame %d: the lamp is neither on nor off", i)
				}
				heard := false
				for _, beep := range beeps {
					// To the sample, but for the sine's first, quiet ones.
					heard = heard || !shots[i].Time.Before(beep[0].Add(-time.Millisecond)) && !shots[i].Time.After(beep[1])
				}
				if on != heard {
					t.Fatalf("frame %d: lamp %v, beep %v", i, on, heard)
				}
				if on {
					lit++
				}
			})
			if lit != 5 {
				t.Fatalf("the lamp was lit in %d pictures", lit)
			}
		})
	}
}

func TestM1_SoundComesOnTheBoardsGrid(t *testing.T) {
	t.Parallel()
	bubble(t, Config{}, func(t *testing.T, b *Board) {
		time.Sleep(31 * time.Millisecond)
		m, err := b.OpenMicrophone(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if f := m.Format(); f.Codec != hal.PCMU || f.Rate != 8000 || f.Channels != 1 {
			t.Fatalf("%+v", f)
		}
		for i := range 500 {
			f, err := m.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := 20*time.Millisecond + time.Duration(i)*20*time.Millisecond
			if f.Time.Sub(b.Start()) != want || f.Samples != 160 || len(f.Data) != 160 || time.Since(f.Time) != 20*time.Millisecond {
				t.Fatalf("frame %d: %v, %d samples in %d bytes, %v old", i, f.Time.Sub(b.Start()), f.Samples, len(f.Data), time.Since(f.Time))
			}
		}
		time.Sleep(10 * time.Second)
		f, err := m.Next(t.Context())
		if err != nil || time.Since(f.Time) > 40*time.Millisecond {
			t.Fatalf("a late reader gets sound of %v ago, %v", time.Since(f.Time), err)
		}
	})
}

func TestM1_MicrophoneCloses(t *testing.T) {
	t.Parallel()
	bubble(t, Config{}, func(t *testing.T, b *Board) {
		m, err := b.OpenMicrophone(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			_, err := m.Next(context.Background())
			done <- err
		}()
		synctest.Wait()
		if err := errors.Join(m.Close(), m.Close()); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, hal.ErrClosed) {
			t.Fatalf("%v", err)
		}
		again, err := b.OpenMicrophone(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b.Close()
		if _, err := again.Next(t.Context()); !errors.Is(err, hal.ErrClosed) {
			t.Fatalf("%v", err)
		}
	})
}
