// Devrun is `make run`: it starts a cloud and a simulated camera on this
// machine, binds the camera to a demo owner by the text of its QR, keeps the
// owner's decrypted clips coming, and says what to try next.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"iid2secure.nl/camagent/cloud/durable"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/scripts/stack"
)

func main() {
	bin := flag.String("bin", "bin", "folder of the built programs")
	run := flag.String("run", ".run", "folder for everything that is written")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := devrun(ctx, *bin, *run); err != nil {
		fmt.Fprintln(os.Stderr, "make run:", err)
		os.Exit(1)
	}
}

// startTime bounds the start of everything.
const startTime = time.Minute

func devrun(ctx context.Context, bin, dir string) (err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { fmt.Println("\nending…") })()
	starting, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	s, err := stack.New(starting, stack.Options{Bin: bin, Dir: dir, RTSP: usually("127.0.0.1:8554"),
		Camera: map[string]any{"local": map[string]any{"address": usually("127.0.0.1:8555")}}})
	if err != nil {
		return unlessEnding(ctx, err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Start(starting); err != nil {
		return unlessEnding(ctx, err)
	}
	sync, err := s.Sync()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sync.Stop()) }()
	if err := tell(starting, s, bin); err != nil {
		return unlessEnding(ctx, err)
	}
	select {
	case <-ctx.Done():
		return nil
	case <-s.Camera.Done():
		return fmt.Errorf("the camera ended: see %s", s.Camera.Log)
	case <-s.Cloud.Done():
		return fmt.Errorf("the cloud ended: see %s", s.Cloud.Log)
	}
}

// unlessEnding is err, unless Ctrl-C has cut short what failed.
func unlessEnding(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// usually is the usual address if it is free, for it is easy to remember; otherwise
// any port.
func usually(usual string) string {
	l, err := net.Listen("tcp", usual)
	if err != nil {
		return "127.0.0.1:0"
	}
	l.Close()
	return usual
}

// info is .run/info.json: what is printed, for scripts.
type info struct {
	RTSPMain string `json:"rtsp_main"`
	RTSPSub  string `json:"rtsp_sub"`
	Clips    string `json:"clips_dir"`
	Config   string `json:"camctl_config"`
	QR       string `json:"qr"`
	Serial   string `json:"serial"`
}

func tell(ctx context.Context, s *stack.Stack, bin string) error {
	live, err := s.WaitLive(ctx)
	if err != nil {
		return err
	}
	text, err := s.QR(ctx, "text")
	if err != nil {
		return err
	}
	qr, err := s.QR(ctx, "terminal")
	if err != nil {
		return err
	}
	id, err := identity.ParseQR(text)
	if err != nil {
		return err
	}
	i := info{RTSPMain: live["main"], RTSPSub: live["sub"], Clips: s.Path("clips"),
		Config: s.Path("owner"), QR: text, Serial: id.Serial.Plain()}
	if err := durable.WriteJSON(s.Path("info.json"), i); err != nil {
		return err
	}
	fmt.Printf(`%s

The camera is bound to the demo owner, records, and uploads what it has sealed.

  live       ffplay -rtsp_transport tcp '%s'
             %s
  clips      %s   (decrypted here as they arrive; the first after some 15 s)
  logs       %s

Try in another terminal:

  export CAMCTL_CONFIG='%s'
  %s status
  %s live --play --tls
  %s snapshot -o snapshot.jpg
  %s set microphone=on main.bitrate=1000000
  %s sim --config '%s' unplug for=5s   # or help

Ctrl-C ends everything; the next make run goes on with it.
`, qr, i.RTSPMain, i.RTSPSub, i.Clips, s.Path("*.log"), i.Config, program(bin, "camctl"), program(bin, "camctl"), program(bin, "camctl"), program(bin, "camctl"), program(bin, "camagent"), s.CameraConfig())
	return nil
}

// program is the path of a program as one types it.
func program(bin, name string) string {
	path := filepath.Join(bin, name)
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, path); err == nil {
			return rel
		}
	}
	return path
}
