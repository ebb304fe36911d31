package link

import (
	"context"
	"errors"
	"iid2secure.nl/camagent/cloud"
	"sync/atomic"
)

var errStub = errors.New("not there yet")

type deviceState struct {
	in     struct{ out chan Message }
	online atomic.Bool
}

func newDevice(DeviceConfig) (*Device, error)                      { return nil, errStub }
func (d *deviceState) run(context.Context) error                   { return errStub }
func (d *deviceState) send(string, []byte) error                   { return errStub }
func (d *deviceState) ask(context.Context, string, any, any) error { return errStub }
func (d *deviceState) publishEvent(context.Context, []byte) error  { return errStub }
func (d *deviceState) refreshPresence()                            {}
func (d *deviceState) stats() (s DeviceStats)                      { return }

type appState struct{ done chan struct{} }

func dialApp(context.Context, AppConfig) (*App, error)                        { return nil, errStub }
func (*appState) conn(context.Context, cloud.Serial) (*AppConn, error)        { return nil, errStub }
func (*appState) status(context.Context, cloud.Serial) (<-chan []byte, error) { return nil, errStub }
func (*appState) close() error                                                { return errStub }

type connState struct{}

func (*connState) send(context.Context, []byte) error      { return errStub }
func (*connState) receive(context.Context) ([]byte, error) { return nil, errStub }
func (*connState) close() error                            { return errStub }
