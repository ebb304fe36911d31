//go:build vm

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim"
	"iid2secure.nl/camagent/scripts/vm/usbcam"
)

// sent is what the virtual camera has sent, as access units.
type sent struct {
	t *testing.T

	mu    sync.Mutex
	units []hal.AccessUnit
}

func (s *sent) add(frame []byte) {
	au, err := hal.ParseAnnexB(frame, nil)
	if err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.units = append(s.units, au)
}

// find tells where, from index on, the unit of these bytes is.
func (s *sent) find(data []byte, from int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := from; i < len(s.units); i++ {
		if bytes.Equal(s.units[i].Data, data) {
			return i
		}
	}
	return -1
}

// plug makes a camera of the simulator's pictures, in a size that an emulated
// CPU can encode as they come.
func plug(t *testing.T) (*usbcam.Camera, *sent) {
	t.Helper()
	board := sim.New(sim.Config{Title: "USB CAMERA", Streams: []hal.StreamInfo{sim.DefaultStreams()[1]}})
	log := &sent{t: t}
	c, err := usbcam.Plug(usbcam.Config{Source: usbcam.FromBoard(board), Sent: log.add})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		board.Close()
	})
	return c, log
}

// start runs camagent until the test's end, when it must end well; if it ends
// earlier, so does the context.
func start(t *testing.T, ctx context.Context, config string) context.Context {
	t.Helper()
	program, err := filepath.Abs("camagent")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	c := exec.Command(program, "run", "--config", config)
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan error, 1)
	go func() {
		err := c.Wait()
		cancel(fmt.Errorf("camagent ended: %v", err))
		ended <- err
	}()
	t.Cleanup(func() {
		_ = c.Process.Signal(os.Interrupt)
		if err := <-ended; err != nil {
			t.Errorf("camagent: %v", err)
		}
		if t.Failed() {
			t.Logf("camagent said:\n%s", out.Bytes())
		}
	})
	return ctx
}

// count is how many there are.
func (s *sent) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.units)
}

// follow compares what a viewer gets with what the camera sends, behind its
// unit last and up to its unit end: no byte differs, and after a gap, as a slow
// machine may have, comes a key frame.
func follow(t *testing.T, ctx context.Context, v *viewer, log *sent, last, end int) {
	t.Helper()
	units, gaps := 0, 0
	for ; last < end; units++ {
		au, err := v.next(ctx)
		if err != nil {
			t.Fatalf("after %d units, the last of them the camera's number %d of %d: %v", units, last, log.count(), err)
		}
		at := log.find(au.Data, last+1)
		if at < 0 {
			t.Fatalf("unit %d, %d bytes, key %v: the camera sent no such one after its number %d", units, len(au.Data), au.Key, last)
		}
		if at != last+1 {
			gaps++
			if !au.Key {
				t.Errorf("unit %d: %d of the camera's were lost, and then came no key frame", units, at-last-1)
			}
		}
		last = at
	}
	if units < minUnits {
		t.Errorf("only %d units of %d", units, end)
	}
	t.Logf("%d units as the camera sent them, %d gaps", units, gaps)
}

// skip reads what was on its way until the first of the camera's units from
// number from on, which is a key frame, and returns that one's number.
func skip(t *testing.T, ctx context.Context, v *viewer, log *sent, from int) int {
	t.Helper()
	for {
		au, err := v.next(ctx)
		if err != nil {
			t.Fatalf("the stream did not come back: %v", err)
		}
		if at := log.find(au.Data, from); at >= 0 {
			if !au.Key {
				t.Error("the stream came back without a key frame")
			}
			return at
		}
	}
}

// minUnits is how many a viewer gets at least of span of the camera's.
const (
	span     = 125
	minUnits = 75
)

func TestM1_M2_ViewerGetsTheBytesThatTheCameraSends(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	camera, log := plug(t)
	home := newHome(t, camera)
	ctx = start(t, ctx, home.config)
	v := watch(t, ctx, home)
	follow(t, ctx, v, log, -1, log.count()+span)

	t.Log("pulled out and put in again: the stream comes back to the same viewer")
	if err := camera.Unplug(); err != nil {
		t.Fatal(err)
	}
	before := log.count()
	if err := camera.Replug(); err != nil {
		t.Fatal(err)
	}
	follow(t, ctx, v, log, skip(t, ctx, v, log, before), before+span)
}
