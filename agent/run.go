package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/thejerf/suture/v4"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
)

// service gives a component a name for the supervisor.
type service struct {
	name string
	run  func(ctx context.Context) error
}

func (s service) Serve(ctx context.Context) error { return s.run(ctx) }
func (s service) String() string                  { return s.name }

func (a *Agent) services(button <-chan os.Signal) []service {
	list := []service{
		{"camera", a.camera.run},
		{"microphone", a.camera.listen},
		{"fallbacks", a.camera.fallBacks},
		{"rtsp", a.serveRTSP},
		{"intercom", a.intercom},
		{"recorder", a.record},
		{"recording", a.recording.run},
		{"motion", a.watchMotion},
		{"binding", a.follow},
		{"card", a.watchCard},
		{"buttons", a.watchButtons},
		{"indicator", a.indicate},
		{"clock", a.keepClock},
	}
	for i, s := range a.streams {
		list = append(list, service{"stream " + s.Name, func(ctx context.Context) error { return a.camera.pump(ctx, i) }})
	}
	if a.link != nil {
		list = append(list,
			service{"signal", func(ctx context.Context) error { return a.pressed(ctx, button) }},
			service{"link", a.link.Run},
			service{"site", a.site.Run},
			service{"pairing", a.pairing.Run},
			service{"upload", a.uploader.Run})
	}
	if a.sessions != nil {
		list = append(list, service{"sessions", a.sessions.Run}, service{"inbox", a.dispatch})
	}
	if a.local != nil {
		list = append(list, service{"local", a.serveLocal})
	}
	return list
}

// Failures of components within failureSpan after which the process ends for
// its watchdog to start it anew. R5.
const (
	maxFailures = 5
	failureSpan = 10 * time.Minute
)

// ErrFailing is Run's error when components keep failing.
var ErrFailing = errors.New("components keep failing")

// Run works until ctx ends, which is no error. A component that fails or
// panics is restarted alone; five failures in ten minutes end Run with ErrFailing.
// A signal on button is a press of the pairing button, for boards without one.
func (a *Agent) Run(ctx context.Context, button <-chan os.Signal) error {
	defer a.board.Close()
	defer a.close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	failures := &failureCount{log: a.log, giveUp: cancel}
	sup := suture.New("camagent", suture.Spec{
		EventHook:        failures.event,
		FailureThreshold: maxFailures,
		FailureBackoff:   time.Second,
		Timeout:          10 * time.Second,
	})
	for _, s := range a.services(button) {
		sup.Add(s)
	}
	a.log.Info("camera starts", zap.String("version", cloud.Version), zap.Stringer("serial", a.id.Serial),
		zap.String("board", a.board.Info().Board), zap.Bool("bound", a.Bound()))
	err := sup.Serve(ctx)
	a.camera.forget()
	a.log.Info("camera stopped", zap.Duration("uptime", a.uptime().Round(time.Second)))
	if cause := context.Cause(ctx); errors.Is(cause, ErrFailing) {
		return cause
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// failureCount logs failures and gives up when there are too many.
type failureCount struct {
	log    *zap.Logger
	giveUp context.CancelCauseFunc

	mu    sync.Mutex
	times []time.Time
}

func (f *failureCount) event(e suture.Event) {
	switch e := e.(type) {
	case suture.EventServicePanic:
		f.log.Error("component panicked", zap.String("component", e.ServiceName), zap.String("panic", e.PanicMsg), zap.String("stack", e.Stacktrace))
		f.failed(e.ServiceName)
	case suture.EventServiceTerminate:
		f.log.Error("component failed", zap.String("component", e.ServiceName), zap.Any("error", e.Err))
		f.failed(e.ServiceName)
	case suture.EventStopTimeout:
		f.log.Error("component does not stop", zap.String("component", e.ServiceName), zap.ByteString("stack", debug.Stack()))
	}
}

func (f *failureCount) failed(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	f.times = append(f.times, now)
	for now.Sub(f.times[0]) > failureSpan {
		f.times = f.times[1:]
	}
	if len(f.times) >= maxFailures {
		f.giveUp(fmt.Errorf("%w: %d failures in %s, the last of %s", ErrFailing, len(f.times), failureSpan, name))
	}
}
